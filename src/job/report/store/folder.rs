//! A folder on disk that a report lies in: applies [`Step`]s as operations on files.
//!
//! A step becomes a list of operations, pure again, so that a test can stop between any two of
//! them and drop what was not synced. A write or sync that failed is never tried again on that
//! file: what the disk then holds is unknown until a later attempt reads it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{StoreError, io_error};
use crate::job::report::journal::{self, JournalError};
use crate::job::report::passes::Step;
use crate::job::report::row::{COLUMNS, TaskStatus, write_line};

/// What a file is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Bytes(Vec<u8>),
    Extract { journal: String, status: TaskStatus },
    Cut { from: String },
}

/// One system call's worth of a step; paths are below the report's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Operation {
    Write {
        path: String,
        content: Content,
    },
    Append {
        path: String,
        bytes: Vec<u8>,
        first: bool,
    },
    Sync {
        path: String,
    },
    SyncFolder {
        path: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        path: String,
    },
}

/// Name of the folder in which a job is made before it is renamed.
fn staging(job: &str) -> String {
    format!(".{job}.new")
}

fn parent(path: &str) -> String {
    path.rsplit_once('/')
        .map_or(".", |(folder, _)| folder)
        .to_owned()
}

fn replace(path: &str, content: Content) -> Vec<Operation> {
    let temporary = format!("{path}.tmp");
    vec![
        Operation::Write {
            path: temporary.clone(),
            content,
        },
        Operation::Sync {
            path: temporary.clone(),
        },
        Operation::Rename {
            from: temporary,
            to: path.to_owned(),
        },
        Operation::SyncFolder { path: parent(path) },
    ]
}

/// Replaces a file that several processes may write at once.
pub(super) fn replace_alone(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || {
        let mut draft = tempfile::Builder::new()
            .prefix(".s3haul-")
            // As any file that is made, less what the umask takes.
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(folder)?;
        draft.write_all(bytes)?;
        draft.as_file().sync_all()?;
        draft.persist(path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(io_error("write", path))
}

/// The operations that make `step` durable, for the job whose folder is `job`.
fn operations(step: &Step, job: &str) -> Vec<Operation> {
    let at = |path: &String| format!("{job}/{path}");
    match step {
        Step::Create { files } => create(files, job),
        Step::Append {
            path,
            frames,
            first,
        } => {
            let path = at(path);
            let mut operations = vec![
                Operation::Append {
                    path: path.clone(),
                    bytes: frames.clone(),
                    first: *first,
                },
                Operation::Sync { path: path.clone() },
            ];
            if *first {
                operations.push(Operation::SyncFolder {
                    path: parent(&path),
                });
            }
            operations
        }
        Step::Extract {
            journal,
            status,
            to,
        } => replace(
            &at(to),
            Content::Extract {
                journal: at(journal),
                status: *status,
            },
        ),
        Step::Cut { from, to } => replace(&at(to), Content::Cut { from: at(from) }),
        Step::Replace { path, bytes } => replace(&at(path), Content::Bytes(bytes.clone())),
        Step::Remove { path, .. } => {
            let path = at(path);
            // Else a file could come back when nothing remembers it any more.
            let folder = Operation::SyncFolder {
                path: parent(&path),
            };
            vec![Operation::Remove { path }, folder]
        }
    }
}

fn create(files: &[(String, Vec<u8>)], job: &str) -> Vec<Operation> {
    let folder = staging(job);
    let mut operations = Vec::new();
    for (path, bytes) in files {
        let path = format!("{folder}/{path}");
        let content = Content::Bytes(bytes.clone());
        operations.push(Operation::Write {
            path: path.clone(),
            content,
        });
        operations.push(Operation::Sync { path });
    }
    for inside in ["/work", "/results", ""] {
        operations.push(Operation::SyncFolder {
            path: format!("{folder}{inside}"),
        });
    }
    operations.push(Operation::Rename {
        from: folder,
        to: job.to_owned(),
    });
    operations.push(Operation::SyncFolder {
        path: ".".to_owned(),
    });
    operations
}

/// Writes the report's columns of a failed-rows file.
pub(super) fn cut(from: impl Read, to: &mut impl Write) -> io::Result<Result<(), csv::Error>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(from);
    let mut record = csv::StringRecord::new();
    let mut line = Vec::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        }
        line.clear();
        write_line(&mut line, record.iter().take(COLUMNS));
        to.write_all(&line)?;
    }
}

