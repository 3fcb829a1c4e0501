//! The look at a whole manifest before its first copy: every bad row, and the number of rows.

use std::io::{self, BufReader, Read};
use std::path::Path;

use csv::{ByteRecord, Reader};

use super::{BYTE_ORDER_MARK, Input, RowParser, bad_row, bad_rows, csv_reader, past_mark, report};
use crate::job::manifest::file::{Content, Pinned};
use crate::job::manifest::key::{EncodingDoubt, EncodingProbe, KeyEncoding, Shown};
use crate::job::manifest::{
    BadRow, CsvForm, Field, Form, LISTED_BAD_ROWS, ManifestError, ManifestFile, ManifestOptions,
    Survey, Versions, Watching, io_error,
};

/// Reads a whole manifest whose content begins with `start`: finds every bad row and counts the rows.
///
/// # Errors
/// It cannot be read, is no CSV manifest, or has bad rows that are not to be kept.
pub(crate) fn survey(
    file: &ManifestFile,
    pinned: &Pinned,
    options: &ManifestOptions,
    start: &[u8],
    watching: Watching<'_>,
) -> Result<Survey, ManifestError> {
    let path = file.name();
    if let Some(what) = other_format(start) {
        return Err(ManifestError::NotCsv { path, what });
    }
    if options.versions == Some(Versions::Latest) {
        return Err(ManifestError::NoLatest { path });
    }
    if options.versions == Some(Versions::All) {
        let fields = options.fields.as_deref().unwrap_or_default();
        let lacking = |field: &Field| !fields.contains(field);
        if let Some(lacks) = [Field::VersionId, Field::LastModifiedDate]
            .into_iter()
            .find(lacking)
        {
            return Err(ManifestError::NoOrder { path, lacks });
        }
    }
    let (input, byte) = pinned
        .content(0)
        .and_then(|content| past_mark(content, 0))
        .map_err(io_error(&path))?;
    // To see what is in it takes no good row.
    let inspected = watching.inspects();
    let found = Surveyor::new(&path, pinned, options, byte, watching).read(csv_reader(input))?;
    let empty = || ManifestError::Empty {
        path: path.clone(),
        filtered: found.filtered,
    };
    // One that has rows for other shards is not empty.
    let selected = found.rows + found.others;
    let parser = found.parser.filter(|_| inspected || selected > 0);
    let parser = parser.ok_or_else(empty)?;
    Ok(Survey {
        rows: found.rows,
        filtered: found.filtered,
        bad_rows: found.bad_rows,
        bucket: parser
            .bucket
            .or(inspected.then(String::new))
            .ok_or_else(empty)?,
        version_ids: parser.versions.unwrap_or(false),
        delete_markers: 0,
        latest_delete_markers: 0,
        sorted_bytes: found.sorted_bytes,
        form: Form::Csv(CsvForm {
            fields: parser.fields,
            key_encoding: parser.key_encoding,
            byte_order_mark: start.starts_with(BYTE_ORDER_MARK),
        }),
        e_tag: pinned.e_tag().to_owned(),
        file_bytes: pinned.bytes(),
        dealt: parser.deal.dealt(1, found.number),
        stamp: pinned.stamp(),
    })
}

