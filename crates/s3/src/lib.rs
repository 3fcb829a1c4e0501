//! S3 and STS for s3haul: the only crate that knows the AWS SDK.
//!
//! A request goes `credentials → permit → rate token → send → classify → back-off`,
//! and each of those has one home:
//!
//! | module | what it is |
//! |---|---|
//! | [`identity`], [`identity_error`] | who we are: the default chain or a profile with its roles, until when, and where STS is; what to do when there is no answer |
//! | [`role`] | who we become: the role to assume, MFA |
//! | [`credentials`] | the slot of credentials with a generation that all clients read, and its renewal |
//! | [`client`] | one S3 client a region and endpoint, over one shared pool of connections |
//! | [`network`] | proxy and certificates of that pool |
//! | [`resolver`] | DNS for that pool: cached, single flight, shuffled |
//! | [`object`], [`attributes`], [`annotation`], [`acl`], [`listing`], [`multipart`], [`uploads`], [`bucket`] | the requests, one method each, named as S3 names them, each sent exactly once |
//! | [`region`] | which region a bucket is in |
//! | [`copy_source`] | the encoding of `x-amz-copy-source` |
//! | [`customer_key`] | keys of SSE-C |
//! | [`checksum`] | the algorithms of S3, and a part's checksum |
//! | [`headers`] | header pairs: what callers add to a request before it is signed |
//! | [`error`] | what S3, or the way to it, answered instead |
//! | [`operation`] | every request by name, and how long an attempt may take |
//! | [`throttle`], [`limit`], [`pace`] | permits and lanes; how many in flight and how many a second (pure state machines) |
//! | [`retry`] | classification and back-off: pure functions |
//! | [`requests`] | the one place that retries |
//! | [`quotas`] | S3's numbers, each with the page that it comes from |
//!
//! The types are this crate's own. Nothing of the SDK is public, so that a leaner path can replace
//! endpoint, signing, sending and parsing, and nothing else.

pub mod acl;
pub mod annotation;
pub mod attributes;
pub mod bucket;
pub mod checksum;
pub mod client;
pub mod copy_source;
pub mod credentials;
pub mod customer_key;
pub mod error;
pub mod headers;
pub mod identity;
pub mod identity_error;
pub mod limit;
pub mod listing;
pub mod multipart;
pub mod network;
pub mod object;
pub mod operation;
pub mod pace;
pub mod quotas;
pub mod region;
pub mod requests;
pub mod resolver;
pub mod retry;
pub mod role;
pub mod throttle;
pub mod uploads;

#[cfg(test)]
mod object_wire_tests;
mod profile;
mod slot;
mod sts;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod wire_tests;

pub use acl::{AccessControl, Grant, Grantee};
pub use annotation::AnnotationPage;
pub use attributes::{ObjectAttributes, PartAttributes};
pub use bucket::{BucketFacts, DefaultEncryption, ObjectLock};
pub use checksum::{ChecksumAlgorithm, PartChecksum};
pub use client::{ClientOptions, HttpClient, S3Client, validate_endpoint_url};
pub use copy_source::CopySource;
pub use credentials::Credentials;
pub use customer_key::CustomerKey;
pub use error::{ErrorKind, Result, S3Error, code_of_status};
pub use headers::HeaderPair;
pub use identity::{BaseIdentity, BaseOptions, Caller};
pub use identity_error::IdentityError;
pub use limit::Limit;
pub use listing::{ListFrom, ListObjects, ListedObject, ListedPage};
pub use multipart::{
    CompleteMultipartUpload, Completed, CopiedPart, CreateMultipartUpload, CreatedUpload,
    UploadPartCopy,
};
pub use network::{Network, NetworkError};
pub use object::{
    Copied, CopyObject, Deleted, GetObject, Head, HeadObject, Put, PutBody, PutObject, Tag,
    WholeObject,
};
pub use operation::{Operation, attempt_timeout};
pub use profile::mfa_serial_of;
pub use region::{find_region, partition_of};
pub use requests::{OnDoubt, Requests, Tally, Totals};
pub use retry::{CODES, Class, RetryOptions};
pub use role::{MfaCode, RoleOptions, is_role_arn};
pub use throttle::{Concurrency, Lane, Permit, Throttle, ThrottleOptions};
pub use uploads::{ListedPart, ListedUpload};
