//! The report in S3: one prefix of a bucket, and one process that writes there.
//!
//! There is no rename, no append and no lock in S3, but a PUT is whole or not at all, and can be made to
//! depend on what is there. So the journal is one object, put whole each time, on condition that it still
//! is what this process put last; and each other file on condition that it is what this process has seen.
//! Who takes a report over from a writer that has been silent puts the journal once: from then on the
//! other's writes are refused, those on their way too, and it stops.

mod remote;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use s3haul_s3::WholeObject;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::{Mutex, watch};

pub use self::remote::{BucketFolder, Known, Patience};
use self::remote::{Condition, Outage, Sent, now};
use super::StoreError;
use super::folder::cut;
use crate::job::StopSignals;
use crate::job::report::journal::{self, JournalError};
use crate::job::report::passes::{CHECKPOINT, JOB, JobState, Step};

/// The journal's object, whatever its sequence.
const JOURNAL: &str = "work/journal";
/// A writer that has nothing to write says so often that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Without a good write for so long no row is begun.
const SILENT: Duration = Duration::from_secs(30);
/// A writer that has been silent for longer, by S3's clock, is taken for dead. Twice [`SILENT`].
const DEAD: Duration = Duration::from_mins(1);
/// How often a silent writer is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How often a file that changes under this process is tried again.
const ROUNDS: u32 = 5;

/// The first line of the journal's object: whose it is, and which journal's frames follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    /// The journal, by its name in a folder.
    journal: String,
    /// The process that wrote it.
    writer: String,
    /// How often it did: no two are alike, nor are their ETags.
    beat: u64,
    /// It goes on: whoever comes waits until it has been silent. Told apart from the checkpoint, which is not
    /// written before a job that was stopped is ready to go on.
    working: bool,
}

impl Held {
    /// What an object of the journal holds; one that is damaged is told by the frames' reader.
    fn parse(path: PathBuf, object: &[u8]) -> Result<(Self, &[u8]), StoreError> {
        let end = object.iter().position(|byte| *byte == b'\n');
        let (line, frames) = object.split_at(end.map_or(object.len(), |end| end + 1));
        match serde_json::from_slice(line) {
            Ok(held) => Ok((held, frames)),
            Err(source) => Err(StoreError::Journal {
                path,
                source: JournalError::Record { at: 0, source },
            }),
        }
    }
}

impl BucketFolder {
    /// The journal's object as it is: where, the name of its journal, and the frames.
    pub(super) async fn journal(&self) -> Result<Option<(PathBuf, String, Vec<u8>)>, StoreError> {
        let Some(object) = self.get(JOURNAL, &Patience::default()).await? else {
            return Ok(None);
        };
        let path = self.path(JOURNAL);
        let (held, frames) = Held::parse(path.clone(), &object.bytes)?;
        Ok(Some((path, held.journal, frames.to_vec())))
    }
}

/// The job's files besides the journal as they were last seen, by name.
#[derive(Debug, Clone, Default)]
struct Files(Arc<std::sync::Mutex<HashMap<String, Known>>>);

impl Files {
    fn get(&self, name: &str) -> Option<Known> {
        self.lock().get(name).cloned()
    }

