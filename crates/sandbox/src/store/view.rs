//! What tests put into the store, and what they see of it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::StoreError;
use super::bucket::FoundObject;
use super::checksum::{ChecksumAlgorithm, ChecksumType, composite, multipart_md5};
use super::content::Content;
use super::object::{
    Acl, Annotation, Annotations, ArchiveTier, Encryption, Layout, Lock, Metadata, Object,
    ObjectChecksum, PartLayout, Restore, RestoreTier, Settings, StorageClass, Timestamp, Version,
    shared,
};
use super::upload::{Upload, upload_id};

/// What an object has besides its bytes. The default is what a bare `PutObject` of the bucket's owner leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObjectProperties {
    /// `Content-Type`; `binary/octet-stream` when none.
    pub content_type: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Expires`, as text.
    pub expires: Option<String>,
    /// User metadata, names without `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
    /// Tags, in their order.
    pub tags: Vec<(String, String)>,
    /// How many further entries of user metadata HTTP cannot carry: `x-amz-missing-meta`.
    pub missing_metadata: u32,
    /// Annotations, by their names.
    pub annotations: BTreeMap<String, String>,
    /// The storage class.
    pub storage_class: StorageClass,
    /// `x-amz-website-redirect-location`.
    pub website_redirect_location: Option<String>,
    /// The key of SSE-KMS; SSE-S3 when none.
    pub kms_key_id: Option<String>,
    /// SSE-C: the MD5 of the key, in base64 as headers spell it.
    pub customer_key_md5: Option<String>,
    /// The algorithm of the additional checksum; CRC64NVME when none.
    pub checksum_algorithm: Option<ChecksumAlgorithm>,
    /// The type of the checksum of an object in parts, which then have checksums themselves; when none, what an upload
    /// has that names the algorithm alone, of CRC64NVME one that names none. [`ObjectView::checksum_type`] shows it,
    /// [`ObjectView::properties`] leaves it out: it follows from how the object was written.
    pub checksum_type: Option<ChecksumType>,
    /// Whether S3 has no checksum of it, as of objects from before December 2024.
    pub without_checksum: bool,
    /// The account that owns it; the bucket's when none.
    pub owner: Option<String>,
    /// The canned ACL that it was written with. [`ObjectView::acl`] shows it, [`ObjectView::properties`] leaves it out:
    /// no copy takes it over.
    pub acl: Option<String>,
    /// The size of the parts that it was uploaded in; by one `PutObject` when none. A checksum of another algorithm
    /// than CRC64NVME is then a composite one.
    pub part_bytes: Option<u64>,
    /// The sizes of its parts where they are not all alike, in place of `part_bytes`; they must add up to the object's.
    pub part_sizes: Vec<u64>,
    /// Whether SSE-KMS goes by a bucket key.
    pub bucket_key: bool,
    /// Object Lock: until when it is retained; no bucket is asked whether it has Object Lock.
    pub retention: Option<Retention>,
    /// Object Lock: whether it is under a legal hold.
    pub legal_hold: bool,
    /// Where it is archived within INTELLIGENT_TIERING; in a tier that can be read when none.
    pub archive_tier: Option<ArchiveTier>,
    /// How far its restore is, of an archived object. [`ObjectView::properties`] leaves it out: it is no property of
    /// the object, and passes.
    pub restore: RestoreState,
}

/// Until when an object is retained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// GOVERNANCE or COMPLIANCE.
    pub mode: String,
    /// When it ends.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
}

/// How far the restore of an archived object is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum RestoreState {
    /// Nobody asked for one.
    #[default]
    None,
    /// Asked for, and not done until [`Store::finish_restore`](super::Store::finish_restore).
    Ongoing,
    /// Done: it can be read for so many days from now; none is a restore that has run out.
    Done {
        /// The days.
        days: u32,
    },
}

