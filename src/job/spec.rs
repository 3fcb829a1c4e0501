//! The job as given: what `job.json` holds, composed of the options of each part.

use std::path::{Path, PathBuf};

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use super::access::AccessOptions;
use super::copy::CopyOptions;
use super::manifest::sort::SortedFile;
use super::manifest::{ManifestOptions, Survey, Versions};
use super::report::ReportScope;
use super::report::passes::hex;
use super::report::previous::PreviousOptions;

/// How fast a job may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpeedOptions {
    /// Requests in flight; without a number adaptive, from 16 and up to 256.
    pub concurrency: Option<u32>,
    /// Requests a second; no limit without a number.
    pub requests_per_second: Option<u32>,
    /// Attempts of a request.
    pub max_attempts: u32,
    /// Longest time for an attempt, in milliseconds; by operation and size without a number.
    pub attempt_timeout_ms: Option<u64>,
}

/// What a job does besides copying.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOptions {
    /// Which rows the report lists.
    pub report_scope: ReportScope,
    /// Failed rows, in percent of the rows run, over which the job stops; none without a number.
    pub failure_threshold: Option<u8>,
    /// Exit code of a job that ran to its end with failed rows.
    pub failed_rows_exit: u8,
    /// Time for what is in flight after a signal, in milliseconds.
    pub drain_timeout_ms: u64,
    /// Where rows are sorted; in the job's own folder where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_dir: Option<PathBuf>,
}

/// A job as it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// The manifest: a path, or `-` for a stream that was spooled into the report.
    pub manifest: PathBuf,
    /// How it is read.
    pub read: ManifestOptions,
    /// Destination bucket.
    pub destination_bucket: String,
    /// Who copies.
    pub access: AccessOptions,
    /// How objects are copied.
    pub copy: CopyOptions,
    /// How fast.
    pub speed: SpeedOptions,
    /// What else.
    pub run: RunOptions,
    /// The report whose rows are not copied again.
    #[serde(default)]
    pub previous: Option<PreviousOptions>,
}

/// `job.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFile {
    /// The software that began the job.
    pub software: String,
    /// The job's ID.
    pub job_id: String,
    /// S3's time when the job was created.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: time::OffsetDateTime,
    /// The manifest's identity.
    pub survey: Survey,
    /// The job as given; no key, token or password is part of it.
    pub job: JobSpec,
}

impl JobFile {
    /// Whether each pass walks its rows in the order of keys, the older version first.
    pub fn sorts(&self) -> bool {
        self.job.read.versions == Some(Versions::All)
    }

    /// Where the sorted rows of a pass lie; `folder` is the job's.
    pub fn sorted_file(&self, folder: &Path, pass: u32) -> SortedFile {
        // The folder of a job that is being made has another name, in the same report.
        let report = folder.parent().unwrap_or(folder);
        let report = std::fs::canonicalize(report).unwrap_or_else(|_| report.to_owned());
        let report = hex(&Md5::digest(report.as_os_str().as_encoded_bytes()));
        let (id, began) = (&self.job_id, self.created_at);
        let (e_tag, rows) = (&self.survey.e_tag, self.survey.rows);
        let owner = format!("{id} of {report}, begun {began}, {rows} rows of {e_tag}, pass {pass}");
        let path = match &self.job.run.work_dir {
            None => folder.join(format!("work/sorted-{pass}.csv")),
            // Other jobs of the same ID have other reports.
            Some(work_dir) => work_dir.join(format!("s3haul-{id}-{report}-sorted-{pass}.csv")),
        };
        SortedFile::at(path, owner)
    }

    /// Removes the sorted rows of `passes`.
    pub fn remove_sorted(&self, folder: &Path, passes: impl Iterator<Item = u32>) {
        for pass in passes.filter(|_| self.sorts()) {
            self.sorted_file(folder, pass).remove();
        }
    }

    /// Whether the role's session is this job's alone, so that what it began is known by its ARN.
    pub fn own_session(&self) -> bool {
        let session = format!("s3haul-{}", self.job_id);
        let role = self.job.access.role.as_ref();
        role.is_some_and(|role| role.session_name == session)
    }
}

impl JobSpec {
    /// Where the job as given differs from another of the same ID, by the parts that make it another
    /// job. Its speed, its time-outs, its profile and its exit code do not.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let (a, b) = (&self.access, &other.access);
        let (c, d) = (&self.copy, &other.copy);
        let role = |o: &AccessOptions| o.role.as_ref().map(|role| role.role_arn.clone());
        let report = |o: &Self| o.previous.as_ref().map(|previous| previous.report.clone());
        let matching = |o: &Self| o.previous.as_ref().map(|previous| previous.matching);
        [
            ("--manifest", self.manifest != other.manifest),
            ("--manifest-fields", self.read.fields != other.read.fields),
            (
                "--key-encoding",
                self.read.key_encoding != other.read.key_encoding,
            ),
            (
                "--versions",
                self.read.versions.unwrap_or(Versions::Listed)
                    != other.read.versions.unwrap_or(Versions::Listed),
            ),
            ("the row filters", self.read.filters != other.read.filters),
            (
                "--to",
                self.destination_bucket != other.destination_bucket
                    || self.read.rename.prefix != other.read.rename.prefix,
            ),
            (
                "--strip-prefix",
                self.read.rename.strip_prefix != other.read.rename.strip_prefix,
            ),
            ("--overwrite", c.overwrite != d.overwrite),
            ("--source-changed", c.source_changed != d.source_changed),
            ("--role-arn", role(a) != role(b)),
            ("--source-account", a.source_account != b.source_account),
            (
                "--destination-account",
                a.destination_account != b.destination_account,
            ),
            ("--endpoint-url", a.endpoint_url != b.endpoint_url),
            ("--requester-pays", c.requester_pays != d.requester_pays),
            ("--acl", c.acl != d.acl),
            (
                "--multipart-threshold",
                c.plan.multipart_threshold != d.plan.multipart_threshold,
            ),
            ("--part-size", c.plan.part_size != d.plan.part_size),
            (
                "--delete-markers",
                c.plan.delete_markers != d.plan.delete_markers,
            ),
            (
                "--report-scope",
                self.run.report_scope != other.run.report_scope,
            ),
            ("--previous-report", report(self) != report(other)),
            ("--previous-report-match", matching(self) != matching(other)),
        ]
        .into_iter()
        .filter_map(|(flag, differs)| differs.then_some(flag))
        .collect()
    }
}
