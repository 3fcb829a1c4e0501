//! Who works, found out once: whatever of a command lies in S3 (manifest, report, buckets) is reached so.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use futures::FutureExt;
use s3haul_s3::MfaCode;
use tempfile::TempDir;
use tokio::sync::{Mutex, OnceCell};
use tokio_util::sync::CancellationToken;

use super::attempt::{mfa_code_for, mfa_code_of_profile};
use super::exit::Failed;
use super::flags::{AgainArgs, REQUESTS_PER_SECOND, SpeedArgs};
use super::values::{self, Location, location};
use crate::job::access::{AccessError, AccessOptions, Base, Connection, Owner, Role};
use crate::job::manifest::ManifestFile;
use crate::job::report::passes::JOB;
use crate::job::report::read_job;
use crate::job::report::store::JobFolder;
use crate::job::report::store::bucket::BucketFolder;
use crate::job::shard::{Shard, session_name};
use crate::job::spec::{JobFile, JobSpec, SpeedOptions};
use crate::job::{max_concurrency, retry_options};

/// How a report in S3 is reached before its `job.json` can be read, which says it too.
#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
pub(super) struct ReachArgs {
    /// The job's role, if it takes that to read its report in S3 (else: the base identity)
    #[arg(long, env = "S3HAUL_ROLE_ARN", value_name = "ARN", value_parser = values::role_arn)]
    role_arn: Option<String>,
    /// The external ID that the role's trust policy asks for
    #[arg(
        long,
        env = "S3HAUL_EXTERNAL_ID",
        value_name = "ID",
        requires = "role_arn"
    )]
    external_id: Option<String>,
    /// The MFA device of the base identity
    #[arg(
        long,
        env = "S3HAUL_MFA_SERIAL",
        value_name = "ARN",
        requires = "role_arn"
    )]
    mfa_serial: Option<String>,
    /// Profile that reads and writes a report in S3 [default: as the job was given]
    #[arg(long, env = "S3HAUL_REPORT_PROFILE", value_name = "NAME")]
    report_profile: Option<String>,
    /// Expected owner of the report's bucket [default: as the job was given]
    #[arg(long, env = "S3HAUL_REPORT_ACCOUNT", value_name = "ID", value_parser = values::account)]
    report_account: Option<String>,
    /// The job's region
    #[arg(long, env = "S3HAUL_REGION", value_name = "REGION")]
    region: Option<String>,
    /// The job's endpoint of S3, and of STS
    #[arg(long, env = "S3HAUL_ENDPOINT_URL", value_name = "URL", value_parser = values::endpoint_url)]
    endpoint_url: Option<String>,
    /// The job's endpoint of STS
    #[arg(long, env = "S3HAUL_STS_ENDPOINT_URL", value_name = "URL", value_parser = values::endpoint_url)]
    sts_endpoint_url: Option<String>,
    /// Buckets go in the path, not in the host name
    #[arg(long, env = "S3HAUL_FORCE_PATH_STYLE", value_parser = clap::builder::BoolishValueParser::new())]
    force_path_style: bool,
}

