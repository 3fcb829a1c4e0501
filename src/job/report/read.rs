//! Rows of a completion report, ours or a downloaded one of S3 Batch Operations: one after another,
//! whatever their number.
//!
//! Rows are RFC 4180 first. S3 Batch Operations has written rows that are not (a quote that is never
//! escaped or closed); of such a line the first six commas part the columns, and the rest is the
//! message. That is decided line by line, so that a malformed row does not take others with it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ReportScope;
use super::passes::{CHECKPOINT, Checkpoint, JOB, MANIFEST, hex};
use super::row::{COLUMNS, ReportRow, TaskStatus};
use crate::job::manifest::key::Shown;
use crate::job::manifest::{Rename, Versions};
use crate::job::shard::Shard;

/// Format of every completion report, S3 Batch Operations' and ours.
const FORMAT: &str = "Report_CSV_20180820";
/// Longest line; a row's message has some kilobytes at most.
const LONGEST_LINE: u64 = 1 << 20;
/// Longest record of several lines that is looked for behind an open quote.
const LONGEST_RECORD: usize = 64 << 10;

/// Why a completion report cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Opening or reading failed, or a file is not what it should be.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no report in that place.
    #[error("{} is no completion report: a report's folder has a manifest.json, or the job.json of a job of s3haul", path.display())]
    None {
        /// The place.
        path: PathBuf,
    },
    /// There are those of an array's shards, and none of all.
    #[error("{} holds reports of shards, which s3haul report merge makes one", path.display())]
    Unmerged {
        /// The place.
        path: PathBuf,
    },
    /// There are several.
    #[error("{} holds several reports", path.display())]
    Several {
        /// The place.
        path: PathBuf,
        /// The reports.
        reports: Vec<PathBuf>,
    },
    /// A `manifest.json` of something else.
    #[error("{} is of the format {}, not of a completion report ({FORMAT})", path.display(), Shown(format))]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: String,
    },
    /// A file that `manifest.json` lists has no place beside it.
    #[error("{} lists the file {}, which is no file of a report", path.display(), Shown(key))]
    Place {
        /// The `manifest.json`.
        path: PathBuf,
        /// The key of the file.
        key: String,
    },
    /// A file is not what the report lists.
    #[error("{} is damaged: its MD5 is {found}, and the report lists {}", path.display(), Shown(listed))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its MD5.
        found: String,
        /// The MD5 that it should have.
        listed: String,
    },
    /// A file does not hold the rows that it should.
    #[error("{} is damaged: it has {found} {} rows, and the checkpoint lists {listed}", path.display(), status.as_str())]
    Rows {
        /// The file.
        path: PathBuf,
        /// The status of its rows.
        status: TaskStatus,
        /// Its rows.
        found: u64,
        /// The rows that it should have.
        listed: u64,
    },
    /// It does not say which rows succeeded.
    #[error("the report {} lists failed rows alone (--report-scope failed): it does not say which rows succeeded", path.display())]
    FailedAlone {
        /// The report.
        path: PathBuf,
    },
}

fn file_error(
    path: &Path,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> ReadError {
    ReadError::File {
        path: path.to_owned(),
        source: source.into(),
    }
}

/// What `manifest.json` says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ReportManifest {
    format: String,
    /// When the report was written, in reports that say so.
    #[serde(default, rename = "ReportCreationDate")]
    pub(super) created: String,
    pub(super) results: Vec<ListedFile>,
}

/// A file of rows, as `manifest.json` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedFile {
    #[serde(rename = "TaskExecutionStatus")]
    pub(super) status: String,
    #[serde(default)]
    pub(super) bucket: String,
    #[serde(rename = "MD5Checksum")]
    pub(super) md5: String,
    pub(super) key: String,
}

/// What `job.json` says that matters to a reader of the report.
#[derive(Debug, Deserialize)]
struct GivenJob {
    job: GivenSpec,
}

