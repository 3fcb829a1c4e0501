//! The report of an array: the reports of its shards, side by side in the job's folder.
//!
//! Of each shard no more is held than its checkpoint; rows are read file by file ([`rows`]), and what is
//! taken of them is small.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use futures::{Stream, StreamExt, TryStreamExt, stream};

use super::passes::{Checkpoint, JOB, JobState, SealedFile};
use super::read::{ReadError, Sifted, sift};
use super::row::{ReportRow, TaskStatus};
use super::store::bucket::Patience;
use super::store::{JobFolder, StoreError};
use super::{ReportError, ReportScope, file_error, read_state};
use crate::job::blocking;
use crate::job::manifest::{Form, Survey};
use crate::job::shard::Shard;
use crate::job::spec::JobFile;

/// Shards that are looked at at once.
const SHARDS_AT_ONCE: usize = 16;
/// Files of rows that are read at once. In S3 each is held whole, some 10 MiB.
const FILES_AT_ONCE: usize = 4;

/// Why the report of an array cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArrayError {
    /// A shard's report, or the folder, cannot be read.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// Shards of arrays of several sizes.
    #[error("{} holds shards of several arrays: of {}", path.display(), list(of))]
    Several {
        /// The job's folder.
        path: PathBuf,
        /// The sizes.
        of: Vec<u32>,
    },
    /// No shard's report is there.
    #[error("{} holds no report of a shard", path.display())]
    None {
        /// The job's folder.
        path: PathBuf,
    },
    /// A shard is not of the job that the others are of.
    #[error("{} is of another job than {}: {} differ", path.display(), first.display(), what.join(", "))]
    Other {
        /// The shard's folder.
        path: PathBuf,
        /// The folder of the first shard.
        first: PathBuf,
        /// In what it differs.
        what: Vec<&'static str>,
    },
}

impl From<StoreError> for ArrayError {
    fn from(error: StoreError) -> Self {
        Self::Report(error.into())
    }
}

fn list(numbers: &[u32]) -> String {
    let numbers: Vec<_> = numbers.iter().map(u32::to_string).collect();
    numbers.join(", of ")
}

/// Numbers with their ranges: `0, 3-5`.
pub fn ranges(numbers: &BTreeSet<u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let range = |(first, last): &(u32, u32)| match last - first {
        0 => first.to_string(),
        _ => format!("{first}-{last}"),
    };
    let ranges: Vec<_> = ranges.iter().map(range).collect();
    ranges.join(", ")
}

/// Where the job of a shard stands.
#[derive(Debug)]
pub struct ShardReport {
    /// Which one.
    pub shard: Shard,
    /// By which its files are named.
    pub id: String,
    /// Selected rows of its part of the manifest, and those that the filters left out.
    pub part: u64,
    /// Its checkpoint, and what its journal adds to it.
    pub at: Checkpoint,
}

/// The reports of an array's shards.
#[derive(Debug)]
pub struct Array {
    /// The job's folder.
    pub folder: JobFolder,
    /// How many shards there are.
    pub of: u32,
    /// The job as the first shard was given it.
    pub first: JobFile,
    /// Those that have begun, in order.
    pub shards: Vec<ShardReport>,
}

/// The shards whose folders lie in a job's, in order; none where it is no array's. Whether they have begun is
/// not asked.
///
/// # Errors
/// It cannot be listed.
pub async fn shards(folder: &JobFolder) -> Result<Vec<Shard>, StoreError> {
    let names = folder.folders("shard-").await?;
    let shards = names.iter().filter_map(|name| Shard::of_folder(name));
    Ok(shards.collect())
}

/// The job as the first of these shards that has begun was given it.
///
/// # Errors
/// None has, or it cannot be read.
pub async fn first_job(folder: &JobFolder, shards: &[Shard]) -> Result<JobFile, ArrayError> {
    for shard in shards {
        if let Some(file) = job_of(&folder.within(&shard.folder_name())).await? {
            return Ok(file);
        }
    }
    let path = folder.address();
    Err(ArrayError::None { path })
}

/// The job that a folder is of, if it has begun.
async fn job_of(folder: &JobFolder) -> Result<Option<JobFile>, ReportError> {
    let Some(json) = folder.read(JOB).await? else {
        return Ok(None);
    };
    let path = folder.address().join(JOB);
    serde_json::from_slice(&json)
        .map(Some)
        .map_err(file_error(&path))
}

