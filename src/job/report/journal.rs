//! The journal: frames of length, CRC-32C and record, appended as rows end.
//!
//! A frame is `length` (u32, little endian, of the record), `CRC-32C` (u32, little endian, of the
//! record) and the record, a JSON object. A torn tail is what a crash leaves and ends the journal;
//! a bad frame with a valid one behind it is corruption, which nothing here guesses about.

use std::io::{self, Read, Write};

use crc_fast::CrcAlgorithm::Crc32Iscsi;
use serde::{Deserialize, Serialize};

use super::row::{TaskStatus, write_line};
use crate::job::manifest::{Facts, Place};

/// Largest record that is read as one: far over what a row can weigh.
const MAX_RECORD_BYTES: u32 = 1 << 20;
/// Bytes before the record.
const HEADER_BYTES: usize = 8;

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// A row ended.
    Outcome(OutcomeRecord),
    /// A multipart upload was created; durable before its first part is sent.
    UploadOpened(OpenUpload),
    /// An upload was completed or aborted while its row goes on.
    UploadClosed {
        /// The row it belongs to.
        ordinal: u64,
    },
}

/// How a row ended, with what the report and the next pass need of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeRecord {
    /// The row's place in its pass.
    pub ordinal: u64,
    /// Where the row after it begins in the pass's source.
    pub after: Place,
    /// How it ended.
    pub status: TaskStatus,
    /// S3's error code or ours; empty for a success.
    pub error_code: String,
    /// What proved a success: `response`, `found`, ….
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// Size of the object that was copied.
    pub bytes: u64,
    /// Requests sent for the row in this attempt.
    pub requests: u64,
    /// Of them, answered with throttling.
    pub throttled: u64,
    /// A write's fate was once unknown, and settled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_doubt: bool,
    /// A later version of its key follows it in this pass, as the row behind it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub chained: bool,
    /// The report row: one CSV line with its LF.
    pub row: String,
    /// What the manifest knew of the row, for the next pass; only where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
}

/// A multipart upload that was created and neither completed nor aborted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenUpload {
    /// The row it belongs to, in the pass in hand.
    pub ordinal: u64,
    /// Destination key, decoded.
    pub key: String,
    /// S3's upload ID.
    pub upload_id: String,
    /// Size of every part but the last.
    pub part_bytes: u64,
    /// Size of the source object that it copies.
    pub object_bytes: u64,
    /// ETag of the source that every part is pinned to.
    pub source_e_tag: String,
    /// Version of the source that every part is pinned to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_version_id: Option<String>,
    /// Checksum algorithm declared at its creation, with its type (`CRC64NVME/FULL_OBJECT`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// Fingerprint of what it was told at its creation of metadata, tags and settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looks: Option<String>,
}

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Reading failed.
    #[error("cannot read the journal at byte {at}")]
    Io {
        /// Where.
        at: u64,
        /// Why.
        source: io::Error,
    },
    /// A bad frame is followed by a valid one.
    #[error("the journal is damaged at byte {at}: a valid frame follows at byte {next}")]
    Corrupt {
        /// The bad frame.
        at: u64,
        /// The valid one behind it.
        next: u64,
    },
    /// A frame's checksum is right and its record makes no sense.
    #[error("the journal's record at byte {at} is not one of this version")]
    Record {
        /// Where.
        at: u64,
        /// Why.
        source: serde_json::Error,
    },
}