#[derive(Debug, Deserialize)]
struct GivenSpec {
    destination_bucket: String,
    read: GivenRead,
    run: GivenRun,
    #[serde(default)]
    access: GivenAccess,
}

#[derive(Debug, Deserialize)]
struct GivenRead {
    rename: Rename,
    versions: Option<Versions>,
}

#[derive(Debug, Default, Deserialize)]
struct GivenAccess {
    endpoint_url: Option<String>,
}

/// Where the rows of a report were copied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopiedTo<'a> {
    /// The endpoint, where it is not AWS's.
    pub endpoint_url: Option<&'a str>,
    /// The bucket.
    pub bucket: &'a str,
    /// How keys were changed.
    pub rename: &'a Rename,
}

#[derive(Debug, Deserialize)]
struct GivenRun {
    report_scope: ReportScope,
}

/// A file of rows, by its name in the report's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultsFile {
    /// The folder and the name.
    pub name: String,
    /// MD5, hex.
    pub md5: String,
}

/// A completion report that was written before.
#[derive(Debug)]
pub struct CompletionReport {
    folder: PathBuf,
    files: Vec<ResultsFile>,
    job: Option<GivenJob>,
    ended: bool,
}

impl CompletionReport {
    /// Opens the report in `given`: a job's folder, or a folder that holds one besides `own`, which is
    /// still to be written. Of a job that has not ended, its sealed files are the report.
    ///
    /// # Errors
    /// There is no report or there are several, it cannot be read, or it lists failed rows alone.
    pub fn open(given: &Path, own: &Path) -> Result<Self, ReadError> {
        let folder = find(given, own)?;
        let mut job: Option<GivenJob> = json(&folder.join(JOB))?;
        if job.is_none()
            && let Some(shard) = a_shard(&folder)
        {
            // Of an array the shards say it, each for all.
            job = json(&shard.join(JOB))?;
        }
        let scope = job.as_ref().map(|file| file.job.run.report_scope);
        if scope == Some(ReportScope::Failed) {
            return Err(ReadError::FailedAlone { path: folder });
        }
        let path = folder.join(MANIFEST);
        let manifest: Option<ReportManifest> = json(&path)?;
        let ended = manifest.is_some();
        let files = match manifest {
            Some(manifest) => {
                let failed = TaskStatus::Failed.as_str();
                listed(manifest, &path, |status| status != failed)?
            }
            None => sealed(&folder)?,
        };
        Ok(Self {
            folder,
            files,
            job,
            ended,
        })
    }

    /// The report's folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Whether its job has run to its end.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Where its rows were copied to, which only our own reports say.
    pub fn destination(&self) -> Option<CopiedTo<'_>> {
        let job = &self.job.as_ref()?.job;
        Some(CopiedTo {
            endpoint_url: job.access.endpoint_url.as_deref(),
            bucket: &job.destination_bucket,
            rename: &job.read.rename,
        })
    }

    /// Whether of each key the older versions were copied before the newer ones.
    pub fn has_versions_in_order(&self) -> bool {
        let job = self.job.as_ref();
        job.is_some_and(|given| given.job.read.versions == Some(Versions::All))
    }

    /// Its rows, less those of files that hold failed rows alone.
    pub fn rows(&self) -> Rows<'_> {
        Rows {
            folder: &self.folder,
            files: self.files.iter(),
            open: None,
            unreadable: 0,
        }
    }
}

/// The folder of a shard in an array's.
fn a_shard(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let shards = entries.filter(|entry| {
        let name = entry.file_name();
        let shard = name.to_str().and_then(Shard::of_folder);
        shard.is_some() && entry.path().join(JOB).is_file()
    });
    shards.map(|entry| entry.path()).min()
}