impl ObjectProperties {
    pub(super) fn object(&self, content: Content, bucket_account: &Arc<str>) -> Object {
        let metadata = Metadata {
            content_type: self.content_type.clone(),
            cache_control: self.cache_control.clone(),
            content_disposition: self.content_disposition.clone(),
            content_encoding: self.content_encoding.clone(),
            content_language: self.content_language.clone(),
            expires: self.expires.clone(),
            user: self.metadata.clone(),
            missing: self.missing_metadata,
        };
        let encryption = Encryption {
            kms: self.kms_key_id.as_ref().map(|_| "aws:kms".to_owned()),
            kms_key_id: self.kms_key_id.clone(),
            customer_key_md5: self.customer_key_md5.clone(),
            bucket_key: self.bucket_key,
            ..Encryption::default()
        };
        let settings = Settings {
            storage_class: self.storage_class,
            website_redirect_location: self.website_redirect_location.clone(),
            encryption,
            lock: Lock {
                retention: self
                    .retention
                    .as_ref()
                    .map(|Retention { mode, until }| (mode.clone(), *until)),
                legal_hold: self.legal_hold,
            },
            acl: Acl {
                canned: self.acl.clone(),
                grants: Vec::new(),
            },
        };
        let (layout, checksum) = self.layout(&content);
        Object {
            content: Arc::new(content),
            metadata: shared(metadata),
            tags: shared(self.tags.clone()),
            annotations: shared(self.annotations()),
            settings: shared(settings),
            layout,
            checksum,
            owner: self
                .owner
                .as_ref()
                .map_or_else(|| Arc::clone(bucket_account), |owner| owner.as_str().into()),
            archive_tier: self.archive_tier,
            restore: match self.restore {
                RestoreState::None => Restore::None,
                RestoreState::Ongoing => Restore::Ongoing {
                    days: self.archive_tier.is_none().then_some(1),
                    tier: RestoreTier::default(),
                },
                RestoreState::Done { days } => Restore::Done {
                    until: Timestamp::now().after(u64::from(days) * 86_400),
                },
            },
        }
    }

    /// Checks that the parts add up to the object.
    pub(super) fn check_part_sizes(&self, size: u64) -> Result<(), StoreError> {
        let parts = self
            .part_sizes
            .iter()
            .fold(0, |sum: u64, part| sum.saturating_add(*part));
        if self.part_sizes.is_empty() || parts == size {
            Ok(())
        } else {
            Err(StoreError::PartSizes { parts, size })
        }
    }

    /// The ranges of the parts of an object of this size; none of one that was not uploaded in parts.
    fn part_ranges(&self, size: u64) -> Option<Vec<Range<u64>>> {
        let mut start: u64 = 0;
        let mut part = |bytes: u64| {
            let range = start..start.saturating_add(bytes).min(size);
            start = range.end;
            range
        };
        if !self.part_sizes.is_empty() {
            return Some(self.part_sizes.iter().map(|bytes| part(*bytes)).collect());
        }
        let bytes = self.part_bytes.filter(|bytes| *bytes > 0)?;
        Some(
            (0..size.div_ceil(bytes).max(1))
                .map(|_| part(bytes))
                .collect(),
        )
    }

    fn annotations(&self) -> Annotations {
        let annotation = |text: &String| Annotation {
            payload: text.clone().into(),
            modified: Timestamp::now(),
        };
        self.annotations
            .iter()
            .map(|(name, text)| (name.clone(), annotation(text)))
            .collect()
    }

    fn layout(&self, content: &Content) -> (Layout, ObjectChecksum) {
        let algorithm = self
            .checksum_algorithm
            .unwrap_or(ChecksumAlgorithm::Crc64Nvme);
        let whole = ObjectChecksum {
            algorithm,
            composite: None,
            is_missing: self.without_checksum,
        };
        let Some(ranges) = self.part_ranges(content.size()) else {
            return (Layout::Whole, whole);
        };
        let contents: Vec<Content> = ranges.iter().map(|range| content.slice(range)).collect();
        let kind = self
            .checksum_type
            .unwrap_or_else(|| algorithm.default_type());
        let named = self.checksum_type.is_some() || kind == ChecksumType::Composite;
        let checksums: Option<Vec<Vec<u8>>> = (named && !self.without_checksum).then(|| {
            contents
                .iter()
                .map(|part| part.checksum(algorithm))
                .collect()
        });
        let parts: Vec<PartLayout> = (1..)
            .zip(&contents)
            .map(|(number, part)| PartLayout {
                number,
                size: part.size(),
                checksum: checksums
                    .as_ref()
                    .and_then(|checksums| checksums.get(number as usize - 1).cloned()),
            })
            .collect();
        let layout = Layout::Parts {
            md5: multipart_md5(contents.iter().map(Content::md5)),
            parts: parts.into(),
        };
        let composite = checksums
            .filter(|_| kind == ChecksumType::Composite)
            .map(|checksums| composite(algorithm, &checksums).into_boxed_str());
        (layout, ObjectChecksum { composite, ..whole })
    }
}

/// An object as it stood when it was looked at.
#[derive(Clone, Debug)]
pub struct ObjectView {
    /// The key.
    pub key: String,
    /// The version ID; `null` in an unversioned bucket.
    pub version_id: String,
    /// When it was written, to the second.
    pub last_modified: OffsetDateTime,
    object: Arc<Object>,
}

