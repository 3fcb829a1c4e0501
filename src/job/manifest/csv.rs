//! Rows of CSV: a manifest, or the failed rows of an earlier pass.

mod report;
mod survey;

use std::collections::VecDeque;
use std::io::{self, BufReader, Chain, Cursor, Read};
use std::path::Path;

use csv::{ByteRecord, Reader, ReaderBuilder};
use s3haul_s3::quotas::MAX_KEY_BYTES;

pub(super) use self::report::{check_merged, survey as survey_report};
pub(super) use self::survey::survey;
use super::deal::Deal;
use super::file::Content;
use super::key::{self, KeyEncoding, Shown};
use super::{
    BadRow, CsvForm, Facts, Field, ManifestError, ManifestFile, ManifestOptions, NO_DATE, Parsed,
    Place, Position, ReportForm, Row, Survey, Versions, io_error,
};
use crate::job::code::Code;
use crate::job::report::row::{COLUMNS, ReportRow};

/// What the report shows of a bad row at most: a record of the journal has room for it.
const SHOWN_BYTES: usize = 4 * MAX_KEY_BYTES;

/// How much the reader takes together.
const BUFFER_BYTES: usize = 256 << 10;

/// A UTF-8 byte order mark, which some spreadsheets write and no S3 manifest has.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The rows of a pass, in order.
#[derive(Debug)]
pub struct Rows {
    /// Files that are not begun; of a manifest its name alone, of a report their names in it.
    files: VecDeque<ManifestFile>,
    open: Option<(ManifestFile, Reader<Input>)>,
    /// Number of `open`, and the byte at which it was begun to be read.
    base: Place,
    /// Number of the next file, and the byte at which to begin it.
    next: Place,
    /// Number of the next row in the manifest, where shards are dealt by it.
    row: u64,
    ordinal: u64,
    record: ByteRecord,
    parse: Parse,
}

#[derive(Debug)]
enum Parse {
    /// The manifest's rows, and what was known of it when the job began.
    Manifest(Box<RowParser>, Box<(ManifestFile, Survey)>),
    /// The rows of a report, and what was known of it when the job began.
    Report(Box<RowParser>, Box<(ManifestFile, Survey, ReportForm)>),
    FailedRows,
}

impl Parse {
    fn numbers_rows(&self) -> bool {
        match self {
            Self::Manifest(parser, _) | Self::Report(parser, _) => parser.deal.numbers_rows(),
            Self::FailedRows => false,
        }
    }

    /// Whether the row of that number is this shard's; failed rows of a shard all are.
    fn is_ours(&self, record: &ByteRecord, number: u64) -> bool {
        match self {
            Self::Manifest(parser, _) | Self::Report(parser, _) => parser.is_ours(record, number),
            Self::FailedRows => true,
        }
    }
}

impl Rows {
    /// The selected rows of a surveyed manifest, from `start`.
    pub fn of(
        file: ManifestFile,
        survey: &Survey,
        form: &CsvForm,
        options: &ManifestOptions,
        start: Position,
    ) -> Self {
        let files = [file.clone()];
        let parser = RowParser::new(form.fields.clone(), form.key_encoding, options);
        let parser = RowParser {
            bucket: Some(survey.bucket.clone()),
            versions: Some(survey.version_ids),
            ..parser
        };
        let surveyed = Box::new((file, survey.clone()));
        Self::new(
            files.into(),
            start,
            Parse::Manifest(Box::new(parser), surveyed),
        )
    }

    /// The selected rows of a surveyed report, from `start`.
    pub fn of_report(
        file: ManifestFile,
        survey: &Survey,
        form: &ReportForm,
        options: &ManifestOptions,
        start: Position,
    ) -> Self {
        let files = form.files.iter();
        let files = files.map(|listed| Path::new(&listed.name).into());
        let parser = RowParser::new(report::FIELDS.to_vec(), KeyEncoding::Url, options);
        let parser = RowParser {
            bucket: Some(survey.bucket.clone()),
            versions: Some(survey.version_ids),
            ..parser
        };
        let surveyed = Box::new((file, survey.clone(), form.clone()));
        let parse = Parse::Report(Box::new(parser), surveyed);
        Self::new(files.collect(), start, parse)
    }

    /// The failed rows of an earlier pass, from `start`.
    pub fn failed(files: Vec<ManifestFile>, start: Position) -> Self {
        Self::new(files.into(), start, Parse::FailedRows)
    }

