//! From a job as given to its summary: what `copy`, `verify` and `resume` have in common.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use s3haul_s3::MfaCode;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::check as before;
use super::exit::{Exit, Failed, print_cause};
use super::flags::Show;
use super::metrics::{Metrics, MetricsFormat};
use super::progress;
use super::reach::{Reach, is_in_s3};
use super::settings::over_https;
use super::spool::{self, SPOOL};
use super::values::bucket_kind;
use super::{Output, log, previous, print_result, shard};
use crate::job::access::{Access, AccessError, AccessOptions};
use crate::job::copy::SourceChanged;
use crate::job::copy::settings::CustomerKeys;
use crate::job::copy::verify::acl::CannedAcl;
use crate::job::manifest::key::Shown;
use crate::job::manifest::sort::{self, Order};
use crate::job::manifest::{
    ManifestError, ManifestFile, Position, Source, Survey, Versions, survey,
};
use crate::job::plan::DeleteMarkers;
use crate::job::report::passes::{Checkpoint, JOB, JobState};
use crate::job::report::previous::CopiedBefore;
use crate::job::report::store::bucket::{Bucket, Patience};
use crate::job::report::store::folder::Folder;
use crate::job::report::store::{Home, JobFolder, Store, first_shard};
use crate::job::report::{Report, read_checkpoint, read_job, read_state};
use crate::job::spec::{JobFile, JobSpec, RunOptions, SpeedOptions};
use crate::job::summary::Summary;
use crate::job::{
    self, Cause, Job, Passes, Progress, StopSignals, blocking, max_concurrency, owner,
    retry_options, sort_rows, versioned,
};
use crate::preflight::sample::Samples;

/// How long the last line of metrics may take: the job has ended, and its result is to be said.
const LAST_LINE: Duration = Duration::from_secs(5);
/// How long a report is looked at that could not be written: the summary is only words.
const LAST_LOOK: Duration = Duration::from_secs(5);

/// A job that `copy` or `verify` is given.
#[derive(Debug)]
pub(super) struct NewJob {
    pub(super) job_id: String,
    /// The folder of reports.
    pub(super) report: PathBuf,
    pub(super) job: JobSpec,
    pub(super) keys: CustomerKeys,
    pub(super) mfa_code: Option<String>,
    pub(super) show: Show,
    pub(super) output: Output,
    /// What it will meet is looked at first.
    pub(super) check: bool,
}

impl NewJob {
    /// The job's folder, whose own it is or that of all its shards.
    pub(super) fn folder(&self) -> PathBuf {
        self.report.join(folder_name(&self.job_id))
    }
}

/// Name of a job's folder.
pub(super) fn folder_name(job_id: &str) -> String {
    format!("job-{job_id}")
}

/// An ID that no other job has: the time, and a random part.
pub(super) fn new_job_id() -> String {
    let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
    let now = time::OffsetDateTime::now_utc()
        .format(format)
        .unwrap_or_default();
    format!("{now}-{:06x}", fastrand::u32(..0x0100_0000))
}

/// The ID that AWS Batch or Slurm gave this job, so that a container that is run again resumes.
pub(super) fn job_id_of_environment() -> Result<Option<String>, Failed> {
    for variable in ["AWS_BATCH_JOB_ID", "SLURM_ARRAY_JOB_ID"] {
        if let Ok(id) = std::env::var(variable)
            && !id.is_empty()
        {
            let id = id.split(':').next().unwrap_or_default();
            return match super::values::job_id(id) {
                Ok(id) => Ok(Some(id)),
                Err(why) => Err(Failed::usage(format!("{variable}: {why}; give --job-id"))),
            };
        }
    }
    Ok(None)
}

