//! `s3haul verify`: compare what stands at the destination with its sources, and copy nothing.
//!
//! All around the rows is a job like that of `copy`: its report, its signals, its exit codes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use futures::FutureExt;

use super::access::AccessArgs;
use super::attempt::{self, NewJob};
use super::exit::Failed;
use super::flags::{AgainArgs, REQUESTS_PER_SECOND, ReportArgs, RunArgs, SpeedArgs};
use super::read::{ReadArgs, VersionsFlag, manifest_path};
use super::settings::{over_https, read_key};
use super::shard::ShardArgs;
use super::values::{self, Location};
use crate::job::copy::CopyOptions;
use crate::job::copy::settings::{CustomerKeys, ObjectSettings, Verify};
use crate::job::copy::verify::VerifyOptions;
use crate::job::copy::verify::acl::CannedAcl;
use crate::job::manifest::{ManifestOptions, Rename, ReportRows};
use crate::job::plan::PlanOptions;
use crate::job::shard::{Shard, session_name};
use crate::job::spec::JobSpec;

/// The flags of `verify`.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    #[command(flatten)]
    destination: DestinationArgs,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    again: AgainArgs,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    speed: SpeedArgs,
    #[command(flatten)]
    evidence: EvidenceArgs,
    #[command(flatten)]
    shard: ShardArgs,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Manifest")]
