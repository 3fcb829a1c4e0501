//! From listed objects to the rows of a CSV manifest, and to the place where it lies.

use std::fs::{File, Permissions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use s3haul_s3::ListedObject;
use serde::Serialize;
use tempfile::NamedTempFile;
use time::OffsetDateTime;

use crate::job::manifest::Field;
use crate::job::manifest::key::encode;
use crate::job::report::row::write_line;

/// Most runs that rows are dealt from: each has a buffer of 8 KiB.
pub const MAX_RUNS: u32 = 1000;
const BUFFER_BYTES: usize = 8 * 1024;

/// The filters of `S3JobManifestGenerator`; where nothing is named, all pass.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_control_JobManifestGeneratorFilter.html>
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Made after this time.
    pub created_after: Option<OffsetDateTime>,
    /// Made before this time.
    pub created_before: Option<OffsetDateTime>,
    /// Keys that have one of these in them.
    pub substrings: Vec<String>,
    /// Keys that end with one of these.
    pub suffixes: Vec<String>,
    /// Larger than so many bytes.
    pub larger_than: Option<u64>,
    /// Smaller than so many bytes.
    pub smaller_than: Option<u64>,
    /// One of these storage classes.
    pub storage_classes: Vec<String>,
}

impl Selection {
    /// Whether an object passes. One whose time is not told does: it is better copied than lost.
    pub fn selects(&self, object: &ListedObject) -> bool {
        let any = |words: &[String], fits: &dyn Fn(&str) -> bool| {
            words.is_empty() || words.iter().any(|word| fits(word))
        };
        let made = |fits: &dyn Fn(OffsetDateTime) -> bool| object.last_modified.is_none_or(fits);
        // S3 leaves the class of STANDARD out in some answers.
        let class = object.storage_class.as_deref().unwrap_or("STANDARD");
        self.created_after.is_none_or(|at| made(&|made| made > at))
            && self.created_before.is_none_or(|at| made(&|made| made < at))
            && any(&self.substrings, &|part| object.key.contains(part))
            && any(&self.suffixes, &|end| object.key.ends_with(end))
            && self.larger_than.is_none_or(|than| object.bytes > than)
            && self.smaller_than.is_none_or(|than| object.bytes < than)
            && any(&self.storage_classes, &|named| named == class)
    }
}

/// Which rows are written, and how.
#[derive(Debug, Clone)]
pub struct RowOptions {
    /// The column `Bucket`.
    pub bucket: String,
    /// The columns.
    pub fields: Vec<Field>,
    /// Which objects.
    pub selection: Selection,
    /// Current objects only, of a listing of versions too.
    pub latest: bool,
}

/// What was written and what was not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Rows.
    pub rows: u64,
    /// Size of their objects.
    pub bytes: u64,
    /// Objects that the filters left out.
    pub filtered: u64,
    /// Delete markers, which nothing can copy.
    pub delete_markers: u64,
}

impl RowOptions {
    /// Writes a row for each selected object.
    ///
    /// # Errors
    /// Writing failed.
    pub fn write(
        &self,
        objects: &[ListedObject],
        counts: &mut Counts,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let mut line = Vec::new();
        for object in objects {
            if self.latest && (!object.is_latest || object.is_delete_marker) {
                continue;
            }
            if object.is_delete_marker {
                counts.delete_markers += 1;
                continue;
            }
            if !self.selection.selects(object) {
                counts.filtered += 1;
                continue;
            }
            counts.rows += 1;
            counts.bytes += object.bytes;
            line.clear();
            write_line(&mut line, self.fields.iter().map(|f| self.cell(*f, object)));
            out.write_all(&line)?;
        }
        Ok(())
    }

    fn cell(&self, field: Field, object: &ListedObject) -> String {
        match field {
            Field::Bucket => self.bucket.clone(),
            Field::Key => encode(&object.key),
            Field::VersionId => object.version_id.clone().unwrap_or_default(),
            Field::Size => object.bytes.to_string(),
            Field::LastModifiedDate => object.last_modified.map(date).unwrap_or_default(),
            Field::ETag => object.e_tag.clone(),
            Field::StorageClass => object.storage_class.clone().unwrap_or_default(),
            Field::IsLatest => object.is_latest.to_string(),
            Field::Ignore => String::new(),
        }
    }
}

/// A time as S3 Inventory writes it.
fn date(time: OffsetDateTime) -> String {
    let format = time::macros::format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
    );
    time.to_offset(time::UtcOffset::UTC)
        .format(format)
        .unwrap_or_default()
}

/// Where a manifest goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// To stdout, row by row.
    Stdout,
    /// Into a file, which is there when it is whole.
    File(PathBuf),
    /// Into a temporary file, from which it is sent on.
    Temporary,
}

/// A manifest that is not whole yet. Dropped, it leaves nothing but what went to stdout.
#[derive(Debug)]
pub struct Draft {
    place: Place,
    shuffle: Option<u32>,
    out: Out,
}