/// A job's folder, locked for this process.
#[derive(Debug)]
pub struct Folder {
    /// The report's folder, which holds the job's.
    report: PathBuf,
    /// The job's folder, by name.
    job: String,
    /// Held until the process ends.
    lock: File,
    /// The job's folder is still being made.
    staged: bool,
    /// The journal that the last frames went to: one handle for all its appends and syncs.
    journal: Option<(String, File)>,
}

const LOCK: &str = "work/lock";

impl Folder {
    /// Prepares a new job: makes and locks the folder that [`Step::Create`] will rename.
    ///
    /// # Errors
    /// The report's folder cannot be written; the job exists; another process is starting it.
    pub fn stage(report: &Path, job: &str) -> Result<Self, StoreError> {
        let exists = report.join(job);
        if exists.exists() {
            return Err(StoreError::Exists { path: exists });
        }
        let folder = report.join(staging(job));
        for path in [folder.join("work"), folder.join("results")] {
            fs::create_dir_all(&path).map_err(io_error("make the folder", &path))?;
        }
        let lock = lock(&folder)?;
        // Another process may have made the job between the first look and the lock.
        if exists.exists() {
            let _ = fs::remove_dir_all(&folder);
            return Err(StoreError::Exists { path: exists });
        }
        Ok(Self {
            report: report.to_owned(),
            job: job.to_owned(),
            lock,
            staged: true,
            journal: None,
        })
    }

    /// Removes a folder that was staged for a job which did not come to be.
    pub fn discard(self) {
        let staged = self.report.join(staging(&self.job));
        // What is left of it is taken over by the next start of the same job.
        let _ = fs::remove_dir_all(staged);
        let _ = fs::remove_dir(&self.report);
    }

    /// Locks the folder of a job that exists.
    ///
    /// # Errors
    /// It is not there or not writable; another process is at work on it.
    pub fn open(report: &Path, job: &str) -> Result<Self, StoreError> {
        let lock = lock(&report.join(job))?;
        Ok(Self {
            report: report.to_owned(),
            job: job.to_owned(),
            lock,
            staged: false,
            journal: None,
        })
    }

    /// The job's folder; before [`Step::Create`] the one in which it is being made.
    pub fn path(&self) -> PathBuf {
        if self.staged {
            self.report.join(staging(&self.job))
        } else {
            self.report.join(&self.job)
        }
    }

    /// Reads a journal of the job, record by record; a journal that is not there is empty.
    ///
    /// # Errors
    /// Reading fails, or the journal is damaged.
    pub fn read_journal(
        &self,
        path: &str,
        each: impl FnMut(journal::Record) -> Result<(), JournalError>,
    ) -> Result<u64, StoreError> {
        read_journal(&self.report.join(&self.job).join(path), each)
    }

    /// Applies steps, each durable before the next.
    ///
    /// # Errors
    /// An operation fails; nothing behind it is done.
    pub fn apply(&mut self, steps: &[Step]) -> Result<(), StoreError> {
        if !steps.is_empty() {
            self.check_ours()?;
        }
        for step in steps {
            for operation in operations(step, &self.job) {
                self.perform(&operation)?;
            }
            if matches!(step, Step::Create { .. }) {
                self.staged = false;
            }
        }
        Ok(())
    }

    /// A folder that was moved away, or replaced by another job's, is not written to.
    fn check_ours(&self) -> Result<(), StoreError> {
        let path = self.path().join(LOCK);
        let ours = self.lock.metadata().map_err(io_error("look at", &path))?;
        let there = fs::metadata(&path).map_err(io_error("find", &path))?;
        if (ours.dev(), ours.ino()) == (there.dev(), there.ino()) {
            return Ok(());
        }
        Err(StoreError::Replaced { path: self.path() })
    }

