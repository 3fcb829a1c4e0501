//! Rows of CSV: a manifest, or the failed rows of an earlier pass.

mod survey;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use csv::{ByteRecord, Reader, ReaderBuilder};
use s3haul_s3::quotas::MAX_KEY_BYTES;

pub(super) use self::survey::survey;
use super::key::{self, KeyEncoding, Shown};
use super::watched::{Watched, check_unchanged};
use super::{
    BadRow, CsvForm, Facts, Field, ManifestError, ManifestOptions, NO_DATE, Parsed, Place,
    Position, Row, Survey, Versions,
};
use crate::job::report::row::{COLUMNS, ReportRow};

/// What the report shows of a bad row at most: a record of the journal has room for it.
const SHOWN_BYTES: usize = 4 * MAX_KEY_BYTES;

/// A UTF-8 byte order mark, which some spreadsheets write and no S3 manifest has.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The rows of a pass, in order.
#[derive(Debug)]
pub struct Rows {
    files: VecDeque<PathBuf>,
    open: Option<(PathBuf, Reader<BufReader<Watched>>)>,
    /// Number of `open`, and the byte at which it was begun to be read.
    base: Place,
    /// Number of the next file, and the byte at which to begin it.
    next: Place,
    ordinal: u64,
    record: ByteRecord,
    parse: Parse,
}

#[derive(Debug)]
enum Parse {
    /// The manifest's rows, and what was known of it when the job began.
    Manifest(Box<RowParser>, Box<(PathBuf, Survey)>),
    FailedRows,
}

impl Rows {
    /// The selected rows of a surveyed manifest, from `start`.
    pub fn of(
        path: &Path,
        survey: &Survey,
        form: &CsvForm,
        options: &ManifestOptions,
        start: Position,
    ) -> Self {
        let files = [path.to_owned()];
        let parser = RowParser::new(form.fields.clone(), form.key_encoding, options);
        let parser = RowParser {
            bucket: Some(survey.bucket.clone()),
            versions: Some(survey.version_ids),
            ..parser
        };
        let surveyed = Box::new((path.to_owned(), survey.clone()));
        Self::new(
            files.into(),
            start,
            Parse::Manifest(Box::new(parser), surveyed),
        )
    }

    /// The failed rows of an earlier pass, from `start`.
    pub fn failed(files: Vec<PathBuf>, start: Position) -> Self {
        Self::new(files.into(), start, Parse::FailedRows)
    }

    fn new(mut files: VecDeque<PathBuf>, start: Position, parse: Parse) -> Self {
        files.drain(..(start.place.file as usize).min(files.len()));
        Self {
            files,
            open: None,
            base: start.place,
            next: start.place,
            ordinal: start.ordinal,
            record: ByteRecord::new(),
            parse,
        }
    }

    /// Whether what was read is still the manifest that the job began with; always so of failed rows.
    ///
    /// # Errors
    /// It cannot be read, or is another file.
    pub fn check_unchanged(&self) -> Result<(), ManifestError> {
        match &self.parse {
            Parse::Manifest(_, surveyed) => check_unchanged(&surveyed.0, &surveyed.1.md5),
            Parse::FailedRows => Ok(()),
        }
    }

    /// The next selected row; `None` at the end.
    ///
    /// # Errors
    /// Reading fails, or a row is bad that the survey found good: the file has changed.
    pub fn next_row(&mut self) -> Result<Option<Row>, ManifestError> {
        loop {
            let Some((path, reader)) = &mut self.open else {
                if !self.open_next()? {
                    return Ok(None);
                }
                continue;
            };
            let more = match reader.read_byte_record(&mut self.record) {
                Ok(more) => more,
                Err(source) => {
                    let path = path.clone();
                    self.check_unchanged()?;
                    return Err(ManifestError::Csv { path, source });
                }
            };
            if !more {
                self.open = None;
                continue;
            }
            let after = Place {
                byte: self.base.byte + reader.position().byte(),
                ..self.base
            };
            let parsed = match &mut self.parse {
                Parse::Manifest(parser, _) => parser.parse(&self.record),
                Parse::FailedRows => parse_failed_row(&self.record),
            };
            let path = path.clone();
            let parsed = parsed.map_err(|problem| {
                let row = bad_row(&path, self.base.byte, self.record.position(), problem);
                bad_rows(&path, row)
            })?;
            if let Some(parsed) = parsed {
                let ordinal = self.ordinal;
                self.ordinal += 1;
                return Ok(Some(parsed.into_row(ordinal, after)));
            }
        }
    }

