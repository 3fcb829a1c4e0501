//! `s3haul copy --dry-run`: what a job would do, without a request.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use serde::Serialize;

use super::exit::Failed;
use super::{Output, attempt, previous, print_result};
use crate::job::blocking;
use crate::job::manifest::{ManifestError, ManifestFile, Position, Source, survey};
use crate::job::outcome::Ended;
use crate::job::plan::{PartPlan, Planned, plan};
use crate::job::report::previous::COPIED_BEFORE;
use crate::job::spec::JobSpec;
use crate::job::summary::Size;

/// S3's list price of a COPY, POST or PUT request to S3 Standard in us-east-1, in dollars
/// (<https://aws.amazon.com/s3/pricing/>).
const WRITE_PRICE: f64 = 0.005 / 1000.0;
/// The same of a GET or HEAD request.
const READ_PRICE: f64 = 0.0004 / 1000.0;
/// Rows up to which duplicates are counted: 16 bytes are kept of each.
const COUNTED_ROWS: u64 = 50_000_000;

/// What a dry run counts.
#[derive(Debug, Default, Serialize)]
struct Estimate {
    rows: u64,
    bytes: u64,
    filtered: u64,
    multipart_objects: u64,
    parts: u64,
    requests: u64,
    cost_usd: f64,
    archived: u64,
    delete_markers: u64,
    duplicates: Option<u64>,
    bad_rows: u64,
    unknown_sizes: u64,
    copied_before: u64,
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = if self.unknown_sizes > 0 {
            " known of"
        } else {
            ""
        };
        writeln!(
            f,
            "{} rows, {}{known}, {} filtered out",
            self.rows,
            Size(self.bytes),
            self.filtered
        )?;
        writeln!(
            f,
            "  {} in {} parts; {} of unknown size",
            self.multipart_objects, self.parts, self.unknown_sizes
        )?;
        let duplicates = self
            .duplicates
            .map_or("not counted".to_owned(), |n| n.to_string());
        writeln!(
            f,
            "  {} archived, {} delete markers, {duplicates} duplicates, {} bad rows",
            self.archived, self.delete_markers, self.bad_rows
        )?;
        if self.copied_before > 0 {
            writeln!(f, "  {} copied before", self.copied_before)?;
        }
        write!(
            f,
            "  {} requests, about {:.2} USD (list price of requests in us-east-1; storage and transfer are not part of it)",
            self.requests, self.cost_usd
        )
    }
}

/// Counts, and prints what was counted.
pub(super) async fn run(
    job: JobSpec,
    mfa_code: Option<&str>,
    output: Output,
) -> Result<u8, Failed> {
    if job.read.keep_bad_rows {
        return Err(Failed::usage(
            "--dry-run reads a manifest twice: give it a file, not -",
        ));
    }
    let (manifest, _) = attempt::manifest_of(&job, Path::new(""), mfa_code).await?;
    let estimate = blocking(move || estimate(manifest, &job)).await?;
    print_result(output, &estimate)?;
    Ok(0)
}

fn estimate(manifest: ManifestFile, job: &JobSpec) -> Result<Estimate, Failed> {
    let survey = survey(manifest.clone(), &job.read)?;
    attempt::check(&survey, job)?;
    let mut estimate = Estimate {
        rows: survey.rows,
        filtered: survey.filtered,
        bad_rows: survey.bad_rows,
        delete_markers: survey.delete_markers,
        duplicates: (survey.rows <= COUNTED_ROWS).then_some(0),
        ..Estimate::default()
    };
    let before = previous::for_dry_run(job, &survey.bucket)?;
    let mut source = Source::manifest(manifest, &survey, &job.read, Position::default());
    let (hasher, mut seen) = (RandomState::new(), HashSet::new());
    let (mut reads, mut writes, mut deletes) = (0_u64, 0_u64, 0_u64);
    while let Some(mut row) = source.next_row()? {
        if let Some(before) = &before {
            row.copied_before = before.look(&row).map_err(ManifestError::CopiedBefore)?;
        }
        if let Some(duplicates) = &mut estimate.duplicates {
            let new = seen.insert(hasher.hash_one((&row.key, &row.version_id)));
            *duplicates += u64::from(!new);
        }
        estimate.bytes += row.facts.size.unwrap_or_default();
        estimate.unknown_sizes += u64::from(row.facts.size.is_none());
        let class = row.facts.storage_class.as_deref();
        estimate.archived += u64::from(matches!(class, Some("GLACIER" | "DEEP_ARCHIVE")));
        match plan(row, None, &job.read.rename, &job.copy.plan) {
            Planned::Small(_) => writes += 1,
            // Deletes are free.
            Planned::Marker(_) => deletes += 1,
            Planned::Large(task) => {
                let bytes = task.row.facts.size.unwrap_or_default().max(1);
                let parts = u64::from(PartPlan::new(bytes, job.copy.plan.part_size, None).parts());
                estimate.multipart_objects += 1;
                estimate.parts += parts;
                // HEAD and tags are read; Create, the parts and Complete are written.
                reads += 2;
                writes += 2 + parts;
            }
            Planned::Ended(_, Ended::Skipped { code, .. }) => {
                estimate.copied_before += u64::from(code == COPIED_BEFORE);
            }
            Planned::Ended(..) => {}
        }
    }
    estimate.requests = reads + writes + deletes;
    #[expect(clippy::cast_precision_loss, reason = "a display value")]
    {
        estimate.cost_usd = writes as f64 * WRITE_PRICE + reads as f64 * READ_PRICE;
    }
    Ok(estimate)
}
