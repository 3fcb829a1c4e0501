//! The flow, whole: wire the stages, start them, stop them, drain them.
//!
//! ```text
//! manifest ──Row──▶ plan ──Task──▶ workers: copy ──Event──▶ report
//! ```
//! Bounded channels join the stages; a stage ends when the one before it drops its sender.

pub mod access;
mod chain;
pub mod code;
pub mod copy;
mod disk_sort;
mod hint;
pub mod manifest;
pub mod metrics;
pub mod outcome;
pub mod overview;
pub mod owner;
pub mod plan;
pub mod report;
pub mod shard;
pub mod spec;
pub mod summary;
pub mod versioned;

mod watch;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender, bounded};
use futures::FutureExt;
use s3haul_s3::{Concurrency, Requests, RetryOptions, S3Error, Tally, Throttle, ThrottleOptions};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::access::Access;
use self::chain::{Chain, Gathering, Marks, Older, Work};
use self::copy::headers::JobHeaders;
use self::copy::read::READING_MIB;
use self::copy::settings::CustomerKeys;
use self::copy::uploads::Uploads;
use self::copy::verify::VerifyOptions;
use self::copy::{Copier, Turn};
use self::manifest::sort::{self, Order, SortError, SortedFile};
use self::manifest::{ManifestError, ManifestFile, Position, Row, Source};
use self::outcome::{Cost, Ended, record};
use self::plan::{DeleteMarkers, Planned, plan};
use self::report::journal::{OpenUpload, OutcomeRecord};
use self::report::passes::JobState;
use self::report::previous::CopiedBefore;
use self::report::store::bucket::Alive;
use self::report::{Event, Report, ReportError};
use self::spec::{JobFile, SpeedOptions};
use self::watch::Watch;
pub use self::watch::{Cause, Progress};

/// Rows that the reader hands on together: it is a thread, and waking it costs as much as a row.
const ROWS_AT_ONCE: usize = 64;
/// Rows that a job runs alone at first.
pub const CANARY_ROWS: u64 = 10;
/// Large objects in hand at a time.
const LARGE_WORKERS: usize = 16;
/// Large rows that wait their turn before small rows behind them do too.
const LARGE_QUEUE: usize = 4_096;
/// Largest adaptive concurrency; [`Concurrency::default`] has it too.
const MAX_CONCURRENCY: u32 = 256;

/// Which passes an attempt runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passes {
    /// The pass in hand.
    InHand,
    /// The pass in hand, then one over what failed.
    AndFailed,
}

/// How a job is told to stop.
#[derive(Debug, Clone, Default)]
pub struct StopSignals {
    /// No more rows, no more parts; what is in flight ends.
    pub drain: CancellationToken,
    /// What is in flight is dropped, its uploads kept, nothing recorded.
    pub abandon: CancellationToken,
}

