//! What the copies look like: the flags under Object settings.

mod contradictions;
mod key_file;
mod values;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use time::OffsetDateTime;

use super::exit::Failed;
use super::flags::repeated;
use super::values::instant;
use crate::job::copy::settings::{
    Annotations, Archived, ChecksumType, CustomerKeys, Encryption, Grant, NewMetadata,
    ObjectSettings, Permission, RestoreTier, Retention, StorageClass,
};

pub(super) use self::contradictions::check;
pub(super) use self::key_file::{customer_keys, over_https, read_key};
use self::values::Acl;

/// The flags under Object settings.
#[derive(Debug, Args)]
#[command(next_help_heading = "Object settings")]
pub(super) struct SettingsArgs {
    /// Canned ACL of every copy, or none [default: bucket-owner-full-control; with grants none]
    #[arg(long, env = "S3HAUL_ACL", value_name = "ACL|none", value_parser = values::acl)]
    acl: Option<Acl>,
    /// Who gets all rights on the copies (repeatable; a JSON array in S3HAUL_GRANT_FULL_CONTROL)
    #[arg(long, value_name = "id=ID|uri=URI")]
    grant_full_control: Vec<String>,
    /// Who may read the copies (repeatable; a JSON array in S3HAUL_GRANT_READ)
    #[arg(long, value_name = "id=ID|uri=URI")]
    grant_read: Vec<String>,
    /// Who may read their ACL (repeatable; a JSON array in S3HAUL_GRANT_READ_ACP)
    #[arg(long, value_name = "id=ID|uri=URI")]
    grant_read_acp: Vec<String>,
    /// Who may write their ACL (repeatable; a JSON array in S3HAUL_GRANT_WRITE_ACP)
    #[arg(long, value_name = "id=ID|uri=URI")]
    grant_write_acp: Vec<String>,
    /// Storage class by S3's name, or preserve for the source's [default: S3's]
    #[arg(long, env = "S3HAUL_STORAGE_CLASS", value_name = "CLASS|preserve", value_parser = values::storage_class)]
    storage_class: Option<StorageClass>,
    /// What becomes of the source's metadata
    #[arg(long, env = "S3HAUL_METADATA_DIRECTIVE", value_enum, default_value_t = MetadataFlag::Copy)]
    metadata_directive: MetadataFlag,
    /// User metadata (repeatable; a JSON object in S3HAUL_METADATA)
    #[arg(long, value_name = "K=V")]
    metadata: Vec<String>,
    /// Content-Type of the copies
    #[arg(long, env = "S3HAUL_CONTENT_TYPE", value_name = "TEXT", value_parser = values::header)]
    content_type: Option<String>,
    /// Cache-Control of the copies
    #[arg(long, env = "S3HAUL_CACHE_CONTROL", value_name = "TEXT", value_parser = values::header)]
    cache_control: Option<String>,
    /// Content-Disposition of the copies
    #[arg(long, env = "S3HAUL_CONTENT_DISPOSITION", value_name = "TEXT", value_parser = values::header)]
    content_disposition: Option<String>,
    /// Content-Encoding of the copies
    #[arg(long, env = "S3HAUL_CONTENT_ENCODING", value_name = "TEXT", value_parser = values::header)]
    content_encoding: Option<String>,
    /// Content-Language of the copies
    #[arg(long, env = "S3HAUL_CONTENT_LANGUAGE", value_name = "TEXT", value_parser = values::header)]
    content_language: Option<String>,
    /// Expires of the copies: RFC 3339, or a date of HTTP
    #[arg(long, env = "S3HAUL_EXPIRES", value_name = "TIME", value_parser = values::http_date)]
    expires: Option<String>,
    /// Where a website's copies redirect to; no copy takes the source's along
    #[arg(long, env = "S3HAUL_WEBSITE_REDIRECT_LOCATION", value_name = "PATH|URL", value_parser = values::redirect)]
    website_redirect_location: Option<String>,
    /// Metadata that REST cannot show may be lost; the row notes it
    #[arg(long, env = "S3HAUL_ALLOW_METADATA_LOSS", value_parser = BoolishValueParser::new())]
    allow_metadata_loss: bool,
    /// What becomes of the source's tags
    #[arg(long, env = "S3HAUL_TAGS", value_enum, default_value_t = TagsFlag::Copy)]
    tags: TagsFlag,
    /// A tag instead of the source's (repeatable; a JSON object in S3HAUL_TAG)
    #[arg(long, value_name = "K=V")]
    tag: Vec<String>,
    /// What becomes of annotations
    #[arg(long, env = "S3HAUL_ANNOTATIONS", value_enum, default_value_t = AnnotationsFlag::Copy)]
    annotations: AnnotationsFlag,
    /// Server-side encryption of the copies
    #[arg(long, env = "S3HAUL_SSE", value_enum, default_value_t = SseFlag::BucketDefault)]
    sse: SseFlag,
    /// The KMS key; across accounts its full ARN [default: the account's aws/s3]
    #[arg(long, env = "S3HAUL_SSE_KMS_KEY_ID", value_name = "ARN", value_parser = values::kms_key)]
    sse_kms_key_id: Option<String>,
    /// Take an S3 Bucket Key, which saves requests to KMS [default: as the bucket has it]
    #[arg(long, env = "S3HAUL_BUCKET_KEY", value_parser = BoolishValueParser::new())]
    bucket_key: bool,
    /// The sources' key of SSE-C: a file of 32 bytes, or of their base64
    #[arg(long, env = "S3HAUL_SOURCE_SSE_C_KEY_FILE", value_name = "PATH")]
    source_sse_c_key_file: Option<std::path::PathBuf>,
    /// The copies' key of SSE-C, in such a file
    #[arg(long, env = "S3HAUL_SSE_C_KEY_FILE", value_name = "PATH")]
    sse_c_key_file: Option<std::path::PathBuf>,
    /// Checksum algorithm of the copies, by S3's name [default: the source's]
    #[arg(long, env = "S3HAUL_CHECKSUM_ALGORITHM", value_name = "ALGORITHM", value_parser = values::checksum_algorithm)]
    checksum_algorithm: Option<String>,
    /// Over what the checksum of a copy in parts goes [default: the full object where S3 can]
    #[arg(long, env = "S3HAUL_CHECKSUM_TYPE", value_enum)]
    checksum_type: Option<ChecksumTypeFlag>,
    /// Object Lock retention of the copies
    #[arg(long, env = "S3HAUL_OBJECT_LOCK_MODE", value_enum, ignore_case = true)]
    object_lock_mode: Option<LockFlag>,
    /// Until when it lasts
    #[arg(long, env = "S3HAUL_OBJECT_LOCK_RETAIN_UNTIL", value_name = "TIME", value_parser = instant)]
    object_lock_retain_until: Option<OffsetDateTime>,
    /// Object Lock legal hold of the copies
    #[arg(
        long,
        env = "S3HAUL_OBJECT_LOCK_LEGAL_HOLD",
        value_enum,
        ignore_case = true
    )]
    object_lock_legal_hold: Option<HoldFlag>,
    /// Rows of objects that were not modified after this time fail
    #[arg(long, env = "S3HAUL_IF_MODIFIED_SINCE", value_name = "TIME", value_parser = instant)]
    if_modified_since: Option<OffsetDateTime>,
    /// Rows of objects that were modified after this time fail
    #[arg(long, env = "S3HAUL_IF_UNMODIFIED_SINCE", value_name = "TIME", value_parser = instant)]
    if_unmodified_since: Option<OffsetDateTime>,
    /// What happens to objects of which S3 answers that they are archived
    #[arg(long, env = "S3HAUL_ARCHIVED", value_enum, default_value_t = ArchivedFlag::Fail)]
    archived: ArchivedFlag,
    /// How fast they are restored [default: standard]
    #[arg(long, env = "S3HAUL_RESTORE_TIER", value_enum, ignore_case = true)]
    restore_tier: Option<TierFlag>,
    /// For how many days they are restored [default: 7]
    #[arg(long, env = "S3HAUL_RESTORE_DAYS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    restore_days: Option<u32>,
}

