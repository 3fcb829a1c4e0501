//! The CSV data files of an inventory: compressed, every value in quotes, no header row.

use std::io::{self, BufRead, BufReader, Read};

use csv::{ByteRecord, Reader, ReaderBuilder};
use flate2::bufread::MultiGzDecoder;

use super::{Column, Decoded, Modified, Record};
use crate::job::manifest::watched::Watched;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Reads one file.
#[derive(Debug)]
pub(super) struct Decoder {
    reader: Reader<Input>,
    columns: Vec<Option<Column>>,
    record: ByteRecord,
    /// Where reading began, once decompressed.
    start: u64,
}

/// S3 compresses; who has decompressed a file and listed its new MD5 is served too.
#[derive(Debug)]
enum Input {
    /// One member or several: a reader of one stops after the first, in silence.
    Gzip(Box<MultiGzDecoder<BufReader<Watched>>>),
    Plain(BufReader<Watched>),
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(input) => input.read(buffer),
            Self::Plain(input) => input.read(buffer),
        }
    }
}

impl Decoder {
    /// Reads from `start`, a byte of the decompressed file at which a row begins.
    pub(super) fn new(
        file: Watched,
        columns: Vec<Option<Column>>,
        start: u64,
    ) -> Result<Self, Failure> {
        let mut file = BufReader::with_capacity(256 << 10, file);
        let gzip = file.fill_buf()?.starts_with(b"\x1f\x8b");
        let mut input = if gzip {
            Input::Gzip(Box::new(MultiGzDecoder::new(file)))
        } else {
            Input::Plain(file)
        };
        io::copy(&mut input.by_ref().take(start), &mut io::sink())?;
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(256 << 10)
            .from_reader(input);
        Ok(Self {
            reader,
            columns,
            record: ByteRecord::new(),
            start,
        })
    }

    pub(super) fn next(&mut self) -> Decoded<'_> {
        if !self.reader.read_byte_record(&mut self.record)? {
            return Ok(None);
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        if self.record.len() != self.columns.len() {
            let (found, expected) = (self.record.len(), self.columns.len());
            let problem =
                format!("line {line} has {found} columns where fileSchema names {expected}");
            return Err(problem.into());
        }
        let mut record = Record::default();
        for (column, field) in self.columns.iter().zip(&self.record) {
            match column {
                None => {}
                Some(Column::Bucket) => record.bucket = field,
                Some(Column::Key) => record.key = field,
                Some(Column::VersionId) => record.version_id = field,
                Some(Column::IsLatest) => record.is_latest = Some(is_true(field)),
                Some(Column::IsDeleteMarker) => record.is_delete_marker = is_true(field),
                Some(Column::Size) if field.is_empty() => {}
                Some(Column::Size) => {
                    let size = std::str::from_utf8(field).ok().and_then(|n| n.parse().ok());
                    let problem = || {
                        let field = String::from_utf8_lossy(field);
                        format!(
                            "line {line}: its Size is {}, no number",
                            field.escape_default()
                        )
                    };
                    record.size = Some(size.ok_or_else(problem)?);
                }
                Some(Column::LastModifiedDate) => record.last_modified = Modified::Text(field),
                Some(Column::ETag) => record.e_tag = field,
                Some(Column::StorageClass) => record.storage_class = field,
                Some(Column::EncryptionStatus) => record.encryption = field,
            }
        }
        Ok(Some(record))
    }

    /// Where the next row begins; line and byte of the last one.
    pub(super) fn at(&self) -> (u64, u64, Option<u64>) {
        let last = self.record.position();
        let line = last.map_or(0, csv::Position::line);
        let byte = last.map_or(0, csv::Position::byte);
        let next = self.start + self.reader.position().byte();
        (next, line, Some(self.start + byte))
    }
}

fn is_true(field: &[u8]) -> bool {
    field.eq_ignore_ascii_case(b"true")
}