/// Why a job cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The report cannot be written.
    #[error("the report cannot be written: outcomes since its last good write count as not run")]
    Report(#[from] ReportError),
    /// The manifest cannot be read any more.
    #[error("the manifest cannot be read to its end")]
    Manifest(#[from] ManifestError),
    /// The rows of a pass cannot be sorted.
    #[error("the rows to copy cannot be sorted")]
    Sort(#[from] SortError),
    /// A stage has panicked.
    #[error("a part of the program has failed: this is a bug, please report it ({0})")]
    Bug(String),
}

impl JobError {
    /// The state that it leaves the job in: to try again without a change mends no manifest, unless S3
    /// did not answer.
    pub fn state(&self) -> JobState {
        match self {
            Self::Manifest(error) | Self::Sort(SortError::Manifest(error)) if !error.may_pass() => {
                JobState::Failed
            }
            Self::Manifest(_) | Self::Sort(_) | Self::Report(_) | Self::Bug(_) => {
                JobState::Interrupted
            }
        }
    }
}

/// A job about to run.
#[derive(Debug)]
pub struct Job {
    /// The job as given.
    pub file: JobFile,
    /// The manifest, where it lies now.
    pub manifest: ManifestFile,
    /// The rows that a previous report has; none where pass 0 is over.
    pub copied_before: Option<CopiedBefore>,
    /// The established access.
    pub access: Access,
    /// Keys of SSE-C.
    pub keys: CustomerKeys,
    /// The report, recovered or new.
    pub report: Report,
    /// Which passes are run.
    pub passes: Passes,
    /// What is seen of it from outside.
    pub progress: Arc<Progress>,
}

/// The throttle's options of a job's speed.
pub fn throttle_options(speed: &SpeedOptions) -> ThrottleOptions {
    ThrottleOptions {
        concurrency: speed
            .concurrency
            .map_or_else(Concurrency::default, Concurrency::Fixed),
        requests_per_second: speed.requests_per_second,
    }
}

/// How often a job's requests are sent.
pub fn retry_options(speed: &SpeedOptions) -> RetryOptions {
    RetryOptions {
        max_attempts: speed.max_attempts,
        attempt_timeout: speed.attempt_timeout_ms.map(Duration::from_millis),
        ..RetryOptions::default()
    }
}

/// Requests that a job may have in flight.
pub fn max_concurrency(speed: &SpeedOptions) -> u32 {
    speed.concurrency.unwrap_or(MAX_CONCURRENCY)
}

/// Does what blocks beside the thread of the requests, of signals and of renewals.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Runs a job to its end or until it is told to stop, and leaves its report sealed.
///
/// # Errors
/// The report cannot be written, the manifest cannot be read, or a bug. What was durable stays.
///
/// # Cancellation
/// Not to be dropped: `signals` ends it, at the latest a moment after `abandon`.
pub async fn run(mut job: Job, signals: &StopSignals) -> Result<(Report, Option<Cause>), JobError> {
    let mut services = JoinSet::new();
    services.spawn(job.access.credentials.clone().keep_renewed());
    services.spawn(job.access.credentials.clone().warn_of_end());
    let shared = Shared::of(&mut job);
    loop {
        if let Err(error) = shared.sort(&job.report, signals).await {
            let mut report = job.report;
            let error = JobError::from(error);
            let state = error.state();
            let report = blocking(move || report.seal(state).map(|()| report)).await?;
            return match error {
                JobError::Sort(SortError::Stopped) => Ok((report, Some(Cause::Signal))),
                error => Err(error),
            };
        }
        let (mut report, cause) = run_pass(job.report, &shared, signals).await?;
        let passes = job.passes;
        let file = job.file.clone();
        let (report, next) = blocking(move || {
            let next = close_pass(&mut report, passes, cause)?;
            let pass = report.checkpoint().pass;
            match next {
                Next::Pass => file.remove_sorted(&report.home(), 0..pass),
                Next::End(None) => file.remove_sorted(&report.home(), 0..=pass),
                Next::End(Some(_)) => {}
            }
            Ok::<_, JobError>((report, next))
        })
        .await?;
        match next {
            Next::Pass => (job.report, job.passes) = (report, Passes::InHand),
            Next::End(cause) => return Ok((report, cause)),
        }
    }
}

/// What comes after a pass.
enum Next {
    /// A pass over what failed.
    Pass,
    /// The end of the attempt, with the cause where it was stopped.
    End(Option<Cause>),
}

/// Seals what a pass has recorded, and finishes the report unless there is more to do.
fn close_pass(
    report: &mut Report,
    passes: Passes,
    cause: Option<Cause>,
) -> Result<Next, ReportError> {
    if let Some(cause) = cause {
        report.seal(cause.state())?;
        return Ok(Next::End(Some(cause)));
    }
    report.seal(JobState::Running)?;
    if passes == Passes::AndFailed && report.checkpoint().counts.failed > 0 {
        report.next_pass()?;
        return Ok(Next::Pass);
    }
    report.finish()?;
    Ok(Next::End(None))
}

/// Abandons what is in flight when the drain has taken too long.
pub async fn deadline(signals: StopSignals, drain_timeout: Duration) {
    signals.drain.cancelled().await;
    tokio::time::sleep(drain_timeout).await;
    signals.abandon.cancel();
}

/// What all passes of an attempt share.
struct Shared {
    file: JobFile,
    manifest: ManifestFile,
    copied_before: Option<Arc<CopiedBefore>>,
    access: Access,
    keys: CustomerKeys,
    throttle: Throttle,
    requests: Requests,
    progress: Arc<Progress>,
}

impl Shared {
    fn of(job: &mut Job) -> Self {
        let speed = &job.file.job.speed;
        let mut options = throttle_options(speed);
        if let Some(shard) = job.file.job.read.shard {
            let all = options.requests_per_second;
            options.requests_per_second = all.map(|all| shard.share(all));
        }
        let throttle = Throttle::new(&options);
        let retry = retry_options(speed);
        let credentials = job.access.credentials.clone();
        let requests = Requests::new(throttle.clone(), credentials, retry);
        // Nobody else sets it: an attempt has one.
        let _ = job.progress.requests.set(requests.clone());
        Self {
            file: job.file.clone(),
            manifest: job.manifest.clone(),
            copied_before: job.copied_before.take().map(Arc::new),
            access: job.access.clone(),
            keys: job.keys.clone(),
            requests,
            throttle,
            progress: Arc::clone(&job.progress),
        }
    }

    fn copier(
        &self,
        report: &Report,
        events: Sender<Event>,
        watch: &Watch,
        signals: &StopSignals,
    ) -> Copier {
        let at = report.checkpoint();
        let mut options = self.file.job.copy.clone();
        options
            .destination_account
            .clone_from(&self.access.destination_account);
        Copier {
            destination: self.access.destination.clone(),
            source: self.access.source.clone(),
            requests: self.requests.clone(),
            throttle: self.throttle.clone(),
            source_bucket: self.file.survey.bucket.clone(),
            destination_bucket: self.file.job.destination_bucket.clone(),
            headers: JobHeaders::new(&options, &self.keys),
            options,
            began: self.file.created_at,
            first_attempt: at.attempt == 1 && at.pass == 0,
            max_attempts: self.file.job.speed.max_attempts,
            arn: self
                .file
                .own_session()
                .then(|| self.access.arn.clone())
                .flatten(),
            events,
            drain: signals.drain.clone(),
            wrote: watch.proved.clone(),
            large_in_hand: AtomicU32::new(0),
            reading: Semaphore::new(READING_MIB),
            large_versions: Semaphore::new(LARGE_WORKERS),
            uploads: Uploads::new(&at.uploads),
            lost: Arc::clone(&watch.lost),
            bucket_owner: self.access.bucket_owner.clone(),
        }
    }

    fn source(&self, report: &Report, signals: &StopSignals) -> Source {
        let at = report.checkpoint();
        if at.done.is_all_of(at.rows) {
            Source::failed_rows(Vec::new(), at.position)
        } else if self.file.sorts() {
            let sorted = self.file.sorted_file(&report.home(), at.pass);
            Source::failed_rows(vec![sorted.path().into()], at.position)
        } else {
            self.unsorted(report, at.position, signals).0
        }
    }

    /// The rows of the pass in hand as they come, and about what they take on disk to be sorted.
    fn unsorted(&self, report: &Report, start: Position, signals: &StopSignals) -> (Source, u64) {
        let at = report.checkpoint();
        if at.pass == 0 {
            let (survey, options) = (&self.file.survey, &self.file.job.read);
            let source = Source::manifest(self.manifest.clone(), survey, options, start);
            (source, survey.sorted_bytes)
        } else {
            let (files, lines) = report.source_files(&signals.drain);
            let bytes = sort::segment_bytes(lines, at.rows);
            (Source::failed_rows(files, start), bytes)
        }
    }

    /// Sorts the rows of the pass in hand if that is asked, and was not done or is not there any more.
    async fn sort(&self, report: &Report, signals: &StopSignals) -> Result<(), SortError> {
        let at = report.checkpoint();
        let sorted = self.file.sorted_file(&report.home(), at.pass);
        if !self.file.sorts() || at.done.is_all_of(at.rows) {
            return Ok(());
        }
        let there = sorted.clone();
        if blocking(move || there.is_whole()).await {
            return Ok(());
        }
        if sorted.path().exists() {
            tracing::info!(
                path = %sorted.path().display(),
                "the sorted rows are not this job's, or not whole: they are sorted again"
            );
        }
        // Rows that failed in a chain were recorded in its order, those of other keys among them.
        let order = if at.pass == 0 {
            Order::Versions
        } else {
            Order::Failed
        };
        let (source, bytes) = self.unsorted(report, Position::default(), signals);
        let (bucket, stop) = (self.file.survey.bucket.clone(), signals.drain.clone());
        sort_rows(sorted, source, order, at.rows, bytes, bucket, stop).await
    }
}

/// Sorts the rows of a pass, about `bytes` of them, and says so.
///
/// # Errors
/// There is no room, reading or writing fails, or the job is to stop.
pub async fn sort_rows(
    sorted: SortedFile,
    source: Source,
    order: Order,
    rows: u64,
    bytes: u64,
    bucket: String,
    stop: CancellationToken,
) -> Result<(), SortError> {
    let needed = sort::needed(bytes);
    tracing::info!(
        rows,
        bytes = needed,
        folder = %sorted.folder().display(),
        "sorts the rows by key and version"
    );
    blocking(move || {
        sorted.check_room(needed)?;
        let found = match sorted.write(source, order, &bucket, &stop) {
            Err(_) if stop.is_cancelled() => return Err(SortError::Stopped),
            written => written?,
        };
        if found == rows {
            return Ok(());
        }
        sorted.remove();
        let expected = rows;
        Err(ManifestError::OtherRows { found, expected }.into())
    })
    .await
}

/// What a stage hands back.
enum Stage {
    Reader(Result<(), JobError>),
    Worker,
    Recorder(Box<Report>, Result<(), ReportError>),
}

/// Runs the pass in hand until its rows are done or the job is told to stop.
async fn run_pass(
    report: Report,
    shared: &Shared,
    signals: &StopSignals,
) -> Result<(Report, Option<Cause>), JobError> {
    let watch = Watch::new(shared, &report, signals);
    let speed = &shared.file.job.speed;
    let small_workers = 2 * max_concurrency(speed) as usize;
    let (rows, to_plan) = bounded::<Vec<Row>>(4);
    let (small, to_small) = bounded::<Work>(64);
    let (large, to_large) = bounded::<Work>(LARGE_QUEUE);
    let (events, to_report) = bounded::<Event>(1024);
    let copier = Arc::new(shared.copier(&report, events.clone(), &watch, signals));

    let mut stages = JoinSet::new();
    let source = shared.source(&report, signals);
    let done = report.checkpoint().done.clone();
    let expected = report.checkpoint().rows;
    // Failed rows of this job are its own.
    let before = shared.copied_before.clone();
    let before = before.filter(|_| report.checkpoint().pass == 0);
    let marks = before.map(|before| Marks {
        before,
        chains: shared.file.sorts(),
        markers: shared.file.job.copy.plan.delete_markers == Some(DeleteMarkers::Replay),
        last: None,
    });
    let older = shared.file.sorts().then(|| Older {
        later_pass: report.checkpoint().pass > 0,
        key: None,
        written: false,
    });
    let (drain, sorts) = (signals.drain.clone(), shared.file.sorts());
    stages.spawn_blocking(move || {
        let read = read(source, &done, expected, (marks, older), &rows);
        // Who waits for a manifest in S3 is told to stop like any other.
        Stage::Reader(read.or_else(|error| {
            match error {
                _ if drain.is_cancelled() => Ok(()),
                // The manifest may be what it was.
                ManifestError::OtherRows { found, expected } if sorts => {
                    Err(SortError::OtherRows { found, expected }.into())
                }
                error => Err(error.into()),
            }
        }))
    });
    let planner = Planner {
        uploads: report
            .checkpoint()
            .uploads
            .iter()
            .map(|upload| (upload.ordinal, upload.clone()))
            .collect(),
        broken: report.checkpoint().broken.clone(),
        file: shared.file.clone(),
        watch: watch.clone(),
        drain: signals.drain.clone(),
        sent: 0,
        small,
        large: large.clone(),
        events: events.clone(),
    };
    let planned = if shared.file.sorts() {
        planner.run_chains(to_plan).left_future()
    } else {
        planner.run(to_plan).right_future()
    };
    stages.spawn(planned);
    for _ in 0..small_workers {
        let worker = Worker {
            copier: Arc::clone(&copier),
            bucket: shared.file.survey.bucket.clone(),
            tasks: to_small.clone(),
            large: Some(large.clone()),
            verify: shared.file.job.verify.clone(),
            alive: report.alive(),
            signals: signals.clone(),
        };
        stages.spawn(worker.run());
    }
    for _ in 0..LARGE_WORKERS {
        let worker = Worker {
            copier: Arc::clone(&copier),
            bucket: shared.file.survey.bucket.clone(),
            tasks: to_large.clone(),
            large: None,
            verify: shared.file.job.verify.clone(),
            alive: report.alive(),
            signals: signals.clone(),
        };
        stages.spawn(worker.run());
    }
    let ended = watch.clone();
    stages.spawn_blocking(move || {
        let mut report = report;
        let recorded = report::record(&mut report, &to_report, |outcome, access| {
            ended.ended(outcome, access);
        });
        // Nobody may wait for a recorder that is gone.
        to_report.close();
        Stage::Recorder(Box::new(report), recorded)
    });
    // Only the stages hold their ends now: each ends when the one before it has.
    drop((copier, large, to_large, to_small, events));
    let report = join(stages, &watch).await?;
    let all_done = report.checkpoint().done.is_all_of(report.checkpoint().rows);
    Ok((report, watch.cause(all_done)))
}

/// Waits for every stage; the first failure drains the others.
async fn join(mut stages: JoinSet<Stage>, watch: &Watch) -> Result<Report, JobError> {
    let mut report = None;
    let mut failed: Option<JobError> = None;
    while let Some(stage) = stages.join_next().await {
        let error = match stage {
            Ok(Stage::Worker | Stage::Reader(Ok(()))) => continue,
            Ok(Stage::Recorder(recorded, Ok(()))) => {
                report = Some(*recorded);
                continue;
            }
            Ok(Stage::Recorder(_, Err(error))) => {
                // No outcome can be recorded any more: nothing is worth waiting for.
                watch.signals.abandon.cancel();
                error.into()
            }
            Ok(Stage::Reader(Err(error))) => error,
            Err(panic) => JobError::Bug(panic.to_string()),
        };
        watch.signals.drain.cancel();
        failed.get_or_insert(error);
    }
    match (failed, report) {
        (None, Some(report)) => Ok(report),
        (Some(error), Some(mut report)) => {
            let state = error.state();
            blocking(move || report.seal(state)).await?;
            Err(error)
        }
        (Some(error), None) => Err(error),
        (None, None) => Err(JobError::Bug("the report's stage is gone".to_owned())),
    }
}

/// The stage that reads rows, leaving out those that are done and marking those copied before.
///
/// # Errors
/// Reading fails, or there are other rows than the `expected` ones: the file was changed meanwhile.
fn read(
    mut source: Source,
    done: &report::done::Done,
    expected: u64,
    (mut marks, mut older): (Option<Marks>, Option<Older>),
    rows: &Sender<Vec<Row>>,
) -> Result<(), ManifestError> {
    if done.is_all_of(expected) {
        return Ok(());
    }
    let mut next = 0;
    let mut batch = Vec::with_capacity(ROWS_AT_ONCE);
    while let Some(mut row) = source.next_row()? {
        next = row.ordinal + 1;
        if next > expected {
            break;
        }
        if let Some(marks) = &mut marks {
            marks.mark(&mut row).map_err(ManifestError::CopiedBefore)?;
        }
        let is_done = done.contains(row.ordinal);
        if let Some(older) = &mut older {
            older.mark(&mut row, is_done);
        }
        if !is_done {
            batch.push(row);
        }
        // No row waits for others while there is nothing to do.
        if batch.len() == ROWS_AT_ONCE || rows.is_empty() && !batch.is_empty() {
            let full = std::mem::replace(&mut batch, Vec::with_capacity(ROWS_AT_ONCE));
            if rows.send_blocking(full).is_err() {
                return Ok(());
            }
        }
        if rows.is_closed() && !batch.is_empty() {
            return Ok(());
        }
    }
    // Behind a stop it is not needed, but the digest below is: all rows may have been done.
    if !batch.is_empty() && rows.send_blocking(batch).is_err() {
        return Ok(());
    }
    if next == expected {
        // Empty: the last chain has all its rows. Behind an error it may not.
        if rows.send_blocking(Vec::new()).is_err() {
            return Ok(());
        }
        // Other rows of the same number are other rows.
        return source.check_unchanged();
    }
    Err(ManifestError::OtherRows {
        found: next,
        expected,
    })
}

/// The stage that says which way each row goes.
struct Planner {
    uploads: HashMap<u64, OpenUpload>,
    /// Rows before which an older version of their key has failed.
    broken: BTreeSet<u64>,
    file: JobFile,
    watch: Watch,
    drain: CancellationToken,
    /// Rows, or chains of them, that went to a lane.
    sent: u64,
    small: Sender<Work>,
    large: Sender<Work>,
    events: Sender<Event>,
}

impl Planner {
    async fn run(mut self, rows: Receiver<Vec<Row>>) -> Stage {
        while let Some(Ok(batch)) = self.drain.run_until_cancelled(rows.recv()).await {
            for row in batch {
                if self.drain.is_cancelled() {
                    return Stage::Worker;
                }
                let planned = self.plan(row);
                if !matches!(planned, Planned::Ended(..)) {
                    if !self.may_send().await {
                        return Stage::Worker;
                    }
                    self.sent += 1;
                }
                let gone = match planned {
                    // Markers are replayed with all versions alone, in chains.
                    Planned::Small(task) | Planned::Marker(task) => {
                        self.small.send(Work::Row(Box::new(task))).await.is_err()
                    }
                    Planned::Large(task) => {
                        self.large.send(Work::Row(Box::new(task))).await.is_err()
                    }
                    Planned::Ended(row, ended) => {
                        self.events.send(self.unsent(row, &ended)).await.is_err()
                    }
                };
                if gone {
                    return Stage::Worker;
                }
            }
        }
        Stage::Worker
    }

    /// As [`run`](Self::run), of sorted rows: those of a key go together.
    async fn run_chains(mut self, rows: Receiver<Vec<Row>>) -> Stage {
        let mut gathering = Gathering::default();
        while let Some(Ok(batch)) = self.drain.run_until_cancelled(rows.recv()).await {
            let ended = batch.is_empty();
            for row in batch {
                let (key, broken) = (row.key.clone(), self.broken.remove(&row.ordinal));
                let planned = self.plan(row);
                let chain = gathering.take(&key, planned, broken);
                if !self.send(chain).await {
                    return Stage::Worker;
                }
            }
            if ended && !self.send(gathering.end()).await {
                return Stage::Worker;
            }
        }
        Stage::Worker
    }

    fn plan(&mut self, row: Row) -> Planned {
        let upload = self.uploads.remove(&row.ordinal);
        let job = &self.file.job;
        plan(row, upload, &job.read.rename, &job.copy.plan)
    }

    /// Waits for proof of access once the first rows are sent; `false` if the job stops instead.
    async fn may_send(&self) -> bool {
        self.sent != CANARY_ROWS || self.watch.proof().await
    }

    /// Hands on a chain, always to the small lane: pieces of one must stay in their order. `false` if
    /// the job stops instead.
    async fn send(&mut self, chain: Option<Chain>) -> bool {
        let Some(chain) = chain else {
            return true;
        };
        // The rest of a long chain would fail behind its first rows at once. Those that prove are ahead
        // of it in the lane, and wait for nobody.
        let (proves, goes_on) = (chain.proves(), chain.goes_on());
        if self.drain.is_cancelled() || (proves || goes_on) && !self.may_send().await {
            return false;
        }
        self.sent += u64::from(proves);
        self.small.send(Work::Chain(Box::new(chain))).await.is_ok()
    }

    /// The outcome of a row for which nothing is sent.
    fn unsent(&self, row: Row, ended: &Ended) -> Event {
        let cost = Cost {
            tally: Tally::default(),
            elapsed: Duration::ZERO,
        };
        outcome_event(&self.file.survey.bucket, row, ended, &cost, false)
    }
}

/// A stage that copies or verifies the objects of one lane, one at a time.
struct Worker {
    copier: Arc<Copier>,
    bucket: String,
    tasks: Receiver<Work>,
    /// Where rows go that prove large; none in their own lane.
    large: Option<Sender<Work>>,
    /// Rows are compared so, and nothing is copied.
    verify: Option<VerifyOptions>,
    /// No row is begun while somebody else may take the report over.
    alive: Option<Alive>,
    signals: StopSignals,
}

impl Worker {
    async fn run(self) -> Stage {
        let work = self.work();
        let _ = self.signals.abandon.run_until_cancelled(work).await;
        Stage::Worker
    }

    /// Whether the next row may be begun: not if the job is to stop, and not while somebody else may take
    /// the report over.
    async fn may_begin(&self) -> bool {
        if let Some(alive) = &self.alive {
            self.signals.drain.run_until_cancelled(alive.wait()).await;
        }
        !self.signals.drain.is_cancelled()
    }

    async fn work(&self) {
        while let Ok(work) = self.tasks.recv().await {
            if !self.may_begin().await {
                break;
            }
            let mut task = match work {
                Work::Row(task) => *task,
                Work::Chain(chain) => {
                    if Box::pin(self.chain(*chain)).await {
                        break;
                    }
                    continue;
                }
            };
            let started = Instant::now();
            let mut tally = task.tally;
            // Boxed: there are twice as many workers as requests in flight, and most wait.
            let turn = match (&self.verify, &self.large) {
                (Some(options), _) => {
                    Box::pin(self.copier.verify(&task, options, &mut tally)).await
                }
                (None, Some(_)) => Box::pin(self.copier.copy_small(&task, &mut tally)).await,
                (None, None) => Box::pin(self.copier.copy_large(&task, &mut tally)).await,
            };
            let gone = match (turn, &self.large) {
                (Turn::Ended(ended), _) => {
                    let cost = Cost {
                        tally,
                        elapsed: started.elapsed(),
                    };
                    let event = outcome_event(&self.bucket, task.row, &ended, &cost, false);
                    self.copier.events.send(event).await.is_err()
                }
                (Turn::Large, Some(large)) => {
                    task.tally = tally;
                    large.send(Work::Row(Box::new(task))).await.is_err()
                }
                (Turn::Stopped | Turn::Large, _) => false,
            };
            if gone {
                break;
            }
        }
    }
}

/// `chained`: a later version of its key follows it in this pass.
fn outcome_event(bucket: &str, row: Row, ended: &Ended, cost: &Cost, chained: bool) -> Event {
    tracing::debug!(bucket, key = %row.spelling(), ?ended, "a row has ended");
    let access = matches!(ended, Ended::Failed(failure) if failure.access);
    Event::Outcome {
        outcome: Box::new(OutcomeRecord {
            chained,
            ..record(bucket, row, ended, cost)
        }),
        access,
    }
}

/// Aborts the uploads that an interrupted job keeps, also those that it did not live to record where
/// the role's session is its own. Those that are gone already are no error.
///
/// # Errors
/// S3's answer to the first that could not be aborted.
pub async fn abort_uploads(
    access: &Access,
    file: &JobFile,
    uploads: &[OpenUpload],
) -> Result<(), S3Error> {
    let bucket = file.job.destination_bucket.as_str();
    let headers: Vec<_> = access
        .destination_account
        .iter()
        .map(|account| ("x-amz-expected-bucket-owner".into(), account.clone()))
        .collect();
    let throttle = Throttle::new(&ThrottleOptions::default());
    let requests = Requests::new(
        throttle,
        access.credentials.clone(),
        RetryOptions::default(),
    );
    let mut ours: Vec<_> = uploads
        .iter()
        .map(|u| (u.key.clone(), u.upload_id.clone()))
        .collect();
    if file.own_session() && access.arn.is_some() {
        let mut tally = Tally::default();
        let prefix = &file.job.read.rename.prefix;
        let list = || {
            access
                .destination
                .list_multipart_uploads(bucket, prefix, &headers)
        };
        let operation = s3haul_s3::Operation::ListMultipartUploads;
        let resend = s3haul_s3::OnDoubt::Resend;
        let listed = requests
            .send_uncounted(&mut tally, operation, None, resend, list)
            .await?;
        let unrecorded = listed
            .into_iter()
            .filter(|upload| upload.initiator_id == access.arn)
            .filter(|upload| upload.initiated.is_some_and(|at| at >= file.created_at));
        ours.extend(unrecorded.map(|upload| (upload.key, upload.upload_id)));
    }
    for (key, upload_id) in &ours {
        let mut tally = Tally::default();
        let abort = || {
            let client = &access.destination;
            client.abort_multipart_upload(bucket, key, upload_id, &headers)
        };
        let sent = requests
            .send_uncounted(
                &mut tally,
                s3haul_s3::Operation::AbortMultipartUpload,
                None,
                s3haul_s3::OnDoubt::Resend,
                abort,
            )
            .await;
        match sent {
            Err(error) if error.report_code() != "NoSuchUpload" => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::manifest::{ManifestFormat, ManifestOptions, Position, survey};

    #[test]
    fn no_row_waits_for_others_to_be_found() {
        let options = ManifestOptions {
            format: ManifestFormat::Csv,
            ..ManifestOptions::default()
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "b,k\n".repeat(1000)).unwrap();
        let survey = survey(file.path(), &options).unwrap();
        let source = Source::manifest(file.path(), &survey, &options, Position::default());
        let (rows, to_plan) = bounded::<Vec<Row>>(4);
        let done = report::done::Done::default();
        let reader = std::thread::spawn(move || read(source, &done, 1000, (None, None), &rows));
        let first = to_plan.recv_blocking().unwrap();
        assert_eq!(first.len(), 1);
        let mut ordinals: Vec<_> = first.iter().map(|row| row.ordinal).collect();
        while let Ok(batch) = to_plan.recv_blocking() {
            assert!(batch.len() <= ROWS_AT_ONCE);
            ordinals.extend(batch.iter().map(|row| row.ordinal));
        }
        assert!(ordinals.into_iter().eq(0..1000));
        reader.join().unwrap().unwrap();
    }
}
