//! Finds a report by what is given: a job's, or that of an array.

use std::path::{Path, PathBuf};

use super::ReportArgs;
use crate::cli::exit::{Exit, Failed};
use crate::cli::flags::{REQUESTS_PER_SECOND, SpeedArgs};
use crate::cli::reach::{Reach, is_in_s3, no_other_scheme, one_of};
use crate::job::report::array::{self, Array, ArrayError};
use crate::job::report::passes::JOB;
use crate::job::report::read_job;
use crate::job::report::store::JobFolder;
use crate::job::shard::{Shard, session_name};
use crate::job::spec::JobFile;

/// What lies where a report was looked for.
#[derive(Debug)]
pub(super) enum Found {
    /// The report of one job.
    Job(JobFolder, Box<JobFile>),
    /// The reports of an array's shards.
    Array(Box<Array>),
}

/// Finds the report that a command was given.
pub(super) async fn find(args: &ReportArgs) -> Result<Found, Failed> {
    no_other_scheme(&args.report)?;
    let access = args.reach.options(&args.report, args.again.profile.clone());
    let options = SpeedArgs::default().options(REQUESTS_PER_SECOND);
    let reach = Reach::new(&access, &options, args.again.mfa_code.clone());
    let (folder, shards) = Box::pin(folder(&args.report, &reach)).await?;
    let mut file: JobFile = match &shards[..] {
        [] => read_job(&folder).await?,
        shards => array::first_job(&folder, shards).await?,
    };
    args.again.apply(&mut file.job);
    args.reach.apply(&mut file.job)?;
    // Whoever reads the report is not always who writes it.
    let folder = match folder {
        JobFolder::Bucket(found) => {
            let (mut job, own) = (file.job.clone(), file.own_session());
            if let Some(role) = job
                .access
                .role
                .as_mut()
                .filter(|_| own && !shards.is_empty())
            {
                // Each shard has a session of its own; whoever looks at all of them has that of the job.
                role.session_name = session_name(&file.job_id, None);
            }
            let reach = reach.for_job(&job);
            reach.job_folder(&found.address(), None).await?
        }
        folder @ JobFolder::Disk(_) => folder,
    };
    if shards.is_empty() {
        return Ok(Found::Job(folder, Box::new(file)));
    }
    let array = Array::read(folder, shards, file).await?;
    Ok(Found::Array(Box::new(array)))
}

/// The folder of the job that is given, or of the one job in it, and the shards that it has.
async fn folder(given: &Path, reach: &Reach) -> Result<(JobFolder, Vec<Shard>), Failed> {
    let folder = open(given, reach).await?;
    if let Some(shards) = look(&folder).await? {
        return Ok((folder, shards));
    }
    let mut jobs = Vec::new();
    for name in folder.folders("job-").await? {
        if look(&folder.within(&name)).await?.is_some() {
            jobs.push(given.join(name));
        }
    }
    let folder = open(&one_of(given, jobs)?, reach).await?;
    let shards = look(&folder).await?;
    Ok((folder, shards.unwrap_or_default()))
}

async fn open(given: &Path, reach: &Reach) -> Result<JobFolder, Failed> {
    if is_in_s3(given) {
        return reach.job_folder(given, None).await;
    }
    // A folder's name is needed, which `.` does not tell.
    let path: PathBuf = std::fs::canonicalize(given).map_err(|error| {
        Failed::usage(format!(
            "cannot read the report {}: {error}",
            given.display()
        ))
    })?;
    Ok(JobFolder::Disk(path))
}

/// The shards that a job's folder has, none where the job is no array; nothing where it is no job's folder.
async fn look(folder: &JobFolder) -> Result<Option<Vec<Shard>>, Failed> {
    if folder.read(JOB).await?.is_some() {
        return Ok(Some(Vec::new()));
    }
    let shards = array::shards(folder).await?;
    Ok(Some(shards).filter(|shards| !shards.is_empty()))
}

impl From<ArrayError> for Failed {
    fn from(error: ArrayError) -> Self {
        match error {
            ArrayError::Report(error) => error.into(),
            ArrayError::Several { .. } => Self::new(error, Exit::Usage).hinted(
                "all shards of a job are given the same number of shards: give another number \
                 another --job-id"
                    .to_owned(),
            ),
            ArrayError::Other { .. } => Self::new(error, Exit::Usage).hinted(
                "what is one job is copied by shards of one command line and one manifest: copy again, with \
                 --overwrite if-different and another --job-id"
                    .to_owned(),
            ),
            ArrayError::None { .. } => Self::new(error, Exit::Usage),
        }
    }
}