/// Runs a new job; with the ID of a job that exists, goes on with it or says how it ended.
pub(super) async fn start(new: NewJob) -> Result<u8, Failed> {
    let part = new.job.read.shard;
    let (reports, name) = match part {
        None => (new.report.clone(), folder_name(&new.job_id)),
        Some(shard) => (new.folder(), shard.folder_name()),
    };
    let address = reports.join(&name);
    previous::refuse_own(&new.job, &new.folder())?;
    let reach = Reach::new(&new.job.access, &new.job.speed, new.mfa_code.clone());
    let mut listening = Listening::start();
    let work_dir = new.job.run.work_dir.as_deref();
    let found = Box::pin(reach.job_folder(&address, work_dir));
    let folder = listening.unless_stopped(found).await?;
    let exists = match &folder {
        JobFolder::Disk(path) => path.exists() && first_shard(path).is_none(),
        JobFolder::Bucket(_) => folder.read(JOB).await?.is_some(),
    };
    if exists {
        return Box::pin(again(new, folder, reach, listening)).await;
    }
    let alone = Box::pin(shard::refuse_others(&new, &folder, &reach));
    let other = listening.unless_stopped(alone).await?;
    enough_files(&new.job.speed)?;
    let store = match &folder {
        JobFolder::Disk(_) => Store::Folder(Folder::stage(&reports, &name)?),
        JobFolder::Bucket(folder) => {
            let patience = patience(&new.job, &listening);
            let staged = Bucket::stage(Arc::clone(folder), patience);
            Store::Bucket(
                listening
                    .unless_stopped(Box::pin(async { Ok(staged.await?) }))
                    .await?,
            )
        }
    };
    let home = store.home();
    let prepared = Box::pin(prepare(&new, &home, &reach, &listening)).await;
    let prepared = match prepared {
        Ok((file, reached)) => {
            let kept = match shard::same_manifest(&file, other.as_ref()) {
                Ok(()) => keep(&file, &reached.manifest, &folder, &home, &listening).await,
                Err(failed) => Err(failed),
            };
            kept.map(|()| (file, reached))
        }
        Err(failed) => Err(failed),
    };
    let (file, mut reached) = match prepared {
        Ok(prepared) => prepared,
        Err(failed) => {
            previous::remove_of(&new.job, &new.job_id, &home.local);
            store.discard();
            if part.is_some() {
                // As far as the other shards have left it empty.
                let _ = std::fs::remove_dir(&new.report);
            }
            return Err(failed);
        }
    };
    let json = serde_json::to_vec_pretty(&file).map_err(|e| Failed::new(e, Exit::Usage))?;
    listening.keep_alive(&store, &file.job.run);
    let begun = file.begun();
    let create = move || Report::create(store, &begun, json);
    let report = blocking(create).await;
    let report = report.inspect_err(|_| file.remove_sorted(&home, 0..1))?;
    let words = (new.show, new.output);
    if file.job.read.keep_bad_rows {
        // The folder has its name only now.
        reached.manifest = report.home().local.join(SPOOL).as_path().into();
    }
    let passes = Passes::InHand;
    Box::pin(run(
        file,
        reached,
        (folder, report),
        passes,
        listening,
        words,
    ))
    .await
}

/// Refuses another job than the one whose report this is.
pub(super) fn same_job(new: &JobSpec, old: &JobSpec, report: &Path) -> Result<(), Failed> {
    let differences = new.differences(old);
    if differences.is_empty() {
        return Ok(());
    }
    Err(Failed::usage(format!(
        "{} is the report of another job: {} differ",
        report.display(),
        differences.join(", ")
    ))
    .hinted("give this job another --job-id, or none".to_owned()))
}

/// Sorts what is to be sorted, and puts the manifest into a report in S3, all before the job is made.
async fn keep(
    file: &JobFile,
    manifest: &ManifestFile,
    folder: &JobFolder,
    home: &Home,
    listening: &Listening,
) -> Result<(), Failed> {
    sort(file, manifest, home, &listening.signals).await?;
    if let (JobFolder::Bucket(report), ManifestFile::Disk(path), true) =
        (folder, manifest, file.spooled)
    {
        let sent = spool::send(report, path.clone(), &file.survey, &file.job.read);
        listening.unless_stopped(Box::pin(sent)).await?;
    }
    Ok(())
}

