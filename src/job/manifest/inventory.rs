//! Rows of an S3 Inventory, by its `manifest.json`, from the files that it lists.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html>

mod csv;
mod rows;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use time::OffsetDateTime;

pub(super) use self::rows::{Rows, survey};
use super::deal::Deal;
use super::file::{Pinned, Raw, same_md5};
use super::key::{self, KeyEncoding, Shown};
#[cfg(feature = "orc")]
use super::orc;
use super::parquet;
use super::{
    Facts, Field, ManifestError, ManifestFile, ManifestOptions, NO_DATE, Parsed, Versions, date,
    digest_of, io_error,
};

/// Folders above the manifest in which its data files are looked for.
const SEARCHED_FOLDERS: usize = 8;

/// `manifest.json`. Members that it does not know are left alone, as new ones come.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    source_bucket: String,
    /// The ARN, of any partition, of the bucket that the data files are in.
    destination_bucket: Option<String>,
    creation_timestamp: Option<String>,
    file_format: String,
    file_schema: String,
    files: Vec<DataFile>,
}

/// What lies beside the manifest of an inventory.
pub(super) const CHECKSUM: &str = "manifest.checksum";

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
    pub(super) encryption: &'a [u8],
    /// What is wrong with it.
    pub(super) problem: Option<String>,
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
    EncryptionStatus,
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
            "encryptionstatus" => Self::EncryptionStatus,
            _ => return None,
        })
    }
}

