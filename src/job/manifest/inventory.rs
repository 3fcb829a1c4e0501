//! Rows of an S3 Inventory, by its `manifest.json`, from the files that it lists.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html>

mod csv;

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::key::{self, KeyEncoding, Shown};
#[cfg(feature = "orc")]
use super::orc;
use super::parquet;
use super::watched::{self, Stamp, Watched};
use super::{
    BadRow, Facts, Field, Form, InventoryForm, LISTED_BAD_ROWS, ManifestError, ManifestOptions,
    Parsed, Place, Position, Row, Survey, Versions, digest_of, io_error,
};
use crate::job::report::time_text;

/// Folders above the manifest in which its data files are looked for.
const SEARCHED_FOLDERS: usize = 8;

/// `manifest.json`. Members that it does not know are left alone, as new ones come.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    source_bucket: String,
    creation_timestamp: Option<String>,
    file_format: String,
    file_schema: String,
    files: Vec<DataFile>,
}

#[derive(Debug, Clone, Deserialize)]
struct DataFile {
    key: String,
    #[serde(rename = "MD5checksum")]
    md5: String,
}

/// What a copy can use of an object's line.
#[derive(Debug, Default)]
pub(super) struct Record<'a> {
    pub(super) bucket: &'a [u8],
    pub(super) key: &'a [u8],
    pub(super) version_id: &'a [u8],
    pub(super) is_latest: Option<bool>,
    pub(super) is_delete_marker: bool,
    pub(super) size: Option<u64>,
    pub(super) last_modified: Modified<'a>,
    pub(super) e_tag: &'a [u8],
    pub(super) storage_class: &'a [u8],
}

#[derive(Debug, Default, Clone, Copy)]
pub(super) enum Modified<'a> {
    #[default]
    Unknown,
    /// As the file spells it.
    Text(&'a [u8]),
    /// Nanoseconds since 1970.
    Nanoseconds(i128),
}

/// Columns by their names in CSV, ORC and Parquet: `LastModifiedDate` is `last_modified_date`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Bucket,
    Key,
    VersionId,
    IsLatest,
    IsDeleteMarker,
    Size,
    LastModifiedDate,
    ETag,
    StorageClass,
}

impl Column {
    /// None for a column that a copy cannot use.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name.replace('_', "").to_ascii_lowercase().as_str() {
            "bucket" => Self::Bucket,
            "key" => Self::Key,
            "versionid" => Self::VersionId,
            "islatest" => Self::IsLatest,
            "isdeletemarker" => Self::IsDeleteMarker,
            "size" => Self::Size,
            "lastmodifieddate" => Self::LastModifiedDate,
            "etag" => Self::ETag,
            "storageclass" => Self::StorageClass,
            _ => return None,
        })
    }
}

/// What a data file's decoder says next.
pub(super) type Decoded<'a> = Result<Option<Record<'a>>, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Debug)]
enum Decoder {
    Csv(Box<csv::Decoder>),
    #[cfg(feature = "orc")]
    Orc(Box<orc::Decoder>),
    Parquet(Box<parquet::Decoder>),
}

impl Decoder {
    fn next(&mut self) -> Decoded<'_> {
        match self {
            Self::Csv(decoder) => decoder.next(),
            #[cfg(feature = "orc")]
            Self::Orc(decoder) => decoder.next(),
            Self::Parquet(decoder) => decoder.next(),
        }
    }

    /// Where the row behind the last one begins, and what a user finds that one by.
    fn at(&self) -> (u64, u64, Option<u64>) {
        match self {
            Self::Csv(decoder) => decoder.at(),
            #[cfg(feature = "orc")]
            Self::Orc(decoder) => (decoder.row(), decoder.row(), None),
            Self::Parquet(decoder) => (decoder.row(), decoder.row(), None),
        }
    }
}

/// A data file that is being read.
#[derive(Debug)]
struct Open {
    path: PathBuf,
    decoder: Decoder,
    at_end: Watched,
}

/// An inventory that was found to be one.
#[derive(Debug)]
struct Inventory {
    path: PathBuf,
    manifest: Manifest,
    /// Columns of its CSV files, in order.
    columns: Vec<Option<Column>>,
    /// It lists versions.
    versions: bool,
}