/// Appends a record's frame to `frames`.
///
/// # Errors
/// A record that JSON cannot hold or that is over a mebibyte, which no row is.
pub fn write_frame(frames: &mut Vec<u8>, record: &Record) -> io::Result<()> {
    let start = frames.len();
    frames.extend_from_slice(&[0; HEADER_BYTES]);
    serde_json::to_writer(&mut *frames, record)?;
    let body = start + HEADER_BYTES;
    let length = u32::try_from(frames.len() - body)
        .ok()
        .filter(|length| *length <= MAX_RECORD_BYTES)
        .ok_or_else(|| io::Error::other("a journal record is over a mebibyte"))?;
    let crc = crc32c(&frames[body..]);
    frames[start..start + 4].copy_from_slice(&length.to_le_bytes());
    frames[start + 4..body].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// Hands every record to `each`, in order, and says how many bytes of the journal are valid.
///
/// # Errors
/// Reading fails, a frame in the middle is bad, a record is none.
pub fn read_frames(
    journal: impl Read,
    mut each: impl FnMut(Record) -> Result<(), JournalError>,
) -> Result<u64, JournalError> {
    let mut journal = io::BufReader::with_capacity(256 << 10, journal);
    let mut at = 0_u64;
    loop {
        let mut frame = Vec::with_capacity(1024);
        let header = read_up_to(&mut journal, &mut frame, HEADER_BYTES, at)?;
        if header == 0 {
            return Ok(at);
        }
        let Some((length, crc)) = parse_header(&frame) else {
            return tail(journal, frame, at);
        };
        let got = read_up_to(&mut journal, &mut frame, length, at)?;
        if got < length || crc32c(&frame[HEADER_BYTES..]) != crc {
            return tail(journal, frame, at);
        }
        let record = serde_json::from_slice(&frame[HEADER_BYTES..])
            .map_err(|source| JournalError::Record { at, source })?;
        each(record)?;
        at += (HEADER_BYTES + length) as u64;
    }
}

/// Writes the report rows of one status that `journal` holds; failed rows with their facts behind
/// the report's columns, as the next pass reads them.
///
/// # Errors
/// As [`read_frames`]; the outer error is that of writing.
pub fn extract(
    journal: impl Read,
    status: TaskStatus,
    to: &mut impl Write,
) -> io::Result<Result<u64, JournalError>> {
    let mut written = Ok(());
    let read = read_frames(journal, |record| {
        if let Record::Outcome(outcome) = record
            && outcome.status == status
            && written.is_ok()
        {
            written = to.write_all(&source_line(&outcome));
        }
        Ok(())
    });
    written.map(|()| read)
}

/// The line that a seal writes for an outcome.
pub fn source_line(outcome: &OutcomeRecord) -> Vec<u8> {
    let mut line = outcome.row.clone().into_bytes();
    if outcome.status == TaskStatus::Failed {
        line.pop();
        line.push(b',');
        let facts = outcome.facts.clone().unwrap_or_default();
        write_line(&mut line, facts.fields());
    }
    line
}

fn crc32c(bytes: &[u8]) -> u32 {
    // The value of a 32-bit CRC in a 64-bit word.
    u32::try_from(crc_fast::checksum(Crc32Iscsi, bytes)).unwrap_or_default()
}

fn parse_header(frame: &[u8]) -> Option<(usize, u32)> {
    let word = |at: usize| Some(u32::from_le_bytes(frame.get(at..at + 4)?.try_into().ok()?));
    let (length, crc) = (word(0)?, word(4)?);
    // A run of zeros is what some file systems leave behind a crash, not an empty record.
    (1..=MAX_RECORD_BYTES)
        .contains(&length)
        .then_some((usize::try_from(length).ok()?, crc))
}

fn read_up_to(
    journal: &mut impl Read,
    frame: &mut Vec<u8>,
    bytes: usize,
    at: u64,
) -> Result<usize, JournalError> {
    journal
        .take(bytes as u64)
        .read_to_end(frame)
        .map_err(|source| JournalError::Io { at, source })
}

/// Ends the journal at the bad frame that `seen` begins with, unless a valid one follows.
fn tail(mut journal: impl Read, mut seen: Vec<u8>, at: u64) -> Result<u64, JournalError> {
    journal
        .read_to_end(&mut seen)
        .map_err(|source| JournalError::Io { at, source })?;
    for start in 1..seen.len().saturating_sub(HEADER_BYTES) {
        let Some((length, crc)) = parse_header(&seen[start..]) else {
            continue;
        };
        let body = start + HEADER_BYTES;
        if seen
            .get(body..body + length)
            .is_some_and(|record| crc32c(record) == crc)
        {
            return Err(JournalError::Corrupt {
                at,
                next: at + start as u64,
            });
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(ordinal: u64, status: TaskStatus) -> Record {
        Record::Outcome(OutcomeRecord {
            ordinal,
            after: Place {
                file: 0,
                byte: ordinal * 10,
                row: 0,
            },
            status,
            error_code: String::new(),
            evidence: None,
            bytes: 1,
            requests: 1,
            throttled: 0,
            in_doubt: false,
            chained: false,
            row: format!(
                "b,k{ordinal},,{},200,,\"{{\"\"a\"\":1}}\"\n",
                status.as_str()
            ),
            facts: (status == TaskStatus::Failed).then(Facts::default),
        })
    }

    fn journal(records: &[Record]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for record in records {
            write_frame(&mut bytes, record).unwrap();
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Result<(Vec<Record>, u64), JournalError> {
        let mut records = Vec::new();
        let valid = read_frames(bytes, |record| {
            records.push(record);
            Ok(())
        })?;
        Ok((records, valid))
    }

    #[test]
    fn the_crc_is_the_one_named_castagnoli() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn every_torn_tail_ends_the_journal_at_the_frame_before() {
        let records = [
            outcome(0, TaskStatus::Succeeded),
            outcome(1, TaskStatus::Failed),
            Record::UploadClosed { ordinal: 2 },
        ];
        let bytes = journal(&records);
        let ends: Vec<usize> = (0..=3).map(|n| journal(&records[..n]).len()).collect();
        for cut in 0..=bytes.len() {
            let whole = ends.iter().rposition(|end| *end <= cut).unwrap();
            let (read, valid) = read(&bytes[..cut]).unwrap();
            assert_eq!(read, records[..whole], "cut at {cut}");
            assert_eq!(valid, ends[whole] as u64);
        }
    }

    #[test]
    fn garbage_and_zeros_behind_the_last_frame_are_a_torn_tail() {
        let records = [outcome(0, TaskStatus::Succeeded)];
        for tail in [
            &[0_u8; 4096][..],
            &[0xff; 100],
            b"\x10\0\0\0garbage that has no valid sum",
        ] {
            let mut bytes = journal(&records);
            bytes.extend_from_slice(tail);
            assert_eq!(read(&bytes).unwrap().0, records);
        }
    }

    #[test]
    fn a_bad_frame_before_a_valid_one_is_corruption_with_its_place() {
        let records = [
            outcome(0, TaskStatus::Succeeded),
            outcome(1, TaskStatus::Succeeded),
        ];
        let first = journal(&records[..1]).len();
        for flipped in 0..first {
            let mut bytes = journal(&records);
            bytes[flipped] ^= 1;
            match read(&bytes) {
                Err(JournalError::Corrupt { at: 0, next }) => assert_eq!(next, first as u64),
                other => panic!("byte {flipped}: {other:?}"),
            }
        }
    }

    #[test]
    fn failed_rows_are_extracted_with_their_facts() {
        let bytes = journal(&[
            outcome(0, TaskStatus::Succeeded),
            outcome(1, TaskStatus::Failed),
        ]);
        let mut failed = Vec::new();
        extract(&bytes[..], TaskStatus::Failed, &mut failed)
            .unwrap()
            .unwrap();
        assert_eq!(
            String::from_utf8(failed).unwrap(),
            "b,k1,,failed,200,,\"{\"\"a\"\":1}\",,,,,,\n"
        );
        let mut succeeded = Vec::new();
        extract(&bytes[..], TaskStatus::Succeeded, &mut succeeded)
            .unwrap()
            .unwrap();
        assert!(
            String::from_utf8(succeeded)
                .unwrap()
                .starts_with("b,k0,,succeeded")
        );
    }
}
