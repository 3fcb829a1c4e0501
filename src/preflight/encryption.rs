//! Under which key copies come to lie, and who may use it.

use s3haul_s3::{DefaultEncryption, Head, S3Error};

use super::Known;
use super::denial::statement;
use super::finding::{DESTINATION_DECRYPT, DESTINATION_ENCRYPTION, Finding, Outcome};
use crate::job::copy::settings::Encryption;

/// The KMS key that an object lies under.
pub(super) fn kms_key(head: &Head) -> Option<&str> {
    head.header("x-amz-server-side-encryption-aws-kms-key-id")
}

/// The KMS key of the copies, where S3 or a flag names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Kms {
    /// None, or it is not known.
    #[default]
    None,
    /// The key `aws/s3` of who writes, or of the bucket's account.
    Managed,
    /// This one.
    Key(String),
}

impl Kms {
    pub(super) fn key(&self) -> Option<&str> {
        match self {
            Self::Key(key) => Some(key),
            Self::None | Self::Managed => None,
        }
    }
}

/// What the flags ask, beside the bucket's default.
pub(super) fn judge(
    known: &Known<'_>,
    default: &Result<DefaultEncryption, S3Error>,
) -> (Finding, Kms) {
    let object = &known.job.copy.object;
    let finding = |outcome, what: String| Finding::new(&DESTINATION_ENCRYPTION, outcome, what);
    if object.customer_key.is_some() {
        let what = "copies lie under the customer's key that the job has";
        return (finding(Outcome::Pass, what.to_owned()), Kms::None);
    }
    let asked = match &object.encryption {
        Encryption::BucketDefault => return by_default(known, default),
        Encryption::Aes256 => {
            let what = "copies lie under S3's own key (SSE-S3), as --sse asks";
            return (finding(Outcome::Pass, what.to_owned()), Kms::None);
        }
        Encryption::Kms(key) | Encryption::KmsDsse(key) => key,
    };
    // Keys of other accounts are named by their ARNs: the flags are held to that.
    let Some(key) = asked else {
        let what = "copies lie under the key aws/s3 of the account".to_owned();
        return (finding(Outcome::Pass, what), Kms::Managed);
    };
    let of_key = of_key(known, key, "--sse-kms-key-id");
    (of_key, Kms::Key(key.clone()))
}

/// What is found of a key that `whence` names.
fn of_key(known: &Known<'_>, key: &str, whence: &str) -> Finding {
    let owner = key.split(':').nth(4);
    let topic = &DESTINATION_ENCRYPTION;
    if owner.is_none() || known.who.account.as_deref() == owner {
        let what = format!("copies lie under {key}, as {whence} has it");
        return Finding::new(topic, Outcome::Pass, what);
    }
    let what = format!("copies lie under {key}, as {whence} has it, which is of another account");
    Finding::new(topic, Outcome::Warning, what)
        .in_account(owner)
        .remedy(
            "the key's policy there and the policy of who copies must both allow kms:GenerateDataKey and, for \
             copies in parts, kms:Decrypt",
        )
}

fn by_default(known: &Known<'_>, default: &Result<DefaultEncryption, S3Error>) -> (Finding, Kms) {
    let finding = |outcome, what: String| Finding::new(&DESTINATION_ENCRYPTION, outcome, what);
    let default = match default {
        Ok(default) => default,
        Err(error) if error.report_code() == "ServerSideEncryptionConfigurationNotFoundError" => {
            let what = "the destination encrypts nothing by default";
            return (
                finding(Outcome::Pass, what.to_owned()).answered(error),
                Kms::None,
            );
        }
        Err(error) => {
            let what = "it cannot be told how the destination encrypts by default: where that is by a KMS key, \
                        who copies needs kms:GenerateDataKey and, for copies in parts, kms:Decrypt on it";
            let finding = finding(Outcome::Unknown, what.to_owned());
            let action = "s3:GetEncryptionConfiguration";
            return (known.unread(finding, error, action), Kms::None);
        }
    };
    let evidence = |finding: Finding| {
        let key = default.kms_key_id.as_deref().unwrap_or("no key");
        finding.evidence(format!("GetBucketEncryption: {}, {key}", default.algorithm))
    };
    if !default.algorithm.starts_with("aws:kms") {
        let what = format!(
            "copies lie under {}, the destination's default",
            default.algorithm
        );
        return (evidence(finding(Outcome::Pass, what)), Kms::None);
    }
    let Some(key) = &default.kms_key_id else {
        let (outcome, what) = if known.across_accounts() == Some(true) {
            // The upload that is tried shows whether it is that account's.
            let what = "the destination encrypts by the key aws/s3, which lets in no other account than its own";
            (Outcome::Likely, what)
        } else {
            (
                Outcome::Pass,
                "copies lie under the key aws/s3 of the account",
            )
        };
        let finding = evidence(finding(outcome, what.to_owned()));
        let finding = match outcome {
            Outcome::Likely => finding.remedy(
                "give --sse AES256, or have the bucket encrypt by a key of its own, whose policy lets who copies in",
            ),
            _ => finding,
        };
        return (finding, Kms::Managed);
    };
    let finding = of_key(known, key, "the destination's default");
    (evidence(finding), Kms::Key(key.clone()))
}

/// What no request of a check can show.
pub(super) fn decrypt(known: &Known<'_>, kms: &Kms) -> Option<Finding> {
    let key = kms.key().filter(|_| known.in_parts != Some(false))?;
    let what = format!(
        "copies in parts read {key} too, and only a part that is copied could show whether they may"
    );
    Some(
        Finding::new(&DESTINATION_DECRYPT, Outcome::Unknown, what)
            .in_account(known.who.account.as_deref())
            .granted_by(statement(None, &["kms:Decrypt"], key))
            .remedy(
                "the policy of who copies needs this statement; the key's, where it is of another account, the \
                 same with Principal",
            ),
    )
}