impl Inventory {
    fn open(path: &Path, options: &ManifestOptions) -> Result<Self, ManifestError> {
        let bad = |what: String| ManifestError::Inventory {
            path: path.to_owned(),
            what,
        };
        let json = std::fs::read(path).map_err(io_error(path))?;
        let manifest: Manifest = serde_json::from_slice(&json)
            .map_err(|error| bad(format!("is no manifest.json of S3 Inventory: {error}")))?;
        if options.fields.is_some() || options.key_encoding.is_some() {
            return Err(bad(
                "names its columns itself, and its format says how keys are spelt: leave out \
                 --manifest-fields and --key-encoding"
                    .to_owned(),
            ));
        }
        let columns = columns(&manifest.file_schema);
        let has = |column| columns.contains(&Some(column));
        match manifest.file_format.as_str() {
            "CSV" | "Parquet" => {}
            "ORC" if cfg!(feature = "orc") => {}
            "ORC" => {
                return Err(bad(
                    "has data files in ORC, which this build does not read: install it with \
                     `cargo install --features orc`, take the container or a binary of a release, or \
                     have S3 write CSV or Parquet"
                        .to_owned(),
                ));
            }
            other => return Err(bad(format!("has data files of the unknown format {other}"))),
        }
        for (column, name) in [(Column::Bucket, "Bucket"), (Column::Key, "Key")] {
            if !has(column) {
                return Err(bad(format!("has no column {name} in its fileSchema")));
            }
        }
        let needed = [
            (Column::Size, Field::Size),
            (Column::LastModifiedDate, Field::LastModifiedDate),
        ];
        let fields: Vec<_> = needed
            .into_iter()
            .filter(|(column, _)| has(*column))
            .map(|(_, field)| field)
            .collect();
        if let Some((flag, field)) = options.filters.lacking(&fields) {
            let path = path.to_owned();
            return Err(ManifestError::Lacking { path, flag, field });
        }
        let versions = has(Column::IsLatest);
        if versions && options.versions.is_none() {
            return Err(bad(
                "lists all versions: say --versions latest for the objects as they stand, or \
                 --versions listed for every version, in no order"
                    .to_owned(),
            ));
        }
        if options.versions == Some(Versions::Listed) && !has(Column::VersionId) {
            return Err(bad("lists no version IDs for --versions listed".to_owned()));
        }
        check_sum(path, &json)?;
        Ok(Self {
            path: path.to_owned(),
            manifest,
            columns,
            versions,
        })
    }

    /// The data file of that number, found, whole, and ready to be read from `byte` on.
    fn decoder(&self, number: usize, byte: u64) -> Result<Open, ManifestError> {
        let file = &self.manifest.files[number];
        let path = self.locate(&file.key)?;
        let opened = File::open(&path).map_err(io_error(&path))?;
        let before = Stamp::of(&opened).map_err(io_error(&path))?;
        watched::check_unchanged(&path, &file.md5).map_err(|error| match error {
            ManifestError::Changed {
                found, expected, ..
            } => ManifestError::DataFile {
                path: path.clone(),
                source: format!("its MD5 is {found}, manifest.json lists {expected}").into(),
            },
            other => other,
        })?;
        let failed = |source| ManifestError::DataFile {
            path: path.clone(),
            source,
        };
        let watched = |file_again| Watched::new(file_again, &path, &file.md5, Some(before));
        // Readers of ORC and Parquet go to and fro in the file: it is looked at once more at its end.
        let at_end = opened
            .try_clone()
            .and_then(watched)
            .map_err(io_error(&path))?;
        let watched = watched(opened).map_err(io_error(&path))?;
        let decoder = match self.manifest.file_format.as_str() {
            "CSV" => {
                let columns = self.columns.clone();
                let decoder = csv::Decoder::new(watched, columns, byte).map_err(failed)?;
                Decoder::Csv(Box::new(decoder))
            }
            #[cfg(feature = "orc")]
            "ORC" => {
                let decoder = orc::Decoder::new(watched.into_file(), byte).map_err(failed)?;
                Decoder::Orc(Box::new(decoder))
            }
            _ => {
                let decoder = parquet::Decoder::new(watched.into_file(), byte).map_err(failed)?;
                Decoder::Parquet(Box::new(decoder))
            }
        };
        Ok(Open {
            path,
            decoder,
            at_end,
        })
    }

    /// Where a data file lies: its key is of the inventory's bucket, of which any part may have been
    /// copied, the manifest with it. The nearest file under the longest end of its key is the one; its
    /// MD5 says so.
    fn locate(&self, key: &str) -> Result<PathBuf, ManifestError> {
        let parts: Vec<&str> = key.split('/').filter(|part| !part.is_empty()).collect();
        let manifest = std::fs::canonicalize(&self.path).map_err(io_error(&self.path))?;
        for folder in manifest.ancestors().skip(1).take(SEARCHED_FOLDERS) {
            for from in 0..parts.len() {
                let end = parts.get(from..).unwrap_or_default();
                if end.contains(&"..") {
                    continue;
                }
                let path = end
                    .iter()
                    .fold(folder.to_owned(), |path, part| path.join(part));
                if path.is_file() {
                    return Ok(path);
                }
            }
        }
        Err(ManifestError::Inventory {
            path: self.path.clone(),
            what: format!(
                "lists the data file {}, which lies neither beside it nor above: copy the \
                 inventory's data folder too",
                Shown(key)
            ),
        })
    }

