//! Rows in: what a job is to copy.
//!
//! A manifest is read twice. [`survey`] reads all of it before the first request and finds every bad
//! row; [`Source`] then hands the rows to the job, from any [`Position`] that a report has recorded.

mod csv;
mod deal;
mod error;
mod file;
mod inventory;
pub mod key;
mod object;
#[cfg(feature = "orc")]
mod orc;
mod parquet;
pub mod sort;
mod watched;

use std::borrow::Cow;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};
use s3haul_s3::quotas::MAX_KEY_BYTES;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use self::deal::Dealt;
use self::error::io_error;
pub use self::error::{BadRow, LISTED_BAD_ROWS, ManifestError};
pub use self::file::ManifestFile;
use self::key::KeyEncoding;
use self::watched::Stamp;
use super::report::previous::Matching;
use super::report::read::{ResultsFile, results_files};
use super::report::row::TaskStatus;
use super::report::time_text;
use super::shard::Shard;

/// Where a row begins: a file of the source, by number, and a byte in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Number of the file, from 0.
    pub file: u32,
    /// Byte in the file, once it is decompressed; of an ORC or Parquet file the number of the row.
    pub byte: u64,
    /// Its number in the manifest before any filter, where it takes that to tell which shard's it is; else 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub row: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
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
    /// Time of last change.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    pub last_modified: Option<OffsetDateTime>,
    /// ETag without quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e_tag: Option<String>,
    /// Storage class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// Encryption, by S3 Inventory's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<String>,
    /// It is a delete marker, which has no content.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delete_marker: bool,
}

impl Facts {
    /// The columns that a failed-rows file has behind the report's, in order.
    pub fn fields(&self) -> [String; 6] {
        [
            self.size.map(|size| size.to_string()).unwrap_or_default(),
            self.last_modified.map(time_text).unwrap_or_default(),
            self.e_tag.clone().unwrap_or_default(),
            self.storage_class.clone().unwrap_or_default(),
            self.encryption.clone().unwrap_or_default(),
            if self.delete_marker { "true" } else { "" }.to_owned(),
        ]
    }
}

/// One selected row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// Its place in its pass.
    pub ordinal: u64,
    /// Where the row after it begins.
    pub after: Place,
    /// The key, decoded.
    pub key: String,
    /// An encoded manifest's own spelling of the key.
    pub spelt: Option<String>,
    /// The version, where the manifest names one.
    pub version_id: Option<String>,
    /// What else the manifest knows.
    pub facts: Facts,
    /// Why the row cannot be run; only rows of a manifest that came from a stream are kept so.
    pub problem: Option<String>,
    /// It was the current version when the manifest was made.
    pub is_latest: bool,
    /// By what a previous report has it: it is skipped.
    pub copied_before: Option<Matching>,
    /// An older version of its key is at the destination since before this attempt, or may be.
    pub behind_older: bool,
    /// An earlier pass could not tell whether it was written: written again it may be there twice.
    pub doubted: bool,
}

impl Row {
    /// The key as the report writes it: URL-encoded, as an encoded manifest spells it.
    pub fn spelling(&self) -> Cow<'_, str> {
        match &self.spelt {
            Some(spelt) => Cow::Borrowed(spelt),
            None => Cow::Owned(key::encode(&self.key)),
        }
    }
}

/// A row before it has a place in its pass.
#[derive(Debug)]
struct Parsed {
    key: String,
    spelt: Option<String>,
    version_id: Option<String>,
    facts: Facts,
    problem: Option<String>,
    is_latest: bool,
    doubted: bool,
}

impl Parsed {
    fn into_row(self, ordinal: u64, after: Place) -> Row {
        let Self {
            key,
            spelt,
            version_id,
            facts,
            problem,
            is_latest,
            doubted,
        } = self;
        Row {
            ordinal,
            after,
            key,
            spelt,
            version_id,
            facts,
            problem,
            is_latest,
            copied_before: None,
            behind_older: false,
            doubted,
        }
    }
}

/// Why a row has no place among the versions of its key.
const NO_DATE: &str = "it has no LastModifiedDate, which --versions all sorts by";