/// Days for which S3 keeps a restored copy, where nothing else is said.
const RESTORE_DAYS: u32 = 7;
/// What bucket policies ask of who writes from another account.
const DEFAULT_ACL: &str = "bucket-owner-full-control";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MetadataFlag {
    /// It is copied.
    Copy,
    /// It is lost, and what the flags name is set.
    Replace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TagsFlag {
    /// They are copied.
    Copy,
    /// The copies have none.
    None,
    /// The copies have those of --tag.
    Replace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AnnotationsFlag {
    /// They are copied.
    Copy,
    /// They are left out.
    Exclude,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SseFlag {
    /// As the destination bucket has it.
    BucketDefault,
    /// SSE-S3.
    #[value(name = "AES256")]
    Aes256,
    /// SSE-KMS.
    #[value(name = "aws:kms")]
    Kms,
    /// SSE-KMS in two layers.
    #[value(name = "aws:kms:dsse")]
    KmsDsse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ChecksumTypeFlag {
    /// The whole object.
    FullObject,
    /// The checksums of its parts.
    Composite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LockFlag {
    /// Who has a special permission may end it.
    Governance,
    /// Nobody may end it.
    Compliance,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum HoldFlag {
    On,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ArchivedFlag {
    /// Their rows fail.
    Fail,
    /// Their rows are skipped.
    Skip,
    /// They are asked for, and their rows fail until they are there.
    Restore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TierFlag {
    /// Hours, at the usual price.
    Standard,
    /// The longest and cheapest.
    Bulk,
    /// Minutes; not from Deep Archive.
    Expedited,
}

/// What the flags give.
#[derive(Debug)]
pub(super) struct Settings {
    /// The canned ACL.
    pub(super) acl: Option<String>,
    pub(super) object: ObjectSettings,
    pub(super) keys: CustomerKeys,
}

impl SettingsArgs {
    /// Reads the key files too: once, so that they may be pipes.
    pub(super) fn settings(&self) -> Result<Settings, Failed> {
        let grants = self.grants()?;
        let metadata = values::pairs(&self.metadata, "--metadata", "S3HAUL_METADATA")?;
        let tags = values::pairs(&self.tag, "--tag", "S3HAUL_TAG")?;
        self.contradictions(&grants, &metadata, &tags)?;
        let metadata = NewMetadata {
            user: values::user_metadata(metadata)?,
            headers: self.system_metadata(),
        };
        let tags = values::tag_set(tags)?;
        let source = self
            .source_sse_c_key_file
            .as_deref()
            .map(|path| read_key("--source-sse-c-key-file", path));
        let destination = self
            .sse_c_key_file
            .as_deref()
            .map(|path| read_key("--sse-c-key-file", path));
        let (source_file, source_key) = source.transpose()?.unzip();
        let (file, key) = destination.transpose()?.unzip();
        let keys = CustomerKeys {
            source: source_key,
            destination: key,
        };
        let acl = match &self.acl {
            Some(Acl(acl)) => acl.clone(),
            None => grants.is_empty().then(|| DEFAULT_ACL.to_owned()),
        };
        let object = ObjectSettings {
            grants,
            storage_class: self.storage_class.clone().unwrap_or_default(),
            metadata: (self.metadata_directive == MetadataFlag::Replace).then_some(metadata),
            allow_metadata_loss: self.allow_metadata_loss,
            website_redirect_location: self.website_redirect_location.clone(),
            tags: (self.tags != TagsFlag::Copy).then_some(tags),
            annotations: match self.annotations {
                AnnotationsFlag::Copy => Annotations::Copy,
                AnnotationsFlag::Exclude => Annotations::Exclude,
            },
            encryption: self.encryption(),
            bucket_key: self.bucket_key,
            source_customer_key: source_file,
            customer_key: file,
            checksum_type: self.checksum_type.map(|kind| match kind {
                ChecksumTypeFlag::FullObject => ChecksumType::FullObject,
                ChecksumTypeFlag::Composite => ChecksumType::Composite,
            }),
            retention: self.retention(),
            legal_hold: self.object_lock_legal_hold.map(|hold| hold == HoldFlag::On),
            if_modified_since: self.if_modified_since,
            if_unmodified_since: self.if_unmodified_since,
            archived: self.archived(),
            checksum_algorithm: self.checksum_algorithm.clone(),
        };
        Ok(Settings { acl, object, keys })
    }

    fn grants(&self) -> Result<Vec<Grant>, Failed> {
        let mut grants = Vec::new();
        for (permission, flag, variable, given) in [
            (
                Permission::FullControl,
                "--grant-full-control",
                "S3HAUL_GRANT_FULL_CONTROL",
                &self.grant_full_control,
            ),
            (
                Permission::Read,
                "--grant-read",
                "S3HAUL_GRANT_READ",
                &self.grant_read,
            ),
            (
                Permission::ReadAcp,
                "--grant-read-acp",
                "S3HAUL_GRANT_READ_ACP",
                &self.grant_read_acp,
            ),
            (
                Permission::WriteAcp,
                "--grant-write-acp",
                "S3HAUL_GRANT_WRITE_ACP",
                &self.grant_write_acp,
            ),
        ] {
            for text in repeated(given.clone(), variable)? {
                let grantee = values::grantee(&text)
                    .map_err(|why| Failed::usage(format!("{flag} {text}: {why}")))?;
                grants.push(Grant {
                    permission,
                    grantee,
                });
            }
        }
        Ok(grants)
    }

    /// System metadata, by the names of its headers.
    fn system_metadata(&self) -> std::collections::BTreeMap<String, String> {
        let given = [
            ("content-type", &self.content_type),
            ("cache-control", &self.cache_control),
            ("content-disposition", &self.content_disposition),
            ("content-encoding", &self.content_encoding),
            ("content-language", &self.content_language),
            ("expires", &self.expires),
        ];
        let named =
            |(name, value): (&str, &Option<String>)| Some((name.to_owned(), value.clone()?));
        given.into_iter().filter_map(named).collect()
    }

    fn encryption(&self) -> Encryption {
        let key = self.sse_kms_key_id.clone();
        match self.sse {
            SseFlag::BucketDefault => Encryption::BucketDefault,
            SseFlag::Aes256 => Encryption::Aes256,
            SseFlag::Kms => Encryption::Kms(key),
            SseFlag::KmsDsse => Encryption::KmsDsse(key),
        }
    }

    fn retention(&self) -> Option<Retention> {
        let mode = match self.object_lock_mode? {
            LockFlag::Governance => "GOVERNANCE",
            LockFlag::Compliance => "COMPLIANCE",
        };
        Some(Retention {
            mode: mode.to_owned(),
            until: self.object_lock_retain_until?,
        })
    }

    fn archived(&self) -> Archived {
        match self.archived {
            ArchivedFlag::Fail => Archived::Fail,
            ArchivedFlag::Skip => Archived::Skip,
            ArchivedFlag::Restore => Archived::Restore {
                tier: match self.restore_tier {
                    None | Some(TierFlag::Standard) => RestoreTier::Standard,
                    Some(TierFlag::Bulk) => RestoreTier::Bulk,
                    Some(TierFlag::Expedited) => RestoreTier::Expedited,
                },
                days: self.restore_days.unwrap_or(RESTORE_DAYS),
            },
        }
    }
}
