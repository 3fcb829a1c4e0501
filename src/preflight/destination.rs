//! What is written to: the bucket's settings, beside what the job asks.

use s3haul_s3::{ObjectLock, Operation, S3Client, S3Error};

use super::encryption::{self, Kms};
use super::finding::{
    DESTINATION_LIFECYCLE, DESTINATION_LOCK, DESTINATION_OWNERSHIP, DESTINATION_VERSIONS, Finding,
    Outcome,
};
use super::{Known, versions_wanted};

/// What the settings are found to be.
#[derive(Default)]
pub(super) struct Settings {
    pub(super) findings: Vec<Finding>,
    pub(super) kms: Kms,
    /// It keeps no versions, and never did.
    pub(super) unversioned: bool,
    /// What is put could be deleted again: nothing retains it.
    pub(super) lets_go: bool,
}

/// Reads them. One that may not be read is unknown.
pub(super) async fn settings(known: &Known<'_>, client: &S3Client) -> Settings {
    let (job, ask, bucket) = (known.job, known.ask, &known.job.destination_bucket);
    let headers = known.headers.destination();
    let prefix = &job.read.rename.prefix;
    let locks = job.copy.object.retention.is_some() || job.copy.object.legal_hold.is_some();
    let versioning = || client.get_bucket_versioning(bucket, headers);
    let ownership = || client.get_bucket_ownership_controls(bucket, headers);
    let encryption = || client.get_bucket_encryption(bucket, headers);
    let lifecycle = || client.get_bucket_lifecycle_configuration(bucket, prefix, headers);
    let lock = || client.get_object_lock_configuration(bucket, headers);
    let (versioning, ownership, encryption, lifecycle, lock) = tokio::join!(
        ask.ask(Operation::GetBucketVersioning, versioning),
        ask.ask(Operation::GetBucketOwnershipControls, ownership),
        ask.ask(Operation::GetBucketEncryption, encryption),
        ask.ask(Operation::GetBucketLifecycleConfiguration, lifecycle),
        ask.ask(Operation::GetObjectLockConfiguration, lock)
    );
    let mut findings = vec![versions(known, &versioning), owned(known, &ownership)];
    findings.push(locked(known, locks, &lock));
    let (judged, kms) = encryption::judge(known, &encryption);
    findings.push(judged);
    findings.extend(encryption::decrypt(known, &kms));
    findings.push(cleared(known, prefix, &lifecycle));
    let unversioned = matches!(versioning, Ok(None));
    let lets_go = match &lock {
        Ok(lock) => !lock.retains,
        // What knows no such setting answers so.
        Err(error) => matches!(error.status, Some(400 | 404 | 405 | 501)),
    };
    Settings {
        findings,
        kms,
        unversioned,
        lets_go,
    }
}

fn versions(known: &Known<'_>, answer: &Result<Option<String>, S3Error>) -> Finding {
    let (wanted, replay) = versions_wanted(known.job);
    let finding = |outcome, what: String| Finding::new(&DESTINATION_VERSIONS, outcome, what);
    match answer {
        Ok(Some(status)) if status == "Enabled" => {
            finding(Outcome::Pass, "the destination keeps versions".to_owned())
        }
        Ok(status) => {
            let how = match status {
                Some(_) => "suspended",
                None => "off",
            };
            let what = format!("the destination keeps no versions: its versioning is {how}");
            if !wanted {
                return finding(Outcome::Pass, what);
            }
            finding(
                Outcome::Fail,
                format!("{what}, and --versions all needs them"),
            )
            .remedy("enable its versioning, or copy with --versions latest")
        }
        Err(error) => {
            // A delete is sent only where it is known to add a marker.
            let outcome = if replay {
                Outcome::Fail
            } else {
                Outcome::Unknown
            };
            let what = "it cannot be told whether the destination keeps versions".to_owned();
            let finding = finding(outcome, what);
            let finding = known.unread(finding, error, "s3:GetBucketVersioning");
            if replay {
                return finding.remedy(
                    "who copies needs s3:GetBucketVersioning there: --delete-markers replay sends deletes, which \
                     delete where no versions are kept",
                );
            }
            finding
        }
    }
}

