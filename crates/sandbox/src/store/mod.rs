//! Buckets in memory: what the S3 side serves, and what tests set up and look at.
//!
//! [`content`] is what objects hold, [`object`] an object with its properties, [`bucket`] the keys and versions of one
//! bucket, [`upload`] its open uploads, [`fill`] a file of buckets to start with.

pub(crate) mod acl;
pub(crate) mod bucket;
pub(crate) mod checksum;
pub(crate) mod content;
pub(crate) mod fill;
pub(crate) mod ids;
pub(crate) mod object;
pub(crate) mod upload;
pub(crate) mod view;

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use self::bucket::{Bucket, BucketSettings, Found};
use self::content::Content;
use self::ids::Ids;
use self::object::{Restore, Timestamp, VersionId};
use self::view::{ObjectProperties, ObjectView, UploadView, VersionView};
use crate::iam::{Policy, PolicyError, PolicyKind};

/// Why the store refused a set-up.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A bucket of this name exists; names are shared by all accounts.
    #[error("bucket {0} exists")]
    BucketExists(String),
    /// No account has a bucket of this name.
    #[error("no bucket {0}")]
    NoSuchBucket(String),
    /// No object of this key, or its current version is a delete marker.
    #[error("no object {key:?} in bucket {bucket}")]
    NoSuchObject {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
    /// Sizes of parts that do not add up to the object's.
    #[error("parts of {parts} bytes together in an object of {size}")]
    PartSizes {
        /// What the parts add up to.
        parts: u64,
        /// The object's size.
        size: u64,
    },
    /// A bucket policy that S3 would refuse.
    #[error("malformed policy for bucket {bucket}")]
    MalformedPolicy {
        /// The bucket.
        bucket: String,
        /// What is wrong with it.
        source: PolicyError,
    },
}

/// The buckets of all accounts. Cheap to clone; all clones are the same store.
///
/// It writes past S3's rules: no permission, no condition, no size limit is asked for.
#[derive(Clone, Debug, Default)]
pub struct Store(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    buckets: RwLock<BTreeMap<String, Arc<Bucket>>>,
    ids: Ids,
}

impl Store {
    /// Makes a bucket in an account and a Region.
    ///
    /// # Errors
    /// If the name is taken, or the policy malformed.
    pub fn create_bucket(
        &self,
        bucket: &str,
        account: &str,
        region: &str,
        settings: BucketSettings,
    ) -> Result<(), StoreError> {
        let policy = parse_policy(bucket, settings.policy.as_deref())?;
        let mut buckets = self
            .0
            .buckets
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if buckets.contains_key(bucket) {
            return Err(StoreError::BucketExists(bucket.to_owned()));
        }
        buckets.insert(
            bucket.to_owned(),
            Arc::new(Bucket::new(bucket, account, region, settings, policy)),
        );
        Ok(())
    }

    /// Removes a bucket with all that is in it.
    pub fn remove_bucket(&self, bucket: &str) {
        self.0
            .buckets
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(bucket);
    }

    /// The settings of a bucket.
    pub fn settings(&self, bucket: &str) -> Option<BucketSettings> {
        self.bucket(bucket)
            .map(|bucket| (*bucket.settings()).clone())
    }

    /// Replaces the settings of a bucket.
    ///
    /// # Errors
    /// If there is no such bucket, or the policy is malformed.
    pub fn configure_bucket(
        &self,
        bucket: &str,
        settings: BucketSettings,
    ) -> Result<(), StoreError> {
        let policy = parse_policy(bucket, settings.policy.as_deref())?;
        let bucket = self.required(bucket)?;
        let mut state = bucket.lock();
        state.settings = Arc::new(settings);
        state.policy = policy.map(Arc::new);
        Ok(())
    }

    /// Sets a bucket's policy, or removes it.
    ///
    /// # Errors
    /// If there is no such bucket, or the policy is malformed.
    pub fn set_bucket_policy(&self, bucket: &str, policy: Option<&str>) -> Result<(), StoreError> {
        let settings = self
            .settings(bucket)
            .ok_or_else(|| StoreError::NoSuchBucket(bucket.to_owned()))?;
        self.configure_bucket(
            bucket,
            BucketSettings {
                policy: policy.map(str::to_owned),
                ..settings
            },
        )
    }

