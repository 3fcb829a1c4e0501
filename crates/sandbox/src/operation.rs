//! Which operation a request is, and which of its headers and sub-resources the sandbox implements.
//!
//! One table. What is not in it is answered 501, so that a header that S3 would act on is never ignored.

use std::fmt;
use std::str::FromStr;

use hyper::{HeaderMap, Method};
use serde::{Deserialize, Serialize};

/// What of the path an operation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Service,
    Bucket,
    Object,
}

struct Row {
    operation: Operation,
    method: &'static str,
    level: Level,
    /// Query parameters that must be there.
    selectors: &'static [&'static str],
    /// Whether `x-amz-copy-source` must be there.
    copy: bool,
    /// Further query parameters that are implemented.
    parameters: &'static [&'static str],
    /// `x-amz-*` and `if-*` headers that are implemented, besides [`EVERYWHERE`]; `*` at the end stands for any rest.
    headers: &'static [&'static [&'static str]],
}

/// Headers of signatures and clients, and those that are checked before any operation.
const EVERYWHERE: &[&str] = &[
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-expected-bucket-owner",
    "x-amz-request-payer",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-security-token",
    "x-amz-trailer",
    "x-amz-user-agent",
];

/// Query parameters of presigned URLs, and the SDKs' own.
const PARAMETERS_EVERYWHERE: &[&str] = &[
    "X-Amz-Algorithm",
    "X-Amz-Content-Sha256",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
    "x-id",
];

const WRITE: &[&str] = &[
    "x-amz-acl",
    "x-amz-checksum-algorithm",
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-grant-read-acp",
    "x-amz-grant-write-acp",
    "x-amz-meta-*",
    "x-amz-object-lock-legal-hold",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
    "x-amz-server-side-encryption-context",
    "x-amz-storage-class",
    "x-amz-tagging",
    "x-amz-website-redirect-location",
];

const CUSTOMER_KEY: &[&str] = &[
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-server-side-encryption-customer-key-md5",
];

const SOURCE_CUSTOMER_KEY: &[&str] = &[
    "x-amz-copy-source-server-side-encryption-customer-algorithm",
    "x-amz-copy-source-server-side-encryption-customer-key",
    "x-amz-copy-source-server-side-encryption-customer-key-md5",
];

const CHECKSUMS: &[&str] = &[
    "x-amz-checksum-algorithm",
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
];

const SOURCE: &[&str] = &[
    "x-amz-copy-source",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-source-expected-bucket-owner",
];

const CONDITIONAL_READ: &[&str] = &[
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
    "x-amz-checksum-mode",
];

const CONDITIONAL_WRITE: &[&str] = &["if-match", "if-none-match"];

const READ_PARAMETERS: &[&str] = &[
    "partNumber",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "versionId",
];

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident = $method:literal $level:ident [$($selector:literal),*] $(copy $copy:literal)?
        parameters($parameters:expr) headers($($headers:expr),*);)*) => {
        /// An operation, named as S3 or STS names it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Operation {
            $($(#[$doc])* $name,)*
            /// Of STS: who am I.
            GetCallerIdentity,
            /// Of STS: credentials of a role.
            AssumeRole,
            /// Of STS: temporary credentials of the caller.
            GetSessionToken,
            /// Whatever the sandbox does not implement.
            NotImplemented,
        }

        impl Operation {
            /// Names it as S3 or STS does.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                    Self::GetCallerIdentity => "GetCallerIdentity",
                    Self::AssumeRole => "AssumeRole",
                    Self::GetSessionToken => "GetSessionToken",
                    Self::NotImplemented => "NotImplemented",
                }
            }

            const ALL: &[Self] = &[
                $(Self::$name,)*
                Self::GetCallerIdentity, Self::AssumeRole, Self::GetSessionToken, Self::NotImplemented,
            ];
        }

        /// In order: the first row that fits is the operation.
        const ROWS: &[Row] = &[$(Row {
            operation: Operation::$name,
            method: $method,
            level: Level::$level,
            selectors: &[$($selector),*],
            copy: false $(|| $copy)?,
            parameters: $parameters,
            headers: &[$($headers),*],
        },)*];
    };
}

