//! The look at a whole manifest before its first copy: every bad row, the number of rows, the digest.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use csv::{ByteRecord, Reader};

use super::{BYTE_ORDER_MARK, RowParser, bad_row, bad_rows, csv_reader, open};
use crate::job::manifest::key::{EncodingDoubt, EncodingProbe, KeyEncoding, Shown};
use crate::job::manifest::watched::Stamp;
use crate::job::manifest::{
    BadRow, CsvForm, Field, Form, LISTED_BAD_ROWS, ManifestError, ManifestOptions, Survey,
    Versions, digest_of, io_error,
};

/// Reads a whole manifest that begins with `start`: finds every bad row, counts the rows and takes the
/// digest.
///
/// # Errors
/// It cannot be read, is no CSV manifest, or has bad rows that are not to be kept.
pub(crate) fn survey(
    path: &Path,
    options: &ManifestOptions,
    start: &[u8],
) -> Result<Survey, ManifestError> {
    let file = File::open(path).map_err(io_error(path))?;
    let stamp = Some(Stamp::of(&file).map_err(io_error(path))?);
    let (md5, file_bytes) = digest_of(file).map_err(io_error(path))?;
    if let Some(what) = other_format(start) {
        return Err(ManifestError::NotCsv {
            path: path.to_owned(),
            what,
        });
    }
    if options.versions == Some(Versions::Latest) {
        return Err(ManifestError::NoLatest {
            path: path.to_owned(),
        });
    }
    if options.versions == Some(Versions::All) {
        let fields = options.fields.as_deref().unwrap_or_default();
        let lacking = |field: &Field| !fields.contains(field);
        if let Some(lacks) = [Field::VersionId, Field::LastModifiedDate]
            .into_iter()
            .find(lacking)
        {
            return Err(ManifestError::NoOrder {
                path: path.to_owned(),
                lacks,
            });
        }
    }
    let (file, byte) = open(path, 0).map_err(io_error(path))?;
    let found = Surveyor::new(path, options, byte).read(csv_reader(file))?;
    let empty = || ManifestError::Empty {
        path: path.to_owned(),
        filtered: found.filtered,
    };
    let parser = found.parser.filter(|_| found.rows > 0).ok_or_else(empty)?;
    Ok(Survey {
        rows: found.rows,
        filtered: found.filtered,
        bad_rows: found.bad_rows,
        bucket: parser.bucket.ok_or_else(empty)?,
        version_ids: parser.versions.unwrap_or(false),
        delete_markers: 0,
        latest_delete_markers: 0,
        sorted_bytes: found.sorted_bytes,
        form: Form::Csv(CsvForm {
            fields: parser.fields,
            key_encoding: parser.key_encoding,
            byte_order_mark: start.starts_with(BYTE_ORDER_MARK),
        }),
        md5,
        file_bytes,
        stamp,
    })
}

fn other_format(start: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 7] = [
        (b"\x1f\x8b", "gzip-compressed"),
        (b"ORC", "an ORC file"),
        (b"PAR1", "a Parquet file"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xfe\xff", "UTF-16"),
        (b"PK\x03\x04", "a ZIP archive or spreadsheet"),
        (b"{", "JSON"),
    ];
    known
        .iter()
        .find(|(magic, _)| start.starts_with(magic))
        .map(|(_, what)| *what)
}

/// Whether a file ends inside a quoted field; `byte` is where its last record begins.
fn ends_in_quotes(path: &Path, byte: u64) -> io::Result<bool> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(byte))?;
    let mut quoted = false;
    // Where a quote opens: at a field's start, and right behind one that closed, since a quote in
    // quotes is doubled. Elsewhere it is a character like others.
    let mut opens = true;
    for byte in BufReader::new(file).bytes() {
        let byte = byte?;
        if byte == b'"' && (quoted || opens) {
            opens = quoted;
            quoted = !quoted;
        } else if !quoted {
            opens = matches!(byte, b',' | b'\r' | b'\n');
        }
    }
    Ok(quoted)
}

struct Surveyor<'a> {
    path: &'a Path,
    options: &'a ManifestOptions,
    parser: Option<RowParser>,
    probe: Option<EncodingProbe>,
    /// The byte at which the reader begins.
    start: u64,
    /// Where the last row was.
    last: Option<csv::Position>,
    rows: u64,
    filtered: u64,
    bad_rows: u64,
    sorted_bytes: u64,
    listed: Vec<BadRow>,
}

