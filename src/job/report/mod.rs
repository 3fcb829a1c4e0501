//! Rows out: the completion report, from which a failed or interrupted job resumes.
//!
//! The picture: outcomes → journal → (seal) → `results/`, failed rows → (finish) → `manifest.json`.
//! [`passes`] decides what is written, as steps; [`store`] applies them; [`record`] is the stage of
//! the job that does both as outcomes come in.

pub mod array;
pub mod done;
pub mod journal;
pub mod merge;
pub mod notable;
pub mod passes;
pub mod previous;
pub mod read;
pub mod row;
pub mod store;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_channel::{Receiver, TryRecvError};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use self::journal::{OpenUpload, OutcomeRecord, Record, write_frame};
use self::passes::{Broken, CHECKPOINT, Checkpoint, JOB, JobState, State};
use self::store::bucket::Alive;
use self::store::{Home, JobFolder, Store, StoreError};
use crate::job::manifest::ManifestFile;
use crate::job::shard::Shard;

/// How long events may gather before the recorder looks again.
const GATHER_INTERVAL: Duration = Duration::from_millis(5);

/// Room for the frame that makes a commit due.
const FRAMES_MARGIN: usize = 64 << 10;

/// When outcomes are made durable, and the journal is sealed.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Longest time between a row's end and its outcome being durable.
    commit: Duration,
    /// Shortest time between two commits, also where an upload's parts wait for one.
    apart: Duration,
    /// Frames that are committed without waiting.
    commit_bytes: usize,
    /// Journal that is sealed.
    seal_bytes: u64,
}

impl Pace {
    /// An append and a sync.
    const DISK: Self = Self {
        commit: Duration::from_secs(1),
        apart: Duration::ZERO,
        commit_bytes: 1 << 20,
        seal_bytes: 64 << 20,
    };

    /// The journal is put whole each time, from memory.
    fn in_s3(commit: Duration) -> Self {
        Self {
            commit,
            apart: Duration::from_secs(1).min(commit),
            commit_bytes: 4 << 20,
            seal_bytes: 8 << 20,
        }
    }
}

/// How a report is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportScope {
    /// Every row is listed.
    All,
    /// Failed rows are listed; the others are counted.
    Failed,
}