operations! {
    /// The caller's buckets.
    ListBuckets = "GET" Service [] parameters(&[]) headers();

    /// A bucket's Region.
    GetBucketLocation = "GET" Bucket ["location"] parameters(&[]) headers();
    /// A bucket's ACL.
    GetBucketAcl = "GET" Bucket ["acl"] parameters(&[]) headers();
    /// A bucket's policy.
    GetBucketPolicy = "GET" Bucket ["policy"] parameters(&[]) headers();
    /// A bucket's versioning.
    GetBucketVersioning = "GET" Bucket ["versioning"] parameters(&[]) headers();
    /// A bucket's Object Ownership.
    GetBucketOwnershipControls = "GET" Bucket ["ownershipControls"] parameters(&[]) headers();
    /// Who pays for requests.
    GetBucketRequestPayment = "GET" Bucket ["requestPayment"] parameters(&[]) headers();
    /// A bucket's default encryption.
    GetBucketEncryption = "GET" Bucket ["encryption"] parameters(&[]) headers();
    /// A bucket's lifecycle rules.
    GetBucketLifecycleConfiguration = "GET" Bucket ["lifecycle"] parameters(&[]) headers();
    /// A bucket's Object Lock.
    GetObjectLockConfiguration = "GET" Bucket ["object-lock"] parameters(&[]) headers();
    /// Open multipart uploads.
    ListMultipartUploads = "GET" Bucket ["uploads"]
        parameters(&["delimiter", "encoding-type", "key-marker", "max-uploads", "prefix", "upload-id-marker"]) headers();
    /// All versions of all keys.
    ListObjectVersions = "GET" Bucket ["versions"]
        parameters(&["delimiter", "encoding-type", "key-marker", "max-keys", "prefix", "version-id-marker"]) headers();
    /// The current objects.
    ListObjectsV2 = "GET" Bucket ["list-type"]
        parameters(&["continuation-token", "delimiter", "encoding-type", "fetch-owner", "max-keys", "prefix", "start-after"])
        headers();
    /// Whether a bucket is there, and in which Region.
    HeadBucket = "HEAD" Bucket [] parameters(&[]) headers();
    /// Sets or removes a bucket's policy.
    PutBucketPolicy = "PUT" Bucket ["policy"] parameters(&[]) headers(CHECKSUMS);
    /// Sets a bucket's versioning.
    PutBucketVersioning = "PUT" Bucket ["versioning"] parameters(&[]) headers(CHECKSUMS);
    /// Sets a bucket's Object Ownership.
    PutBucketOwnershipControls = "PUT" Bucket ["ownershipControls"] parameters(&[]) headers(CHECKSUMS);
    /// Replaces a bucket's lifecycle rules.
    PutBucketLifecycleConfiguration = "PUT" Bucket ["lifecycle"] parameters(&[]) headers(CHECKSUMS);
    /// Makes a bucket.
    CreateBucket = "PUT" Bucket [] parameters(&[])
        headers(&["x-amz-bucket-object-lock-enabled", "x-amz-object-ownership"], CHECKSUMS);
    /// Removes a bucket's policy.
    DeleteBucketPolicy = "DELETE" Bucket ["policy"] parameters(&[]) headers();
    /// Removes a bucket's Object Ownership.
    DeleteBucketOwnershipControls = "DELETE" Bucket ["ownershipControls"] parameters(&[]) headers();
    /// Removes a bucket's lifecycle rules.
    DeleteBucketLifecycle = "DELETE" Bucket ["lifecycle"] parameters(&[]) headers();
    /// Removes an empty bucket.
    DeleteBucket = "DELETE" Bucket [] parameters(&[]) headers();
    /// Deletes up to 1,000 keys or versions.
    DeleteObjects = "POST" Bucket ["delete"] parameters(&[])
        headers(CHECKSUMS, &["x-amz-bypass-governance-retention"]);

    /// Checksums, parts and size of an object.
    GetObjectAttributes = "GET" Object ["attributes"] parameters(&["versionId"])
        headers(CUSTOMER_KEY, &["x-amz-max-parts", "x-amz-object-attributes", "x-amz-part-number-marker"]);
    /// One annotation of an object.
    GetObjectAnnotation = "GET" Object ["annotation", "annotationName"] parameters(&["versionId"])
        headers(&["x-amz-checksum-mode"]);
    /// The names of an object's annotations.
    ListObjectAnnotations = "GET" Object ["annotation"]
        parameters(&["annotation-prefix", "continuation-token", "max-annotation-results", "versionId"]) headers();
    /// Sets an annotation of an object.
    PutObjectAnnotation = "PUT" Object ["annotation", "annotationName"] parameters(&["versionId"])
        headers(CHECKSUMS, &["x-amz-object-if-match"]);
    /// An object's ACL.
    GetObjectAcl = "GET" Object ["acl"] parameters(&["versionId"]) headers();
    /// An object's tags.
    GetObjectTagging = "GET" Object ["tagging"] parameters(&["versionId"]) headers();
    /// The parts of an open multipart upload.
    ListParts = "GET" Object ["uploadId"] parameters(&["max-parts", "part-number-marker"])
        headers(CUSTOMER_KEY);
    /// An object's bytes and properties.
    GetObject = "GET" Object [] parameters(READ_PARAMETERS) headers(CONDITIONAL_READ, CUSTOMER_KEY);
    /// An object's properties.
    HeadObject = "HEAD" Object [] parameters(READ_PARAMETERS) headers(CONDITIONAL_READ, CUSTOMER_KEY);
    /// Sets an object's ACL.
    PutObjectAcl = "PUT" Object ["acl"] parameters(&["versionId"])
        headers(CHECKSUMS, &["x-amz-acl", "x-amz-grant-full-control", "x-amz-grant-read", "x-amz-grant-read-acp",
            "x-amz-grant-write-acp"]);
    /// Sets an object's tags.
    PutObjectTagging = "PUT" Object ["tagging"] parameters(&["versionId"]) headers(CHECKSUMS);
    /// Copies a range of an object into a part.
    UploadPartCopy = "PUT" Object ["partNumber", "uploadId"] copy true parameters(&[])
        headers(SOURCE, SOURCE_CUSTOMER_KEY, CUSTOMER_KEY, &["x-amz-copy-source-range"]);
    /// Sends a part.
    UploadPart = "PUT" Object ["partNumber", "uploadId"] parameters(&[]) headers(CHECKSUMS, CUSTOMER_KEY);
    /// Copies an object.
    CopyObject = "PUT" Object [] copy true parameters(&[])
        headers(WRITE, CUSTOMER_KEY, SOURCE, SOURCE_CUSTOMER_KEY, CONDITIONAL_WRITE,
            &["x-amz-metadata-directive", "x-amz-object-annotation-directive", "x-amz-tagging-directive"]);
    /// Sends an object.
    PutObject = "PUT" Object [] parameters(&[]) headers(WRITE, CUSTOMER_KEY, CHECKSUMS, CONDITIONAL_WRITE);
    /// Starts a multipart upload.
    CreateMultipartUpload = "POST" Object ["uploads"] parameters(&[])
        headers(WRITE, CUSTOMER_KEY, &["x-amz-checksum-type"]);
    /// Asks for an archived object.
    RestoreObject = "POST" Object ["restore"] parameters(&["versionId"]) headers(CHECKSUMS);
    /// Ends a multipart upload with an object.
    CompleteMultipartUpload = "POST" Object ["uploadId"] parameters(&[])
        headers(CHECKSUMS, CUSTOMER_KEY, CONDITIONAL_WRITE, &["x-amz-checksum-type", "x-amz-mp-object-size"]);
    /// Removes an object's tags.
    DeleteObjectTagging = "DELETE" Object ["tagging"] parameters(&["versionId"]) headers();
    /// Ends a multipart upload without an object.
    AbortMultipartUpload = "DELETE" Object ["uploadId"] parameters(&[]) headers();
    /// Deletes a key or a version.
    DeleteObject = "DELETE" Object [] parameters(&["versionId"]) headers(&["x-amz-bypass-governance-retention"]);
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of no operation that the sandbox knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown operation {0:?}")]
pub struct UnknownOperation(String);

impl FromStr for Operation {
    type Err = UnknownOperation;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|operation| operation.as_str() == name)
            .ok_or_else(|| UnknownOperation(name.to_owned()))
    }
}

