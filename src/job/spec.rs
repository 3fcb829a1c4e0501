//! The job as given: what `job.json` holds, composed of the options of each part.

use std::path::PathBuf;
use std::time::Duration;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use super::access::AccessOptions;
use super::copy::CopyOptions;
use super::copy::settings::{Archived, CustomerKeyFile, Encryption, ObjectSettings, Permission};
use super::copy::verify::VerifyOptions;
use super::manifest::sort::SortedFile;
use super::manifest::{ManifestOptions, Survey, Versions};
use super::report::passes::hex;
use super::report::previous::PreviousOptions;
use super::report::store::Home;
use super::report::{Begun, ReportScope};
use super::shard::session_name;

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
    /// Longest time between a row's end and its outcome being durable, for a report in S3, in milliseconds.
    #[serde(default = "report_interval_ms")]
    pub report_interval_ms: u64,
    /// How long the store of a report in S3 may be out before the job stops, in milliseconds.
    #[serde(default = "report_timeout_ms")]
    pub report_timeout_ms: u64,
}

/// Five seconds.
pub fn report_interval_ms() -> u64 {
    5_000
}

/// Ten minutes: longer than most outages, shorter than a session.
pub fn report_timeout_ms() -> u64 {
    600_000
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
    /// Nothing is copied: what stands at the destination is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<VerifyOptions>,
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
    /// Its manifest was here, or on stdin, and lies in the report.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spooled: bool,
    /// The job as given; no key, token or password is part of it.
    pub job: JobSpec,
}

impl JobFile {
    /// What the report says of the job from the first attempt on.
    pub fn begun(&self) -> Begun {
        Begun {
            id: match self.job.read.shard {
                None => self.job_id.clone(),
                Some(shard) => format!("{}/{}", self.job_id, shard.folder_name()),
            },
            scope: self.job.run.report_scope,
            rows: self.survey.rows,
            filtered: self.survey.filtered,
            interval: Duration::from_millis(self.job.run.report_interval_ms),
        }
    }

    /// The name that the manifest has in the report, if it is there.
    pub fn spooled_name(&self) -> String {
        if self.job.read.keep_bad_rows {
            return "manifest.csv".to_owned();
        }
        let name = self.job.manifest.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Whether each pass walks its rows in the order of keys, the older version first.
    pub fn sorts(&self) -> bool {
        self.job.read.versions == Some(Versions::All)
    }

    /// Where the sorted rows of a pass lie.
    pub fn sorted_file(&self, home: &Home, pass: u32) -> SortedFile {
        // The folder of a job that is being made has another name, in the same report.
        let report = home.address.parent().unwrap_or(&home.address);
        let report = std::fs::canonicalize(report).unwrap_or_else(|_| report.to_owned());
        let report = hex(&Md5::digest(report.as_os_str().as_encoded_bytes()));
        let (id, began) = (&self.job_id, self.created_at);
        let (e_tag, rows) = (&self.survey.e_tag, self.survey.rows);
        let shard = self.job.of_shard();
        let owner =
            format!("{id}{shard} of {report}, begun {began}, {rows} rows of {e_tag}, pass {pass}");
        let path = match &self.job.run.work_dir {
            None => home.local.join(format!("work/sorted-{pass}.csv")),
            // Other jobs of the same ID have other reports.
            Some(work_dir) => {
                work_dir.join(format!("s3haul-{id}{shard}-{report}-sorted-{pass}.csv"))
            }
        };
        SortedFile::at(path, owner)
    }

    /// Removes the sorted rows of `passes`.
    pub fn remove_sorted(&self, home: &Home, passes: impl Iterator<Item = u32>) {
        for pass in passes.filter(|_| self.sorts()) {
            self.sorted_file(home, pass).remove();
        }
    }

    /// Whether the role's session is this job's alone, so that what it began is known by its ARN.
    pub fn own_session(&self) -> bool {
        let session = session_name(&self.job_id, self.job.read.shard);
        let role = self.job.access.role.as_ref();
        role.is_some_and(|role| role.session_name == session)
    }
}

impl JobSpec {
    /// What the names of files have that are a shard's alone where all shards' lie together.
    pub fn of_shard(&self) -> String {
        let shard = self.read.shard;
        shard.map_or_else(String::new, |shard| format!("-{}", shard.folder_name()))
    }

    /// Where the job as given differs from another of the same ID, by the parts that make it another
    /// job. Its speed, its time-outs, its profile and its exit code do not.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let (a, b) = (&self.access, &other.access);
        let (c, d) = (&self.copy, &other.copy);
        let role = |o: &AccessOptions| o.role.as_ref().map(|role| role.role_arn.clone());
        let report = |o: &Self| o.previous.as_ref().map(|previous| previous.report.clone());
        let matching = |o: &Self| o.previous.as_ref().map(|previous| previous.matching);
        let compared = |o: &Self| o.verify.as_ref().map(VerifyOptions::compared);
        let acl = |o: &Self| (o.copy.acl.clone(), o.verify.as_ref().and_then(|v| v.acl));
        if self.verify.is_some() != other.verify.is_some() {
            return vec!["the commands"];
        }
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
            ("--shard", self.read.shard != other.read.shard),
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
            ("--acl", acl(self) != acl(other)),
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
            ("--verify", c.verify != d.verify),
            ("--compare", compared(self) != compared(other)),
        ]
        .into_iter()
        .chain(acl_and_metadata(&c.object, &d.object))
        .chain(other_settings(&c.object, &d.object))
        .filter_map(|(flag, differs)| differs.then_some(flag))
        .collect()
    }
}

