//! Rows in: what a job is to copy.
//!
//! A manifest is read twice. [`survey`] reads all of it before the first request and finds every bad
//! row; [`Source`] then hands the rows to the job, from any [`Position`] that a report has recorded.

mod csv;
pub mod key;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::csv::{Source, check_unchanged, digest_of, survey};
use self::key::{EncodingDoubt, KeyEncoding};

/// Where a row begins: a file of the source, by number, and a byte in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Number of the file, from 0.
    pub file: u32,
    /// Byte in the file.
    pub byte: u64,
}

/// A place and the ordinal of the first selected row at or behind it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Where to begin reading.
    #[serde(flatten)]
    pub place: Place,
    /// The ordinal that the next selected row has.
    pub ordinal: u64,
}

/// What a manifest knows of an object besides its name. Up to two days old: hints, never pins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Time of last change, as the manifest wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
    /// ETag without quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e_tag: Option<String>,
    /// Storage class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
}

impl Facts {
    /// The columns that a failed-rows file has behind the report's, in order.
    pub fn fields(&self) -> [String; 4] {
        [
            self.size.map(|size| size.to_string()).unwrap_or_default(),
            self.last_modified.clone().unwrap_or_default(),
            self.e_tag.clone().unwrap_or_default(),
            self.storage_class.clone().unwrap_or_default(),
        ]
    }
}

/// One selected row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its place in its pass.
    pub ordinal: u64,
    /// Where the row after it begins.
    pub after: Place,
    /// The key, decoded.
    pub key: String,
    /// The key as the report writes it: URL-encoded, an encoded manifest's own spelling.
    pub spelling: String,
    /// The version, where the manifest names one.
    pub version_id: Option<String>,
    /// What else the manifest knows.
    pub facts: Facts,
    /// Why the row cannot be run; only rows of a manifest that came from a stream are kept so.
    pub problem: Option<String>,
}

/// A column of a CSV manifest: S3 Batch Operations' names, and those of S3 Inventory that a copy
/// can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Field {
    /// Not read.
    Ignore,
    /// The source bucket.
    Bucket,
    /// The key.
    Key,
    /// The version.
    VersionId,
    /// Size in bytes: saves a request for objects over the multipart threshold.
    Size,
    /// Time of last change (RFC 3339).
    LastModifiedDate,
    /// ETag.
    ETag,
    /// Storage class.
    StorageClass,
}

impl Field {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Ignore, "Ignore"),
        (Self::Bucket, "Bucket"),
        (Self::Key, "Key"),
        (Self::VersionId, "VersionId"),
        (Self::Size, "Size"),
        (Self::LastModifiedDate, "LastModifiedDate"),
        (Self::ETag, "ETag"),
        (Self::StorageClass, "StorageClass"),
    ];

    /// The column's name.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(field, _)| *field == self)
            .map_or("", |(_, name)| name)
    }

    /// Reads a column's name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(field, _)| *field)
    }
}

/// Which rows of a manifest are selected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filters {
    /// Keys that begin with one of these; all keys if there is none.
    pub include_prefixes: Vec<String>,
    /// Keys that begin with one of these are left out.
    pub exclude_prefixes: Vec<String>,
    /// Smallest size in bytes, inclusive.
    pub min_size: Option<u64>,
    /// Largest size in bytes, inclusive.
    pub max_size: Option<u64>,
    /// Changed at or after this time.
    #[serde(with = "time::serde::rfc3339::option")]
    pub modified_after: Option<time::OffsetDateTime>,
    /// Changed before this time.
    #[serde(with = "time::serde::rfc3339::option")]
    pub modified_before: Option<time::OffsetDateTime>,
}

impl Filters {
    /// The column that a filter needs and that `fields` lacks, with the filter's flag.
    pub fn lacking(&self, fields: &[Field]) -> Option<(&'static str, Field)> {
        let needs = [
            (self.min_size.is_some(), "--min-size", Field::Size),
            (self.max_size.is_some(), "--max-size", Field::Size),
            (
                self.modified_after.is_some(),
                "--modified-after",
                Field::LastModifiedDate,
            ),
            (
                self.modified_before.is_some(),
                "--modified-before",
                Field::LastModifiedDate,
            ),
        ];
        needs
            .into_iter()
            .find(|(set, _, field)| *set && !fields.contains(field))
            .map(|(_, flag, field)| (flag, field))
    }

    /// Whether a row is selected. A row whose size or time is unknown passes those filters: it is
    /// better copied than lost.
    pub fn select(&self, key: &str, facts: &Facts) -> bool {
        let begins = |prefixes: &[String]| prefixes.iter().any(|p| key.starts_with(p.as_str()));
        let modified = facts.last_modified.as_deref().and_then(parse_time);
        (self.include_prefixes.is_empty() || begins(&self.include_prefixes))
            && !begins(&self.exclude_prefixes)
            && self
                .min_size
                .is_none_or(|min| facts.size.is_none_or(|size| size >= min))
            && self
                .max_size
                .is_none_or(|max| facts.size.is_none_or(|size| size <= max))
            && self
                .modified_after
                .is_none_or(|after| modified.is_none_or(|at| at >= after))
            && self
                .modified_before
                .is_none_or(|before| modified.is_none_or(|at| at < before))
    }
}