    fn set(&self, name: &str, known: Option<Known>) {
        match known {
            Some(known) => self.lock().insert(name.to_owned(), known),
            None => self.lock().remove(name),
        };
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The report in S3 as its one writer has it.
#[derive(Debug, Clone)]
pub struct Bucket {
    known: Files,
    folder: Arc<BucketFolder>,
    patience: Patience,
    inner: Arc<Mutex<Inner>>,
    alive: Alive,
}

/// Whether this process is known to be the writer: rows wait for it.
#[derive(Debug, Clone)]
pub struct Alive(watch::Receiver<Duration>);

impl Alive {
    /// Returns at once, or when the report is written again.
    pub async fn wait(&self) {
        if self.silent() <= SILENT {
            return;
        }
        let mut written = self.0.clone();
        while now().saturating_sub(*written.borrow_and_update()) > SILENT {
            if written.changed().await.is_err() {
                // The writer is gone, and whoever waits is about to be told.
                std::future::pending::<()>().await;
            }
        }
    }

    fn silent(&self) -> Duration {
        now().saturating_sub(*self.0.borrow())
    }
}

#[derive(Debug)]
struct Inner {
    folder: Arc<BucketFolder>,
    patience: Patience,
    held: Held,
    /// The journal's object as this process put it last.
    e_tag: Option<String>,
    /// The frames in it.
    frames: Vec<u8>,
    known: Files,
    /// The checkpoint is this process's own: nobody's that was at work until just now.
    settled: bool,
    /// Nothing is written any more: another process has taken the report over, or the store is given up.
    over: bool,
    /// Why, where nobody has been told yet.
    why: Option<StoreError>,
    last_good: watch::Sender<Duration>,
}

impl Bucket {
    fn new(folder: Arc<BucketFolder>, patience: Patience) -> Self {
        let (last_good, alive) = watch::channel(now());
        let known = Files::default();
        let inner = Inner {
            folder: Arc::clone(&folder),
            patience: patience.clone(),
            held: Held {
                journal: String::new(),
                writer: format!("{:016x}", fastrand::u64(..)),
                beat: 0,
                working: true,
            },
            e_tag: None,
            frames: Vec::new(),
            known: known.clone(),
            settled: false,
            over: false,
            why: None,
            last_good,
        };
        Self {
            known,
            folder,
            patience,
            inner: Arc::new(Mutex::new(inner)),
            alive: Alive(alive),
        }
    }

    /// Prepares a new job, which [`Step::Create`] makes.
    ///
    /// # Errors
    /// The store cannot be written, or honours no conditions.
    pub async fn stage(folder: Arc<BucketFolder>, patience: Patience) -> Result<Self, StoreError> {
        folder.prove(&patience).await?;
        Ok(Self::new(folder, patience))
    }

    /// Becomes the writer of a job that exists: at once where its last one ended well, else when that has
    /// been silent long enough.
    ///
    /// # Errors
    /// Another process is at work on it; the store cannot be read or written.
    ///
    /// # Cancellation
    /// Safe: who had it has it, or whoever comes next takes it from this one.
    pub async fn open(folder: Arc<BucketFolder>, patience: Patience) -> Result<Self, StoreError> {
        folder.prove(&patience).await?;
        let (mut first, mut looks) = (None, 0);
        loop {
            let checkpoint = folder.get(CHECKPOINT, &patience).await?;
            let journal = folder.get(JOURNAL, &patience).await?;
            let sign = match &journal {
                Some(journal) => Sign::of(journal),
                None => match folder.get(JOB, &patience).await? {
                    Some(job) => Sign::of(&job),
                    None => {
                        return Err(StoreError::Gone {
                            path: folder.path(JOB),
                        });
                    }
                },
            };
            let working = match &journal {
                Some(journal) => Held::parse(folder.path(JOURNAL), &journal.bytes)?.0.working,
                None => true,
            };
            let running =
                working || checkpoint.is_none_or(|checkpoint| is_running(&checkpoint.bytes));
            let (seen, since) = first.get_or_insert_with(|| (sign.clone(), now()));
            if running && *seen != sign {
                return Err(StoreError::Locked {
                    path: folder.address(),
                });
            }
            let silent = sign.silent.unwrap_or_default();
            if running && silent <= DEAD && now().saturating_sub(*since) <= DEAD {
                looks += 1;
                // Who lives has written something by then, unless nothing happens.
                if looks == 2 {
                    tracing::warn!(
                        report = %folder.address().display(),
                        "another process was at work on it {} s ago: if it stays silent, this one goes \
                         on when that is {} s",
                        silent.as_secs(),
                        DEAD.as_secs()
                    );
                }
                tokio::time::sleep(LOOK).await;
                continue;
            }
            let bucket = Self::new(Arc::clone(&folder), patience.clone());
            if bucket.inner.lock().await.fence(journal).await? {
                return Ok(bucket);
            }
            // It was written just now: by whom shows next time.
        }
    }

    /// Its folder.
    pub fn folder(&self) -> &Arc<BucketFolder> {
        &self.folder
    }

    /// What tells rows to wait.
    pub fn alive(&self) -> Alive {
        self.alive.clone()
    }

    /// Says that this process lives, where nothing else does; stops the job where it is not the writer any
    /// more.
    pub async fn keep_alive(self, signals: StopSignals) {
        loop {
            let mut inner = self.inner.lock().await;
            let idle = now().saturating_sub(*inner.last_good.borrow());
            if inner.over {
                return;
            }
            // Before the job is made there is no journal of this process.
            if inner.e_tag.is_some() && idle >= HEARTBEAT {
                match inner.put_journal().await {
                    Ok(()) => {}
                    Err(error) => {
                        tracing::error!(%error, "the report cannot be written any more");
                        signals.drain.cancel();
                        if matches!(error, StoreError::Lost { .. }) {
                            signals.abandon.cancel();
                        }
                        (inner.over, inner.why) = (true, Some(error));
                        return;
                    }
                }
            }
            drop(inner);
            tokio::time::sleep(HEARTBEAT.saturating_sub(idle).max(LOOK)).await;
        }
    }

    /// Frees a report that was taken and cannot be gone on with.
    pub async fn release(&self) {
        let mut inner = self.inner.lock().await;
        if inner.over {
            return;
        }
        inner.over = true;
        if let Err(error) = inner.release().await {
            tracing::warn!(%error, "who comes next waits until this process has been silent for a while");
        }
    }

    /// Reads the job's journal, record by record. Another one's frames are sealed already.
    ///
    /// # Errors
    /// It is damaged.
    pub fn read_journal(
        &self,
        name: &str,
        each: impl FnMut(journal::Record) -> Result<(), JournalError>,
    ) -> Result<u64, StoreError> {
        let mut inner = self.inner.blocking_lock();
        if inner.held.journal != name {
            inner.frames.clear();
            name.clone_into(&mut inner.held.journal);
        }
        journal::read_frames(&inner.frames[..], each).map_err(|source| StoreError::Journal {
            path: self.folder.path(JOURNAL),
            source,
        })
    }

    /// Reads a file of the job.
    ///
    /// # Errors
    /// S3's answer.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.folder.runtime.block_on(async {
            let object = self.folder.get(name, &self.patience).await?;
            let known = object.as_ref().map(|object| Known {
                e_tag: object.e_tag.clone(),
                bytes: object.bytes.len() as u64,
            });
            self.known.set(name, known);
            let bytes = object.map(|object| object.bytes);
            Ok(bytes.filter(|bytes| !bytes.is_empty()))
        })
    }

    /// Whether a file of the job is there; what was not listed is asked for, as it may have been written while
    /// the report was taken. Not on a thread of the runtime.
    ///
    /// # Errors
    /// S3's answer.
    pub fn has(&self, name: &str) -> Result<bool, StoreError> {
        if self.bytes_of(name) == 0 {
            let there = self
                .folder
                .runtime
                .block_on(self.folder.head(name, &self.patience))?;
            self.known.set(name, there.map(|there| there.known));
        }
        Ok(self.bytes_of(name) > 0)
    }

    /// The size of a file of the job.
    pub fn bytes_of(&self, name: &str) -> u64 {
        self.known.get(name).map_or(0, |known| known.bytes)
    }

    /// Applies steps, each durable before the next. Not on a thread of the runtime.
    ///
    /// # Errors
    /// One fails; nothing behind it is done.
    pub fn apply(&self, steps: &[Step]) -> Result<(), StoreError> {
        self.folder.runtime.block_on(async {
            for step in steps {
                self.apply_one(step).await?;
            }
            Ok(())
        })
    }

    async fn apply_one(&self, step: &Step) -> Result<(), StoreError> {
        // Given back after each step, so that the journal is put while a report is finished.
        let mut inner = self.inner.lock().await;
        if inner.over {
            return Err(inner.why.take().unwrap_or_else(|| inner.lost()));
        }
        let done = inner.perform(step).await;
        inner.over |= matches!(done, Err(ref error) if !matches!(error, StoreError::Moved { .. }));
        done
    }
}