    /// Writes an object of these bytes; answers its version ID, `null` in an unversioned bucket.
    ///
    /// # Errors
    /// If there is no such bucket, or the parts do not add up.
    pub fn put_object(
        &self,
        bucket: &str,
        key: &str,
        bytes: impl Into<Bytes>,
        properties: impl Borrow<ObjectProperties>,
    ) -> Result<String, StoreError> {
        self.put_content(
            bucket,
            key,
            Content::stored(bytes.into()),
            properties.borrow(),
        )
    }

    /// Writes an object whose bytes are a function of `seed` and the offset, at no cost of memory.
    ///
    /// # Errors
    /// If there is no such bucket, or the parts do not add up.
    pub fn declare_object(
        &self,
        bucket: &str,
        key: &str,
        size: u64,
        seed: u64,
        properties: impl Borrow<ObjectProperties>,
    ) -> Result<String, StoreError> {
        self.put_content(
            bucket,
            key,
            Content::declared(seed, size),
            properties.borrow(),
        )
    }

    fn put_content(
        &self,
        bucket: &str,
        key: &str,
        content: Content,
        properties: &ObjectProperties,
    ) -> Result<String, StoreError> {
        let bucket = self.required(bucket)?;
        properties.check_part_sizes(content.size())?;
        let object = properties.object(content, &bucket.account);
        Ok(bucket
            .lock()
            .put(self.ids(), key, Some(Arc::new(object)))
            .to_string())
    }

    /// Deletes a key as `DeleteObject` does: with versioning, by a delete marker.
    ///
    /// # Errors
    /// If there is no such bucket.
    pub fn delete_object(&self, bucket: &str, key: &str) -> Result<(), StoreError> {
        self.required(bucket)?.lock().delete(self.ids(), key, None);
        Ok(())
    }

    /// The current object of a key; none if it is deleted or never was.
    pub fn object(&self, bucket: &str, key: &str) -> Option<ObjectView> {
        self.view(bucket, key, None)
    }

    /// A version of a key; none if it is a delete marker or never was.
    pub fn object_version(&self, bucket: &str, key: &str, version_id: &str) -> Option<ObjectView> {
        self.view(bucket, key, Some(VersionId::parse(version_id)?))
    }

    fn view(&self, bucket: &str, key: &str, version_id: Option<VersionId>) -> Option<ObjectView> {
        match self.bucket(bucket)?.find(key, version_id) {
            Found::Object(found) => Some(ObjectView::new(key, found)),
            _ => None,
        }
    }

    /// The current objects of a bucket, in the order of their keys' bytes; none of a bucket that is not there.
    pub fn objects(&self, bucket: &str) -> Vec<ObjectView> {
        let Some(bucket) = self.bucket(bucket) else {
            return Vec::new();
        };
        let state = bucket.lock();
        state
            .keys_from(Bound::Unbounded)
            .filter_map(|(key, _)| match state.find(key, None) {
                Found::Object(found) => Some(ObjectView::new(key, found)),
                _ => None,
            })
            .collect()
    }

    /// How many current objects a bucket has.
    pub fn object_count(&self, bucket: &str) -> usize {
        self.bucket(bucket).map_or(0, |bucket| {
            let state = bucket.lock();
            state
                .keys_from(Bound::Unbounded)
                .filter(|(key, _)| state.current(key).is_some())
                .count()
        })
    }

    /// All versions and delete markers of a bucket: keys in order, of each the newest first.
    pub fn versions(&self, bucket: &str) -> Vec<VersionView> {
        let Some(bucket) = self.bucket(bucket) else {
            return Vec::new();
        };
        let state = bucket.lock();
        state
            .keys_from(Bound::Unbounded)
            .flat_map(|(key, versions)| {
                let newest = versions.len().saturating_sub(1);
                versions
                    .iter()
                    .enumerate()
                    .rev()
                    .map(move |(at, version)| VersionView::new(key, version, at == newest))
            })
            .collect()
    }

    /// The open multipart uploads of a bucket, in the order of keys, then of their creation.
    pub fn uploads(&self, bucket: &str) -> Vec<UploadView> {
        let Some(bucket) = self.bucket(bucket) else {
            return Vec::new();
        };
        let state = bucket.lock();
        state
            .uploads
            .iter()
            .map(|((key, number), upload)| UploadView::new(key, *number, upload))
            .collect()
    }

    /// Whether two objects hold the same bytes; false if either is missing.
    pub fn same_content(&self, source: (&str, &str), destination: (&str, &str)) -> bool {
        match (
            self.object(source.0, source.1),
            self.object(destination.0, destination.1),
        ) {
            (Some(source), Some(destination)) => source.same_content(&destination),
            _ => false,
        }
    }

