//! The uploads that rows of this job have in hand: none of them is one that no record knows.
//!
//! A manifest may list a key more than once, in several versions too, and its rows run side by side.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::RwLock;

use crate::job::report::journal::OpenUpload;

/// The uploads in hand, and who creates one.
#[derive(Debug, Default)]
pub struct Uploads(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// By the ordinal of their row.
    ids: HashMap<u64, String>,
    /// By key: shared while an upload is created, alone while those without a record are looked for.
    creating: HashMap<String, Arc<RwLock<()>>>,
}

impl Uploads {
    /// Begins with those that an earlier attempt kept.
    pub fn new(kept: &[OpenUpload]) -> Self {
        let ids = kept
            .iter()
            .map(|upload| (upload.ordinal, upload.upload_id.clone()));
        Self(Mutex::new(Inner {
            ids: ids.collect(),
            creating: HashMap::new(),
        }))
    }

    /// Takes note of a row's upload, in place of the one it had.
    pub(super) fn insert(&self, ordinal: u64, upload_id: &str) {
        self.inner().ids.insert(ordinal, upload_id.to_owned());
    }

    /// The row has ended.
    pub(super) fn remove(&self, ordinal: u64) {
        self.inner().ids.remove(&ordinal);
    }

    /// Whether a row has it in hand, or will take it up.
    pub(super) fn contains(&self, upload_id: &str) -> bool {
        self.inner().ids.values().any(|id| id == upload_id)
    }

    /// What is held shared from before an upload of this key is created until it is noted.
    pub(super) fn creating(&self, key: &str) -> Arc<RwLock<()>> {
        let mut inner = self.inner();
        inner.creating.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(inner.creating.entry(key.to_owned()).or_default())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_one_upload_and_a_key_one_lock() {
        let uploads = Uploads::default();
        uploads.insert(1, "a");
        uploads.insert(2, "b");
        uploads.insert(1, "c");
        uploads.remove(2);
        assert_eq!(
            ["a", "b", "c"].map(|id| uploads.contains(id)),
            [false, false, true]
        );

        let lock = uploads.creating("k");
        assert!(Arc::ptr_eq(&lock, &uploads.creating("k")));
        assert!(!Arc::ptr_eq(&lock, &uploads.creating("l")));
        drop(lock);
        uploads.creating("m");
        assert_eq!(uploads.inner().creating.len(), 1);
    }
}
