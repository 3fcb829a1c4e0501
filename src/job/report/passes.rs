//! The report's steps, pure: from state to a list of steps that a store applies.
//!
//! Each step is durable before the next. A crash between any two leaves what [`State::recover`]
//! brings back to the same state: what a seal writes is a function of the journal alone, so that
//! writing it twice is writing it once.

use std::collections::{BTreeMap, BTreeSet};

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use sha1::Sha1;

use super::done::Done;
use super::journal::{OpenUpload, OutcomeRecord, Record};
use super::read::ListedFile;
use super::row::TaskStatus;
use crate::job::manifest::Position;

/// Version of the files in `work/`.
pub(super) const FORMAT: u32 = 1;
/// Distinct error codes that are counted by name; S3 has far fewer.
pub(super) const COUNTED_CODES: usize = 200;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// An attempt is at work, or died.
    Running,
    /// Stopped by a signal or for its report store; `resume` goes on.
    Interrupted,
    /// Ran to its end: every row has its outcome.
    Complete,
    /// Stopped because access was refused or too many rows failed; `resume` goes on.
    Failed,
    /// Given up with `s3haul abandon`: its uploads are aborted.
    Abandoned,
}

/// What is counted of a job, for its summary.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Selected rows of the manifest.
    pub rows: u64,
    /// Rows that the filters left out.
    pub filtered: u64,
    /// Rows that succeeded, in all passes.
    pub succeeded: u64,
    /// Rows left alone on purpose, in all passes.
    pub skipped: u64,
    /// Rows that failed in the pass in hand.
    pub failed: u64,
    /// Succeeded rows a write of which was once in doubt.
    pub in_doubt: u64,
    /// Bytes of the objects that were copied.
    pub bytes: u64,
    /// Requests sent for rows whose outcome is recorded.
    pub requests: u64,
    /// Of them, answered with throttling.
    pub throttled: u64,
    /// Time at work, over all attempts up to the last seal of each.
    pub elapsed_ms: u64,
    /// Failed rows of the pass in hand, by error code.
    pub errors: BTreeMap<String, u64>,
    /// Succeeded rows, by what proved them.
    pub evidence: BTreeMap<String, u64>,
}

/// A file that a seal has written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedFile {
    /// Path in the job's folder.
    pub name: String,
    /// Status of its rows.
    pub status: TaskStatus,
    /// Pass that it belongs to.
    pub pass: u32,
    /// Journal that it was written from.
    pub sequence: u64,
    /// Number of rows.
    pub rows: u64,
    /// MD5 of its report rows, hex; for failed rows that is of the file cut from it at the end.
    pub md5: String,
}

impl SealedFile {
    /// Where its rows are in an ended report: `results/` and the SHA-1 of the job's ID (with its shard),
    /// pass, sequence and status, the same every time.
    pub(super) fn results_path(&self, id: &str) -> String {
        let (pass, sequence) = (self.pass, self.sequence);
        let name = format!("{id}/{pass}/{sequence}/{}", self.status.as_str());
        format!("results/{}.csv", hex(&Sha1::digest(name)))
    }
}

/// `work/checkpoint.json`, replaced whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Version of this file's form.
    pub format: u32,
    /// Where the job stands.
    pub state: JobState,
    /// Attempts so far, the first being 1.
    pub attempt: u32,
    /// The pass in hand.
    pub pass: u32,
    /// Rows of the pass's source.
    pub rows: u64,
    /// The journal in use.
    pub journal: u64,
    /// Done rows of the pass, as intervals.
    pub done: Done,
    /// Where the lowest row that is not done begins.
    pub position: Position,
    /// Uploads that are neither completed nor aborted.
    pub uploads: Vec<OpenUpload>,
    /// Rows of the pass before which an older version of their key has failed: none of them may land
    /// in this pass. At most one of each key that is in hand.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub broken: BTreeSet<u64>,
    /// Files that seals have written.
    pub sealed: Vec<SealedFile>,
    /// What is counted.
    pub counts: Counts,
}

