//! What is said of a job at its end: one JSON object, or a few lines.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::report::passes::{Checkpoint, JobState};

/// The summary of a job, as `--output json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The job's ID.
    pub job_id: String,
    /// Where it stands.
    pub state: JobState,
    /// Selected rows.
    pub rows: u64,
    /// Rows that succeeded.
    pub succeeded: u64,
    /// Rows that failed in the last pass.
    pub failed: u64,
    /// Rows left alone on purpose.
    pub skipped: u64,
    /// Rows that the filters left out.
    pub filtered: u64,
    /// Succeeded rows a write of which was once in doubt.
    pub in_doubt: u64,
    /// Bytes copied or verified, of rows whose size was known.
    pub bytes: u64,
    /// Requests sent for rows.
    pub requests: u64,
    /// Of them, throttled.
    pub throttled: u64,
    /// Time at work, over all attempts.
    pub elapsed_seconds: f64,
    /// Failed rows by error code.
    pub errors: BTreeMap<String, u64>,
    /// Succeeded rows by what proved them.
    pub evidence: BTreeMap<String, u64>,
    /// Multipart uploads that are kept for a resume.
    pub uploads: u64,
    /// Where the report lies.
    pub report: String,
    /// What the program exits with.
    pub exit_code: u8,
    /// Nothing was copied: what was there was compared.
    #[serde(skip)]
    pub verified: bool,
}

impl Summary {
    /// The summary of a job that has done nothing, to which others are added.
    pub fn nothing(job_id: &str, state: JobState, report: String) -> Self {
        Self {
            job_id: job_id.to_owned(),
            state,
            rows: 0,
            succeeded: 0,
            failed: 0,
            skipped: 0,
            filtered: 0,
            in_doubt: 0,
            bytes: 0,
            requests: 0,
            throttled: 0,
            elapsed_seconds: 0.0,
            errors: BTreeMap::new(),
            evidence: BTreeMap::new(),
            uploads: 0,
            report,
            exit_code: exit_code(state, false, 0),
            verified: false,
        }
    }

    /// Adds what a shard of the job has done. Shards work side by side: the job has been at work for as long
    /// as the longest of them.
    pub fn add(&mut self, shard: &Self) {
        self.rows += shard.rows;
        self.succeeded += shard.succeeded;
        self.failed += shard.failed;
        self.skipped += shard.skipped;
        self.filtered += shard.filtered;
        self.in_doubt += shard.in_doubt;
        self.bytes += shard.bytes;
        self.requests += shard.requests;
        self.throttled += shard.throttled;
        self.elapsed_seconds = self.elapsed_seconds.max(shard.elapsed_seconds);
        for (all, of_shard) in [
            (&mut self.errors, &shard.errors),
            (&mut self.evidence, &shard.evidence),
        ] {
            for (name, count) in of_shard {
                *all.entry(name.clone()).or_default() += count;
            }
        }
        self.uploads += shard.uploads;
        self.exit_code = exit_code(self.state, self.failed > 0, 1);
    }

    /// The summary of a checkpoint. `failed_rows_exit` is what a finished job with failed rows exits
    /// with.
    pub fn new(job_id: &str, at: &Checkpoint, report: String, failed_rows_exit: u8) -> Self {
        let counts = at.counts.clone();
        let exit_code = exit_code(at.state, counts.failed > 0, failed_rows_exit);
        // A pass over failed rows that is not done has rows that failed before and wait.
        let waiting = if at.pass > 0 {
            at.rows.saturating_sub(at.done.rows())
        } else {
            0
        };
        Self {
            job_id: job_id.to_owned(),
            state: at.state,
            rows: counts.rows,
            succeeded: counts.succeeded,
            failed: counts.failed + waiting,
            skipped: counts.skipped,
            filtered: counts.filtered,
            in_doubt: counts.in_doubt,
            bytes: counts.bytes,
            requests: counts.requests,
            throttled: counts.throttled,
            // Milliseconds are well inside what a float holds.
            #[expect(clippy::cast_precision_loss, reason = "a display value")]
            elapsed_seconds: counts.elapsed_ms as f64 / 1000.0,
            errors: counts.errors,
            evidence: counts.evidence,
            uploads: at.uploads.len() as u64,
            report,
            exit_code,
            verified: false,
        }
    }
}

/// What the program exits with for a job that stands so.
fn exit_code(state: JobState, failed_rows: bool, failed_rows_exit: u8) -> u8 {
    match state {
        JobState::Complete if failed_rows => failed_rows_exit,
        JobState::Complete => 0,
        JobState::Failed => 3,
        JobState::Running | JobState::Interrupted | JobState::Abandoned => 4,
    }
}

/// A job's state, as people are told.
pub(super) fn state_word(state: JobState) -> &'static str {
    match state {
        JobState::Complete => "complete",
        JobState::Interrupted => "interrupted",
        JobState::Failed => "stopped",
        JobState::Running => "not ended",
        JobState::Abandoned => "abandoned",
    }
}

impl Summary {
    /// Writes how the rows ended, and what that took.
    pub(super) fn write_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = state_word(self.state);
        writeln!(
            f,
            "job {} {state} in {:.1} s",
            self.job_id, self.elapsed_seconds
        )?;
        let not_run = self
            .rows
            .saturating_sub(self.succeeded + self.failed + self.skipped);
        write!(
            f,
            "  {} rows: {} succeeded, {} failed, {} skipped",
            self.rows, self.succeeded, self.failed, self.skipped
        )?;
        for (count, what) in [
            (not_run, "not run"),
            (self.filtered, "filtered out"),
            (self.in_doubt, "settled in doubt"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        writeln!(f)?;
        writeln!(
            f,
            "  {} {}, {} requests, {} throttled",
            Size(self.bytes),
            if self.verified { "verified" } else { "copied" },
            self.requests,
            self.throttled
        )
    }

    /// Writes what is left behind, and where.
    pub(super) fn write_end(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.uploads > 0 {
            writeln!(
                f,
                "  {} multipart uploads are kept for a resume: s3haul abandon gives them up",
                self.uploads
            )?;
        }
        write!(f, "  report: {}", self.report)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_counts(f)?;
        for (code, count) in &self.errors {
            writeln!(f, "  {count} failed with {code}")?;
        }
        self.write_end(f)
    }
}

/// Bytes in the unit that keeps the number short.
#[derive(Debug, Clone, Copy)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        #[expect(clippy::cast_precision_loss, reason = "a display value")]
        let mut value = self.0 as f64;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        let unit_name = UNITS.get(unit).copied().unwrap_or_default();
        if unit == 0 {
            write!(f, "{} B", self.0)
        } else {
            write!(f, "{value:.1} {unit_name}")
        }
    }
}