/// Opens a file of a report: the one place that does.
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Reads a JSON file; `None` where there is none.
fn json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ReadError> {
    let mut text = Vec::new();
    match open(path).and_then(|mut file| file.read_to_end(&mut text)) {
        Ok(_) => {}
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(file_error(path, error)),
    }
    let read = serde_json::from_slice(&text).map_err(|error| file_error(path, error))?;
    Ok(Some(read))
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The report's folder: the one given, or the one in it besides `own`.
fn find(given: &Path, own: &Path) -> Result<PathBuf, ReadError> {
    // The one may be named by another way than the other.
    let same = |path: &Path| match (path.canonicalize(), own.canonicalize()) {
        (Ok(path), Ok(own)) => path == own,
        _ => path == own,
    };
    let is_report = |path: &Path| [JOB, MANIFEST].iter().any(|name| path.join(name).is_file());
    if is_report(given) {
        return Ok(given.to_owned());
    }
    if a_shard(given).is_some() {
        let path = given.to_owned();
        return Err(ReadError::Unmerged { path });
    }
    let entries = match std::fs::read_dir(given) {
        Ok(entries) => entries,
        Err(error) if is_missing(&error) && given.exists() => {
            let path = given.to_owned();
            return Err(ReadError::None { path });
        }
        Err(error) => return Err(file_error(given, error)),
    };
    let mut reports: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("job-"))
        .map(|entry| entry.path())
        .filter(|path| !same(path) && is_report(path))
        .collect();
    reports.sort();
    let path = given.to_owned();
    match reports.len() {
        0 => Err(ReadError::None { path }),
        1 => Ok(reports.swap_remove(0)),
        _ => Err(ReadError::Several { path, reports }),
    }
}

/// The files of a `manifest.json` whose rows have a status that is taken; `None` where it is of something
/// else.
///
/// # Errors
/// It is a report's of another format, or lists a file that has no place beside it.
pub fn results_files(
    json: &[u8],
    path: &Path,
    take: impl Fn(&str) -> bool,
) -> Result<Option<Vec<ResultsFile>>, ReadError> {
    match serde_json::from_slice(json) {
        Ok(manifest) => listed(manifest, path, take).map(Some),
        Err(_) => Ok(None),
    }
}

/// The files that `manifest.json` lists and `take` takes by their status. Their keys are of the bucket that the report was written to,
/// of which any part may have been downloaded: `results/` lies beside it.
fn listed(
    manifest: ReportManifest,
    path: &Path,
    take: impl Fn(&str) -> bool,
) -> Result<Vec<ResultsFile>, ReadError> {
    let ReportManifest {
        format, results, ..
    } = manifest;
    if format != FORMAT {
        let path = path.to_owned();
        return Err(ReadError::Format { path, format });
    }
    let mut files = Vec::new();
    for file in results {
        if !take(&file.status) {
            continue;
        }
        let Some(name) = name_in_report(&file.key, path) else {
            let (path, key) = (path.to_owned(), file.key);
            return Err(ReadError::Place { path, key });
        };
        let md5 = file.md5;
        files.push(ResultsFile { name, md5 });
    }
    Ok(files)
}

/// The end of a file's key: its folder and its name. In the merged report of an array the shard's folder is
/// before them, which lies beside `manifest.json` then; a shard's own report may have been downloaded alone.
fn name_in_report(key: &str, manifest: &Path) -> Option<String> {
    let mut parts = key.rsplit('/');
    let (name, folder) = (parts.next()?, parts.next()?);
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    let own = manifest.parent().and_then(Path::file_name);
    let in_s3 = manifest.starts_with("s3:");
    let shard = parts
        .next()
        .filter(|part| Shard::of_folder(part).is_some() && own != Some(part.as_ref()))
        .filter(|part| in_s3 || manifest.with_file_name(part).is_dir())
        .map(|part| format!("{part}/"))
        .unwrap_or_default();
    (plain(name) && plain(folder)).then(|| format!("{shard}{folder}/{name}"))
}

