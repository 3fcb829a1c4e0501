//! Objects and their versions.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::checksum::{ChecksumAlgorithm, ChecksumType, base64, hex};
use super::content::{Content, mix};

/// The metadata that `x-amz-metadata-directive: COPY` copies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) content_type: Option<String>,
    pub(crate) cache_control: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_language: Option<String>,
    pub(crate) expires: Option<String>,
    pub(crate) user: BTreeMap<String, String>,
    /// How many entries HTTP cannot carry: `x-amz-missing-meta`.
    pub(crate) missing: u32,
}

/// An object's tags, in their order.
pub(crate) type Tags = Vec<(String, String)>;

/// An object's annotations, by their names.
pub(crate) type Annotations = BTreeMap<String, Annotation>;

/// An annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Annotation {
    pub(crate) payload: Bytes,
    pub(crate) modified: Timestamp,
}

/// What a request sets on an object and a copy never takes over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) storage_class: StorageClass,
    pub(crate) website_redirect_location: Option<String>,
    pub(crate) encryption: Encryption,
    pub(crate) lock: Lock,
    pub(crate) acl: Acl,
}

/// Server-side encryption, recorded and echoed; nothing is encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Encryption {
    /// `aws:kms` or `aws:kms:dsse`; `AES256` when none.
    pub(crate) kms: Option<String>,
    pub(crate) kms_key_id: Option<String>,
    pub(crate) bucket_key: bool,
    pub(crate) context: Option<String>,
    /// SSE-C: the MD5 of the key that the client brings, in base64.
    pub(crate) customer_key_md5: Option<String>,
}

impl Encryption {
    pub(crate) fn algorithm(&self) -> &str {
        self.kms.as_deref().unwrap_or("AES256")
    }
}

/// Object Lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lock {
    /// GOVERNANCE or COMPLIANCE, with the date that it ends.
    pub(crate) retention: Option<(String, OffsetDateTime)>,
    pub(crate) legal_hold: bool,
}

/// The ACL that a request asked for: a canned one, or grants of a permission to a grantee.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acl {
    pub(crate) canned: Option<String>,
    pub(crate) grants: Vec<(&'static str, String)>,
}

/// S3's storage classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StorageClass {
    /// The default; S3 leaves it out of answers.
    #[default]
    Standard,
    /// Reduced redundancy.
    ReducedRedundancy,
    /// Infrequent access.
    StandardIa,
    /// Infrequent access in one zone.
    OnezoneIa,
    /// Intelligent tiering, in a tier that can be read.
    IntelligentTiering,
    /// Glacier Flexible Retrieval: archived.
    Glacier,
    /// Glacier Deep Archive: archived.
    DeepArchive,
    /// Glacier Instant Retrieval: not archived.
    GlacierIr,
}

impl StorageClass {
    const ALL: [(Self, &str); 8] = [
        (Self::Standard, "STANDARD"),
        (Self::ReducedRedundancy, "REDUCED_REDUNDANCY"),
        (Self::StandardIa, "STANDARD_IA"),
        (Self::OnezoneIa, "ONEZONE_IA"),
        (Self::IntelligentTiering, "INTELLIGENT_TIERING"),
        (Self::Glacier, "GLACIER"),
        (Self::DeepArchive, "DEEP_ARCHIVE"),
        (Self::GlacierIr, "GLACIER_IR"),
    ];

    /// Names it as S3 does.
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find(|(class, _)| *class == self)
            .map_or("STANDARD", |(_, name)| name)
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|(_, known)| *known == name)
            .map(|(class, _)| class)
    }

    /// Whether an object of this class must be restored before it can be read.
    pub fn is_archived(self) -> bool {
        matches!(self, Self::Glacier | Self::DeepArchive)
    }
}

/// A tier of INTELLIGENT_TIERING that must be left before an object can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ArchiveTier {
    /// Archive Access.
    ArchiveAccess,
    /// Deep Archive Access.
    DeepArchiveAccess,
}

impl ArchiveTier {
    /// Names it as S3 does.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ArchiveAccess => "ARCHIVE_ACCESS",
            Self::DeepArchiveAccess => "DEEP_ARCHIVE_ACCESS",
        }
    }
}

