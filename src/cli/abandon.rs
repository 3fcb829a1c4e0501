//! `s3haul abandon`: give up a job, and the uploads that it keeps.

use std::path::PathBuf;

use clap::Args;

use super::attempt;
use super::exit::{Exit, Failed};
use super::flags::{AgainArgs, WordsArgs};
use super::resume::job_folder;
use super::{previous, print_result};
use crate::job::abort_uploads;
use crate::job::report::passes::JobState;
use crate::job::report::{Report, read_checkpoint, read_job};
use crate::job::spec::JobFile;

/// The flags of `abandon`.
#[derive(Debug, Args)]
pub(super) struct AbandonArgs {
    /// The job's folder (REPORT/job-ID), or REPORT if it holds one job
    report: PathBuf,
    #[command(flatten)]
    again: AgainArgs,
    #[command(flatten)]
    words: WordsArgs,
}

/// Runs `s3haul abandon`.
pub(super) async fn run(args: AbandonArgs) -> Result<u8, Failed> {
    args.words.start_log();
    let path = job_folder(&args.report)?;
    let mut file: JobFile = read_job(&path)?;
    args.again.apply(&mut file.job);
    let folder = attempt::open(&path)?;
    let state = read_checkpoint(&path)?.state;
    if state == JobState::Complete {
        return Err(Failed::usage(format!(
            "the job of {} ran to its end and keeps no uploads: there is nothing to abandon",
            path.display()
        )));
    }
    if state != JobState::Abandoned {
        let mut report = Report::recover(folder, &file.job_id, file.job.run.report_scope)?;
        let uploads = report.checkpoint().uploads.clone();
        if !uploads.is_empty() || file.own_session() {
            let mfa_code = args.again.mfa_code.as_deref();
            let access = attempt::establish(&file.job, &file.survey, None, mfa_code).await?;
            abort_uploads(&access, &file, &uploads)
                .await
                .map_err(|error| Failed::new(error, Exit::Access))?;
        }
        report.abandon()?;
        previous::remove(&file, &path);
        file.remove_sorted(&path, 0..=report.checkpoint().pass);
    }
    let checkpoint = read_checkpoint(&path)?;
    let mut summary = attempt::summary(&file, &checkpoint, &path);
    summary.exit_code = 0;
    print_result(args.words.output, &summary)?;
    Ok(0)
}
