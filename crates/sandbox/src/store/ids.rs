//! Numbers that are given once.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts from 1, so that what is made later sorts later.
#[derive(Debug, Default)]
pub(crate) struct Ids(AtomicU64);

impl Ids {
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}
