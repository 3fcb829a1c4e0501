//! A completion report as a manifest: the rows of its results files, by its `manifest.json`.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use csv::ByteRecord;

use super::{Content, RowParser, bad_row, csv_reader, unwatched};
use crate::job::code::Code;
use crate::job::manifest::digest_of;
use crate::job::manifest::file::{Pinned, same_md5};
use crate::job::manifest::key::KeyEncoding;
use crate::job::manifest::{
    BadRow, Facts, Field, Form, LISTED_BAD_ROWS, ManifestError, ManifestFile, ManifestOptions,
    ReportForm, ReportRows, Survey, Versions, Watching, io_error, parse_time,
};
use crate::job::report::read::ResultsFile;
use crate::job::report::row::{COLUMNS, TaskStatus};
use crate::job::shard::Shard;

/// What a manifest takes of a report's columns.
pub(super) const FIELDS: [Field; COLUMNS] = [
    Field::Bucket,
    Field::Key,
    Field::VersionId,
    Field::Ignore,
    Field::Ignore,
    Field::Ignore,
    Field::Ignore,
];

/// Whether a line is of a report: it has as many columns, and the fourth says how a row ended.
pub(super) fn is_row(record: &ByteRecord) -> bool {
    let status = record
        .get(3)
        .and_then(|word| std::str::from_utf8(word).ok());
    record.len() == COLUMNS && status.and_then(TaskStatus::parse).is_some()
}

/// Opens a results file, which must be the one that the report lists.
pub(super) fn open(
    manifest: &ManifestFile,
    listed: &ResultsFile,
    byte: u64,
) -> Result<(ManifestFile, Content), ManifestError> {
    let file = manifest.sibling(&listed.name);
    let pinned = file.look()?;
    let content = match &pinned {
        // An object's ETag need not be its MD5: it is verified as it is read, if that is from its beginning.
        Pinned::Object(_) if byte == 0 => pinned.verified_content(&listed.md5),
        Pinned::Object(_) => pinned
            .raw(0)
            .and_then(digest_of)
            .and_then(|(md5, _)| same_md5(&md5, &listed.md5))
            .and_then(|()| pinned.content(byte)),
        Pinned::Disk { md5, .. } => same_md5(md5, &listed.md5).and_then(|()| pinned.content(byte)),
    };
    let content = content.map_err(io_error(&file.name()))?;
    Ok((file, content))
}

/// Refuses the merged report of an array of which a shard has been resumed since: its failed rows have gone
/// from the file that is listed, and the others are listed nowhere.
///
/// # Errors
/// One of the files of failed rows is gone, or it cannot be told.
pub(crate) fn check_merged(
    manifest: &ManifestFile,
    failed: &[ResultsFile],
) -> Result<(), ManifestError> {
    let of_shard = |name: &str| {
        let (folder, _) = name.split_once('/')?;
        Shard::of_folder(folder).map(|_| folder.to_owned())
    };
    for (listed, folder) in failed
        .iter()
        .filter_map(|listed| Some((listed, of_shard(&listed.name)?)))
    {
        if manifest.sibling(&listed.name).is_gone()? {
            let what = format!(
                "is not of its shards any more: {folder} was resumed since they were merged; run s3haul \
                 report merge again"
            );
            return Err(bad(&manifest.name(), &what));
        }
    }
    Ok(())
}