/// Where two jobs' object settings differ, and whether they do.
type Differences<const N: usize> = [(&'static str, bool); N];

fn acl_and_metadata(a: &ObjectSettings, b: &ObjectSettings) -> Differences<14> {
    let grants = |permission| {
        let of = |o: &'_ ObjectSettings| -> Vec<String> {
            let grants = o.grants.iter().filter(|g| g.permission == permission);
            grants.map(|grant| grant.grantee.clone()).collect()
        };
        of(a) != of(b)
    };
    let header = |name: &str| {
        let of = |o: &ObjectSettings| o.metadata.as_ref()?.headers.get(name).cloned();
        of(a) != of(b)
    };
    let user = |o: &ObjectSettings| o.metadata.clone().unwrap_or_default().user;
    [
        ("--grant-full-control", grants(Permission::FullControl)),
        ("--grant-read", grants(Permission::Read)),
        ("--grant-read-acp", grants(Permission::ReadAcp)),
        ("--grant-write-acp", grants(Permission::WriteAcp)),
        (
            "--metadata-directive",
            a.metadata.is_some() != b.metadata.is_some(),
        ),
        ("--metadata", user(a) != user(b)),
        ("--content-type", header("content-type")),
        ("--cache-control", header("cache-control")),
        ("--content-disposition", header("content-disposition")),
        ("--content-encoding", header("content-encoding")),
        ("--content-language", header("content-language")),
        ("--expires", header("expires")),
        (
            "--allow-metadata-loss",
            a.allow_metadata_loss != b.allow_metadata_loss,
        ),
        (
            "--website-redirect-location",
            a.website_redirect_location != b.website_redirect_location,
        ),
    ]
}

fn other_settings(a: &ObjectSettings, b: &ObjectSettings) -> Differences<19> {
    let md5 = |file: &Option<CustomerKeyFile>| file.as_ref().map(|file| file.md5.clone());
    let sse = |o: &ObjectSettings| std::mem::discriminant(&o.encryption);
    let kms_key = |o: &ObjectSettings| match &o.encryption {
        Encryption::Kms(key) | Encryption::KmsDsse(key) => key.clone(),
        Encryption::BucketDefault | Encryption::Aes256 => None,
    };
    let tags = |o: &ObjectSettings| o.tags.as_ref().map(Vec::is_empty);
    let tag = |o: &ObjectSettings| o.tags.clone().unwrap_or_default();
    let lock = |o: &ObjectSettings| {
        o.retention
            .clone()
            .map(|lock| (lock.mode, lock.until))
            .unzip()
    };
    let (modes, dates) = {
        let ((mode_a, until_a), (mode_b, until_b)) = (lock(a), lock(b));
        (mode_a != mode_b, until_a != until_b)
    };
    let restore = |o: &ObjectSettings| match o.archived {
        Archived::Restore { tier, days } => (Some(tier), Some(days)),
        Archived::Fail | Archived::Skip => (None, None),
    };
    let archived = |o: &ObjectSettings| std::mem::discriminant(&o.archived);
    [
        ("--storage-class", a.storage_class != b.storage_class),
        ("--tags", tags(a) != tags(b)),
        ("--tag", tag(a) != tag(b)),
        ("--annotations", a.annotations != b.annotations),
        ("--sse", sse(a) != sse(b)),
        ("--sse-kms-key-id", kms_key(a) != kms_key(b)),
        ("--bucket-key", a.bucket_key != b.bucket_key),
        // The file may have moved.
        (
            "--source-sse-c-key-file",
            md5(&a.source_customer_key) != md5(&b.source_customer_key),
        ),
        (
            "--sse-c-key-file",
            md5(&a.customer_key) != md5(&b.customer_key),
        ),
        (
            "--checksum-algorithm",
            a.checksum_algorithm != b.checksum_algorithm,
        ),
        ("--checksum-type", a.checksum_type != b.checksum_type),
        ("--object-lock-mode", modes),
        ("--object-lock-retain-until", dates),
        ("--object-lock-legal-hold", a.legal_hold != b.legal_hold),
        (
            "--if-modified-since",
            a.if_modified_since != b.if_modified_since,
        ),
        (
            "--if-unmodified-since",
            a.if_unmodified_since != b.if_unmodified_since,
        ),
        ("--archived", archived(a) != archived(b)),
        ("--restore-tier", restore(a).0 != restore(b).0),
        ("--restore-days", restore(a).1 != restore(b).1),
    ]
}
