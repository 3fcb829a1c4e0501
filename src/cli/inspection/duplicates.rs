//! How many rows of a manifest are there more than once, in bounded memory.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

/// Rows that are kept in memory, 17 bytes each.
const KEPT: usize = 900_000;

/// Counts rows that were there before. Up to [`KEPT`] different rows that is exact. Of more, those are kept
/// whose hash ends in ever more zeros, which does not depend on the row: what is counted among these stands for all.
#[derive(Debug, Default)]
pub(super) struct Duplicates {
    hasher: BuildHasherDefault<DefaultHasher>,
    /// By hash, how often each was there.
    kept: HashMap<u64, u32>,
    /// Zeros in which the hashes of kept rows end.
    zeros: u32,
}

impl Duplicates {
    /// Takes a row.
    pub(super) fn see(&mut self, key: &str, version_id: Option<&str>) {
        let hash = self.hasher.hash_one((key, version_id));
        if !self.is_kept(hash) {
            return;
        }
        *self.kept.entry(hash).or_default() += 1;
        while self.kept.len() > KEPT {
            self.zeros += 1;
            let zeros = self.zeros;
            self.kept.retain(|hash, _| hash.trailing_zeros() >= zeros);
        }
    }

    fn is_kept(&self, hash: u64) -> bool {
        hash.trailing_zeros() >= self.zeros
    }

    /// The rows that were there before, and whether their number is an estimate.
    pub(super) fn count(&self) -> (u64, bool) {
        let among_kept: u64 = self.kept.values().map(|times| u64::from(*times) - 1).sum();
        (among_kept << self.zeros, self.zeros > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(rows: impl Iterator<Item = u32>) -> (u64, bool) {
        let mut duplicates = Duplicates::default();
        for row in rows {
            duplicates.see(&row.to_string(), None);
        }
        duplicates.count()
    }

    #[test]
    fn few_rows_are_counted_exactly() {
        assert_eq!(count(0..1000), (0, false));
        assert_eq!(count((0..1000).chain(0..10).chain(5..6)), (11, false));
        let mut versions = Duplicates::default();
        for version in [Some("1"), Some("2"), None, Some("1")] {
            versions.see("key", version);
        }
        assert_eq!(versions.count(), (1, false));
    }

    #[test]
    fn many_rows_are_estimated() {
        assert_eq!(count(0..2_000_000), (0, true));
        let (found, estimated) = count((0..2_000_000).chain(0..500_000));
        assert!(estimated);
        assert!((490_000..510_000).contains(&found), "{found}");
    }
}