impl<'a> Surveyor<'a> {
    fn new(path: &'a Path, options: &'a ManifestOptions, start: u64) -> Self {
        let probe = options.key_encoding.is_none().then(EncodingProbe::default);
        Self {
            path,
            options,
            parser: None,
            probe,
            start,
            last: None,
            rows: 0,
            filtered: 0,
            bad_rows: 0,
            sorted_bytes: 0,
            listed: Vec::new(),
        }
    }

    fn read(mut self, mut reader: Reader<BufReader<File>>) -> Result<Self, ManifestError> {
        let mut record = ByteRecord::new();
        while reader
            .read_byte_record(&mut record)
            .map_err(|source| ManifestError::Csv {
                path: self.path.to_owned(),
                source,
            })?
        {
            self.last = record.position().cloned();
            self.row(&record)?;
        }
        self.check_end()?;
        if let Some(doubt) = self.probe.and_then(|probe| probe.judge().err()) {
            return Err(self.doubted(doubt));
        }
        if self.bad_rows > 0 && !self.options.keep_bad_rows {
            let (path, total) = (self.path.to_owned(), self.bad_rows);
            return Err(ManifestError::BadRows {
                path,
                total,
                rows: self.listed,
            });
        }
        Ok(self)
    }

    /// A quote that is never closed makes one row of all that follow it: they would be lost.
    fn check_end(&self) -> Result<(), ManifestError> {
        let byte = self.last.as_ref().map_or(0, csv::Position::byte);
        match ends_in_quotes(self.path, self.start + byte) {
            Ok(false) => Ok(()),
            Ok(true) => {
                let problem = "a quote that begins in it is never closed".to_owned();
                Err(bad_rows(self.path, self.bad_row(problem)))
            }
            Err(source) => Err(ManifestError::Io {
                path: self.path.to_owned(),
                source,
            }),
        }
    }

    /// The last row is bad.
    fn bad_row(&self, problem: String) -> BadRow {
        bad_row(self.path, self.start, self.last.as_ref(), problem)
    }

    /// The last row leaves the encoding in doubt.
    fn doubted(&self, doubt: EncodingDoubt) -> ManifestError {
        ManifestError::Encoding {
            path: self.path.to_owned(),
            line: self.bad_row(String::new()).line,
            doubt,
        }
    }

    fn row(&mut self, record: &ByteRecord) -> Result<(), ManifestError> {
        if self.parser.is_none() {
            self.parser = Some(self.first_row(record)?);
        }
        let Some(parser) = &mut self.parser else {
            return Ok(());
        };
        if let Some(probe) = &mut self.probe
            && let Some(Err(doubt)) = parser.field(record, Field::Key).map(|key| probe.look(key))
        {
            return Err(self.doubted(doubt));
        }
        match parser.parse(record) {
            Ok(None) => self.filtered += 1,
            Ok(Some(parsed)) => {
                self.rows += 1;
                self.sorted_bytes += parsed.sorted_bytes(self.options);
                self.bad_rows += u64::from(parsed.problem.is_some());
            }
            Err(problem) => {
                self.bad_rows += 1;
                if self.listed.len() < LISTED_BAD_ROWS {
                    self.listed.push(self.bad_row(problem));
                }
            }
        }
        Ok(())
    }

    /// Settles the columns, and refuses a header row by name.
    fn first_row(&self, record: &ByteRecord) -> Result<RowParser, ManifestError> {
        let path = || self.path.to_owned();
        let words: Vec<_> = record
            .iter()
            .map(|f| {
                String::from_utf8_lossy(f)
                    .to_lowercase()
                    .replace([' ', '_', '-'], "")
            })
            .collect();
        if words.iter().any(|w| w == "bucket") && words.iter().any(|w| w == "key") {
            let row = record
                .iter()
                .map(String::from_utf8_lossy)
                .collect::<Vec<_>>()
                .join(",");
            return Err(ManifestError::Header {
                path: path(),
                row: Shown(&row).to_string(),
            });
        }
        let fields = match (&self.options.fields, record.len()) {
            (Some(fields), _) => fields.clone(),
            (None, 2) => vec![Field::Bucket, Field::Key],
            (None, 3) => vec![Field::Bucket, Field::Key, Field::VersionId],
            (None, columns) => {
                return Err(ManifestError::Columns {
                    path: path(),
                    columns,
                });
            }
        };
        if let Some((flag, field)) = self.options.filters.lacking(&fields) {
            return Err(ManifestError::Lacking {
                path: path(),
                flag,
                field,
            });
        }
        let key_encoding = self.options.key_encoding.unwrap_or(KeyEncoding::Url);
        Ok(RowParser::new(fields, key_encoding, self.options))
    }
}