impl Operation {
    /// Finds the operation of a request to S3.
    pub(crate) fn resolve(
        method: &Method,
        level: Level,
        query: &[(String, String)],
        headers: &HeaderMap,
    ) -> Self {
        ROWS.iter()
            .find(|row| {
                row.method == method.as_str()
                    && row.level == level
                    && (!row.copy || headers.contains_key("x-amz-copy-source"))
                    && row
                        .selectors
                        .iter()
                        .all(|selector| query.iter().any(|(name, _)| name == selector))
            })
            .map_or(Self::NotImplemented, |row| row.operation)
    }

    /// The first header or query parameter of a request that the sandbox does not implement for this operation.
    pub(crate) fn unimplemented(
        self,
        query: &[(String, String)],
        headers: &HeaderMap,
    ) -> Option<Unimplemented> {
        let row = ROWS.iter().find(|row| row.operation == self)?;
        let known = |name: &str| {
            [row.selectors, row.parameters, PARAMETERS_EVERYWHERE]
                .iter()
                .any(|list| list.contains(&name))
        };
        if let Some((name, _)) = query.iter().find(|(name, _)| !known(name)) {
            return Some(Unimplemented::Parameter(name.clone()));
        }
        headers
            .keys()
            .map(hyper::header::HeaderName::as_str)
            .filter(|name| name.starts_with("x-amz-") || name.starts_with("if-"))
            .find(|name| {
                let fits = |known: &&str| match known.strip_suffix('*') {
                    Some(prefix) => name.starts_with(prefix),
                    None => name == known,
                };
                !EVERYWHERE.iter().any(fits)
                    && !row.headers.iter().any(|list| list.iter().any(fits))
            })
            .map(|name| Unimplemented::Header(name.to_owned()))
    }
}

