//! Rows in the order of their keys, of each key the older version first: sorted on disk.
//!
//! Neither inventories nor CSV manifests are in that order. The key of the sort is total, so that
//! sorting again, also elsewhere, gives every row the same ordinal. The result has the form of a
//! failed-rows file, which the reader of those reads. It is a cache: a resume can make it again.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};
use tempfile::NamedTempFile;
use tokio_util::sync::CancellationToken;

use super::{ManifestError, Parsed, Row, Source, digest_of, key};
use crate::job::code::Code;
use crate::job::disk_sort::{DiskSort, Item};
use crate::job::report::passes::hex;
use crate::job::report::row::{ReportRow, TaskStatus, write_line};

/// What a line has besides its texts: the bucket, separators, the status, quotes.
const LINE_BYTES: usize = 48;

/// Why rows cannot be sorted.
#[derive(Debug, thiserror::Error)]
pub enum SortError {
    /// The rows cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The disk has no room.
    #[error(
        "sorting the rows takes about {needed} bytes in {}, which has {free} bytes free",
        folder.display()
    )]
    Room {
        /// The work folder.
        folder: PathBuf,
        /// Bytes that sorting takes.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// Writing or reading back failed.
    #[error("cannot sort the rows in {}", folder.display())]
    Io {
        /// The work folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There are other rows in the sorted file than were written.
    #[error(
        "the sorted rows have changed since they were written: {found} were found where {expected} \
         are expected"
    )]
    OtherRows {
        /// Rows, or as many as make it clear.
        found: u64,
        /// Rows of the pass.
        expected: u64,
    },
    /// The job is to stop.
    #[error("stopped by a signal while the rows were sorted")]
    Stopped,
}

/// By what rows are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Key, the latest version last, date, version ID, place in the manifest.
    Versions,
    /// Key, place: rows of an earlier pass, in which those of a key ended oldest first.
    Failed,
}

/// What a row takes in a segment besides its key, version ID and line.
const ITEM_BYTES: usize = 37;

/// Bytes that sorting takes on disk, where the segments of all rows are so long: these, and the sorted
/// file, which is shorter, or what they are merged into on the way, which is as long.
pub fn needed(segment_bytes: u64) -> u64 {
    segment_bytes.saturating_mul(2)
}

/// Bytes that the segments of so many rows take at most, whose lines are so long.
pub fn segment_bytes(lines: u64, rows: u64) -> u64 {
    // A line has key and version ID too.
    let items = rows.saturating_mul(ITEM_BYTES as u64);
    lines.saturating_mul(2).saturating_add(items)
}

/// The file of a pass's sorted rows. Beside it lies a seal: whose rows they are, and the file's MD5.
#[derive(Debug, Clone)]
pub struct SortedFile {
    path: PathBuf,
    owner: String,
}

impl SortedFile {
    /// A file that may or may not be there. `owner` tells the rows from those of all other jobs and
    /// passes.
    pub fn at(path: PathBuf, owner: String) -> Self {
        Self { path, owner }
    }

    /// Whether it is there, of its owner, and as it was written: reads it whole. One that cannot be
    /// read is not: it can be made again.
    pub fn is_whole(&self) -> bool {
        let Ok(seal) = fs::read_to_string(self.seal_path()) else {
            return false;
        };
        let digest = File::open(&self.path).and_then(digest_of);
        digest.is_ok_and(|(md5, _)| seal == self.seal(&md5))
    }

    fn seal(&self, md5: &str) -> String {
        format!("{}\n{md5}\n", self.owner)
    }