impl ObjectView {
    pub(super) fn new(key: &str, found: FoundObject) -> Self {
        Self {
            key: key.to_owned(),
            version_id: found.id.to_string(),
            last_modified: found.modified.date(),
            object: found.object,
        }
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.object.size()
    }

    /// Its ETag, without quotes.
    pub fn e_tag(&self) -> String {
        self.object.e_tag()
    }

    /// All its bytes, made in memory: not for large ones.
    pub fn bytes(&self) -> Vec<u8> {
        self.object.content.bytes()
    }

    /// Whether it holds the same bytes as another. Declared content is compared by its extents, at any size.
    pub fn same_content(&self, other: &Self) -> bool {
        self.object.content.same_as(&other.object.content)
    }

    /// Whether ETag and checksums are those of the bytes, not of a description of its extents.
    pub fn has_true_digests(&self) -> bool {
        self.object.content.has_true_digests()
    }

    /// Its properties, as they could be put again; its ACL, the type of its checksum and a restore aside.
    pub fn properties(&self) -> ObjectProperties {
        let object = &*self.object;
        let metadata = &object.metadata;
        ObjectProperties {
            content_type: metadata.content_type.clone(),
            cache_control: metadata.cache_control.clone(),
            content_disposition: metadata.content_disposition.clone(),
            content_encoding: metadata.content_encoding.clone(),
            content_language: metadata.content_language.clone(),
            expires: metadata.expires.clone(),
            metadata: metadata.user.clone(),
            missing_metadata: metadata.missing,
            annotations: self.annotations(),
            tags: object.tags.to_vec(),
            storage_class: object.settings.storage_class,
            website_redirect_location: object.settings.website_redirect_location.clone(),
            kms_key_id: object.settings.encryption.kms_key_id.clone(),
            customer_key_md5: object.settings.encryption.customer_key_md5.clone(),
            checksum_algorithm: Some(object.checksum.algorithm),
            checksum_type: None,
            without_checksum: object.checksum.is_missing,
            owner: Some(object.owner.to_string()),
            acl: None,
            part_bytes: object
                .parts()
                .and_then(|parts| parts.first())
                .map(|part| part.size),
            part_sizes: self
                .part_sizes()
                .filter(|sizes| !are_alike(sizes))
                .unwrap_or_default(),
            bucket_key: self.bucket_key(),
            retention: self.retention().map(|(mode, until)| Retention {
                mode: mode.to_owned(),
                until,
            }),
            legal_hold: self.legal_hold(),
            archive_tier: object.archive_tier,
            restore: RestoreState::None,
        }
    }

    /// `Content-Type`.
    pub fn content_type(&self) -> Option<&str> {
        self.object.metadata.content_type.as_deref()
    }

    /// User metadata, names without `x-amz-meta-`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.object.metadata.user
    }

    /// Tags, in their order.
    pub fn tags(&self) -> &[(String, String)] {
        &self.object.tags
    }

    /// Annotations, by their names; what is not UTF-8 of them is replaced.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let text = |payload: &[u8]| String::from_utf8_lossy(payload).into_owned();
        self.object
            .annotations
            .iter()
            .map(|(name, annotation)| (name.clone(), text(&annotation.payload)))
            .collect()
    }

    /// The storage class.
    pub fn storage_class(&self) -> StorageClass {
        self.object.settings.storage_class
    }

    /// The account that owns it.
    pub fn owner(&self) -> &str {
        &self.object.owner
    }

    /// The canned ACL that it was written with.
    pub fn acl(&self) -> Option<&str> {
        self.object.settings.acl.canned.as_deref()
    }

    /// Grants that it was written with: permission and grantee, as in the `x-amz-grant-*` headers.
    pub fn grants(&self) -> &[(&'static str, String)] {
        &self.object.settings.acl.grants
    }

    /// Server-side encryption: `AES256`, which SSE-C is too, `aws:kms` or `aws:kms:dsse`.
    pub fn server_side_encryption(&self) -> &str {
        self.object.settings.encryption.algorithm()
    }

    /// The KMS key that it was written with.
    pub fn kms_key_id(&self) -> Option<&str> {
        self.object.settings.encryption.kms_key_id.as_deref()
    }

    /// The encryption context that it was written with: JSON in base64.
    pub fn encryption_context(&self) -> Option<&str> {
        self.object.settings.encryption.context.as_deref()
    }

    /// SSE-C: the MD5 of the key that it was written with, in base64.
    pub fn customer_key_md5(&self) -> Option<&str> {
        self.object.settings.encryption.customer_key_md5.as_deref()
    }

    /// Whether it was written with a bucket key.
    pub fn bucket_key(&self) -> bool {
        self.object.settings.encryption.bucket_key
    }

    /// Object Lock mode and the date that it ends.
    pub fn retention(&self) -> Option<(&str, OffsetDateTime)> {
        let Lock { retention, .. } = &self.object.settings.lock;
        retention
            .as_ref()
            .map(|(mode, until)| (mode.as_str(), *until))
    }

    /// Whether it is under a legal hold.
    pub fn legal_hold(&self) -> bool {
        self.object.settings.lock.legal_hold
    }

    /// What a restore that goes on was asked for: days, none in a tier of INTELLIGENT_TIERING, and how fast.
    pub fn ongoing_restore(&self) -> Option<(Option<u32>, RestoreTier)> {
        match self.object.restore {
            Restore::Ongoing { days, tier } => Some((days, tier)),
            Restore::None | Restore::Done { .. } => None,
        }
    }

    /// The sizes of its parts, of a multipart object.
    pub fn part_sizes(&self) -> Option<Vec<u64>> {
        self.object
            .parts()
            .map(|parts| parts.iter().map(|part| part.size).collect())
    }

    /// The algorithm of its checksum.
    pub fn checksum_algorithm(&self) -> ChecksumAlgorithm {
        self.object.checksum.algorithm
    }

    /// The type of its checksum.
    pub fn checksum_type(&self) -> ChecksumType {
        self.object.checksum_type()
    }

    /// Its checksum as S3 writes it.
    pub fn checksum(&self) -> String {
        self.object.checksum_value()
    }
}

