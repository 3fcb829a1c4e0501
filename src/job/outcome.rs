//! How a row ends: where `copy` and `report` meet.

use std::time::Duration;

use s3haul_s3::{S3Error, Tally};
use serde::Serialize;

use super::code::Code;
use super::hint::hint;
use super::manifest::Row;
use super::report::journal::OutcomeRecord;
use super::report::previous::Matching;
use super::report::row::{ReportRow, TaskStatus, write_line};
use super::report::{now, time_text};

/// How a row ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// S3 has answered with the result's ETag, or a HEAD has shown that it is there.
    Succeeded(Box<Success>),
    /// It was not copied.
    Failed(Failure),
    /// It was left alone on purpose.
    Skipped {
        /// Why, in one word.
        code: Code,
        /// Why, in a sentence.
        message: String,
    },
}

/// By which requests an object was copied, or that it was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// One CopyObject.
    Copy,
    /// UploadPartCopy, part by part.
    Multipart,
    /// DeleteObject without a version: a delete marker in the place of the source's.
    Marker,
    /// None: it stood there, and was compared.
    Verify,
}

/// What proved a success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// S3's answer to the write.
    Response,
    /// A HEAD of the copy that showed the source's size.
    Head,
    /// Equal ETags.
    #[serde(rename = "e_tag")]
    ETag,
    /// Equal checksums.
    Checksum,
    /// Both objects were read, and are equal.
    Full,
    /// A HEAD that found, after an answer was lost, what this row was to write.
    Found,
}

impl Evidence {
    /// The report's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Response => "response",
            Self::Head => "head",
            Self::ETag => "e_tag",
            Self::Checksum => "checksum",
            Self::Full => "full",
            Self::Found => "found",
        }
    }
}

/// The result of a copy, as the report's message shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Success {
    /// ETag of the copy; a delete marker has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub e_tag: String,
    /// Version of the copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// Size; unknown where neither the manifest nor a request told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Parts of a multipart copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<u32>,
    /// By which requests.
    pub by: By,
    /// What proved it.
    pub evidence: Evidence,
    /// ETag of the source, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_e_tag: Option<String>,
    /// Version of the source that was copied, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_version_id: Option<String>,
    /// Size of the source, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_size: Option<u64>,
    /// Time of the source's last change, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_last_modified: Option<String>,
    /// The source was not what the manifest listed; it was copied as it stood.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub source_changed: bool,
    /// The fate of a write was once unknown, and settled.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub in_doubt: bool,
    /// What a reader should know besides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Why a row failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// S3's error code, or one of s3haul's.
    #[serde(skip)]
    pub code: String,
    /// Status of S3's answer.
    #[serde(skip)]
    pub http_status: Option<u16>,
    /// The code is one of access.
    #[serde(skip)]
    pub access: bool,
    /// What happened.
    pub message: String,
    /// Request that failed, as S3 names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<&'static str>,
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

impl Failure {
    /// A failure that no request is to blame for.
    pub fn of(code: Code, message: impl Into<String>) -> Self {
        Self {
            code: code.to_string(),
            message: message.into(),
            ..Self::default()
        }
    }

    /// A failure with S3's error behind it, under another code.
    #[must_use]
    pub fn coded(mut self, code: Code) -> Self {
        self.code = code.to_string();
        self
    }

    /// Whether a copy was refused because its source is archived.
    pub fn is_archived_source(&self) -> bool {
        let copies = matches!(self.operation, Some("CopyObject" | "UploadPartCopy"));
        copies && ARCHIVED.contains(&self.code.as_str())
    }

