//! Which rows of a manifest an earlier job has copied, by its report.
//!
//! The report becomes an index on disk: sixteen bytes for each row that succeeded, sorted, so that
//! neither the report's size nor the manifest's is a matter of memory. A row that is not surely in it is
//! copied.

mod index;

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use self::index::{Fingerprint, Index, Writer};
use super::read::{CompletionReport, ReadError};
use super::row::{ReportRow, TaskStatus};
use crate::job::code::Code;
use crate::job::manifest::key::{self, KeyEncoding};
use crate::job::manifest::{Row, parse_time};

/// What makes a row of the manifest one of the previous report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Matching {
    /// Bucket and key, and the version ID, or ETag and date, that the report recorded.
    Source,
    /// Bucket, key and version as the manifest names it: objects that changed since stay old.
    Key,
}

impl Matching {
    /// The flag's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Key => "key",
        }
    }
}

/// The report of an earlier job, whose rows are not copied again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousOptions {
    /// The report, by its absolute path.
    pub report: PathBuf,
    /// What makes a row one of it.
    pub matching: Matching,
}

/// Why a previous report cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PreviousError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The index cannot be written.
    #[error("cannot write the index of the previous report, {}", path.display())]
    Write {
        /// The index.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// None of its rows records what was copied.
    #[error("the report {} records neither versions nor ETags and dates of what was copied", path.display())]
    NoIdentity {
        /// The report.
        path: PathBuf,
    },
    /// A signal came first.
    #[error("stopped by a signal before the first request")]
    Stopped,
}

/// What a previous report holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Rows that succeeded in its job or an earlier one.
    pub succeeded: u64,
    /// Of them, rows that record what was copied.
    pub known: u64,
    /// Rows that cannot be read.
    pub unreadable: u64,
}

/// The rows that were copied before.
#[derive(Debug)]
pub struct CopiedBefore {
    index: Index,
    matching: Matching,
    bucket: String,
}

impl CopiedBefore {
    /// Reads a report to its end and writes the index of its rows to `path`, whole or not at all.
    /// `bucket` is the manifest's. Blocks; memory does not grow with the report.
    ///
    /// # Errors
    /// The report cannot be read, the index cannot be written, no row of the report can match, or
    /// `stop` came first.
    pub fn write(
        report: &CompletionReport,
        options: &PreviousOptions,
        bucket: &str,
        path: &Path,
        stop: &CancellationToken,
    ) -> Result<(Self, Counted), PreviousError> {
        let failed = |source| PreviousError::Write {
            path: path.to_owned(),
            source,
        };
        let matching = options.matching;
        let mut writer = Writer::new(path);
        let mut counted = Counted::default();
        let mut rows = report.rows();
        while let Some(row) = rows.next_row()? {
            if stop.is_cancelled() {
                return Err(PreviousError::Stopped);
            }
            if was_copied(&row) {
                counted.succeeded += 1;
                if let Some(fingerprint) = of_report_row(&row, matching) {
                    counted.known += 1;
                    writer.add(fingerprint).map_err(failed)?;
                }
            }
        }
        counted.unreadable = rows.unreadable();
        if counted.succeeded > 0 && counted.known == 0 {
            let path = report.path().to_owned();
            return Err(PreviousError::NoIdentity { path });
        }
        let index = writer.finish(path, &mark(options), stop).map_err(failed)?;
        let index = index.ok_or(PreviousError::Stopped)?;
        let bucket = bucket.to_owned();
        let before = Self {
            index,
            matching,
            bucket,
        };
        Ok((before, counted))
    }

    /// Opens an index that was written with these options; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(path: &Path, options: &PreviousOptions, bucket: &str) -> io::Result<Option<Self>> {
        let index = Index::open(path, &mark(options))?;
        Ok(index.map(|index| Self {
            index,
            matching: options.matching,
            bucket: bucket.to_owned(),
        }))
    }

    /// By what a row was copied before; `None` where it is to be copied. Reads a page or two of the
    /// index.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn look(&self, row: &Row) -> io::Result<Option<Matching>> {
        let Some(fingerprint) = of_row(&self.bucket, row, self.matching) else {
            return Ok(None);
        };
        let found = self.index.contains(&fingerprint)?;
        Ok(found.then_some(self.matching))
    }
}

