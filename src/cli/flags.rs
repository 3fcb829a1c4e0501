//! Flags that commands share, grouped as `help` groups them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::exit::Failed;
use super::log::{self, LogFormat, LogLevel};
use super::metrics::MetricsFormat;
use super::progress::ProgressMode;
use super::reach::{is_in_s3, no_other_scheme, report_location};
use super::{Output, attempt, container, values};
use crate::job::access::AccessOptions;
use crate::job::report::ReportScope;
use crate::job::shard::Shard;
use crate::job::spec::{JobSpec, RunOptions, SpeedOptions};

/// Requests a second that leave room for a bucket's other users: S3 promises 3,500 writes a second
/// for each prefix.
pub(super) const REQUESTS_PER_SECOND: u32 = 3_000;
/// The same where each takes requests to KMS, whose quota all that is in an account and a region shares.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/specifying-kms-encryption.html>
pub(super) const KMS_REQUESTS_PER_SECOND: u32 = 1_000;

/// Speed of a job. Each can be given again to a resume.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Speed")]
pub(super) struct SpeedArgs {
    /// Requests in flight: a number, or auto (adaptive: from 16, up to 256)
    #[arg(long, env = "S3HAUL_CONCURRENCY", value_name = "N|auto", value_parser = concurrency)]
    concurrency: Option<Number>,
    /// Requests a second, for the whole job: a shard takes its share [default: 3000; 1000 for copies with SSE-KMS and no bucket key]
    #[arg(long, env = "S3HAUL_MAX_RPS", value_name = "N|none", value_parser = max_rps)]
    max_rps: Option<Number>,
    /// Attempts of a request [default: 10]
    #[arg(long, env = "S3HAUL_MAX_ATTEMPTS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_attempts: Option<u32>,
    /// Longest time for one attempt [default: by operation and size]
    #[arg(long, env = "S3HAUL_ATTEMPT_TIMEOUT", value_name = "DUR", value_parser = values::timeout)]
    attempt_timeout: Option<Duration>,
}

/// A number, or the word for its lack. Its own type, since clap reads `Option<Option<_>>` otherwise.
#[derive(Debug, Clone, Copy)]
struct Number(Option<u32>);

fn concurrency(text: &str) -> Result<Number, String> {
    values::number_or("auto", text).map(Number)
}

fn max_rps(text: &str) -> Result<Number, String> {
    values::number_or("none", text).map(Number)
}

impl SpeedArgs {
    /// `requests_per_second` is for where the flags name none.
    pub(super) fn options(&self, requests_per_second: u32) -> SpeedOptions {
        let mut speed = SpeedOptions {
            concurrency: None,
            requests_per_second: Some(requests_per_second),
            max_attempts: 10,
            attempt_timeout_ms: None,
        };
        self.apply(&mut speed);
        speed
    }

    /// Changes what was given.
    pub(super) fn apply(&self, speed: &mut SpeedOptions) {
        if let Some(Number(concurrency)) = self.concurrency {
            speed.concurrency = concurrency;
        }
        if let Some(Number(requests)) = self.max_rps {
            speed.requests_per_second = requests;
        }
        if let Some(attempts) = self.max_attempts {
            speed.max_attempts = attempts;
        }
        if let Some(timeout) = self.attempt_timeout {
            speed.attempt_timeout_ms = Some(values::milliseconds(timeout));
        }
    }
}

/// How a job runs. Each can be given again to a resume.
#[derive(Debug, Args)]
#[command(next_help_heading = "Running")]
pub(super) struct RunArgs {
    /// Time for what is in flight after the first SIGINT or SIGTERM [default: 20s]
    #[arg(long, env = "S3HAUL_DRAIN_TIMEOUT", value_name = "DUR", value_parser = values::duration)]
    drain_timeout: Option<Duration>,
    /// Exit code of a job that ran to its end with failed rows [default: 1]
    #[arg(long, env = "S3HAUL_FAILED_ROWS_EXIT", value_name = "0|1", value_parser = clap::value_parser!(u8).range(0..=1))]
    failed_rows_exit: Option<u8>,
    /// How progress is shown on stderr
    #[arg(long, env = "S3HAUL_PROGRESS", value_enum, default_value_t = ProgressMode::Auto)]
    progress: ProgressMode,
    /// Metrics of the job on stderr, each minute and at its end, in CloudWatch's Embedded Metric Format
    #[arg(long, env = "S3HAUL_METRICS", value_enum)]
    metrics: Option<MetricsFormat>,
    #[command(flatten)]
    pub(super) words: WordsArgs,
}