/// Who owns the copies.
fn owned(known: &Known<'_>, answer: &Result<String, S3Error>) -> Finding {
    let copy = &known.job.copy;
    let finding = |outcome, what: String| Finding::new(&DESTINATION_OWNERSHIP, outcome, what);
    let granted = !copy.object.grants.is_empty();
    let asked = match (&copy.acl, granted) {
        (_, true) => "grants".to_owned(),
        (Some(acl), false) => format!("--acl {acl}"),
        (None, false) => "--acl none".to_owned(),
    };
    let full_control = !granted && copy.acl.as_deref() == Some("bucket-owner-full-control");
    let ownership = match answer {
        Ok(ownership) => ownership.as_str(),
        Err(error) if error.report_code() == "OwnershipControlsNotFoundError" => "ObjectWriter",
        Err(error) => {
            let what = format!("it cannot be told who owns what is written there with {asked}");
            let finding = finding(Outcome::Unknown, what);
            return known.unread(finding, error, "s3:GetBucketOwnershipControls");
        }
    };
    let evidence = match answer {
        Ok(ownership) => format!("GetBucketOwnershipControls: {ownership}"),
        Err(error) => error.to_string(),
    };
    let enough = "; --acl none is enough, and takes no s3:PutObjectAcl";
    let (outcome, what, remedy) = if ownership == "BucketOwnerEnforced" {
        match (full_control, copy.acl.is_some() || granted) {
            (true, _) => (
                Outcome::Pass,
                format!("the destination's owner owns what is written there{enough}"),
                None,
            ),
            (false, false) => (
                Outcome::Pass,
                "the destination's owner owns what is written there".to_owned(),
                None,
            ),
            (false, true) => (
                Outcome::Fail,
                format!("the destination has ACLs disabled, and the job asks for {asked}"),
                Some("give --acl bucket-owner-full-control or --acl none, and no --grant"),
            ),
        }
    } else {
        match (known.across_accounts(), full_control) {
            (Some(false), _) => (
                Outcome::Pass,
                format!(
                    "who copies is of the destination's account, which owns the copies{}",
                    if full_control { enough } else { "" }
                ),
                None,
            ),
            (_, true) if ownership == "BucketOwnerPreferred" => (
                Outcome::Pass,
                "the destination's owner owns what is written there with --acl bucket-owner-full-control"
                    .to_owned(),
                None,
            ),
            (Some(true), true) => (
                Outcome::Warning,
                "the account of who copies will own the copies; the destination's owner has full control of \
                 them, and its bucket policy does not speak for them"
                    .to_owned(),
                Some("set the bucket's Object Ownership to BucketOwnerEnforced"),
            ),
            (Some(true), false) => (
                Outcome::Warning,
                format!(
                    "the account of who copies will own the copies, and with {asked} the destination's owner may \
                     not be able to read them"
                ),
                Some("give --acl bucket-owner-full-control, or set the bucket's Object Ownership to BucketOwnerEnforced"),
            ),
            (None, _) => (
                Outcome::Unknown,
                format!("who writes owns what is written there with {asked}, and whose the bucket is was not told"),
                Some("name its account with --destination-account"),
            ),
        }
    };
    let finding = finding(outcome, what).evidence(evidence);
    match remedy {
        Some(remedy) => finding.remedy(remedy),
        None => finding,
    }
}

fn locked(known: &Known<'_>, wanted: bool, answer: &Result<ObjectLock, S3Error>) -> Finding {
    let finding = |outcome, what: &str| Finding::new(&DESTINATION_LOCK, outcome, what);
    let lacks = |evidence: Option<&S3Error>| {
        let what = "the destination has no Object Lock";
        if !wanted {
            return finding(Outcome::Pass, what);
        }
        let lacking = finding(Outcome::Fail, what)
            .remedy("enable Object Lock on the bucket, or leave the --object-lock flags out");
        match evidence {
            Some(error) => lacking.answered(error),
            None => lacking,
        }
    };
    match answer {
        Ok(lock) if lock.enabled => finding(Outcome::Pass, "the destination has Object Lock"),
        Ok(_) => lacks(None),
        Err(error) if error.report_code() == "ObjectLockConfigurationNotFoundError" => {
            lacks(Some(error))
        }
        Err(error) => {
            let what = "it cannot be told whether the destination has Object Lock";
            let action = "s3:GetBucketObjectLockConfiguration";
            known.unread(finding(Outcome::Unknown, what), error, action)
        }
    }
}

fn cleared(known: &Known<'_>, prefix: &str, answer: &Result<bool, S3Error>) -> Finding {
    let finding = |outcome, what: &str| Finding::new(&DESTINATION_LIFECYCLE, outcome, what);
    let none = "no lifecycle rule aborts multipart uploads that are left: their parts would cost until somebody \
                does";
    let remedy = format!(
        "an AbortIncompleteMultipartUpload rule of 7 days for the prefix {prefix:?} clears away what a job that is \
         never resumed leaves"
    );
    match answer {
        Ok(true) => finding(
            Outcome::Pass,
            "a lifecycle rule aborts multipart uploads that are left",
        ),
        Ok(false) => finding(Outcome::Warning, none).remedy(remedy),
        Err(error) if error.report_code() == "NoSuchLifecycleConfiguration" => {
            finding(Outcome::Warning, none)
                .answered(error)
                .remedy(remedy)
        }
        Err(error) => {
            let what =
                "it cannot be told whether a lifecycle rule aborts multipart uploads that are left";
            let action = "s3:GetLifecycleConfiguration";
            known.unread(finding(Outcome::Unknown, what), error, action)
        }
    }
}
