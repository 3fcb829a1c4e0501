//! `--previous-report`: from the flag to the rows that a job need not copy again.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::exit::{Exit, Failed};
use crate::job::manifest::key::Shown;
use crate::job::manifest::{Survey, Versions};
use crate::job::report::previous::{CopiedBefore, Matching, PreviousOptions};
use crate::job::report::read::{CompletionReport, CopiedTo};
use crate::job::spec::{JobFile, JobSpec};

/// The index in the job's folder, where it has no other place.
const INDEX: &str = "work/previous-index";

/// Where a job's index lies.
pub(super) fn index_path(job: &JobSpec, job_id: &str, folder: &Path) -> PathBuf {
    match &job.run.work_dir {
        Some(work) => work.join(format!("s3haul-{job_id}{}-previous-index", job.of_shard())),
        None => folder.join(INDEX),
    }
}

/// Removes the index of a job that has ended.
pub(super) fn remove(file: &JobFile, folder: &Path) {
    remove_of(&file.job, &file.job_id, folder);
}

/// Removes a job's index, if it has one.
pub(super) fn remove_of(job: &JobSpec, job_id: &str, folder: &Path) {
    if job.previous.is_none() {
        return;
    }
    let index = index_path(job, job_id, folder);
    match std::fs::remove_file(&index) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(index = %index.display(), %error, "an index that is done with is left");
        }
        _ => {}
    }
}

/// Refuses the report that the job itself writes, or its shards do.
pub(super) fn refuse_own(job: &JobSpec, own: &Path) -> Result<(), Failed> {
    let Some(options) = &job.previous else {
        return Ok(());
    };
    let canonical = |path: &Path| std::fs::canonicalize(path);
    match (canonical(&options.report), canonical(own)) {
        (Ok(previous), Ok(own)) if previous.starts_with(&own) => Err(Failed::usage(
            "--previous-report is the report that this job writes itself",
        )
        .hinted(
            "s3haul resume finishes a job from its own report; a job over a new manifest takes \
             another --job-id"
                .to_owned(),
        )),
        _ => Ok(()),
    }
}

/// Refuses a manifest none of whose rows can match.
pub(super) fn check(survey: &Survey, matching: Matching) -> Result<(), Failed> {
    let tells = survey.version_ids || (survey.has_e_tags() && survey.has_dates());
    if matching == Matching::Key || tells {
        return Ok(());
    }
    Err(Failed::usage(
        "--previous-report needs a manifest with the columns ETag and LastModifiedDate, or \
         VersionId: without them an object that changed cannot be told from one that did not",
    )
    .hinted(
        "s3haul manifest create --fields Bucket,Key,Size,LastModifiedDate,ETag makes one"
            .to_owned(),
    ))
}

/// What it takes to look up what was copied before. Blocks, so it has a thread of its own.
#[derive(Debug)]
pub(super) struct Indexing {
    pub(super) job: JobSpec,
    /// The source bucket.
    pub(super) bucket: String,
    /// The job's folder, with all its shards, once it has its name.
    pub(super) own: PathBuf,
    /// Where the index goes.
    pub(super) index: PathBuf,
    pub(super) stop: CancellationToken,
}

impl Indexing {
    /// Takes the index of an earlier attempt; where that is gone, writes it again.
    pub(super) fn open_or_write(self) -> Result<Option<CopiedBefore>, Failed> {
        let Some(options) = &self.job.previous else {
            return Ok(None);
        };
        let opened = CopiedBefore::open(&self.index, options, &self.bucket);
        let opened = opened.map_err(|error| {
            let index = self.index.display();
            Failed::usage(format!("cannot read the index {index}: {error}"))
        })?;
        match opened {
            Some(before) => Ok(Some(before)),
            None => self.write(),
        }
    }

    /// Reads the previous report and writes the index of its rows.
    pub(super) fn write(self) -> Result<Option<CopiedBefore>, Failed> {
        let Some(options) = &self.job.previous else {
            return Ok(None);
        };
        let report = CompletionReport::open(&options.report, &self.own)?;
        self.check_destination(&report)?;
        let (before, counted) =
            CopiedBefore::write(&report, options, &self.bucket, &self.index, &self.stop)?;
        warn(&report, options);
        if counted.unreadable > 0 {
            let rows = counted.unreadable;
            tracing::warn!(
                rows,
                "rows of the previous report cannot be read: they are copied again"
            );
        }
        if counted.succeeded == 0 {
            tracing::warn!("the previous report has no row that succeeded: every row is copied");
        } else if counted.known < counted.succeeded {
            let rows = counted.succeeded - counted.known;
            tracing::warn!(
                rows,
                "rows of the previous report record neither a version nor ETag and date: they are copied again"
            );
        }
        tracing::info!(rows = counted.known, "the previous report is read");
        Ok(Some(before))
    }

    /// What was copied elsewhere is not at this job's destination, and what was copied in no order may
    /// stand there in any.
    fn check_destination(&self, report: &CompletionReport) -> Result<(), Failed> {
        let (job, path) = (&self.job, report.path().display());
        if job.read.versions == Some(Versions::All) && !report.has_versions_in_order() {
            return Err(Failed::usage(format!(
                "--versions all keeps the order of versions, and the job of the previous report {path} \
                 did not copy with --versions all: of a key any of its versions may be the current one"
            )));
        }
        let to = CopiedTo {
            endpoint_url: job.access.endpoint_url.as_deref(),
            bucket: &job.destination_bucket,
            rename: &job.read.rename,
        };
        let Some(before) = report.destination().filter(|before| *before != to) else {
            return Ok(());
        };
        let place = |to: CopiedTo<'_>| {
            let CopiedTo { bucket, rename, .. } = to;
            let at = to.endpoint_url.map(|endpoint| format!(" at {endpoint}"));
            let place = format!("s3://{bucket}/{}{}", rename.prefix, at.unwrap_or_default());
            Shown(&place).to_string()
        };
        Err(Failed::usage(format!(
            "the previous report {path} is of copies to {}, and this job copies to {}: with another --to, \
             --strip-prefix or --endpoint-url no object of it is there",
            place(before),
            place(to),
        )))
    }
}

/// What a user must know of what is skipped.
fn warn(report: &CompletionReport, options: &PreviousOptions) {
    if options.matching == Matching::Key {
        tracing::warn!(
            "--previous-report-match key: rows are skipped by bucket, key and version alone, and \
             objects that changed since that report stay old"
        );
    }
    if report.destination().is_none() {
        tracing::warn!(
            "the previous report does not say where its objects were copied to: they are taken to be at \
             this job's destination"
        );
    }
    if !report.has_ended() {
        tracing::warn!(
            "the job of the previous report has not ended: rows that it has not sealed are copied again"
        );
    }
}

/// The rows that a dry run need not count: the index lives as long as it does.
pub(super) fn for_dry_run(job: &JobSpec, bucket: &str) -> Result<Option<CopiedBefore>, Failed> {
    let Some(work) = job.previous.as_ref().map(|_| &job.run.work_dir) else {
        return Ok(None);
    };
    let folder = match work {
        Some(work) => tempfile::tempdir_in(work),
        None => tempfile::tempdir(),
    };
    let folder = folder.map_err(|error| Failed::new(error, Exit::Usage))?;
    let indexing = Indexing {
        job: job.clone(),
        bucket: bucket.to_owned(),
        // A dry run has no folder.
        own: PathBuf::new(),
        index: folder.path().join("index"),
        stop: CancellationToken::new(),
    };
    // Read through its open file when the folder is gone.
    indexing.write()
}
