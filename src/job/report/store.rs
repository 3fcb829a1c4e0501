//! Where a report lies: a folder on disk, or one in S3. Applies [`Step`]s, each durable before the next.

pub mod bucket;
pub mod folder;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use s3haul_s3::S3Error;

use self::bucket::{Alive, Bucket, BucketFolder, Patience};
use self::folder::Folder;
use super::journal::{self, JournalError};
use super::passes::{JOB, Step};
use crate::job::StopSignals;
use crate::job::shard::Shard;

/// Why the report cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An operation on a file failed.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The journal is damaged.
    #[error("cannot read {}", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// Why.
        source: JournalError,
    },
    /// A failed-rows file cannot be read back.
    #[error("cannot read {}", path.display())]
    FailedRows {
        /// The file.
        path: PathBuf,
        /// Why.
        source: csv::Error,
    },
    /// Another process is at work on this job.
    #[error("another s3haul process is at work on {}", path.display())]
    Locked {
        /// The job's folder.
        path: PathBuf,
    },
    /// The job's folder is not the one that this process has locked.
    #[error("{} was removed or replaced while this process was at work on it", path.display())]
    Replaced {
        /// The job's folder.
        path: PathBuf,
    },
    /// A file that a seal has written is gone.
    #[error("{} is gone, and the report has no other copy of its rows", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// The job's folder exists.
    #[error("{} exists already", path.display())]
    Exists {
        /// The job's folder.
        path: PathBuf,
    },
    /// S3 answered otherwise.
    #[error("cannot {doing} {}", path.display())]
    S3 {
        /// What was being done.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// S3's answer.
        source: Box<S3Error>,
    },
    /// S3 has not taken what is written, or not answered, for too long.
    #[error("cannot reach {}: it has been tried for {seconds} s", path.display())]
    Out {
        /// On what.
        path: PathBuf,
        /// How long.
        seconds: u64,
        /// The last answer, if there was one.
        source: Option<Box<S3Error>>,
    },
    /// Another process has taken the report over.
    #[error("another s3haul process has taken over {}", path.display())]
    Lost {
        /// The job's folder.
        path: PathBuf,
    },
    /// A file was written while it was being taken over: what was read of it is old.
    #[error("{} was written just now", path.display())]
    Moved {
        /// The file.
        path: PathBuf,
    },
    /// A file is not what was written to it.
    #[error("{} is changed by somebody else, again and again", path.display())]
    Restless {
        /// The file.
        path: PathBuf,
    },
    /// The store would let two processes write one report.
    #[error("the store of {} does not honour {condition}", path.display())]
    Unconditional {
        /// The job's folder.
        path: PathBuf,
        /// The condition.
        condition: &'static str,
    },
}

/// A report that this process alone writes.
#[derive(Debug)]
pub enum Store {
    /// On disk.
    Folder(Folder),
    /// In S3.
    Bucket(Bucket),
}

/// What a job has besides its report's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// How the job's folder is named to the user.
    pub address: PathBuf,
    /// Where files go that only this machine needs: the job's folder itself, if that is on disk.
    pub local: PathBuf,
}

impl Store {
    /// Applies steps, each durable before the next.
    ///
    /// # Errors
    /// One fails; nothing behind it is done.
    pub(super) fn apply(&mut self, steps: &[Step]) -> Result<(), StoreError> {
        match self {
            Self::Folder(folder) => folder.apply(steps),
            Self::Bucket(bucket) => bucket.apply(steps),
        }
    }

    pub(super) fn read_journal(
        &self,
        name: &str,
        each: impl FnMut(journal::Record) -> Result<(), JournalError>,
    ) -> Result<u64, StoreError> {
        match self {
            Self::Folder(folder) => folder.read_journal(name, each),
            Self::Bucket(bucket) => bucket.read_journal(name, each),
        }
    }

    /// Whether a file of the job is there.
    ///
    /// # Errors
    /// It cannot be asked.
    pub(super) fn has(&self, name: &str) -> Result<bool, StoreError> {
        match self {
            Self::Folder(folder) => Ok(folder.has(name)),
            Self::Bucket(bucket) => bucket.has(name),
        }
    }

    /// Where the job is, and its files of this machine.
    pub fn home(&self) -> Home {
        match self {
            Self::Folder(folder) => Home {
                address: folder.path(),
                local: folder.path(),
            },
            Self::Bucket(bucket) => JobFolder::Bucket(Arc::clone(bucket.folder())).home(),
        }
    }

    /// What tells rows to wait while it is not known whether this process is the writer.
    pub fn alive(&self) -> Option<Alive> {
        match self {
            Self::Folder(_) => None,
            Self::Bucket(bucket) => Some(bucket.alive()),
        }
    }

    /// Says that this process is at work on the report, where nothing else says so, until it is dropped; stops
    /// the job where the report is lost.
    pub fn keep_alive(&self, signals: &StopSignals) -> impl Future<Output = ()> + Send + 'static {
        let bucket = match self {
            Self::Folder(_) => None,
            Self::Bucket(bucket) => Some(bucket.clone()),
        };
        let signals = signals.clone();
        async move {
            if let Some(bucket) = bucket {
                bucket.keep_alive(signals).await;
            }
        }
    }

    /// Removes what was staged for a job that did not come to be.
    pub fn discard(self) {
        match self {
            Self::Folder(folder) => folder.discard(),
            // What is there is no job yet: what the store was tried on, a manifest.
            Self::Bucket(_) => {}
        }
    }

    /// Frees a report that was taken and cannot be gone on with; a folder frees itself.
    pub async fn release(&self) {
        if let Self::Bucket(bucket) = self {
            bucket.release().await;
        }
    }
}