/// One durable change to the job's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Makes the job's folder with these files, all or nothing.
    Create {
        /// Path and content.
        files: Vec<(String, Vec<u8>)>,
    },
    /// Appends frames to a journal.
    Append {
        /// Path.
        path: String,
        /// Frames.
        frames: Vec<u8>,
        /// The journal does not exist yet.
        first: bool,
    },
    /// Writes the rows of one status that a journal holds.
    Extract {
        /// The journal.
        journal: String,
        /// Which rows.
        status: TaskStatus,
        /// The file to write.
        to: String,
    },
    /// Writes the report's columns of a failed-rows file.
    Cut {
        /// The failed-rows file.
        from: String,
        /// The file to write.
        to: String,
    },
    /// Replaces a file whole.
    Replace {
        /// Path.
        path: String,
        /// Content.
        bytes: Vec<u8>,
    },
    /// Removes a file, if it is there.
    Remove {
        /// Path.
        path: String,
        /// A writer that was taken for dead may be about to write it, which must not land any more.
        late: bool,
    },
}

impl Step {
    fn remove(path: String) -> Self {
        Self::Remove { path, late: false }
    }
}

/// A rule of the report that the program checks on itself was broken: a bug.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// A row ended twice in one pass.
    #[error("row {ordinal} of pass {pass} ended twice")]
    Twice {
        /// The row.
        ordinal: u64,
        /// The pass.
        pass: u32,
    },
    /// A row that the pass does not have.
    #[error("row {ordinal} ended, and pass {pass} has {rows} rows")]
    Beyond {
        /// The row.
        ordinal: u64,
        /// The pass.
        pass: u32,
        /// Its rows.
        rows: u64,
    },
    /// The job would end with rows unaccounted for.
    #[error(
        "{succeeded} succeeded, {skipped} skipped and {failed} failed are not the {rows} rows of the manifest, or rows of the last pass are not done"
    )]
    Unaccounted {
        /// Succeeded rows of all passes.
        succeeded: u64,
        /// Skipped rows of all passes.
        skipped: u64,
        /// Failed rows of the last pass.
        failed: u64,
        /// Rows of pass 0.
        rows: u64,
    },
}

/// Rows of one status in the journal, and the running MD5 of their report lines.
#[derive(Debug, Clone, Default)]
struct Tally {
    rows: u64,
    md5: Md5,
}

/// The report as it stands: the last checkpoint and what the journal adds to it.
#[derive(Debug, Clone)]
pub struct State {
    /// The job's ID, with its shard.
    id: String,
    list_all: bool,
    checkpoint: Checkpoint,
    journal_bytes: u64,
    tallies: [Tally; 3],
}

/// Path of the checkpoint.
pub const CHECKPOINT: &str = "work/checkpoint.json";
/// Path of the job as given.
pub const JOB: &str = "job.json";
/// Path of the list of results files; an ended report has it.
pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const MANIFEST_MD5: &str = "manifest.json.md5";
/// AWS's own string; the rows' real order is that of [`super::row`].
const REPORT_SCHEMA: &str =
    "Bucket, Key, VersionId, TaskStatus, ErrorCode, HTTPStatusCode, ResultMessage";

impl State {
    /// A new job's state and the step that makes its folder.
    ///
    /// `files` are those that the folder begins with besides the checkpoint: `job.json`, and
    /// nothing else that needs more than a few kilobytes.
    pub fn start(
        id: &str,
        list_all: bool,
        rows: u64,
        filtered: u64,
        mut files: Vec<(String, Vec<u8>)>,
    ) -> (Self, Vec<Step>) {
        let checkpoint = Checkpoint {
            format: FORMAT,
            state: JobState::Running,
            attempt: 1,
            pass: 0,
            rows,
            journal: 1,
            done: Done::default(),
            position: Position::default(),
            uploads: Vec::new(),
            broken: BTreeSet::new(),
            sealed: Vec::new(),
            counts: Counts {
                rows,
                filtered,
                ..Counts::default()
            },
        };
        let state = Self::of(id, list_all, checkpoint);
        files.push((CHECKPOINT.to_owned(), state.checkpoint_json()));
        (state, vec![Step::Create { files }])
    }