/// How long the job's report may be out of reach.
pub(super) fn patience(job: &JobSpec, listening: &Listening) -> Patience {
    Patience {
        timeout: Duration::from_millis(job.run.report_timeout_ms),
        give_up: listening.signals.abandon.clone(),
    }
}

/// Each request in flight has a connection, which is a file to the system, and the report has files too.
/// To run out of them in the middle would end the job each time at the same place.
fn enough_files(speed: &SpeedOptions) -> Result<(), Failed> {
    const OTHERS: u64 = 40;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let needed = u64::from(max_concurrency(speed)) + OTHERS;
    match limit {
        Some(limit) if limit < needed => Err(Failed::usage(format!(
            "this process may have {limit} files open (ulimit -n), and {} requests in flight take \
             {needed}",
            max_concurrency(speed)
        ))
        .hinted(format!(
            "raise the limit, or give --concurrency {}",
            limit.saturating_sub(OTHERS).max(1)
        ))),
        _ => Ok(()),
    }
}

/// What a job reads and writes besides its report.
struct Reached {
    manifest: ManifestFile,
    access: Access,
    keys: CustomerKeys,
    /// The rows that a previous report has.
    before: Option<CopiedBefore>,
}

/// All that can be found wrong before the first request that copies.
async fn prepare(
    new: &NewJob,
    home: &Home,
    reach: &Reach,
    listening: &Listening,
) -> Result<(JobFile, Reached), Failed> {
    let (job, spool, looks) = (new.job.clone(), home.local.join(SPOOL), new.check);
    let drain = &listening.signals.drain;
    let manifest = manifest_of(&new.job, &spool, reach, drain);
    let manifest = listening.unless_stopped(Box::pin(manifest)).await?;
    let file = manifest.clone();
    // A manifest may be long, and stdin wait for ever: signals are listened to meanwhile.
    let survey = Box::pin(blocking(move || {
        if job.read.keep_bad_rows {
            spool::take_stdin(&spool)?;
        }
        let surveyed = if looks {
            before::sampled(&file, &job)?
        } else {
            (survey(file, &job.read)?, Samples::default())
        };
        check(&surveyed.0, &job)?;
        Ok::<_, Failed>(surveyed)
    }));
    let (survey, samples) = listening.unless_stopped(survey).await?;
    let indexing = previous::Indexing {
        job: new.job.clone(),
        bucket: survey.bucket.clone(),
        own: new.folder(),
        index: previous::index_path(&new.job, &new.job_id, &home.local),
        stop: listening.signals.drain.clone(),
    };
    // Not dropped at a signal: it ends by itself, and leaves nothing.
    let before = blocking(move || indexing.write()).await?;
    let access = establish(&new.job, &survey, reach);
    let access = listening.unless_stopped(Box::pin(access)).await?;
    let file = JobFile {
        software: concat!("s3haul ", env!("CARGO_PKG_VERSION")).to_owned(),
        job_id: new.job_id.clone(),
        created_at: access.now,
        survey,
        spooled: is_in_s3(&new.report) && !is_in_s3(&new.job.manifest),
        job: new.job.clone(),
    };
    let versioned = Box::pin(check_versioned(&file, &access));
    listening.unless_stopped(versioned).await?;
    if new.check {
        // Not dropped at a signal: what it has begun it ends.
        let looked = before::look(&file, &new.keys, &samples, reach, drain);
        Box::pin(looked).await?;
    }
    let reached = Reached {
        manifest,
        access,
        keys: new.keys.clone(),
        before,
    };
    Ok((file, reached))
}

/// A job's manifest, wherever it lies.
pub(super) async fn manifest_of(
    job: &JobSpec,
    spool: &Path,
    reach: &Reach,
    stop: &CancellationToken,
) -> Result<ManifestFile, Failed> {
    if job.read.keep_bad_rows {
        return Ok(spool.into());
    }
    if is_in_s3(&job.manifest) {
        return reach.manifest(&job.manifest, stop).await;
    }
    Ok(job.manifest.as_path().into())
}

