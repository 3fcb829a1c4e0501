//! Requests of a multipart upload.

use aws_sdk_s3::operation::RequestId;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};

use crate::checksum::{ChecksumAlgorithm, PartChecksum, checksum_of};
use crate::client::S3Client;
use crate::copy_source::CopySource;
use crate::error::{Result, S3Error};
use crate::headers::{AddHeaders, HeaderPair};
use crate::object::{empty_answer, result_e_tag};
use crate::operation::Operation;

/// Starts a multipart upload.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html>
#[derive(Debug, Clone, Copy)]
pub struct CreateMultipartUpload<'a> {
    /// The destination bucket.
    pub bucket: &'a str,
    /// The destination key.
    pub key: &'a str,
    /// What the object will look like, as headers.
    pub headers: &'a [HeaderPair],
}

/// What `CreateMultipartUpload` made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedUpload {
    /// Never empty.
    pub upload_id: String,
}

/// Copies an object, or a range of it, into a part.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html>
#[derive(Debug, Clone, Copy)]
pub struct UploadPartCopy<'a> {
    /// The destination bucket.
    pub bucket: &'a str,
    /// The destination key.
    pub key: &'a str,
    /// The upload.
    pub upload_id: &'a str,
    /// From 1 to 10,000.
    pub part_number: u32,
    /// What is copied.
    pub source: &'a CopySource,
    /// The first and the last byte, both included; none means all of the source.
    pub range: Option<(u64, u64)>,
    /// Conditions and owners, as headers.
    pub headers: &'a [HeaderPair],
}

/// A part as it is named to `CompleteMultipartUpload`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedPart {
    /// From 1 to 10,000.
    pub part_number: u32,
    /// The part's ETag, without quotes; never empty.
    pub e_tag: String,
    /// The part's checksum, of the upload's algorithm, if it has one.
    pub checksum: Option<PartChecksum>,
}

/// Makes the object of its parts.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>
#[derive(Debug, Clone, Copy)]
pub struct CompleteMultipartUpload<'a> {
    /// The destination bucket.
    pub bucket: &'a str,
    /// The destination key.
    pub key: &'a str,
    /// The upload.
    pub upload_id: &'a str,
    /// All parts, in the order of their numbers.
    pub parts: &'a [CopiedPart],
    /// `x-amz-mp-object-size`: the size that all parts make; S3 refuses if it is another.
    pub object_bytes: u64,
    /// Conditions, checksum type and owners, as headers.
    pub headers: &'a [HeaderPair],
}

/// What `CompleteMultipartUpload` made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completed {
    /// The new object's ETag, without quotes; never empty.
    pub e_tag: String,
    /// The new object's version, if its bucket has versions.
    pub version_id: Option<String>,
    /// `x-amz-server-side-encryption` of the new object.
    pub encryption: Option<String>,
    /// The new object's checksum, as far as the answer says.
    pub checksum: Option<PartChecksum>,
    /// Whether that is a checksum of all bytes, `FULL_OBJECT`, or of the parts' checksums, `COMPOSITE`.
    pub checksum_type: Option<String>,
}

fn completed_part(part: &CopiedPart) -> CompletedPart {
    let builder = CompletedPart::builder()
        .part_number(part_number(part.part_number))
        .e_tag(format!("\"{}\"", part.e_tag));
    let Some(PartChecksum { algorithm, value }) = &part.checksum else {
        return builder.build();
    };
    match algorithm {
        ChecksumAlgorithm::Crc32 => builder.checksum_crc32(value),
        ChecksumAlgorithm::Crc32C => builder.checksum_crc32_c(value),
        ChecksumAlgorithm::Crc64Nvme => builder.checksum_crc64_nvme(value),
        ChecksumAlgorithm::Md5 => builder.checksum_md5(value),
        ChecksumAlgorithm::Sha1 => builder.checksum_sha1(value),
        ChecksumAlgorithm::Sha256 => builder.checksum_sha256(value),
        ChecksumAlgorithm::Sha512 => builder.checksum_sha512(value),
        ChecksumAlgorithm::Xxhash64 => builder.checksum_xxhash64(value),
        ChecksumAlgorithm::Xxhash3 => builder.checksum_xxhash3(value),
        ChecksumAlgorithm::Xxhash128 => builder.checksum_xxhash128(value),
    }
    .build()
}

/// S3's type of it is signed; a number out of its range is for S3 to refuse.
fn part_number(part_number: u32) -> i32 {
    i32::try_from(part_number).unwrap_or(i32::MAX)
}