    /// The state that a checkpoint holds, before its journal is read.
    pub fn of(id: &str, list_all: bool, checkpoint: Checkpoint) -> Self {
        Self {
            id: id.to_owned(),
            list_all,
            checkpoint,
            journal_bytes: 0,
            tallies: Default::default(),
        }
    }

    /// The checkpoint as it would be written now.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Path of the journal in use.
    pub fn journal(&self) -> String {
        journal_path(self.checkpoint.journal)
    }

    /// Bytes in the journal in use.
    pub fn journal_bytes(&self) -> u64 {
        self.journal_bytes
    }

    /// Takes a record into the state; its frame is in the journal or about to be.
    ///
    /// # Errors
    /// The row has ended in this pass, or the pass has no such row.
    pub fn take(&mut self, record: &Record) -> Result<(), Broken> {
        match record {
            Record::Outcome(outcome) => self.take_outcome(outcome)?,
            Record::UploadOpened(upload) => {
                self.checkpoint
                    .uploads
                    .retain(|open| open.ordinal != upload.ordinal);
                self.checkpoint.uploads.push(upload.clone());
            }
            Record::UploadClosed { ordinal } => {
                self.checkpoint
                    .uploads
                    .retain(|open| open.ordinal != *ordinal);
            }
        }
        Ok(())
    }

    fn take_outcome(&mut self, outcome: &OutcomeRecord) -> Result<(), Broken> {
        let at = &mut self.checkpoint;
        let (ordinal, pass, rows) = (outcome.ordinal, at.pass, at.rows);
        if ordinal >= rows {
            return Err(Broken::Beyond {
                ordinal,
                pass,
                rows,
            });
        }
        if !at.done.insert(ordinal, outcome.after) {
            return Err(Broken::Twice { ordinal, pass });
        }
        at.position = at.done.position();
        at.uploads.retain(|open| open.ordinal != ordinal);
        at.broken.remove(&ordinal);
        if outcome.chained && outcome.status == TaskStatus::Failed {
            at.broken.insert(ordinal + 1);
        }
        let counts = &mut at.counts;
        counts.requests += outcome.requests;
        counts.throttled += outcome.throttled;
        match outcome.status {
            TaskStatus::Succeeded => {
                counts.succeeded += 1;
                counts.bytes += outcome.bytes;
                counts.in_doubt += u64::from(outcome.in_doubt);
                if let Some(evidence) = &outcome.evidence {
                    *counts.evidence.entry(evidence.clone()).or_default() += 1;
                }
            }
            TaskStatus::Skipped => counts.skipped += 1,
            TaskStatus::Failed => {
                counts.failed += 1;
                let known = counts.errors.contains_key(&outcome.error_code);
                let code = if known || counts.errors.len() < COUNTED_CODES {
                    &outcome.error_code
                } else {
                    "Other"
                };
                *counts.errors.entry(code.to_owned()).or_default() += 1;
            }
        }
        let tally = &mut self.tallies[slot(outcome.status)];
        tally.rows += 1;
        tally.md5.update(outcome.row.as_bytes());
        Ok(())
    }

    /// The step that makes frames durable; the records are [`State::take`]n already.
    pub fn commit(&mut self, frames: Vec<u8>) -> Vec<Step> {
        if frames.is_empty() {
            return Vec::new();
        }
        let first = self.journal_bytes == 0;
        self.journal_bytes += frames.len() as u64;
        vec![Step::Append {
            path: self.journal(),
            frames,
            first,
        }]
    }

