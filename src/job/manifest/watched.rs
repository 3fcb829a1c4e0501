//! A manifest that is read while others may write to it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{ManifestError, digest_of, io_error};

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
    watch: Option<Watch>,
}

#[derive(Debug)]
struct Watch {
    path: PathBuf,
    md5: String,
    before: Stamp,
}

/// Whether a file still has that MD5.
fn check_unchanged(path: &Path, md5: &str) -> Result<(), ManifestError> {
    let (found, _) = File::open(path)
        .and_then(digest_of)
        .map_err(io_error(path))?;
    if found == md5 {
        return Ok(());
    }
    Err(ManifestError::Changed {
        path: path.to_owned(),
        found,
        expected: md5.to_owned(),
    })
}

impl Watched {
    pub(super) fn unwatched(file: File) -> Self {
        Self { file, watch: None }
    }

    /// `before` is the file as it was when its MD5 was taken; without it, that has just been done.
    pub(super) fn new(
        file: File,
        path: &Path,
        md5: &str,
        before: Option<Stamp>,
    ) -> io::Result<Self> {
        let watch = Watch {
            path: path.to_owned(),
            md5: md5.to_owned(),
            before: before.map_or_else(|| Stamp::of(&file), Ok)?,
        };
        Ok(Self {
            file,
            watch: Some(watch),
        })
    }
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        // Behind the read: what was written before it shows.
        self.check()?;
        Ok(read)
    }
}

impl Watched {
    /// Whether the file is still what it was.
    pub(super) fn check(&mut self) -> io::Result<()> {
        if let Some(watch) = &mut self.watch {
            let now = Stamp::of(&self.file)?;
            if now != watch.before {
                // A touch changes nothing.
                check_unchanged(&watch.path, &watch.md5).map_err(io::Error::other)?;
                watch.before = now;
            }
        }
        Ok(())
    }
}