    fn seal_path(&self) -> PathBuf {
        self.path.with_added_extension("seal")
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder in which it is sorted, with about twice its size.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// Whether the folder has room.
    ///
    /// # Errors
    /// It has not, or cannot be asked.
    pub fn check_room(&self, needed: u64) -> Result<(), SortError> {
        let found = rustix::fs::statvfs(self.folder()).map_err(|error| self.io(error.into()))?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        if free >= needed {
            return Ok(());
        }
        let folder = self.folder().to_owned();
        Err(SortError::Room {
            folder,
            needed,
            free,
        })
    }

    /// Sorts the rows of `source`, all of the one bucket, and counts them. The file is there whole or not
    /// at all.
    ///
    /// # Errors
    /// Reading or writing fails, rows are lost, or the job is to stop.
    ///
    /// # Cancellation
    /// `stop` ends it between two rows.
    pub fn write(
        &self,
        source: Source,
        order: Order,
        bucket: &str,
        stop: &CancellationToken,
    ) -> Result<u64, SortError> {
        self.write_by(DiskSort::new(self.folder()), source, order, bucket, stop)
    }

    fn write_by(
        &self,
        mut sort: DiskSort<Line>,
        mut source: Source,
        order: Order,
        bucket: &str,
        stop: &CancellationToken,
    ) -> Result<u64, SortError> {
        self.remove();
        let io = |error| self.io(error);
        while let Some(row) = source.next_row()? {
            if stop.is_cancelled() {
                return Err(SortError::Stopped);
            }
            sort.push(Line::of(&row, order, bucket)).map_err(io)?;
        }
        source.check_unchanged()?;
        let mut file = BufWriter::with_capacity(256 << 10, self.draft().map_err(io)?);
        let mut md5 = Md5::new();
        let (mut rows, mut ties) = (0, 0_u64);
        let mut before = None;
        for line in sort.sorted().map_err(io)? {
            if stop.is_cancelled() {
                return Err(SortError::Stopped);
            }
            let Line {
                key,
                modified,
                is_latest,
                line,
                ..
            } = line.map_err(io)?;
            md5.update(&line);
            rows += 1;
            file.write_all(&line).map_err(io)?;
            let place = Some((key, modified, is_latest));
            ties += u64::from(before == place);
            before = place;
        }
        if ties > 0 && order == Order::Versions {
            tracing::warn!(
                "{ties} versions have the key, the date and the IsLatest of another: nothing tells the \
                 order of these, and an older one may end up as the current one"
            );
        }
        let draft = file.into_inner().map_err(|error| io(error.into_error()))?;
        persist(draft, &self.path).map_err(io)?;
        let mut seal = self.draft().map_err(io)?;
        let content = self.seal(&hex(&md5.finalize()));
        seal.write_all(content.as_bytes()).map_err(io)?;
        persist(seal, &self.seal_path()).map_err(io)?;
        let folder = File::open(self.folder()).and_then(|folder| folder.sync_all());
        folder.map_err(io)?;
        Ok(rows)
    }

    fn draft(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new()
            .prefix(&self.draft_prefix())
            .tempfile_in(self.folder())
    }

    /// Removes the file, and what a process that died while it sorted has left.
    pub fn remove(&self) {
        // What cannot be removed is a cache that nobody reads.
        let _ = fs::remove_file(self.seal_path());
        let _ = fs::remove_file(&self.path);
        let prefix = self.draft_prefix();
        for entry in fs::read_dir(self.folder()).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn draft_prefix(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        format!("{}.tmp", name.to_string_lossy())
    }

    fn io(&self, source: io::Error) -> SortError {
        let folder = self.folder().to_owned();
        SortError::Io { folder, source }
    }
}

fn persist(draft: NamedTempFile, path: &Path) -> io::Result<()> {
    draft.as_file().sync_all()?;
    draft.persist(path).map_err(|error| error.error)?;
    Ok(())
}

impl Parsed {
    /// About the bytes that it takes in a segment: its line, and what it is sorted by.
    pub(super) fn sorted_bytes(&self) -> u64 {
        let texts = [&self.version_id, &self.problem].into_iter().flatten();
        let facts = self.facts.fields();
        let bytes = texts.chain(&facts).map(String::len).sum::<usize>();
        let spelt = self.spelt.as_ref();
        let key = spelt.map_or_else(|| key::encode(&self.key).len(), String::len);
        let by = self.key.len() + self.version_id.as_ref().map_or(0, String::len) + ITEM_BYTES;
        (bytes + key + LINE_BYTES + by) as u64
    }
}

/// A row on its way; its fields compare in this order.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    key: String,
    /// Before the date: of an object that was uploaded in parts that is when its upload began, and what
    /// was put or deleted meanwhile is younger by its date.
    is_latest: bool,
    /// Nanoseconds since 1970; rows without a date come first.
    modified: i128,
    version_id: String,
    ordinal: u64,
    line: Vec<u8>,
}

impl Line {
    fn of(row: &Row, order: Order, bucket: &str) -> Self {
        let versions = order == Order::Versions;
        let modified = row.facts.last_modified.filter(|_| versions);
        let version_id = row.version_id.clone().filter(|_| versions);
        Self {
            key: row.key.clone(),
            modified: modified.map_or(i128::MIN, time::OffsetDateTime::unix_timestamp_nanos),
            is_latest: versions && row.is_latest,
            version_id: version_id.unwrap_or_default(),
            ordinal: row.ordinal,
            line: line(row, bucket),
        }
    }
}

/// The line of a failed-rows file that reads as this row.
fn line(row: &Row, bucket: &str) -> Vec<u8> {
    let problem = row.problem.as_ref();
    let report = ReportRow {
        bucket: bucket.to_owned(),
        key: row.spelling().into_owned(),
        version_id: row.version_id.clone().unwrap_or_default(),
        status: TaskStatus::Failed,
        http_status: None,
        error_code: problem
            .map_or("", |_| Code::InvalidManifestRow.as_str())
            .to_owned(),
        message: match problem {
            Some(problem) => serde_json::json!({ "message": problem }).to_string(),
            None if row.doubted => serde_json::json!({ "in_doubt": true }).to_string(),
            None => String::new(),
        },
    };
    let mut line = Vec::with_capacity(256);
    write_line(
        &mut line,
        report.fields().into_iter().chain(row.facts.fields()),
    );
    line
}

impl Item for Line {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.key.len() + self.version_id.len() + self.line.len()
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        for text in [self.key.as_bytes(), self.version_id.as_bytes(), &self.line] {
            let length = u32::try_from(text.len()).map_err(io::Error::other)?;
            to.write_all(&length.to_le_bytes())?;
            to.write_all(text)?;
        }
        to.write_all(&self.modified.to_le_bytes())?;
        to.write_all(&[u8::from(self.is_latest)])?;
        to.write_all(&self.ordinal.to_le_bytes())
    }

    fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut text = || {
            let length = u32::from_le_bytes(bytes(from)?);
            let mut text = vec![0; length as usize];
            from.read_exact(&mut text)?;
            Ok::<_, io::Error>(text)
        };
        let utf_8 = |text| {
            String::from_utf8(text)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        };
        let (key, version_id) = (utf_8(text()?)?, utf_8(text()?)?);
        let line = text()?;
        Ok(Self {
            key,
            version_id,
            line,
            modified: i128::from_le_bytes(bytes(from)?),
            is_latest: bytes(from)? == [1_u8],
            ordinal: u64::from_le_bytes(bytes(from)?),
        })
    }
}

fn bytes<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::manifest::key::encode;
    use crate::job::manifest::{
        Field, ManifestFormat, ManifestOptions, Position, Survey, Versions, survey,
    };

    const KEYS: [&str; 6] = ["a", "a b", "b", "é", "a\nb", "a,\"b"];

    fn options(keep_bad_rows: bool) -> ManifestOptions {
        ManifestOptions {
            format: ManifestFormat::Csv,
            versions: Some(Versions::All),
            fields: Some(vec![
                Field::Bucket,
                Field::Key,
                Field::VersionId,
                Field::LastModifiedDate,
            ]),
            keep_bad_rows,
            ..ManifestOptions::default()
        }
    }

    /// A manifest of `rows` versions in no order, some of one second.
    fn manifest(folder: &Path, rows: u64) -> PathBuf {
        let path = folder.join("manifest.csv");
        let row = |n: u64| {
            let n = n * 7_919 % rows;
            let key = encode(KEYS[usize::try_from(n % 6).unwrap()]);
            let id = if n < 6 {
                String::new()
            } else {
                format!("v{}", n * 31 % rows)
            };
            format!(
                "b,{key},{id},2026-01-01T00:{:02}:{:02}Z\n",
                n / 2 / 60 % 60,
                n / 2 % 60
            )
        };
        fs::write(&path, (0..rows).map(row).collect::<String>()).unwrap();
        path
    }

    fn sorted(path: &Path, survey: &Survey, options: &ManifestOptions, run: usize) -> Vec<u8> {
        let folder = path.parent().unwrap();
        let file = SortedFile::at(folder.join("sorted-0.csv"), "job 1".into());
        let source = Source::manifest(path, survey, options, Position::default());
        let stop = CancellationToken::new();
        let sort = DiskSort::in_runs_of(folder, run);
        file.write_by(sort, source, Order::Versions, "b", &stop)
            .unwrap();
        let content = fs::read(file.path()).unwrap();
        file.remove();
        let left: Vec<_> = fs::read_dir(folder).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        content
    }

    fn read(path: &Path) -> Vec<Row> {
        let mut rows = Source::failed_rows(vec![path.into()], Position::default());
        std::iter::from_fn(|| rows.next_row().unwrap()).collect()
    }

    #[test]
    fn runs_of_any_size_give_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, options) = (manifest(folder.path(), 1_000), options(false));
        let survey = survey(&path, &options).unwrap();
        let whole = sorted(&path, &survey, &options, usize::MAX);
        for run in [1, 1_000, 20_000, 100_000] {
            let same = sorted(&path, &survey, &options, run) == whole;
            assert!(same, "in runs of {run} bytes");
        }
        let measured = survey.sorted_bytes;
        let written = whole.len() as u64;
        assert!(
            (written + 37_000..written * 4).contains(&measured),
            "{measured} for {written}"
        );
    }

    #[test]
    fn rows_come_back_whole_and_the_older_first() {
        let folder = tempfile::tempdir().unwrap();
        let (path, options) = (manifest(folder.path(), 600), options(false));
        let survey = survey(&path, &options).unwrap();
        fs::write(&path, sorted(&path, &survey, &options, 50)).unwrap();
        let rows = read(&path);
        assert_eq!(rows.len(), 600);
        let order = |row: &Row| (row.key.clone(), row.facts.last_modified);
        assert!(rows.is_sorted_by_key(order));
        let mut keys: Vec<_> = rows.iter().map(|row| row.key.as_str()).collect();
        keys.dedup();
        assert_eq!(keys, ["a", "a\nb", "a b", "a,\"b", "b", "é"]);
        let null = rows
            .iter()
            .filter(|row| row.version_id.as_deref() == Some("null"));
        assert_eq!(null.count(), 6);
        assert!(
            rows.iter()
                .all(|row| row.spelling() == encode(&row.key) && row.problem.is_none())
        );

        // What has failed keeps its order within a key, whatever its dates are.
        let shuffled: Vec<_> = rows.iter().rev().map(|row| line(row, "b")).collect();
        let failed = folder.path().join("failed.csv");
        fs::write(&failed, shuffled.concat()).unwrap();
        let file = SortedFile::at(folder.path().join("sorted-1.csv"), "job 1".into());
        let source = Source::failed_rows(vec![(&failed).into()], Position::default());
        let stop = CancellationToken::new();
        file.write(source, Order::Failed, "b", &stop).unwrap();
        let again = read(file.path());
        for key in keys {
            let of = |rows: &[Row]| -> Vec<_> {
                let of_key = rows.iter().filter(|row| row.key == key);
                of_key.map(|row| row.version_id.clone()).collect()
            };
            let mut reversed = of(&rows);
            reversed.reverse();
            assert_eq!(of(&again), reversed, "{key:?}");
        }

        stop.cancel();
        let source = Source::failed_rows(vec![(&path).into()], Position::default());
        let stopped = file.write(source, Order::Failed, "b", &stop);
        assert!(matches!(stopped, Err(SortError::Stopped)));
        assert!(!file.path().exists());
    }

    #[test]
    fn markers_and_bad_rows_stay_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.csv");
        fs::write(&path, "b,a,v1,2026-01-01T00:00:00Z\nb,a,v2,yesterday\n").unwrap();
        let options = options(true);
        let survey = survey(&path, &options).unwrap();
        let mut source = Source::manifest(&path, &survey, &options, Position::default());
        let mut row = source.next_row().unwrap().unwrap();
        row.facts.delete_marker = true;
        row.facts.encryption = Some("SSE-KMS".into());
        row.facts.size = Some(7);
        let bad = source.next_row().unwrap().unwrap();
        fs::write(&path, [line(&row, "b"), line(&bad, "b")].concat()).unwrap();
        let back = read(&path);
        assert_eq!((&back[0].facts, &back[0].problem), (&row.facts, &None));
        assert_eq!(back[1].problem, bad.problem);
        assert!(back[1].problem.is_some());
    }

    #[test]
    fn the_latest_version_is_last_and_the_others_are_as_old_as_their_dates_say() {
        let item = |modified, is_latest, version_id: &str, ordinal| Line {
            key: "k".into(),
            modified,
            is_latest,
            version_id: version_id.into(),
            ordinal,
            line: Vec::new(),
        };
        let order = [
            item(i128::MIN, false, "z", 9),
            item(1, false, "z", 9),
            item(2, false, "a", 9),
            item(2, false, "b", 1),
            item(2, false, "b", 2),
            item(1, true, "a", 0),
            item(2, true, "a", 0),
        ];
        assert!(order.is_sorted());
    }

    #[test]
    fn a_file_is_whole_as_it_was_written_and_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (path, options) = (manifest(folder.path(), 60), options(false));
        let survey = survey(&path, &options).unwrap();
        let at = folder.path().join("sorted-0.csv");
        let file = SortedFile::at(at.clone(), "job 1".into());
        assert!(!file.is_whole());
        let source = Source::manifest(&path, &survey, &options, Position::default());
        let stop = CancellationToken::new();
        file.write(source, Order::Versions, "b", &stop).unwrap();
        assert!(file.is_whole());
        assert!(!SortedFile::at(at.clone(), "job 2".into()).is_whole());
        let whole = fs::read(&at).unwrap();
        let mut other = whole.clone();
        other[7] ^= 1;
        for damaged in [&whole[..whole.len() - 1], &other, &[]] {
            fs::write(&at, damaged).unwrap();
            assert!(!file.is_whole());
        }
        fs::write(&at, whole).unwrap();
        assert!(file.is_whole());
        fs::remove_file(file.seal_path()).unwrap();
        assert!(!file.is_whole());
    }

    #[test]
    fn a_disk_without_room_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = SortedFile::at(folder.path().join("sorted-0.csv"), "job 1".into());
        file.check_room(1).unwrap();
        match file.check_room(u64::MAX) {
            Err(SortError::Room { needed, free, .. }) => assert!(needed > free),
            other => panic!("{other:?}"),
        }
    }
}
