//! What a check found out, as data.

use std::fmt;

use s3haul_s3::S3Error;
use serde::Serialize;

use crate::job::manifest::key::Shown;
use crate::policy::document::Statement;

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As the job needs it.
    Pass,
    /// The job runs all the same; something else is odd.
    Warning,
    /// It cannot be told.
    Unknown,
    /// It may fail the job, or rows of it.
    Likely,
    /// It fails the job, or all rows that need it.
    Fail,
}

impl Outcome {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Likely => "likely",
            Self::Fail => "fail",
        }
    }
}

/// What a finding is about: its ID, which stays, and the page that explains it.
#[derive(Debug, PartialEq, Eq)]
pub struct Topic {
    /// In kebab-case.
    pub id: &'static str,
    /// Of AWS's documentation.
    pub page: &'static str,
}

macro_rules! topics {
    ($($(#[doc = $doc:literal])* $name:ident, $id:literal, $page:literal;)*) => {
        $($(#[doc = $doc])* pub(super) const $name: Topic = Topic {
            id: $id,
            page: concat!("https://docs.aws.amazon.com/", $page),
        };)*
        /// All of them.
        pub const TOPICS: &[Topic] = &[$($name),*];
    };
}

topics! {
    /// Who works before any role, and until when.
    BASE_IDENTITY, "identity-base", "STS/latest/APIReference/API_GetCallerIdentity.html";
    /// Whether the role can be taken.
    ROLE, "identity-role", "IAM/latest/UserGuide/troubleshoot_roles.html";
    /// Whether this machine's clock is S3's.
    CLOCK, "clock-skew", "AmazonS3/latest/API/ErrorResponses.html";
    /// Whether the manifest can be read.
    MANIFEST, "manifest", "AmazonS3/latest/userguide/specify-batchjob-manifest.html";
    /// Whether the report can be written.
    REPORT, "report-place", "AmazonS3/latest/userguide/batch-ops-examples-reports.html";
    /// Whether the source bucket is there.
    SOURCE_BUCKET, "source-bucket", "AmazonS3/latest/API/API_HeadBucket.html";
    /// Where it is.
    SOURCE_REGION, "source-region", "AmazonS3/latest/API/API_HeadBucket.html";
    /// Whose it is.
    SOURCE_OWNER, "source-owner", "AmazonS3/latest/userguide/bucket-owner-condition.html";
    /// Whether it has the versions that rows name.
    SOURCE_VERSIONS, "source-versioning", "AmazonS3/latest/userguide/Versioning.html";
    /// Who pays for reading it.
    SOURCE_PAYER, "source-requester-pays", "AmazonS3/latest/userguide/RequesterPaysBuckets.html";
    /// Whether rows can be read.
    SOURCE_READ, "source-read", "AmazonS3/latest/userguide/example-walkthroughs-managing-access-example2.html";
    /// Whether their tags can.
    SOURCE_TAGS, "source-tags", "AmazonS3/latest/userguide/tagging-and-policies.html";
    /// Whether their annotations can.
    SOURCE_ANNOTATIONS, "source-annotations", "AmazonS3/latest/API/API_ListObjectAnnotations.html";
    /// Whether their checksums can.
    SOURCE_ATTRIBUTES, "source-attributes", "AmazonS3/latest/API/API_GetObjectAttributes.html";
    /// Whether what is encrypted with SSE-KMS can be decrypted.
    SOURCE_KMS, "source-kms", "AmazonS3/latest/userguide/UsingKMSEncryption.html";
    /// What the job asks of it that no request of a check shows.
    SOURCE_UNSEEN, "source-unseen", "AmazonS3/latest/userguide/using-with-s3-policy-actions.html";
    /// Whether the destination bucket is there.
    DESTINATION_BUCKET, "destination-bucket", "AmazonS3/latest/API/API_HeadBucket.html";
    /// Where it is.
    DESTINATION_REGION, "destination-region", "AmazonS3/latest/API/API_HeadBucket.html";
    /// Whose it is.
    DESTINATION_OWNER, "destination-owner", "AmazonS3/latest/userguide/bucket-owner-condition.html";
    /// Whether it keeps versions.
    DESTINATION_VERSIONS, "destination-versioning", "AmazonS3/latest/userguide/Versioning.html";
    /// Who owns the copies, by its ownership and the ACL that is asked.
    DESTINATION_OWNERSHIP, "destination-ownership", "AmazonS3/latest/userguide/about-object-ownership.html";
    /// Whether it takes locks.
    DESTINATION_LOCK, "destination-object-lock", "AmazonS3/latest/userguide/object-lock.html";
    /// Under which key copies come to lie.
    DESTINATION_ENCRYPTION, "destination-encryption", "AmazonS3/latest/userguide/bucket-encryption.html";
    /// Whether that key can be used to read, as copies in parts do.
    DESTINATION_DECRYPT, "destination-kms-decrypt", "AmazonS3/latest/userguide/mpuoverview.html";
    /// Whether uploads that are left are cleared away.
    DESTINATION_LIFECYCLE, "destination-lifecycle", "AmazonS3/latest/userguide/mpu-abort-incomplete-mpu-lifecycle-config.html";
    /// Whether objects with the job's settings can be written.
    DESTINATION_WRITE, "destination-write", "AmazonS3/latest/API/API_CreateMultipartUpload.html";
    /// Whether tags can.
    DESTINATION_TAGS, "destination-tagging", "AmazonS3/latest/userguide/tagging-and-policies.html";
    /// Whether uploads can be given up.
    DESTINATION_ABORT, "destination-abort", "AmazonS3/latest/userguide/mpuoverview.html";
    /// Whether parts and uploads can be listed, to settle what is in doubt.
    DESTINATION_UPLOADS, "destination-uploads", "AmazonS3/latest/userguide/mpuoverview.html";
    /// Whether copies can be looked at.
    DESTINATION_READ, "destination-read", "AmazonS3/latest/API/API_HeadObject.html";
    /// What the job asks of it that no request of a check shows.
    DESTINATION_UNSEEN, "destination-unseen", "AmazonS3/latest/userguide/using-with-s3-policy-actions.html";
    /// What became of an object that was put.
    PROBE_OBJECT, "probe-object", "AmazonS3/latest/API/API_PutObject.html";
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What it is about; stays the same from version to version.
    pub id: &'static str,
    /// How it stands.
    pub outcome: Outcome,
    /// What was found, in a sentence.
    pub what: String,
    /// What was asked, and what the answer was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// The account in which it is to be mended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The IAM statement that grants what is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<Statement>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Where it is explained.
    pub documentation: &'static str,
}

impl Finding {
    pub(super) fn new(topic: &Topic, outcome: Outcome, what: impl Into<String>) -> Self {
        Self {
            id: topic.id,
            outcome,
            what: what.into(),
            evidence: None,
            account: None,
            statement: None,
            remedy: None,
            documentation: topic.page,
        }
    }

    pub(super) fn evidence(mut self, evidence: impl Into<String>) -> Self {
        self.evidence = Some(evidence.into());
        self
    }

    /// The answer is the evidence: operation, status, code, S3's message as it is, request ID.
    pub(super) fn answered(self, error: &S3Error) -> Self {
        self.evidence(error.to_string())
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    pub(super) fn in_account(mut self, account: Option<&str>) -> Self {
        self.account = account.map(str::to_owned);
        self
    }

    pub(super) fn granted_by(mut self, statement: Statement) -> Self {
        self.statement = Some(statement);
        self
    }
}

/// What is printed of a finding: lines of strangers' text are made harmless.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |head: &str, text: &str| {
            for (at, text) in text.lines().enumerate() {
                let head = if at == 0 { head } else { "" };
                writeln!(f, "{head:<9}{}", Shown(text))?;
            }
            Ok(())
        };
        let (word, what) = (self.outcome.as_str(), format!("{}: {}", self.id, self.what));
        line(word, &what)?;
        if self.outcome == Outcome::Pass {
            return Ok(());
        }
        if let Some(evidence) = &self.evidence {
            line("", evidence)?;
        }
        match (&self.account, &self.remedy) {
            (Some(account), Some(remedy)) => {
                line("", &format!("→ in account {account}: {remedy}"))?;
            }
            (None, Some(remedy)) => line("", &format!("→ {remedy}"))?,
            (_, None) => {}
        }
        if let Some(statement) = &self.statement {
            let json = serde_json::to_string_pretty(statement).unwrap_or_default();
            line("", &json)?;
        }
        line("", self.documentation)
    }
}