    /// Ends the restore of an archived object, asked for or not: it can be read for `days`, or for good if it was in
    /// a tier of INTELLIGENT_TIERING, which it leaves. So of all its versions that are archived.
    ///
    /// # Errors
    /// If there is no such bucket or object.
    pub fn finish_restore(&self, bucket: &str, key: &str, days: u32) -> Result<(), StoreError> {
        let until = Timestamp::now().after(u64::from(days) * 86_400);
        let place = self.required(bucket)?;
        let mut state = place.lock();
        if state.current(key).is_none() {
            return Err(StoreError::NoSuchObject {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
            });
        }
        let versions = state.keys.get_mut(key).into_iter().flatten();
        for object in versions.filter_map(|version| version.object.as_mut()) {
            if object.is_archivable() {
                let object = Arc::make_mut(object);
                object.restore = match object.archive_tier.take() {
                    Some(_) => Restore::None,
                    None => Restore::Done { until },
                };
            }
        }
        Ok(())
    }

    pub(crate) fn bucket(&self, bucket: &str) -> Option<Arc<Bucket>> {
        self.0
            .buckets
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(bucket)
            .cloned()
    }

    pub(crate) fn buckets(&self) -> Vec<Arc<Bucket>> {
        self.0
            .buckets
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    pub(crate) fn ids(&self) -> &Ids {
        &self.0.ids
    }

    fn required(&self, bucket: &str) -> Result<Arc<Bucket>, StoreError> {
        self.bucket(bucket)
            .ok_or_else(|| StoreError::NoSuchBucket(bucket.to_owned()))
    }
}

pub(crate) fn parse_policy(
    bucket: &str,
    policy: Option<&str>,
) -> Result<Option<Policy>, StoreError> {
    policy
        .map(|json| Policy::parse(json, PolicyKind::Bucket(bucket)))
        .transpose()
        .map_err(|source| StoreError::MalformedPolicy {
            bucket: bucket.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::bucket::Versioning;
    use super::*;

    fn store(versioning: Versioning) -> Store {
        let store = Store::default();
        let settings = BucketSettings {
            versioning,
            ..BucketSettings::default()
        };
        store
            .create_bucket("b", "111111111111", "us-east-1", settings)
            .expect("a new bucket");
        store
    }

    fn put(store: &Store, bytes: &'static str) -> String {
        store
            .put_object("b", "k", bytes, ObjectProperties::default())
            .expect("bucket b is there")
    }

    #[test]
    fn an_unversioned_key_is_overwritten_and_deleted() {
        let store = store(Versioning::Unversioned);
        assert_eq!(put(&store, "one"), "null");
        assert_eq!(put(&store, "two"), "null");
        assert_eq!(store.versions("b").len(), 1);
        store.delete_object("b", "k").expect("bucket b is there");
        assert!(store.versions("b").is_empty());
    }

    #[test]
    fn a_versioned_key_keeps_its_versions_under_a_delete_marker() {
        let store = store(Versioning::Enabled);
        let (one, two) = (put(&store, "one"), put(&store, "two"));
        store.delete_object("b", "k").expect("bucket b is there");
        assert!(store.object("b", "k").is_none());
        assert_eq!(store.object_count("b"), 0);
        let versions = store.versions("b");
        assert_eq!(
            versions
                .iter()
                .map(|version| (version.is_delete_marker(), version.is_latest))
                .collect::<Vec<_>>(),
            [(true, true), (false, false), (false, false)]
        );
        assert_eq!(
            store
                .object_version("b", "k", &one)
                .expect("the first version")
                .bytes(),
            b"one"
        );
        assert_eq!(
            store
                .object_version("b", "k", &two)
                .expect("the second version")
                .bytes(),
            b"two"
        );
    }

    #[test]
    fn a_suspended_bucket_replaces_only_the_null_version() {
        let store = store(Versioning::Enabled);
        let one = put(&store, "one");
        let settings = BucketSettings {
            versioning: Versioning::Suspended,
            ..BucketSettings::default()
        };
        store
            .configure_bucket("b", settings)
            .expect("bucket b is there");
        assert_eq!(put(&store, "two"), "null");
        assert_eq!(put(&store, "three"), "null");
        assert_eq!(store.versions("b").len(), 2);
        assert_eq!(
            store
                .object_version("b", "k", &one)
                .expect("the first version")
                .bytes(),
            b"one"
        );
        assert_eq!(
            store.object("b", "k").expect("the null version").bytes(),
            b"three"
        );
    }
}