/// Those of the shards that have begun.
async fn begun(folder: &JobFolder, shards: Vec<Shard>) -> Result<Vec<Shard>, StoreError> {
    let looked = stream::iter(shards).map(|shard| async move {
        let job = folder.within(&shard.folder_name()).read(JOB).await?;
        Ok(job.map(|_| shard))
    });
    let found: Vec<_> = looked.buffered(SHARDS_AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

impl Array {
    /// Reads where each shard stands.
    ///
    /// # Errors
    /// The folders are of arrays of several sizes; a shard is of another job than `first`; one cannot be
    /// read.
    pub async fn read(
        folder: JobFolder,
        shards: Vec<Shard>,
        first: JobFile,
    ) -> Result<Self, ArrayError> {
        let sizes = |shards: &[Shard]| -> BTreeSet<u32> { shards.iter().map(|s| s.of).collect() };
        let (mut of, mut shards) = (sizes(&shards), shards);
        if of.len() > 1 {
            // Those that did not come to be may have left what the store was tried on.
            shards = begun(&folder, shards).await?;
            of = sizes(&shards);
        }
        if of.len() > 1 {
            let (path, of) = (folder.address(), of.into_iter().collect());
            return Err(ArrayError::Several { path, of });
        }
        let read = stream::iter(shards)
            .map(|shard| read_shard(&folder, shard, &first))
            .buffered(SHARDS_AT_ONCE);
        let found: Vec<_> = read.try_collect().await?;
        Ok(Self {
            of: of.into_iter().next().unwrap_or_default(),
            shards: found.into_iter().flatten().collect(),
            folder,
            first,
        })
    }

    /// The shards that have not begun.
    pub fn missing(&self) -> BTreeSet<u32> {
        let begun: BTreeSet<u32> = self.shards.iter().map(|s| s.shard.index).collect();
        (0..self.of)
            .filter(|index| !begun.contains(index))
            .collect()
    }

    /// The shards that stand so.
    pub fn in_state(&self, state: JobState) -> BTreeSet<u32> {
        let shards = self.shards.iter().filter(|shard| shard.at.state == state);
        shards.map(|shard| shard.shard.index).collect()
    }

    /// Where the whole stands: as the shard that is farthest from its end.
    pub fn state(&self) -> JobState {
        let any = |state| self.shards.iter().any(|shard| shard.at.state == state);
        let stopped = [JobState::Abandoned, JobState::Failed, JobState::Running];
        match stopped.into_iter().find(|state| any(*state)) {
            Some(state) => state,
            None if any(JobState::Interrupted) || !self.missing().is_empty() => {
                JobState::Interrupted
            }
            None => JobState::Complete,
        }
    }

    /// The files of rows of all shards, in order.
    pub fn files(&self) -> Vec<RowsFile> {
        let of_shard = |shard: &ShardReport| {
            let folder = format!("{}/", shard.shard.folder_name());
            files(&shard.at, &shard.id, &folder)
        };
        self.shards.iter().flat_map(of_shard).collect()
    }
}

async fn read_shard(
    array: &JobFolder,
    shard: Shard,
    first: &JobFile,
) -> Result<Option<ShardReport>, ArrayError> {
    let folder = array.within(&shard.folder_name());
    let Some(file) = job_of(&folder).await? else {
        return Ok(None);
    };
    let what = differences(first, &file, shard);
    if !what.is_empty() {
        return Err(ArrayError::Other {
            path: folder.address(),
            first: array.address().join(first_folder(first)),
            what,
        });
    }
    let begun = file.begun();
    let at = read_state(&folder, &begun).await?;
    Ok(Some(ShardReport {
        shard,
        id: begun.id,
        part: file.survey.rows + file.survey.filtered,
        at,
    }))
}

fn first_folder(first: &JobFile) -> String {
    let shard = first.job.read.shard;
    shard.map(Shard::folder_name).unwrap_or_default()
}

/// In what a shard's job is not that of the array's first.
fn differences(first: &JobFile, file: &JobFile, shard: Shard) -> Vec<&'static str> {
    let whole = |file: &JobFile| {
        let mut job = file.job.clone();
        job.read.shard = None;
        job
    };
    let (a, b) = (&first.survey, &file.survey);
    let given = whole(first).differences(&whole(file));
    let others = [
        ("--job-id", first.job_id != file.job_id),
        ("--shard", file.job.read.shard != Some(shard)),
        (
            "the manifests",
            (&a.e_tag, a.file_bytes, &a.bucket, a.dealt)
                != (&b.e_tag, b.file_bytes, &b.bucket, b.dealt)
                || form(a) != form(b),
        ),
    ];
    let others = others.into_iter().filter(|(_, differ)| *differ);
    others.map(|(what, _)| what).chain(given).collect()
}

/// What the manifest is, less what is of the shard's own part of it.
fn form(survey: &Survey) -> Form {
    let mut form = survey.form.clone();
    if let Form::Inventory(form) = &mut form {
        form.data_e_tags.clear();
    }
    form
}

/// A file of rows of a report that lies in a folder, or in one below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsFile {
    /// Its name in the folder.
    pub name: String,
    /// Status of its rows.
    pub status: TaskStatus,
    /// Its MD5, hex; what a pass has failed has none until the report has ended.
    pub md5: Option<String>,
    /// Number of its rows.
    pub rows: u64,
}