    fn open_next(&mut self) -> Result<bool, ManifestError> {
        let Some(path) = self.files.pop_front() else {
            return Ok(false);
        };
        let io = |source| ManifestError::Io {
            path: path.clone(),
            source,
        };
        let (file, byte) = open(&path, self.next.byte).map_err(io)?;
        let file = match &self.parse {
            Parse::Manifest(_, surveyed) => {
                let (path, survey) = &**surveyed;
                Watched::new(file, path, &survey.md5, survey.stamp).map_err(io)?
            }
            Parse::FailedRows => Watched::unwatched(file),
        };
        self.base = Place {
            file: self.next.file,
            byte,
        };
        self.next = Place {
            file: self.next.file + 1,
            byte: 0,
        };
        self.open = Some((path, csv_reader(file)));
        Ok(true)
    }
}

fn csv_reader<R: Read>(file: R) -> Reader<BufReader<R>> {
    ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(BufReader::with_capacity(256 << 10, file))
}

/// Opens a file at a byte; at the beginning a byte order mark is passed over.
fn open(path: &Path, byte: u64) -> io::Result<(File, u64)> {
    let mut file = File::open(path)?;
    let mut byte = byte;
    if byte == 0 {
        let mut first = Vec::new();
        file.by_ref()
            .take(BYTE_ORDER_MARK.len() as u64)
            .read_to_end(&mut first)?;
        byte = if first == BYTE_ORDER_MARK {
            first.len() as u64
        } else {
            0
        };
    }
    file.seek(SeekFrom::Start(byte))?;
    Ok((file, byte))
}

fn bad_rows(path: &Path, row: BadRow) -> ManifestError {
    ManifestError::BadRows {
        path: path.to_owned(),
        total: 1,
        rows: vec![row],
    }
}

/// A bad row at a reader's position; `start` is the byte at which the reader began.
///
/// A reader counts what is left of a line's end (the LF of CR LF, blank lines) to the row behind it,
/// which a user would not look for there: the file is asked how much that is.
fn bad_row(path: &Path, start: u64, at: Option<&csv::Position>, problem: String) -> BadRow {
    let (mut line, mut byte) = at.map_or((1, start), |at| (at.line(), start + at.byte()));
    let opened = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(byte))?;
        Ok(BufReader::new(file))
    });
    for found in opened.into_iter().flat_map(Read::bytes) {
        match found {
            Ok(b'\n') => line += 1,
            Ok(b'\r') => {}
            _ => break,
        }
        byte += 1;
    }
    BadRow {
        line,
        byte: Some(byte),
        problem,
    }
}

/// Reads the rows of a manifest one by one; the first settles what all must have.
#[derive(Debug)]
struct RowParser {
    fields: Vec<Field>,
    key_encoding: KeyEncoding,
    options: ManifestOptions,
    bucket: Option<String>,
    versions: Option<bool>,
}

impl RowParser {
    fn new(fields: Vec<Field>, key_encoding: KeyEncoding, options: &ManifestOptions) -> Self {
        Self {
            fields,
            key_encoding,
            options: options.clone(),
            bucket: None,
            versions: None,
        }
    }

    /// The row, `None` if the filters leave it out; what is wrong with it, unless bad rows are kept.
    fn parse(&mut self, record: &ByteRecord) -> Result<Option<Parsed>, String> {
        match self.parse_strictly(record) {
            Err(problem) if self.options.keep_bad_rows => {
                let key = self.field(record, Field::Key).or_else(|| record.get(0));
                let key = key.unwrap_or_default();
                let raw = String::from_utf8_lossy(key.get(..SHOWN_BYTES).unwrap_or(key));
                let problem: String = problem.chars().take(SHOWN_BYTES).collect();
                Ok(Some(Parsed {
                    spelling: key::encode(&raw),
                    key: raw.into_owned(),
                    version_id: None,
                    facts: Facts::default(),
                    problem: Some(problem),
                    is_latest: false,
                }))
            }
            parsed => parsed,
        }
    }

    fn parse_strictly(&mut self, record: &ByteRecord) -> Result<Option<Parsed>, String> {
        if record.len() != self.fields.len() {
            return Err(format!(
                "it has {} columns where {} are expected",
                record.len(),
                self.fields.len()
            ));
        }
        self.check_bucket(record)?;
        let spelt = self.field(record, Field::Key).unwrap_or_default();
        let key = key::decode(spelt, self.key_encoding).map_err(|error| error.to_string())?;
        let version_id = self.version_id(record)?;
        let facts = self.facts(record)?;
        if !self.options.filters.select(&key, &facts) {
            return Ok(None);
        }
        self.options.rename.check_length(&key)?;
        let spelling = key::spelling(spelt, &key, self.key_encoding);
        Ok(Some(Parsed {
            key,
            spelling,
            version_id,
            facts,
            problem: None,
            is_latest: false,
        }))
    }