impl S3Client {
    /// Starts a multipart upload.
    ///
    /// # Errors
    ///
    /// S3's; `EmptyAnswer` if no upload ID came.
    pub async fn create_multipart_upload(
        &self,
        request: CreateMultipartUpload<'_>,
    ) -> Result<CreatedUpload> {
        let operation = Operation::CreateMultipartUpload;
        let headers = AddHeaders::new(operation, request.headers).map_err(|error| *error)?;
        let output = self
            .sdk
            .create_multipart_upload()
            .bucket(request.bucket)
            .key(request.key)
            .customize()
            .interceptor(headers)
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        match output.upload_id() {
            Some(upload_id) if !upload_id.is_empty() => Ok(CreatedUpload {
                upload_id: upload_id.to_owned(),
            }),
            _ => Err(empty_answer(operation, "UploadId", output.request_id())),
        }
    }

    /// Copies an object, or a range of it, into a part.
    ///
    /// # Errors
    ///
    /// S3's, also those it hides in a 200; `EmptyAnswer` if no ETag came.
    pub async fn upload_part_copy(&self, request: UploadPartCopy<'_>) -> Result<CopiedPart> {
        let operation = Operation::UploadPartCopy;
        let headers = AddHeaders::new(operation, request.headers).map_err(|error| *error)?;
        let range = request
            .range
            .map(|(first, last)| format!("bytes={first}-{last}"));
        let output = self
            .sdk
            .upload_part_copy()
            .bucket(request.bucket)
            .key(request.key)
            .upload_id(request.upload_id)
            .part_number(part_number(request.part_number))
            .copy_source(request.source.header())
            .set_copy_source_range(range)
            .customize()
            .interceptor(headers)
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        let result = output.copy_part_result();
        Ok(CopiedPart {
            part_number: request.part_number,
            e_tag: result_e_tag(result.and_then(|r| r.e_tag()))
                .ok_or_else(|| empty_answer(operation, "ETag", output.request_id()))?,
            checksum: result.and_then(|result| checksum_of!(result)),
        })
    }

    /// Makes the object of its parts.
    ///
    /// # Errors
    ///
    /// S3's, also those it hides in a 200; `EmptyAnswer` if no ETag came. 409 means that the upload must be
    /// made anew with all of its parts.
    pub async fn complete_multipart_upload(
        &self,
        request: CompleteMultipartUpload<'_>,
    ) -> Result<Completed> {
        let operation = Operation::CompleteMultipartUpload;
        let headers = AddHeaders::new(operation, request.headers).map_err(|error| *error)?;
        let parts = request.parts.iter().map(completed_part).collect();
        let upload = CompletedMultipartUpload::builder()
            .set_parts(Some(parts))
            .build();
        let output = self
            .sdk
            .complete_multipart_upload()
            .bucket(request.bucket)
            .key(request.key)
            .upload_id(request.upload_id)
            .mpu_object_size(i64::try_from(request.object_bytes).unwrap_or(i64::MAX))
            .multipart_upload(upload)
            .customize()
            .interceptor(headers)
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        Ok(Completed {
            e_tag: result_e_tag(output.e_tag())
                .ok_or_else(|| empty_answer(operation, "ETag", output.request_id()))?,
            encryption: output
                .server_side_encryption()
                .map(|encryption| encryption.as_str().to_owned()),
            checksum: checksum_of!(&output),
            checksum_type: output
                .checksum_type()
                .map(|checksum_type| checksum_type.as_str().to_owned()),
            version_id: output.version_id,
        })
    }

    /// Gives up a multipart upload and its parts. Parts that are being copied may survive it: list, and
    /// abort again.
    ///
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html>
    ///
    /// # Errors
    ///
    /// S3's; 404 `NoSuchUpload` if it is not there (any more).
    pub async fn abort_multipart_upload(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        headers: &[HeaderPair],
    ) -> Result<()> {
        let operation = Operation::AbortMultipartUpload;
        let headers = AddHeaders::new(operation, headers).map_err(|error| *error)?;
        self.sdk
            .abort_multipart_upload()
            .bucket(bucket)
            .key(key)
            .upload_id(upload_id)
            .customize()
            .interceptor(headers)
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_goes_there_and_back() {
        for algorithm in ChecksumAlgorithm::ALL {
            let checksum = Some(PartChecksum {
                algorithm,
                value: "AAAA".into(),
            });
            let part = completed_part(&CopiedPart {
                part_number: 7,
                e_tag: "e".into(),
                checksum: checksum.clone(),
            });
            assert_eq!(checksum_of!(&part), checksum);
            assert_eq!(part.e_tag(), Some("\"e\""));
            assert_eq!(part.part_number(), Some(7));
        }
    }
}