/// Finds that a data file has what its manifest says: without a column a row would be another one.
pub(super) fn check_columns(
    listed: &[Option<Column>],
    found: impl Fn(Column) -> bool,
) -> Result<(), String> {
    match listed.iter().flatten().find(|column| !found(**column)) {
        Some(column) => Err(format!(
            "it has no column {column:?}, which fileSchema names"
        )),
        None => Ok(()),
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
    /// Tells whether the file is still what it was: a Parquet reader goes to and fro in it.
    at_end: Raw,
}

/// An inventory that was found to be one.
#[derive(Debug)]
struct Inventory {
    file: ManifestFile,
    manifest: Manifest,
    /// Columns of its CSV files, in order.
    columns: Vec<Option<Column>>,
    /// It lists versions.
    has_versions: bool,
    /// Which are selected.
    versions: Option<Versions>,
    /// How it spells keys: encoded in CSV alone.
    encoding: KeyEncoding,
    /// What is read of it.
    deal: Deal,
}

impl Inventory {
    fn open(
        file: &ManifestFile,
        pinned: &Pinned,
        options: &ManifestOptions,
        purpose: Purpose,
    ) -> Result<Self, ManifestError> {
        let path = file.name();
        let bad = |what: String| ManifestError::Inventory {
            path: path.clone(),
            what,
        };
        let json = pinned.read().map_err(io_error(&path))?;
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
            return Err(ManifestError::Lacking { path, flag, field });
        }
        let has_versions = has(Column::IsLatest);
        let mut versions = options.versions;
        if purpose == Purpose::Inspect && has_versions && has(Column::VersionId) {
            versions = versions.or(Some(Versions::Listed));
        }
        if has_versions && versions.is_none() {
            return Err(bad(
                "lists all versions: say --versions latest for the objects as they stand, \
                 --versions all for every version, older ones first, or --versions listed for \
                 every version, in no order"
                    .to_owned(),
            ));
        }
        if versions == Some(Versions::Listed) && !has(Column::VersionId) {
            return Err(bad("lists no version IDs for --versions listed".to_owned()));
        }
        let order = [
            (Column::VersionId, Field::VersionId),
            (Column::LastModifiedDate, Field::LastModifiedDate),
        ];
        let lacking = order.into_iter().find(|(column, _)| !has(*column));
        if let (Some(Versions::All), Some((_, lacks))) = (versions, lacking) {
            return Err(ManifestError::NoOrder { path, lacks });
        }
        check_sum(file, &json)?;
        let encoding = if manifest.file_format == "CSV" {
            KeyEncoding::Url
        } else {
            KeyEncoding::Raw
        };
        Ok(Self {
            file: file.clone(),
            deal: Deal::of(options, manifest.files.len()),
            manifest,
            columns,
            has_versions,
            versions,
            encoding,
        })
    }

    /// The data file of that number, found, whole, and ready to be read from `byte` on. `e_tag` pins an
    /// object that a survey has read.
    fn open_data(
        &self,
        number: usize,
        byte: u64,
        e_tag: Option<&String>,
    ) -> Result<(Open, Pinned), ManifestError> {
        let listed = &self.manifest.files[number];
        let file = self.locate(&listed.key)?;
        let path = file.name();
        let pinned = file.look()?;
        let failed = |source| ManifestError::DataFile {
            path: path.clone(),
            source,
        };
        let csv = self.manifest.file_format == "CSV";
        match (&pinned, e_tag) {
            (Pinned::Disk { md5, .. }, _) => {
                same_md5(md5, &listed.md5).map_err(|error| failed(error.into()))?;
            }
            (Pinned::Object(_), Some(e_tag)) => pinned.check(&file, e_tag)?,
            // CSV is verified as it is read, if that is from its beginning.
            (Pinned::Object(_), None) if csv && byte == 0 => {}
            (Pinned::Object(_), None) => {
                pinned
                    .raw(0)
                    .and_then(digest_of)
                    .and_then(|(md5, _)| same_md5(&md5, &listed.md5))
                    .map_err(|error| failed(error.into()))?;
            }
        }
        let anywhere = || pinned.anywhere().map_err(|error| failed(error.into()));
        let decoder = match self.manifest.file_format.as_str() {
            "CSV" => {
                let content = if byte == 0 && e_tag.is_none() {
                    pinned.verified_content(&listed.md5)
                } else {
                    pinned.content(byte)
                };
                let content = content.map_err(|error| failed(error.into()))?;
                let decoder = csv::Decoder::new(content, self.columns.clone(), byte);
                Decoder::Csv(Box::new(decoder))
            }
            #[cfg(feature = "orc")]
            "ORC" => {
                let decoder =
                    orc::Decoder::new(anywhere()?, byte, &self.columns).map_err(failed)?;
                Decoder::Orc(Box::new(decoder))
            }
            _ => {
                let decoder =
                    parquet::Decoder::new(anywhere()?, byte, &self.columns).map_err(failed)?;
                Decoder::Parquet(Box::new(decoder))
            }
        };
        let at_end = pinned.raw(0).map_err(io_error(&path))?;
        let open = Open {
            path,
            decoder,
            at_end,
        };
        Ok((open, pinned))
    }

    /// Where a data file lies. In S3 that is `destinationBucket`.
    fn locate(&self, key: &str) -> Result<ManifestFile, ManifestError> {
        match &self.file {
            ManifestFile::Disk(path) => Ok(ManifestFile::Disk(locate_on_disk(path, key)?)),
            ManifestFile::Object {
                connection,
                bucket,
                stop,
                ..
            } => {
                let arn = self.manifest.destination_bucket.as_deref();
                let of_arn = arn.and_then(|arn| arn.rsplit(':').next());
                Ok(ManifestFile::Object {
                    connection: connection.clone(),
                    bucket: of_arn.unwrap_or(bucket).to_owned(),
                    key: key.to_owned(),
                    stop: stop.clone(),
                })
            }
        }
    }

    /// Whether a record of a file that is read is this shard's, by its number in the manifest or by its key.
    fn is_ours(&self, record: &Record<'_>, number: u64) -> bool {
        self.deal.has_row(number, || {
            let key = key::decode(record.key, self.encoding).ok()?;
            Some(key.into_owned().into_bytes())
        })
    }

    /// What a record says; `None` if it is not selected.
    fn select<'r>(
        &self,
        record: &Record<'r>,
        options: &ManifestOptions,
    ) -> Result<Option<Seen<'r>>, String> {
        if let Some(problem) = &record.problem {
            return Err(problem.clone());
        }
        if record.bucket != self.manifest.source_bucket.as_bytes() {
            return Err(format!(
                "its bucket is {}, the inventory's {}",
                Shown(&String::from_utf8_lossy(record.bucket)),
                Shown(&self.manifest.source_bucket)
            ));
        }
        if self.has_versions && record.is_latest.is_none() {
            return Err("it does not say whether it is the latest version".to_owned());
        }
        if self.has_versions
            && self.versions == Some(Versions::Latest)
            && (record.is_latest != Some(true) || record.is_delete_marker)
        {
            return Ok(None);
        }
        let key = key::decode(record.key, self.encoding).map_err(|error| error.to_string())?;
        let last_modified = last_modified(record.last_modified)?;
        if last_modified.is_none() && self.versions == Some(Versions::All) {
            return Err(NO_DATE.to_owned());
        }
        if !options.filters.select(&key, record.size, last_modified) {
            return Ok(None);
        }
        options.rename.check_length(&key)?;
        let version_id = match self.versions {
            Some(Versions::Listed | Versions::All) => {
                // Without one it was written before the bucket had versions.
                Some(text(record.version_id, "VersionId")?.unwrap_or("null"))
            }
            _ => None,
        };
        Ok(Some(Seen {
            key,
            spelt: key::spelt(record.key, self.encoding),
            version_id,
            size: record.size,
            last_modified,
            e_tag: text(record.e_tag, "ETag")?.map(|e_tag| e_tag.trim_matches('"')),
            storage_class: text(record.storage_class, "StorageClass")?,
            encryption: text(record.encryption, "EncryptionStatus")?,
            delete_marker: record.is_delete_marker,
            // Where nothing tells, any may be.
            is_latest: record.is_latest != Some(false),
        }))
    }
}

