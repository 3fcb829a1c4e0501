//! `s3haul report merge`: one report of an array's shards.

use super::ReportArgs;
use super::find::{Found, find};
use crate::cli::attempt::Listening;
use crate::cli::exit::{Exit, Failed};
use crate::cli::{log, print_result};
use crate::job::overview::Overview;
use crate::job::report::array::{Array, RowsError};
use crate::job::report::merge::{MergeError, NotEnded, merge};

/// Runs `s3haul report merge`.
pub(super) async fn run(args: ReportArgs) -> Result<u8, Failed> {
    args.words.start_log();
    let listening = Listening::start();
    let merging = Box::pin(async {
        let array = match Box::pin(find(&args)).await? {
            Found::Array(array) => array,
            Found::Job(folder, _) => {
                return Err(Failed::usage(format!(
                    "{} is the report of a job that is no array: there is nothing to merge",
                    folder.address().display()
                )));
            }
        };
        let failed = Box::pin(merge(&array)).await?;
        Ok((array, failed))
    });
    let (array, failed) = listening.unless_stopped(merging).await?;
    let overview = Overview::of_merged(&array, failed);
    print_result(args.words.output, &overview)?;
    let summary = overview.summary();
    if summary.failed > 0 {
        hint(&array);
    }
    Ok(summary.exit_code)
}

/// Says how failed rows are tried again.
fn hint(array: &Array) {
    let failed = array
        .shards
        .iter()
        .filter(|shard| shard.at.counts.failed > 0);
    let Some(first) = failed.clone().next() else {
        return;
    };
    let (folder, shards) = (array.folder.address(), failed.count());
    let shard = folder.join(first.shard.folder_name());
    let others = match shards {
        1 => String::new(),
        _ => format!(" (and of {} more shards)", shards - 1),
    };
    log::say(&format!(
        "hint: try the failed rows again with: s3haul resume {}{others}, then merge again",
        shard.display()
    ));
}

impl From<MergeError> for Failed {
    fn from(error: MergeError) -> Self {
        match error {
            MergeError::Report(error) => error.into(),
            MergeError::Rows(RowsError::Store(error)) => error.into(),
            MergeError::Rows(RowsError::Read(error)) => Self::from(error),
            MergeError::NotEnded { ref not_ended, .. } => {
                let (exit, hint) = not_ended_means(not_ended);
                Self::new(error, exit).hinted(hint.to_owned())
            }
            MergeError::Listed { .. }
            | MergeError::Counted { .. }
            | MergeError::Unaccounted { .. } => Self::new(error, Exit::Usage).hinted(
                "the report is damaged: put the shard's folder back from a copy, or remove it and \
                     run the shard again with --overwrite if-different"
                    .to_owned(),
            ),
        }
    }
}

/// What the program exits with for shards that have not ended, and what to do.
fn not_ended_means(shards: &NotEnded) -> (Exit, &'static str) {
    if !shards.abandoned.is_empty() {
        let hint = "an abandoned shard is not gone on with: copy its rows with a new job";
        return (Exit::Usage, hint);
    }
    if !shards.failed.is_empty() {
        let hint = "once the cause is mended, run these shards again with the same command line, then \
                    merge";
        return (Exit::Access, hint);
    }
    let hint = "run these shards again with the same command line, then merge";
    (Exit::Stopped, hint)
}