/// The rows of a pass, in order.
#[derive(Debug)]
pub enum Source {
    /// Of a CSV manifest or a report, or failed rows of an earlier pass.
    Csv(Box<csv::Rows>),
    /// Of an inventory.
    Inventory(Box<inventory::Rows>),
}

impl Source {
    /// The selected rows of a surveyed manifest, from `start`.
    pub fn manifest(
        file: impl Into<ManifestFile>,
        survey: &Survey,
        options: &ManifestOptions,
        start: Position,
    ) -> Self {
        let file = file.into();
        match &survey.form {
            Form::Csv(form) => {
                Self::Csv(Box::new(csv::Rows::of(file, survey, form, options, start)))
            }
            Form::Report(form) => Self::Csv(Box::new(csv::Rows::of_report(
                file, survey, form, options, start,
            ))),
            Form::Inventory(form) => Self::Inventory(Box::new(inventory::Rows::new(
                file, survey, form, options, start,
            ))),
        }
    }

    /// The failed rows of an earlier pass, from `start`.
    pub fn failed_rows(files: Vec<ManifestFile>, start: Position) -> Self {
        Self::Csv(Box::new(csv::Rows::failed(files, start)))
    }

    /// The next selected row; `None` at the end.
    ///
    /// # Errors
    /// Reading fails, or a row is bad that the survey found good: the file has changed.
    pub fn next_row(&mut self) -> Result<Option<Row>, ManifestError> {
        match self {
            Self::Csv(rows) => rows.next_row(),
            Self::Inventory(rows) => rows.next_row(),
        }
    }

    /// Whether what was read is still the manifest that the job began with; always so of failed rows.
    ///
    /// # Errors
    /// It cannot be read, or is another file.
    pub fn check_unchanged(&self) -> Result<(), ManifestError> {
        match self {
            Self::Csv(rows) => rows.check_unchanged(),
            Self::Inventory(rows) => rows.check_unchanged(),
        }
    }
}

/// Reads a whole manifest: finds every bad row, counts the rows and takes the digest.
///
/// # Errors
/// It cannot be read, is no manifest, or has bad rows that are not to be kept.
pub fn survey(
    file: impl Into<ManifestFile>,
    options: &ManifestOptions,
) -> Result<Survey, ManifestError> {
    look(&file.into(), options, Watching::Nobody)
}

/// As [`survey`]; `met` takes each selected row, so that some can be picked without another reading.
///
/// # Errors
/// As [`survey`].
pub fn survey_rows(
    file: &ManifestFile,
    options: &ManifestOptions,
    met: &mut dyn FnMut(Row),
) -> Result<Survey, ManifestError> {
    look(file, options, Watching::Rows(met))
}

/// As [`survey`], to see what is in a manifest: `met` takes each selected row, and the first of the bad
/// ones, which stop nothing. Without [`Versions`] every version that an inventory lists is selected.
///
/// # Errors
/// It cannot be read, or is no manifest.
pub fn inspect(
    file: &ManifestFile,
    options: &ManifestOptions,
    met: &mut Met<'_>,
) -> Result<Survey, ManifestError> {
    look(file, options, Watching::All(met))
}

/// Takes a row, or a bad row of a file.
pub type Met<'m> = dyn FnMut(Result<Row, (&Path, BadRow)>) + 'm;

/// Who sees what a survey finds.
pub(crate) enum Watching<'m> {
    /// Nobody: a bad row is an error.
    Nobody,
    /// Somebody who wants the rows; a bad one is an error.
    Rows(&'m mut dyn FnMut(Row)),
    /// Somebody who wants to know what is in it, bad rows included, which stop nothing.
    All(&'m mut Met<'m>),
}

