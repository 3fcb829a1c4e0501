//! A manifest that is read while others may write to it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::{Survey, check_unchanged};

/// What tells that a file was written to: its size, and the times of its content and of its inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self {
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// A file that hands out nothing that was written after its survey: a row that is copied is a row of
/// the job.
#[derive(Debug)]
pub(super) struct Watched {
    file: File,
    /// None where nobody else writes.
    watch: Option<(PathBuf, Survey, Stamp)>,
}

impl Watched {
    pub(super) fn unwatched(file: File) -> Self {
        Self { file, watch: None }
    }

    pub(super) fn new(file: File, path: PathBuf, survey: Survey) -> io::Result<Self> {
        // A survey of an earlier attempt has just been compared.
        let stamp = survey.stamp.map_or_else(|| Stamp::of(&file), Ok)?;
        let watch = Some((path, survey, stamp));
        Ok(Self { file, watch })
    }
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        if let Some((path, survey, before)) = &mut self.watch {
            // Behind the read: what was written before it shows.
            let now = Stamp::of(&self.file)?;
            if now != *before {
                // A touch changes nothing.
                check_unchanged(path, survey).map_err(io::Error::other)?;
                *before = now;
            }
        }
        Ok(read)
    }
}
