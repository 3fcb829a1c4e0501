//! Rows out: the completion report, from which a failed or interrupted job resumes.
//!
//! The picture: outcomes → journal → (seal) → `results/`, failed rows → (finish) → `manifest.json`.
//! [`passes`] decides what is written, as steps; [`store`] applies them; [`record`] is the stage of
//! the job that does both as outcomes come in.

pub mod done;
pub mod journal;
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

use self::journal::{OpenUpload, OutcomeRecord, Record, write_frame};
use self::passes::{Broken, CHECKPOINT, Checkpoint, JOB, JobState, State};
use self::store::{Folder, StoreError};

/// Longest time between a row's end and its outcome being durable.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// How long events may gather before the recorder looks again.
const GATHER_INTERVAL: Duration = Duration::from_millis(5);
/// Frames that are committed without waiting for the interval.
const COMMIT_BYTES: usize = 1 << 20;
/// Journal that is sealed.
const SEAL_BYTES: u64 = 64 << 20;

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

/// A report that this process writes: its folder, locked, and its state.
#[derive(Debug)]
pub struct Report {
    folder: Folder,
    state: State,
    sealed_at: Instant,
}

impl Report {
    /// Makes the folder of a new job, whole or not at all. `folder` is a staged one.
    ///
    /// # Errors
    /// The folder cannot be written, or the job exists.
    pub fn create(
        mut folder: Folder,
        job_id: &str,
        scope: ReportScope,
        rows: u64,
        filtered: u64,
        job_json: Vec<u8>,
    ) -> Result<Self, ReportError> {
        let files = vec![(JOB.to_owned(), job_json)];
        let (state, steps) = State::start(job_id, scope == ReportScope::All, rows, filtered, files);
        folder.apply(&steps)?;
        Ok(Self {
            folder,
            state,
            sealed_at: Instant::now(),
        })
    }

    /// Takes up the report of a job that was begun: what its last attempt had made durable is
    /// sealed, and nothing of it is lost or done again.
    ///
    /// # Errors
    /// Another process is at work on it, it cannot be written, or it is damaged.
    pub fn recover(
        mut folder: Folder,
        job_id: &str,
        scope: ReportScope,
    ) -> Result<Self, ReportError> {
        let checkpoint = read_checkpoint(&folder.path())?;
        if let Some(file) = checkpoint
            .sealed
            .iter()
            .find(|file| !folder.has(&file.name))
        {
            let path = folder.path().join(&file.name);
            return Err(StoreError::Gone { path }.into());
        }
        let mut state = State::of(job_id, scope == ReportScope::All, checkpoint);
        let mut broken = None;
        let bytes = folder.read_journal(&state.journal(), |record| {
            if broken.is_none() {
                broken = state.take(&record).err();
            }
            Ok(())
        })?;
        if let Some(broken) = broken {
            return Err(broken.into());
        }
        folder.apply(&state.recover(bytes))?;
        Ok(Self {
            folder,
            state,
            sealed_at: Instant::now(),
        })
    }

    /// The job's folder.
    pub fn path(&self) -> PathBuf {
        self.folder.path()
    }

    /// Where the report stands.
    pub fn checkpoint(&self) -> &Checkpoint {
        self.state.checkpoint()
    }

    /// The files that the pass in hand reads; none in pass 0, which reads the manifest.
    pub fn source_files(&self) -> Vec<PathBuf> {
        let folder = self.folder.path();
        self.state
            .source_files()
            .into_iter()
            .map(|file| folder.join(file.name))
            .collect()
    }

    /// Seals the journal and says where the job stands.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn seal(&mut self, state: JobState) -> Result<(), ReportError> {
        let elapsed = self.sealed_at.elapsed();
        self.sealed_at = Instant::now();
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        Ok(self.folder.apply(&self.state.seal(state, elapsed_ms))?)
    }

    /// Begins the pass over what failed; the journal is sealed.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn next_pass(&mut self) -> Result<(), ReportError> {
        Ok(self.folder.apply(&self.state.next_pass())?)
    }

    /// Ends the report: every row is accounted for. The journal is sealed.
    ///
    /// # Errors
    /// The folder cannot be written, or rows are missing, which only a bug can cause.
    pub fn finish(&mut self) -> Result<(), ReportError> {
        let prefix = self.folder.path();
        let prefix = prefix
            .file_name()
            .map(|job| format!("{}/", job.to_string_lossy()));
        let steps = self.state.finish(&now(), &prefix.unwrap_or_default())?;
        Ok(self.folder.apply(&steps)?)
    }

    /// Marks the job abandoned; its uploads are gone.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn abandon(&mut self) -> Result<(), ReportError> {
        Ok(self.folder.apply(&self.state.abandon())?)
    }

    fn commit(&mut self, frames: &mut Vec<u8>) -> Result<(), ReportError> {
        let steps = self.state.commit(std::mem::take(frames));
        self.folder.apply(&steps)?;
        if self.state.journal_bytes() >= SEAL_BYTES {
            self.seal(JobState::Running)?;
        }
        Ok(())
    }
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

/// Reads the checkpoint of a job's folder.
///
/// # Errors
/// It is not there or not of this version.
pub fn read_checkpoint(job: &Path) -> Result<Checkpoint, ReportError> {
    let path = job.join(CHECKPOINT);
    let checkpoint: Checkpoint = read_json(&path)?;
    if checkpoint.format == passes::FORMAT {
        return Ok(checkpoint);
    }
    let source = format!(
        "its form is {}, and this version knows {}",
        checkpoint.format,
        passes::FORMAT
    );
    Err(ReportError::File {
        path,
        source: source.into(),
    })
}

/// Reads where a job stands, without touching it: its checkpoint, and what the journal adds to it.
///
/// # Errors
/// As [`read_checkpoint`]; the journal is damaged.
pub fn read_state(job: &Path) -> Result<Checkpoint, ReportError> {
    let mut state = State::of("", true, read_checkpoint(job)?);
    let mut broken = None;
    store::read_journal(&job.join(state.journal()), |record| {
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
pub fn read_job<T: serde::de::DeserializeOwned>(job: &Path) -> Result<T, ReportError> {
    read_json(&job.join(JOB))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ReportError> {
    let error = |source| ReportError::File {
        path: path.to_owned(),
        source,
    };
    let json = std::fs::read(path).map_err(|source| error(source.into()))?;
    serde_json::from_slice(&json).map_err(|source| error(source.into()))
}

/// The stage that records: takes events until their senders are gone, and makes them durable at
/// most a second later. Runs on a blocking thread.
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
    let mut frames = Vec::new();
    let mut waiting = Vec::new();
    let mut deadline: Option<Instant> = None;
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
                deadline.get_or_insert_with(|| Instant::now() + COMMIT_INTERVAL);
                // An upload's parts wait for its frame; what came meanwhile goes along.
                let urgent = !waiting.is_empty() && events.is_empty();
                if !urgent && frames.len() < COMMIT_BYTES {
                    continue;
                }
            }
            Err(Pause::Due) => {}
            Err(Pause::Closed) => return report.commit(&mut frames),
        }
        report.commit(&mut frames)?;
        deadline = None;
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
