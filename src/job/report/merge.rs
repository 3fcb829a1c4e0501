//! One report of an array's shards: `manifest.json` of the job's folder, which lists the shards' own files of
//! rows. No row is copied, but every file is read, and what is counted must add up to the manifest.

use std::collections::BTreeSet;
use std::path::PathBuf;

use futures::{StreamExt, TryStreamExt, stream};

use super::array::{Array, RowsError, ShardReport, are_counted, ranges, rows};
use super::notable::FirstFailed;
use super::passes::{JobState, MANIFEST, MANIFEST_MD5, SealedFile, manifest_json, manifest_md5};
use super::read::{ListedFile, ReportManifest};
use super::store::StoreError;
use super::{ReportError, file_error};
use crate::job::manifest::Dealt;

/// Lists of files that are read at once.
const LISTS_AT_ONCE: usize = 16;

/// Why the shards' reports do not make one.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A report cannot be read, or the merged one not written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A file of rows cannot be read, or is not what its shard's checkpoint lists.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// Not every shard has run to its end.
    #[error("{}, of {of} shards: {not_ended}", path.display())]
    NotEnded {
        /// The job's folder.
        path: PathBuf,
        /// How many shards there are.
        of: u32,
        /// Which have not.
        not_ended: NotEnded,
    },
    /// A shard's report lists other files than its checkpoint.
    #[error("{} does not list the files that the shard's checkpoint has", path.display())]
    Listed {
        /// The shard's `manifest.json`.
        path: PathBuf,
    },
    /// The shards' rows are not those of the manifest.
    #[error("{rows} rows of the shards in {} are not the {of} rows of the manifest", path.display())]
    Unaccounted {
        /// The job's folder.
        path: PathBuf,
        /// Rows of the shards, those that the filters left out among them.
        rows: u64,
        /// Rows of the manifest.
        of: u64,
    },
    /// A shard's checkpoint counts other rows than its files have.
    #[error("the rows that the checkpoint of {} counts are not those of its files", path.display())]
    Counted {
        /// The shard's folder.
        path: PathBuf,
    },
}

impl From<StoreError> for MergeError {
    fn from(error: StoreError) -> Self {
        Self::Report(error.into())
    }
}

/// The shards that are not there, or have not run to their end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NotEnded {
    /// They have not begun.
    pub missing: BTreeSet<u32>,
    /// At work, or killed.
    pub running: BTreeSet<u32>,
    /// Stopped by a signal or for their report.
    pub interrupted: BTreeSet<u32>,
    /// Stopped for want of access, or by the failure threshold.
    pub failed: BTreeSet<u32>,
    /// Given up.
    pub abandoned: BTreeSet<u32>,
}

impl NotEnded {
    fn of(array: &Array) -> Self {
        Self {
            missing: array.missing(),
            running: array.in_state(JobState::Running),
            interrupted: array.in_state(JobState::Interrupted),
            failed: array.in_state(JobState::Failed),
            abandoned: array.in_state(JobState::Abandoned),
        }
    }
}

impl std::fmt::Display for NotEnded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds = [
            (&self.missing, "missing"),
            (&self.running, "still running or killed"),
            (&self.interrupted, "interrupted"),
            (
                &self.failed,
                "stopped for want of access or by the failure threshold",
            ),
            (&self.abandoned, "abandoned"),
        ];
        let kinds = kinds.into_iter().filter(|(shards, _)| !shards.is_empty());
        for (at, (shards, what)) in kinds.enumerate() {
            let sep = if at == 0 { "" } else { ", " };
            let (shard, is) = match shards.len() {
                1 => ("shard", "is"),
                _ => ("shards", "are"),
            };
            write!(f, "{sep}{shard} {} {is} {what}", ranges(shards))?;
        }
        Ok(())
    }
}

/// Checks the shards' reports and writes the one of all, which is the same bytes each time. Gives the first
/// rows that failed.
///
/// # Errors
/// A shard has not run to its end; what the shards have does not add up, or not to the manifest; a file is
/// damaged; the report cannot be written. Nothing is written then.
///
/// # Cancellation
/// It may be dropped at any point: each file is written whole or not at all.
pub async fn merge(array: &Array) -> Result<FirstFailed, MergeError> {
    let path = array.folder.address();
    let not_ended = NotEnded::of(array);
    if not_ended != NotEnded::default() {
        let of = array.of;
        return Err(MergeError::NotEnded {
            path,
            of,
            not_ended,
        });
    }
    let scope = array.first.job.run.report_scope;
    for shard in &array.shards {
        if !are_counted(shard, scope) {
            let path = path.join(shard.shard.folder_name());
            return Err(MergeError::Counted { path });
        }
    }
    let rows_of_shards = array.shards.iter().map(|shard| shard.part).sum();
    match array.first.survey.dealt {
        Some(Dealt::Rows { of } | Dealt::Keys { of }) if of != rows_of_shards => {
            let rows = rows_of_shards;
            return Err(MergeError::Unaccounted { path, rows, of });
        }
        // Each data file is of one shard, and each shard is there.
        _ => {}
    }
    let lists = stream::iter(&array.shards)
        .map(|shard| list(array, shard))
        .buffered(LISTS_AT_ONCE);
    let lists: Vec<_> = lists.try_collect().await?;
    let created = lists.iter().map(|(created, _)| created.as_str()).max();
    let created = created.unwrap_or_default().to_owned();
    let results: Vec<_> = lists.into_iter().flat_map(|(_, files)| files).collect();

    let (files, mut failed) = (array.files(), FirstFailed::default());
    let mut read = std::pin::pin!(rows(&array.folder, &files, FirstFailed::take));
    while let Some((_, taken)) = read.next().await {
        failed.append(taken?);
    }

    let manifest = manifest_json(&created, &results);
    let sum = manifest_md5(&manifest);
    array.folder.replace(MANIFEST_MD5, &sum).await?;
    array.folder.replace(MANIFEST, &manifest).await?;
    Ok(failed)
}

/// What the report of an ended shard lists, as the merged one lists it, and when it ended.
async fn list(array: &Array, shard: &ShardReport) -> Result<(String, Vec<ListedFile>), MergeError> {
    let folder = shard.shard.folder_name();
    let name = format!("{folder}/{MANIFEST}");
    let path = array.folder.address().join(&name);
    let json = array.folder.read(&name).await?.unwrap_or_default();
    let own: ReportManifest = serde_json::from_slice(&json).map_err(file_error(&path))?;
    let (bucket, prefix) = array.folder.listed_as();
    let listed = |file: &SealedFile| ListedFile {
        status: file.status.as_str().to_owned(),
        bucket: bucket.to_owned(),
        md5: file.md5.clone(),
        key: format!("{prefix}{folder}/{}", file.results_path(&shard.id)),
    };
    let files: Vec<_> = shard.at.sealed.iter().map(listed).collect();
    // A report that was moved lists its files under the keys that they had.
    let is_same = |own: &ListedFile, file: &ListedFile| {
        let name = |key: &str| key.rsplit('/').next().map(str::to_owned);
        (&own.status, &own.md5, name(&own.key)) == (&file.status, &file.md5, name(&file.key))
    };
    let same = own.results.iter().zip(&files).all(|(a, b)| is_same(a, b));
    if !same || own.results.len() != files.len() {
        return Err(MergeError::Listed { path });
    }
    Ok((own.created, files))
}
