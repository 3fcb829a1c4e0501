//! `s3haul report show`: what a report says, of a job or an array.

use futures::StreamExt;

use super::ReportArgs;
use super::find::{Found, find};
use crate::cli::exit::Failed;
use crate::cli::{attempt, log, print_result};
use crate::job::overview::Overview;
use crate::job::report::array::{RowsError, RowsFile, files, rows};
use crate::job::report::notable::Notable;
use crate::job::report::read_state;
use crate::job::report::store::JobFolder;

/// Runs `s3haul report show`.
pub(super) async fn run(args: ReportArgs) -> Result<u8, Failed> {
    args.words.start_log();
    let overview = match Box::pin(find(&args)).await? {
        Found::Job(folder, file) => {
            let begun = file.begun();
            let at = read_state(&folder, &begun).await?;
            let summary = attempt::summary(&file, &at, &folder.address());
            let files = files(&at, &begun.id, "");
            Overview::of_job(summary, Box::pin(look(&folder, &files)).await?)
        }
        Found::Array(array) => {
            let notable = Box::pin(look(&array.folder, &array.files())).await?;
            Overview::of_array(&array, notable)
        }
    };
    print_result(args.words.output, &overview)?;
    Ok(overview.summary().exit_code)
}

/// What is worth a look of these files. One that cannot be read changes no count, and is only named.
async fn look(folder: &JobFolder, files: &[RowsFile]) -> Result<Notable, Failed> {
    let mut notable = Notable::default();
    let mut read = std::pin::pin!(rows(folder, files, Notable::take));
    while let Some((_, taken)) = read.next().await {
        match taken {
            Ok(taken) => notable.append(taken),
            Err(RowsError::Store(error)) => return Err(error.into()),
            Err(RowsError::Read(error)) => {
                let words = "warning: its rows are not looked at for examples and slowest objects";
                log::say(&format!("{words}: {error}"));
            }
        }
    }
    Ok(notable)
}
