//! Fingerprints in a file, sorted: written once, then looked up page by page.
//!
//! Behind a mark of sixteen bytes the fingerprints stand in order, none twice. They are evenly spread,
//! so that the place of one follows from its value, give or take a page.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use tempfile::NamedTempFile;
use tokio_util::sync::CancellationToken;

use crate::job::disk_sort::{DiskSort, Item};

/// What a row is known by.
pub(super) type Fingerprint = [u8; 16];

const FINGERPRINT_BYTES: u64 = 16;
/// Fingerprints that are read together: a page.
const BLOCK: u64 = 256;
const BLOCK_BYTES: usize = 4096;
impl Item for Fingerprint {
    fn bytes(&self) -> usize {
        self.len()
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(self)
    }

    fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut fingerprint = Self::default();
        from.read_exact(&mut fingerprint)?;
        Ok(fingerprint)
    }
}

/// Sorts fingerprints on disk.
pub(super) struct Writer {
    sort: DiskSort<Fingerprint>,
}

impl Writer {
    /// Sorts beside the index that [`Writer::finish`] makes.
    pub(super) fn new(index: &Path) -> Self {
        let sort = DiskSort::new(folder_of(index));
        Self { sort }
    }

    pub(super) fn add(&mut self, fingerprint: Fingerprint) -> io::Result<()> {
        self.sort.push(fingerprint)
    }

    /// Writes the index, whole or not at all; `None` if `stop` came first.
    pub(super) fn finish(
        self,
        index: &Path,
        mark: &Fingerprint,
        stop: &CancellationToken,
    ) -> io::Result<Option<Index>> {
        let folder = folder_of(index);
        let mut file = BufWriter::with_capacity(256 << 10, NamedTempFile::new_in(folder)?);
        file.write_all(mark)?;
        let mut last = None;
        for fingerprint in self.sort.sorted()? {
            if stop.is_cancelled() {
                return Ok(None);
            }
            let fingerprint = fingerprint?;
            if last.replace(fingerprint) != Some(fingerprint) {
                file.write_all(&fingerprint)?;
            }
        }
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist(index).map_err(|error| error.error)?;
        File::open(folder)?.sync_all()?;
        Index::open(index, mark)
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A file of sorted fingerprints.
#[derive(Debug)]
pub(super) struct Index {
    file: File,
    fingerprints: u64,
}

impl Index {
    /// Opens an index; `None` where there is none with this mark.
    pub(super) fn open(path: &Path, mark: &Fingerprint) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let bytes = file.metadata()?.len();
        let mut found = Fingerprint::default();
        if bytes < FINGERPRINT_BYTES || !bytes.is_multiple_of(FINGERPRINT_BYTES) {
            return Ok(None);
        }
        file.read_exact_at(&mut found, 0)?;
        Ok((found == *mark).then_some(Self {
            file,
            fingerprints: bytes / FINGERPRINT_BYTES - 1,
        }))
    }

    /// Whether a fingerprint is in it.
    pub(super) fn contains(&self, wanted: &Fingerprint) -> io::Result<bool> {
        let mut buffer = [0; BLOCK_BYTES];
        // It is among these, between these values.
        let (mut low, mut high) = (0, self.fingerprints);
        let (mut least, mut most) = (0, u64::MAX);
        // By turns where the value says and in the middle, so that no content makes it slow.
        let mut halve = false;
        while low < high {
            let ahead = if halve {
                (high - low) / 2
            } else {
                share(high - low, head(wanted) - least, most - least)
            };
            halve = !halve;
            let from = (low + ahead).saturating_sub(BLOCK / 2).max(low);
            let to = (from + BLOCK).min(high);
            let block = self.read(from, to, &mut buffer)?;
            let (Some(first), Some(last)) = (block.first(), block.last()) else {
                return Ok(false);
            };
            if wanted < first {
                (high, most) = (from, head(first));
            } else if wanted > last {
                (low, least) = (to, head(last));
            } else {
                return Ok(block.binary_search(wanted).is_ok());
            }
        }
        Ok(false)
    }

    fn read<'b>(
        &self,
        from: u64,
        to: u64,
        buffer: &'b mut [u8; BLOCK_BYTES],
    ) -> io::Result<&'b [Fingerprint]> {
        let bytes = usize::try_from((to - from) * FINGERPRINT_BYTES).unwrap_or(BLOCK_BYTES);
        let block = buffer.get_mut(..bytes).unwrap_or_default();
        self.file
            .read_exact_at(block, (from + 1) * FINGERPRINT_BYTES)?;
        Ok(block.as_chunks().0)
    }
}

