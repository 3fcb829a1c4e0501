//! What the source's answers say: findings.

use s3haul_s3::{HeaderPair, S3Error};

use super::{Answers, Reader, is_archived};
use crate::job::copy::settings::Archived;
use crate::job::manifest::Row;
use crate::job::manifest::key::Shown;
use crate::preflight::denial::{Denial, Needed, explain};
use crate::preflight::encryption;
use crate::preflight::finding::{
    Finding, Outcome, SOURCE_ANNOTATIONS, SOURCE_ATTRIBUTES, SOURCE_KMS, SOURCE_READ, SOURCE_TAGS,
    Topic,
};

impl Reader<'_> {
    pub(super) async fn heads(&self, answers: &[Answers<'_>]) -> Finding {
        let all = answers.len();
        let refused: Vec<_> = answers
            .iter()
            .filter_map(|a| Some((a, a.head.as_ref().err()?)))
            .collect();
        let by_status = |status| {
            let of = |(_, error): &&(&Answers<'_>, &S3Error)| error.status == Some(status);
            refused.iter().find(of)
        };
        if let Some((answers, error)) = by_status(403) {
            return self.refused(answers, error, refused.len(), all).await;
        }
        if let Some((Answers { row, .. }, error)) = by_status(404) {
            let what = format!(
                "{} of {all} rows that were looked at have no object any more, such as {}",
                refused.len(),
                Shown(&row.key)
            );
            return Finding::new(&SOURCE_READ, Outcome::Warning, what)
                .answered(error)
                .remedy("such rows fail with NoSuchKey: make a new manifest if that is not meant");
        }
        if let Some((Answers { row, .. }, error)) = refused.first() {
            let what = format!(
                "{} of {all} rows that were looked at cannot be read, such as {}",
                refused.len(),
                Shown(&row.key)
            );
            let finding = Finding::new(&SOURCE_READ, Outcome::Likely, what).answered(error);
            if error.status == Some(400) {
                return finding.remedy(
                    "an object under a customer's key takes --source-sse-c-key-file with that key; any other \
                     takes none",
                );
            }
            return finding;
        }
        let archived = |a: &&Answers<'_>| matches!(&a.head, Ok(head) if is_archived(head));
        let archived: Vec<_> = answers.iter().filter(archived).collect();
        if let Some(first) = archived.first()
            && self.known.job.copy.object.archived == Archived::Fail
        {
            let outcome = if archived.len() == all {
                Outcome::Likely
            } else {
                Outcome::Warning
            };
            let what = format!(
                "{} of {all} rows that were looked at are archived, such as {}",
                archived.len(),
                Shown(&first.row.key)
            );
            return Finding::new(&SOURCE_READ, outcome, what)
                .evidence("HeadObject: 200, x-amz-storage-class or x-amz-archive-status")
                .remedy(
                    "such rows fail with InvalidObjectState: restore them first, or give --archived restore, \
                     or skip",
                );
        }
        let what = format!("{all} of {all} rows that were looked at can be read");
        Finding::new(&SOURCE_READ, Outcome::Pass, what).evidence("HeadObject: 200")
    }

    /// A HEAD says nothing of why: a GET does, and which requests pass.
    async fn refused(
        &self,
        answers: &Answers<'_>,
        error: &S3Error,
        refused: usize,
        all: usize,
    ) -> Finding {
        let (row, version) = (answers.row, answers.version_id.as_deref());
        let headers = self.known.headers.source_object();
        let told = self.first_byte(row, version, &headers).await.err();
        let error = told
            .as_ref()
            .filter(|told| told.status == Some(403))
            .unwrap_or(error);
        // A row or two may be another account's; where none can be read no row can be copied.
        let outcome = if refused == all {
            Outcome::Fail
        } else {
            Outcome::Likely
        };
        let what = format!(
            "{refused} of {all} rows that were looked at may not be read, such as {}",
            Shown(&row.key)
        );
        let finding = Finding::new(&SOURCE_READ, outcome, what);
        let action = match version {
            Some(_) => "s3:GetObjectVersion",
            None => "s3:GetObject",
        };
        let (actions, resource) = ([action], self.resource());
        let needed = self.needed(&actions, &resource);
        if let Some(denial) = Denial::of(&error.message) {
            let mut finding = explain(finding, error, &self.known.who, &needed);
            if denial.is_of_listing() {
                finding.outcome = Outcome::Likely;
                finding.what = format!(
                    "{refused} of {all} rows that were looked at have no object, as far as may be known, such as {}",
                    Shown(&row.key)
                );
            }
            return finding;
        }
        if let Some(remedy) = self.differs(row, version).await {
            return finding
                .answered(error)
                .evidence(format!("{error}; {}", remedy.0))
                .remedy(remedy.1);
        }
        let finding = explain(finding, error, &self.known.who, &needed);
        let remedy = finding.remedy.clone().unwrap_or_default();
        let more = match (refused < all, self.listed) {
            (true, _) => {
                ". Others can be read: where ACLs are on, a bucket's policy does not speak for objects that \
                 another account owns there"
            }
            (false, false) => ". Without s3:ListBucket a missing object answers 403 too",
            (false, true) => "",
        };
        finding.remedy(format!("{remedy}{more}"))
    }

    /// What of the request is refused, by what passes without it: the evidence, and the remedy.
    async fn differs(&self, row: &Row, version: Option<&str>) -> Option<(String, String)> {
        let all = self.known.headers.source_object();
        let payer: HeaderPair = ("x-amz-request-payer".into(), "requester".to_owned());
        let ownerless: Vec<_> = all
            .iter()
            .filter(|(name, _)| name != "x-amz-expected-bucket-owner")
            .cloned()
            .collect();
        let paying: Vec<_> = all.iter().cloned().chain([payer]).collect();
        let owner_given = ownerless.len() < all.len();
        let tries = (
            async { owner_given && self.head(row, version, &ownerless).await.is_ok() },
            async {
                !self.known.job.copy.requester_pays
                    && self.head(row, version, &paying).await.is_ok()
            },
            async { version.is_some() && self.head(row, None, &all).await.is_ok() },
        );
        let (ownerless, paying, unversioned) = tokio::join!(tries.0, tries.1, tries.2);
        if ownerless {
            return Some((
                "200 without the expected owner".to_owned(),
                "likely: the source bucket is not of the account that --source-account names"
                    .to_owned(),
            ));
        }
        if paying {
            return Some((
                "200 with x-amz-request-payer".to_owned(),
                "likely: the source is a requester pays bucket: give --requester-pays".to_owned(),
            ));
        }
        unversioned.then(|| {
            (
                "200 without the version".to_owned(),
                "likely: s3:GetObjectVersion is not allowed, as s3:GetObject is: versions, and copies in parts where there are any, take \
                 it, in both accounts' policies"
                    .to_owned(),
            )
        })
    }

    /// A finding of what was asked of each row that can be read.
    fn of_all<'e>(
        &self,
        topic: &Topic,
        what: &str,
        asked: impl Iterator<Item = (&'e Answers<'e>, Option<&'e S3Error>)>,
        refused_outcome: Outcome,
        actions: [&str; 2],
    ) -> Option<Finding> {
        let asked: Vec<_> = asked.collect();
        let all = asked.len();
        let errors: Vec<_> = asked
            .into_iter()
            .filter_map(|(answers, error)| Some((answers, error?)))
            .collect();
        if all == 0 {
            return None;
        }
        let refusal = errors.iter().find(|(_, error)| error.status == Some(403));
        let Some((answers, error)) = refusal.or(errors.first()) else {
            let what = format!("the {what} of {all} rows that were looked at can be read");
            return Some(Finding::new(topic, Outcome::Pass, what));
        };
        let key = Shown(&answers.row.key);
        if error.status != Some(403) {
            let what = format!("the {what} of {key} cannot be read");
            return Some(Finding::new(topic, Outcome::Unknown, what).answered(error));
        }
        let what = format!(
            "the {what} of {} of {all} rows that were looked at may not be read, such as {key}",
            errors.len()
        );
        let finding = Finding::new(topic, refused_outcome, what);
        let [of_current, of_version] = actions;
        let actions = [match answers.version_id {
            Some(_) => of_version,
            None => of_current,
        }];
        let resource = self.resource();
        let needed = self.needed(&actions, &resource);
        Some(explain(finding, error, &self.known.who, &needed))
    }

    pub(super) fn tags(&self, answers: &[Answers<'_>]) -> Option<Finding> {
        let asked = answers.iter().filter_map(|a| {
            let tags = a.tags.as_ref()?;
            Some((a, tags.as_ref().err()))
        });
        // CopyObject of an object without tags takes no permission for them.
        let outcome = match self.known.for_parts() {
            Outcome::Fail => Outcome::Fail,
            _ => Outcome::Likely,
        };
        let actions = ["s3:GetObjectTagging", "s3:GetObjectVersionTagging"];
        let finding = self.of_all(&SOURCE_TAGS, "tags", asked, outcome, actions)?;
        Some(and_or(finding, "--tags none copies without tags"))
    }

    pub(super) fn annotations(&self, answers: &[Answers<'_>]) -> Option<Finding> {
        let read = answers.iter().filter_map(|a| {
            let read = a.annotation.as_ref()?;
            Some((a, read.as_ref().err()))
        });
        let instead = "--annotations exclude copies without annotations";
        let actions = ["s3:GetObjectAnnotation", "s3:GetObjectVersionAnnotation"];
        let read = self.of_all(
            &SOURCE_ANNOTATIONS,
            "annotations",
            read,
            Outcome::Fail,
            actions,
        );
        if let Some(read) = read.filter(|read| read.outcome != Outcome::Pass) {
            return Some(and_or(read, instead));
        }
        let listed = answers.iter().filter_map(|a| {
            let listed = a.annotations.as_ref()?;
            Some((a, listed.as_ref().err()))
        });
        let actions = ["s3:ListObjectAnnotations"; 2];
        let outcome = self.known.for_parts();
        let finding = self.of_all(&SOURCE_ANNOTATIONS, "annotations", listed, outcome, actions)?;
        Some(and_or(finding, instead))
    }

    pub(super) fn attributes(&self, answers: &[Answers<'_>]) -> Option<Finding> {
        let asked = answers.iter().filter_map(|a| {
            let read = a.attributes.as_ref()?;
            Some((a, read.as_ref().err()))
        });
        let actions = ["s3:GetObjectAttributes", "s3:GetObjectVersionAttributes"];
        let what = "checksums";
        let finding = self.of_all(&SOURCE_ATTRIBUTES, what, asked, Outcome::Fail, actions)?;
        Some(and_or(finding, "--verify head does without them"))
    }

    /// Whether objects under SSE-KMS can be decrypted.
    pub(super) fn kms(&self, answers: &[Answers<'_>]) -> Option<Finding> {
        let asked: Vec<_> = answers
            .iter()
            .filter_map(|a| {
                let key = encryption::kms_key(a.head.as_ref().ok()?)?;
                Some((a.row, key, a.bytes.as_ref()))
            })
            .collect();
        let (_, first, _) = asked.first()?;
        let mut errors = asked
            .iter()
            .filter_map(|(row, key, read)| Some((row, key, read.as_ref()?.as_ref().err()?)));
        let Some((row, key, error)) = errors.next() else {
            if asked.iter().all(|(_, _, read)| read.is_none()) {
                let what = format!(
                    "whether {first} decrypts for who copies was not tried: nothing to read"
                );
                return Some(Finding::new(&SOURCE_KMS, Outcome::Unknown, what));
            }
            let what = format!("objects under SSE-KMS can be read, such as under {first}");
            return Some(Finding::new(&SOURCE_KMS, Outcome::Pass, what).evidence("GetObject: 206"));
        };
        let what = format!(
            "{} lies under {key}, and may not be decrypted",
            Shown(&row.key)
        );
        // Others are copied: under another key, or none.
        let read = asked
            .iter()
            .any(|(_, _, read)| matches!(read, Some(Ok(()))));
        let others = answers.iter().filter(|a| a.head.is_ok()).count() > asked.len();
        let outcome = if read || others {
            Outcome::Likely
        } else {
            Outcome::Fail
        };
        let finding = Finding::new(&SOURCE_KMS, outcome, what);
        let (actions, resource) = (["kms:Decrypt"], *key);
        let needed = Needed {
            kms_key: Some(key),
            account: key.split(':').nth(4),
            ..self.needed(&actions, resource)
        };
        Some(explain(finding, error, &self.known.who, &needed))
    }
}

/// Adds a way to do without.
fn and_or(finding: Finding, instead: &str) -> Finding {
    match finding.remedy.clone() {
        Some(remedy) => finding.remedy(format!("{remedy}; or {instead}")),
        None => finding,
    }
}