    /// Moves the journal's rows into their files: all of it is durable already.
    pub fn seal(&mut self, state: JobState, elapsed_ms: u64) -> Vec<Step> {
        let journal = self.journal();
        let mut steps = Vec::new();
        for status in TaskStatus::ALL {
            let tally = std::mem::take(&mut self.tallies[slot(status)]);
            if tally.rows == 0 || (status != TaskStatus::Failed && !self.list_all) {
                continue;
            }
            let file = self.sealed_file(status, tally);
            steps.push(Step::Extract {
                journal: journal.clone(),
                status,
                to: file.name.clone(),
            });
            self.checkpoint.sealed.push(file);
        }
        let used = self.journal_bytes > 0;
        self.journal_bytes = 0;
        self.checkpoint.journal += u64::from(used);
        self.checkpoint.state = state;
        self.checkpoint.counts.elapsed_ms += elapsed_ms;
        steps.push(self.write_checkpoint());
        if used {
            steps.push(Step::remove(journal));
        }
        steps
    }

    /// The first act of every later attempt: the journal, whose records have been
    /// [`State::take`]n and of which `valid_bytes` are whole, is sealed.
    ///
    /// What an attempt that died between two steps may have left is removed: the sealed journal,
    /// and the end of a report that is no longer ended.
    pub fn recover(&mut self, valid_bytes: u64) -> Vec<Step> {
        self.journal_bytes = valid_bytes;
        let at = &self.checkpoint;
        // Only then the attempt before may have been about to end the report.
        let late = at.done.is_all_of(at.rows);
        let end = self.end_files();
        let journals = [
            journal_path(at.journal.saturating_sub(1)),
            // A journal with nothing but a torn frame is not sealed, and must not be appended to.
            self.journal(),
        ];
        self.checkpoint.attempt += 1;
        let mut steps = self.seal(JobState::Running, 0);
        steps.extend(end.into_iter().map(|path| Step::Remove { path, late }));
        steps.extend(journals.map(Step::remove));
        steps
    }

    /// Begins the pass over what failed in the pass in hand; the journal is sealed.
    pub fn next_pass(&mut self) -> Vec<Step> {
        let leftovers = self.end_files();
        let at = &mut self.checkpoint;
        at.pass += 1;
        at.rows = at.counts.failed;
        at.counts.failed = 0;
        at.counts.errors.clear();
        at.done = Done::default();
        at.position = Position::default();
        at.broken.clear();
        at.state = JobState::Running;
        let mut steps = vec![self.write_checkpoint()];
        steps.extend(leftovers.into_iter().map(Step::remove));
        steps
    }

    /// Ends the report; the journal is sealed. Files are listed with the bucket that they are in, which is
    /// empty for a folder on disk, and with what is before their names.
    ///
    /// # Errors
    /// Rows are unaccounted for: a bug, and nothing is written.
    pub fn finish(
        &mut self,
        now: &str,
        bucket: &str,
        key_prefix: &str,
    ) -> Result<Vec<Step>, Broken> {
        let at = &self.checkpoint;
        let counts = &at.counts;
        let accounted = counts.succeeded + counts.skipped + counts.failed;
        if !at.done.is_all_of(at.rows) || accounted != counts.rows || !at.uploads.is_empty() {
            let Counts {
                succeeded,
                skipped,
                failed,
                rows,
                ..
            } = *counts;
            return Err(Broken::Unaccounted {
                succeeded,
                skipped,
                failed,
                rows,
            });
        }
        let pass = at.pass;
        let (past, sealed): (Vec<_>, Vec<_>) = std::mem::take(&mut self.checkpoint.sealed)
            .into_iter()
            .partition(|file| file.status == TaskStatus::Failed && file.pass < pass);
        self.checkpoint.sealed = sealed;
        let mut steps: Vec<Step> = self
            .failed_files()
            .map(|file| Step::Cut {
                from: file.name.clone(),
                to: self.results_path(file),
            })
            .collect();
        let manifest = self.manifest_json(now, bucket, key_prefix);
        steps.push(Step::Replace {
            path: MANIFEST_MD5.into(),
            bytes: manifest_md5(&manifest),
        });
        steps.push(Step::Replace {
            path: MANIFEST.into(),
            bytes: manifest,
        });
        self.checkpoint.state = JobState::Complete;
        steps.push(self.write_checkpoint());
        steps.extend(past.into_iter().map(|file| Step::remove(file.name)));
        Ok(steps)
    }

