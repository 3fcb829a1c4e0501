//! What all parts of a check know, and what none of them can show.

use s3haul_s3::S3Error;

use super::Asker;
use super::denial::{Needed, Who, explain, statement};
use super::finding::{self, Finding, Outcome};
use super::source;
use crate::job::copy::headers::JobHeaders;
use crate::job::spec::JobSpec;
use crate::policy::actions::On;
use crate::policy::needs::{Place, Surroundings, needs};

/// What all parts of a check know.
pub(super) struct Known<'a> {
    pub(super) job: &'a JobSpec,
    pub(super) ask: &'a Asker,
    pub(super) who: Who,
    pub(super) headers: JobHeaders,
    /// The destination bucket's account, as far as it is known.
    pub(super) destination_account: Option<String>,
    /// The source bucket, where the manifest names it.
    pub(super) source_bucket: Option<String>,
    /// Whether objects are copied in parts.
    pub(super) in_parts: Option<bool>,
}

impl Known<'_> {
    /// How much it matters that something is refused that only copies in parts need.
    pub(super) fn for_parts(&self) -> Outcome {
        match self.in_parts {
            Some(true) => Outcome::Fail,
            Some(false) => Outcome::Warning,
            None => Outcome::Likely,
        }
    }

    /// What the job must be allowed and no request of a check asks for: it takes an object at the destination, or
    /// one with what the samples lack.
    pub(super) fn unseen(&self, read: &source::Read, unversioned: bool) -> Vec<Finding> {
        let asked_there = [
            "s3:PutObject",
            "s3:PutObjectAcl",
            "s3:PutObjectTagging",
            "s3:PutObjectRetention",
            "s3:PutObjectLegalHold",
            "s3:GetObject",
        ];
        let checksums = ["s3:GetObjectAttributes", "s3:GetObjectVersionAttributes"];
        let needs = needs(self.job, &Surroundings::default());
        let of = |place, topic, (bucket, prefix): (&str, &str), moot: &dyn Fn(&str) -> bool| {
            let actions: Vec<_> = needs
                .iter()
                .filter(|need| (need.place, need.on, need.essential) == (place, On::Object, true))
                .map(|need| need.action)
                .filter(|action| !moot(action))
                .collect();
            let what = format!(
                "not looked at, as it takes an object: {}",
                actions.join(", ")
            );
            let objects = self.who.objects_arn(bucket, prefix);
            let statement = statement(None, &actions, &objects);
            (!actions.is_empty()).then(|| {
                Finding::new(topic, Outcome::Unknown, what)
                    .in_account(self.who.account.as_deref())
                    .granted_by(statement)
                    .remedy(
                        "the policy of who copies needs this statement, and the bucket's, where that is of another \
                         account, the same with Principal",
                    )
            })
        };
        let of_version = |action: &str| action.contains("Version");
        let source = |action: &str| {
            read.asked.contains(action)
                || of_version(action) && !read.versioned
                || checksums.contains(&action)
        };
        let there =
            |action: &str| asked_there.contains(&action) || of_version(action) && unversioned;
        let to = (
            self.job.destination_bucket.as_str(),
            self.job.read.rename.prefix.as_str(),
        );
        let from = self.source_bucket.as_deref().map(|bucket| (bucket, ""));
        [
            from.and_then(|from| of(Place::Source, &finding::SOURCE_UNSEEN, from, &source)),
            of(Place::Destination, &finding::DESTINATION_UNSEEN, to, &there),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// What is found where a setting of the destination cannot be read: a refusal says what would let it.
    pub(super) fn unread(&self, finding: Finding, error: &S3Error, action: &str) -> Finding {
        let bucket = &self.job.destination_bucket;
        let account = self.destination_account.as_deref();
        self.unread_of(finding, error, action, (bucket, account))
    }

    pub(super) fn unread_of(
        &self,
        finding: Finding,
        error: &S3Error,
        action: &str,
        (bucket, account): (&str, Option<&str>),
    ) -> Finding {
        if error.status != Some(403) {
            return finding.answered(error);
        }
        let needed = Needed {
            actions: &[action],
            resource: &self.who.bucket_arn(bucket),
            bucket,
            account,
            kms_key: None,
        };
        explain(finding, error, &self.who, &needed)
    }

    /// Whether the copies are written by another account than the destination bucket's, where both are known.
    pub(super) fn across_accounts(&self) -> Option<bool> {
        let there = self.destination_account.as_ref()?;
        Some(self.who.account.as_ref()? != there)
    }
}