/// Why the report cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The folder cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `job.json` or the checkpoint is missing or not of this version.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A frame cannot be built.
    #[error("cannot record the end of a row")]
    Frame(#[source] std::io::Error),
    /// The report broke a rule of its own.
    #[error("the report is at odds with itself: this is a bug, please report it")]
    Broken(#[from] Broken),
}

/// What happens to a row, for the report.
#[derive(Debug)]
pub enum Event {
    /// It ended.
    Outcome {
        /// How.
        outcome: Box<OutcomeRecord>,
        /// It failed for want of access.
        access: bool,
    },
    /// A multipart upload was created for it; answered once that is durable.
    UploadOpened {
        /// The upload.
        upload: Box<OpenUpload>,
        /// Told when no crash can forget the upload any more.
        durable: oneshot::Sender<()>,
    },
    /// Its upload is gone, and the row goes on.
    UploadClosed {
        /// The row.
        ordinal: u64,
    },
}

/// A report that this process writes: its store, in which nobody else does, and its state.
#[derive(Debug)]
pub struct Report {
    store: Store,
    state: State,
    pace: Pace,
    sealed_at: Instant,
}

/// What a job's report says of it from the first attempt on.
#[derive(Debug, Clone)]
pub struct Begun {
    /// The job's ID, with its shard: what tells its files from those of all others.
    pub id: String,
    /// How the report is kept.
    pub scope: ReportScope,
    /// Selected rows of the manifest.
    pub rows: u64,
    /// Rows that the filters leave out.
    pub filtered: u64,
    /// Longest time between a row's end and its outcome being durable, in S3.
    pub interval: Duration,
}

impl Begun {
    fn start(&self, files: Vec<(String, Vec<u8>)>) -> (State, Vec<passes::Step>) {
        let all = self.scope == ReportScope::All;
        State::start(&self.id, all, self.rows, self.filtered, files)
    }

    fn pace(&self, store: &Store) -> Pace {
        match store {
            Store::Folder(_) => Pace::DISK,
            Store::Bucket(_) => Pace::in_s3(self.interval),
        }
    }
}

impl Report {
    /// Makes the folder of a new job, whole or not at all. `store` is a staged one.
    ///
    /// # Errors
    /// The store cannot be written, or the job exists.
    pub fn create(mut store: Store, begun: &Begun, job_json: Vec<u8>) -> Result<Self, ReportError> {
        let (state, steps) = begun.start(vec![(JOB.to_owned(), job_json)]);
        store.apply(&steps)?;
        Ok(Self {
            pace: begun.pace(&store),
            store,
            state,
            sealed_at: Instant::now(),
        })
    }

    /// Takes up the report of a job that was begun: what its last attempt had made durable is
    /// sealed, and nothing of it is lost or done again.
    ///
    /// # Errors
    /// Another process is at work on it, it cannot be written, or it is damaged.
    pub fn recover(mut store: Store, begun: &Begun) -> Result<Self, ReportError> {
        loop {
            let state = recover(&mut store, begun);
            return match state {
                // Whoever had it sealed its journal meanwhile, and cannot do so again.
                Err(ReportError::Store(StoreError::Moved { .. })) => continue,
                state => Ok(Self {
                    state: state?,
                    pace: begun.pace(&store),
                    store,
                    sealed_at: Instant::now(),
                }),
            };
        }
    }

    /// Where the job's folder is, and its files of this machine.
    pub fn home(&self) -> Home {
        self.store.home()
    }

    /// Where the report stands.
    pub fn checkpoint(&self) -> &Checkpoint {
        self.state.checkpoint()
    }

    /// What tells rows to wait while it is not known whether this process is the writer.
    pub fn alive(&self) -> Option<Alive> {
        self.store.alive()
    }

    /// The files that the pass in hand reads, and their size; none in pass 0, which reads the manifest.
    /// Who waits for one in S3 is told to stop by `drain`.
    pub fn source_files(&self, drain: &CancellationToken) -> (Vec<ManifestFile>, u64) {
        let files = self.state.source_files();
        let names = files.iter().map(|file| &file.name);
        match &self.store {
            Store::Folder(folder) => {
                let paths: Vec<_> = names.map(|name| folder.path().join(name)).collect();
                let sizes = paths.iter().flat_map(|path| path.metadata());
                let bytes = sizes.map(|found| found.len()).sum();
                (paths.iter().map(ManifestFile::from).collect(), bytes)
            }
            Store::Bucket(bucket) => {
                let bytes = names.clone().map(|name| bucket.bytes_of(name)).sum();
                let files = names.map(|name| bucket.folder().file(name, drain));
                (files.collect(), bytes)
            }
        }
    }

    /// Seals the journal and says where the job stands.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn seal(&mut self, state: JobState) -> Result<(), ReportError> {
        let elapsed = self.sealed_at.elapsed();
        self.sealed_at = Instant::now();
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        Ok(self.store.apply(&self.state.seal(state, elapsed_ms))?)
    }

    /// Begins the pass over what failed; the journal is sealed.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn next_pass(&mut self) -> Result<(), ReportError> {
        Ok(self.store.apply(&self.state.next_pass())?)
    }

    /// Ends the report: every row is accounted for. The journal is sealed.
    ///
    /// # Errors
    /// The store cannot be written, or rows are missing, which only a bug can cause.
    pub fn finish(&mut self) -> Result<(), ReportError> {
        let (bucket, prefix) = match &self.store {
            Store::Folder(folder) => {
                let path = folder.path();
                ("", format!("{}/", below_report(&path).display()))
            }
            Store::Bucket(bucket) => {
                let (bucket, prefix) = bucket.folder().place();
                (bucket, prefix.to_owned())
            }
        };
        let steps = self.state.finish(&now(), bucket, &prefix)?;
        Ok(self.store.apply(&steps)?)
    }

    /// Marks the job abandoned; its uploads are gone.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn abandon(&mut self) -> Result<(), ReportError> {
        Ok(self.store.apply(&self.state.abandon())?)
    }

    fn commit(&mut self, frames: &mut Vec<u8>) -> Result<(), ReportError> {
        // Whole at once: a buffer that doubles is three of its size.
        let next = Vec::with_capacity(frames.capacity());
        let steps = self.state.commit(std::mem::replace(frames, next));
        self.store.apply(&steps)?;
        if self.state.journal_bytes() >= self.pace.seal_bytes {
            self.seal(JobState::Running)?;
        }
        Ok(())
    }
}

