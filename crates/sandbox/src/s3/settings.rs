//! What the headers of a write say of the object.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::store::object::Timestamp;
use hyper::HeaderMap;
use s3s::S3Error;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::customer_key::{KeyFor, customer_key};
use crate::access::header;
use crate::error::{error, invalid_argument, invalid_request};
use crate::exchange::parse_query;
use crate::store::acl::Grantee;
use crate::store::bucket::{Bucket, BucketSettings, ObjectOwnership};
use crate::store::checksum::{ChecksumAlgorithm, ChecksumType};
use crate::store::object::{Acl, Encryption, Lock, Metadata, Settings, StorageClass, Tags, shared};

/// The limit on user metadata, names and values.
/// `https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html`
const MAX_METADATA_BYTES: usize = 2048;

/// The limit on all headers of a write.
const MAX_HEADER_BYTES: usize = 8192;

const GRANTS: [(&str, &str); 4] = [
    ("x-amz-grant-full-control", "FULL_CONTROL"),
    ("x-amz-grant-read", "READ"),
    ("x-amz-grant-read-acp", "READ_ACP"),
    ("x-amz-grant-write-acp", "WRITE_ACP"),
];

const CANNED_ACLS: [&str; 7] = [
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
];

/// What a write sets.
pub(super) struct NewObject {
    pub(super) metadata: Arc<Metadata>,
    /// None without `x-amz-tagging`.
    pub(super) tags: Option<Arc<Tags>>,
    pub(super) settings: Arc<Settings>,
    /// The account that will own it.
    pub(super) owner: Arc<str>,
    pub(super) algorithm: Option<ChecksumAlgorithm>,
}

