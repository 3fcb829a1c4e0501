//! What the destination object must look like, as the job asks: the parameters of S3 Batch
//! Operations' copy, with their meaning.

use std::collections::BTreeMap;
use std::path::PathBuf;

use s3haul_s3::CustomerKey;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// All object settings of a job but the canned ACL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObjectSettings {
    /// Grants instead of a canned ACL.
    pub grants: Vec<Grant>,
    /// Storage class of the copies.
    pub storage_class: StorageClass,
    /// What replaces the source's metadata; copied where there is none.
    pub metadata: Option<NewMetadata>,
    /// Metadata that REST cannot show may be lost.
    pub allow_metadata_loss: bool,
    /// `x-amz-website-redirect-location`, which no copy takes along.
    pub website_redirect_location: Option<String>,
    /// What replaces the source's tags; copied where there is none.
    pub tags: Option<Vec<(String, String)>>,
    /// What becomes of annotations.
    pub annotations: Annotations,
    /// Server-side encryption of the copies.
    pub encryption: Encryption,
    /// S3 Bucket Keys for SSE-KMS; as the bucket has it where nothing is said.
    pub bucket_key: bool,
    /// The key of SSE-C that the sources were written with.
    pub source_customer_key: Option<CustomerKeyFile>,
    /// The key of SSE-C that the copies are written with.
    pub customer_key: Option<CustomerKeyFile>,
    /// Checksum algorithm of the copies, by S3's name; the source's where there is none.
    pub checksum_algorithm: Option<String>,
    /// Checksum type of copies in parts; over the full object, wherever S3 can, where there is none.
    pub checksum_type: Option<ChecksumType>,
    /// Object Lock retention.
    pub retention: Option<Retention>,
    /// Object Lock legal hold.
    pub legal_hold: Option<bool>,
    /// Objects that were not modified since are not copied: their rows fail.
    #[serde(with = "time::serde::rfc3339::option")]
    pub if_modified_since: Option<OffsetDateTime>,
    /// Objects that were modified since are not copied: their rows fail.
    #[serde(with = "time::serde::rfc3339::option")]
    pub if_unmodified_since: Option<OffsetDateTime>,
    /// What becomes of objects that are archived.
    pub archived: Archived,
}

impl ObjectSettings {
    /// Whether a date decides which sources are copied.
    pub fn has_date_condition(&self) -> bool {
        self.if_modified_since.is_some() || self.if_unmodified_since.is_some()
    }

    /// Whether a copy in parts asks for the source's annotations. Under SSE-C there are none.
    pub fn lists_annotations(&self) -> bool {
        self.annotations == Annotations::Copy && self.source_customer_key.is_none()
    }
}

/// A grant of an ACL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// What is granted.
    pub permission: Permission,
    /// To whom: `id="CANONICAL USER ID"` or `uri="GROUP"`, as the header has it.
    pub grantee: String,
}

/// What a grant gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Permission {
    /// All of the others.
    FullControl,
    /// Reading the object.
    Read,
    /// Reading its ACL.
    ReadAcp,
    /// Writing its ACL.
    WriteAcp,
}

impl Permission {
    /// The header that grants it.
    pub fn header(self) -> &'static str {
        match self {
            Self::FullControl => "x-amz-grant-full-control",
            Self::Read => "x-amz-grant-read",
            Self::ReadAcp => "x-amz-grant-read-acp",
            Self::WriteAcp => "x-amz-grant-write-acp",
        }
    }

    /// All of them.
    pub const ALL: [Self; 4] = [Self::FullControl, Self::Read, Self::ReadAcp, Self::WriteAcp];
}

/// Storage class of the copies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StorageClass {
    /// S3's default.
    #[default]
    Default,
    /// The source's: as the manifest lists it, else as a HEAD shows it.
    Preserve,
    /// This one.
    Class(String),
}

/// Metadata instead of the source's: what is not named here is lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NewMetadata {
    /// System metadata, by the names of its headers.
    pub headers: BTreeMap<String, String>,
    /// User metadata, names without `x-amz-meta-`.
    pub user: BTreeMap<String, String>,
}

/// What becomes of annotations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Annotations {
    /// They are copied.
    #[default]
    Copy,
    /// They are left out.
    Exclude,
}

/// Server-side encryption of the copies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encryption {
    /// As the destination bucket has it.
    #[default]
    BucketDefault,
    /// SSE-S3.
    Aes256,
    /// SSE-KMS, with this key or the account's `aws/s3`.
    Kms(Option<String>),
    /// Dual-layer SSE-KMS, with this key or the account's `aws/s3`.
    KmsDsse(Option<String>),
}

impl Encryption {
    /// Whether KMS is asked for.
    pub fn is_kms(&self) -> bool {
        matches!(self, Self::Kms(_) | Self::KmsDsse(_))
    }
}

/// A file with a key of SSE-C. The key itself is in no job file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerKeyFile {
    /// Absolute path.
    pub path: PathBuf,
    /// MD5 of the key, in base64, by which S3 knows it: another key is another job.
    pub md5: String,
}

/// Over what the checksum of a copy in parts goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ChecksumType {
    /// All bytes of the object.
    FullObject,
    /// The checksums of the parts.
    Composite,
}

impl ChecksumType {
    /// S3's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FullObject => "FULL_OBJECT",
            Self::Composite => "COMPOSITE",
        }
    }
}

/// Object Lock retention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// `GOVERNANCE` or `COMPLIANCE`.
    pub mode: String,
    /// Until when.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
}

/// What becomes of an object of which S3 says that it is archived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Archived {
    /// Its row fails.
    #[default]
    Fail,
    /// Its row is skipped.
    Skip,
    /// It is asked for with RestoreObject, and its row fails until it is there.
    Restore {
        /// How fast: `Standard`, `Bulk` or `Expedited`.
        tier: RestoreTier,
        /// For how many days.
        days: u32,
    },
}

/// How fast an archived object comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestoreTier {
    /// Hours, at the usual price.
    Standard,
    /// The longest and cheapest.
    Bulk,
    /// Minutes; not from Deep Archive.
    Expedited,
}

impl RestoreTier {
    /// S3's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "Standard",
            Self::Bulk => "Bulk",
            Self::Expedited => "Expedited",
        }
    }
}

/// How much a copy is looked at behind S3's answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// S3's answer, and no request more.
    #[default]
    Response,
    /// One HEAD more where that answer proves nothing of the content.
    Head,
    /// `GetObjectAttributes` on both sides.
    Checksum,
    /// Both objects are read.
    Full,
}

/// The keys of SSE-C, read from their files.
#[derive(Debug, Clone, Default)]
pub struct CustomerKeys {
    /// Of the sources.
    pub source: Option<CustomerKey>,
    /// Of the copies.
    pub destination: Option<CustomerKey>,
}