/// Sorts the rows of the first pass, where that is asked: whether there is room shows before the
/// first copy.
async fn sort(
    file: &JobFile,
    manifest: &ManifestFile,
    home: &Home,
    signals: &StopSignals,
) -> Result<(), Failed> {
    if !file.sorts() {
        return Ok(());
    }
    let (survey, read) = (&file.survey, &file.job.read);
    let sorted = file.sorted_file(home, 0);
    let (rows, bytes) = (survey.rows, survey.sorted_bytes);
    log::say(&format!(
        "sorting {rows} rows by key and version: takes about {} in {}",
        indicatif::BinaryBytes(sort::needed(bytes)),
        sorted.folder().display()
    ));
    let source = Source::manifest(manifest.clone(), survey, read, Position::default());
    let (bucket, stop) = (survey.bucket.clone(), signals.drain.clone());
    let sorting = sort_rows(
        sorted.clone(),
        source,
        Order::Versions,
        rows,
        bytes,
        bucket,
        stop,
    );
    // A run of it that died may have left something.
    Ok(sorting.await.inspect_err(|_| sorted.remove())?)
}

/// Whether the destination keeps versions, where that is asked.
async fn check_versioned(file: &JobFile, access: &Access) -> Result<(), Failed> {
    if !file.sorts() {
        return Ok(());
    }
    let job = &file.job;
    let replay = job.copy.plan.delete_markers == Some(DeleteMarkers::Replay);
    let retry = retry_options(&job.speed);
    Ok(versioned::check(access, &job.destination_bucket, replay, retry).await?)
}

/// What becomes of keys whose latest version is a delete marker must be said.
fn check_delete_markers(survey: &Survey, job: &JobSpec) -> Result<(), Failed> {
    let markers = survey.latest_delete_markers;
    if job.read.versions != Some(Versions::All) || markers == 0 {
        return Ok(());
    }
    let plural = |one, more| if markers == 1 { one } else { more };
    match job.copy.plan.delete_markers {
        None => Err(Failed::usage(format!(
            "the latest version of {markers} {} is a delete marker: say --delete-markers replay, which \
             adds one in its place, or skip",
            plural("key", "keys")
        ))
        .hinted("with skip deleted keys reappear at the destination".to_owned())),
        Some(DeleteMarkers::Skip) => {
            tracing::warn!(
                "{markers} deleted {} will reappear at the destination: the delete {} left out",
                plural("key", "keys"),
                plural("marker is", "markers are")
            );
            Ok(())
        }
        Some(DeleteMarkers::Replay) => Ok(()),
    }
}

pub(super) fn check(survey: &Survey, job: &JobSpec) -> Result<(), Failed> {
    bucket_kind(&survey.bucket).map_err(|why| {
        Failed::usage(format!(
            "the source bucket {}: {why}",
            Shown(&survey.bucket)
        ))
    })?;
    if job.copy.source_changed == SourceChanged::Fail && !survey.has_e_tags() {
        return Err(Failed::usage(
            "--source-changed fail needs the column ETag: name the columns with --manifest-fields",
        ));
    }
    if let Some(options) = &job.previous {
        previous::check(survey, options.matching)?;
    }
    if survey.csv().is_some_and(|form| form.byte_order_mark) {
        tracing::warn!("the manifest begins with a byte order mark, which was skipped");
    }
    check_delete_markers(survey, job)?;
    if survey.csv().is_some() && job.read.versions == Some(Versions::All) {
        tracing::warn!(
            "a CSV manifest lists no delete markers: keys that were deleted reappear at the destination"
        );
    }
    if survey.version_ids && job.verify.is_some() {
        tracing::warn!(
            "the manifest lists versions: each is compared with the current object of its key at the \
             destination"
        );
    } else if survey.version_ids && job.read.versions != Some(Versions::All) {
        tracing::warn!(
            "the manifest lists versions: rows run in no order, so that of several versions of a \
             key any may end up as the current one"
        );
    }
    let rename = &job.read.rename;
    // What is removed and put back leaves every key as it is.
    let unrenamed = rename.prefix == rename.strip_prefix.as_deref().unwrap_or_default();
    if survey.bucket == job.destination_bucket && unrenamed {
        return Err(Failed::usage(
            "source and destination are the same bucket, and no prefix tells the copies from \
             their sources",
        )
        .hinted("give --to a prefix, or another bucket".to_owned()));
    }
    Ok(())
}

