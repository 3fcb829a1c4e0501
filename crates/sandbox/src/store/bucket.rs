//! A bucket: its settings, its keys with their versions, its open uploads.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::ids::Ids;
use super::object::{Object, Timestamp, Version, VersionId};
use super::upload::Upload;
use crate::iam::Policy;

/// Whether a bucket keeps the versions of its keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Versioning {
    /// Never switched on.
    #[default]
    Unversioned,
    /// Each write makes a version.
    Enabled,
    /// Writes replace the null version; the others stay.
    Suspended,
}

/// Who owns what others write, and whether ACLs count.
/// `https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObjectOwnership {
    /// The bucket's account owns everything; ACLs are off.
    BucketOwnerEnforced,
    /// The bucket's account owns what is written with `bucket-owner-full-control`.
    BucketOwnerPreferred,
    /// The writer owns what it writes.
    ObjectWriter,
}

impl ObjectOwnership {
    /// Names it as S3 does.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BucketOwnerEnforced => "BucketOwnerEnforced",
            Self::BucketOwnerPreferred => "BucketOwnerPreferred",
            Self::ObjectWriter => "ObjectWriter",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [
            Self::BucketOwnerEnforced,
            Self::BucketOwnerPreferred,
            Self::ObjectWriter,
        ]
        .into_iter()
        .find(|ownership| ownership.as_str() == name)
    }
}

/// What a bucket does by itself to the keys under a prefix. Kept and shown; nothing is ever expired here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LifecycleRule {
    /// The rule's name; S3 makes one up where there is none.
    pub id: String,
    /// Whether the rule is switched off.
    pub disabled: bool,
    /// The keys it is about; empty for all.
    pub prefix: String,
    /// After how many days objects expire.
    pub expiration_days: Option<i32>,
    /// After how many days uploads that were never completed are aborted.
    pub abort_incomplete_multipart_upload_days: Option<i32>,
}

/// What can be set on a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of S3's own, and any may stand with any other"
)]
pub struct BucketSettings {
    /// Versioning; unversioned by default.
    pub versioning: Versioning,
    /// Object Ownership; `BucketOwnerEnforced` by default. None is a bucket from before April 2023 that never set
    /// it: `OwnershipControlsNotFoundError`, and the writer owns.
    pub ownership: Option<ObjectOwnership>,
    /// The bucket policy, as JSON text; none by default.
    pub policy: Option<String>,
    /// Whether the requester pays: requests of others need `x-amz-request-payer: requester`.
    pub requester_pays: bool,
    /// Whether Object Lock is on; it needs versioning.
    pub object_lock: bool,
    /// For how many days what says nothing of it is retained, by GOVERNANCE; none by default.
    pub default_retention_days: Option<i32>,
    /// The key of SSE-KMS that objects without encryption headers get; SSE-S3 by default.
    pub kms_key_id: Option<String>,
    /// Whether SSE-KMS goes by a bucket key where a request does not say.
    pub bucket_key: bool,
    /// Lifecycle rules; none by default, which is `NoSuchLifecycleConfiguration`.
    pub lifecycle: Vec<LifecycleRule>,
    /// Whether a policy of the bucket enforces conditional writes: `PutObject` and `CompleteMultipartUpload` must bring
    /// `If-None-Match` or `If-Match`, and `CopyObject` is refused either way, with them by 501.
    /// `https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html`
    pub enforces_conditional_writes: bool,
    /// Whether `PutObject` takes no notice of `If-None-Match` and `If-Match`, as some stores like S3.
    pub ignores_conditional_writes: bool,
    /// The most entries of a page of a listing, whatever is asked for; 1,000 by default. S3 may answer fewer than asked.
    pub page_entries: usize,
}

impl Default for BucketSettings {
    fn default() -> Self {
        Self {
            versioning: Versioning::Unversioned,
            ownership: Some(ObjectOwnership::BucketOwnerEnforced),
            policy: None,
            requester_pays: false,
            object_lock: false,
            default_retention_days: None,
            kms_key_id: None,
            bucket_key: false,
            lifecycle: Vec::new(),
            enforces_conditional_writes: false,
            ignores_conditional_writes: false,
            page_entries: 1000,
        }
    }
}

impl BucketSettings {
    /// Ownership as it works: a bucket that never set it behaves as `ObjectWriter`.
    pub(crate) fn effective_ownership(&self) -> ObjectOwnership {
        self.ownership.unwrap_or(ObjectOwnership::ObjectWriter)
    }
}

/// A bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) account: Arc<str>,
    pub(crate) region: String,
    pub(crate) created: Timestamp,
    state: Mutex<State>,
}

/// What of a bucket changes; its lock is held for the length of a look-up, never across a digest.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) settings: Arc<BucketSettings>,
    pub(crate) policy: Option<Arc<Policy>>,
    pub(crate) keys: BTreeMap<Box<str>, Vec<Version>>,
    pub(crate) uploads: BTreeMap<(Box<str>, u64), Upload>,
}