/// Tells an index from that of another report, which a job of the same ID may have left.
fn mark(options: &PreviousOptions) -> Fingerprint {
    let report = options.report.as_os_str().as_encoded_bytes();
    fingerprint("index", &[report, options.matching.as_str().as_bytes()])
}

fn was_copied(row: &ReportRow) -> bool {
    match row.status {
        TaskStatus::Succeeded => true,
        TaskStatus::Skipped => row.error_code == Code::CopiedBefore.as_str(),
        TaskStatus::Failed => false,
    }
}

/// What our own rows say of the object that was copied.
#[derive(Debug, Default, Deserialize)]
struct Message {
    source_e_tag: Option<String>,
    source_last_modified: Option<String>,
}

fn of_report_row(row: &ReportRow, matching: Matching) -> Option<Fingerprint> {
    let key = key::decode(row.key.as_bytes(), KeyEncoding::Url);
    let key = key.unwrap_or(Cow::Borrowed(&row.key));
    // S3 Batch Operations writes plain text.
    let message: Message = match matching {
        Matching::Source => serde_json::from_str(&row.message).unwrap_or_default(),
        Matching::Key => Message::default(),
    };
    let object = Object {
        bucket: &row.bucket,
        key: &key,
        version_id: &row.version_id,
        e_tag: message.source_e_tag.as_deref(),
        last_modified: message.source_last_modified.as_deref().and_then(parse_time),
    };
    object.fingerprint(matching)
}

fn of_row(bucket: &str, row: &Row, matching: Matching) -> Option<Fingerprint> {
    let object = Object {
        bucket,
        key: &row.key,
        version_id: row.version_id.as_deref().unwrap_or_default(),
        e_tag: row.facts.e_tag.as_deref(),
        last_modified: row.facts.last_modified,
    };
    object.fingerprint(matching)
}

/// What a row names, and what is known of it.
struct Object<'o> {
    bucket: &'o str,
    key: &'o str,
    version_id: &'o str,
    e_tag: Option<&'o str>,
    last_modified: Option<OffsetDateTime>,
}

impl Object<'_> {
    /// `None` where too little is known to tell the object from what it may become.
    fn fingerprint(&self, matching: Matching) -> Option<Fingerprint> {
        let named = [self.bucket, self.key, self.version_id].map(str::as_bytes);
        // The null version is overwritten in place: its ID tells no content.
        let is_version = !matches!(self.version_id, "" | "null");
        Some(match matching {
            Matching::Key => fingerprint("key", &named),
            Matching::Source if is_version => fingerprint("version", &named),
            Matching::Source => {
                let e_tag = self.e_tag?.trim_matches('"');
                let at = self.last_modified?;
                if e_tag.is_empty() {
                    return None;
                }
                let [bucket, key, version_id] = named;
                let milliseconds = (at.unix_timestamp_nanos() / 1_000_000).to_be_bytes();
                let known = [bucket, key, version_id, e_tag.as_bytes(), &milliseconds];
                fingerprint("object", &known)
            }
        })
    }
}

/// The first half of SHA-256 over the fields, each behind its length: no two lists of fields run
/// together, and no key can be chosen to look like another.
fn fingerprint(kind: &str, fields: &[&[u8]]) -> Fingerprint {
    let mut sha = Sha256::new();
    for field in [kind.as_bytes()].iter().chain(fields) {
        sha.update((field.len() as u64).to_be_bytes());
        sha.update(field);
    }
    let mut first = Fingerprint::default();
    for (to, from) in first.iter_mut().zip(sha.finalize()) {
        *to = from;
    }
    first
}

#[cfg(test)]
mod tests;