impl Watching<'_> {
    /// Whether the manifest is only looked at.
    fn inspects(&self) -> bool {
        matches!(self, Self::All(_))
    }

    fn sees_rows(&self) -> bool {
        !matches!(self, Self::Nobody)
    }

    fn row(&mut self, row: Parsed) {
        match self {
            Self::Nobody => {}
            Self::Rows(met) => met(row.into_row(0, Place::default())),
            Self::All(met) => met(Ok(row.into_row(0, Place::default()))),
        }
    }

    /// Takes the bad rows of a file, or gives them back where they are an error.
    fn bad(&mut self, file: &Path, rows: Vec<BadRow>) -> Result<(), Vec<BadRow>> {
        let Self::All(met) = self else {
            return Err(rows);
        };
        for row in rows {
            met(Err((file, row)));
        }
        Ok(())
    }
}

fn look(
    file: &ManifestFile,
    options: &ManifestOptions,
    watching: Watching<'_>,
) -> Result<Survey, ManifestError> {
    let pinned = file.look()?;
    if let Some(expected) = &options.expected_e_tag
        && pinned.e_tag() != expected
    {
        return Err(ManifestError::OtherETag {
            path: file.name(),
            found: pinned.e_tag().to_owned(),
            expected: expected.clone(),
        });
    }
    let mut start = Vec::new();
    pinned
        .content(0)
        .and_then(|content| content.take(8).read_to_end(&mut start))
        .map_err(io_error(&file.name()))?;
    let json = start.trim_ascii_start().starts_with(b"{");
    match options.format {
        ManifestFormat::Inventory => inventory::survey(file.clone(), &pinned, options, watching),
        // A stream has no data files beside it.
        ManifestFormat::Auto if json && !options.keep_bad_rows => {
            let path = file.name();
            let json = pinned.read().map_err(io_error(&path))?;
            let take = |status: &str| options.report_rows.takes(status);
            let failed = |status: &str| ReportRows::Failed.takes(status);
            if let Some(files) = results_files(&json, &path, failed)? {
                csv::check_merged(file, &files)?;
            }
            if let Some(files) = results_files(&json, &path, take)? {
                return csv::survey_report(file, &pinned, files, options, watching);
            }
            inventory::survey(file.clone(), &pinned, options, watching)
        }
        ManifestFormat::Auto | ManifestFormat::Csv => {
            csv::survey(file, &pinned, options, &start, watching)
        }
    }
}

/// The files of a surveyed manifest on disk that are read, by names under which they are found beside it:
/// itself first.
///
/// # Errors
/// One is not there.
pub fn files_on_disk(
    manifest: &Path,
    survey: &Survey,
    options: &ManifestOptions,
) -> Result<Vec<(String, PathBuf)>, ManifestError> {
    let name = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let mut files = vec![(name(manifest), manifest.to_owned())];
    match &survey.form {
        Form::Csv(_) => {}
        Form::Report(form) => files.extend(form.files.iter().map(|listed| {
            let path = manifest.with_file_name(&listed.name);
            (listed.name.clone(), path)
        })),
        Form::Inventory(_) => {
            let data = inventory::data_files(manifest, options)?;
            files.extend(data.into_iter().map(|path| (name(&path), path)));
            let sum = manifest.with_file_name(inventory::CHECKSUM);
            files.extend(sum.is_file().then(|| (inventory::CHECKSUM.to_owned(), sum)));
        }
    }
    Ok(files)
}

/// MD5, hex, and size of what is read.
///
/// # Errors
/// Reading fails.
pub fn digest_of(from: impl Read) -> io::Result<(String, u64)> {
    let (md5, bytes) = md5_of(from)?;
    Ok((crate::job::report::passes::hex(&md5), bytes))
}

/// MD5 and size of what is read.
///
/// # Errors
/// Reading fails.
pub fn md5_of(mut from: impl Read) -> io::Result<([u8; 16], u64)> {
    let mut md5 = Md5::new();
    let mut bytes = 0;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok((md5.finalize().into(), bytes)),
            n => {
                md5.update(buffer.get(..n).unwrap_or_default());
                bytes += n as u64;
            }
        }
    }
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
    /// Whether it was the current version: tells the newest of those that a key got within one second.
    IsLatest,
}

