//! `s3haul copy`: the main job.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use futures::FutureExt;

use super::access::AccessArgs;
use super::attempt::{self, NewJob};
use super::exit::Failed;
use super::flags::{
    AgainArgs, KMS_REQUESTS_PER_SECOND, REQUESTS_PER_SECOND, ReportArgs, RunArgs, SpeedArgs,
    WorkArgs, absolute,
};
use super::read::{ReadArgs, VersionsFlag, manifest_path};
use super::settings::{self, SettingsArgs};
use super::shard::ShardArgs;
use super::values::{self, Location};
use crate::job::copy::settings::{CustomerKeys, ObjectSettings, Verify};
use crate::job::copy::{CopyOptions, Overwrite, SourceChanged};
use crate::job::manifest::{ManifestOptions, Rename};
use crate::job::plan::{DeleteMarkers, PartSize, PlanOptions};
use crate::job::report::previous::{Matching, PreviousOptions};
use crate::job::shard::{Shard, session_name};
use crate::job::spec::JobSpec;

/// The flags of `copy`.
#[derive(Debug, Args)]
pub(super) struct CopyArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    #[command(flatten)]
    destination: DestinationArgs,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    pub(super) again: AgainArgs,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    parts: PartsArgs,
    #[command(flatten)]
    speed: SpeedArgs,
    #[command(flatten)]
    pub(super) evidence: EvidenceArgs,
    #[command(flatten)]
    work: WorkArgs,
    #[command(flatten)]
    shard: ShardArgs,
    #[command(flatten)]
    pub(super) run: RunArgs,
    /// Begin without looking first at what the job will meet, as s3haul check does
    #[arg(
        long,
        env = "S3HAUL_SKIP_CHECK",
        help_heading = "Running",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    pub(super) skip_check: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Manifest")]
