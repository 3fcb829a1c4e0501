//! `s3haul resume`: finish a job from its report, one that copies or one that verifies.

use std::path::{Path, PathBuf};

use clap::Args;

use super::attempt::{self, Listening, OldJob};
use super::exit::Failed;
use super::flags::{AgainArgs, RunArgs, SpeedArgs, WorkArgs};
use super::print_result;
use super::reach::{ReachArgs, one_of};
use super::settings::customer_keys;
use super::shard::is_array;
use crate::job::Passes;
use crate::job::report::passes::{JOB, JobState};
use crate::job::report::read_checkpoint;
use crate::job::report::store::first_shard;

/// The flags of `resume`. All else is as the job was given.
#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    /// The job's folder (REPORT/job-ID, here or in S3), or REPORT if it holds one job
    report: PathBuf,
    /// The manifest, if it has been moved; it must be the same file
    #[arg(long, env = "S3HAUL_MANIFEST", value_name = "PATH|s3://BUCKET/KEY")]
    manifest: Option<PathBuf>,
    /// Profile that reads a manifest in S3 [default: as the job was given]
    #[arg(long, env = "S3HAUL_MANIFEST_PROFILE", value_name = "NAME")]
    manifest_profile: Option<String>,
    #[command(flatten)]
    again: AgainArgs,
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    speed: SpeedArgs,
    #[command(flatten)]
    work: WorkArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// Runs `s3haul resume`.
pub(super) async fn run(args: ResumeArgs) -> Result<u8, Failed> {
    args.run.words.start_log();
    let (folder, reach, mut file) = args
        .reach
        .find(
            &args.report,
            &args.again,
            &args.speed,
            args.work.work_dir.as_deref(),
        )
        .await?;
    args.run.apply(&mut file.job.run);
    args.work.apply(&mut file.job.run)?;
    if let Some(manifest) = args.manifest {
        (file.job.manifest, file.spooled) = (manifest, false);
    }
    if args.manifest_profile.is_some() {
        file.job.access.manifest_profile = args.manifest_profile;
    }
    let output = args.run.words.output;
    let address = folder.address();
    let checkpoint = read_checkpoint(&folder, &file.begun()).await?;
    match checkpoint.state {
        JobState::Abandoned => return Err(attempt::abandoned(&address)),
        JobState::Complete if checkpoint.counts.failed == 0 => {
            let summary = attempt::summary(&file, &checkpoint, &address);
            print_result(output, &summary)?;
            return Ok(summary.exit_code);
        }
        _ => {}
    }
    let keys = customer_keys(&file.job.copy.object)?;
    let job = OldJob {
        folder,
        reach,
        file,
        keys,
        passes: Passes::AndFailed,
    };
    let listening = Listening::start();
    Box::pin(attempt::go_on(job, listening, args.run.show(), output)).await
}

/// The job's folder: the one given, or the one job in it.
pub(super) fn job_folder(given: &Path) -> Result<PathBuf, Failed> {
    if given.join(JOB).is_file() {
        // A folder's name is needed, which `.` does not tell.
        return std::fs::canonicalize(given).map_err(|e| Failed::usage(e.to_string()));
    }
    if let Some(shard) = first_shard(given) {
        return Err(is_array(given, shard));
    }
    let entries = std::fs::read_dir(given).map_err(|error| {
        Failed::usage(format!(
            "cannot read the report {}: {error}",
            given.display()
        ))
    })?;
    let jobs: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("job-"))
        .map(|entry| entry.path())
        .filter(|path| path.join(JOB).is_file() || first_shard(path).is_some())
        .collect();
    let job = one_of(given, jobs)?;
    match first_shard(&job).filter(|_| !job.join(JOB).is_file()) {
        Some(shard) => Err(is_array(&job, shard)),
        None => Ok(job),
    }
}