/// What a request has that the sandbox does not implement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unimplemented {
    Header(String),
    Parameter(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Vec<(String, String)> {
        text.split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    fn headers(names: &[&'static str]) -> HeaderMap {
        names
            .iter()
            .map(|name| {
                (
                    hyper::header::HeaderName::from_static(name),
                    "x".parse().expect("a value"),
                )
            })
            .collect()
    }

    #[test]
    fn requests_are_resolved() {
        for (method, level, text, names, operation) in [
            (
                "PUT",
                Level::Object,
                "",
                &["x-amz-copy-source"][..],
                Operation::CopyObject,
            ),
            (
                "PUT",
                Level::Object,
                "partNumber=1&uploadId=u",
                &["x-amz-copy-source"],
                Operation::UploadPartCopy,
            ),
            (
                "PUT",
                Level::Object,
                "partNumber=1&uploadId=u",
                &[],
                Operation::UploadPart,
            ),
            (
                "PUT",
                Level::Object,
                "x-id=PutObject",
                &[],
                Operation::PutObject,
            ),
            (
                "POST",
                Level::Object,
                "uploads",
                &[],
                Operation::CreateMultipartUpload,
            ),
            (
                "POST",
                Level::Object,
                "uploadId=u",
                &[],
                Operation::CompleteMultipartUpload,
            ),
            (
                "GET",
                Level::Object,
                "uploadId=u",
                &[],
                Operation::ListParts,
            ),
            (
                "GET",
                Level::Bucket,
                "list-type=2&prefix=a",
                &[],
                Operation::ListObjectsV2,
            ),
            ("GET", Level::Bucket, "", &[], Operation::NotImplemented),
            (
                "HEAD",
                Level::Object,
                "partNumber=1",
                &[],
                Operation::HeadObject,
            ),
            ("GET", Level::Service, "", &[], Operation::ListBuckets),
        ] {
            let method: Method = method.parse().expect("a method");
            assert_eq!(
                Operation::resolve(&method, level, &query(text), &headers(names)),
                operation,
                "{method} {text}"
            );
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_named() {
        for (operation, text, names, expected) in [
            (
                Operation::CopyObject,
                "",
                &["if-none-match", "x-amz-meta-a", "x-amz-copy-source"][..],
                None,
            ),
            (
                Operation::CopyObject,
                "x-id=CopyObject",
                &["x-amz-date", "range"],
                None,
            ),
            (
                Operation::CopyObject,
                "",
                &["x-amz-new-thing"],
                Some(Unimplemented::Header("x-amz-new-thing".into())),
            ),
            (
                Operation::UploadPart,
                "partNumber=1&uploadId=u",
                &["x-amz-acl"],
                Some(Unimplemented::Header("x-amz-acl".into())),
            ),
            (
                Operation::GetObject,
                "torrent",
                &[],
                Some(Unimplemented::Parameter("torrent".into())),
            ),
            (
                Operation::GetObject,
                "versionId=1&partNumber=2",
                &["if-match"],
                None,
            ),
        ] {
            assert_eq!(
                operation.unimplemented(&query(text), &headers(names)),
                expected,
                "{operation} {text}"
            );
        }
    }

    #[test]
    fn names_are_read_back() {
        for operation in Operation::ALL {
            assert_eq!(operation.as_str().parse(), Ok(*operation));
        }
        assert!("CopyObjects".parse::<Operation>().is_err());
    }
}