/// What a read found at a key.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    Object(FoundObject),
    /// The current version is a delete marker, or the version that was asked for.
    DeleteMarker(Version),
    NoSuchKey,
    NoSuchVersion,
}

/// A version that is an object.
#[derive(Clone, Debug)]
pub(crate) struct FoundObject {
    pub(crate) id: VersionId,
    pub(crate) modified: Timestamp,
    pub(crate) object: Arc<Object>,
}

/// What a delete did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deleted {
    /// The version removed, or the delete marker made.
    pub(crate) version_id: Option<VersionId>,
    /// Whether that is a delete marker.
    pub(crate) delete_marker: bool,
}

impl Bucket {
    pub(crate) fn new(
        name: &str,
        account: &str,
        region: &str,
        settings: BucketSettings,
        policy: Option<Policy>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            account: account.into(),
            region: region.to_owned(),
            created: Timestamp::now(),
            state: Mutex::new(State {
                settings: Arc::new(settings),
                policy: policy.map(Arc::new),
                keys: BTreeMap::new(),
                uploads: BTreeMap::new(),
            }),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn settings(&self) -> Arc<BucketSettings> {
        Arc::clone(&self.lock().settings)
    }

    pub(crate) fn policy(&self) -> Option<Arc<Policy>> {
        self.lock().policy.clone()
    }

    pub(crate) fn find(&self, key: &str, version_id: Option<VersionId>) -> Found {
        self.lock().find(key, version_id)
    }
}

impl State {
    pub(crate) fn find(&self, key: &str, version_id: Option<VersionId>) -> Found {
        let versions = self.keys.get(key);
        let version = match (versions, version_id) {
            (Some(versions), None) => versions.last(),
            (Some(versions), Some(id)) => versions.iter().find(|version| version.id == id),
            (None, _) => None,
        };
        match version {
            Some(version) => match &version.object {
                Some(object) => {
                    let object = Arc::clone(object);
                    Found::Object(FoundObject {
                        id: version.id,
                        modified: version.modified,
                        object,
                    })
                }
                None => Found::DeleteMarker(version.clone()),
            },
            None if version_id.is_some() => Found::NoSuchVersion,
            None => Found::NoSuchKey,
        }
    }

    /// The current object of a key, if it is not deleted.
    pub(crate) fn current(&self, key: &str) -> Option<&Arc<Object>> {
        self.keys
            .get(key)
            .and_then(|versions| versions.last())
            .and_then(|version| version.object.as_ref())
    }

    /// Writes a version as the bucket's versioning has it.
    pub(crate) fn put(&mut self, ids: &Ids, key: &str, object: Option<Arc<Object>>) -> VersionId {
        let enabled = self.settings.versioning == Versioning::Enabled;
        let id = if enabled {
            VersionId(ids.next())
        } else {
            VersionId::NULL
        };
        let version = Version {
            id,
            modified: Timestamp::now(),
            object,
        };
        match self.keys.get_mut(key) {
            Some(versions) => {
                if !enabled {
                    versions.retain(|version| version.id != VersionId::NULL);
                }
                versions.push(version);
            }
            None => {
                self.keys.insert(key.into(), vec![version]);
            }
        }
        id
    }

    /// Deletes a key, or removes a version of it.
    pub(crate) fn delete(
        &mut self,
        ids: &Ids,
        key: &str,
        version_id: Option<VersionId>,
    ) -> Deleted {
        if let Some(id) = version_id {
            let Some(versions) = self.keys.get_mut(key) else {
                return Deleted {
                    version_id,
                    delete_marker: false,
                };
            };
            let removed = versions
                .iter()
                .position(|version| version.id == id)
                .map(|at| versions.remove(at));
            if versions.is_empty() {
                self.keys.remove(key);
            }
            return Deleted {
                version_id,
                delete_marker: removed.is_some_and(|version| version.object.is_none()),
            };
        }
        if self.settings.versioning == Versioning::Unversioned {
            self.keys.remove(key);
            return Deleted::default();
        }
        let id = self.put(ids, key, None);
        Deleted {
            version_id: Some(id),
            delete_marker: true,
        }
    }

    /// Replaces the object of a version, keeping its date: tags, ACLs and restores change in place.
    pub(crate) fn amend(
        &mut self,
        key: &str,
        version_id: Option<VersionId>,
        change: impl FnOnce(&mut Object),
    ) -> bool {
        let Some(versions) = self.keys.get_mut(key) else {
            return false;
        };
        let version = match version_id {
            Some(id) => versions.iter_mut().find(|version| version.id == id),
            None => versions.last_mut(),
        };
        match version.and_then(|version| version.object.as_mut()) {
            Some(object) => {
                change(Arc::make_mut(object));
                true
            }
            None => false,
        }
    }

    /// The keys after a key, in the order of their bytes.
    pub(crate) fn keys_from<'a>(
        &'a self,
        start: Bound<&'a str>,
    ) -> impl Iterator<Item = (&'a str, &'a Vec<Version>)> + 'a {
        self.keys
            .range::<str, _>((start, Bound::Unbounded))
            .map(|(key, versions)| (&**key, versions))
    }
}