    /// The row that a record makes; `None` if it is not selected.
    fn select(
        &self,
        record: &Record<'_>,
        options: &ManifestOptions,
    ) -> Result<Option<Parsed>, String> {
        if record.bucket != self.manifest.source_bucket.as_bytes() {
            return Err(format!(
                "its bucket is {}, the inventory's {}",
                Shown(&String::from_utf8_lossy(record.bucket)),
                Shown(&self.manifest.source_bucket)
            ));
        }
        if self.versions
            && options.versions == Some(Versions::Latest)
            && (record.is_latest != Some(true) || record.is_delete_marker)
        {
            return Ok(None);
        }
        // Encoded in CSV alone.
        let csv = self.manifest.file_format == "CSV";
        let encoding = if csv {
            KeyEncoding::Url
        } else {
            KeyEncoding::Raw
        };
        let key = key::decode(record.key, encoding).map_err(|error| error.to_string())?;
        let facts = facts(record)?;
        if !options.filters.select(&key, &facts) {
            return Ok(None);
        }
        options.rename.check_length(&key)?;
        let spelling = key::spelling(record.key, &key, encoding);
        let version_id = match options.versions {
            Some(Versions::Listed) => Some(match text(record.version_id, "VersionId")? {
                // Written before the bucket had versions.
                None => "null".to_owned(),
                Some(id) => id,
            }),
            _ => None,
        };
        Ok(Some(Parsed {
            key,
            spelling,
            version_id,
            facts,
            problem: None,
            delete_marker: record.is_delete_marker,
        }))
    }
}

/// `manifest.checksum` beside the manifest, where it was copied too, has its MD5.
fn check_sum(path: &Path, json: &[u8]) -> Result<(), ManifestError> {
    let Ok(listed) = std::fs::read_to_string(path.with_file_name("manifest.checksum")) else {
        return Ok(());
    };
    let (found, _) = digest_of(json).map_err(io_error(path))?;
    if found.eq_ignore_ascii_case(listed.trim()) {
        return Ok(());
    }
    Err(ManifestError::Inventory {
        path: path.to_owned(),
        what: format!(
            "has MD5 {found}, and manifest.checksum beside it says {}: one of them is not whole, or \
             of another day",
            Shown(listed.trim())
        ),
    })
}

