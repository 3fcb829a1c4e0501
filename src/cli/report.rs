//! `s3haul report`: read completion reports, and make one of an array's.

mod find;
mod merge;
mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::exit::Failed;
use super::flags::{AgainArgs, WordsArgs};
use super::reach::ReachArgs;

/// What is done with reports.
#[derive(Debug, Subcommand)]
pub(super) enum ReportCommand {
    /// Summarise a report, of a job or an array; the exit code is the job's
    Show(ReportArgs),
    /// Make the reports of an array's shards one, and check that they are whole
    Merge(ReportArgs),
}

/// The flags of a command on reports.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// The job's folder (REPORT/job-ID, here or in S3), or REPORT if it holds one job
    report: PathBuf,
    #[command(flatten)]
    again: AgainArgs,
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    words: WordsArgs,
}

/// Runs `s3haul report`.
pub(super) async fn run(command: ReportCommand) -> Result<u8, Failed> {
    match command {
        ReportCommand::Show(args) => Box::pin(show::run(args)).await,
        ReportCommand::Merge(args) => Box::pin(merge::run(args)).await,
    }
}