impl ReachArgs {
    /// Who is to read the report at `given`.
    pub(super) fn options(&self, given: &Path, profile: Option<String>) -> AccessOptions {
        // The session that the job has, so that one code of an MFA device does for both.
        let name = |path: &Path| {
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        let shard = Shard::of_folder(&name(given));
        let job = match shard {
            Some(_) => given.parent().map(name).unwrap_or_default(),
            None => name(given),
        };
        let job_id = job.strip_prefix("job-").unwrap_or("report");
        AccessOptions {
            profile,
            manifest_profile: None,
            report_profile: self.report_profile.clone(),
            report_account: self.report_account.clone(),
            role: self.role_arn.clone().map(|role_arn| Role {
                role_arn,
                external_id: self.external_id.clone(),
                session_name: session_name(job_id, shard),
                duration_seconds: 3600,
                mfa_serial: self.mfa_serial.clone(),
            }),
            source_account: None,
            destination_account: Owner::OfRole,
            region: self.region.clone(),
            source_region: None,
            endpoint_url: self.endpoint_url.clone(),
            source_endpoint_url: None,
            sts_endpoint_url: self.sts_endpoint_url.clone(),
            force_path_style: self.force_path_style,
        }
    }

    /// Finds the job at `given`: its folder, who works on it, and the job itself with what is given again.
    pub(super) async fn find(
        &self,
        given: &Path,
        again: &AgainArgs,
        speed: &SpeedArgs,
        work_dir: Option<&Path>,
    ) -> Result<(JobFolder, Reach, JobFile), Failed> {
        let access = self.options(given, again.profile.clone());
        let options = speed.options(REQUESTS_PER_SECOND);
        let reach = Reach::new(&access, &options, again.mfa_code.clone());
        let folder = Box::pin(reach.find_job(given, work_dir)).await?;
        let mut file: JobFile = read_job(&folder).await?;
        again.apply(&mut file.job);
        speed.apply(&mut file.job.speed);
        self.apply(&mut file.job)?;
        let reach = reach.for_job(&file.job);
        // Whoever reads the report is not always who writes it.
        let folder = match folder {
            JobFolder::Bucket(found) => {
                // The one that the job has may be another machine's.
                let of_job = file.job.run.work_dir.as_deref();
                let work_dir = work_dir.or(of_job.filter(|folder| folder.is_dir()));
                reach.job_folder(&found.address(), work_dir).await?
            }
            folder @ JobFolder::Disk(_) => folder,
        };
        Ok((folder, reach, file))
    }

    /// Changes what may be another thing than when the job began, and refuses what may not.
    pub(super) fn apply(&self, job: &mut JobSpec) -> Result<(), Failed> {
        let access = &mut job.access;
        if self.report_profile.is_some() {
            access.report_profile.clone_from(&self.report_profile);
        }
        if self.report_account.is_some() {
            access.report_account.clone_from(&self.report_account);
        }
        let role = access.role.as_ref();
        let other =
            |given: &Option<String>, was: Option<&String>| given.is_some() && given.as_ref() != was;
        let others: Vec<_> = [
            (
                "--role-arn",
                other(&self.role_arn, role.map(|r| &r.role_arn)),
            ),
            (
                "--external-id",
                other(&self.external_id, role.and_then(|r| r.external_id.as_ref())),
            ),
            (
                "--mfa-serial",
                other(&self.mfa_serial, role.and_then(|r| r.mfa_serial.as_ref())),
            ),
            ("--region", other(&self.region, access.region.as_ref())),
            (
                "--endpoint-url",
                other(&self.endpoint_url, access.endpoint_url.as_ref()),
            ),
            (
                "--sts-endpoint-url",
                other(&self.sts_endpoint_url, access.sts_endpoint_url.as_ref()),
            ),
            (
                "--force-path-style",
                self.force_path_style && !access.force_path_style,
            ),
        ]
        .into_iter()
        .filter_map(|(flag, other)| other.then_some(flag))
        .collect();
        if others.is_empty() {
            return Ok(());
        }
        Err(Failed::usage(format!(
            "the job was begun with other values of {}",
            others.join(", ")
        ))
        .hinted(
            "they are the job's own, and say here how its report is reached: give them as the job was \
             given them, or not"
                .to_owned(),
        ))
    }
}

/// Whoever works, once somebody has asked.
#[derive(Debug)]
pub(super) struct Reach {
    access: AccessOptions,
    speed: SpeedOptions,
    mfa_code: Option<String>,
    connection: OnceCell<Connection>,
    /// Profiles of their own, for manifest and report: a code of an MFA device serves once.
    profiles: Arc<Mutex<HashMap<String, Connection>>>,
}

impl Reach {
    pub(super) fn new(
        access: &AccessOptions,
        speed: &SpeedOptions,
        mfa_code: Option<String>,
    ) -> Self {
        Self {
            access: access.clone(),
            speed: *speed,
            mfa_code,
            connection: OnceCell::new(),
            profiles: Arc::default(),
        }
    }