/// The columns of a `fileSchema`: `Bucket, Key, …` of CSV, `struct<bucket:string,…>` of ORC, `message
/// s3.inventory { required binary bucket (UTF8); … }` of Parquet.
fn columns(schema: &str) -> Vec<Option<Column>> {
    let schema = schema.trim();
    if let Some(fields) = schema.strip_prefix("struct<") {
        let fields = fields.strip_suffix('>').unwrap_or(fields);
        // Types have commas of their own: `decimal(10,2)`, `map<string,bigint>`.
        let mut depth = 0_usize;
        let fields = fields.split(move |character| {
            match character {
                '<' | '(' => depth += 1,
                '>' | ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            character == ',' && depth == 0
        });
        let names = fields.map(|field| field.split(':').next().unwrap_or_default());
        return names.map(|name| Column::named(name.trim())).collect();
    }
    let Some((_, fields)) = schema.split_once('{') else {
        return schema
            .split(',')
            .map(|name| Column::named(name.trim()))
            .collect();
    };
    let fields = fields.trim_end().trim_end_matches('}');
    fields
        .split(';')
        .filter_map(|field| field.split_whitespace().nth(2).map(Column::named))
        .collect()
}

fn text(bytes: &[u8], name: &str) -> Result<Option<String>, String> {
    match std::str::from_utf8(bytes) {
        Ok("") => Ok(None),
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => Err(format!("its {name} is not UTF-8")),
    }
}

fn facts(record: &Record<'_>) -> Result<Facts, String> {
    let last_modified = match record.last_modified {
        Modified::Unknown => None,
        Modified::Text(bytes) => text(bytes, "LastModifiedDate")?,
        Modified::Nanoseconds(at) => {
            let at = time::OffsetDateTime::from_unix_timestamp_nanos(at)
                .map_err(|_| "its last_modified_date is no time".to_owned())?;
            Some(time_text(at))
        }
    };
    if let Some(text) = &last_modified
        && super::parse_time(text).is_none()
    {
        return Err(format!(
            "its LastModifiedDate is {}, no RFC 3339 time",
            Shown(text)
        ));
    }
    let e_tag = text(record.e_tag, "ETag")?;
    Ok(Facts {
        size: record.size,
        last_modified,
        e_tag: e_tag.map(|e_tag| e_tag.trim_matches('"').to_owned()),
        storage_class: text(record.storage_class, "StorageClass")?,
    })
}

/// What comes next of an inventory.
enum Found {
    Row(Parsed, Place),
    Filtered,
    Bad(PathBuf, BadRow),
}

/// The selected rows of an inventory, in order.
#[derive(Debug)]
pub struct Rows {
    path: PathBuf,
    md5: String,
    options: ManifestOptions,
    inventory: Option<Inventory>,
    open: Option<Open>,
    /// Where reading goes on.
    next: Place,
    ordinal: u64,
}

impl Rows {
    /// The rows of a surveyed inventory, from `start`.
    pub fn new(path: &Path, survey: &Survey, options: &ManifestOptions, start: Position) -> Self {
        Self {
            path: path.to_owned(),
            md5: survey.md5.clone(),
            options: options.clone(),
            inventory: None,
            open: None,
            next: start.place,
            ordinal: start.ordinal,
        }
    }

    /// As [`Source::check_unchanged`](super::Source::check_unchanged); data files are compared as each is
    /// opened, and watched while it is read.
    pub fn check_unchanged(&self) -> Result<(), ManifestError> {
        watched::check_unchanged(&self.path, &self.md5)
    }

    /// As [`Source::next_row`](super::Source::next_row).
    pub fn next_row(&mut self) -> Result<Option<Row>, ManifestError> {
        loop {
            match self.next()? {
                None => return Ok(None),
                Some(Found::Filtered) => {}
                Some(Found::Bad(path, row)) => {
                    let rows = vec![row];
                    return Err(ManifestError::BadRows {
                        path,
                        total: 1,
                        rows,
                    });
                }
                Some(Found::Row(parsed, after)) => {
                    let ordinal = self.ordinal;
                    self.ordinal += 1;
                    return Ok(Some(parsed.into_row(ordinal, after)));
                }
            }
        }
    }

    fn next(&mut self) -> Result<Option<Found>, ManifestError> {
        let inventory = match &mut self.inventory {
            Some(inventory) => inventory,
            none => none.insert(Inventory::open(&self.path, &self.options)?),
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
                    none.insert(inventory.decoder(number, self.next.byte)?)
                }
            };
            let selected = match decoder.next() {
                Ok(None) => {
                    at_end.check().map_err(io_error(path))?;
                    self.open = None;
                    self.next = Place {
                        file: self.next.file + 1,
                        byte: 0,
                    };
                    continue;
                }
                Ok(Some(record)) => inventory.select(&record, &self.options),
                Err(source) => {
                    let path = path.clone();
                    return Err(ManifestError::DataFile { path, source });
                }
            };
            let (after, line, byte) = decoder.at();
            let after = Place {
                byte: after,
                ..self.next
            };
            return Ok(Some(match selected {
                Ok(None) => Found::Filtered,
                Ok(Some(parsed)) => Found::Row(parsed, after),
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
pub(super) fn survey(path: &Path, options: &ManifestOptions) -> Result<Survey, ManifestError> {
    let inventory = Inventory::open(path, options)?;
    let file = File::open(path).map_err(io_error(path))?;
    let (md5, file_bytes) = digest_of(file).map_err(io_error(path))?;
    let created = inventory.manifest.creation_timestamp.as_deref();
    let created = created
        .and_then(|milliseconds| milliseconds.parse::<i128>().ok())
        .and_then(|at| time::OffsetDateTime::from_unix_timestamp_nanos(at * 1_000_000).ok());
    let mut survey = Survey {
        rows: 0,
        filtered: 0,
        bad_rows: 0,
        bucket: inventory.manifest.source_bucket.clone(),
        version_ids: options.versions == Some(Versions::Listed),
        delete_markers: 0,
        form: Form::Inventory(InventoryForm {
            file_format: inventory.manifest.file_format.clone(),
            files: inventory.manifest.files.len() as u64,
            created: created.map(time_text),
            e_tags: inventory.columns.contains(&Some(Column::ETag)),
        }),
        md5,
        file_bytes,
        stamp: None,
    };
    let mut rows = Rows::new(path, &survey, options, Position::default());
    rows.inventory = Some(inventory);
    let mut listed: Option<(PathBuf, Vec<BadRow>)> = None;
    while let Some(found) = rows.next()? {
        match found {
            Found::Filtered => survey.filtered += 1,
            Found::Row(parsed, _) => {
                survey.rows += 1;
                survey.delete_markers += u64::from(parsed.delete_marker);
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
    match listed {
        Some((path, rows)) => Err(ManifestError::BadRows {
            path,
            total: survey.bad_rows,
            rows,
        }),
        None if survey.rows == 0 => Err(ManifestError::Empty {
            path: path.to_owned(),
            filtered: survey.filtered,
        }),
        None => Ok(survey),
    }
}

#[cfg(test)]
mod tests;