/// The first eight bytes as a number.
fn head(fingerprint: &Fingerprint) -> u64 {
    let first = fingerprint.first_chunk().copied();
    u64::from_be_bytes(first.unwrap_or_default())
}

/// As much of `count` as `part` is of `whole`, and less than `count`.
fn share(count: u64, part: u64, whole: u64) -> u64 {
    let share = u128::from(count) * u128::from(part) / (u128::from(whole) + 1);
    u64::try_from(share).unwrap_or(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;
    use tempfile::TempDir;

    const MARK: Fingerprint = [7; 16];

    fn index_of(fingerprints: &[Fingerprint], a_run: usize) -> (TempDir, Index) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("index");
        let sort = DiskSort::in_runs_of(folder.path(), 16 * a_run);
        let mut writer = Writer { sort };
        for fingerprint in fingerprints {
            writer.add(*fingerprint).unwrap();
        }
        let stop = CancellationToken::new();
        let index = writer.finish(&path, &MARK, &stop).unwrap().unwrap();
        let names = std::fs::read_dir(folder.path()).unwrap();
        assert_eq!(names.count(), 1, "something is left beside the index");
        (folder, index)
    }

    fn spread(n: u64) -> Fingerprint {
        super::super::fingerprint("n", &[&n.to_be_bytes()])
    }

    #[test]
    fn every_size_holds_what_was_put_in_and_nothing_else() {
        for count in [
            0, 1, 2, 255, 256, 257, 511, 512, 513, 999, 1000, 1001, 20_000,
        ] {
            let all: Vec<_> = (0..count).map(spread).collect();
            let (_folder, index) = index_of(&all, 1000);
            assert_eq!(index.fingerprints, count);
            for n in 0..count {
                assert!(index.contains(&spread(n)).unwrap(), "{n} of {count}");
            }
            for n in count..count + 1000 {
                assert!(!index.contains(&spread(n)).unwrap(), "{n} of {count}");
            }
            for end in [[0; 16], [255; 16]] {
                assert!(!index.contains(&end).unwrap());
            }
        }
    }

    #[test]
    fn an_index_of_another_mark_or_cut_short_is_none() {
        let (folder, _) = index_of(&[spread(1)], 10);
        let path = folder.path().join("index");
        assert!(Index::open(&path, &[8; 16]).unwrap().is_none());
        for bytes in [31, 15, 0] {
            let file = File::options().write(true).open(&path).unwrap();
            file.set_len(bytes).unwrap();
            assert!(Index::open(&path, &MARK).unwrap().is_none());
        }
        std::fs::remove_file(&path).unwrap();
        assert!(Index::open(&path, &MARK).unwrap().is_none());
    }

    #[test]
    fn a_stop_leaves_nothing() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("index");
        let mut writer = Writer::new(&path);
        for n in 0..9 {
            writer.add(spread(n)).unwrap();
        }
        let stop = CancellationToken::new();
        stop.cancel();
        assert!(writer.finish(&path, &MARK, &stop).unwrap().is_none());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        // Values that are anything but evenly spread, and often equal.
        #[test]
        fn the_index_is_a_set(
            heads in proptest::collection::vec((0u8..3, 0u16..700, any::<bool>()), 0..1500),
            a_run in 1usize..400,
        ) {
            let of = |(first, next, end): (u8, u16, bool)| {
                let mut fingerprint = [if end { 255 } else { 0 }; 16];
                fingerprint[0] = first * 127;
                fingerprint[8..10].copy_from_slice(&next.to_be_bytes());
                fingerprint
            };
            let all: Vec<_> = heads.into_iter().map(of).collect();
            let model: HashSet<_> = all.iter().copied().collect();
            let (_folder, index) = index_of(&all, a_run);
            prop_assert_eq!(index.fingerprints, model.len() as u64);
            for first in 0..3 {
                for next in 0..700 {
                    for end in [false, true] {
                        let wanted = of((first, next, end));
                        prop_assert_eq!(index.contains(&wanted).unwrap(), model.contains(&wanted));
                    }
                }
            }
        }
    }
}