/// How fast a restore is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestoreTier {
    /// Hours; the default.
    #[default]
    Standard,
    /// Half a day or more.
    Bulk,
    /// Minutes; not from the two deep archives.
    Expedited,
}

impl RestoreTier {
    /// Names it as S3 does.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "Standard",
            Self::Bulk => "Bulk",
            Self::Expedited => "Expedited",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Standard, Self::Bulk, Self::Expedited]
            .into_iter()
            .find(|tier| tier.as_str() == name)
    }
}

/// How far a restore of an archived object is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Restore {
    #[default]
    None,
    Ongoing {
        /// None of an object in an [`ArchiveTier`], which is restored for good.
        days: Option<u32>,
        tier: RestoreTier,
    },
    Done {
        until: Timestamp,
    },
}

/// A part of a finished multipart object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartLayout {
    pub(crate) number: u32,
    pub(crate) size: u64,
    pub(crate) checksum: Option<Vec<u8>>,
}

/// How an object was uploaded.
#[derive(Clone, Debug)]
pub(crate) enum Layout {
    Whole,
    Parts {
        md5: [u8; 16],
        parts: Arc<[PartLayout]>,
    },
}

/// The checksum that S3 keeps with an object.
#[derive(Clone, Debug)]
pub(crate) struct ObjectChecksum {
    pub(crate) algorithm: ChecksumAlgorithm,
    /// The value of a composite checksum; a full-object one is that of the content.
    pub(crate) composite: Option<Box<str>>,
    /// Whether S3 has none after all: it did not make one by itself before December 2024.
    pub(crate) is_missing: bool,
}

/// An object: what a version holds unless it is a delete marker.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) content: Arc<Content>,
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) tags: Arc<Tags>,
    pub(crate) annotations: Arc<Annotations>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) layout: Layout,
    pub(crate) checksum: ObjectChecksum,
    /// The account that owns it.
    pub(crate) owner: Arc<str>,
    /// Where an object of INTELLIGENT_TIERING went when nobody read it.
    pub(crate) archive_tier: Option<ArchiveTier>,
    pub(crate) restore: Restore,
}

impl Object {
    pub(crate) fn size(&self) -> u64 {
        self.content.size()
    }

    /// The ETag without quotes. Under SSE-KMS and SSE-C it is a hash of the MD5, so not an MD5 of the bytes, as in S3.
    pub(crate) fn e_tag(&self) -> String {
        let (md5, suffix) = match &self.layout {
            Layout::Whole => (self.content.md5(), String::new()),
            Layout::Parts { md5, parts } => (*md5, format!("-{}", parts.len())),
        };
        format!(
            "{}{suffix}",
            hex(&encrypted_md5(&self.settings.encryption, md5))
        )
    }

    pub(crate) fn parts(&self) -> Option<&Arc<[PartLayout]>> {
        match &self.layout {
            Layout::Whole => None,
            Layout::Parts { parts, .. } => Some(parts),
        }
    }

    pub(crate) fn checksum_type(&self) -> ChecksumType {
        if self.checksum.composite.is_some() {
            ChecksumType::Composite
        } else {
            ChecksumType::FullObject
        }
    }

    /// The checksum's value as S3 writes it.
    pub(crate) fn checksum_value(&self) -> String {
        match &self.checksum.composite {
            Some(value) => value.to_string(),
            None => base64(&self.content.checksum(self.checksum.algorithm)),
        }
    }

    /// Whether it can only be read while it is restored, or after.
    pub(crate) fn is_archivable(&self) -> bool {
        self.settings.storage_class.is_archived() || self.archive_tier.is_some()
    }

    /// Whether S3 refuses to read it until it is restored.
    pub(crate) fn is_archived(&self, now: Timestamp) -> bool {
        self.is_archivable() && !matches!(self.restore, Restore::Done { until } if until > now)
    }
}