/// Whether parts are all of one size, the last aside, which may be smaller.
fn are_alike(sizes: &[u64]) -> bool {
    match sizes {
        [first, middle @ .., last] => last <= first && middle.iter().all(|size| size == first),
        [] | [_] => true,
    }
}

/// A version or a delete marker.
#[derive(Clone, Debug)]
pub struct VersionView {
    /// The key.
    pub key: String,
    /// The version ID.
    pub version_id: String,
    /// Whether it is the current one of its key.
    pub is_latest: bool,
    /// The object; none of a delete marker.
    pub object: Option<ObjectView>,
}

impl VersionView {
    pub(super) fn new(key: &str, version: &Version, is_latest: bool) -> Self {
        let object = version.object.as_ref().map(|object| {
            let found = FoundObject {
                id: version.id,
                modified: version.modified,
                object: Arc::clone(object),
            };
            ObjectView::new(key, found)
        });
        Self {
            key: key.to_owned(),
            version_id: version.id.to_string(),
            is_latest,
            object,
        }
    }

    /// Whether it is a delete marker.
    pub fn is_delete_marker(&self) -> bool {
        self.object.is_none()
    }
}

/// An open multipart upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadView {
    /// The key that it will make.
    pub key: String,
    /// Its ID.
    pub upload_id: String,
    /// The ARN of who created it.
    pub initiator: String,
    /// The numbers of its parts.
    pub part_numbers: Vec<u32>,
    /// The bytes in its parts.
    pub bytes: u64,
}