/// The folder of a job, or of a shard in its job's, below that of reports.
fn below_report(folder: &Path) -> PathBuf {
    let name = folder.file_name().unwrap_or_default();
    let job = folder.parent().and_then(Path::file_name);
    match Shard::of_folder(&name.to_string_lossy()) {
        Some(_) => Path::new(job.unwrap_or_default()).join(name),
        None => name.into(),
    }
}

/// Seals what the last attempt had made durable.
fn recover(store: &mut Store, begun: &Begun) -> Result<State, ReportError> {
    let all = begun.scope == ReportScope::All;
    let home = store.home();
    let checkpoint = match store {
        Store::Folder(_) => {
            let path = home.address.join(CHECKPOINT);
            let json = std::fs::read(&path).map_err(file_error(&path))?;
            Some(parse_checkpoint(&path, &json)?)
        }
        Store::Bucket(bucket) => match bucket.read(CHECKPOINT)? {
            Some(json) => Some(parse_checkpoint(&home.address.join(CHECKPOINT), &json)?),
            None => None,
        },
    };
    let mut state = match checkpoint {
        Some(checkpoint) => State::of(&begun.id, all, checkpoint),
        // In S3 files are made one by one: whoever made the job died before the second.
        None => begun.start(Vec::new()).0,
    };
    for file in &state.checkpoint().sealed {
        if !store.has(&file.name)? {
            let path = home.address.join(&file.name);
            return Err(StoreError::Gone { path }.into());
        }
    }
    let mut broken = None;
    let bytes = store.read_journal(&state.journal(), |record| {
        if broken.is_none() {
            broken = state.take(&record).err();
        }
        Ok(())
    })?;
    if let Some(broken) = broken {
        return Err(broken.into());
    }
    store.apply(&state.recover(bytes))?;
    Ok(state)
}

/// The present, as reports write times.
pub fn now() -> String {
    time_text(time::OffsetDateTime::now_utc())
}

/// A time as reports write it: RFC 3339 in UTC with milliseconds, as in S3 Inventory.
pub fn time_text(at: time::OffsetDateTime) -> String {
    let format = time::macros::format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
    );
    at.to_offset(time::UtcOffset::UTC)
        .format(format)
        .unwrap_or_default()
}

/// Reads the checkpoint of a job's folder. In S3 files are made one by one: without one the job has just
/// begun.
///
/// # Errors
/// It cannot be read, or is not of this version.
pub async fn read_checkpoint(job: &JobFolder, begun: &Begun) -> Result<Checkpoint, ReportError> {
    let path = job.address().join(CHECKPOINT);
    match job.read(CHECKPOINT).await? {
        Some(json) => parse_checkpoint(&path, &json),
        None if matches!(job, JobFolder::Bucket(_)) => {
            Ok(begun.start(Vec::new()).0.checkpoint().clone())
        }
        None => Err(missing(&path)),
    }
}

fn parse_checkpoint(path: &Path, json: &[u8]) -> Result<Checkpoint, ReportError> {
    let checkpoint: Checkpoint = serde_json::from_slice(json).map_err(file_error(path))?;
    if checkpoint.format == passes::FORMAT {
        return Ok(checkpoint);
    }
    let (found, known) = (checkpoint.format, passes::FORMAT);
    let why = format!("its form is {found}, and this version knows {known}");
    Err(file_error(path)(why))
}