/// Looks at both buckets, as who copies.
pub(super) async fn establish(
    job: &JobSpec,
    survey: &Survey,
    reach: &Reach,
) -> Result<Access, Failed> {
    let connection = reach.connection().await?;
    over_https(&job.copy.object, &job.access, connection.s3_endpoint_url())?;
    let access = connection.job(&survey.bucket, &job.destination_bucket);
    let mut access = access.await?;
    let acl = job.verify.as_ref().and_then(|verify| verify.acl);
    if acl.is_some_and(CannedAcl::needs_bucket_owner) {
        let (bucket, retry) = (&job.destination_bucket, retry_options(&job.speed));
        access.bucket_owner = Some(owner::of_bucket(&access, bucket, retry).await?);
    }
    Ok(access)
}

/// The MFA code that who copies needs: as given, else asked for.
pub(super) async fn mfa_code_for(
    access: &AccessOptions,
    given: Option<&str>,
) -> Result<Option<MfaCode>, Failed> {
    mfa_code_of(mfa_serial(access).await?, given).await
}

/// The MFA code that a profile of its own needs. A code serves once: the given one is for who copies, if
/// that needs one.
pub(super) async fn mfa_code_of_profile(
    access: &AccessOptions,
    profile: &str,
    given: Option<&str>,
) -> Result<Option<MfaCode>, Failed> {
    let copier = mfa_serial(access).await?;
    let needed = s3haul_s3::mfa_serial_of(Some(profile)).boxed().await;
    let needed = needed.map_err(AccessError::from)?;
    mfa_code_of(needed, given.filter(|_| copier.is_none())).await
}

/// The device whose code who copies needs: that of the flag, else that of the profile.
async fn mfa_serial(access: &AccessOptions) -> Result<Option<String>, Failed> {
    let role = access.role.as_ref();
    if let Some(serial) = role.and_then(|role| role.mfa_serial.clone()) {
        return Ok(Some(serial));
    }
    let needed = s3haul_s3::mfa_serial_of(access.profile.as_deref())
        .boxed()
        .await;
    Ok(needed.map_err(AccessError::from)?)
}

/// The code of a device: as given, else asked for.
async fn mfa_code_of(
    needed: Option<String>,
    given: Option<&str>,
) -> Result<Option<MfaCode>, Failed> {
    let code = match (needed, given) {
        (Some(serial), None) => Some(blocking(move || ask_mfa_code(&serial)).await?),
        (_, code) => code.map(str::to_owned),
    };
    Ok(code.as_deref().map(MfaCode::new))
}

fn ask_mfa_code(serial: &str) -> Result<String, Failed> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failed::usage(format!(
            "the code of the MFA device {serial} is needed, and there is no terminal to ask on: \
             give --mfa-code"
        )));
    }
    let _ = write!(std::io::stderr(), "MFA code of {serial}: ");
    let mut code = String::new();
    stdin
        .read_line(&mut code)
        .map_err(|error| Failed::new(error, Exit::Usage))?;
    Ok(code.trim().to_owned())
}