/// Reads all `files` of a report that a job takes rows from: finds every bad row and counts the rows.
///
/// # Errors
/// A file is not what the report lists, there are bad rows, or there is no row.
pub(crate) fn survey(
    file: &ManifestFile,
    pinned: &Pinned,
    files: Vec<ResultsFile>,
    options: &ManifestOptions,
    mut watching: Watching<'_>,
) -> Result<Survey, ManifestError> {
    let manifest = file.name();
    check(&manifest, options)?;
    let mut parser = RowParser::new(FIELDS.to_vec(), KeyEncoding::Url, options);
    let (mut number, mut rows, mut filtered, mut others, mut bad_rows) = (0, 0, 0, 0_u64, 0);
    // Of the first file that has some; the others are counted.
    let mut listed: Option<(PathBuf, Vec<BadRow>)> = None;
    for results in &files {
        let (file, content) = open(file, results, 0)?;
        let path = file.name();
        let mut reader = csv_reader(Cursor::new(Vec::new()).chain(content));
        let mut record = ByteRecord::new();
        while reader
            .read_byte_record(&mut record)
            .map_err(|source| ManifestError::Csv {
                path: path.clone(),
                source,
            })?
        {
            let ours = parser.is_ours(&record, number);
            number += 1;
            let problem = match parser.parse(&record) {
                Ok(parsed) if !ours => {
                    others += u64::from(parsed.is_some());
                    continue;
                }
                Ok(None) => {
                    filtered += 1;
                    continue;
                }
                Ok(Some(parsed)) => {
                    rows += 1;
                    watching.row(parsed);
                    continue;
                }
                Err(problem) => problem,
            };
            bad_rows += 1;
            let (first, listed) = listed.get_or_insert_with(|| (path.clone(), Vec::new()));
            if *first == path && listed.len() < LISTED_BAD_ROWS {
                let content = |byte| unwatched(&file, byte);
                listed.push(bad_row(content, 0, record.position(), problem)?);
            }
        }
    }
    match listed {
        Some((path, listed)) => {
            watching
                .bad(&path, listed)
                .map_err(|rows| ManifestError::BadRows {
                    path: path.clone(),
                    total: bad_rows,
                    rows,
                })?;
        }
        None if watching.inspects() || rows + others > 0 => {}
        None if filtered > 0 => {
            let path = manifest;
            return Err(ManifestError::Empty { path, filtered });
        }
        None => return Err(bad(&manifest, options.report_rows.absent())),
    }
    Ok(Survey {
        rows,
        filtered,
        bad_rows,
        bucket: parser.bucket.unwrap_or_default(),
        version_ids: parser.versions.unwrap_or(false),
        delete_markers: 0,
        latest_delete_markers: 0,
        sorted_bytes: 0,
        form: Form::Report(ReportForm { files }),
        e_tag: pinned.e_tag().to_owned(),
        file_bytes: pinned.bytes(),
        dealt: parser.deal.dealt(1, number),
        stamp: pinned.stamp(),
    })
}

/// What a report as a manifest does not take.
fn check(path: &Path, options: &ManifestOptions) -> Result<(), ManifestError> {
    if options.fields.is_some() || options.key_encoding.is_some() {
        let what = "has columns and keys as every report has them: leave out --manifest-fields and \
                    --key-encoding";
        return Err(bad(path, what));
    }
    let path = path.to_owned();
    match options.versions {
        Some(Versions::Latest) => return Err(ManifestError::NoLatest { path }),
        Some(Versions::All) => {
            let lacks = Field::LastModifiedDate;
            return Err(ManifestError::NoOrder { path, lacks });
        }
        Some(Versions::Listed) | None => {}
    }
    match options.filters.lacking(&FIELDS) {
        Some((flag, field)) => Err(ManifestError::Lacking { path, flag, field }),
        None => Ok(()),
    }
}

fn bad(path: &Path, what: &str) -> ManifestError {
    ManifestError::Report {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}

impl ReportRows {
    /// What a report says of rows that it does not have.
    fn absent(self) -> &'static str {
        match self {
            Self::Failed => "lists no failed rows: there is nothing left to copy of it",
            Self::Done => {
                "lists no rows that succeeded or were skipped (with --report-scope failed they are \
                 counted only)"
            }
        }
    }
}

/// What a row's message says of the source as it was copied. Where that was a delete marker there is
/// nothing to compare.
pub(super) fn facts(record: &ByteRecord) -> Facts {
    let message = record.get(COLUMNS - 1).unwrap_or_default();
    let message: serde_json::Value = serde_json::from_slice(message).unwrap_or_default();
    let text = |member: &str| message.get(member)?.as_str().map(str::to_owned);
    let skipped_marker = record.get(5) == Some(Code::DeleteMarker.as_str().as_bytes());
    Facts {
        size: message
            .get("source_size")
            .and_then(serde_json::Value::as_u64),
        last_modified: text("source_last_modified").and_then(|at| parse_time(&at)),
        e_tag: text("source_e_tag"),
        delete_marker: skipped_marker || text("by").as_deref() == Some("marker"),
        ..Facts::default()
    }
}
