//! Why a manifest cannot be read.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use s3haul_s3::{Class, S3Error};

use super::Field;
use super::key::EncodingDoubt;
use crate::job::access::AccessError;
use crate::job::report::read::ReadError;

/// A row that cannot be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Line on which it begins, from 1; of a Parquet file the row.
    pub line: u64,
    /// Byte at which it begins; a Parquet file has none.
    pub byte: Option<u64>,
    /// What is wrong with it.
    pub problem: String,
}

/// Bad rows that an error lists; the others are counted.
pub const LISTED_BAD_ROWS: usize = 10;

/// Why a manifest cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Opening or reading failed.
    #[error("cannot read the manifest {}", path.display())]
    Io {
        /// The manifest.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// CSV that no reader could make sense of.
    #[error("cannot read the manifest {}", path.display())]
    Csv {
        /// The manifest.
        path: PathBuf,
        /// Why, with line and byte.
        source: ::csv::Error,
    },
    /// There is no row in it, or none that the filters select.
    #[error("the manifest {} has no rows{}", path.display(), if *filtered > 0 { " that the filters select" } else { "" })]
    Empty {
        /// The manifest.
        path: PathBuf,
        /// Rows that the filters left out.
        filtered: u64,
    },
    /// It is gzip, ORC, Parquet or a JSON file.
    #[error("the manifest {} is {what}, not CSV", path.display())]
    NotCsv {
        /// The manifest.
        path: PathBuf,
        /// What it looks like.
        what: &'static str,
    },
    /// CSV does not say which version is the latest.
    #[error("--versions latest needs an inventory: the CSV manifest {} lists versions in no order and does not say which is the latest", path.display())]
    NoLatest {
        /// The manifest.
        path: PathBuf,
    },
    /// Nothing tells the order of the versions.
    #[error("--versions all needs the column {}, which the manifest {} does not have: it tells which version is older", lacks.name(), path.display())]
    NoOrder {
        /// The manifest.
        path: PathBuf,
        /// The column.
        lacks: Field,
    },
    /// The first row names columns.
    #[error("the manifest {} begins with a header row ({row}): a manifest has none", path.display())]
    Header {
        /// The manifest.
        path: PathBuf,
        /// The row.
        row: String,
    },
    /// The number of columns says nothing.
    #[error("line 1 of the manifest {} has {columns} columns: name them with --manifest-fields, e.g. Bucket,Key,Ignore", path.display())]
    Columns {
        /// The manifest.
        path: PathBuf,
        /// Columns of its first row.
        columns: usize,
    },
    /// `--key-encoding auto` cannot tell.
    #[error("line {line} of the manifest {} {doubt}: say --key-encoding raw or --key-encoding url", path.display())]
    Encoding {
        /// The manifest.
        path: PathBuf,
        /// Where it became clear.
        line: u64,
        /// What.
        doubt: EncodingDoubt,
    },
    /// Rows that cannot be run.
    #[error("{}", list_bad_rows(path, *total, rows))]
    BadRows {
        /// The manifest.
        path: PathBuf,
        /// How many there are.
        total: u64,
        /// The first [`LISTED_BAD_ROWS`].
        rows: Vec<BadRow>,
    },
    /// It is no inventory that can be read.
    #[error("the inventory {} {what}", path.display())]
    Inventory {
        /// Its `manifest.json`.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A completion report that cannot be a manifest.
    #[error("the report {} {what}", path.display())]
    Report {
        /// Its `manifest.json`.
        path: PathBuf,
        /// Why not.
        what: String,
    },
    /// What a report's `manifest.json` says cannot be used.
    #[error(transparent)]
    Results(#[from] ReadError),
    /// A data file of an inventory cannot be read.
    #[error("cannot read the inventory's data file {}", path.display())]
    DataFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A filter needs what the manifest does not say.
    #[error("{flag} needs the column {}, which the manifest {} does not have: name its columns with --manifest-fields", field.name(), path.display())]
    Lacking {
        /// The manifest.
        path: PathBuf,
        /// The filter's flag.
        flag: &'static str,
        /// The column.
        field: Field,
    },
    /// Whether a row was copied before cannot be found out.
    #[error("cannot read the index of the previous report")]
    CopiedBefore(#[source] io::Error),
    /// It changed while it was read.
    #[error(
        "the manifest has changed since the job began: {found} rows were found where {expected} are expected"
    )]
    OtherRows {
        /// Rows, or as many as make it clear.
        found: u64,
        /// Rows when the job began.
        expected: u64,
    },
    /// It is not the manifest that the job began with.
    #[error("the manifest {} has changed since the job began (its ETag, of a file the MD5, is {found}, and was {expected})", path.display())]
    Changed {
        /// The manifest.
        path: PathBuf,
        /// Its ETag now.
        found: String,
        /// Its ETag when the job began.
        expected: String,
    },
    /// It is not the manifest that was asked for.
    #[error("the manifest {} has the ETag {found}, and --manifest-etag asks for {expected}", path.display())]
    OtherETag {
        /// The manifest.
        path: PathBuf,
        /// Its ETag.
        found: String,
        /// The one asked for.
        expected: String,
    },
    /// An object cannot be looked at.
    #[error("cannot read the manifest {}", path.display())]
    Object {
        /// Its address.
        path: PathBuf,
        /// S3's answer.
        source: Box<S3Error>,
    },
    /// The job is to stop.
    #[error("stopped by a signal while the manifest was read")]
    Stopped,
    /// The bucket that it is in cannot be asked for.
    #[error(transparent)]
    Access(#[from] AccessError),
}

impl ManifestError {
    /// Whether S3 did not answer, or this process had no descriptor left, so that the same may work later.
    pub fn may_pass(&self) -> bool {
        let mut error: &(dyn std::error::Error + 'static) = self;
        loop {
            let boxed = error.downcast_ref::<Box<S3Error>>();
            let answer = error.downcast_ref().or(boxed.map(|boxed| &**boxed));
            if let Some::<&S3Error>(answer) = answer {
                return !matches!(answer.class(), Class::Permanent);
            }
            // An I/O error hides what it carries from its chain of sources.
            let carried = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref);
            error = match (carried, error.source()) {
                (Some(carried), _) => carried,
                (None, Some(source)) => source,
                (None, None) => {
                    let error = error.downcast_ref::<io::Error>();
                    let number = error.and_then(io::Error::raw_os_error);
                    let scarce = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
                    return number.is_some_and(|number| scarce.contains(&number));
                }
            };
        }
    }
}

fn list_bad_rows(path: &Path, total: u64, rows: &[BadRow]) -> String {
    use std::fmt::Write as _;
    let plural = if total == 1 { "row" } else { "rows" };
    let mut list = format!("the manifest {} has {total} bad {plural}", path.display());
    for row in rows {
        let _ = match row.byte {
            Some(byte) => write!(list, "\n  line {} (byte {byte}): {}", row.line, row.problem),
            None => write!(list, "\n  row {}: {}", row.line, row.problem),
        };
    }
    let more = total.saturating_sub(rows.len() as u64);
    if more > 0 {
        let _ = write!(list, "\n  and {more} more");
    }
    list
}

/// Names the file that could not be read.
pub(super) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> ManifestError {
    let path = path.to_owned();
    move |source| ManifestError::Io { path, source }
}