/// Reads a time of S3 Inventory or RFC 3339.
pub fn parse_time(text: &str) -> Option<time::OffsetDateTime> {
    time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()
}

/// How a CSV manifest is read. What `auto` means is settled by [`survey`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsvOptions {
    /// Columns; by their number, two or three, where none are named.
    pub fields: Option<Vec<Field>>,
    /// How keys are spelt; found out where it is not named.
    pub key_encoding: Option<KeyEncoding>,
    /// Which rows are selected.
    pub filters: Filters,
    /// A bad row ends as a failed row of its own instead of stopping the job: the manifest came
    /// from a stream that cannot be mended and read again.
    pub keep_bad_rows: bool,
    /// Bytes that the destination's prefix adds to a key, and the prefix that is removed first.
    pub rename: Rename,
}

/// How a source key becomes a destination key: plain concatenation, nothing trimmed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rename {
    /// Put before the key.
    pub prefix: String,
    /// Removed from the key first.
    pub strip_prefix: Option<String>,
}

impl Rename {
    /// The destination key; `None` where the source key lacks the prefix to strip.
    pub fn destination_key(&self, key: &str) -> Option<String> {
        let rest = match &self.strip_prefix {
            Some(prefix) => key.strip_prefix(prefix.as_str())?,
            None => key,
        };
        Some(format!("{}{rest}", self.prefix))
    }
}

/// What [`survey`] found in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// Selected rows.
    pub rows: u64,
    /// Rows that the filters left out.
    pub filtered: u64,
    /// Bad rows among the selected; none unless they are kept.
    pub bad_rows: u64,
    /// The one source bucket.
    pub bucket: String,
    /// Its rows name versions.
    pub version_ids: bool,
    /// Columns.
    pub fields: Vec<Field>,
    /// How keys are spelt.
    pub key_encoding: KeyEncoding,
    /// MD5 of the manifest, hex: what S3 would show as its ETag.
    pub md5: String,
    /// Size of the manifest.
    pub file_bytes: u64,
    /// It begins with a byte order mark, which is skipped.
    pub byte_order_mark: bool,
    /// The file as it was found; none in a later attempt.
    #[serde(skip)]
    pub(crate) stamp: Option<csv::Stamp>,
}

/// A row that cannot be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Line on which it begins, from 1.
    pub line: u64,
    /// Byte at which it begins.
    pub byte: u64,
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
    #[error("the manifest {} has changed since the job began (MD5 {found}, then {expected})", path.display())]
    Changed {
        /// The manifest.
        path: PathBuf,
        /// Its MD5 now.
        found: String,
        /// Its MD5 when the job began.
        expected: String,
    },
}

fn list_bad_rows(path: &std::path::Path, total: u64, rows: &[BadRow]) -> String {
    use std::fmt::Write as _;
    let plural = if total == 1 { "row" } else { "rows" };
    let mut list = format!("the manifest {} has {total} bad {plural}", path.display());
    for row in rows {
        let _ = write!(
            list,
            "\n  line {} (byte {}): {}",
            row.line, row.byte, row.problem
        );
    }
    let more = total.saturating_sub(rows.len() as u64);
    if more > 0 {
        let _ = write!(list, "\n  and {more} more");
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_renamed_by_concatenation_alone() {
        let rename = |prefix: &str, strip: Option<&str>| Rename {
            prefix: prefix.into(),
            strip_prefix: strip.map(Into::into),
        };
        assert_eq!(
            rename("", None).destination_key("/a//b/").unwrap(),
            "/a//b/"
        );
        assert_eq!(rename("p", None).destination_key("a").unwrap(), "pa");
        assert_eq!(rename("p/", None).destination_key("/a").unwrap(), "p//a");
        assert_eq!(
            rename("p/", Some("a/")).destination_key("a/b").unwrap(),
            "p/b"
        );
        assert_eq!(rename("p/", Some("a/")).destination_key("b/a/"), None);
    }

    #[test]
    fn filters_select() {
        let facts = |size: Option<u64>, at: &str| Facts {
            size,
            last_modified: Some(at.into()),
            ..Facts::default()
        };
        let filters = Filters {
            include_prefixes: vec!["a/".into(), "b/".into()],
            exclude_prefixes: vec!["a/x".into()],
            min_size: Some(10),
            max_size: Some(20),
            modified_after: parse_time("2026-01-01T00:00:00Z"),
            modified_before: parse_time("2026-02-01T00:00:00Z"),
        };
        let (inside, before, after) = (
            "2026-01-15T00:00:00.000Z",
            "2025-12-31T23:59:59Z",
            "2026-02-01T00:00:00Z",
        );
        for (key, size, at, selected) in [
            ("a/1", Some(10), inside, true),
            ("b/1", Some(20), inside, true),
            ("c/1", Some(10), inside, false),
            ("a/x1", Some(10), inside, false),
            ("a/1", Some(9), inside, false),
            ("a/1", Some(21), inside, false),
            ("a/1", None, inside, true),
            ("a/1", Some(10), before, false),
            ("a/1", Some(10), after, false),
            ("a/1", Some(10), "?", true),
        ] {
            assert_eq!(
                filters.select(key, &facts(size, at)),
                selected,
                "{key} {size:?} {at}"
            );
        }
    }
}