    fn field<'r>(&self, record: &'r ByteRecord, field: Field) -> Option<&'r [u8]> {
        self.fields
            .iter()
            .position(|named| *named == field)
            .and_then(|at| record.get(at))
    }

    fn text<'r>(&self, record: &'r ByteRecord, field: Field) -> Result<Option<&'r str>, String> {
        let Some(bytes) = self.field(record, field) else {
            return Ok(None);
        };
        let text =
            std::str::from_utf8(bytes).map_err(|_| format!("its {} is not UTF-8", field.name()))?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    fn check_bucket(&mut self, record: &ByteRecord) -> Result<(), String> {
        let bucket = self
            .text(record, Field::Bucket)?
            .ok_or("the bucket is empty")?;
        let first = self.bucket.get_or_insert_with(|| bucket.to_owned());
        if first != bucket {
            return Err(format!(
                "its bucket is {}, the first row's {}: a job has one source bucket",
                Shown(bucket),
                Shown(first)
            ));
        }
        Ok(())
    }

    fn version_id(&mut self, record: &ByteRecord) -> Result<Option<String>, String> {
        if !self.fields.contains(&Field::VersionId) {
            return Ok(None);
        }
        let version_id = self.text(record, Field::VersionId)?;
        if self.options.versions == Some(Versions::All) {
            // Written before the bucket had versions.
            return Ok(Some(version_id.unwrap_or("null").to_owned()));
        }
        let expected = *self.versions.get_or_insert(version_id.is_some());
        match (expected, version_id) {
            (true, None) => Err("it has no version ID, and the first row has one: \
                 version IDs go on all rows or none (the null version is `null`)"
                .to_owned()),
            (false, Some(_)) => Err("it has a version ID, and the first row has none: \
                 version IDs go on all rows or none (the null version is `null`)"
                .to_owned()),
            (_, version_id) => Ok(version_id.map(str::to_owned)),
        }
    }

    fn facts(&self, record: &ByteRecord) -> Result<Facts, String> {
        let size = match self.text(record, Field::Size)? {
            None => None,
            Some(text) => Some(
                text.parse()
                    .map_err(|_| format!("its Size is {}, no number", Shown(text)))?,
            ),
        };
        let last_modified = self.text(record, Field::LastModifiedDate)?;
        if let Some(text) = last_modified
            && super::parse_time(text).is_none()
        {
            return Err(format!(
                "its LastModifiedDate is {}, no RFC 3339 time",
                Shown(text)
            ));
        }
        if last_modified.is_none() && self.options.versions == Some(Versions::All) {
            return Err(NO_DATE.to_owned());
        }
        let e_tag = self.text(record, Field::ETag)?;
        Ok(Facts {
            size,
            last_modified: last_modified.map(str::to_owned),
            e_tag: e_tag.map(|e_tag| e_tag.trim_matches('"').to_owned()),
            storage_class: self.text(record, Field::StorageClass)?.map(str::to_owned),
            encryption: None,
            delete_marker: false,
        })
    }
}

/// A line of a failed-rows file: the report's columns and the manifest's facts.
fn parse_failed_row(record: &ByteRecord) -> Result<Option<Parsed>, String> {
    let read = || {
        let record = csv::StringRecord::from_byte_record(record.clone()).ok()?;
        let row = ReportRow::parse(&record)?;
        let fact = |at: usize| {
            record
                .get(COLUMNS + at)
                .filter(|f| !f.is_empty())
                .map(str::to_owned)
        };
        let message = serde_json::from_str::<serde_json::Value>(&row.message).ok();
        let problem = (row.error_code == "InvalidManifestRow").then(|| {
            let message = message.as_ref().and_then(|m| m.get("message")?.as_str());
            message.unwrap_or("bad row").to_owned()
        });
        let key = match &problem {
            Some(_) => row.key.clone(),
            None => key::decode(row.key.as_bytes(), KeyEncoding::Url).ok()?,
        };
        Some(Parsed {
            key,
            spelling: row.key,
            version_id: Some(row.version_id).filter(|id| !id.is_empty()),
            facts: Facts {
                size: fact(0).and_then(|size| size.parse().ok()),
                last_modified: fact(1),
                e_tag: fact(2),
                storage_class: fact(3),
                encryption: fact(4),
                delete_marker: fact(5).is_some(),
            },
            problem,
            is_latest: false,
        })
    };
    read()
        .map(Some)
        .ok_or_else(|| "it is no failed row of this report".to_owned())
}

#[cfg(test)]
mod tests;
