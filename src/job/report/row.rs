//! One row of the completion report, in S3 Batch Operations' columns.
//!
//! `Bucket,Key,VersionId,TaskStatus,HTTPStatusCode,ErrorCode,ResultMessage`, without a header line.
//! That is the order of every real report, though its `ReportSchema` names the fifth and sixth the
//! other way round.

use serde::{Deserialize, Serialize};

/// How a row ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskStatus {
    /// S3 answered with the result's ETag, or a HEAD has shown that the object is there.
    Succeeded,
    /// The object was not copied; the row says why.
    Failed,
    /// Left alone on purpose; the row's error code says why.
    Skipped,
}

impl TaskStatus {
    /// The three of them, in the order in which a seal writes their files.
    pub const ALL: [Self; 3] = [Self::Succeeded, Self::Skipped, Self::Failed];

    /// The word that the report uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    /// Reads the report's word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// One row of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportRow {
    /// Source bucket.
    pub bucket: String,
    /// Key, always URL-encoded: as an encoded manifest spelt it, or encoded from a raw one.
    pub key: String,
    /// Version ID as the manifest gave it; empty where it gave none.
    pub version_id: String,
    /// How the row ended.
    pub status: TaskStatus,
    /// Status of S3's answer; none where there was no answer.
    pub http_status: Option<u16>,
    /// S3's error code, or one of s3haul's; empty for a success.
    pub error_code: String,
    /// A JSON object for s3haul's rows; S3 Batch Operations writes plain text.
    pub message: String,
}

/// Columns of a report row.
pub const COLUMNS: usize = 7;

impl ReportRow {
    /// The row's columns, in order.
    pub fn fields(&self) -> [String; COLUMNS] {
        [
            self.bucket.clone(),
            self.key.clone(),
            self.version_id.clone(),
            self.status.as_str().to_owned(),
            self.http_status
                .map(|status| status.to_string())
                .unwrap_or_default(),
            self.error_code.clone(),
            self.message.clone(),
        ]
    }

    /// Reads a row; `None` where the columns are not those of a report.
    ///
    /// Of the fifth and sixth column the one of exactly three digits is the HTTP status: some
    /// writers follow `ReportSchema`.
    pub fn parse(record: &csv::StringRecord) -> Option<Self> {
        if record.len() < COLUMNS {
            return None;
        }
        let field = |at: usize| record.get(at).unwrap_or_default();
        let three_digits = |s: &str| s.len() == 3 && s.bytes().all(|b| b.is_ascii_digit());
        let (status, code) = if !three_digits(field(4)) && three_digits(field(5)) {
            (field(5), field(4))
        } else {
            (field(4), field(5))
        };
        Some(Self {
            bucket: field(0).to_owned(),
            key: field(1).to_owned(),
            version_id: field(2).to_owned(),
            status: TaskStatus::parse(field(3))?,
            http_status: status.parse().ok(),
            error_code: code.to_owned(),
            message: field(6).to_owned(),
        })
    }
}

/// Writes fields as one CSV line (RFC 4180, ended by LF, quoted where needed) at the end of `line`.
///
/// The same fields always give the same bytes, which the names and checksums of files rely on.
pub fn write_line<S: AsRef<str>>(line: &mut Vec<u8>, fields: impl IntoIterator<Item = S>) {
    for (at, field) in fields.into_iter().enumerate() {
        if at > 0 {
            line.push(b',');
        }
        let field = field.as_ref().as_bytes();
        if field
            .iter()
            .any(|b| matches!(b, b',' | b'"' | b'\r' | b'\n'))
        {
            line.push(b'"');
            for byte in field {
                if *byte == b'"' {
                    line.push(b'"');
                }
                line.push(*byte);
            }
            line.push(b'"');
        } else {
            line.extend_from_slice(field);
        }
    }
    line.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &[u8]) -> csv::StringRecord {
        csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(line)
            .into_records()
            .next()
            .unwrap()
            .unwrap()
    }

    #[test]
    fn batch_operations_rows_are_read_in_either_order() {
        let real = "b,k,,failed,400,InvalidRequest,too large";
        let schema = "b,k,,failed,InvalidRequest,400,too large";
        for line in [real, schema] {
            let row = ReportRow::parse(&read(line.as_bytes())).unwrap();
            assert_eq!(
                (row.http_status, row.error_code.as_str()),
                (Some(400), "InvalidRequest")
            );
        }
        assert_eq!(ReportRow::parse(&read(b"a,b,c")), None);
    }

    proptest! {
        #[test]
        fn a_row_reads_as_it_was_written(
            key in "\\PC{1,20}|[\\x00-\\x7f]{1,20}", message in "\\PC{0,40}|[\\x00-\\x7f]{0,40}",
            http_status in proptest::option::of(100u16..600),
        ) {
            let row = ReportRow {
                bucket: "source".into(), key, version_id: String::new(),
                status: TaskStatus::Failed, http_status, error_code: "AccessDenied".into(), message,
            };
            let mut line = Vec::new();
            write_line(&mut line, row.fields());
            prop_assert_eq!(ReportRow::parse(&read(&line)).unwrap(), row);
        }
    }
}
