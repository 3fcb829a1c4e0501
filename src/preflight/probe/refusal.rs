//! A refused upload: what of its headers it is refused for.

use s3haul_s3::{HeaderPair, S3Error};

use super::Probe;
use crate::preflight::denial::{Denial, statement};
use crate::preflight::encryption::Kms;
use crate::preflight::finding::{DESTINATION_WRITE, Finding, Outcome};
use crate::preflight::probe_key;

/// What of the headers takes a permission of its own.
struct Group {
    name: &'static str,
    action: &'static str,
    of_kms: bool,
    begins: &'static [&'static str],
}

const GROUPS: [Group; 5] = [
    Group {
        name: "its ACL",
        action: "s3:PutObjectAcl",
        of_kms: false,
        begins: &["x-amz-acl", "x-amz-grant-"],
    },
    Group {
        name: "its tags",
        action: "s3:PutObjectTagging",
        of_kms: false,
        begins: &["x-amz-tagging"],
    },
    Group {
        name: "its retention",
        action: "s3:PutObjectRetention",
        of_kms: false,
        begins: &["x-amz-object-lock-mode", "x-amz-object-lock-retain"],
    },
    Group {
        name: "its legal hold",
        action: "s3:PutObjectLegalHold",
        of_kms: false,
        begins: &["x-amz-object-lock-legal-hold"],
    },
    Group {
        name: "SSE-KMS",
        action: "kms:GenerateDataKey",
        of_kms: true,
        begins: &[
            "x-amz-server-side-encryption",
            "x-amz-server-side-encryption-aws-kms",
        ],
    },
];

impl Group {
    fn has(&self, (name, _): &HeaderPair) -> bool {
        // The headers of SSE-C begin alike, and are no KMS.
        let customer = name.contains("customer");
        !customer && self.begins.iter().any(|begin| name.starts_with(begin))
    }
}

impl Probe<'_> {
    /// What the job's request was refused for, by which others pass.
    pub(super) async fn refused(
        &self,
        key: &str,
        headers: &[HeaderPair],
        error: S3Error,
    ) -> Vec<Finding> {
        let mut left = self.settle(key, &error).await;
        let topic = &DESTINATION_WRITE;
        let outcome = self.outcome(&error);
        let what = match outcome {
            Outcome::Unknown => {
                "it cannot be told whether an upload with the job's headers can be begun under the destination prefix"
            }
            _ => "an upload with the job's headers is refused under the destination prefix",
        };
        let finding = Finding::new(topic, outcome, what);
        if error.status != Some(403) {
            let finding = finding.answered(&error);
            left.insert(
                0,
                match advice(&error) {
                    Some(advice) => finding.remedy(advice),
                    None => finding,
                },
            );
            return left;
        }
        let resource = self.resource();
        if Denial::of(&error.message).is_some() {
            let finding = self.explain(finding, &error, &["s3:PutObject"], &resource);
            left.insert(0, finding);
            return left;
        }
        let (passed, more) = self.variants(headers).await;
        left.extend(more);
        let kms = passed.iter().any(|group| group.of_kms);
        let actions: Vec<_> = match passed[..] {
            [] => vec!["s3:PutObject"],
            _ => passed.iter().map(|group| group.action).collect(),
        };
        let finding = match (kms, self.kms.key()) {
            (true, key) => finding
                .granted_by(statement(
                    None,
                    &["kms:GenerateDataKey", "kms:Decrypt"],
                    key.unwrap_or("*"),
                ))
                .in_account(self.known.who.account.as_deref())
                .remedy(
                    "likely: the key's policy or that of who copies does not allow kms:GenerateDataKey; across \
                     accounts both must",
                )
                .answered(&error),
            _ => self.explain(finding, &error, &actions, &resource),
        };
        let names: Vec<_> = passed.iter().map(|group| group.name).collect();
        let finding = match names[..] {
            [] => finding,
            _ => finding.evidence(format!("{error}; 200 without {}", names.join(" and "))),
        };
        left.insert(0, finding);
        left
    }

    /// A refusal is the job's, too. What only uploads send matters as much as uploads do.
    fn outcome(&self, error: &S3Error) -> Outcome {
        let code = error.report_code();
        let of_settings = matches!(
            code,
            "AccessControlListNotSupported"
                | "InvalidStorageClass"
                | "KeyTooLongError"
                | "NoSuchBucket"
        ) || code.starts_with("KMS.");
        match error.status {
            Some(403) => Outcome::Fail,
            Some(400..=499) if of_settings => Outcome::Fail,
            Some(400..=499 | 501) => match self.known.for_parts() {
                Outcome::Fail => Outcome::Fail,
                _ => Outcome::Likely,
            },
            _ => Outcome::Unknown,
        }
    }

    /// The same without what takes a permission of its own: one after the other, then without all. Gives those
    /// that it passes without.
    async fn variants(&self, headers: &[HeaderPair]) -> (Vec<&'static Group>, Vec<Finding>) {
        let by_default = self.kms != Kms::None;
        let there = |group: &&Group| {
            group.of_kms && by_default || headers.iter().any(|pair| group.has(pair))
        };
        let groups: Vec<_> = GROUPS.iter().filter(there).collect();
        let mut tries: Vec<_> = groups.iter().map(|group| vec![*group]).collect();
        if groups.len() > 1 {
            tries.push(groups);
        }
        let (mut passed, mut left) = (Vec::new(), Vec::new());
        // One after the other: where one cannot be aborted no more are begun.
        for without in tries {
            let key = probe_key(&self.known.job.read.rename.prefix);
            let stripped = headers
                .iter()
                .filter(|pair| !without.iter().any(|g| g.has(pair)));
            let mut stripped: Vec<_> = stripped.cloned().collect();
            if without.iter().any(|group| group.of_kms) {
                stripped.push(("x-amz-server-side-encryption".into(), "AES256".to_owned()));
            }
            match self.create(&key, &stripped).await {
                Ok(upload) => {
                    let aborted = self.abort(&upload).await;
                    left.extend(aborted.is_err().then(|| self.aborted(&upload, aborted)));
                    // One alone says more than all together.
                    passed = without;
                }
                Err(error) => left.extend(self.settle(&key, &error).await),
            }
            if !passed.is_empty() || !left.is_empty() {
                break;
            }
        }
        (passed, left)
    }
}

/// What to do about a refusal that is no matter of permissions.
fn advice(error: &S3Error) -> Option<&'static str> {
    let code = error.report_code();
    Some(match code {
        "AccessControlListNotSupported" => {
            "the destination bucket has ACLs disabled: give --acl bucket-owner-full-control or --acl none, and \
             no --grant"
        }
        _ if code.starts_with("KMS.") => {
            "the key must be there, enabled, in the destination's region, and named by its full ARN"
        }
        _ => return None,
    })
}