/// What is seen of a running job on stderr.
#[derive(Debug, Clone, Copy)]
pub(super) struct Show {
    pub(super) progress: ProgressMode,
    pub(super) metrics: Option<MetricsFormat>,
}

impl RunArgs {
    /// Changes what was given.
    pub(super) fn apply(&self, run: &mut RunOptions) {
        if let Some(timeout) = self.drain_timeout {
            run.drain_timeout_ms = values::milliseconds(timeout);
        }
        if let Some(code) = self.failed_rows_exit {
            run.failed_rows_exit = code;
        }
    }

    pub(super) fn show(&self) -> Show {
        Show {
            progress: self.progress,
            metrics: self.metrics,
        }
    }
}

/// Where a job has room. It can be given again to a resume.
#[derive(Debug, Args)]
#[command(next_help_heading = "Running")]
pub(super) struct WorkArgs {
    /// Where --versions all and --previous-report sort on disk [default: the job's own folder; a temporary one
    /// for a report in S3]
    #[arg(long, env = "S3HAUL_WORK_DIR", value_name = "DIR")]
    pub(super) work_dir: Option<PathBuf>,
}

impl WorkArgs {
    /// Changes what was given.
    pub(super) fn apply(&self, run: &mut RunOptions) -> Result<(), Failed> {
        if let Some(folder) = &self.work_dir {
            // Absolute, so that a resume finds it from anywhere.
            let found = std::fs::canonicalize(folder).map_err(|error| {
                let folder = folder.display();
                Failed::usage(format!("cannot find --work-dir {folder}: {error}"))
            });
            run.work_dir = Some(found?);
        }
        Ok(())
    }
}

/// The report of a job.
#[derive(Debug, Args)]
#[command(next_help_heading = "Evidence")]
pub(super) struct ReportArgs {
    /// The folder of reports, here or in S3
    #[arg(
        long,
        env = "S3HAUL_REPORT",
        value_name = "DIR|s3://BUCKET/PREFIX",
        default_value = "./s3haul-report"
    )]
    pub(super) report: PathBuf,
    /// Profile that reads and writes a report in S3 [default: whoever works on the buckets]
    #[arg(long, env = "S3HAUL_REPORT_PROFILE", value_name = "NAME")]
    report_profile: Option<String>,
    /// Expected owner of the report's bucket [default: anybody]
    #[arg(long, env = "S3HAUL_REPORT_ACCOUNT", value_name = "ID", value_parser = values::account)]
    report_account: Option<String>,
    /// Longest time between a row's end and its outcome being safe, for a report in S3
    #[arg(long, env = "S3HAUL_REPORT_INTERVAL", value_name = "DUR", value_parser = values::report_interval, default_value = "5s")]
    report_interval: Duration,
    /// How long the store of a report in S3 may be out before the job stops
    #[arg(long, env = "S3HAUL_REPORT_TIMEOUT", value_name = "DUR", value_parser = values::timeout, default_value = "10m")]
    report_timeout: Duration,
    /// The job's ID: 1 to 40 of A-Z a-z 0-9 . _ - [default: of AWS Batch or Slurm, else new]
    #[arg(long, env = "S3HAUL_JOB_ID", value_name = "ID", value_parser = values::job_id)]
    job_id: Option<String>,
    /// Which rows the report lists
    #[arg(long, env = "S3HAUL_REPORT_SCOPE", value_enum, default_value_t = ScopeFlag::All)]
    report_scope: ScopeFlag,
    /// Failed rows, in percent, over which the job stops, from the 1,000th row that it runs
    #[arg(long, env = "S3HAUL_FAILURE_THRESHOLD", value_name = "PERCENT|none", value_parser = threshold, default_value = "50")]
    failure_threshold: Threshold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScopeFlag {
    /// Every row.
    All,
    /// Failed rows; the others are counted.
    Failed,
}

#[derive(Debug, Clone, Copy)]
struct Threshold(Option<u8>);

fn threshold(text: &str) -> Result<Threshold, String> {
    values::percentage(text).map(Threshold)
}

impl ReportArgs {
    /// The job's ID: the one given, the environment's, or a new one, which no other shard would have.
    pub(super) fn job_id(&self, shard: Option<Shard>) -> Result<String, Failed> {
        if let Some(id) = &self.job_id {
            return Ok(id.clone());
        }
        match (attempt::job_id_of_environment()?, shard) {
            (Some(id), _) => Ok(id),
            (None, None) => Ok(attempt::new_job_id()),
            (None, Some(_)) => Err(Failed::usage(
                "the shards of a job have one ID: give each the same --job-id (AWS Batch and Slurm give \
                 one by themselves)",
            )),
        }
    }