fn other_format(start: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 7] = [
        (b"\x1f\x8b", "gzip-compressed twice"),
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

/// Whether a file ends inside a quoted field; `last` is its last record and what follows.
fn ends_in_quotes(last: Content) -> io::Result<bool> {
    let mut quoted = false;
    // Where a quote opens: at a field's start, and right behind one that closed, since a quote in
    // quotes is doubled. Elsewhere it is a character like others.
    let mut opens = true;
    for byte in BufReader::new(last).bytes() {
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

struct Surveyor<'a, 'm> {
    path: &'a Path,
    pinned: &'a Pinned,
    options: &'a ManifestOptions,
    parser: Option<RowParser>,
    probe: Option<EncodingProbe>,
    /// The byte at which the reader begins.
    start: u64,
    /// Where the last row was.
    last: Option<csv::Position>,
    /// Number of the next row.
    number: u64,
    rows: u64,
    filtered: u64,
    /// Rows that are selected for other shards: bad ones are looked for among them too, as all shards
    /// begin or none.
    others: u64,
    bad_rows: u64,
    sorted_bytes: u64,
    listed: Vec<BadRow>,
    watching: Watching<'m>,
}

impl<'a, 'm> Surveyor<'a, 'm> {
    fn new(
        path: &'a Path,
        pinned: &'a Pinned,
        options: &'a ManifestOptions,
        start: u64,
        watching: Watching<'m>,
    ) -> Self {
        let probe = options.key_encoding.is_none().then(EncodingProbe::default);
        Self {
            path,
            pinned,
            options,
            parser: None,
            probe,
            start,
            last: None,
            number: 0,
            rows: 0,
            filtered: 0,
            others: 0,
            bad_rows: 0,
            sorted_bytes: 0,
            listed: Vec::new(),
            watching,
        }
    }

    fn read(mut self, mut reader: Reader<Input>) -> Result<Self, ManifestError> {
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
        let listed = std::mem::take(&mut self.listed);
        if let Err(rows) = self.watching.bad(self.path, listed)
            && self.bad_rows > 0
            && !self.options.keep_bad_rows
        {
            let (path, total) = (self.path.to_owned(), self.bad_rows);
            return Err(ManifestError::BadRows { path, total, rows });
        }
        Ok(self)
    }

    /// A quote that is never closed makes one row of all that follow it: they would be lost.
    fn check_end(&self) -> Result<(), ManifestError> {
        let byte = self.last.as_ref().map_or(0, csv::Position::byte);
        let last = self.content(self.start + byte)?;
        if ends_in_quotes(last).map_err(io_error(self.path))? {
            let problem = "a quote that begins in it is never closed".to_owned();
            return Err(bad_rows(self.path, self.bad_row(problem)?));
        }
        Ok(())
    }

    fn content(&self, byte: u64) -> Result<Content, ManifestError> {
        self.pinned.content(byte).map_err(io_error(self.path))
    }

    /// The last row is bad.
    fn bad_row(&self, problem: String) -> Result<BadRow, ManifestError> {
        let content = |byte| self.content(byte);
        bad_row(content, self.start, self.last.as_ref(), problem)
    }

    /// The last row leaves the encoding in doubt.
    fn doubted(&self, doubt: EncodingDoubt) -> ManifestError {
        match self.bad_row(String::new()) {
            Ok(row) => ManifestError::Encoding {
                path: self.path.to_owned(),
                line: row.line,
                doubt,
            },
            Err(error) => error,
        }
    }

    fn row(&mut self, record: &ByteRecord) -> Result<(), ManifestError> {
        if self.parser.is_none() {
            self.parser = Some(self.first_row(record)?);
            if self.options.fields.is_none() && report::is_row(record) {
                // A report encodes its keys, whatever the first ones look like.
                self.probe = None;
            }
        }
        let Some(parser) = &mut self.parser else {
            return Ok(());
        };
        if let Some(probe) = &mut self.probe
            && let Some(Err(doubt)) = parser.field(record, Field::Key).map(|key| probe.look(key))
        {
            return Err(self.doubted(doubt));
        }
        let ours = parser.is_ours(record, self.number);
        self.number += 1;
        match parser.parse(record) {
            Ok(parsed) if !ours => self.others += u64::from(parsed.is_some()),
            Ok(None) => self.filtered += 1,
            Ok(Some(parsed)) => {
                self.rows += 1;
                if self.options.versions == Some(Versions::All) {
                    self.sorted_bytes += parsed.sorted_bytes();
                }
                self.bad_rows += u64::from(parsed.problem.is_some());
                self.watching.row(parsed);
            }
            Err(problem) => {
                self.bad_rows += 1;
                if self.listed.len() < LISTED_BAD_ROWS {
                    self.listed.push(self.bad_row(problem)?);
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
            (None, _) if report::is_row(record) => report::FIELDS.to_vec(),
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
