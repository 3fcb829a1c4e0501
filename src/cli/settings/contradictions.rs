//! Object settings that mean nothing together, or that S3 would refuse object by object.

use s3haul_s3::ChecksumAlgorithm;
use time::OffsetDateTime;

use super::values::Acl;
use super::{ArchivedFlag, ChecksumTypeFlag, MetadataFlag, SettingsArgs, SseFlag, TagsFlag};
use crate::cli::exit::Failed;
use crate::job::access::{AccessOptions, Owner};
use crate::job::copy::SourceChanged;
use crate::job::copy::settings::{
    Archived, Encryption, Grant, ObjectSettings, StorageClass, Verify,
};
use crate::job::manifest::Versions;

type Pairs = [(String, String)];

impl SettingsArgs {
    /// What the flags contradict among themselves.
    pub(super) fn contradictions(
        &self,
        grants: &[Grant],
        metadata: &Pairs,
        tags: &Pairs,
    ) -> Result<(), Failed> {
        self.lacks(metadata, tags)?;
        self.clashes(grants)?;
        self.wrong_times()
    }

    /// Flags that mean nothing without another.
    fn lacks(&self, metadata: &Pairs, tags: &Pairs) -> Result<(), Failed> {
        let replace = (
            "--metadata-directive replace",
            self.metadata_directive == MetadataFlag::Replace,
        );
        let kms = matches!(self.sse, SseFlag::Kms | SseFlag::KmsDsse);
        let restore = ("--archived restore", self.archived == ArchivedFlag::Restore);
        let (mode, until) = (self.object_lock_mode, self.object_lock_retain_until);
        for (flag, given, (other, there)) in [
            ("--metadata", !metadata.is_empty(), replace),
            ("--content-type", self.content_type.is_some(), replace),
            ("--cache-control", self.cache_control.is_some(), replace),
            (
                "--content-disposition",
                self.content_disposition.is_some(),
                replace,
            ),
            (
                "--content-encoding",
                self.content_encoding.is_some(),
                replace,
            ),
            (
                "--content-language",
                self.content_language.is_some(),
                replace,
            ),
            ("--expires", self.expires.is_some(), replace),
            (
                "--tag",
                !tags.is_empty(),
                ("--tags replace", self.tags == TagsFlag::Replace),
            ),
            (
                "--sse-kms-key-id",
                self.sse_kms_key_id.is_some(),
                ("--sse aws:kms or aws:kms:dsse", kms),
            ),
            (
                "--bucket-key",
                self.bucket_key,
                ("--sse aws:kms", self.sse == SseFlag::Kms),
            ),
            (
                "--checksum-type",
                self.checksum_type.is_some(),
                ("--checksum-algorithm", self.checksum_algorithm.is_some()),
            ),
            (
                "--object-lock-mode",
                mode.is_some(),
                ("--object-lock-retain-until", until.is_some()),
            ),
            (
                "--object-lock-retain-until",
                until.is_some(),
                ("--object-lock-mode", mode.is_some()),
            ),
            ("--restore-tier", self.restore_tier.is_some(), restore),
            ("--restore-days", self.restore_days.is_some(), restore),
        ] {
            if given && !there {
                return Err(Failed::usage(format!("{flag} needs {other}"))
                    .hinted(self.hint(flag).map(str::to_owned)));
            }
        }
        if self.tags == TagsFlag::Replace && tags.is_empty() {
            return Err(Failed::usage("--tags replace needs --tag")
                .hinted("for copies without tags say --tags none".to_owned()));
        }
        Ok(())
    }