    fn new(mut files: VecDeque<ManifestFile>, start: Position, parse: Parse) -> Self {
        files.drain(..(start.place.file as usize).min(files.len()));
        Self {
            files,
            open: None,
            base: start.place,
            next: start.place,
            row: start.place.row,
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
            Parse::Manifest(_, surveyed) => surveyed.0.check_unchanged(&surveyed.1),
            Parse::Report(_, surveyed) => surveyed.0.check_unchanged(&surveyed.1),
            Parse::FailedRows => Ok(()),
        }
    }

    /// The next selected row; `None` at the end.
    ///
    /// # Errors
    /// Reading fails, or a row is bad that the survey found good: the file has changed.
    pub fn next_row(&mut self) -> Result<Option<Row>, ManifestError> {
        loop {
            let Some((file, reader)) = &mut self.open else {
                if !self.open_next()? {
                    return Ok(None);
                }
                continue;
            };
            let more = match reader.read_byte_record(&mut self.record) {
                Ok(more) => more,
                Err(source) => {
                    let path = file.name();
                    self.check_unchanged()?;
                    return Err(ManifestError::Csv { path, source });
                }
            };
            if !more {
                self.open = None;
                continue;
            }
            let number = self.row;
            self.row += u64::from(self.parse.numbers_rows());
            let after = Place {
                file: self.base.file,
                byte: self.base.byte + reader.position().byte(),
                row: self.row,
            };
            if !self.parse.is_ours(&self.record, number) {
                continue;
            }
            let parsed = match &mut self.parse {
                Parse::Manifest(parser, _) => parser.parse(&self.record),
                Parse::Report(parser, _) => parser.parse(&self.record).map(|parsed| {
                    parsed.map(|parsed| Parsed {
                        facts: report::facts(&self.record),
                        ..parsed
                    })
                }),
                Parse::FailedRows => parse_failed_row(&self.record),
            };
            let parsed = match parsed {
                Ok(parsed) => parsed,
                Err(problem) => return Err(self.bad_row(problem)?),
            };
            if let Some(parsed) = parsed {
                let ordinal = self.ordinal;
                self.ordinal += 1;
                return Ok(Some(parsed.into_row(ordinal, after)));
            }
        }
    }

    /// The last row is bad.
    fn bad_row(&self, problem: String) -> Result<ManifestError, ManifestError> {
        let file = self.open.as_ref().map(|(file, _)| file.clone());
        let file = file.unwrap_or_else(|| Path::new("").into());
        let path = file.name();
        let (start, at) = (self.base.byte, self.record.position());
        let content = |byte| match &self.parse {
            Parse::Manifest(_, surveyed) => {
                let pinned = surveyed.0.look_again(&surveyed.1)?;
                pinned.content(byte).map_err(io_error(&path))
            }
            Parse::Report(..) | Parse::FailedRows => unwatched(&file, byte),
        };
        let row = bad_row(content, start, at, problem)?;
        Ok(bad_rows(&path, row))
    }

    fn open_next(&mut self) -> Result<bool, ManifestError> {
        let Some(mut file) = self.files.pop_front() else {
            return Ok(false);
        };
        let start = self.next.byte;
        let content = match &self.parse {
            Parse::Manifest(_, surveyed) => {
                let pinned = surveyed.0.look_again(&surveyed.1)?;
                pinned.content(start).map_err(io_error(&file.name()))?
            }
            Parse::Report(_, surveyed) => {
                let (manifest, _, form) = &**surveyed;
                let Some(listed) = form.files.get(self.next.file as usize) else {
                    return Ok(false);
                };
                let content;
                (file, content) = report::open(manifest, listed, start)?;
                content
            }
            Parse::FailedRows => unwatched(&file, start)?,
        };
        let (reader, byte) = past_mark(content, start).map_err(io_error(&file.name()))?;
        self.base = Place { byte, ..self.next };
        self.next = Place {
            file: self.next.file + 1,
            ..Place::default()
        };
        self.open = Some((file, csv_reader(reader)));
        Ok(true)
    }
}

/// A file of the report, to which nobody else writes.
fn unwatched(file: &ManifestFile, byte: u64) -> Result<Content, ManifestError> {
    let content = match file {
        ManifestFile::Disk(path) => Content::unwatched(path, byte),
        ManifestFile::Object { .. } => file.look()?.content(byte),
    };
    content.map_err(io_error(&file.name()))
}

/// What was read to look for a mark, and what follows it.
type Input = Chain<Cursor<Vec<u8>>, Content>;

fn csv_reader(content: Input) -> Reader<Input> {
    ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(BUFFER_BYTES)
        .from_reader(content)
}