/// The same command line again: goes on with the job, or says how it ended.
async fn again(
    new: NewJob,
    folder: JobFolder,
    reach: Reach,
    listening: Listening,
) -> Result<u8, Failed> {
    let path = folder.address();
    let mut file: JobFile = read_job(&folder).await?;
    same_job(&new.job, &file.job, &path)?;
    if let Some(expected) = &new.job.read.expected_e_tag
        && *expected != file.survey.e_tag
    {
        let found = &file.survey.e_tag;
        return Err(Failed::usage(format!(
            "{} is the report of another job: its manifest has the ETag {found}, and --manifest-etag asks \
             for {expected}",
            path.display()
        )));
    }
    if file.job.read.keep_bad_rows {
        let survey = file.survey.clone();
        blocking(move || spool::check_stdin(&survey)).await?;
    }
    let checkpoint = read_checkpoint(&folder, &file.begun()).await?;
    let manifest = &file.job.manifest;
    // A job that has ended needs its manifest no more, but one that has other rows now is another job,
    // of which nothing is copied: exit code 0 would say that it was. [`go_on`] looks at the others, but for
    // one that lies in the report.
    let local = !file.job.read.keep_bad_rows && manifest.exists();
    let ends = checkpoint.state == JobState::Complete;
    if ends && is_in_s3(manifest) || local && (ends || file.spooled) {
        let never = CancellationToken::new();
        let manifest = manifest_of(&new.job, Path::new(""), &reach, &never).await?;
        let survey = file.survey.clone();
        match blocking(move || manifest.check_unchanged(&survey)).await {
            Err(ManifestError::Object { source, .. }) => {
                tracing::warn!(%source, "the manifest of the job that has ended cannot be looked at");
            }
            looked => looked?,
        }
    }
    if let Some(code) = ended(&file, &checkpoint, &path, new.output)? {
        return Ok(code);
    }
    file.job = JobSpec {
        manifest: file.job.manifest.clone(),
        ..new.job
    };
    let job = OldJob {
        folder,
        reach,
        file,
        keys: new.keys,
        passes: Passes::InHand,
    };
    Box::pin(go_on(job, listening, new.show, new.output)).await
}

/// Prints the summary of a job that has ended; `None` for one that can go on.
fn ended(
    file: &JobFile,
    checkpoint: &Checkpoint,
    report: &Path,
    output: Output,
) -> Result<Option<u8>, Failed> {
    match checkpoint.state {
        JobState::Complete => {
            let summary = summary(file, checkpoint, report);
            print_result(output, &summary)?;
            Ok(Some(summary.exit_code))
        }
        JobState::Abandoned => Err(abandoned(report)),
        JobState::Running | JobState::Interrupted | JobState::Failed => Ok(None),
    }
}

pub(super) fn abandoned(report: &Path) -> Failed {
    Failed::usage(format!("the job of {} was abandoned", report.display()))
        .hinted("start a new one, with another --job-id".to_owned())
}

pub(super) fn summary(file: &JobFile, checkpoint: &Checkpoint, report: &Path) -> Summary {
    let report = report.display().to_string();
    let exit = file.job.run.failed_rows_exit;
    Summary {
        verified: file.job.verify.is_some(),
        ..Summary::new(&file.job_id, checkpoint, report, exit)
    }
}

/// A job whose report exists.
#[derive(Debug)]
pub(super) struct OldJob {
    pub(super) folder: JobFolder,
    pub(super) reach: Reach,
    pub(super) file: JobFile,
    pub(super) keys: CustomerKeys,
    pub(super) passes: Passes,
}

/// Goes on with a job from its report.
pub(super) async fn go_on(
    old: OldJob,
    mut listening: Listening,
    show: Show,
    output: Output,
) -> Result<u8, Failed> {
    let OldJob {
        folder,
        reach,
        file,
        keys,
        passes,
    } = old;
    enough_files(&file.job.speed)?;
    let opened = Box::pin(open(&folder, patience(&file.job, &listening)));
    let store = listening.unless_stopped(opened).await?;
    listening.keep_alive(&store, &file.job.run);
    let reached = Box::pin(reach_again(&folder, &reach, &file, keys, &listening)).await;
    let reached = match reached {
        Ok(reached) => reached,
        Err(failed) => {
            store.release().await;
            return Err(failed);
        }
    };
    let begun = file.begun();
    let report = blocking(move || Report::recover(store, &begun)).await?;
    let words = (show, output);
    Box::pin(run(
        file,
        reached,
        (folder, report),
        passes,
        listening,
        words,
    ))
    .await
}