/// All that a check found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Findings {
    /// One by one, in the order of the job.
    pub findings: Vec<Finding>,
    /// Requests to S3 that it took, those aside that read the manifest.
    pub requests: u64,
    /// How long it took.
    pub elapsed_seconds: f64,
    /// 3 where something fails the job.
    pub exit_code: u8,
}

impl Findings {
    /// Those of an outcome.
    pub fn of(&self, outcome: Outcome) -> impl Iterator<Item = &Finding> {
        let of = move |finding: &&Finding| finding.outcome == outcome;
        self.findings.iter().filter(of)
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            write!(f, "{finding}")?;
        }
        let counts: Vec<_> = [
            Outcome::Fail,
            Outcome::Likely,
            Outcome::Unknown,
            Outcome::Warning,
            Outcome::Pass,
        ]
        .into_iter()
        .map(|outcome| format!("{} {}", self.of(outcome).count(), outcome.as_str()))
        .collect();
        write!(
            f,
            "\n{}; {} requests in {:.1} s",
            counts.join(", "),
            self.requests,
            self.elapsed_seconds
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_kebab_case_and_each_is_one() {
        let mut ids: Vec<_> = TOPICS.iter().map(|topic| topic.id).collect();
        for id in &ids {
            assert!(
                id.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{id}"
            );
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), TOPICS.len());
    }

    #[test]
    fn what_strangers_wrote_is_harmless_on_a_terminal() {
        let finding = Finding::new(&SOURCE_READ, Outcome::Fail, "k\u{1b}[2J").evidence("a\rb\nc");
        let shown = finding.to_string();
        assert!(!shown.contains(['\u{1b}', '\r']), "{shown:?}");
        assert!(shown.contains("\n         c\n"), "{shown:?}");
    }
}
