//! Requests of a multipart upload.

use aws_sdk_s3::operation::RequestId;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, EncodingType};
use percent_encoding::percent_decode_str;
use time::OffsetDateTime;

use crate::client::S3Client;
use crate::copy_source::CopySource;
use crate::error::{Result, S3Error};
use crate::headers::{self, AddHeaders, HeaderPair};
use crate::object::{empty_answer, result_e_tag, unquoted};
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

/// A checksum algorithm of S3.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChecksumAlgorithm {
    /// CRC-32.
    Crc32,
    /// CRC-32C.
    Crc32C,
    /// CRC-64/NVME, S3's default.
    Crc64Nvme,
    /// MD5.
    Md5,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
    /// 64-bit xxHash.
    Xxhash64,
    /// 64-bit XXH3.
    Xxhash3,
    /// 128-bit XXH3.
    Xxhash128,
}

impl ChecksumAlgorithm {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Crc32,
        Self::Crc32C,
        Self::Crc64Nvme,
        Self::Md5,
        Self::Sha1,
        Self::Sha256,
        Self::Sha512,
        Self::Xxhash64,
        Self::Xxhash3,
        Self::Xxhash128,
    ];

    /// S3's name of it, as in `x-amz-checksum-algorithm`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32C => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
            Self::Xxhash64 => "XXHASH64",
            Self::Xxhash3 => "XXHASH3",
            Self::Xxhash128 => "XXHASH128",
        }
    }

    /// The algorithm of that name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }
}

/// A part's checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartChecksum {
    /// The upload's algorithm.
    pub algorithm: ChecksumAlgorithm,
    /// In base64.
    pub value: String,
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
}

/// A part that an upload has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPart {
    /// From 1 to 10,000.
    pub part_number: u32,
    /// The part's ETag, without quotes.
    pub e_tag: String,
    /// The part's size.
    pub bytes: u64,
    /// The part's checksum, if the upload has an algorithm.
    pub checksum: Option<PartChecksum>,
}

/// An upload that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedUpload {
    /// The key that it will make.
    pub key: String,
    /// The upload.
    pub upload_id: String,
    /// When it was started.
    pub initiated: Option<OffsetDateTime>,
    /// Who started it: the ARN of an IAM identity, or an account's canonical ID.
    pub initiator_id: Option<String>,
    /// The name of who started it.
    pub initiator_name: Option<String>,
}

