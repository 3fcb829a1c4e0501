//! Which part of a job this process is: as it is told, or by what the engine says that runs many of it.

use clap::Args;

use super::exit::Failed;
use crate::job::shard::{MAX_SHARDS, Shard};

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
    pub(super) fn shard(&self, manifest: &std::path::Path) -> Result<Option<Shard>, Failed> {
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