/// What an old job reads and writes besides its report, as it was when the job began.
async fn reach_again(
    folder: &JobFolder,
    reach: &Reach,
    file: &JobFile,
    keys: CustomerKeys,
    listening: &Listening,
) -> Result<Reached, Failed> {
    let home = folder.home();
    let at = read_checkpoint(folder, &file.begun()).await?;
    let mut before = None;
    let mut manifest = file.job.manifest.as_path().into();
    // A later pass reads the report alone.
    if at.pass == 0 && !at.done.is_all_of(at.rows) {
        let drain = &listening.signals.drain;
        let found = async {
            match folder {
                JobFolder::Bucket(report) if file.spooled => {
                    let fetched = spool::fetch(report, file, drain).await?;
                    Ok(fetched.as_path().into())
                }
                _ => manifest_of(&file.job, &home.local.join(SPOOL), reach, drain).await,
            }
        };
        manifest = listening.unless_stopped(Box::pin(found)).await?;
        let unchanged = unchanged(manifest.clone(), file);
        listening.unless_stopped(unchanged).await?;
        let folder = match file.job.read.shard {
            None => Some(home.address.as_path()),
            Some(_) => home.address.parent(),
        };
        let indexing = previous::Indexing {
            job: file.job.clone(),
            bucket: file.survey.bucket.clone(),
            own: folder.unwrap_or(&home.address).to_owned(),
            index: previous::index_path(&file.job, &file.job_id, &home.local),
            stop: listening.signals.drain.clone(),
        };
        before = blocking(move || indexing.open_or_write()).await?;
    }
    let access = establish(&file.job, &file.survey, reach);
    let access = listening.unless_stopped(Box::pin(access)).await?;
    let versioned = Box::pin(check_versioned(file, &access));
    listening.unless_stopped(versioned).await?;
    Ok(Reached {
        manifest,
        access,
        keys,
        before,
    })
}

/// Whether a manifest is still the one that the job began with.
async fn unchanged(manifest: ManifestFile, file: &JobFile) -> Result<(), Failed> {
    let survey = file.survey.clone();
    Ok(blocking(move || manifest.check_unchanged(&survey)).await?)
}

/// Opens a job's report to write it, as the only one.
pub(super) async fn open(folder: &JobFolder, patience: Patience) -> Result<Store, Failed> {
    match folder {
        JobFolder::Bucket(folder) => {
            let bucket = Bucket::open(Arc::clone(folder), patience).await?;
            Ok(Store::Bucket(bucket))
        }
        JobFolder::Disk(path) => {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            let (Some(parent), Some(name)) = (path.parent(), name) else {
                return Err(Failed::usage(format!(
                    "{} is no job's folder",
                    path.display()
                )));
            };
            Ok(Store::Folder(Folder::open(parent, &name)?))
        }
    }
}

