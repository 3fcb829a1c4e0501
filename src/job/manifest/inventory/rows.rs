//! The rows of an inventory, in the order of its data files, and the look at all of them.

use std::path::PathBuf;

use super::{Column, Deal, Inventory, Open, Pinned, Purpose, Seen, parsed};
use crate::job::manifest::{
    BadRow, Form, InventoryForm, LISTED_BAD_ROWS, ManifestError, ManifestFile, ManifestOptions,
    Place, Position, Row, Survey, Versions, Watching, io_error,
};
use crate::job::report::time_text;

/// What comes next of an inventory; of a row what was made of it.
enum Found<T> {
    Row(T),
    Filtered,
    /// Of another shard; whether it is selected there, and a delete marker that may be its key's latest
    /// version.
    Others(bool, bool),
    Bad(PathBuf, BadRow),
}

/// The selected rows of an inventory, in order.
#[derive(Debug)]
pub struct Rows {
    file: ManifestFile,
    e_tag: String,
    /// Of the data files, where a survey has read them from S3.
    data_e_tags: Vec<String>,
    options: ManifestOptions,
    inventory: Option<Inventory>,
    open: Option<Open>,
    /// Rows of other shards are looked at too, where they are read: all shards begin or none.
    surveys: bool,
    /// Where reading goes on.
    next: Place,
    ordinal: u64,
}

impl Rows {
    /// The rows of a surveyed inventory, from `start`.
    pub fn new(
        file: ManifestFile,
        survey: &Survey,
        form: &InventoryForm,
        options: &ManifestOptions,
        start: Position,
    ) -> Self {
        Self {
            file,
            e_tag: survey.e_tag.clone(),
            data_e_tags: form.data_e_tags.clone(),
            options: options.clone(),
            inventory: None,
            open: None,
            surveys: false,
            next: start.place,
            ordinal: start.ordinal,
        }
    }

    /// As [`Source::check_unchanged`](crate::job::manifest::Source::check_unchanged); data files are compared as each is
    /// opened, and watched while it is read.
    pub fn check_unchanged(&self) -> Result<(), ManifestError> {
        self.look().map(|_| ())
    }

    fn look(&self) -> Result<Pinned, ManifestError> {
        let pinned = self.file.look()?;
        pinned.check(&self.file, &self.e_tag)?;
        Ok(pinned)
    }

    /// As [`Source::next_row`](crate::job::manifest::Source::next_row).
    pub fn next_row(&mut self) -> Result<Option<Row>, ManifestError> {
        loop {
            match self.next(parsed)? {
                None => return Ok(None),
                Some(Found::Filtered | Found::Others(..)) => {}
                Some(Found::Bad(path, row)) => {
                    let rows = vec![row];
                    return Err(ManifestError::BadRows {
                        path,
                        total: 1,
                        rows,
                    });
                }
                Some(Found::Row(parsed)) => {
                    let ordinal = self.ordinal;
                    self.ordinal += 1;
                    return Ok(Some(parsed.into_row(ordinal, self.next)));
                }
            }
        }
    }