/// Reads where a job stands, without touching it: its checkpoint, and what the journal adds to it.
///
/// # Errors
/// As [`read_checkpoint`]; the journal is damaged.
pub async fn read_state(job: &JobFolder, begun: &Begun) -> Result<Checkpoint, ReportError> {
    // The journal first: one that was sealed meanwhile is another one than the checkpoint's.
    let journal = job.journal().await?;
    let mut state = State::of("", true, read_checkpoint(job, begun).await?);
    let mut broken = None;
    journal.read(&state.journal(), |record| {
        broken = broken.take().or(state.take(&record).err());
        Ok(())
    })?;
    match broken {
        Some(broken) => Err(broken.into()),
        None => Ok(state.checkpoint().clone()),
    }
}

/// Reads `job.json` of a job's folder.
///
/// # Errors
/// It is not there or not of this version.
pub async fn read_job<T: serde::de::DeserializeOwned>(job: &JobFolder) -> Result<T, ReportError> {
    let path = job.address().join(JOB);
    let json = job.read(JOB).await?.ok_or_else(|| missing(&path))?;
    serde_json::from_slice(&json).map_err(file_error(&path))
}

fn missing(path: &Path) -> ReportError {
    file_error(path)(std::io::Error::from(std::io::ErrorKind::NotFound))
}

fn file_error<E>(path: &Path) -> impl FnOnce(E) -> ReportError
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let path = path.to_owned();
    move |source| ReportError::File {
        path,
        source: source.into(),
    }
}

/// The stage that records: takes events until their senders are gone, and makes them durable soon
/// after. Runs on a blocking thread.
///
/// `ended` sees every outcome in the order of recording.
///
/// # Errors
/// The report cannot be written. What was not durable then counts as not run.
pub fn record(
    report: &mut Report,
    events: &Receiver<Event>,
    mut ended: impl FnMut(&OutcomeRecord, bool),
) -> Result<(), ReportError> {
    let mut frames = Vec::with_capacity(report.pace.commit_bytes + FRAMES_MARGIN);
    let mut waiting = Vec::new();
    let mut deadline: Option<Instant> = None;
    let pace = report.pace;
    let mut last: Option<Instant> = None;
    loop {
        let event = match deadline {
            None => events.recv_blocking().map_err(|_| Pause::Closed),
            Some(at) => next_before(events, at),
        };
        match event {
            Ok(event) => {
                let mut refused = false;
                let record = match event {
                    Event::Outcome { outcome, access } => {
                        refused = access;
                        Record::Outcome(*outcome)
                    }
                    Event::UploadOpened { upload, durable } => {
                        waiting.push(durable);
                        Record::UploadOpened(*upload)
                    }
                    Event::UploadClosed { ordinal } => Record::UploadClosed { ordinal },
                };
                report.state.take(&record)?;
                write_frame(&mut frames, &record).map_err(ReportError::Frame)?;
                if let Record::Outcome(outcome) = &record {
                    ended(outcome, refused);
                }
                let due = deadline.get_or_insert_with(|| Instant::now() + pace.commit);
                // An upload's parts wait for its frame; what came meanwhile goes along.
                let urgent = !waiting.is_empty() && events.is_empty();
                if urgent {
                    *due = last.map_or_else(Instant::now, |last| (*due).min(last + pace.apart));
                }
                if !(urgent && *due <= Instant::now()) && frames.len() < pace.commit_bytes {
                    continue;
                }
            }
            Err(Pause::Due) => {}
            Err(Pause::Closed) => return report.commit(&mut frames),
        }
        report.commit(&mut frames)?;
        (deadline, last) = (None, Some(Instant::now()));
        for durable in waiting.drain(..) {
            // The row may have been given up meanwhile.
            let _ = durable.send(());
        }
    }
}

/// Why no event came.
enum Pause {
    /// What is in hand is to be made durable.
    Due,
    /// The senders are gone.
    Closed,
}

fn next_before(events: &Receiver<Event>, at: Instant) -> Result<Event, Pause> {
    loop {
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Pause::Due);
        }
        match events.try_recv() {
            Ok(event) => return Ok(event),
            Err(TryRecvError::Closed) => return Err(Pause::Closed),
            Err(TryRecvError::Empty) => {}
        }
        // Not woken for each event: at thousands a second that costs more than recording them.
        std::thread::sleep(left.min(GATHER_INTERVAL));
    }
}
