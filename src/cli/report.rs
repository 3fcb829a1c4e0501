//! `s3haul report`: read completion reports.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::exit::Failed;
use super::resume::job_folder;
use super::{Output, attempt, print_result};
use crate::job::report::{read_job, read_state};
use crate::job::spec::JobFile;

/// What is done with reports.
#[derive(Debug, Subcommand)]
pub(super) enum ReportCommand {
    /// Summarise a report; the exit code is the job's
    Show(ShowArgs),
}

/// The flags of `report show`.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The job's folder (REPORT/job-ID), or REPORT if it holds one job
    report: PathBuf,
    /// The form of the result on stdout
    #[arg(long, env = "S3HAUL_OUTPUT", value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Runs `s3haul report`.
pub(super) fn run(command: ReportCommand) -> Result<u8, Failed> {
    let ReportCommand::Show(args) = command;
    let path = job_folder(&args.report)?;
    let file: JobFile = read_job(&path)?;
    let checkpoint = read_state(&path)?;
    let summary = attempt::summary(&file, &checkpoint, &path);
    print_result(args.output, &summary)?;
    Ok(summary.exit_code)
}