    /// Reads on by a record; `self.next` is the place behind it.
    fn next<T>(
        &mut self,
        row: impl FnOnce(Seen<'_>) -> T,
    ) -> Result<Option<Found<T>>, ManifestError> {
        if self.inventory.is_none() {
            let pinned = self.look()?;
            let inventory = Inventory::open(&self.file, &pinned, &self.options, Purpose::Copy)?;
            self.inventory = Some(inventory);
        }
        let Some(inventory) = &self.inventory else {
            return Ok(None);
        };
        loop {
            let Open {
                path,
                decoder,
                at_end,
            } = match &mut self.open {
                Some(open) => open,
                none => {
                    let number = self.next.file as usize;
                    if number >= inventory.manifest.files.len() {
                        return Ok(None);
                    }
                    if !inventory.deal.has_file(number) {
                        self.next.file += 1;
                        continue;
                    }
                    let e_tag = self.data_e_tags.get(inventory.deal.place_of_file(number));
                    let (open, pinned) = inventory.open_data(number, self.next.byte, e_tag)?;
                    if e_tag.is_none() && matches!(pinned, Pinned::Object(_)) {
                        self.data_e_tags.push(pinned.e_tag().to_owned());
                    }
                    none.insert(open)
                }
            };
            let found = match decoder.next() {
                Ok(None) => {
                    at_end.check().map_err(io_error(path))?;
                    self.open = None;
                    self.next = Place {
                        file: self.next.file + 1,
                        byte: 0,
                        row: self.next.row,
                    };
                    continue;
                }
                Ok(Some(record)) => {
                    let ours = inventory.is_ours(&record, self.next.row);
                    if ours || self.surveys {
                        let selected = inventory.select(&record, &self.options);
                        selected.map(|seen| match seen {
                            Some(seen) if ours => Found::Row(row(seen)),
                            None if ours => Found::Filtered,
                            None => Found::Others(false, false),
                            Some(seen) => Found::Others(true, seen.delete_marker && seen.is_latest),
                        })
                    } else {
                        Ok(Found::Others(false, false))
                    }
                }
                Err(source) => {
                    let path = path.clone();
                    return Err(ManifestError::DataFile { path, source });
                }
            };
            let (after, line, byte) = decoder.at();
            self.next.byte = after;
            self.next.row += u64::from(inventory.deal.numbers_rows());
            return Ok(Some(match found {
                Ok(found) => found,
                Err(problem) => {
                    let row = BadRow {
                        line,
                        byte,
                        problem,
                    };
                    Found::Bad(path.clone(), row)
                }
            }));
        }
    }
}

/// Reads a whole inventory: finds every bad row, counts the rows, compares every digest.
///
/// # Errors
/// It is no inventory, a data file is missing or not whole, or there are bad rows.
pub(crate) fn survey(
    file: ManifestFile,
    pinned: &Pinned,
    options: &ManifestOptions,
    mut watching: Watching<'_>,
) -> Result<Survey, ManifestError> {
    let path = file.name();
    let purpose = if watching.inspects() {
        Purpose::Inspect
    } else {
        Purpose::Copy
    };
    let inventory = Inventory::open(&file, pinned, options, purpose)?;
    let (versions, deal) = (inventory.versions, inventory.deal);
    let created = inventory.manifest.creation_timestamp.as_deref();
    let created = created
        .and_then(|milliseconds| milliseconds.parse::<i128>().ok())
        .and_then(|at| time::OffsetDateTime::from_unix_timestamp_nanos(at * 1_000_000).ok());
    let mut form = InventoryForm {
        file_format: inventory.manifest.file_format.clone(),
        files: inventory.manifest.files.len() as u64,
        created: created.map(time_text),
        e_tags: inventory.columns.contains(&Some(Column::ETag)),
        dates: inventory.columns.contains(&Some(Column::LastModifiedDate)),
        data_e_tags: Vec::new(),
    };
    let mut survey = Survey {
        rows: 0,
        filtered: 0,
        bad_rows: 0,
        bucket: inventory.manifest.source_bucket.clone(),
        version_ids: matches!(versions, Some(Versions::Listed | Versions::All)),
        delete_markers: 0,
        latest_delete_markers: 0,
        sorted_bytes: 0,
        form: Form::Inventory(form.clone()),
        e_tag: pinned.e_tag().to_owned(),
        file_bytes: pinned.bytes(),
        dealt: None,
        stamp: None,
    };
    let mut rows = Rows::new(file, &survey, &form, options, Position::default());
    (rows.inventory, rows.surveys) = (Some(inventory), true);
    let (mut number, mut others) = (0, 0);
    let mut listed: Option<(PathBuf, Vec<BadRow>)> = None;
    let sorted = versions == Some(Versions::All);
    let mut counted = |seen: Seen<'_>| {
        let (marker, latest) = (seen.delete_marker, seen.is_latest);
        if !sorted && !watching.sees_rows() {
            return (marker, marker && latest, 0);
        }
        let row = parsed(seen);
        let bytes = if sorted { row.sorted_bytes() } else { 0 };
        watching.row(row);
        (marker, marker && latest, bytes)
    };
    while let Some(found) = rows.next(&mut counted)? {
        number += 1;
        match found {
            Found::Filtered => survey.filtered += 1,
            Found::Others(selected, latest_marker) => {
                others += u64::from(selected);
                survey.latest_delete_markers += u64::from(latest_marker);
            }
            Found::Row((marker, latest_marker, sorted_bytes)) => {
                survey.rows += 1;
                survey.delete_markers += u64::from(marker);
                survey.latest_delete_markers += u64::from(latest_marker);
                survey.sorted_bytes += sorted_bytes;
            }
            Found::Bad(file, row) => {
                survey.bad_rows += 1;
                // Of the first file that has some; the others are counted.
                let (first, listed) = listed.get_or_insert_with(|| (file.clone(), Vec::new()));
                if *first == file && listed.len() < LISTED_BAD_ROWS {
                    listed.push(row);
                }
            }
        }
    }
    survey.dealt = deal.dealt(form.files, number);
    // One that has rows for other shards is not empty; what other files have is not known.
    let selects = survey.rows + others > 0 || matches!(deal, Deal::Files(_));
    form.data_e_tags = rows.data_e_tags;
    survey.form = Form::Inventory(form);
    match listed {
        Some((path, rows)) => match watching.bad(&path, rows) {
            Ok(()) => Ok(survey),
            Err(rows) => Err(ManifestError::BadRows {
                path,
                total: survey.bad_rows,
                rows,
            }),
        },
        None if !selects && !watching.inspects() => Err(ManifestError::Empty {
            path,
            filtered: survey.filtered,
        }),
        None => Ok(survey),
    }
}