struct ManifestArgs {
    /// A CSV manifest or an S3 Inventory's manifest.json, here or in S3; - for CSV on stdin (spooled into
    /// the report before the first copy)
    #[arg(long, env = "S3HAUL_MANIFEST", value_name = "PATH|s3://BUCKET/KEY|-")]
    manifest: PathBuf,
    #[command(flatten)]
    read: ReadArgs,
    /// With --versions all, what becomes of delete markers; needed where one is the latest version
    #[arg(long, env = "S3HAUL_DELETE_MARKERS", value_enum)]
    delete_markers: Option<DeleteMarkersFlag>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DeleteMarkersFlag {
    /// They are left out: deleted keys reappear.
    Skip,
    /// A delete marker is added in the place of each.
    Replay,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Destination")]
struct DestinationArgs {
    /// Destination bucket and prefix; the key is put behind the prefix as it is
    #[arg(long, env = "S3HAUL_TO", value_name = "s3://BUCKET[/PREFIX]", value_parser = values::location)]
    to: Location,
    /// Removed from the source key first; a key without it fails its row
    #[arg(long, env = "S3HAUL_STRIP_PREFIX", value_name = "PREFIX")]
    strip_prefix: Option<String>,
    /// What happens to objects that are there already
    #[arg(long, env = "S3HAUL_OVERWRITE", value_enum, default_value_t = OverwriteFlag::Always)]
    overwrite: OverwriteFlag,
    /// What happens to objects that are not what the manifest lists any more; needs the column ETag
    #[arg(long, env = "S3HAUL_SOURCE_CHANGED", value_enum, default_value_t = SourceChangedFlag::Copy)]
    source_changed: SourceChangedFlag,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OverwriteFlag {
    /// They are replaced.
    Always,
    /// They stay, and the row is skipped.
    Never,
    /// They stay if they are equal.
    IfDifferent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SourceChangedFlag {
    /// They are copied as they stand.
    Copy,
    /// Their rows fail.
    Fail,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Speed")]
struct PartsArgs {
    /// Objects over this size are copied in parts: 5MiB to 5GiB
    #[arg(long, env = "S3HAUL_MULTIPART_THRESHOLD", value_name = "SIZE", value_parser = values::multipart_threshold, default_value = "1GiB")]
    multipart_threshold: u64,
    /// Size of the parts: 5MiB to 5GiB, auto (128 MiB, growing to fit 10,000), or match-source
    #[arg(long, env = "S3HAUL_PART_SIZE", value_name = "SIZE|auto|match-source", value_parser = values::part_size, default_value = "auto")]
    part_size: PartSize,
    /// Longest time for one request with all its attempts
    #[arg(long, env = "S3HAUL_ROW_TIMEOUT", value_name = "DUR", value_parser = values::timeout, default_value = "24h")]
    row_timeout: Duration,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Evidence")]
pub(super) struct EvidenceArgs {
    /// How much a copy is looked at behind S3's answer
    #[arg(long, env = "S3HAUL_VERIFY", value_enum, default_value_t = VerifyFlag::Response)]
    verify: VerifyFlag,
    #[command(flatten)]
    pub(super) report: ReportArgs,
    /// Skip rows that succeeded in an earlier job: its folder, or a downloaded report of S3 Batch
    /// Operations
    #[arg(long, env = "S3HAUL_PREVIOUS_REPORT", value_name = "REPORT")]
    previous_report: Option<PathBuf>,
    /// What makes a row one that succeeded there [default: source]
    #[arg(
        long,
        env = "S3HAUL_PREVIOUS_REPORT_MATCH",
        value_enum,
        requires = "previous_report"
    )]
    previous_report_match: Option<MatchFlag>,
    /// Count rows, requests and cost, and copy nothing
    #[arg(long, env = "S3HAUL_DRY_RUN", value_parser = clap::builder::BoolishValueParser::new())]
    pub(super) dry_run: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum VerifyFlag {
    /// Not at all.
    Response,
    /// One HEAD, where the answer proves nothing of the content.
    Head,
    /// The checksums of both sides are compared.
    Checksum,
    /// Both sides are read, through this machine.
    Full,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MatchFlag {
    /// The same version ID, or ETag and date, as that report recorded.
    Source,
    /// The same key and version: objects that changed since stay old.
    Key,
}

/// Runs `s3haul copy`.
pub(super) async fn run(args: CopyArgs) -> Result<u8, Failed> {
    args.run.words.start_log();
    let dry_run = args.evidence.dry_run;
    let shard = args.shard.shard(&args.manifest.manifest)?;
    // A dry run has no report, so that its ID is nobody's.
    let job_id = args.evidence.report.job_id(shard.filter(|_| !dry_run))?;
    let check = !args.skip_check && shard.is_none_or(Shard::is_first);
    let show = args.run.show();
    let output = args.run.words.output;
    let report = args.evidence.report.report.clone();
    let mfa_code = args.again.mfa_code.clone();
    if !dry_run {
        args.evidence.report.suits_container()?;
    }
    let (job, keys) = args.spec(&job_id, shard)?;
    if dry_run {
        return super::dry_run::run(job, mfa_code, output)
            .boxed_local()
            .await;
    }
    attempt::start(NewJob {
        job_id,
        report,
        job,
        keys,
        mfa_code,
        show,
        output,
        check,
    })
    .boxed_local()
    .await
}

impl CopyArgs {
    /// The job that the flags give, of which this process does `shard`, and the keys that no job file has.
    pub(super) fn spec(
        self,
        job_id: &str,
        shard: Option<Shard>,
    ) -> Result<(JobSpec, CustomerKeys), Failed> {
        let manifest = manifest_path(&self.manifest.manifest)?;
        let stream = manifest.as_os_str() == "-";
        let read = ManifestOptions {
            keep_bad_rows: stream,
            rename: Rename {
                prefix: self.destination.to.prefix.clone(),
                strip_prefix: self.destination.strip_prefix.clone(),
            },
            shard,
            ..self.manifest.read.options()?
        };
        let source_changed = match self.destination.source_changed {
            SourceChangedFlag::Copy => SourceChanged::Copy,
            SourceChangedFlag::Fail => SourceChanged::Fail,
        };
        let mut run = self.evidence.report.options()?;
        self.run.apply(&mut run);
        self.work.apply(&mut run)?;
        contradictions(&self)?;
        let previous = previous(&self.evidence)?;
        let requester_pays = self.access.requester_pays;
        let mut access = self
            .access
            .options(self.again.profile, session_name(job_id, shard))?;
        access.manifest_profile = self.manifest.read.manifest_profile;
        self.evidence.report.access(&mut access);
        let wanted = self.settings.settings()?;
        let verify = verify(self.evidence.verify);
        settings::check(
            &wanted.object,
            &access,
            source_changed,
            verify,
            read.versions,
        )?;
        settings::over_https(&wanted.object, &access, None)?;
        let speed = self.speed.options(requests_per_second(&wanted.object));
        let copy = CopyOptions {
            overwrite: match self.destination.overwrite {
                OverwriteFlag::Always => Overwrite::Always,
                OverwriteFlag::Never => Overwrite::Never,
                OverwriteFlag::IfDifferent => Overwrite::IfDifferent,
            },
            source_changed,
            acl: wanted.acl,
            requester_pays,
            source_account: access.source_account.clone(),
            destination_account: None,
            object: wanted.object,
            verify,
            plan: PlanOptions {
                multipart_threshold: self.parts.multipart_threshold,
                part_size: self.parts.part_size,
                delete_markers: self.manifest.delete_markers.map(|markers| match markers {
                    DeleteMarkersFlag::Skip => DeleteMarkers::Skip,
                    DeleteMarkersFlag::Replay => DeleteMarkers::Replay,
                }),
                held_to_e_tag: source_changed == SourceChanged::Fail,
            },
            row_timeout_ms: values::milliseconds(self.parts.row_timeout),
        };
        let job = JobSpec {
            manifest,
            read,
            destination_bucket: self.destination.to.bucket,
            access,
            copy,
            speed,
            run,
            previous,
            verify: None,
        };
        Ok((job, wanted.keys))
    }
}

/// Each object under SSE-KMS takes requests to KMS, unless a bucket key saves them.
fn requests_per_second(object: &ObjectSettings) -> u32 {
    if object.encryption.is_kms() && !object.bucket_key {
        KMS_REQUESTS_PER_SECOND
    } else {
        REQUESTS_PER_SECOND
    }
}

fn verify(flag: VerifyFlag) -> Verify {
    match flag {
        VerifyFlag::Response => Verify::Response,
        VerifyFlag::Head => Verify::Head,
        VerifyFlag::Checksum => Verify::Checksum,
        VerifyFlag::Full => Verify::Full,
    }
}

fn previous(args: &EvidenceArgs) -> Result<Option<PreviousOptions>, Failed> {
    let Some(report) = &args.previous_report else {
        return Ok(None);
    };
    if report.to_string_lossy().starts_with("s3://") {
        return Err(Failed::usage(
            "--previous-report takes a local folder; reports in S3 are not supported: download it first",
        ));
    }
    Ok(Some(PreviousOptions {
        report: absolute(report)?,
        matching: match args.previous_report_match {
            None | Some(MatchFlag::Source) => Matching::Source,
            Some(MatchFlag::Key) => Matching::Key,
        },
    }))
}

/// Flags that mean nothing together.
fn contradictions(args: &CopyArgs) -> Result<(), Failed> {
    let all = args.manifest.read.versions == Some(VersionsFlag::All);
    if args.manifest.delete_markers.is_some() && !all {
        return Err(Failed::usage(
            "--delete-markers says what becomes of delete markers with --versions all: give that too, \
             or neither",
        ));
    }
    if all && args.destination.overwrite != OverwriteFlag::Always {
        return Err(Failed::usage(
            "--versions all takes no --overwrite but always: the second version of a key would meet \
             the first, and be left out",
        ));
    }
    Ok(())
}