    /// Whether a file of the job is there.
    pub fn has(&self, name: &str) -> bool {
        self.path().join(name).is_file()
    }

    fn perform(&mut self, operation: &Operation) -> Result<(), StoreError> {
        match operation {
            Operation::Write { path, content } => self.write(path, content),
            Operation::Append { path, bytes, first } => self.append(path, bytes, *first),
            Operation::Sync { path } => {
                if let Some((open, file)) = &self.journal
                    && open == path
                {
                    return file
                        .sync_data()
                        .map_err(io_error("sync", &self.report.join(path)));
                }
                let path = self.report.join(path);
                let synced = File::open(&path).and_then(|file| file.sync_all());
                synced.map_err(io_error("sync", &path))
            }
            Operation::SyncFolder { path } => {
                let path = self.report.join(path);
                let synced = File::open(&path).and_then(|folder| folder.sync_all());
                synced.map_err(io_error("sync the folder", &path))
            }
            Operation::Rename { from, to } => {
                let to = self.report.join(to);
                fs::rename(self.report.join(from), &to).map_err(|error| {
                    if matches!(
                        error.kind(),
                        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                    ) {
                        StoreError::Exists { path: to.clone() }
                    } else {
                        io_error("rename a file to", &to)(error)
                    }
                })
            }
            Operation::Remove { path } => {
                if self.journal.as_ref().is_some_and(|(open, _)| open == path) {
                    self.journal = None;
                }
                let path = self.report.join(path);
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        Err(io_error("remove", &path)(error))
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    fn append(&mut self, path: &str, bytes: &[u8], first: bool) -> Result<(), StoreError> {
        let place = self.report.join(path);
        if first {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .open(&place);
            self.journal = Some((path.to_owned(), file.map_err(io_error("create", &place))?));
        }
        match &mut self.journal {
            Some((open, file)) if open == path => {
                file.write_all(bytes).map_err(io_error("append to", &place))
            }
            // A journal is created by its first frames and kept open until it is sealed.
            _ => Err(io_error("append to", &place)(
                io::ErrorKind::NotFound.into(),
            )),
        }
    }

    fn write(&self, path: &str, content: &Content) -> Result<(), StoreError> {
        let path = self.report.join(path);
        let file = File::create(&path).map_err(io_error("create", &path))?;
        let mut file = BufWriter::with_capacity(64 << 10, file);
        let failed = io_error("write", &path);
        match content {
            Content::Bytes(bytes) => file.write_all(bytes).map_err(failed)?,
            Content::Extract { journal, status } => {
                let from = self.report.join(journal);
                let source = File::open(&from).map_err(io_error("open", &from))?;
                journal::extract(source, *status, &mut file)
                    .map_err(failed)?
                    .map_err(|source| StoreError::Journal { path: from, source })?;
            }
            Content::Cut { from } => {
                let from = self.report.join(from);
                let source = File::open(&from).map_err(io_error("open", &from))?;
                cut(source, &mut file)
                    .map_err(failed)?
                    .map_err(|source| StoreError::FailedRows { path: from, source })?;
            }
        }
        file.flush().map_err(io_error("write", &path))
    }
}

/// Reads a journal, record by record; one that is not there is empty.
///
/// # Errors
/// Reading fails, or it is damaged.
pub fn read_journal(
    path: &Path,
    each: impl FnMut(journal::Record) -> Result<(), JournalError>,
) -> Result<u64, StoreError> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(io_error("open", path)(error)),
        Ok(file) => journal::read_frames(file, each).map_err(|source| StoreError::Journal {
            path: path.to_owned(),
            source,
        }),
    }
}

fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join(LOCK);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(io_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked {
            path: folder.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(io_error("lock", &path)(error)),
    }
}

#[cfg(test)]
mod crash_tests;