    /// Refuses what ends badly in a container that is run again, and warns of what may.
    pub(super) fn suits_container(&self) -> Result<(), Failed> {
        if !container::is_container() {
            return Ok(());
        }
        if !is_in_s3(&self.report) {
            container::warn_of_report(&self.report);
        } else if self.job_id.is_none() && attempt::job_id_of_environment()?.is_none() {
            return Err(container::no_job_id());
        }
        Ok(())
    }

    /// How a job runs that is told nothing else.
    pub(super) fn options(&self) -> Result<RunOptions, Failed> {
        no_other_scheme(&self.report)?;
        if is_in_s3(&self.report) {
            report_location(&self.report)?;
        } else if let Some(flag) = [
            ("--report-profile", self.report_profile.is_some()),
            ("--report-account", self.report_account.is_some()),
        ]
        .into_iter()
        .find_map(|(flag, given)| given.then_some(flag))
        {
            return Err(Failed::usage(format!(
                "{flag} is for a report in S3, and --report names a folder"
            )));
        }
        Ok(RunOptions {
            report_scope: match self.report_scope {
                ScopeFlag::All => ReportScope::All,
                ScopeFlag::Failed => ReportScope::Failed,
            },
            failure_threshold: self.failure_threshold.0,
            failed_rows_exit: 1,
            drain_timeout_ms: 20_000,
            work_dir: None,
            report_interval_ms: values::milliseconds(self.report_interval),
            report_timeout_ms: values::milliseconds(self.report_timeout),
        })
    }

    /// Who reads and writes a report in S3.
    pub(super) fn access(&self, access: &mut AccessOptions) {
        access.report_profile.clone_from(&self.report_profile);
        access.report_account.clone_from(&self.report_account);
    }
}

/// What every command that reaches S3 says, and how.
#[derive(Debug, Args)]
#[command(next_help_heading = "Running")]
pub(super) struct WordsArgs {
    /// The form of log lines on stderr
    #[arg(long, env = "S3HAUL_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// What is logged
    #[arg(long, env = "S3HAUL_LOG_LEVEL", value_enum, default_value_t = LogLevel::Warn)]
    log_level: LogLevel,
    /// The form of the result on stdout
    #[arg(long, env = "S3HAUL_OUTPUT", value_parser = forms(&FORMS), default_value = "text")]
    pub(super) output: Output,
}

/// The forms of results that every command has.
pub(super) const FORMS: [Output; 2] = [Output::Text, Output::Json];

/// Takes one of these forms.
pub(super) fn forms(forms: &[Output]) -> impl TypedValueParser<Value = Output> {
    let names = forms.iter().filter_map(Output::to_possible_value);
    // What is none of the names is refused before.
    PossibleValuesParser::new(names)
        .map(|name| Output::from_str(&name, false).unwrap_or(Output::Text))
}

impl WordsArgs {
    pub(super) fn start_log(&self) {
        log::start(self.log_format, self.log_level);
    }
}

/// The parts of a job's identity that do not make it another job.
#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
pub(super) struct AgainArgs {
    /// Profile of the base identity [default: the AWS default chain]
    #[arg(long, env = "S3HAUL_PROFILE", value_name = "NAME")]
    pub(super) profile: Option<String>,
    /// The code that the MFA device shows; asked for once if it is needed and not given
    #[arg(
        long,
        env = "S3HAUL_MFA_CODE",
        value_name = "CODE",
        hide_env_values = true
    )]
    pub(super) mfa_code: Option<String>,
}

impl AgainArgs {
    /// Changes what was given.
    pub(super) fn apply(&self, job: &mut JobSpec) {
        if self.profile.is_some() {
            job.access.profile.clone_from(&self.profile);
        }
    }
}

/// A path that means the same from anywhere.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Failed> {
    std::path::absolute(path)
        .map_err(|error| Failed::usage(format!("cannot find {}: {error}", path.display())))
}

/// The values of a flag that can be repeated: as given, else a JSON array in the environment.
pub(super) fn repeated(given: Vec<String>, variable: &str) -> Result<Vec<String>, Failed> {
    match std::env::var(variable) {
        Ok(json) if given.is_empty() && !json.is_empty() => serde_json::from_str(&json)
            .map_err(|_| Failed::usage(format!("{variable} is no JSON array of strings"))),
        _ => Ok(given),
    }
}

/// How an enum of the job is named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum KeyEncodingFlag {
    /// URL-encoded; stops where that is in doubt.
    Auto,
    /// URL-encoded, as S3 Batch Operations asks.
    Url,
    /// The keys' own bytes.
    Raw,
}
