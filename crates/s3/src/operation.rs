//! Every request by name, and how long one attempt of it may take.

use std::time::Duration;

use crate::quotas::{MAX_COPY_BYTES, MAX_PUT_BYTES};

/// A request that this crate can send, of S3 or of STS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Copies an object of up to 5 GiB.
    CopyObject,
    /// Reads an object's headers.
    HeadObject,
    /// Reads a range of an object.
    GetObject,
    /// Reads an object's tags.
    GetObjectTagging,
    /// Replaces an object's tags.
    PutObjectTagging,
    /// Reads an object's size, checksum and parts.
    GetObjectAttributes,
    /// Reads an object's ACL.
    GetObjectAcl,
    /// Lists the annotations of an object.
    ListObjectAnnotations,
    /// Reads an annotation.
    GetObjectAnnotation,
    /// Makes or replaces an annotation.
    PutObjectAnnotation,
    /// Asks for a copy of an archived object that can be read.
    RestoreObject,
    /// Sends an object.
    PutObject,
    /// Deletes an object: in a bucket with versions, adds a delete marker.
    DeleteObject,
    /// Starts a multipart upload.
    CreateMultipartUpload,
    /// Copies a range of an object into a part.
    UploadPartCopy,
    /// Makes the object of its parts.
    CompleteMultipartUpload,
    /// Gives up a multipart upload.
    AbortMultipartUpload,
    /// Lists the parts of a multipart upload.
    ListParts,
    /// Lists multipart uploads under way.
    ListMultipartUploads,
    /// Lists current objects.
    ListObjectsV2,
    /// Lists all versions of all objects.
    ListObjectVersions,
    /// Asks whether a bucket can be reached, and where it is.
    HeadBucket,
    /// Asks whether a bucket keeps versions.
    GetBucketVersioning,
    /// Reads a bucket's ACL.
    GetBucketAcl,
    /// Asks who owns what is written to a bucket.
    GetBucketOwnershipControls,
    /// Asks who pays for requests to a bucket.
    GetBucketRequestPayment,
    /// Asks how a bucket encrypts what says nothing of it.
    GetBucketEncryption,
    /// Asks whether a bucket has Object Lock.
    GetObjectLockConfiguration,
    /// Reads a bucket's lifecycle rules.
    GetBucketLifecycleConfiguration,
    /// STS: becomes a role.
    AssumeRole,
    /// STS: becomes a role with a token that somebody else has given.
    AssumeRoleWithWebIdentity,
    /// STS: makes a session of an IAM user, with MFA.
    GetSessionToken,
    /// STS: asks who we are.
    GetCallerIdentity,
}

impl Operation {
    /// The name that AWS gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::CopyObject => "CopyObject",
            Self::HeadObject => "HeadObject",
            Self::GetObject => "GetObject",
            Self::GetObjectTagging => "GetObjectTagging",
            Self::PutObjectTagging => "PutObjectTagging",
            Self::GetObjectAttributes => "GetObjectAttributes",
            Self::GetObjectAcl => "GetObjectAcl",
            Self::ListObjectAnnotations => "ListObjectAnnotations",
            Self::GetObjectAnnotation => "GetObjectAnnotation",
            Self::PutObjectAnnotation => "PutObjectAnnotation",
            Self::RestoreObject => "RestoreObject",
            Self::PutObject => "PutObject",
            Self::DeleteObject => "DeleteObject",
            Self::CreateMultipartUpload => "CreateMultipartUpload",
            Self::UploadPartCopy => "UploadPartCopy",
            Self::CompleteMultipartUpload => "CompleteMultipartUpload",
            Self::AbortMultipartUpload => "AbortMultipartUpload",
            Self::ListParts => "ListParts",
            Self::ListMultipartUploads => "ListMultipartUploads",
            Self::ListObjectsV2 => "ListObjectsV2",
            Self::ListObjectVersions => "ListObjectVersions",
            Self::HeadBucket => "HeadBucket",
            Self::GetBucketVersioning => "GetBucketVersioning",
            Self::GetBucketAcl => "GetBucketAcl",
            Self::GetBucketOwnershipControls => "GetBucketOwnershipControls",
            Self::GetBucketRequestPayment => "GetBucketRequestPayment",
            Self::GetBucketEncryption => "GetBucketEncryption",
            Self::GetObjectLockConfiguration => "GetObjectLockConfiguration",
            Self::GetBucketLifecycleConfiguration => "GetBucketLifecycleConfiguration",
            Self::AssumeRole => "AssumeRole",
            Self::AssumeRoleWithWebIdentity => "AssumeRoleWithWebIdentity",
            Self::GetSessionToken => "GetSessionToken",
            Self::GetCallerIdentity => "GetCallerIdentity",
        }
    }

    /// Whether it changes something, so that a lost answer leaves a doubt.
    pub fn is_write(self) -> bool {
        matches!(
            self,
            Self::CopyObject
                | Self::PutObjectTagging
                | Self::PutObjectAnnotation
                | Self::RestoreObject
                | Self::PutObject
                | Self::DeleteObject
                | Self::CreateMultipartUpload
                | Self::UploadPartCopy
                | Self::CompleteMultipartUpload
                | Self::AbortMultipartUpload
        )
    }

    /// Whether it leaves an object, or a delete marker, under its key.
    pub fn lands(self) -> bool {
        matches!(
            self,
            Self::CopyObject | Self::CompleteMultipartUpload | Self::DeleteObject | Self::PutObject
        )
    }
}