/// Where a job's report lies, for whoever only looks.
#[derive(Debug, Clone)]
pub enum JobFolder {
    /// On disk.
    Disk(PathBuf),
    /// In S3.
    Bucket(Arc<BucketFolder>),
}

impl JobFolder {
    /// Where the job is, and its files of this machine.
    pub fn home(&self) -> Home {
        match self {
            Self::Disk(path) => Home {
                address: path.clone(),
                local: path.clone(),
            },
            Self::Bucket(folder) => Home {
                address: folder.address(),
                local: folder.local().to_owned(),
            },
        }
    }

    /// How it is named to the user.
    pub fn address(&self) -> PathBuf {
        self.home().address
    }

    /// Reads a file of the job; what is not there, or was emptied in S3, is none.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Disk(folder) => {
                let path = folder.join(name);
                match std::fs::read(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(io_error("read", &path)(error)),
                    Ok(bytes) => Ok(Some(bytes)),
                }
            }
            Self::Bucket(folder) => {
                let object = folder.get(name, &Patience::default()).await?;
                let bytes = object.map(|object| object.bytes);
                Ok(bytes.filter(|bytes| !bytes.is_empty()))
            }
        }
    }

    /// A folder in this one.
    #[must_use]
    pub fn within(&self, name: &str) -> Self {
        match self {
            Self::Disk(folder) => Self::Disk(folder.join(name)),
            Self::Bucket(folder) => Self::Bucket(Arc::new(folder.within(name))),
        }
    }

    /// Names of the folders in this one that begin so, in order.
    ///
    /// # Errors
    /// It cannot be listed.
    pub async fn folders(&self, begin: &str) -> Result<Vec<String>, StoreError> {
        let path = match self {
            Self::Disk(path) => path,
            Self::Bucket(folder) => return folder.folders(begin).await,
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(io_error("list", path))? {
            let entry = entry.map_err(io_error("list", path))?;
            if let Some(name) = entry.file_name().to_str()
                && name.starts_with(begin)
                && entry.path().is_dir()
            {
                found.push(name.to_owned());
            }
        }
        found.sort();
        Ok(found)
    }

    /// Replaces a file that has no one writer, since whoever writes it writes the same.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        match self {
            Self::Disk(folder) => {
                let path = folder.join(name);
                if std::fs::read(&path).is_ok_and(|there| there == bytes) {
                    return Ok(());
                }
                folder::replace_alone(&path, bytes)
            }
            Self::Bucket(folder) => folder.replace(name, bytes).await,
        }
    }

    /// What `manifest.json` lists files of this folder under: the bucket, which is empty for a folder on
    /// disk, and what is before their names.
    pub fn listed_as(&self) -> (&str, String) {
        match self {
            Self::Disk(path) => {
                let job = path.file_name().unwrap_or_default().to_string_lossy();
                ("", format!("{job}/"))
            }
            Self::Bucket(folder) => {
                let (bucket, prefix) = folder.place();
                (bucket, prefix.to_owned())
            }
        }
    }

    /// The first shard of the job that lies here, if it is one of several.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn first_shard(&self) -> Result<Option<Shard>, StoreError> {
        match self {
            Self::Disk(folder) => Ok(first_shard(folder)),
            Self::Bucket(folder) => folder.first_shard().await,
        }
    }

    /// Hands the records of a journal to `each`; one that is not there is empty.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub(super) async fn journal(&self) -> Result<Journal<'_>, StoreError> {
        Ok(match self {
            Self::Disk(folder) => Journal::Disk(folder),
            Self::Bucket(folder) => Journal::Bucket(folder.journal().await?),
        })
    }
}

/// The first shard of the job whose folder this is, if it is one of several.
pub fn first_shard(job: &Path) -> Option<Shard> {
    let entries = std::fs::read_dir(job).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Shard::of_folder(&entry.file_name().to_string_lossy()))
        .filter(|shard| job.join(shard.folder_name()).join(JOB).is_file())
        .min_by_key(|shard| (shard.index, shard.of))
}

/// A journal to look at, as it is.
pub(super) enum Journal<'a> {
    /// In this folder.
    Disk(&'a Path),
    /// Of that name, with its frames.
    Bucket(Option<(PathBuf, String, Vec<u8>)>),
}

impl Journal<'_> {
    pub(super) fn read(
        &self,
        name: &str,
        each: impl FnMut(journal::Record) -> Result<(), JournalError>,
    ) -> Result<u64, StoreError> {
        match self {
            Self::Disk(folder) => folder::read_journal(&folder.join(name), each),
            Self::Bucket(Some((path, held, frames))) if held == name => {
                journal::read_frames(&frames[..], each).map_err(|source| StoreError::Journal {
                    path: path.clone(),
                    source,
                })
            }
            // Its rows are in the checkpoint.
            Self::Bucket(_) => Ok(0),
        }
    }
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io {
        doing,
        path,
        source,
    }
}