impl Field {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Ignore, "Ignore"),
        (Self::Bucket, "Bucket"),
        (Self::Key, "Key"),
        (Self::VersionId, "VersionId"),
        (Self::Size, "Size"),
        (Self::LastModifiedDate, "LastModifiedDate"),
        (Self::ETag, "ETag"),
        (Self::StorageClass, "StorageClass"),
        (Self::IsLatest, "IsLatest"),
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
    pub fn select(&self, key: &str, size: Option<u64>, modified: Option<OffsetDateTime>) -> bool {
        let begins = |prefixes: &[String]| prefixes.iter().any(|p| key.starts_with(p.as_str()));
        (self.include_prefixes.is_empty() || begins(&self.include_prefixes))
            && !begins(&self.exclude_prefixes)
            && self
                .min_size
                .is_none_or(|min| size.is_none_or(|size| size >= min))
            && self
                .max_size
                .is_none_or(|max| size.is_none_or(|size| size <= max))
            && self
                .modified_after
                .is_none_or(|after| modified.is_none_or(|at| at >= after))
            && self
                .modified_before
                .is_none_or(|before| modified.is_none_or(|at| at < before))
    }
}

/// Reads a time of S3 Inventory or RFC 3339.
pub fn parse_time(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()
}

/// Reads the date of a row.
fn date(text: &str) -> Result<OffsetDateTime, String> {
    parse_time(text).ok_or_else(|| {
        let text = key::Shown(text);
        format!("its LastModifiedDate is {text}, no RFC 3339 time")
    })
}

/// What a manifest is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ManifestFormat {
    /// An inventory or a completion report if it is JSON, else CSV.
    #[default]
    Auto,
    /// Rows of bucket, key, version.
    Csv,
    /// The `manifest.json` of an S3 Inventory.
    Inventory,
}

/// Which rows are taken of a completion report that is a job's manifest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReportRows {
    /// Those that failed: they are to be copied.
    #[default]
    Failed,
    /// Those that succeeded or were skipped: they are to be verified.
    Done,
}

impl ReportRows {
    fn takes(self, status: &str) -> bool {
        (status == TaskStatus::Failed.as_str()) == (self == Self::Failed)
    }
}

/// Which rows of a manifest that lists versions are selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Versions {
    /// Every version that it lists, in no order.
    Listed,
    /// Keys whose latest version was no delete marker, as they stand when they are copied.
    Latest,
    /// Every version that it lists, of each key the older before the newer ones.
    All,
}

/// How a manifest is read. What `auto` means is settled by [`survey`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestOptions {
    /// What it is.
    #[serde(default)]
    pub format: ManifestFormat,
    /// Which versions; an inventory that lists versions needs an answer.
    #[serde(default)]
    pub versions: Option<Versions>,
    /// Columns; by their number, two or three, where none are named.
    pub fields: Option<Vec<Field>>,
    /// How keys are spelt; found out where it is not named.
    pub key_encoding: Option<KeyEncoding>,
    /// Which rows are selected.
    pub filters: Filters,
    /// The ETag that the manifest must have, without quotes.
    #[serde(default)]
    pub expected_e_tag: Option<String>,
    /// A bad row ends as a failed row of its own instead of stopping the job: the manifest came
    /// from a stream that cannot be mended and read again.
    pub keep_bad_rows: bool,
    /// Which rows are taken where it is a completion report.
    #[serde(default)]
    pub report_rows: ReportRows,
    /// Bytes that the destination's prefix adds to a key, and the prefix that is removed first.
    pub rename: Rename,
    /// Which part of the rows; all of them where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
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
    /// Checks that a key is none that S3 refuses, before and after.
    ///
    /// A key that lacks the prefix to strip fails its own row later.
    fn check_length(&self, key: &str) -> Result<(), String> {
        let renamed = self.rest(key).map(|rest| self.prefix.len() + rest.len());
        let (what, bytes) = match renamed {
            Some(0) => return Err("its key is empty once --strip-prefix is removed".to_owned()),
            _ if key.len() > MAX_KEY_BYTES => ("its key", key.len()),
            Some(bytes) => ("its destination key", bytes),
            None => return Ok(()),
        };
        if bytes > MAX_KEY_BYTES {
            return Err(format!(
                "{what} has {bytes} bytes, S3 takes {MAX_KEY_BYTES}"
            ));
        }
        Ok(())
    }

    /// The destination key; `None` where the source key lacks the prefix to strip.
    pub fn destination_key(&self, key: &str) -> Option<String> {
        let rest = self.rest(key)?;
        Some(format!("{}{rest}", self.prefix))
    }

    fn rest<'k>(&self, key: &'k str) -> Option<&'k str> {
        match &self.strip_prefix {
            Some(prefix) => key.strip_prefix(prefix.as_str()),
            None => Some(key),
        }
    }
}