struct ManifestArgs {
    /// A CSV manifest or an S3 Inventory's manifest.json, here or in S3; a report's manifest.json or
    /// results file; - for CSV on stdin (spooled into the report before the first row)
    #[arg(long, env = "S3HAUL_MANIFEST", value_name = "PATH|s3://BUCKET/KEY|-")]
    manifest: PathBuf,
    #[command(flatten)]
    read: ReadArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Destination")]
struct DestinationArgs {
    /// Bucket and prefix that were copied to; the key is put behind the prefix as it is
    #[arg(long, env = "S3HAUL_TO", value_name = "s3://BUCKET[/PREFIX]", value_parser = values::location)]
    to: Location,
    /// Removed from the source key first; a key without it fails its row
    #[arg(long, env = "S3HAUL_STRIP_PREFIX", value_name = "PREFIX")]
    strip_prefix: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
struct KeyArgs {
    /// The sources' key of SSE-C: a file of 32 bytes, or of their base64
    #[arg(long, env = "S3HAUL_SOURCE_SSE_C_KEY_FILE", value_name = "PATH")]
    source_sse_c_key_file: Option<PathBuf>,
    /// The copies' key of SSE-C, in such a file
    #[arg(long, env = "S3HAUL_SSE_C_KEY_FILE", value_name = "PATH")]
    sse_c_key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Evidence")]
struct EvidenceArgs {
    /// By what content is compared
    #[arg(long, env = "S3HAUL_VERIFY", value_enum, default_value_t = VerifyFlag::Head)]
    verify: VerifyFlag,
    /// What is compared besides presence, size and content, of metadata,tags,acl
    #[arg(long, env = "S3HAUL_COMPARE", value_name = "WHAT,…", value_parser = compared)]
    compare: Option<Compared>,
    /// The canned ACL that --compare acl expects [default: bucket-owner-full-control]
    #[arg(long, env = "S3HAUL_ACL", value_enum)]
    acl: Option<AclFlag>,
    #[command(flatten)]
    report: ReportArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum VerifyFlag {
    /// ETags and checksums, as the manifest lists them or HEADs show them.
    Head,
    /// The checksums of both sides.
    Checksum,
    /// Both sides are read, through this machine.
    Full,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AclFlag {
    /// The bucket's owner has full control, as the object's owner or beside it.
    BucketOwnerFullControl,
    /// The bucket's owner may read.
    BucketOwnerRead,
    /// The owner alone.
    Private,
    /// Whoever has an account may read.
    AuthenticatedRead,
    /// Everybody may read.
    PublicRead,
    /// Everybody may read and write.
    PublicReadWrite,
}

/// What a list names.
#[derive(Debug, Clone, Copy, Default)]
struct Compared {
    metadata: bool,
    tags: bool,
    acl: bool,
}

fn compared(text: &str) -> Result<Compared, String> {
    let mut compared = Compared::default();
    for what in text.split(',') {
        match what {
            "metadata" => compared.metadata = true,
            "tags" => compared.tags = true,
            "acl" => compared.acl = true,
            _ => return Err("write a list of metadata, tags and acl".to_owned()),
        }
    }
    Ok(compared)
}

/// Runs `s3haul verify`.
pub(super) async fn run(args: VerifyArgs) -> Result<u8, Failed> {
    args.run.words.start_log();
    let shard = args.shard.shard(&args.manifest.manifest)?;
    args.evidence.report.suits_container()?;
    let job_id = args.evidence.report.job_id(shard)?;
    let show = args.run.show();
    let output = args.run.words.output;
    let report = args.evidence.report.report.clone();
    let mfa_code = args.again.mfa_code.clone();
    let (job, keys) = spec(args, &job_id, shard)?;
    attempt::start(NewJob {
        job_id,
        report,
        job,
        keys,
        mfa_code,
        show,
        output,
        check: false,
    })
    .boxed_local()
    .await
}

/// The job that the flags give, of which this process does `shard`, and the keys that no job file has.
fn spec(
    args: VerifyArgs,
    job_id: &str,
    shard: Option<Shard>,
) -> Result<(JobSpec, CustomerKeys), Failed> {
    if args.manifest.read.versions == Some(VersionsFlag::All) {
        return Err(Failed::usage(
            "--versions all is not for verify: the destination's current object is compared, and of a key \
             that is one",
        )
        .hinted(
            "--versions latest compares it with the latest version that an inventory lists".to_owned(),
        ));
    }
    let manifest = manifest_path(&args.manifest.manifest)?;
    let read = ManifestOptions {
        keep_bad_rows: manifest.as_os_str() == "-",
        rename: Rename {
            prefix: args.destination.to.prefix.clone(),
            strip_prefix: args.destination.strip_prefix.clone(),
        },
        report_rows: ReportRows::Done,
        shard,
        ..args.manifest.read.options()?
    };
    let mut run = args.evidence.report.options()?;
    args.run.apply(&mut run);
    let verify = args.evidence.options()?;
    let requester_pays = args.access.requester_pays;
    let mut access = args
        .access
        .options(args.again.profile, session_name(job_id, shard))?;
    access.manifest_profile = args.manifest.read.manifest_profile;
    args.evidence.report.access(&mut access);
    let (object, keys) = args.keys.read()?;
    over_https(&object, &access, None)?;
    let copy = CopyOptions {
        acl: None,
        requester_pays,
        source_account: access.source_account.clone(),
        object,
        verify: match args.evidence.verify {
            VerifyFlag::Head => Verify::Head,
            VerifyFlag::Checksum => Verify::Checksum,
            VerifyFlag::Full => Verify::Full,
        },
        plan: PlanOptions {
            // Nothing is copied in parts: every row takes the lane of small ones.
            multipart_threshold: u64::MAX,
            ..PlanOptions::default()
        },
        ..CopyOptions::default()
    };
    let job = JobSpec {
        manifest,
        read,
        destination_bucket: args.destination.to.bucket,
        access,
        copy,
        speed: args.speed.options(REQUESTS_PER_SECOND),
        run,
        previous: None,
        verify: Some(verify),
    };
    Ok((job, keys))
}

impl EvidenceArgs {
    fn options(&self) -> Result<VerifyOptions, Failed> {
        let compared = self.compare.unwrap_or_default();
        if self.acl.is_some() && !compared.acl {
            return Err(Failed::usage(
                "--acl says what --compare acl expects: give that too, or neither",
            ));
        }
        Ok(VerifyOptions {
            metadata: compared.metadata,
            tags: compared.tags,
            acl: compared.acl.then_some(match self.acl {
                None | Some(AclFlag::BucketOwnerFullControl) => CannedAcl::BucketOwnerFullControl,
                Some(AclFlag::BucketOwnerRead) => CannedAcl::BucketOwnerRead,
                Some(AclFlag::Private) => CannedAcl::Private,
                Some(AclFlag::AuthenticatedRead) => CannedAcl::AuthenticatedRead,
                Some(AclFlag::PublicRead) => CannedAcl::PublicRead,
                Some(AclFlag::PublicReadWrite) => CannedAcl::PublicReadWrite,
            }),
        })
    }
}

impl KeyArgs {
    /// The keys, and what a job file says of them.
    fn read(&self) -> Result<(ObjectSettings, CustomerKeys), Failed> {
        let read = |flag, path: &Option<PathBuf>| {
            let path = path.as_deref();
            Ok::<_, Failed>(path.map(|path| read_key(flag, path)).transpose()?.unzip())
        };
        let (source_file, source) = read("--source-sse-c-key-file", &self.source_sse_c_key_file)?;
        let (file, destination) = read("--sse-c-key-file", &self.sse_c_key_file)?;
        let object = ObjectSettings {
            source_customer_key: source_file,
            customer_key: file,
            ..ObjectSettings::default()
        };
        let keys = CustomerKeys {
            source,
            destination,
        };
        Ok((object, keys))
    }
}
