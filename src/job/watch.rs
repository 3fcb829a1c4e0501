//! What stops a job besides a signal: the first rows all refused, or too many failed. And what is
//! seen of it meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use s3haul_s3::Requests;
use tokio_util::sync::CancellationToken;

use super::metrics::EndedRows;
use super::report::Report;
use super::report::journal::OutcomeRecord;
use super::report::passes::JobState;
use super::report::row::TaskStatus;
use super::{CANARY_ROWS, Shared, StopSignals};
use crate::job::code::Code;

/// Rows that must have run before the failure threshold is looked at, as in S3 Batch Operations.
const THRESHOLD_ROWS: u64 = 1_000;

/// Why a job stopped before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A signal.
    Signal,
    /// The credentials are gone, and there are no new ones: why, and what to do.
    Credentials(String),
    /// The first rows all ended in codes of access.
    Refused {
        /// How many.
        rows: u64,
    },
    /// More rows failed than the threshold allows.
    Threshold {
        /// Rows that failed.
        failed: u64,
        /// Rows that ran.
        run: u64,
    },
}

impl Cause {
    /// The state that it leaves the job in.
    pub fn state(&self) -> JobState {
        match self {
            Self::Signal => JobState::Interrupted,
            Self::Credentials(_) | Self::Refused { .. } | Self::Threshold { .. } => {
                JobState::Failed
            }
        }
    }
}

/// A job as seen from outside, while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    /// Rows of the pass in hand.
    pub rows: AtomicU64,
    /// Of them, done.
    pub done: AtomicU64,
    /// Rows of the pass that failed.
    pub failed: AtomicU64,
    /// Bytes copied by this attempt.
    pub bytes: AtomicU64,
    /// The pass in hand.
    pub pass: AtomicU64,
    /// Requests throttled in this attempt.
    pub throttled: AtomicU64,
    /// The attempt's number.
    pub attempt: AtomicU64,
    /// How rows ended in this attempt.
    pub ended: EndedRows,
    /// What sends the job's requests, once it runs.
    pub requests: OnceLock<Requests>,
}

/// Follows the outcomes of a pass.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    /// The job's signals, which it may pull.
    pub(super) signals: StopSignals,
    /// Told by the first write that succeeds.
    pub(super) proved: CancellationToken,
    /// Why there are no credentials any more.
    pub(super) lost: Arc<OnceLock<String>>,
    /// The first rows must prove that there is access.
    canary: bool,
    threshold: Option<u8>,
    counts: Arc<Mutex<Counts>>,
    progress: Arc<Progress>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Rows that were sent, skipped ones left out.
    run: u64,
    failed: u64,
    /// Rows that were sent.
    sent: u64,
    /// Of them, refused for want of access.
    refused: u64,
    cause: Option<Cause>,
}

impl Watch {
    pub(super) fn new(shared: &Shared, report: &Report, signals: &StopSignals) -> Self {
        let at = report.checkpoint();
        let first_pass = at.pass == 0;
        let progress = Arc::clone(&shared.progress);
        progress.rows.store(at.rows, Ordering::Relaxed);
        progress.done.store(at.done.rows(), Ordering::Relaxed);
        progress.failed.store(at.counts.failed, Ordering::Relaxed);
        progress.pass.store(u64::from(at.pass), Ordering::Relaxed);
        progress
            .attempt
            .store(u64::from(at.attempt), Ordering::Relaxed);
        Self {
            signals: signals.clone(),
            proved: CancellationToken::new(),
            lost: Arc::default(),
            canary: first_pass,
            threshold: shared.file.job.run.failure_threshold.filter(|_| first_pass),
            counts: Arc::default(),
            progress,
        }
    }

    /// Waits until a write has succeeded or a row ended in anything but a refusal; `false` if the
    /// job stops instead.
    pub(super) async fn proof(&self) -> bool {
        if !self.canary {
            return true;
        }
        tokio::select! {
            biased;
            () = self.signals.drain.cancelled() => false,
            () = self.proved.cancelled() => true,
        }
    }

    /// Takes note of a row's end.
    pub(super) fn ended(&self, outcome: &OutcomeRecord, access: bool) {
        self.progress.done.fetch_add(1, Ordering::Relaxed);
        self.progress.ended.count(outcome, access);
        self.progress
            .throttled
            .fetch_add(outcome.throttled, Ordering::Relaxed);
        let failed = outcome.status == TaskStatus::Failed;
        if failed {
            self.progress.failed.fetch_add(1, Ordering::Relaxed);
        } else {
            self.progress
                .bytes
                .fetch_add(outcome.bytes, Ordering::Relaxed);
        }
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if outcome.requests > 0 {
            counts.sent += 1;
            counts.refused += u64::from(access);
            if !access {
                self.proved.cancel();
            }
        }
        let counted = outcome.requests > 0
            && outcome.status != TaskStatus::Skipped
            && outcome.error_code != Code::RestoreInProgress.as_str();
        if counted {
            counts.run += 1;
            counts.failed += u64::from(failed);
        }
        let cause = self
            .refused(&counts)
            .or_else(|| self.over_threshold(&counts));
        if let Some(cause) = cause
            && counts.cause.is_none()
        {
            counts.cause = Some(cause);
            self.signals.drain.cancel();
        }
    }

    fn refused(&self, counts: &Counts) -> Option<Cause> {
        (counts.sent == CANARY_ROWS)
            .then(|| self.all_refused(counts))
            .flatten()
    }

    /// Whether all rows that were sent were refused.
    fn all_refused(&self, counts: &Counts) -> Option<Cause> {
        let rows = counts.sent;
        let all = self.canary && rows > 0 && counts.refused == rows;
        (all && !self.proved.is_cancelled()).then_some(Cause::Refused { rows })
    }

    fn over_threshold(&self, counts: &Counts) -> Option<Cause> {
        let percent = u64::from(self.threshold?);
        let over = counts.run >= THRESHOLD_ROWS && counts.failed * 100 > counts.run * percent;
        over.then_some(Cause::Threshold {
            failed: counts.failed,
            run: counts.run,
        })
    }

    /// Why the pass ended, if not because its rows are done.
    pub(super) fn cause(&self, all_done: bool) -> Option<Cause> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = self.lost.get() {
            return Some(Cause::Credentials(why.clone()));
        }
        match &counts.cause {
            // Every row has run: there was nothing left to stop.
            Some(Cause::Threshold { .. }) | None if all_done => self.all_refused(&counts),
            Some(cause) => Some(cause.clone()),
            None => Some(Cause::Signal),
        }
    }
}
