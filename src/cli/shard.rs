//! Which part of a job this process is: as it is told, or by what the engine says that runs many of it.

use std::path::Path;

use clap::Args;

use super::attempt::{self, NewJob};
use super::exit::Failed;
use super::reach::Reach;
use crate::job::report::passes::JOB;
use crate::job::report::read_job;
use crate::job::report::store::JobFolder;
use crate::job::shard::{MAX_SHARDS, Shard};
use crate::job::spec::JobFile;

/// The flags that make a process one of several.
#[derive(Debug, Args)]
#[command(next_help_heading = "Running")]
pub(super) struct ShardArgs {
    /// Only the I-th of N parts of the manifest, from 0/N to N-1/N: all are one job, of one --job-id
    #[arg(long, env = "S3HAUL_SHARD", value_name = "I/N")]
    shard: Option<Shard>,
    /// The same, with the index of this process in an array of AWS Batch, Kubernetes or Slurm
    #[arg(long, env = "S3HAUL_SHARDS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SHARDS)))]
    shards: Option<u32>,
}

/// What an engine tells a process of an array.
struct Engine {
    index: &'static str,
    /// What the index begins at, where that is not 0.
    first: Option<&'static str>,
    /// How many processes there are, where it says so.
    size: Option<&'static str>,
}

const ENGINES: [Engine; 3] = [
    // https://docs.aws.amazon.com/batch/latest/userguide/job_env_vars.html
    Engine {
        index: "AWS_BATCH_JOB_ARRAY_INDEX",
        first: None,
        size: Some("AWS_BATCH_JOB_ARRAY_SIZE"),
    },
    // https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode
    Engine {
        index: "JOB_COMPLETION_INDEX",
        first: None,
        size: None,
    },
    // https://slurm.schedmd.com/job_array.html
    Engine {
        index: "SLURM_ARRAY_TASK_ID",
        first: Some("SLURM_ARRAY_TASK_MIN"),
        size: Some("SLURM_ARRAY_TASK_COUNT"),
    },
];

impl ShardArgs {
    /// The shard that this process is, if it is one. `manifest` is what it reads.
    pub(super) fn shard(&self, manifest: &Path) -> Result<Option<Shard>, Failed> {
        let (flag, shard) = match (self.shard, self.shards) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                return Err(Failed::usage(
                    "--shard and --shards (or S3HAUL_SHARD and S3HAUL_SHARDS) say the same thing: give one \
                     of them",
                ));
            }
            (Some(shard), None) => ("--shard", shard),
            (None, Some(of)) => ("--shards", of_environment(of)?),
        };
        if manifest.as_os_str() == "-" {
            return Err(Failed::usage(format!(
                "{flag} reads its part of a manifest that all shards read: give it a file or an address in \
                 S3, not -"
            )));
        }
        Ok(Some(shard))
    }
}

/// The shard of `of` that the environment says this process is.
fn of_environment(of: u32) -> Result<Shard, Failed> {
    let mut found: Option<(&str, Shard)> = None;
    for engine in &ENGINES {
        let Some(shard) = engine.shard(of)? else {
            continue;
        };
        match found {
            Some((variable, other)) if other != shard => {
                return Err(Failed::usage(format!(
                    "--shards {of}: by {variable} this is shard {other}, by {} shard {shard}",
                    engine.index
                ))
                .hinted("give --shard I/N".to_owned()));
            }
            _ => found = Some((engine.index, shard)),
        }
    }
    found.map(|(_, shard)| shard).ok_or_else(|| {
        let names = ENGINES.map(|engine| engine.index).join(", ");
        Failed::usage(format!(
            "--shards {of} takes this process's index from {names}, and none of them is set"
        ))
        .hinted("give --shard I/N where no engine counts, from 0/N to N-1/N".to_owned())
    })
}

impl Engine {
    fn shard(&self, of: u32) -> Result<Option<Shard>, Failed> {
        let Some(index) = number(self.index)? else {
            return Ok(None);
        };
        if let Some(variable) = self.size
            && let Some(size) = number(variable)?
            && size != of
        {
            return Err(Failed::usage(format!(
                "--shards {of}: by {variable} there are {size} of these processes"
            ))
            .hinted(
                "an array has as many processes as there are shards; to run some of them again alone, \
                 give each --shard I/N and the --job-id of the first time"
                    .to_owned(),
            ));
        }
        let first = self.first.map(number).transpose()?.flatten();
        let index = index.checked_sub(first.unwrap_or(0)).ok_or_else(|| {
            let (variable, least) = (self.index, self.first.unwrap_or_default());
            Failed::usage(format!("{variable} is less than {least}"))
        })?;
        let variable = self.index;
        Shard::new(index, of)
            .map(Some)
            .map_err(|why| Failed::usage(format!("--shards {of}, with {variable}: {why}")))
    }
}

/// What a variable says, unless it is not set or empty.
fn number(variable: &str) -> Result<Option<u32>, Failed> {
    let Some(text) = std::env::var_os(variable).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let text = text.to_string_lossy();
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(Failed::usage(format!("{variable} is {text:?}, no number"))),
    }
}

/// Refuses a job, or a shard of one, where another one of its ID lies: of another number of shards, or
/// with another command line. Nothing is written yet. Gives a shard of the same job that has begun.
pub(super) async fn refuse_others(
    new: &NewJob,
    folder: &JobFolder,
    reach: &Reach,
) -> Result<Option<JobFile>, Failed> {
    let (shard, path) = (new.job.read.shard, new.folder());
    let job = if shard.is_some() {
        reach.job_folder(&path, None).await?
    } else {
        folder.clone()
    };
    let whole = shard.is_some() && job.read(JOB).await?.is_some();
    let found = job.first_shard().await?;
    let number = |shard: Option<Shard>| match shard {
        None => "of no shards".to_owned(),
        Some(Shard { of, .. }) => format!("of {of} shards"),
    };
    let of = |shard: Option<Shard>| shard.map(|shard| shard.of);
    if whole || found.is_some() && of(found) != of(shard) {
        return Err(Failed::usage(format!(
            "{} is the report of a job {}, and this is one {}",
            path.display(),
            number(found),
            number(shard)
        ))
        .hinted("give this job another --job-id, or all its shards the same number".to_owned()));
    }
    let Some(found) = found else {
        return Ok(None);
    };
    let other = job.within(&found.folder_name());
    let file: JobFile = read_job(&other).await?;
    let mut same = file.job.clone();
    same.read.shard = shard;
    attempt::same_job(&new.job, &same, &other.address())?;
    Ok(Some(file))
}

/// Refuses a manifest that is not the one that another shard was dealt its part of.
pub(super) fn same_manifest(file: &JobFile, other: Option<&JobFile>) -> Result<(), Failed> {
    let Some(other) = other.filter(|other| other.survey.e_tag != file.survey.e_tag) else {
        return Ok(());
    };
    let shard = other.job.read.shard.map(Shard::folder_name);
    Err(Failed::usage(format!(
        "the manifest {} has the ETag {}, and {} is of the one with the ETag {}: it was written over",
        file.job.manifest.display(),
        file.survey.e_tag,
        shard.unwrap_or_default(),
        other.survey.e_tag
    ))
    .hinted(
        "put back the manifest that the job began with, or begin again with another --job-id: part of one \
         and part of the other would leave rows out"
            .to_owned(),
    ))
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