    fn hint(&self, flag: &str) -> Option<&'static str> {
        match flag {
            "--bucket-key" if self.sse == SseFlag::KmsDsse => {
                Some("S3 has no bucket keys for aws:kms:dsse")
            }
            "--bucket-key" => Some("without it the copies have what their bucket has"),
            "--tag" | "--restore-tier" | "--restore-days" | "--sse-kms-key-id"
            | "--checksum-type" => None,
            "--object-lock-mode" | "--object-lock-retain-until" => {
                Some("S3 takes mode and date together")
            }
            _ => Some("replace loses all of the source's metadata that no flag names"),
        }
    }

    /// Flags that exclude each other.
    fn clashes(&self, grants: &[Grant]) -> Result<(), Failed> {
        let algorithm = self.checksum_algorithm.as_deref().unwrap_or_default();
        let (full_object, composite) = checksum_types(algorithm);
        let grant = grants.first().map_or_else(String::new, |grant| {
            grant.permission.header().replace("x-amz-", "--")
        });
        let has_canned_acl = matches!(self.acl, Some(Acl(Some(_))));
        for (clash, message) in [
            (
                has_canned_acl && !grants.is_empty(),
                format!("--acl and {grant} exclude each other: S3 takes a canned ACL or grants"),
            ),
            (
                self.sse_c_key_file.is_some() && self.sse != SseFlag::BucketDefault,
                "--sse-c-key-file and --sse exclude each other: an object is encrypted in one way"
                    .to_owned(),
            ),
            (
                self.checksum_type == Some(ChecksumTypeFlag::Composite) && !composite,
                format!(
                    "--checksum-type composite and --checksum-algorithm {algorithm} exclude each other: \
                     it goes over full objects alone"
                ),
            ),
            (
                self.checksum_type == Some(ChecksumTypeFlag::FullObject) && !full_object,
                format!(
                    "--checksum-type full-object and --checksum-algorithm {algorithm} exclude each \
                     other: of a copy in parts S3 has it over the parts' checksums alone"
                ),
            ),
        ] {
            if clash {
                return Err(Failed::usage(message));
            }
        }
        Ok(())
    }

    fn wrong_times(&self) -> Result<(), Failed> {
        if let Some(until) = self.object_lock_retain_until
            && until <= OffsetDateTime::now_utc()
        {
            return Err(Failed::usage(format!(
                "--object-lock-retain-until {until} is in the past"
            )));
        }
        if let (Some(after), Some(before)) = (self.if_modified_since, self.if_unmodified_since)
            && after >= before
        {
            return Err(Failed::usage(
                "--if-modified-since must be before --if-unmodified-since: no object is both",
            ));
        }
        Ok(())
    }
}

/// Whether a copy in parts can have a checksum over the full object, and one over its parts'.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>
fn checksum_types(algorithm: &str) -> (bool, bool) {
    match ChecksumAlgorithm::from_name(algorithm) {
        None | Some(ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32C) => (true, true),
        Some(ChecksumAlgorithm::Crc64Nvme) => (true, false),
        Some(_) => (false, true),
    }
}

/// What object settings contradict of the rest of a job.
pub(in crate::cli) fn check(
    settings: &ObjectSettings,
    access: &AccessOptions,
    source_changed: SourceChanged,
    verify: Verify,
    versions: Option<Versions>,
) -> Result<(), Failed> {
    if let StorageClass::Class(class) = &settings.storage_class
        && ["GLACIER", "DEEP_ARCHIVE"].contains(&class.as_str())
        && verify == Verify::Full
    {
        return Err(Failed::usage(format!(
            "--storage-class {class} and --verify full exclude each other: an archived copy cannot be read"
        )));
    }
    if settings.archived == Archived::Skip && versions == Some(Versions::All) {
        return Err(Failed::usage(
            "--archived skip and --versions all exclude each other: where the newest version is archived \
             an older one would become the current one",
        ));
    }
    if settings.if_unmodified_since.is_some() && source_changed == SourceChanged::Fail {
        return Err(Failed::usage(
            "--if-unmodified-since and --source-changed fail exclude each other: where the ETag is as \
             listed, S3 overrules the date",
        ));
    }
    key_is_found(&settings.encryption, access)
}

/// Refuses a KMS key that is looked up in another account than its bucket's: S3 finds bare key IDs and
/// aliases in the account of who asks, and the `aws/s3` of an account is nobody else's.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/specifying-kms-encryption.html>
fn key_is_found(encryption: &Encryption, access: &AccessOptions) -> Result<(), Failed> {
    let (sse, key) = match encryption {
        Encryption::BucketDefault | Encryption::Aes256 => return Ok(()),
        Encryption::Kms(key) => ("aws:kms", key),
        Encryption::KmsDsse(key) => ("aws:kms:dsse", key),
    };
    let is_shared = |key: &String| key.starts_with("arn:") && !key.ends_with(":alias/aws/s3");
    let Some(other) = other_account(access) else {
        return Ok(());
    };
    let given = match key {
        Some(key) if is_shared(key) => return Ok(()),
        Some(key) => format!("--sse-kms-key-id {key}"),
        None => format!("--sse {sse} without --sse-kms-key-id"),
    };
    Err(Failed::usage(format!(
        "{given} cannot be used with {other}: bare key IDs and aliases are looked up in the account of \
         who copies, which may not be the destination's, and aws/s3 cannot be shared"
    ))
    .hinted(
        "give --sse-kms-key-id the key's full ARN: arn:aws:kms:REGION:ACCOUNT:key/ID".to_owned(),
    ))
}

/// The flag for which the destination may be in another account than who copies.
fn other_account(access: &AccessOptions) -> Option<String> {
    let Some(role) = &access.role else {
        return Some("--no-role".to_owned());
    };
    let account = role.role_arn.split(':').nth(4);
    match &access.destination_account {
        Owner::OfRole => None,
        Owner::Account(id) if Some(id.as_str()) == account => None,
        Owner::Account(id) => Some(format!("--destination-account {id}")),
        Owner::Any => Some("--destination-account any".to_owned()),
    }
}