/// Runs the job and prints its summary.
async fn run(
    file: JobFile,
    Reached {
        manifest,
        access,
        keys,
        before,
    }: Reached,
    (folder, report): (JobFolder, Report),
    passes: Passes,
    listening: Listening,
    (show, output): (Show, Output),
) -> Result<u8, Failed> {
    let Listening {
        signals,
        mut services,
        _listener,
    } = listening;
    let progress = Arc::new(Progress::default());
    services.spawn(progress::show(show.progress, Arc::clone(&progress)));
    let metrics = show
        .metrics
        .map(|MetricsFormat::Emf| Arc::new(Metrics::new(&file, Arc::clone(&progress))));
    if let Some(metrics) = &metrics {
        services.spawn(Arc::clone(metrics).each_minute());
    }
    tracing::info!(
        job_id = file.job_id,
        shard = file.job.read.shard.map(tracing::field::display),
        rows = file.survey.rows,
        "the job runs"
    );
    let home = report.home();
    let path = home.address;
    let file_again = file.clone();
    let job = Job {
        file,
        manifest,
        copied_before: before,
        access,
        keys,
        report,
        passes,
        progress,
    };
    let ran = job::run(job, &signals).await;
    services.shutdown().await;
    if let Some(metrics) = metrics {
        // Nobody may read the log any more.
        let _ = tokio::time::timeout(LAST_LINE, metrics.write()).await;
    }
    let (report, cause) = match ran {
        Ok(ran) => ran,
        Err(error) => {
            let begun = file_again.begun();
            let read = tokio::time::timeout(LAST_LOOK, read_state(&folder, &begun));
            if let Ok(Ok(checkpoint)) = read.await {
                print_result(output, &summary(&file_again, &checkpoint, &path))?;
            }
            return Err(error.into());
        }
    };
    let summary = summary(&file_again, report.checkpoint(), &path);
    if summary.state == JobState::Complete {
        previous::remove(&file_again, &home.local);
    }
    tracing::info!(
        job_id = summary.job_id,
        exit_code = summary.exit_code,
        "the job has stopped"
    );
    print_result(output, &summary)?;
    if let Some(cause) = &cause {
        print_cause(cause, &path.display().to_string());
    } else if summary.failed > 0 {
        let report = path.display();
        let hint = if file_again.job.verify.is_some() {
            let here = if is_in_s3(&path) {
                "its manifest.json, downloaded with results/ beside it,".to_owned()
            } else {
                format!("{report}/manifest.json,")
            };
            format!(
                "copy the failed rows with: s3haul copy --manifest {here} then verify them again with: \
                 s3haul resume {report}"
            )
        } else {
            format!("try the failed rows again with: s3haul resume {report}")
        };
        log::say(&format!("hint: {hint}"));
    }
    debug_assert!(cause != Some(Cause::Signal) || summary.exit_code == Exit::Stopped as u8);
    Ok(summary.exit_code)
}

/// Signals, listened to from before the first thing that takes time.
pub(super) struct Listening {
    pub(super) signals: StopSignals,
    pub(super) services: JoinSet<()>,
    /// Listens until the process ends, whatever else does.
    _listener: JoinSet<()>,
}

impl Listening {
    pub(super) fn start() -> Self {
        let signals = StopSignals::default();
        let mut listener = JoinSet::new();
        // Asked for here: from now on no signal ends the process by itself.
        let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
        if let [Ok(interrupt), Ok(terminate)] = kinds.map(signal) {
            listener.spawn(stop_on_signals(interrupt, terminate, signals.clone()));
        }
        // A file that grows past the limit of this process (ulimit -f) is then an error like a full disk,
        // and not the end without a word.
        let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
        Self {
            signals,
            services: JoinSet::new(),
            _listener: listener,
        }
    }

    /// From now on whoever else comes is told that this process is at work on the report.
    ///
    /// A signal ends what is under way at the latest when the drain has taken too long.
    pub(super) fn keep_alive(&mut self, store: &Store, run: &RunOptions) {
        self.services.spawn(store.keep_alive(&self.signals));
        let drain_timeout = Duration::from_millis(run.drain_timeout_ms);
        let deadline = job::deadline(self.signals.clone(), drain_timeout);
        self.services.spawn(deadline);
    }

    /// Does what comes before the job, unless a signal comes first.
    pub(super) async fn unless_stopped<T>(
        &self,
        preparation: impl Future<Output = Result<T, Failed>>,
    ) -> Result<T, Failed> {
        let drain = &self.signals.drain;
        match drain.run_until_cancelled(preparation).await {
            // What a signal has cut short fails in its own words first.
            Some(done) if done.is_ok() || !drain.is_cancelled() => done,
            _ => {
                let stopped = std::io::Error::other("stopped by a signal before the first request");
                Err(Failed::new(stopped, Exit::Stopped))
            }
        }
    }
}

/// The first SIGINT or SIGTERM drains the job, a second ends the process at once.
async fn stop_on_signals(mut interrupt: Signal, mut terminate: Signal, signals: StopSignals) {
    for first in [true, false] {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if first {
            let words = "stopping: what is in flight ends first; once more to stop at once";
            log::say(words);
            signals.drain.cancel();
        }
    }
    // What is durable is in the report; the rest counts as not run.
    std::process::exit(i32::from(Exit::Stopped as u8));
}