impl NewObject {
    pub(super) fn from_headers(
        headers: &HeaderMap,
        user_metadata: Option<BTreeMap<String, String>>,
        bucket: &Bucket,
        writer: &str,
    ) -> Result<Self, S3Error> {
        let bytes: usize = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        if bytes > MAX_HEADER_BYTES {
            return Err(error(
                400,
                "RequestHeaderSectionTooLarge",
                "Your request header and query parameters used to make the request exceed the maximum allowed size.",
            ));
        }
        let bucket_settings = bucket.settings();
        let acl = acl(headers, &bucket_settings)?;
        let settings = Settings {
            storage_class: storage_class(headers)?,
            website_redirect_location: text(headers, "x-amz-website-redirect-location"),
            encryption: encryption(headers, &bucket_settings)?,
            lock: lock(headers, &bucket_settings)?,
            acl,
        };
        Ok(Self {
            metadata: shared(metadata(headers, user_metadata.unwrap_or_default())?),
            tags: header(headers, "x-amz-tagging")
                .map(tags)
                .transpose()?
                .map(shared),
            owner: owner(&settings.acl, bucket, &bucket_settings, writer),
            settings: shared(settings),
            algorithm: algorithm(headers)?,
        })
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    header(headers, name).map(str::to_owned)
}

fn metadata(headers: &HeaderMap, user: BTreeMap<String, String>) -> Result<Metadata, S3Error> {
    let size: usize = user
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if size > MAX_METADATA_BYTES {
        let message = "Your metadata headers exceed the maximum allowed metadata size";
        let refused = crate::error::with_detail(
            error(400, "MetadataTooLarge", message),
            "Size",
            &size.to_string(),
        );
        return Err(crate::error::with_detail(
            refused,
            "MaxSizeAllowed",
            &MAX_METADATA_BYTES.to_string(),
        ));
    }
    // aws-chunked is how the body was sent, not what it is.
    let content_encoding = header(headers, "content-encoding").map(|value| {
        let kept: Vec<&str> = value
            .split(',')
            .map(str::trim)
            .filter(|coding| *coding != "aws-chunked")
            .collect();
        kept.join(",")
    });
    Ok(Metadata {
        content_type: text(headers, "content-type"),
        cache_control: text(headers, "cache-control"),
        content_disposition: text(headers, "content-disposition"),
        content_encoding: content_encoding.filter(|value| !value.is_empty()),
        content_language: text(headers, "content-language"),
        expires: text(headers, "expires"),
        user,
        missing: 0,
    })
}

/// Reads `x-amz-tagging`, a query string.
fn tags(header: &str) -> Result<Tags, S3Error> {
    let tags = parse_query(header);
    check_tags(&tags)?;
    Ok(tags)
}

/// The limits on tags. `https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html`
pub(super) fn check_tags(tags: &Tags) -> Result<(), S3Error> {
    if tags.len() > 10 {
        return Err(error(
            400,
            "BadRequest",
            "Object tags cannot be greater than 10",
        ));
    }
    for (at, (key, value)) in tags.iter().enumerate() {
        if key.is_empty() || key.chars().count() > 128 {
            return Err(error(
                400,
                "InvalidTag",
                "The TagKey you have provided is invalid",
            ));
        }
        if value.chars().count() > 256 {
            return Err(error(
                400,
                "InvalidTag",
                "The TagValue you have provided is invalid",
            ));
        }
        if tags[..at].iter().any(|(earlier, _)| earlier == key) {
            return Err(error(
                400,
                "InvalidTag",
                "Cannot provide multiple Tags with the same key",
            ));
        }
    }
    Ok(())
}

fn storage_class(headers: &HeaderMap) -> Result<StorageClass, S3Error> {
    match header(headers, "x-amz-storage-class") {
        None => Ok(StorageClass::Standard),
        Some(name) => StorageClass::parse(name).ok_or_else(|| {
            error(
                400,
                "InvalidStorageClass",
                "The storage class you specified is not valid",
            )
        }),
    }
}

/// Reads how what is written will be encrypted: by its headers, or else by the bucket's default.
pub(crate) fn encryption(
    headers: &HeaderMap,
    bucket: &BucketSettings,
) -> Result<Encryption, S3Error> {
    let kms_key_id = text(headers, "x-amz-server-side-encryption-aws-kms-key-id");
    let bucket_key = match header(headers, "x-amz-server-side-encryption-bucket-key-enabled") {
        None => None,
        Some(value) if value.eq_ignore_ascii_case("true") => Some(true),
        Some(value) if value.eq_ignore_ascii_case("false") => Some(false),
        Some(value) => {
            let name = "x-amz-server-side-encryption-bucket-key-enabled";
            return Err(invalid_argument(
                name,
                value,
                "The header is neither true nor false",
            ));
        }
    };
    let context = text(headers, "x-amz-server-side-encryption-context");
    if let Some(context) = &context {
        check_context(context)?;
    }
    let customer_key_md5 = customer_key(headers, KeyFor::Object)?;
    let name = "x-amz-server-side-encryption";
    let method = header(headers, name);
    let kms = match method {
        Some(method) if customer_key_md5.is_some() => {
            let message = "Server Side Encryption with Customer provided key is incompatible with the encryption method \
                           specified";
            return Err(invalid_argument(name, method, message));
        }
        None if customer_key_md5.is_none() => bucket.kms_key_id.as_ref().map(|_| "aws:kms"),
        None | Some("AES256") => None,
        Some(kms @ ("aws:kms" | "aws:kms:dsse")) => Some(kms),
        Some(other) => {
            let message = "The encryption method specified is not supported";
            return Err(invalid_argument(name, other, message));
        }
    };
    // A bucket key may go with the bucket's own SSE-KMS; key and context need the method beside them.
    let names_kms = method.is_some() && kms.is_some();
    if (!names_kms && (kms_key_id.is_some() || context.is_some()))
        || (kms.is_none() && bucket_key == Some(true))
    {
        let message = "Server Side Encryption with AWS KMS managed key requires HTTP header \
                       x-amz-server-side-encryption : aws:kms";
        return Err(invalid_argument(name, method.unwrap_or_default(), message));
    }
    if kms == Some("aws:kms:dsse") && bucket_key == Some(true) {
        let message = "Bucket keys are not supported with aws:kms:dsse";
        return Err(invalid_argument(name, "aws:kms:dsse", message));
    }
    let by_default = kms.filter(|_| !names_kms);
    Ok(Encryption {
        kms: kms.map(str::to_owned),
        kms_key_id: match by_default {
            Some(_) => bucket.kms_key_id.clone(),
            None => kms_key_id,
        },
        bucket_key: kms == Some("aws:kms") && bucket_key.unwrap_or(bucket.bucket_key),
        context,
        customer_key_md5,
    })
}

/// An encryption context is JSON of strings by strings, in base64.
fn check_context(context: &str) -> Result<(), S3Error> {
    base64_simd::STANDARD
        .decode_to_vec(context.as_bytes())
        .ok()
        .and_then(|json| serde_json::from_slice::<BTreeMap<String, String>>(&json).ok())
        .map(|_| ())
        .ok_or_else(|| {
            let message = "The header 'x-amz-server-side-encryption-context' shall be Base64-encoded UTF-8 string \
                           holding JSON which represents a string-string map";
            invalid_argument("x-amz-server-side-encryption-context", context, message)
        })
}

fn lock(headers: &HeaderMap, bucket: &BucketSettings) -> Result<Lock, S3Error> {
    let mode = header(headers, "x-amz-object-lock-mode");
    let until = header(headers, "x-amz-object-lock-retain-until-date");
    let hold = header(headers, "x-amz-object-lock-legal-hold");
    if (mode.is_some() || until.is_some() || hold.is_some()) && !bucket.object_lock {
        return Err(invalid_request(
            "Bucket is missing Object Lock Configuration",
        ));
    }
    let retention = match (mode, until) {
        (None, None) => bucket.default_retention_days.map(|days| {
            let until = Timestamp::now().date() + Duration::days(days.into());
            ("GOVERNANCE".to_owned(), until)
        }),
        (Some(mode @ ("GOVERNANCE" | "COMPLIANCE")), Some(until)) => {
            let until = OffsetDateTime::parse(until, &Rfc3339).map_err(|_| {
                invalid_argument(
                    "x-amz-object-lock-retain-until-date",
                    until,
                    "The retain until date must be provided in ISO 8601 format",
                )
            })?;
            if until <= Timestamp::now().date() {
                return Err(invalid_argument(
                    "x-amz-object-lock-retain-until-date",
                    "",
                    "The retain until date must be in the future!",
                ));
            }
            Some((mode.to_owned(), until))
        }
        (Some(mode), Some(_)) => {
            return Err(invalid_argument(
                "x-amz-object-lock-mode",
                mode,
                "Unknown wormMode directive.",
            ));
        }
        _ => {
            return Err(invalid_argument(
                "x-amz-object-lock-mode",
                "",
                "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied",
            ));
        }
    };
    match hold {
        None | Some("OFF") => Ok(Lock {
            retention,
            legal_hold: false,
        }),
        Some("ON") => Ok(Lock {
            retention,
            legal_hold: true,
        }),
        Some(other) => Err(invalid_argument(
            "x-amz-object-lock-legal-hold",
            other,
            "Legal Hold must be either of 'ON' or 'OFF'",
        )),
    }
}

/// Reads the ACL headers as the bucket's ownership has them.
pub(super) fn acl(headers: &HeaderMap, bucket: &BucketSettings) -> Result<Acl, S3Error> {
    let canned = text(headers, "x-amz-acl");
    if let Some(name) = canned.as_deref().filter(|name| !CANNED_ACLS.contains(name)) {
        return Err(invalid_argument("x-amz-acl", name, ""));
    }
    let grants: Vec<(&'static str, String)> = GRANTS
        .into_iter()
        .filter_map(|(name, permission)| Some((permission, header(headers, name)?)))
        .flat_map(|(permission, grantees)| {
            grantees
                .split(',')
                .map(move |grantee| (permission, grantee.trim().to_owned()))
                .collect::<Vec<_>>()
        })
        .collect();
    if canned.is_some() && !grants.is_empty() {
        return Err(invalid_request(
            "Specifying both Canned ACLs and Header Grants is not allowed",
        ));
    }
    if grants
        .iter()
        .any(|(_, grantee)| grantee.starts_with("emailAddress"))
    {
        return Err(error(
            405,
            "MethodNotAllowed",
            "Email grantees are no longer supported",
        ));
    }
    if let Some((_, grantee)) = grants
        .iter()
        .find(|(_, grantee)| Grantee::parse(grantee).is_none())
    {
        let message = "Argument format not recognized";
        return Err(invalid_argument("x-amz-grant", grantee, message));
    }
    let permitted =
        grants.is_empty() && matches!(canned.as_deref(), None | Some("bucket-owner-full-control"));
    if bucket.effective_ownership() == ObjectOwnership::BucketOwnerEnforced && !permitted {
        return Err(error(
            400,
            "AccessControlListNotSupported",
            "The bucket does not allow ACLs",
        ));
    }
    Ok(Acl { canned, grants })
}

/// Who owns what is written. `https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html`
fn owner(acl: &Acl, bucket: &Bucket, settings: &BucketSettings, writer: &str) -> Arc<str> {
    let gives_control = acl.canned.as_deref() == Some("bucket-owner-full-control");
    match settings.effective_ownership() {
        ObjectOwnership::BucketOwnerEnforced => Arc::clone(&bucket.account),
        ObjectOwnership::BucketOwnerPreferred if gives_control => Arc::clone(&bucket.account),
        _ if *writer == *bucket.account => Arc::clone(&bucket.account),
        _ => writer.into(),
    }
}

fn algorithm(headers: &HeaderMap) -> Result<Option<ChecksumAlgorithm>, S3Error> {
    header(headers, "x-amz-checksum-algorithm")
        .map(parse_algorithm)
        .transpose()
}

fn parse_algorithm(name: &str) -> Result<ChecksumAlgorithm, S3Error> {
    if let Some(algorithm) = ChecksumAlgorithm::parse(name) {
        return Ok(algorithm);
    }
    if ["SHA512", "MD5", "XXHASH64", "XXHASH3", "XXHASH128"].contains(&name) {
        return Err(crate::error::not_implemented(
            "Header",
            &format!("x-amz-checksum-algorithm: {name}"),
        ));
    }
    Err(invalid_request(
        "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
    ))
}

/// `x-amz-checksum-type`.
pub(super) fn checksum_type(headers: &HeaderMap) -> Result<Option<ChecksumType>, S3Error> {
    header(headers, "x-amz-checksum-type")
        .map(|name| {
            ChecksumType::parse(name)
                .ok_or_else(|| invalid_request("Value for x-amz-checksum-type header is invalid."))
        })
        .transpose()
}