/// The files of rows that a report has so far, which are named by `id`; `folder` is where the report lies in
/// the folder that they are read from. Of failed rows those of the pass in hand.
pub fn files(at: &Checkpoint, id: &str, folder: &str) -> Vec<RowsFile> {
    let ended = at.state == JobState::Complete;
    let failed = |file: &&SealedFile| file.status == TaskStatus::Failed;
    let files = at.sealed.iter();
    let files = files.filter(|file| !failed(file) || file.pass == at.pass);
    files
        .map(|file| {
            let name = if ended {
                file.results_path(id)
            } else {
                file.name.clone()
            };
            RowsFile {
                name: format!("{folder}{name}"),
                status: file.status,
                md5: (ended || !failed(&file)).then(|| file.md5.clone()),
                rows: file.rows,
            }
        })
        .collect()
}

/// Why a file of rows cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The store does not give it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not there, or not what the report lists.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Reads files of rows, some at a time, and gives what `take` has taken of each, in order.
pub fn rows<'f, T: Default + Send + 'static>(
    folder: &'f JobFolder,
    files: &'f [RowsFile],
    take: fn(&mut T, ReportRow),
) -> impl Stream<Item = (&'f RowsFile, Result<T, RowsError>)> + 'f {
    let read = move |file: &'f RowsFile| async move {
        let read = read_file(folder, file, take).await;
        (file, read)
    };
    stream::iter(files).map(read).buffered(FILES_AT_ONCE)
}

async fn read_file<T: Default + Send + 'static>(
    folder: &JobFolder,
    file: &RowsFile,
    take: fn(&mut T, ReportRow),
) -> Result<T, RowsError> {
    let (status, path) = (file.status, folder.address().join(&file.name));
    let unread = |path: &Path, source: io::Error| ReadError::File {
        path: path.to_owned(),
        source: source.into(),
    };
    let sifted = match folder {
        JobFolder::Disk(_) => {
            let path = path.clone();
            blocking(move || sift(File::open(path)?, status, take)).await
        }
        JobFolder::Bucket(bucket) => {
            match bucket.get(&file.name, &Patience::default()).await? {
                // What was read is freed where it was made.
                Some(object) => {
                    let bytes = object.bytes.clone();
                    blocking(move || sift(&bytes[..], status, take)).await
                }
                None => Err(io::ErrorKind::NotFound.into()),
            }
        }
    };
    let Sifted { taken, rows, md5 } = sifted.map_err(|error| unread(&path, error))?;
    match &file.md5 {
        Some(listed) if !md5.eq_ignore_ascii_case(listed) => {
            let (found, listed) = (md5, listed.clone());
            Err(ReadError::Damaged {
                path,
                found,
                listed,
            }
            .into())
        }
        _ if rows != file.rows => {
            let (found, listed) = (rows, file.rows);
            Err(ReadError::Rows {
                path,
                status,
                found,
                listed,
            }
            .into())
        }
        _ => Ok(taken),
    }
}

/// Whether an ended shard's checkpoint counts the rows of its part of the manifest, and lists as many as it
/// counts.
pub(super) fn are_counted(shard: &ShardReport, scope: ReportScope) -> bool {
    let (sealed, counts) = (&shard.at.sealed, &shard.at.counts);
    let is_listed = |(status, count): (TaskStatus, u64)| {
        let files = sealed.iter().filter(|file| file.status == status);
        let listed: u64 = files.map(|file| file.rows).sum();
        let counted_only = scope == ReportScope::Failed && status != TaskStatus::Failed;
        listed == if counted_only { 0 } else { count }
    };
    let all = [
        (TaskStatus::Succeeded, counts.succeeded),
        (TaskStatus::Skipped, counts.skipped),
        (TaskStatus::Failed, counts.failed),
    ];
    let ended = counts.succeeded + counts.skipped + counts.failed;
    ended == counts.rows
        && counts.rows + counts.filtered == shard.part
        && all.into_iter().all(is_listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_row_are_a_range() {
        for (numbers, said) in [
            (vec![], ""),
            (vec![3], "3"),
            (vec![0, 1], "0-1"),
            (vec![0, 2, 3, 4, 7, 9998, 9999], "0, 2-4, 7, 9998-9999"),
        ] {
            assert_eq!(ranges(&numbers.into_iter().collect()), said);
        }
    }
}
