//! Sorts more than memory holds: runs on disk, merged.
//!
//! A crate for it loses all rows in silence where the last run is just full, and takes a run that was cut
//! short for one that has ended. Here each run knows how many items it has.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Bytes of the items that are sorted in memory.
const RUN_BYTES: usize = 32 << 20;
/// Runs that are merged together: each is an open file with a buffer.
const MOST_RUNS: usize = 128;
/// The buffer of a run.
const BUFFER_BYTES: usize = 64 << 10;

/// What is sorted, by its own order.
pub(crate) trait Item: Ord {
    /// Bytes that it takes in memory, about.
    fn bytes(&self) -> usize;
    /// Writes it to a run.
    fn write(&self, to: &mut impl Write) -> io::Result<()>;
    /// Reads it back.
    fn read(from: &mut impl Read) -> io::Result<Self>
    where
        Self: Sized;
}

/// Takes items in any order. Its files have no names: they are gone with it, however that ends.
#[derive(Debug)]
pub(crate) struct DiskSort<T> {
    folder: PathBuf,
    run_bytes: usize,
    held: Vec<T>,
    held_bytes: usize,
    /// By level: so many of one are merged into one of the next that each item is written once a level.
    levels: Vec<Vec<Run>>,
}

/// A sorted file.
#[derive(Debug)]
struct Run {
    file: File,
    items: u64,
}

impl<T: Item> DiskSort<T> {
    /// Sorts in files in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        Self::in_runs_of(folder, RUN_BYTES)
    }

    pub(crate) fn in_runs_of(folder: &Path, run_bytes: usize) -> Self {
        Self {
            folder: folder.to_owned(),
            run_bytes,
            held: Vec::new(),
            held_bytes: 0,
            levels: Vec::new(),
        }
    }

    /// Takes an item.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn push(&mut self, item: T) -> io::Result<()> {
        self.held_bytes += item.bytes();
        self.held.push(item);
        if self.held_bytes >= self.run_bytes {
            self.write_held()?;
        }
        Ok(())
    }

    fn write_held(&mut self) -> io::Result<()> {
        self.held.sort_unstable();
        let held = self.held.drain(..).map(Ok);
        let mut run = Run::write(&self.folder, held)?;
        self.held_bytes = 0;
        for runs in &mut self.levels {
            runs.push(run);
            if runs.len() < MOST_RUNS {
                return Ok(());
            }
            run = Run::write(&self.folder, Merged::<T>::of(std::mem::take(runs))?)?;
        }
        self.levels.push(vec![run]);
        Ok(())
    }

    /// All items, in order.
    ///
    /// # Errors
    /// The folder cannot be written or read.
    pub(crate) fn sorted(mut self) -> io::Result<Merged<T>> {
        self.write_held()?;
        Merged::of(self.levels.into_iter().flatten().collect())
    }
}

impl Run {
    fn write<T: Item>(
        folder: &Path,
        items: impl Iterator<Item = io::Result<T>>,
    ) -> io::Result<Self> {
        let mut file = BufWriter::with_capacity(BUFFER_BYTES, tempfile::tempfile_in(folder)?);
        let mut written = 0;
        for item in items {
            item?.write(&mut file)?;
            written += 1;
        }
        let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Self {
            file,
            items: written,
        })
    }
}

/// The items of several runs, in order.
#[derive(Debug)]
pub(crate) struct Merged<T> {
    /// Runs with items that are not read, and how many.
    runs: Vec<(BufReader<File>, u64)>,
    /// The next item of each run, by its number.
    next: BinaryHeap<Reverse<(T, usize)>>,
}

impl<T: Item> Merged<T> {
    fn of(runs: Vec<Run>) -> io::Result<Self> {
        let mut merged = Self {
            runs: Vec::with_capacity(runs.len()),
            next: BinaryHeap::with_capacity(runs.len()),
        };
        for (number, Run { file, items }) in runs.into_iter().enumerate() {
            let file = BufReader::with_capacity(BUFFER_BYTES, file);
            merged.runs.push((file, items));
            merged.advance(number)?;
        }
        Ok(merged)
    }

    /// Reads the next item of a run.
    fn advance(&mut self, number: usize) -> io::Result<()> {
        if let Some((file, left)) = self.runs.get_mut(number)
            && *left > 0
        {
            *left -= 1;
            let item = T::read(file)?;
            self.next.push(Reverse((item, number)));
        }
        Ok(())
    }
}

impl<T: Item> Iterator for Merged<T> {
    type Item = io::Result<T>;

    fn next(&mut self) -> Option<io::Result<T>> {
        let Reverse((item, number)) = self.next.pop()?;
        Some(self.advance(number).map(|()| item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Item for u32 {
        fn bytes(&self) -> usize {
            4
        }

        fn write(&self, to: &mut impl Write) -> io::Result<()> {
            to.write_all(&self.to_le_bytes())
        }

        fn read(from: &mut impl Read) -> io::Result<Self> {
            let mut bytes = [0; 4];
            from.read_exact(&mut bytes)?;
            Ok(Self::from_le_bytes(bytes))
        }
    }

    fn sorted(items: &[u32], run_bytes: usize) -> Vec<u32> {
        let folder = tempfile::tempdir().unwrap();
        let mut sort = DiskSort::in_runs_of(folder.path(), run_bytes);
        for item in items {
            sort.push(*item).unwrap();
        }
        let all = sort.sorted().unwrap().map(Result::unwrap).collect();
        // Not even while it was at work had it anything by name.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        all
    }

    #[test]
    fn runs_of_every_number_are_merged() {
        for count in (0..20).chain([MOST_RUNS - 1, MOST_RUNS, MOST_RUNS + 1, 3 * MOST_RUNS]) {
            let count = u32::try_from(count).unwrap();
            let items: Vec<u32> = (0..count).rev().collect();
            let expected: Vec<u32> = (0..count).collect();
            for items_a_run in [1, 2, 5, 1000] {
                assert_eq!(sorted(&items, 4 * items_a_run), expected, "{count}");
            }
        }
    }

    #[test]
    fn runs_of_a_level_are_merged_into_one_of_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let mut sort = DiskSort::in_runs_of(folder.path(), 4);
        let count = u32::try_from(MOST_RUNS * MOST_RUNS + MOST_RUNS + 1).unwrap();
        for item in (0..count).rev() {
            sort.push(item).unwrap();
        }
        let runs: Vec<_> = sort.levels.iter().map(Vec::len).collect();
        assert_eq!(runs, [1, 1, 1]);
        let items: Vec<u32> = sort.sorted().unwrap().map(Result::unwrap).collect();
        assert!(items.into_iter().eq(0..count));
    }

    #[test]
    fn a_run_that_was_cut_short_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let mut sort = DiskSort::in_runs_of(folder.path(), 8);
        for item in 0..6_u32 {
            sort.push(item).unwrap();
        }
        sort.levels[0][1].file.set_len(4).unwrap();
        let failed = sort.sorted().unwrap().find_map(Result::err).unwrap();
        assert_eq!(failed.kind(), io::ErrorKind::UnexpectedEof);
    }

    proptest! {
        #[test]
        fn sorted_on_disk_as_in_memory(
            items in proptest::collection::vec(0u32..50, 0..300), items_a_run in 1usize..40,
        ) {
            let mut expected = items.clone();
            expected.sort_unstable();
            prop_assert_eq!(sorted(&items, 4 * items_a_run), expected);
        }
    }
}