#[derive(Debug)]
enum Out {
    Stdout(BufWriter<io::Stdout>),
    File(BufWriter<NamedTempFile>),
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.out {
            Out::Stdout(out) => out.write(bytes),
            Out::File(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.out {
            Out::Stdout(out) => out.flush(),
            Out::File(out) => out.flush(),
        }
    }
}

impl Draft {
    /// Begins a manifest. With `shuffle` its rows are kept in a temporary file until all are there, cut into so
    /// many runs of equal length, and dealt from these in turn.
    ///
    /// Temporary files lie beside the manifest's, else in the system's folder for them.
    ///
    /// # Errors
    /// A file cannot be made.
    pub fn begin(place: Place, shuffle: Option<u32>) -> io::Result<Self> {
        let out = match (&place, shuffle) {
            (Place::Stdout, None) => Out::Stdout(BufWriter::new(io::stdout())),
            _ => Out::File(BufWriter::new(temporary(&place)?)),
        };
        Ok(Self {
            place,
            shuffle,
            out,
        })
    }

    /// Puts the manifest where it goes, durably. Gives the file that is to be sent on, if it is.
    ///
    /// # Errors
    /// Writing failed. There is no manifest then, or the one that was there before.
    pub fn finish(self) -> io::Result<Option<NamedTempFile>> {
        let rows = match self.out {
            Out::Stdout(mut out) => {
                out.flush()?;
                return Ok(None);
            }
            Out::File(out) => out.into_inner()?,
        };
        let whole = match (self.shuffle, &self.place) {
            (None, _) => rows,
            (Some(runs), Place::Stdout) => {
                deal(rows.as_file(), runs, &mut BufWriter::new(io::stdout()))?;
                return Ok(None);
            }
            (Some(runs), place) => {
                let mut dealt = BufWriter::new(temporary(place)?);
                deal(rows.as_file(), runs, &mut dealt)?;
                dealt.into_inner()?
            }
        };
        let Place::File(path) = &self.place else {
            return Ok(Some(whole));
        };
        whole.as_file().sync_all()?;
        whole.persist(path)?;
        File::open(folder(path))?.sync_all()?;
        Ok(None)
    }
}

fn temporary(place: &Place) -> io::Result<NamedTempFile> {
    let folder = match place {
        Place::File(path) => folder(path).to_owned(),
        Place::Stdout | Place::Temporary => std::env::temp_dir(),
    };
    tempfile::Builder::new()
        .prefix(".s3haul-manifest-")
        // As any file that is made, less what the umask takes.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Cuts the lines of a file into runs of about as many bytes, and writes a line of each in turn.
fn deal(rows: &File, runs: u32, out: &mut impl Write) -> io::Result<()> {
    let bytes = rows.metadata()?.len();
    let mut starts = Vec::new();
    for run in 0..u64::from(runs) {
        // Without the product of two large numbers.
        let at = bytes / u64::from(runs) * run;
        starts.push(line_start(rows, at, bytes)?);
    }
    let ends = starts.iter().skip(1).copied().chain([bytes]);
    let mut readers: Vec<_> = starts
        .iter()
        .zip(ends)
        .map(|(&at, end)| {
            let span = Span {
                file: rows,
                at,
                end,
            };
            BufReader::with_capacity(BUFFER_BYTES, span)
        })
        .collect();
    let mut line = Vec::new();
    while !readers.is_empty() {
        let mut left = Vec::with_capacity(readers.len());
        for mut reader in readers {
            line.clear();
            if reader.read_until(b'\n', &mut line)? > 0 {
                out.write_all(&line)?;
                left.push(reader);
            }
        }
        readers = left;
    }
    out.flush()
}

/// Where the first line begins that does not begin before `at`.
fn line_start(file: &File, at: u64, end: u64) -> io::Result<u64> {
    let Some(before) = at.checked_sub(1) else {
        return Ok(0);
    };
    let span = Span {
        file,
        at: before,
        end,
    };
    let mut rest = Vec::new();
    let read = BufReader::new(span).read_until(b'\n', &mut rest)?;
    Ok(before + read as u64)
}

/// A part of a file, read past the file's own position.
struct Span<'f> {
    file: &'f File,
    at: u64,
    end: u64,
}

impl Read for Span<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let room = buffer.len().min(left);
        let read = self.file.read_at(&mut buffer[..room], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(key: &str, bytes: u64, class: &str) -> ListedObject {
        ListedObject {
            key: key.to_owned(),
            bytes,
            e_tag: "e-2".to_owned(),
            last_modified: OffsetDateTime::from_unix_timestamp_nanos(1_767_323_045_678_000_000)
                .ok(),
            storage_class: (!class.is_empty()).then(|| class.to_owned()),
            version_id: Some("v".to_owned()),
            is_latest: true,
            is_delete_marker: false,
        }
    }

    #[test]
    fn filters_are_strict() {
        let at = object("", 0, "").last_modified;
        let second = |n: i64| at.map(|at| at + time::Duration::seconds(n));
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let object = object("logs/a b.txt", 10, "");
        let all = Selection::default;
        #[rustfmt::skip]
        let table = [
            (all(), true),
            (Selection { created_after: second(-1), ..all() }, true),
            (Selection { created_after: at, ..all() }, false),
            (Selection { created_before: second(1), ..all() }, true),
            (Selection { created_before: at, ..all() }, false),
            (Selection { larger_than: Some(9), ..all() }, true),
            (Selection { larger_than: Some(10), ..all() }, false),
            (Selection { smaller_than: Some(11), ..all() }, true),
            (Selection { smaller_than: Some(10), ..all() }, false),
            (Selection { substrings: words(&["x", "a b"]), ..all() }, true),
            (Selection { substrings: words(&["y", "A"]), ..all() }, false),
            (Selection { suffixes: words(&[".csv", ".txt"]), ..all() }, true),
            (Selection { suffixes: words(&["logs/"]), ..all() }, false),
            (Selection { substrings: words(&["a"]), suffixes: words(&["x"]), ..all() }, false),
            (Selection { storage_classes: words(&["GLACIER", "STANDARD"]), ..all() }, true),
            (Selection { storage_classes: words(&["GLACIER"]), ..all() }, false),
        ];
        for (selection, selected) in table {
            assert_eq!(selection.selects(&object), selected, "{selection:?}");
        }
    }

    #[test]
    fn rows_have_their_columns() {
        let options = RowOptions {
            bucket: "b".to_owned(),
            fields: [
                "Key",
                "Bucket",
                "ETag",
                "Size",
                "VersionId",
                "StorageClass",
                "LastModifiedDate",
            ]
            .into_iter()
            .filter_map(Field::parse)
            .collect(),
            selection: Selection {
                larger_than: Some(1),
                ..Selection::default()
            },
            latest: false,
        };
        let marker = ListedObject {
            is_delete_marker: true,
            ..object("m", 0, "")
        };
        let old = ListedObject {
            is_latest: false,
            ..object("o", 3, "")
        };
        let objects = [
            object("a b,\"\n+", 2, "GLACIER"),
            object("small", 1, ""),
            marker,
            old,
        ];
        let (mut counts, mut out) = (Counts::default(), Vec::new());
        options.write(&objects, &mut counts, &mut out).unwrap();
        let rows = "a%20b%2C%22%0A%2B,b,e-2,2,v,GLACIER,2026-01-02T03:04:05.678Z\n\
                    o,b,e-2,3,v,,2026-01-02T03:04:05.678Z\n";
        assert_eq!(String::from_utf8(out).unwrap(), rows);
        let expected = Counts {
            rows: 2,
            bytes: 5,
            filtered: 1,
            delete_markers: 1,
        };
        assert_eq!(counts, expected);

        let latest = RowOptions {
            latest: true,
            ..options
        };
        let (mut counts, mut out) = (Counts::default(), Vec::new());
        latest.write(&objects, &mut counts, &mut out).unwrap();
        assert_eq!((counts.rows, counts.delete_markers), (1, 0));
    }

    #[test]
    fn rows_are_dealt_from_runs() {
        let dealt = |rows: &str, runs| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(rows.as_bytes()).unwrap();
            let mut out = Vec::new();
            deal(&file, runs, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(dealt("1\n2\n3\n4\n5\n6\n", 3), "1\n3\n5\n2\n4\n6\n");
        assert_eq!(dealt("1\n2\n3\n", 1), "1\n2\n3\n");
        assert_eq!(dealt("", 7), "");
        let rows: Vec<_> = (0..997)
            .map(|n| format!("{}{n}\n", "x".repeat(n % 50)))
            .collect();
        for runs in [1, 2, 16, 997, MAX_RUNS] {
            let out = dealt(&rows.concat(), runs);
            let mut lines: Vec<_> = out.split_inclusive('\n').collect();
            let mut expected: Vec<_> = rows.iter().map(String::as_str).collect();
            lines.sort_unstable();
            expected.sort_unstable();
            assert_eq!(lines, expected, "{runs}");
        }
    }

    #[test]
    fn a_file_is_there_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.csv");
        let files = || std::fs::read_dir(folder.path()).unwrap().count();
        for shuffle in [None, Some(2)] {
            let mut draft = Draft::begin(Place::File(path.clone()), shuffle).unwrap();
            draft.write_all(b"1\n2\n").unwrap();
            drop(draft);
            assert_eq!(files(), 0);
        }
        for (shuffle, rows) in [(None, "1\n2\n3\n4\n"), (Some(2), "1\n3\n2\n4\n")] {
            let mut draft = Draft::begin(Place::File(path.clone()), shuffle).unwrap();
            draft.write_all(b"1\n2\n3\n4\n").unwrap();
            assert!(draft.finish().unwrap().is_none());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), rows);
            assert_eq!(files(), 1);
        }
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o600, 0o600);
        assert!(Draft::begin(Place::File(folder.path().join("no/m.csv")), None).is_err());
    }
}