/// The files of a job that has not ended.
fn sealed(folder: &Path) -> Result<Vec<ResultsFile>, ReadError> {
    let Some(at) = json::<Checkpoint>(&folder.join(CHECKPOINT))? else {
        let path = folder.to_owned();
        return Err(ReadError::None { path });
    };
    let files = at.sealed.into_iter();
    Ok(files
        .filter(|file| file.status != TaskStatus::Failed)
        .map(|file| ResultsFile {
            name: file.name,
            md5: file.md5,
        })
        .collect())
}

/// The rows of a report.
#[derive(Debug)]
pub struct Rows<'r> {
    folder: &'r Path,
    files: std::slice::Iter<'r, ResultsFile>,
    open: Option<(&'r ResultsFile, RowReader<Digested<File>>)>,
    unreadable: u64,
}

impl Rows<'_> {
    /// Rows so far that could not be read.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// The next row; `None` at the end.
    ///
    /// # Errors
    /// A file cannot be read, or is not what the report lists.
    pub fn next_row(&mut self) -> Result<Option<ReportRow>, ReadError> {
        loop {
            let Some((file, reader)) = &mut self.open else {
                let Some(file) = self.files.next() else {
                    return Ok(None);
                };
                let path = self.folder.join(&file.name);
                let opened = open(&path).map_err(|error| file_error(&path, error))?;
                self.open = Some((file, RowReader::new(Digested::new(opened))));
                continue;
            };
            let path = || self.folder.join(&file.name);
            match reader.next().map_err(|error| file_error(&path(), error))? {
                Next::Row(row) => return Ok(Some(row)),
                Next::Unreadable => self.unreadable += 1,
                Next::End => {
                    let found = reader.from.get_ref().md5();
                    if !found.eq_ignore_ascii_case(&file.md5) {
                        let (path, listed) = (path(), file.md5.clone());
                        return Err(ReadError::Damaged {
                            path,
                            found,
                            listed,
                        });
                    }
                    self.open = None;
                }
            }
        }
    }
}

/// What a file of rows was found to hold.
#[derive(Debug)]
pub(super) struct Sifted<T> {
    /// What was taken of its rows.
    pub(super) taken: T,
    /// How many of its rows have the status that they should have.
    pub(super) rows: u64,
    /// Its MD5, hex.
    pub(super) md5: String,
}

/// Reads a file of our own, whose rows have `status`, to its end; `take` sees them one by one.
///
/// # Errors
/// Reading fails. What is no row is not one of its rows, and its MD5 is another.
pub(super) fn sift<T: Default>(
    from: impl Read,
    status: TaskStatus,
    take: fn(&mut T, ReportRow),
) -> io::Result<Sifted<T>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        // The rows that a pass has failed have what the manifest knew behind them.
        .flexible(true)
        .buffer_capacity(256 << 10)
        .from_reader(Digested::new(from));
    let (mut taken, mut rows) = (T::default(), 0);
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record)? {
        let text = csv::StringRecord::from_byte_record(record.clone()).ok();
        let row = text.and_then(|record| ReportRow::parse(&record));
        if let Some(row) = row.filter(|row| row.status == status) {
            rows += 1;
            take(&mut taken, row);
        }
    }
    let md5 = reader.get_ref().md5();
    Ok(Sifted { taken, rows, md5 })
}

/// A file whose MD5 is taken while it is read.
#[derive(Debug)]
struct Digested<R> {
    from: R,
    md5: Md5,
}

impl<R> Digested<R> {
    fn new(from: R) -> Self {
        let md5 = Md5::new();
        Self { from, md5 }
    }

    fn md5(&self) -> String {
        hex(&self.md5.clone().finalize())
    }
}

impl<R: Read> Read for Digested<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.md5.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// What comes next of a file.
#[derive(Debug)]
enum Next {
    Row(ReportRow),
    Unreadable,
    End,
}

