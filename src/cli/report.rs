//! `s3haul report`: read completion reports.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::exit::Failed;
use super::flags::{AgainArgs, FORMS, SpeedArgs, forms};
use super::reach::ReachArgs;
use super::{Output, attempt, print_result};
use crate::job::report::read_state;

/// What is done with reports.
#[derive(Debug, Subcommand)]
pub(super) enum ReportCommand {
    /// Summarise a report; the exit code is the job's
    Show(ShowArgs),
}

/// The flags of `report show`.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The job's folder (REPORT/job-ID, here or in S3), or REPORT if it holds one job
    report: PathBuf,
    #[command(flatten)]
    again: AgainArgs,
    #[command(flatten)]
    reach: ReachArgs,
    /// The form of the result on stdout
    #[arg(long, env = "S3HAUL_OUTPUT", value_parser = forms(&FORMS), default_value = "text")]
    output: Output,
}

/// Runs `s3haul report`.
pub(super) async fn run(command: ReportCommand) -> Result<u8, Failed> {
    let ReportCommand::Show(args) = command;
    let speed = SpeedArgs::default();
    let found = args.reach.find(&args.report, &args.again, &speed, None);
    let (folder, _, file) = Box::pin(found).await?;
    let checkpoint = read_state(&folder, &file.begun()).await?;
    let summary = attempt::summary(&file, &checkpoint, &folder.address());
    print_result(args.output, &summary)?;
    Ok(summary.exit_code)
}
