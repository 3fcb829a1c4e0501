//! `s3haul copy --dry-run`: what a job would do, without a request that copies.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::exit::Failed;
use super::inspection::Inspection;
use super::reach::Reach;
use super::{Output, attempt, previous, print_result};
use crate::job::blocking;
use crate::job::manifest::{ManifestError, ManifestFile, Position, Source, survey};
use crate::job::spec::JobSpec;

/// Counts, and prints what was counted.
pub(super) async fn run(
    job: JobSpec,
    mfa_code: Option<String>,
    output: Output,
) -> Result<u8, Failed> {
    if job.read.keep_bad_rows {
        return Err(Failed::usage(
            "--dry-run reads a manifest twice: give it a file, not -",
        ));
    }
    let never = CancellationToken::new();
    let reach = Reach::new(&job.access, &job.speed, mfa_code);
    let manifest = attempt::manifest_of(&job, Path::new(""), &reach, &never).await?;
    let counted = blocking(move || count(manifest, &job)).await?;
    print_result(output, &counted)?;
    Ok(0)
}

fn count(manifest: ManifestFile, job: &JobSpec) -> Result<Inspection, Failed> {
    let survey = survey(manifest.clone(), &job.read)?;
    attempt::check(&survey, job)?;
    let before = previous::for_dry_run(job, &survey.bucket)?;
    let mut source = Source::manifest(manifest, &survey, &job.read, Position::default());
    let mut counted = Inspection::new();
    while let Some(mut row) = source.next_row()? {
        if let Some(before) = &before {
            row.copied_before = before.look(&row).map_err(ManifestError::CopiedBefore)?;
        }
        counted.see(row, &job.read.rename, &job.copy);
    }
    counted.close(&survey);
    Ok(counted)
}