/// How long one attempt may take, from its permit to the last byte of its answer.
///
/// `CopyObject` and `UploadPartCopy` take 60 s and 1 s more for every 20 MiB begun, as S3 may be silent
/// while it copies; `bytes` is what they copy, 5 GiB if unknown. `PutObject` and `GetObject` take 60 s and 1 s
/// more for every MiB begun, which a slow line carries in that time. `CompleteMultipartUpload` takes
/// 15 minutes ("may take several minutes",
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>). Others take 30 s.
pub fn attempt_timeout(operation: Operation, bytes: Option<u64>) -> Duration {
    const BYTES_PER_SECOND: u64 = 20 * 1024 * 1024;
    const BYTES_CARRIED_PER_SECOND: u64 = 1024 * 1024;
    match operation {
        Operation::CopyObject | Operation::UploadPartCopy => {
            let bytes = bytes.unwrap_or(MAX_COPY_BYTES);
            Duration::from_secs(60 + bytes.div_ceil(BYTES_PER_SECOND))
        }
        Operation::PutObject | Operation::GetObject => {
            let bytes = bytes.unwrap_or(MAX_PUT_BYTES);
            Duration::from_secs(60 + bytes.div_ceil(BYTES_CARRIED_PER_SECOND))
        }
        Operation::CompleteMultipartUpload => Duration::from_mins(15),
        _ => Duration::from_secs(30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempt_timeouts() {
        const MIB: u64 = 1024 * 1024;
        let table = [
            (Operation::CopyObject, Some(0), 60),
            (Operation::CopyObject, Some(1), 61),
            (Operation::CopyObject, Some(20 * MIB), 61),
            (Operation::CopyObject, Some(20 * MIB + 1), 62),
            (Operation::CopyObject, Some(MAX_COPY_BYTES), 316),
            (Operation::CopyObject, None, 316),
            (Operation::UploadPartCopy, Some(128 * MIB), 67),
            (Operation::PutObject, Some(3 * MIB), 63),
            (Operation::PutObject, None, 5180),
            (Operation::GetObject, Some(MIB), 61),
            (Operation::ListObjectsV2, None, 30),
            (Operation::CompleteMultipartUpload, Some(128 * MIB), 900),
            (Operation::HeadObject, Some(MAX_COPY_BYTES), 30),
            (Operation::ListParts, None, 30),
            (Operation::GetObjectAttributes, None, 30),
            (Operation::PutObjectAnnotation, Some(MIB), 30),
            (Operation::RestoreObject, Some(MAX_COPY_BYTES), 30),
        ];
        for (operation, bytes, seconds) in table {
            assert_eq!(
                attempt_timeout(operation, bytes),
                Duration::from_secs(seconds),
                "{operation:?} {bytes:?}"
            );
        }
    }

    #[test]
    fn names_are_the_variants() {
        for operation in [
            Operation::CopyObject,
            Operation::PutObject,
            Operation::DeleteObject,
            Operation::GetBucketVersioning,
            Operation::ListMultipartUploads,
            Operation::ListObjectsV2,
            Operation::ListObjectVersions,
            Operation::GetCallerIdentity,
            Operation::GetObjectAttributes,
            Operation::GetObjectAcl,
            Operation::GetBucketAcl,
            Operation::GetBucketOwnershipControls,
            Operation::GetBucketRequestPayment,
            Operation::GetBucketEncryption,
            Operation::GetObjectLockConfiguration,
            Operation::GetBucketLifecycleConfiguration,
            Operation::ListObjectAnnotations,
            Operation::GetObjectAnnotation,
            Operation::PutObjectAnnotation,
            Operation::RestoreObject,
        ] {
            assert_eq!(operation.name(), format!("{operation:?}"));
        }
    }

    #[test]
    fn what_lands_writes() {
        for operation in [Operation::CopyObject, Operation::CompleteMultipartUpload] {
            assert!(operation.lands() && operation.is_write(), "{operation:?}");
        }
        for operation in [Operation::UploadPartCopy, Operation::PutObjectTagging] {
            assert!(!operation.lands(), "{operation:?}");
        }
    }

    #[test]
    fn what_writes() {
        for operation in [Operation::PutObjectAnnotation, Operation::RestoreObject] {
            assert!(operation.is_write(), "{operation:?}");
        }
        for operation in [
            Operation::GetObjectAttributes,
            Operation::GetObjectAcl,
            Operation::GetBucketAcl,
            Operation::GetBucketOwnershipControls,
            Operation::GetBucketRequestPayment,
            Operation::GetBucketEncryption,
            Operation::GetObjectLockConfiguration,
            Operation::GetBucketLifecycleConfiguration,
            Operation::ListObjectAnnotations,
            Operation::GetObjectAnnotation,
        ] {
            assert!(!operation.is_write(), "{operation:?}");
        }
    }
}
