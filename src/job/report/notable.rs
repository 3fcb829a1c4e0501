//! Rows that are worth a look: what is said of a report besides its counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::passes::COUNTED_CODES;
use super::row::{ReportRow, TaskStatus};

/// Slowest objects that are kept.
const SLOWEST: usize = 10;
/// Failed rows that are named one by one.
const NAMED: usize = 5;

/// A row that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FailedRow {
    /// S3's error code, or one of s3haul's.
    pub error_code: String,
    /// Source bucket.
    pub bucket: String,
    /// Key, as the report spells it.
    pub key: String,
    /// Version ID as the manifest gave it; empty where it gave none.
    pub version_id: String,
    /// Status of S3's answer; none where there was no answer.
    pub http_status: Option<u16>,
    /// What its message says.
    #[serde(flatten)]
    pub message: FailedMessage,
}

/// What the message of a failed row says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailedMessage {
    /// What happened.
    pub message: String,
    /// Request that failed, as S3 names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// S3's request ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// S3's extended request ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extended_request_id: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<ReportRow> for FailedRow {
    fn from(row: ReportRow) -> Self {
        let message = serde_json::from_str(&row.message).unwrap_or_else(|_| FailedMessage {
            message: row.message,
            ..FailedMessage::default()
        });
        Self {
            error_code: row.error_code,
            bucket: row.bucket,
            key: row.key,
            version_id: row.version_id,
            http_status: row.http_status,
            message,
        }
    }
}

/// A row that took long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlowRow {
    /// From its first request to its end, in milliseconds.
    pub elapsed_ms: u64,
    /// Source bucket.
    pub bucket: String,
    /// Key, as the report spells it.
    pub key: String,
    /// Version ID as the manifest gave it; empty where it gave none.
    pub version_id: String,
    /// How it ended.
    pub status: TaskStatus,
    /// Size of the copy, where known.
    pub bytes: Option<u64>,
}

/// What a row's message says of its cost.
#[derive(Debug, Deserialize)]
struct Cost {
    elapsed_ms: u64,
    bytes: Option<u64>,
}

/// An example of each error code, and the slowest rows. As large as these, however many rows are taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notable {
    /// The first row of each code.
    pub examples: BTreeMap<String, FailedRow>,
    /// From the slowest down; of equal ones those that were taken first.
    pub slowest: Vec<SlowRow>,
}

impl Notable {
    /// Looks at a row.
    pub fn take(&mut self, row: ReportRow) {
        if let Ok(cost) = serde_json::from_str::<Cost>(&row.message)
            && self.is_slow(cost.elapsed_ms)
        {
            self.add(SlowRow {
                elapsed_ms: cost.elapsed_ms,
                bucket: row.bucket.clone(),
                key: row.key.clone(),
                version_id: row.version_id.clone(),
                status: row.status,
                bytes: cost.bytes,
            });
        }
        let is_new = !self.examples.contains_key(&row.error_code);
        if row.status == TaskStatus::Failed && is_new && self.examples.len() < COUNTED_CODES {
            self.examples.insert(row.error_code.clone(), row.into());
        }
    }

    /// Adds what was taken of later rows.
    pub fn append(&mut self, later: Self) {
        for (code, row) in later.examples {
            if self.examples.len() < COUNTED_CODES {
                self.examples.entry(code).or_insert(row);
            }
        }
        for row in later.slowest {
            if self.is_slow(row.elapsed_ms) {
                self.add(row);
            }
        }
    }

    fn is_slow(&self, elapsed_ms: u64) -> bool {
        let least = self.slowest.get(SLOWEST - 1);
        least.is_none_or(|least| elapsed_ms > least.elapsed_ms)
    }

    fn add(&mut self, row: SlowRow) {
        let behind = |slow: &SlowRow| slow.elapsed_ms >= row.elapsed_ms;
        let at = self.slowest.partition_point(behind);
        self.slowest.insert(at, row);
        self.slowest.truncate(SLOWEST);
    }
}

/// The first rows that failed, to be named one by one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FirstFailed(pub Vec<FailedRow>);

impl FirstFailed {
    /// Looks at a row.
    pub fn take(&mut self, row: ReportRow) {
        if row.status == TaskStatus::Failed && self.0.len() < NAMED {
            self.0.push(row.into());
        }
    }

    /// Adds what was taken of later rows.
    pub fn append(&mut self, later: Self) {
        let room = NAMED - self.0.len();
        self.0.extend(later.0.into_iter().take(room));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(key: usize, code: &str, elapsed_ms: u64) -> ReportRow {
        let failed = !code.is_empty();
        ReportRow {
            bucket: "source".into(),
            key: format!("k{key}"),
            version_id: String::new(),
            status: if failed {
                TaskStatus::Failed
            } else {
                TaskStatus::Succeeded
            },
            http_status: None,
            error_code: code.into(),
            message: format!(r#"{{"message":"no","elapsed_ms":{elapsed_ms},"hint":"do"}}"#),
        }
    }

    #[test]
    fn a_message_that_is_no_object_is_the_message() {
        let mut plain = row(0, "InternalError", 1);
        plain.message = "We encountered an internal error".into();
        let failed = FailedRow::from(plain);
        assert_eq!(failed.message.message, "We encountered an internal error");
        let failed = FailedRow::from(row(0, "InternalError", 1));
        assert_eq!(failed.message.message, "no");
        assert_eq!(failed.message.hint.as_deref(), Some("do"));
    }

    proptest! {
        /// Whatever files the rows are in, and however many there are.
        #[test]
        fn rows_of_many_files_are_as_those_of_one(
            rows in proptest::collection::vec((0_usize..4, 0_u64..50), 0..80),
            cuts in proptest::collection::vec(1_usize..30, 1..8),
        ) {
            let codes = ["", "AccessDenied", "NoSuchKey", "SlowDown"];
            let rows: Vec<_> = rows
                .iter()
                .enumerate()
                .map(|(at, (code, ms))| row(at, codes[*code], *ms))
                .collect();
            let mut sorted: Vec<_> = rows.iter().enumerate().collect();
            let ms = |row: &ReportRow| serde_json::from_str::<Cost>(&row.message).unwrap().elapsed_ms;
            sorted.sort_by_key(|(at, row)| (std::cmp::Reverse(ms(row)), *at));
            let (mut whole, mut first) = (Notable::default(), FirstFailed::default());
            let mut rest = &rows[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (file, behind) = rest.split_at((*cut).min(rest.len()));
                let (mut of_file, mut failed) = (Notable::default(), FirstFailed::default());
                for row in file {
                    of_file.take(row.clone());
                    failed.take(row.clone());
                }
                whole.append(of_file);
                first.append(failed);
                rest = behind;
            }
            let slowest: Vec<_> = whole.slowest.iter().map(|slow| slow.key.clone()).collect();
            let expected: Vec<_> = sorted.iter().take(SLOWEST).map(|(_, row)| row.key.clone()).collect();
            prop_assert_eq!(slowest, expected);
            for code in &codes[1..] {
                let expected = rows.iter().find(|row| row.error_code == *code).map(|row| &row.key);
                prop_assert_eq!(whole.examples.get(*code).map(|row| &row.key), expected);
            }
            let failed = rows.iter().filter(|row| row.status == TaskStatus::Failed);
            let expected: Vec<_> = failed.take(NAMED).map(|row| row.key.clone()).collect();
            let named: Vec<_> = first.0.into_iter().map(|row| row.key).collect();
            prop_assert_eq!(named, expected);
        }
    }
}