/// Passes over a byte order mark at the beginning; gives the byte at which reading goes on.
fn past_mark(mut content: Content, byte: u64) -> io::Result<(Input, u64)> {
    let mut first = Vec::new();
    if byte == 0 {
        content
            .by_ref()
            .take(BYTE_ORDER_MARK.len() as u64)
            .read_to_end(&mut first)?;
    }
    let mut byte = byte;
    if first == BYTE_ORDER_MARK {
        byte = first.len() as u64;
        first.clear();
    }
    Ok((Cursor::new(first).chain(content), byte))
}

fn bad_rows(path: &Path, row: BadRow) -> ManifestError {
    ManifestError::BadRows {
        path: path.to_owned(),
        total: 1,
        rows: vec![row],
    }
}

/// A bad row at a reader's position; `start` is the byte at which the reader began, `content` reads the
/// file from a byte on.
///
/// A reader counts what is left of a line's end (the LF of CR LF, blank lines) to the row behind it,
/// which a user would not look for there: the file is asked how much that is.
fn bad_row(
    content: impl FnOnce(u64) -> Result<Content, ManifestError>,
    start: u64,
    at: Option<&csv::Position>,
    problem: String,
) -> Result<BadRow, ManifestError> {
    let (mut line, mut byte) = at.map_or((1, start), |at| (at.line(), start + at.byte()));
    for found in BufReader::new(content(byte)?).bytes() {
        match found {
            Ok(b'\n') => line += 1,
            Ok(b'\r') => {}
            _ => break,
        }
        byte += 1;
    }
    Ok(BadRow {
        line,
        byte: Some(byte),
        problem,
    })
}

/// Reads the rows of a manifest one by one; the first settles what all must have.
#[derive(Debug)]
struct RowParser {
    fields: Vec<Field>,
    key_encoding: KeyEncoding,
    options: ManifestOptions,
    deal: Deal,
    bucket: Option<String>,
    versions: Option<bool>,
}

impl RowParser {
    fn new(fields: Vec<Field>, key_encoding: KeyEncoding, options: &ManifestOptions) -> Self {
        Self {
            fields,
            key_encoding,
            options: options.clone(),
            deal: Deal::of(options, 1),
            bucket: None,
            versions: None,
        }
    }

    /// Whether a row is this shard's, by its number in the manifest or by its key.
    fn is_ours(&self, record: &ByteRecord, number: u64) -> bool {
        self.deal.has_row(number, || {
            let spelt = self.field(record, Field::Key)?;
            let key = key::decode(spelt, self.key_encoding).ok()?;
            Some(key.into_owned().into_bytes())
        })
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
                    spelt: None,
                    key: raw.into_owned(),
                    version_id: None,
                    facts: Facts::default(),
                    problem: Some(problem),
                    is_latest: false,
                    doubted: false,
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
        let is_latest = self.is_latest(record)?;
        let filters = &self.options.filters;
        if !filters.select(&key, facts.size, facts.last_modified) {
            return Ok(None);
        }
        self.options.rename.check_length(&key)?;
        let spelt = key::spelt(spelt, self.key_encoding).map(str::to_owned);
        Ok(Some(Parsed {
            key: key.into_owned(),
            spelt,
            version_id,
            facts,
            problem: None,
            is_latest,
            doubted: false,
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

    fn is_latest(&self, record: &ByteRecord) -> Result<bool, String> {
        match self.text(record, Field::IsLatest)? {
            None => Ok(false),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) => Err(format!("its IsLatest {text:?} is neither true nor false")),
        }
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
            // Without one it was written before the bucket had versions.
            self.versions = Some(true);
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
        let last_modified = last_modified.map(super::date).transpose()?;
        if last_modified.is_none() && self.options.versions == Some(Versions::All) {
            return Err(NO_DATE.to_owned());
        }
        let e_tag = self.text(record, Field::ETag)?;
        Ok(Facts {
            size,
            last_modified,
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
        let problem = (row.error_code == Code::InvalidManifestRow.as_str()).then(|| {
            let message = message.as_ref().and_then(|m| m.get("message")?.as_str());
            message.unwrap_or("bad row").to_owned()
        });
        let key = match &problem {
            Some(_) => row.key.clone(),
            None => key::decode(row.key.as_bytes(), KeyEncoding::Url)
                .ok()?
                .into_owned(),
        };
        Some(Parsed {
            key,
            spelt: Some(row.key),
            version_id: Some(row.version_id).filter(|id| !id.is_empty()),
            facts: Facts {
                size: fact(0).and_then(|size| size.parse().ok()),
                last_modified: fact(1).and_then(|text| super::parse_time(&text)),
                e_tag: fact(2),
                storage_class: fact(3),
                encryption: fact(4),
                delete_marker: fact(5).is_some(),
            },
            doubted: message.is_some_and(|m| m.get("in_doubt").is_some_and(|is| is == true)),
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