    /// The same for a job that was found: who it takes may be who found it.
    pub(super) fn for_job(self, job: &JobSpec) -> Self {
        let (a, b) = (&self.access, &job.access);
        let same = (&a.profile, &a.role, &a.region) == (&b.profile, &b.role, &b.region)
            && (&a.endpoint_url, &a.sts_endpoint_url) == (&b.endpoint_url, &b.sts_endpoint_url);
        let found = self.connection.into_inner().filter(|_| same);
        Self {
            connection: OnceCell::new_with(found.map(|found| found.with_options(b))),
            profiles: self.profiles,
            ..Self::new(&job.access, &job.speed, self.mfa_code)
        }
    }

    /// Becomes who copies, and asks for the MFA code where one is needed and none was given.
    pub(super) async fn connection(&self) -> Result<Connection, Failed> {
        // Its type is erased: what the SDK's requests are made of nests deeper than the compiler goes.
        let begin = || self.begin().boxed_local();
        self.connection.get_or_try_init(begin).await.cloned()
    }

    async fn begin(&self) -> Result<Connection, Failed> {
        let base = self.base().await??;
        Ok(Connection::of_base(base).await?)
    }

    /// Who it is before any role; for who tells the steps apart.
    pub(super) async fn base(&self) -> Result<Result<Base, AccessError>, Failed> {
        let code: Option<MfaCode> = mfa_code_for(&self.access, self.mfa_code.as_deref()).await?;
        let connections = max_concurrency(&self.speed) as usize;
        let retry = retry_options(&self.speed);
        Ok(Base::find(&self.access, code, connections, retry).await)
    }

    /// Becomes who copies, from there.
    pub(super) async fn of_base(&self, base: Base) -> Result<Connection, AccessError> {
        let begin = || Connection::of_base(base).boxed_local();
        self.connection.get_or_try_init(begin).await.cloned()
    }

    /// Who writes the report.
    pub(super) async fn report(&self) -> Result<Connection, Failed> {
        self.of_profile(self.access.report_profile.as_ref()).await
    }

    async fn of_profile(&self, profile: Option<&String>) -> Result<Connection, Failed> {
        let Some(profile) = profile else {
            return self.connection().await;
        };
        let mut profiles = self.profiles.lock().await;
        if let Some(known) = profiles.get(profile) {
            return Ok(known.clone().with_options(&self.access));
        }
        let code = mfa_code_of_profile(&self.access, profile, self.mfa_code.as_deref()).await?;
        let retry = retry_options(&self.speed);
        let connection = Connection::of_profile(&self.access, profile, code, retry).await?;
        profiles.insert(profile.clone(), connection.clone());
        Ok(connection)
    }

    /// A manifest in S3, by its address.
    pub(super) async fn manifest(
        &self,
        address: &Path,
        stop: &CancellationToken,
    ) -> Result<ManifestFile, Failed> {
        let Location { bucket, prefix } =
            location(&address.to_string_lossy()).map_err(Failed::usage)?;
        let reader = self
            .of_profile(self.access.manifest_profile.as_ref())
            .await?;
        Ok(ManifestFile::Object {
            connection: Box::new(reader),
            bucket,
            key: prefix,
            stop: stop.clone(),
        })
    }

    /// The folder of a job by its address, whether it is there or not.
    pub(super) async fn job_folder(
        &self,
        address: &Path,
        work_dir: Option<&Path>,
    ) -> Result<JobFolder, Failed> {
        if !is_in_s3(address) {
            return Ok(JobFolder::Disk(address.to_owned()));
        }
        let Location { bucket, prefix } = report_location(address)?;
        let connection = self.report().await?;
        let owner = self.access.report_account.as_deref();
        let local = local(work_dir).map_err(|error| {
            Failed::usage(format!("cannot make a temporary folder: {error}")).hinted(
                "TMPDIR names another place, and so does --work-dir where it is taken".to_owned(),
            )
        })?;
        let (place, retry) = (
            (bucket.as_str(), prefix.as_str()),
            retry_options(&self.speed),
        );
        let folder = BucketFolder::find(connection, place, owner, retry, local).await?;
        Ok(JobFolder::Bucket(Arc::new(folder)))
    }