/// The last sign of life of a writer.
#[derive(Debug, Clone)]
struct Sign {
    e_tag: String,
    /// How old it is, by S3's clock.
    silent: Option<Duration>,
}

impl PartialEq for Sign {
    fn eq(&self, other: &Self) -> bool {
        self.e_tag == other.e_tag
    }
}

impl Sign {
    fn of(object: &WholeObject) -> Self {
        let age = |(date, modified): (OffsetDateTime, OffsetDateTime)| {
            Duration::try_from(date - modified).unwrap_or_default()
        };
        Self {
            e_tag: object.e_tag.clone(),
            silent: object.date.zip(object.last_modified).map(age),
        }
    }
}

/// Whether a checkpoint says that somebody is at work. One that cannot be read is told by who reads it.
fn is_running(checkpoint: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct State {
        state: JobState,
    }
    serde_json::from_slice::<State>(checkpoint).is_ok_and(|at| at.state == JobState::Running)
}

impl Inner {
    fn lost(&self) -> StoreError {
        StoreError::Lost {
            path: self.folder.address(),
        }
    }

    /// Takes the journal from whoever had it, with its frames; `false` if it was written meanwhile.
    async fn fence(&mut self, journal: Option<WholeObject>) -> Result<bool, StoreError> {
        if let Some(journal) = journal {
            let (held, frames) = Held::parse(self.folder.path(JOURNAL), &journal.bytes)?;
            self.frames = frames.to_vec();
            self.held.journal = held.journal;
            self.e_tag = Some(journal.e_tag);
        }
        match self.put_journal().await {
            Ok(()) => {}
            Err(StoreError::Lost { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
        *self.known.lock() = self.folder.list("", &self.patience).await?;
        Ok(true)
    }

    /// Puts the journal as it is now; so says who this process is, and that it lives.
    async fn put_journal(&mut self) -> Result<(), StoreError> {
        let mut outage = Outage::new(&self.patience);
        let mut refused = 0;
        loop {
            self.held.beat += 1;
            let held = serde_json::to_vec(&self.held).unwrap_or_default();
            // Of its length at once: a buffer that doubles is three of its size.
            let mut object = Vec::with_capacity(held.len() + 1 + self.frames.len());
            object.extend_from_slice(&held);
            object.push(b'\n');
            object.extend_from_slice(&self.frames);
            let condition = self
                .e_tag
                .as_deref()
                .map_or(Condition::Absent, Condition::Is);
            let sent = self
                .folder
                .put_once(JOURNAL, &object.into(), &condition, None, &self.patience)
                .await;
            let error = match sent {
                Ok(e_tag) => {
                    self.e_tag = Some(e_tag);
                    self.last_good.send_replace(now());
                    return Ok(());
                }
                Err(Sent::Failed(error)) => {
                    return Err(self.folder.failed("write", JOURNAL, error));
                }
                Err(Sent::Again(error)) => Some(error),
                // It may be this process's own that has landed, late or without an answer.
                Err(Sent::Refused) => {
                    if !self.look_for_own().await? {
                        return Err(self.lost());
                    }
                    refused += 1;
                    if refused > ROUNDS {
                        let path = self.folder.path(JOURNAL);
                        return Err(StoreError::Restless { path });
                    }
                    continue;
                }
                Err(Sent::Unclear(error)) => error,
            };
            outage.wait(&self.folder, JOURNAL, error).await?;
        }
    }

    /// Says that this process does not go on.
    async fn release(&mut self) -> Result<(), StoreError> {
        self.held.working = false;
        self.put_journal().await
    }

    /// Whether the journal that is there is this process's; it is the one to be replaced then.
    async fn look_for_own(&mut self) -> Result<bool, StoreError> {
        let Some(found) = self.folder.get(JOURNAL, &self.patience).await? else {
            return Ok(self.e_tag.is_none());
        };
        let (held, _) = Held::parse(self.folder.path(JOURNAL), &found.bytes)?;
        let ours = held.writer == self.held.writer;
        if ours {
            self.e_tag = Some(found.e_tag);
        }
        Ok(ours)
    }

    /// Replaces a file by these bytes.
    ///
    /// Where it is not what it was thought to be the journal is put first: who is not the writer any more
    /// learns so, and changes nothing.
    async fn put(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let bytes = Bytes::from(bytes);
        let mut outage = Outage::new(&self.patience);
        let mut refused = 0;
        while refused < ROUNDS {
            let known = self.known.get(name);
            let condition = known
                .as_ref()
                .map_or(Condition::Absent, |known| Condition::Is(&known.e_tag));
            let error = match self
                .folder
                .put_once(name, &bytes, &condition, None, &self.patience)
                .await
            {
                Ok(e_tag) => {
                    let bytes = bytes.len() as u64;
                    self.known.set(name, Some(Known { e_tag, bytes }));
                    self.settled |= name == CHECKPOINT;
                    return Ok(());
                }
                Err(Sent::Failed(error)) => return Err(self.folder.failed("write", name, error)),
                Err(Sent::Again(error)) => Some(error),
                // It is sent again: refused then, it has landed.
                Err(Sent::Unclear(error)) => error,
                Err(Sent::Refused) => {
                    refused += 1;
                    self.put_journal().await?;
                    let there = self.folder.head(name, &self.patience).await?;
                    self.known.set(name, there.map(|there| there.known));
                    if name == CHECKPOINT && !self.settled {
                        let path = self.folder.path(name);
                        return Err(StoreError::Moved { path });
                    }
                    continue;
                }
            };
            outage.wait(&self.folder, name, error).await?;
        }
        let path = self.folder.path(name);
        Err(StoreError::Restless { path })
    }

    /// Makes `job.json`, which makes the job: whoever comes second finds it there.
    async fn create(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let bytes = Bytes::copy_from_slice(bytes);
        let mut outage = Outage::new(&self.patience);
        loop {
            let writer = Some(self.held.writer.as_str());
            let sent =
                self.folder
                    .put_once(JOB, &bytes, &Condition::Absent, writer, &self.patience);
            let error = match sent.await {
                Ok(_) => return Ok(()),
                Err(Sent::Failed(error)) => return Err(self.folder.failed("write", JOB, error)),
                Err(Sent::Refused) => {
                    let there = self.folder.head(JOB, &self.patience).await?;
                    let ours =
                        there.and_then(|there| there.writer).as_ref() == Some(&self.held.writer);
                    let path = self.folder.address();
                    return if ours {
                        Ok(())
                    } else {
                        Err(StoreError::Exists { path })
                    };
                }
                Err(Sent::Again(error)) => Some(error),
                Err(Sent::Unclear(error)) => error,
            };
            outage.wait(&self.folder, JOB, error).await?;
        }
    }

    async fn perform(&mut self, step: &Step) -> Result<(), StoreError> {
        match step {
            Step::Create { files } => {
                for (name, bytes) in files {
                    if name == JOB {
                        self.create(bytes).await?;
                        // From now on it can be told whether this process lives.
                        self.put_journal().await?;
                    } else {
                        self.settled = true;
                        self.put(name, bytes.clone()).await?;
                    }
                }
                Ok(())
            }
            Step::Append {
                path,
                frames,
                first,
            } => {
                if *first {
                    self.frames.clear();
                    self.held.journal.clone_from(path);
                }
                self.frames.reserve_exact(frames.len());
                self.frames.extend_from_slice(frames);
                self.put_journal().await
            }
            // The journal in hand is the only one there is: whoever seals has read or written it.
            Step::Extract { status, to, .. } => {
                let damaged = |source| StoreError::Journal {
                    path: self.folder.path(JOURNAL),
                    source,
                };
                let mut rows = Vec::with_capacity(self.frames.len());
                let written = journal::extract(&self.frames[..], *status, &mut rows);
                // Memory takes whatever is written.
                written.map_or(Ok(0), |read| read.map_err(damaged))?;
                self.put(to, rows).await
            }
            Step::Cut { from, to } => {
                let path = self.folder.path(from);
                let Some(failed) = self.folder.get(from, &self.patience).await? else {
                    return Err(StoreError::Gone { path });
                };
                let mut rows = Vec::with_capacity(failed.bytes.len());
                cut(&failed.bytes[..], &mut rows)
                    .unwrap_or(Ok(()))
                    .map_err(|source| StoreError::FailedRows { path, source })?;
                drop(failed);
                self.put(to, rows).await
            }
            Step::Replace { path, bytes } => {
                self.put(path, bytes.clone()).await?;
                if path == CHECKPOINT && !is_running(bytes) {
                    self.release().await?;
                }
                Ok(())
            }
            // Emptied: to write reports takes no right to delete.
            Step::Remove { path, .. } if *path == self.held.journal => {
                if self.frames.is_empty() {
                    return Ok(());
                }
                self.frames.clear();
                self.put_journal().await
            }
            Step::Remove { path, late } => {
                let there = self.known.get(path).is_some_and(|known| known.bytes > 0);
                if !there && !late {
                    return Ok(());
                }
                self.put(path, Vec::new()).await
            }
        }
    }
}