/// The checksum of whatever the SDK keeps ten checksums in.
macro_rules! checksum_of {
    ($part:expr) => {{
        let part = $part;
        let found = [
            (ChecksumAlgorithm::Crc32, part.checksum_crc32()),
            (ChecksumAlgorithm::Crc32C, part.checksum_crc32_c()),
            (ChecksumAlgorithm::Crc64Nvme, part.checksum_crc64_nvme()),
            (ChecksumAlgorithm::Md5, part.checksum_md5()),
            (ChecksumAlgorithm::Sha1, part.checksum_sha1()),
            (ChecksumAlgorithm::Sha256, part.checksum_sha256()),
            (ChecksumAlgorithm::Sha512, part.checksum_sha512()),
            (ChecksumAlgorithm::Xxhash64, part.checksum_xxhash64()),
            (ChecksumAlgorithm::Xxhash3, part.checksum_xxhash3()),
            (ChecksumAlgorithm::Xxhash128, part.checksum_xxhash128()),
        ];
        found.into_iter().find_map(|(algorithm, value)| {
            value.map(|value| PartChecksum {
                algorithm,
                value: value.to_owned(),
            })
        })
    }};
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

    /// Lists all parts that an upload has, page by page.
    ///
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html>
    ///
    /// # Errors
    ///
    /// S3's; 404 `NoSuchUpload` if it is not there (any more).
    pub async fn list_parts(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        headers: &[HeaderPair],
    ) -> Result<Vec<ListedPart>> {
        let operation = Operation::ListParts;
        let mut parts = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let headers = AddHeaders::new(operation, headers).map_err(|error| *error)?;
            let page = self
                .sdk
                .list_parts()
                .bucket(bucket)
                .key(key)
                .upload_id(upload_id)
                .set_part_number_marker(marker.clone())
                .customize()
                .interceptor(headers)
                .send()
                .await
                .map_err(|error| S3Error::from_sdk(operation, error))?;
            for part in page.parts() {
                let number = part.part_number().and_then(|n| u32::try_from(n).ok());
                let bytes = part.size().and_then(|n| u64::try_from(n).ok());
                let (Some(part_number), Some(e_tag), Some(bytes)) = (number, part.e_tag(), bytes)
                else {
                    return Err(empty_answer(operation, "whole part", page.request_id()));
                };
                parts.push(ListedPart {
                    part_number,
                    e_tag: unquoted(e_tag),
                    bytes,
                    checksum: checksum_of!(part),
                });
            }
            let next = page.next_part_number_marker;
            if page.is_truncated != Some(true) || next.is_none() || next == marker {
                return Ok(parts);
            }
            marker = next;
        }
    }

    /// Lists all uploads under way whose key begins with `prefix`, page by page.
    ///
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html>
    ///
    /// # Errors
    ///
    /// S3's.
    pub async fn list_multipart_uploads(
        &self,
        bucket: &str,
        prefix: &str,
        headers: &[HeaderPair],
    ) -> Result<Vec<ListedUpload>> {
        let operation = Operation::ListMultipartUploads;
        let mut uploads = Vec::new();
        let mut marker: Option<(String, Option<String>)> = None;
        loop {
            let headers = AddHeaders::new(operation, headers).map_err(|error| *error)?;
            let page = self
                .sdk
                .list_multipart_uploads()
                .bucket(bucket)
                .prefix(prefix)
                // XML cannot carry every key.
                .encoding_type(EncodingType::Url)
                .set_key_marker(marker.as_ref().map(|(key, _)| key.clone()))
                .set_upload_id_marker(marker.as_ref().and_then(|(_, id)| id.clone()))
                .customize()
                .interceptor(headers)
                .send()
                .await
                .map_err(|error| S3Error::from_sdk(operation, error))?;
            let encoded = page.encoding_type() == Some(&EncodingType::Url);
            for upload in page.uploads() {
                let (Some(key), Some(upload_id)) = (upload.key(), upload.upload_id()) else {
                    return Err(empty_answer(operation, "whole upload", page.request_id()));
                };
                let initiator = upload.initiator();
                uploads.push(ListedUpload {
                    key: decoded(key, encoded),
                    upload_id: upload_id.to_owned(),
                    initiated: upload.initiated().and_then(headers::offset_date_time),
                    initiator_id: initiator.and_then(|i| i.id()).map(str::to_owned),
                    initiator_name: initiator.and_then(|i| i.display_name()).map(str::to_owned),
                });
            }
            let next = page
                .next_key_marker()
                .map(|key| decoded(key, encoded))
                .map(|key| (key, page.next_upload_id_marker().map(str::to_owned)));
            if page.is_truncated() != Some(true) || next.is_none() || next == marker {
                return Ok(uploads);
            }
            marker = next;
        }
    }
}

/// A key of a listing: form style if the answer says that it is encoded, which a store may leave.
fn decoded(key: &str, encoded: bool) -> String {
    if !encoded {
        return key.to_owned();
    }
    let spaced = key.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_keys_are_form_encoded() {
        assert_eq!(decoded("a+b%2Bc%20d%25/%C3%BC", true), "a b+c d%/ü");
        assert_eq!(decoded("a%0Ab%0Dc", true), "a\nb\rc");
        assert_eq!(decoded("a+b%2B", false), "a+b%2B");
    }

    #[test]
    fn algorithms_by_name() {
        for algorithm in ChecksumAlgorithm::ALL {
            assert_eq!(
                ChecksumAlgorithm::from_name(&algorithm.name().to_lowercase()),
                Some(algorithm)
            );
        }
        assert_eq!(ChecksumAlgorithm::from_name("CRC"), None);
    }

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