    /// The folder of the job that is given, or of the one job in it.
    pub(super) async fn find_job(
        &self,
        given: &Path,
        work_dir: Option<&Path>,
    ) -> Result<JobFolder, Failed> {
        no_other_scheme(given)?;
        if !is_in_s3(given) {
            return super::resume::job_folder(given).map(JobFolder::Disk);
        }
        let folder = self.job_folder(given, work_dir).await?;
        let JobFolder::Bucket(bucket) = &folder else {
            return Ok(folder);
        };
        let name = given.file_name().unwrap_or_default().to_string_lossy();
        let is_job = name.starts_with("job-") || Shard::of_folder(&name).is_some();
        if is_job && folder.read(JOB).await?.is_some() {
            return Ok(folder);
        }
        if let Some(shard) = folder.first_shard().await? {
            return Err(is_array(given, shard));
        }
        let jobs = bucket.jobs().await?;
        let jobs = jobs.into_iter().map(|name| given.join(name)).collect();
        let folder = self.job_folder(&one_of(given, jobs)?, work_dir).await?;
        if folder.read(JOB).await?.is_none()
            && let Some(shard) = folder.first_shard().await?
        {
            return Err(is_array(&folder.address(), shard));
        }
        Ok(folder)
    }
}

/// What a job of several shards is not: one report, which one process finishes.
pub(super) fn is_array(job: &Path, shard: Shard) -> Failed {
    let (of, job) = (shard.of, job.display());
    let name = |index| Shard { index, of }.folder_name();
    Failed::usage(format!(
        "{job} is of a job of {of} shards, each with a report of its own: {} to {}",
        name(0),
        name(of - 1)
    ))
    .hinted(format!(
        "run the command of each shard that has not ended again, and it goes on; or name one of them, as \
         {job}/{}",
        shard.folder_name()
    ))
}

/// The one job of a report.
pub(super) fn one_of(report: &Path, mut jobs: Vec<PathBuf>) -> Result<PathBuf, Failed> {
    jobs.sort();
    match jobs.len() {
        0 => Err(Failed::usage(format!("{} holds no job", report.display()))),
        1 => Ok(jobs.swap_remove(0)),
        _ => {
            let names: Vec<_> = jobs.iter().map(|job| job.display().to_string()).collect();
            Err(
                Failed::usage(format!("{} holds several jobs", report.display()))
                    .hinted(format!("name one of them:\n  {}", names.join("\n  "))),
            )
        }
    }
}

pub(super) fn is_in_s3(address: &Path) -> bool {
    address.starts_with("s3://")
}

/// Refuses what looks like an address and is none: it would be a folder here.
pub(super) fn no_other_scheme(address: &Path) -> Result<(), Failed> {
    let text = address.to_string_lossy();
    if text.contains("://") && !text.starts_with("s3://") {
        return Err(Failed::usage(format!(
            "the report {text} is neither a folder nor s3://BUCKET/PREFIX"
        )));
    }
    Ok(())
}

/// The bucket, and what keys below an address begin with.
pub(super) fn report_location(address: &Path) -> Result<Location, Failed> {
    let text = address.to_string_lossy();
    let mut location =
        location(&text).map_err(|why| Failed::usage(format!("the report {text}: {why}")))?;
    if !location.prefix.is_empty() && !location.prefix.ends_with('/') {
        location.prefix.push('/');
    }
    Ok(location)
}

/// Where a job with its report in S3 keeps what only this machine needs.
fn local(work_dir: Option<&Path>) -> std::io::Result<TempDir> {
    let mut named = tempfile::Builder::new();
    let named = named.prefix("s3haul-");
    let folder = match work_dir {
        Some(work_dir) => named.tempdir_in(work_dir),
        None => named.tempdir(),
    }?;
    std::fs::create_dir(folder.path().join("work"))?;
    Ok(folder)
}