/// What [`survey`] found in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// Selected rows; in a shard, as below, those of its part of the manifest.
    pub rows: u64,
    /// Rows that the filters left out.
    pub filtered: u64,
    /// Bad rows among the selected; none unless they are kept.
    pub bad_rows: u64,
    /// The one source bucket.
    pub bucket: String,
    /// Its rows name versions.
    pub version_ids: bool,
    /// Delete markers among the selected rows.
    #[serde(default)]
    pub delete_markers: u64,
    /// Of them, those that may be the latest version of their key. In a shard those of the whole manifest:
    /// what is to become of them is asked of all shards or of none.
    #[serde(default)]
    pub latest_delete_markers: u64,
    /// Bytes of the selected rows in the segments of a sort, about; counted with [`Versions::All`].
    #[serde(default)]
    pub sorted_bytes: u64,
    /// What the manifest is.
    pub form: Form,
    /// ETag of the manifest; of a file its MD5, hex, as S3 would show it.
    pub e_tag: String,
    /// Size of the manifest.
    pub file_bytes: u64,
    /// How it was dealt, where this is a shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dealt: Option<Dealt>,
    /// The file as it was found; none in a later attempt.
    #[serde(skip)]
    pub(crate) stamp: Option<Stamp>,
}

/// What a manifest is, once it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// CSV.
    Csv(CsvForm),
    /// An S3 Inventory.
    Inventory(InventoryForm),
    /// A completion report.
    Report(ReportForm),
}

/// The form of a completion report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportForm {
    /// The files of the rows that are taken.
    pub files: Vec<ResultsFile>,
}

/// The form of a CSV manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsvForm {
    /// Columns.
    pub fields: Vec<Field>,
    /// How keys are spelt.
    pub key_encoding: KeyEncoding,
    /// It begins with a byte order mark, which is skipped.
    pub byte_order_mark: bool,
}

/// The form of an inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryForm {
    /// The form of its data files: `CSV` or `Parquet`.
    pub file_format: String,
    /// How many they are.
    pub files: u64,
    /// When S3 began to write it, where it says so.
    pub created: Option<String>,
    /// It has the column ETag.
    pub e_tags: bool,
    /// It has the column LastModifiedDate.
    #[serde(default)]
    pub dates: bool,
    /// ETags of the data files that are read, where they are objects in S3: they pin what is read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_e_tags: Vec<String>,
}

impl Survey {
    /// Whether the manifest lists ETags.
    pub fn has_e_tags(&self) -> bool {
        match &self.form {
            Form::Csv(form) => form.fields.contains(&Field::ETag),
            Form::Inventory(form) => form.e_tags,
            Form::Report(_) => false,
        }
    }

    /// Whether the manifest lists times of last change.
    pub fn has_dates(&self) -> bool {
        match &self.form {
            Form::Csv(form) => form.fields.contains(&Field::LastModifiedDate),
            Form::Inventory(form) => form.dates,
            Form::Report(_) => false,
        }
    }

    /// The columns, the encoding of keys and the byte order mark of a CSV manifest.
    pub fn csv(&self) -> Option<&CsvForm> {
        match &self.form {
            Form::Csv(form) => Some(form),
            Form::Inventory(_) | Form::Report(_) => None,
        }
    }
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
                filters.select(key, size, parse_time(at)),
                selected,
                "{key} {size:?} {at}"
            );
        }
    }
}