/// What an inventory is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// What is not said must be.
    Copy,
    /// To see what is in it.
    Inspect,
}

/// A selected record, none of which is copied: to count rows takes no more.
struct Seen<'r> {
    key: Cow<'r, str>,
    spelt: Option<&'r str>,
    version_id: Option<&'r str>,
    size: Option<u64>,
    last_modified: Option<OffsetDateTime>,
    e_tag: Option<&'r str>,
    storage_class: Option<&'r str>,
    encryption: Option<&'r str>,
    delete_marker: bool,
    is_latest: bool,
}

/// Copies a selected record.
fn parsed(seen: Seen<'_>) -> Parsed {
    Parsed {
        key: seen.key.into_owned(),
        spelt: seen.spelt.map(str::to_owned),
        version_id: seen.version_id.map(str::to_owned),
        facts: Facts {
            size: seen.size,
            last_modified: seen.last_modified,
            e_tag: seen.e_tag.map(str::to_owned),
            storage_class: seen.storage_class.map(str::to_owned),
            encryption: seen.encryption.map(str::to_owned),
            delete_marker: seen.delete_marker,
        },
        problem: None,
        is_latest: seen.is_latest,
        doubted: false,
    }
}

/// A data file's key is of the inventory's bucket, of which any part may have been copied, the
/// manifest with it. The nearest file under the longest end of its key is the one; its MD5 says so.
fn locate_on_disk(manifest: &Path, key: &str) -> Result<PathBuf, ManifestError> {
    let parts: Vec<&str> = key.split('/').filter(|part| !part.is_empty()).collect();
    let found = std::fs::canonicalize(manifest).map_err(io_error(manifest))?;
    for folder in found.ancestors().skip(1).take(SEARCHED_FOLDERS) {
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
        path: manifest.to_owned(),
        what: format!(
            "lists the data file {}, which lies neither beside it nor above: copy the \
             inventory's data folder too",
            Shown(key)
        ),
    })
}

/// Where the data files of an inventory on disk lie that are read.
pub(super) fn data_files(
    manifest: &Path,
    options: &ManifestOptions,
) -> Result<Vec<PathBuf>, ManifestError> {
    let json = std::fs::read(manifest).map_err(io_error(manifest))?;
    let inventory: Manifest = serde_json::from_slice(&json).map_err(|error| {
        let what = format!("is no manifest.json of S3 Inventory: {error}");
        ManifestError::Inventory {
            path: manifest.to_owned(),
            what,
        }
    })?;
    let deal = Deal::of(options, inventory.files.len());
    let files = inventory.files.iter().enumerate();
    files
        .filter(|(number, _)| deal.has_file(*number))
        .map(|(_, listed)| locate_on_disk(manifest, &listed.key))
        .collect()
}

/// `manifest.checksum` beside the manifest, where it was copied too, has its MD5.
fn check_sum(file: &ManifestFile, json: &[u8]) -> Result<(), ManifestError> {
    let Some(listed) = file.beside(CHECKSUM)? else {
        return Ok(());
    };
    let listed = String::from_utf8_lossy(&listed);
    let (found, _) = digest_of(json).map_err(io_error(&file.name()))?;
    if found.eq_ignore_ascii_case(listed.trim()) {
        return Ok(());
    }
    Err(ManifestError::Inventory {
        path: file.name(),
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

fn text<'b>(bytes: &'b [u8], name: &str) -> Result<Option<&'b str>, String> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(_) => Err(format!("its {name} is not UTF-8")),
    }
}

fn last_modified(at: Modified<'_>) -> Result<Option<OffsetDateTime>, String> {
    match at {
        Modified::Unknown => Ok(None),
        Modified::Text(bytes) => text(bytes, "LastModifiedDate")?.map(date).transpose(),
        Modified::Nanoseconds(at) => OffsetDateTime::from_unix_timestamp_nanos(at)
            .map(Some)
            .map_err(|_| "its last_modified_date is no time".to_owned()),
    }
}

#[cfg(test)]
mod tests;
