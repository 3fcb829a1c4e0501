//! S3's numbers, each with the page that it comes from.

use std::time::Duration;

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// The largest source of one `CopyObject`: 5 GiB, inclusive.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>
pub const MAX_COPY_BYTES: u64 = 5 * GIB;

/// The largest object of one `PutObject`: 5 GiB.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
pub const MAX_PUT_BYTES: u64 = 5 * GIB;

/// The smallest part but the last one: 5 MiB.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
pub const MIN_PART_BYTES: u64 = 5 * MIB;

/// The largest part: 5 GiB.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
pub const MAX_PART_BYTES: u64 = 5 * GIB;

/// The parts of one multipart upload, and the largest part number.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
pub const MAX_PARTS: u32 = 10_000;

/// The largest object, "50 TB": 10,000 parts of 5 GiB, which is 48.8 TiB.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
pub const MAX_OBJECT_BYTES: u64 = MAX_PARTS as u64 * MAX_PART_BYTES;

/// The longest key, in bytes of UTF-8.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>
pub const MAX_KEY_BYTES: usize = 1024;

/// The longest `x-amz-tagging` that we send, in bytes as encoded; longer sets go by `PutObjectTagging`.
///
/// S3 takes 8 KB of headers in all, 2 KB of which are user metadata.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>
pub const MAX_TAGS_HEADER_BYTES: usize = 2048;

/// The tags of one object.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html>
pub const MAX_TAGS: usize = 10;

/// The payload of one annotation: 1 MiB.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectAnnotation.html>
pub const MAX_ANNOTATION_BYTES: usize = 1024 * 1024;

/// How long a role lives that was assumed with another role's credentials.
///
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining>
pub const MAX_ROLE_CHAINING: Duration = Duration::from_hours(1);

/// How long the session of an IAM user lives at most, MFA or not: 36 hours.
///
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html>
pub const MAX_USER_SESSION: Duration = Duration::from_hours(36);