/// Reads rows from the lines of one file.
#[derive(Debug)]
struct RowReader<R> {
    from: BufReader<R>,
    /// Lines that were looked at behind an open quote, and are rows of their own.
    ahead: VecDeque<Vec<u8>>,
}

impl<R: Read> RowReader<R> {
    fn new(from: R) -> Self {
        Self {
            from: BufReader::with_capacity(256 << 10, from),
            ahead: VecDeque::new(),
        }
    }

    fn next(&mut self) -> io::Result<Next> {
        let mut record = loop {
            match self.line()? {
                None => return Ok(Next::End),
                Some(line) if without_end(&line).is_empty() => {}
                Some(line) => break line,
            }
        };
        let first_line = record.len();
        let mut behind = Vec::new();
        let mut split = split_record(&record);
        while matches!(split, Split::Open) && record.len() < LONGEST_RECORD {
            let Some(line) = self.line()? else { break };
            record.extend_from_slice(&line);
            if line.contains(&b'"') {
                split = split_record(&record);
            }
            behind.push(line);
        }
        if let Split::Fields(fields) = split
            && fields.len() == COLUMNS
            && let Some(row) = ReportRow::parse(&fields.into())
        {
            return Ok(Next::Row(row));
        }
        for line in behind.into_iter().rev() {
            self.ahead.push_front(line);
        }
        record.truncate(first_line);
        Ok(lenient(&record).map_or(Next::Unreadable, Next::Row))
    }

    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        if let Some(line) = self.ahead.pop_front() {
            return Ok(Some(line));
        }
        let mut line = Vec::new();
        let mut from = self.from.by_ref().take(LONGEST_LINE);
        let read = from.read_until(b'\n', &mut line)?;
        if from.limit() == 0 && !line.ends_with(b"\n") {
            let what = format!("a line has more than {LONGEST_LINE} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok((read > 0).then_some(line))
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// What RFC 4180 makes of lines.
enum Split {
    Fields(Vec<String>),
    /// They end in a quoted field.
    Open,
    Malformed,
}

fn split_record(record: &[u8]) -> Split {
    let mut rest = without_end(record);
    let mut fields = Vec::with_capacity(COLUMNS);
    loop {
        let mut field = Vec::new();
        if let Some(inside) = rest.strip_prefix(b"\"") {
            rest = inside;
            loop {
                let Some(at) = rest.iter().position(|byte| *byte == b'"') else {
                    return Split::Open;
                };
                let (before, behind) = rest.split_at(at);
                field.extend_from_slice(before);
                let Some(escaped) = behind.strip_prefix(b"\"\"") else {
                    rest = behind.get(1..).unwrap_or_default();
                    break;
                };
                field.push(b'"');
                rest = escaped;
            }
        } else {
            let end = rest.iter().position(|byte| *byte == b',');
            let (unquoted, behind) = rest.split_at(end.unwrap_or(rest.len()));
            if unquoted.contains(&b'"') {
                return Split::Malformed;
            }
            field.extend_from_slice(unquoted);
            rest = behind;
        }
        let Ok(field) = String::from_utf8(field) else {
            return Split::Malformed;
        };
        fields.push(field);
        match rest {
            [] => return Split::Fields(fields),
            [b',', behind @ ..] => rest = behind,
            _ => return Split::Malformed,
        }
    }
}

/// A row whose message is whatever stands behind the sixth comma.
fn lenient(line: &[u8]) -> Option<ReportRow> {
    let line = std::str::from_utf8(without_end(line)).ok()?;
    let unquoted = |field: &str| {
        let inside = field.strip_prefix('"').and_then(|f| f.strip_suffix('"'));
        inside.unwrap_or(field).to_owned()
    };
    let fields: Vec<_> = line.splitn(COLUMNS, ',').map(unquoted).collect();
    ReportRow::parse(&fields.into())
}

#[cfg(test)]
mod tests;