impl UploadView {
    pub(super) fn new(key: &str, number: u64, upload: &Upload) -> Self {
        Self {
            key: key.to_owned(),
            upload_id: upload_id(number),
            initiator: upload.initiator.clone(),
            part_numbers: upload.parts.keys().copied().collect(),
            bytes: upload.parts.values().map(|part| part.content.size()).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use crate::store::bucket::BucketSettings;
    use crate::store::checksum::base64;

    fn store() -> Store {
        let store = Store::default();
        store
            .create_bucket("b", "111111111111", "us-east-1", BucketSettings::default())
            .expect("a new bucket");
        store
    }

    fn put(size: u64, properties: &ObjectProperties) -> ObjectView {
        let store = store();
        store
            .declare_object("b", "k", size, 1, properties)
            .expect("bucket b is there");
        store.object("b", "k").expect("an object")
    }

    #[test]
    fn what_is_put_can_be_put_again() {
        let until = OffsetDateTime::from_unix_timestamp(4_000_000_000).expect("a date");
        let properties = ObjectProperties {
            metadata: [("a".to_owned(), "naïve".to_owned())].into(),
            tags: vec![("t".to_owned(), "1".to_owned())],
            storage_class: StorageClass::IntelligentTiering,
            archive_tier: Some(ArchiveTier::DeepArchiveAccess),
            kms_key_id: Some("arn:aws:kms:us-east-1:111111111111:key/k".to_owned()),
            bucket_key: true,
            retention: Some(Retention {
                mode: "COMPLIANCE".to_owned(),
                until,
            }),
            legal_hold: true,
            checksum_algorithm: Some(ChecksumAlgorithm::Sha256),
            owner: Some("333333333333".to_owned()),
            part_bytes: Some(7),
            part_sizes: vec![7, 5, 8],
            ..ObjectProperties::default()
        };
        assert_eq!(put(20, &properties).properties(), properties);
        let json = serde_json::to_string(&properties).expect("JSON");
        assert!(json.contains("2096-10-02T07:06:40Z"), "{json}");
        assert_eq!(
            serde_json::from_str::<ObjectProperties>(&json).expect("JSON"),
            properties
        );
    }

    #[test]
    fn parts_are_of_the_sizes_that_are_named() {
        let of = |part_bytes, part_sizes: &[u64]| ObjectProperties {
            part_bytes,
            part_sizes: part_sizes.to_vec(),
            ..ObjectProperties::default()
        };
        for (size, properties, expected, shown) in [
            (20, of(None, &[]), None, &[][..]),
            (20, of(Some(8), &[]), Some(vec![8, 8, 4]), &[]),
            (0, of(Some(8), &[]), Some(vec![0]), &[]),
            (20, of(None, &[8, 8, 4]), Some(vec![8, 8, 4]), &[]),
            (20, of(Some(9), &[4, 16]), Some(vec![4, 16]), &[4, 16]),
            (20, of(None, &[8, 4, 8]), Some(vec![8, 4, 8]), &[8, 4, 8]),
            (20, of(None, &[20]), Some(vec![20]), &[]),
        ] {
            let object = put(size, &properties);
            assert_eq!(object.part_sizes(), expected, "{properties:?}");
            assert_eq!(object.properties().part_sizes, shown, "{properties:?}");
        }
        let e_tag = |sizes: &[u64]| put(20, &of(None, sizes)).e_tag();
        assert_ne!(e_tag(&[8, 12]), e_tag(&[12, 8]));
        let refused = store().declare_object("b", "k", 20, 1, of(None, &[8, 8]));
        assert!(matches!(
            refused,
            Err(StoreError::PartSizes {
                parts: 16,
                size: 20
            })
        ));
    }

    #[test]
    fn checksums_are_of_the_type_that_is_named() {
        use ChecksumAlgorithm::{Crc32, Crc64Nvme};
        use ChecksumType::{Composite, FullObject};
        let whole =
            |algorithm: ChecksumAlgorithm| base64(&Content::declared(1, 20).checksum(algorithm));
        for (algorithm, named, part_bytes, kind, of_parts) in [
            (Crc32, None, None, FullObject, false),
            (Crc32, None, Some(8), Composite, true),
            (Crc32, Some(FullObject), Some(8), FullObject, true),
            (Crc64Nvme, None, Some(8), FullObject, false),
            (Crc64Nvme, Some(FullObject), Some(8), FullObject, true),
        ] {
            let properties = ObjectProperties {
                checksum_algorithm: Some(algorithm),
                checksum_type: named,
                part_bytes,
                ..ObjectProperties::default()
            };
            let object = put(20, &properties);
            assert_eq!(object.checksum_type(), kind, "{properties:?}");
            assert_eq!(object.checksum() == whole(algorithm), kind == FullObject);
            let parts = object.object.parts();
            let has = parts.is_some_and(|parts| parts.iter().all(|part| part.checksum.is_some()));
            assert_eq!(has, of_parts, "{properties:?}");
        }
    }

    #[test]
    fn restores_are_ended() {
        let archived = ObjectProperties {
            storage_class: StorageClass::Glacier,
            restore: RestoreState::Ongoing,
            ..ObjectProperties::default()
        };
        let tiered = ObjectProperties {
            storage_class: StorageClass::IntelligentTiering,
            archive_tier: Some(ArchiveTier::ArchiveAccess),
            ..archived.clone()
        };
        for (properties, days) in [(archived, Some(1)), (tiered, None)] {
            let store = store();
            store
                .put_object("b", "k", "cold", &properties)
                .expect("bucket b is there");
            let look = || store.object("b", "k").expect("an object");
            let is_archived = || look().object.is_archived(Timestamp::now());
            assert_eq!(
                look().ongoing_restore(),
                Some((days, RestoreTier::Standard))
            );
            assert!(is_archived());
            store.finish_restore("b", "k", 1).expect("an object");
            assert_eq!(look().ongoing_restore(), None);
            assert!(!is_archived());
            assert_eq!(look().properties().archive_tier, None);
            // A restore that has run out.
            store.finish_restore("b", "k", 0).expect("an object");
            assert_eq!(is_archived(), days.is_some());
        }
    }
}
