//! Which rows of a manifest are a shard's.
//!
//! Whole data files where an inventory has enough of them, so that no shard reads what another one copies;
//! else every n-th row, filtered or not, so that what the shards count adds up to the manifest. Versions of
//! a key must land in order, so that with all versions a key's rows are of one shard.

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use super::{ManifestOptions, Versions};
use crate::job::shard::Shard;

/// Data files for each shard from which on whole ones are dealt: with fewer some shard could have twice as
/// many as another.
const FILES_EACH: u64 = 4;

/// How a manifest was dealt to shards, and how much of it there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dealt {
    /// By its data files.
    Files {
        /// Data files of the inventory.
        of: u64,
    },
    /// By its rows.
    Rows {
        /// Rows of the whole manifest, before any filter.
        of: u64,
    },
    /// By the keys of its rows.
    Keys {
        /// Rows of the whole manifest, before any filter.
        of: u64,
    },
}

/// What is read of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deal {
    /// All of it.
    All,
    /// Every n-th data file.
    Files(Shard),
    /// Every n-th row.
    Rows(Shard),
    /// The rows of some keys.
    Keys(Shard),
}

impl Deal {
    /// Of a manifest of so many data files.
    pub(super) fn of(options: &ManifestOptions, files: usize) -> Self {
        match options.shard {
            None => Self::All,
            Some(shard) if options.versions == Some(Versions::All) => Self::Keys(shard),
            Some(shard) if files as u64 >= FILES_EACH * u64::from(shard.of) => Self::Files(shard),
            Some(shard) => Self::Rows(shard),
        }
    }

    /// Whether a data file is read.
    pub(super) fn has_file(self, number: usize) -> bool {
        match self {
            Self::Files(shard) => shard.has(number as u64),
            Self::All | Self::Rows(_) | Self::Keys(_) => true,
        }
    }

    /// The place of a data file among those that are read.
    pub(super) fn place_of_file(self, number: usize) -> usize {
        match self {
            Self::Files(shard) => number / shard.of as usize,
            Self::All | Self::Rows(_) | Self::Keys(_) => number,
        }
    }

    /// Whether a row of a file that is read is this shard's, by its number in the manifest and its key.
    pub(super) fn has_row(self, number: u64, key: impl FnOnce() -> Option<Vec<u8>>) -> bool {
        match self {
            Self::All | Self::Files(_) => true,
            Self::Rows(shard) => shard.has(number),
            // What cannot be decoded is a bad row for every shard.
            Self::Keys(shard) => key().is_none_or(|key| shard.has(hash(&key))),
        }
    }

    /// Whether it takes a row's number to tell whose it is.
    pub(super) fn numbers_rows(self) -> bool {
        matches!(self, Self::Rows(_))
    }

    /// What a survey records of it.
    pub(super) fn dealt(self, files: u64, rows: u64) -> Option<Dealt> {
        match self {
            Self::All => None,
            Self::Files(_) => Some(Dealt::Files { of: files }),
            Self::Rows(_) => Some(Dealt::Rows { of: rows }),
            Self::Keys(_) => Some(Dealt::Keys { of: rows }),
        }
    }
}

/// The same on every machine and in every version: a shard is retried by another process.
fn hash(key: &[u8]) -> u64 {
    let md5: [u8; 16] = Md5::digest(key).into();
    md5.iter()
        .take(8)
        .fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(versions: Option<Versions>, index: u32, of: u32) -> ManifestOptions {
        ManifestOptions {
            versions,
            shard: Some(Shard { index, of }),
            ..ManifestOptions::default()
        }
    }

    #[test]
    fn whole_files_are_dealt_where_there_are_four_for_each_shard() {
        let deal = |versions, files| Deal::of(&options(versions, 1, 3), files);
        let shard = Shard { index: 1, of: 3 };
        assert_eq!(deal(None, 11), Deal::Rows(shard));
        assert_eq!(deal(None, 12), Deal::Files(shard));
        assert_eq!(deal(Some(Versions::Latest), 12), Deal::Files(shard));
        assert_eq!(deal(Some(Versions::All), 12), Deal::Keys(shard));
        assert_eq!(Deal::of(&ManifestOptions::default(), 12), Deal::All);
    }

    #[test]
    fn every_row_is_of_one_shard() {
        for of in [1, 3, 8] {
            let deals = |versions, files| {
                let deal = move |index| Deal::of(&options(versions, index, of), files);
                (0..of).map(deal).collect::<Vec<_>>()
            };
            for number in 0..100_u64 {
                let key = || Some(format!("key {number}").into_bytes());
                for deals in [deals(None, 0), deals(Some(Versions::All), 0)] {
                    let having = deals.iter().filter(|deal| deal.has_row(number, key));
                    assert_eq!(having.count(), 1);
                }
                let file = usize::try_from(number).unwrap();
                let deals = deals(None, 100);
                assert_eq!(deals.iter().filter(|deal| deal.has_file(file)).count(), 1);
                assert_eq!(deals[0].place_of_file(file), file / of as usize);
            }
        }
    }

    #[test]
    fn keys_are_dealt_alike_for_ever() {
        let shards =
            ["a", "a b", "é", "long/key/of/some/levels"].map(|key| hash(key.as_bytes()) % 8);
        assert_eq!(shards, [0, 7, 2, 6]);
    }
}