/// What stands in an ETag for the MD5 of bytes that are encrypted so.
pub(crate) fn encrypted_md5(encryption: &Encryption, md5: [u8; 16]) -> [u8; 16] {
    if encryption.kms.is_none() && encryption.customer_key_md5.is_none() {
        return md5;
    }
    let mut other = [0; 16];
    for (half, bytes) in md5.chunks_exact(8).enumerate() {
        let mut word = [0; 8];
        word.copy_from_slice(bytes);
        other[half * 8..half * 8 + 8].copy_from_slice(&mix(u64::from_be_bytes(word)).to_be_bytes());
    }
    other
}

/// Milliseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp(pub(crate) u64);

tokio::task_local! {
    /// How far the clock of the server that answers is ahead of this machine's.
    pub(crate) static AHEAD: Duration;
}

impl Timestamp {
    /// The time by the clock of the server that answers; outside of a request, by this machine's.
    pub(crate) fn now() -> Self {
        let elapsed = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let ahead = AHEAD.try_with(|ahead| *ahead).unwrap_or_default();
        Self(u64::try_from((elapsed + ahead).as_millis()).unwrap_or(u64::MAX))
    }

    /// The whole second, which is all that S3 shows.
    pub(crate) fn date(self) -> OffsetDateTime {
        let seconds = i64::try_from(self.0 / 1000).unwrap_or(i64::MAX);
        OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    pub(crate) fn after(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1000)))
    }
}

impl From<Timestamp> for s3s::dto::Timestamp {
    fn from(value: Timestamp) -> Self {
        value.date().into()
    }
}

/// The identity of a version: a number, shown as 32 characters; 0 is the null version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct VersionId(pub(crate) u64);

impl VersionId {
    pub(crate) const NULL: Self = Self(0);

    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "null" {
            return Some(Self::NULL);
        }
        let number = text
            .get(16..)
            .and_then(|number| u64::from_str_radix(number, 16).ok())?;
        let id = Self(mix_back(number));
        (id != Self::NULL && id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NULL {
            return f.write_str("null");
        }
        write!(f, "{:016x}{:016x}", mix(self.0), mix_back(self.0))
    }
}

/// Hides that identities are counted; its own inverse.
fn mix_back(number: u64) -> u64 {
    number ^ 0x5A3C_96E1_0FB4_D278
}

/// A version of a key.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) id: VersionId,
    pub(crate) modified: Timestamp,
    /// None: a delete marker.
    pub(crate) object: Option<Arc<Object>>,
}

/// The value behind an Arc that all equal to the default share.
pub(crate) fn shared<T: Default + PartialEq + Shared>(value: T) -> Arc<T> {
    let default = T::shared_default();
    if value == **default {
        Arc::clone(default)
    } else {
        Arc::new(value)
    }
}

/// A type whose default is kept once.
pub(crate) trait Shared: Sized + 'static {
    fn shared_default() -> &'static Arc<Self>;
}

macro_rules! shared_default {
    ($type:ty) => {
        impl Shared for $type {
            fn shared_default() -> &'static Arc<Self> {
                static DEFAULT: LazyLock<Arc<$type>> = LazyLock::new(Arc::default);
                &DEFAULT
            }
        }
    };
}

shared_default!(Metadata);
shared_default!(Settings);
shared_default!(Tags);
shared_default!(Annotations);

/// The canonical user ID of an account: 64 hex digits.
pub fn canonical_user_id(account: &str) -> String {
    let number = account.parse::<u64>().unwrap_or_default();
    let words: Vec<u8> = (1..=4)
        .flat_map(|word| mix(number.wrapping_mul(word)).to_be_bytes())
        .collect();
    hex(&words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_ids_are_read_back() {
        for number in [1, 2, 77, u64::MAX / 3] {
            let id = VersionId(number);
            assert_eq!(VersionId::parse(&id.to_string()), Some(id));
            assert_eq!(id.to_string().len(), 32);
        }
        assert_eq!(VersionId::parse("null"), Some(VersionId::NULL));
        assert_eq!(VersionId::parse("3HL4kqtJlcpXroDTDmjVBH40Nrjfkd"), None);
        assert_eq!(VersionId::parse(""), None);
    }

    #[test]
    fn equal_defaults_are_shared() {
        assert!(Arc::ptr_eq(
            &shared(Settings::default()),
            &shared(Settings::default())
        ));
    }
}
