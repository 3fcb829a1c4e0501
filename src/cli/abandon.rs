//! `s3haul abandon`: give up a job, and the uploads that it keeps.

use std::path::PathBuf;

use clap::Args;

use super::attempt::{self, Listening};
use super::exit::{Exit, Failed};
use super::flags::{AgainArgs, SpeedArgs, WordsArgs};
use super::reach::ReachArgs;
use super::{previous, print_result};
use crate::job::report::passes::JobState;
use crate::job::report::{Report, read_checkpoint};
use crate::job::{abort_uploads, blocking};

/// The flags of `abandon`.
#[derive(Debug, Args)]
pub(super) struct AbandonArgs {
    /// The job's folder (REPORT/job-ID, here or in S3), or REPORT if it holds one job
    report: PathBuf,
    #[command(flatten)]
    again: AgainArgs,
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    words: WordsArgs,
}

/// Runs `s3haul abandon`.
pub(super) async fn run(args: AbandonArgs) -> Result<u8, Failed> {
    args.words.start_log();
    let speed = SpeedArgs::default();
    let found = args.reach.find(&args.report, &args.again, &speed, None);
    let (folder, reach, file) = Box::pin(found).await?;
    let (home, begun, mut listening) = (folder.home(), file.begun(), Listening::start());
    let opened = attempt::open(&folder, attempt::patience(&file.job, &listening));
    let store = listening.unless_stopped(Box::pin(opened)).await?;
    listening.keep_alive(&store, &file.job.run);
    let state = read_checkpoint(&folder, &begun).await?.state;
    if state == JobState::Complete {
        return Err(Failed::usage(format!(
            "the job of {} ran to its end and keeps no uploads: there is nothing to abandon",
            home.address.display()
        )));
    }
    if state != JobState::Abandoned {
        let recover = begun.clone();
        let mut report = blocking(move || Report::recover(store, &recover)).await?;
        let uploads = report.checkpoint().uploads.clone();
        if !uploads.is_empty() || file.own_session() {
            let access = attempt::establish(&file.job, &file.survey, &reach).await?;
            abort_uploads(&access, &file, &uploads)
                .await
                .map_err(|error| Failed::new(error, Exit::Access))?;
        }
        let pass = report.checkpoint().pass;
        blocking(move || report.abandon()).await?;
        previous::remove(&file, &home.local);
        file.remove_sorted(&home, 0..=pass);
    }
    let checkpoint = read_checkpoint(&folder, &begun).await?;
    let mut summary = attempt::summary(&file, &checkpoint, &home.address);
    summary.exit_code = 0;
    print_result(args.words.output, &summary)?;
    Ok(0)
}