    /// Marks the job abandoned; its uploads are aborted and its journal is sealed.
    pub fn abandon(&mut self) -> Vec<Step> {
        self.checkpoint.uploads.clear();
        self.checkpoint.state = JobState::Abandoned;
        vec![self.write_checkpoint()]
    }

    /// The failed-rows files of the pass before the one in hand, in order: its source.
    pub fn source_files(&self) -> Vec<SealedFile> {
        let source = self.checkpoint.pass.wrapping_sub(1);
        self.checkpoint
            .sealed
            .iter()
            .filter(|file| file.status == TaskStatus::Failed && file.pass == source)
            .cloned()
            .collect()
    }

    fn failed_files(&self) -> impl Iterator<Item = &SealedFile> {
        self.checkpoint
            .sealed
            .iter()
            .filter(|file| file.status == TaskStatus::Failed)
    }

    /// What only an ended report has.
    fn end_files(&self) -> Vec<String> {
        let failed = self.failed_files().map(|file| self.results_path(file));
        [MANIFEST.to_owned(), MANIFEST_MD5.to_owned()]
            .into_iter()
            .chain(failed)
            .collect()
    }

    fn sealed_file(&self, status: TaskStatus, tally: Tally) -> SealedFile {
        let (pass, sequence) = (self.checkpoint.pass, self.checkpoint.journal);
        let mut file = SealedFile {
            name: String::new(),
            status,
            pass,
            sequence,
            rows: tally.rows,
            md5: hex(&tally.md5.finalize()),
        };
        file.name = match status {
            TaskStatus::Failed => format!("work/failed-{pass}-{sequence:08}.csv"),
            _ => self.results_path(&file),
        };
        file
    }

    fn results_path(&self, file: &SealedFile) -> String {
        file.results_path(&self.id)
    }

    fn manifest_json(&self, now: &str, bucket: &str, key_prefix: &str) -> Vec<u8> {
        let results = self.checkpoint.sealed.iter().map(|file| ListedFile {
            status: file.status.as_str().to_owned(),
            bucket: bucket.to_owned(),
            md5: file.md5.clone(),
            key: format!("{key_prefix}{}", self.results_path(file)),
        });
        manifest_json(now, &results.collect::<Vec<_>>())
    }

    fn checkpoint_json(&self) -> Vec<u8> {
        // Strings, numbers and lists: there is nothing in it that JSON cannot hold.
        let mut json = serde_json::to_vec_pretty(&self.checkpoint).unwrap_or_default();
        json.push(b'\n');
        json
    }

    fn write_checkpoint(&self) -> Step {
        Step::Replace {
            path: CHECKPOINT.to_owned(),
            bytes: self.checkpoint_json(),
        }
    }
}

/// What an ended report lists, as S3 Batch Operations writes it.
pub(super) fn manifest_json(created: &str, results: &[ListedFile]) -> Vec<u8> {
    let manifest = serde_json::json!({
        "Format": "Report_CSV_20180820",
        "ReportCreationDate": created,
        "Results": results,
        "ReportSchema": REPORT_SCHEMA,
    });
    format!("{manifest:#}\n").into_bytes()
}

/// What `manifest.json.md5` holds.
pub(super) fn manifest_md5(manifest: &[u8]) -> Vec<u8> {
    format!("{}\n", hex(&Md5::digest(manifest))).into_bytes()
}

fn journal_path(sequence: u64) -> String {
    format!("work/journal-{sequence:08}")
}

fn slot(status: TaskStatus) -> usize {
    match status {
        TaskStatus::Succeeded => 0,
        TaskStatus::Skipped => 1,
        TaskStatus::Failed => 2,
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}