    /// Says what the row's object is like now, before what S3's error gives to do.
    #[must_use]
    pub fn standing(mut self, state: &str) -> Self {
        self.hint = Some(match self.hint.take() {
            Some(hint) => format!("{state}; {hint}"),
            None => state.to_owned(),
        });
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hinted(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// S3's codes of an object that must be restored before it is read.
const ARCHIVED: [&str; 2] = ["InvalidObjectState", "ObjectNotInActiveTierError"];

/// Whether S3 answered that the object of a request is archived.
pub fn is_archived(error: &S3Error) -> bool {
    ARCHIVED.contains(&error.report_code())
}

impl From<&S3Error> for Failure {
    fn from(error: &S3Error) -> Self {
        Self {
            code: error.report_code().to_owned(),
            http_status: error.status,
            access: error.is_access_refusal(),
            message: error.message.clone(),
            operation: Some(error.operation),
            request_id: error.request_id.clone(),
            extended_request_id: error.extended_request_id.clone(),
            hint: hint(error),
        }
    }
}

/// The tally and the time of a row, for its report row.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Requests.
    pub tally: Tally,
    /// From the row's first request to its end.
    pub elapsed: Duration,
}

/// The message of a skipped row. One that was copied before says what was copied, so that the next job
/// can go by this report; by its key alone nothing is known of that.
fn skipped(row: &Row, code: Code, message: &str) -> serde_json::Value {
    let mut members = serde_json::json!({ "message": message });
    if code == Code::CopiedBefore && row.copied_before == Some(Matching::Source) {
        let last_modified = row.facts.last_modified.map(time_text);
        let known = [
            ("source_e_tag", &row.facts.e_tag),
            ("source_version_id", &row.version_id),
            ("source_last_modified", &last_modified),
        ];
        for (name, value) in known {
            if let Some(value) = value {
                members[name] = value.as_str().into();
            }
        }
    }
    members
}

/// What the report records of a row's end.
pub fn record(bucket: &str, row: Row, ended: &Ended, cost: &Cost) -> OutcomeRecord {
    let (status, http_status, code, mut message) = match ended {
        Ended::Succeeded(success) => (
            TaskStatus::Succeeded,
            Some(200),
            "",
            serde_json::to_value(success),
        ),
        Ended::Failed(failure) => (
            TaskStatus::Failed,
            failure.http_status,
            failure.code.as_str(),
            serde_json::to_value(failure),
        ),
        Ended::Skipped { code, message } => (
            TaskStatus::Skipped,
            None,
            code.as_str(),
            Ok(skipped(&row, *code, message)),
        ),
    };
    let success = match ended {
        Ended::Succeeded(success) => Some(success),
        _ => None,
    };
    // A copy that was sent again may have landed twice, which shows where versions are kept.
    let in_doubt = success.is_some_and(|success| {
        success.in_doubt || row.doubted || success.by == By::Copy && cost.tally.in_doubt
    });
    // So may one that failed behind its copy, at its tags or at the look, and is written again.
    let untold = match ended {
        Ended::Failed(failure) => {
            row.doubted || cost.tally.landed || failure.code == Code::DestinationConflict.as_str()
        }
        _ => false,
    };
    if let Ok(serde_json::Value::Object(members)) = &mut message {
        // A failed row says so to the pass that tries it again.
        if in_doubt || untold {
            members.insert("in_doubt".into(), true.into());
        }
        members.insert("ended_at".into(), now().into());
        members.insert("attempts".into(), cost.tally.attempts.max(1).into());
        let elapsed_ms = u64::try_from(cost.elapsed.as_millis()).unwrap_or(u64::MAX);
        members.insert("elapsed_ms".into(), elapsed_ms.into());
    }
    let report_row = ReportRow {
        bucket: bucket.to_owned(),
        key: row.spelling().into_owned(),
        version_id: row.version_id.unwrap_or_default(),
        status,
        http_status,
        error_code: code.to_owned(),
        message: message
            .map(|message| message.to_string())
            .unwrap_or_default(),
    };
    let mut line = Vec::with_capacity(512);
    write_line(&mut line, report_row.fields());
    OutcomeRecord {
        ordinal: row.ordinal,
        after: row.after,
        status,
        error_code: report_row.error_code,
        evidence: success.map(|success| success.evidence.as_str().to_owned()),
        bytes: success
            .and_then(|success| success.bytes)
            .unwrap_or_default(),
        requests: cost.tally.requests,
        throttled: cost.tally.throttled,
        in_doubt,
        chained: false,
        row: String::from_utf8(line).unwrap_or_default(),
        facts: (status == TaskStatus::Failed).then_some(row.facts),
    }
}
