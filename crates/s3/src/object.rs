//! Requests about one object.

use std::path::Path;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{GlacierJobParameters, RestoreRequest, Tagging};
use bytes::Bytes;
use time::OffsetDateTime;

use crate::checksum::{ChecksumAlgorithm, PartChecksum, checksum_of};
use crate::client::S3Client;
use crate::copy_source::CopySource;
use crate::error::{ErrorKind, Result, S3Error};
use crate::headers::{self, AddHeaders, CaptureHeaders, HeaderPair};
use crate::operation::Operation;
use crate::quotas::MAX_PUT_BYTES;

/// For an object that is read whole no more is reserved before its bytes come, whatever is announced.
const MAX_RESERVED: usize = 64 << 20;

/// Copies an object of up to 5 GiB in one request.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>
#[derive(Debug, Clone, Copy)]
pub struct CopyObject<'a> {
    /// The destination bucket.
    pub bucket: &'a str,
    /// The destination key.
    pub key: &'a str,
    /// What is copied.
    pub source: &'a CopySource,
    /// All other settings, as headers.
    pub headers: &'a [HeaderPair],
}

/// What `CopyObject` made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The new object's ETag, without quotes; never empty.
    pub e_tag: String,
    /// The new object's version, if its bucket has versions.
    pub version_id: Option<String>,
    /// The version that was read, if the source has versions.
    pub source_version_id: Option<String>,
    /// When S3 says that the new object was made.
    pub last_modified: Option<OffsetDateTime>,
    /// `x-amz-server-side-encryption` of the new object.
    pub encryption: Option<String>,
    /// The new object's checksum, as far as the answer says.
    pub checksum: Option<PartChecksum>,
    /// Whether that is a checksum of all bytes, `FULL_OBJECT`, or of the parts' checksums, `COMPOSITE`.
    pub checksum_type: Option<String>,
}

/// Reads an object's headers.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>
#[derive(Debug, Clone, Copy)]
pub struct HeadObject<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// The version; none means the object as it stands.
    pub version_id: Option<&'a str>,
    /// One part only, to learn its size and how many parts there are.
    pub part_number: Option<u32>,
    /// Other headers.
    pub headers: &'a [HeaderPair],
}

/// What `HeadObject` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The object's size, or that of the part asked for.
    pub bytes: u64,
    /// The ETag, without quotes.
    pub e_tag: String,
    /// The version, if the bucket has versions.
    pub version_id: Option<String>,
    /// When the object was made, to the second.
    pub last_modified: Option<OffsetDateTime>,
    /// All headers of the answer, names in lower case, values as S3 sent them.
    pub headers: Vec<HeaderPair>,
    /// `Date`: the server's time.
    pub date: Option<OffsetDateTime>,
}

impl Head {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        headers::find(&self.headers, name)
    }

    /// The size of the whole object, also if a part was asked for: then `Content-Range` tells.
    ///
    /// A store that ignores the part's number answers without it, and with the size of all.
    pub fn object_bytes(&self) -> u64 {
        self.header("content-range")
            .and_then(|range| range.rsplit_once('/'))
            .and_then(|(_, total)| total.parse().ok())
            .unwrap_or(self.bytes)
    }

    /// `x-amz-mp-parts-count`: how many parts the object was made of, told if a part was asked for.
    pub fn parts_count(&self) -> Option<u32> {
        self.header("x-amz-mp-parts-count")?.parse().ok()
    }

    /// `x-amz-missing-meta`: how many user metadata entries HTTP cannot carry.
    pub fn missing_meta(&self) -> u32 {
        self.header("x-amz-missing-meta")
            .and_then(|count| count.parse().ok())
            .unwrap_or(0)
    }
}

/// Reads a range of an object.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>
#[derive(Debug, Clone, Copy)]
pub struct GetObject<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// The version; none means the object as it stands.
    pub version_id: Option<&'a str>,
    /// First and last byte, both inclusive; the object has them.
    pub range: (u64, u64),
    /// The ETag that the object must have, without quotes: `If-Match`; none means any.
    pub if_match: Option<&'a str>,
    /// Other headers.
    pub headers: &'a [HeaderPair],
}

/// Sends up to 5 GiB as an object.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html>
#[derive(Debug, Clone, Copy)]
pub struct PutObject<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// What is sent.
    pub body: PutBody<'a>,
    /// Its MD5. The body of a file is not signed: S3 compares this with what it got.
    pub content_md5: [u8; 16],
    /// All settings, as headers; conditions too.
    pub headers: &'a [HeaderPair],
}

/// What a `PutObject` sends.
#[derive(Debug, Clone, Copy)]
pub enum PutBody<'a> {
    /// A file, read as it goes out.
    File(&'a Path),
    /// Bytes in memory.
    Bytes(&'a Bytes),
}

/// An object that was read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WholeObject {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its ETag, without quotes.
    pub e_tag: String,
    /// When it was made, to the second.
    pub last_modified: Option<OffsetDateTime>,
    /// `Date`: the server's time.
    pub date: Option<OffsetDateTime>,
}

/// What `PutObject` made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The new object's ETag, without quotes; never empty.
    pub e_tag: String,
    /// The new object's version, if its bucket has versions.
    pub version_id: Option<String>,
}

/// What `DeleteObject` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// The delete marker's version, if the bucket has versions.
    pub version_id: Option<String>,
    /// Whether a delete marker was added, and nothing removed.
    pub delete_marker: bool,
}

/// A tag of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag {
    /// Up to 128 characters.
    pub key: String,
    /// Up to 256 characters, or none.
    pub value: String,
}

impl S3Client {
    /// Copies an object of up to 5 GiB in one request.
    ///
    /// # Errors
    ///
    /// S3's, also those it hides in a 200; `EmptyAnswer` if no ETag came.
    pub async fn copy_object(&self, request: CopyObject<'_>) -> Result<Copied> {
        let operation = Operation::CopyObject;
        let headers = AddHeaders::new(operation, request.headers).map_err(|error| *error)?;
        let output = self
            .sdk
            .copy_object()
            .bucket(request.bucket)
            .key(request.key)
            .copy_source(request.source.header())
            .customize()
            .interceptor(headers)
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        let result = output.copy_object_result();
        let request_id = aws_sdk_s3::operation::RequestId::request_id(&output);
        Ok(Copied {
            e_tag: result_e_tag(result.and_then(|r| r.e_tag()))
                .ok_or_else(|| empty_answer(operation, "ETag", request_id))?,
            last_modified: result
                .and_then(|r| r.last_modified())
                .and_then(headers::offset_date_time),
            encryption: output
                .server_side_encryption()
                .map(|encryption| encryption.as_str().to_owned()),
            checksum: result.and_then(|result| checksum_of!(result)),
            checksum_type: result
                .and_then(|result| result.checksum_type())
                .map(|checksum_type| checksum_type.as_str().to_owned()),
            version_id: output.version_id,
            source_version_id: output.copy_source_version_id,
        })
    }

    /// Reads an object's headers.
    ///
    /// # Errors
    ///
    /// S3's, without code or message, as HEAD answers have no body; `EmptyAnswer` if no ETag or length came.
    pub async fn head_object(&self, request: HeadObject<'_>) -> Result<Head> {
        let operation = Operation::HeadObject;
        let headers = AddHeaders::new(operation, request.headers).map_err(|error| *error)?;
        let captured = CaptureHeaders::default();
        let output = self
            .sdk
            .head_object()
            .bucket(request.bucket)
            .key(request.key)
            .set_version_id(request.version_id.map(str::to_owned))
            .set_part_number(
                request
                    .part_number
                    .map(|n| i32::try_from(n).unwrap_or(i32::MAX)),
            )
            .customize()
            .interceptor(headers)
            .interceptor(captured.clone())
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        let request_id = aws_sdk_s3::operation::RequestId::request_id(&output);
        let e_tag = result_e_tag(output.e_tag())
            .ok_or_else(|| empty_answer(operation, "ETag", request_id))?;
        let headers = captured.take();
        // The SDK's length is of a signed type, and what S3 calls it is a header like the others.
        let bytes = headers::find(&headers, "content-length").and_then(|n| n.parse().ok());
        let Some(bytes) = bytes else {
            return Err(empty_answer(operation, "Content-Length", request_id));
        };
        Ok(Head {
            bytes,
            e_tag,
            last_modified: headers::find(&headers, "last-modified").and_then(headers::http_date),
            date: headers::find(&headers, "date").and_then(headers::http_date),
            version_id: output.version_id,
            headers,
        })
    }

    /// Reads a range of an object into memory.
    ///
    /// # Errors
    ///
    /// S3's: 412 if the object has another ETag; `AnswerLost` if the connection ended before its end;
    /// `UnreadableAnswer` if other bytes came than were asked for.
    pub async fn get_object(&self, request: GetObject<'_>) -> Result<Vec<u8>> {
        let operation = Operation::GetObject;
        let headers = AddHeaders::new(operation, request.headers).map_err(|error| *error)?;
        let (first, last) = request.range;
        let output = self
            .sdk
            .get_object()
            .bucket(request.bucket)
            .key(request.key)
            .set_version_id(request.version_id.map(str::to_owned))
            .range(format!("bytes={first}-{last}"))
            .set_if_match(request.if_match.map(|e_tag| format!("\"{e_tag}\"")))
            .customize()
            .interceptor(headers)
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        let request_id = aws_sdk_s3::operation::RequestId::request_id(&output).map(str::to_owned);
        let told =
            |kind, message: String| no_result(operation, kind, message, request_id.as_deref());
        let expected = (last + 1).saturating_sub(first);
        // Without a look at it a store that knows no ranges would send all of the object.
        let range = output.content_range().unwrap_or_default();
        if !range.starts_with(&format!("bytes {first}-{last}/")) {
            let message = format!("bytes {first}-{last} were asked for, and {range:?} came");
            return Err(told(ErrorKind::Unreadable, message));
        }
        let body = output.body.collect().await.map_err(|cause| {
            let mut error = told(ErrorKind::AnswerLost, "the answer was cut off".to_owned());
            error.source = Some(Box::new(cause));
            error
        })?;
        let bytes = body.to_vec();
        if bytes.len() as u64 != expected {
            let message = format!("{expected} bytes were due, and {} came", bytes.len());
            return Err(told(ErrorKind::AnswerLost, message));
        }
        Ok(bytes)
    }

    /// Reads a small object whole, as it stands.
    ///
    /// # Errors
    ///
    /// S3's: 404 `NoSuchKey` if it is not there; `AnswerLost` if the connection ended before its end.
    pub async fn get_whole_object(
        &self,
        bucket: &str,
        key: &str,
        headers: &[HeaderPair],
    ) -> Result<WholeObject> {
        let operation = Operation::GetObject;
        let headers = AddHeaders::new(operation, headers).map_err(|error| *error)?;
        let captured = CaptureHeaders::default();
        let mut output = self
            .sdk
            .get_object()
            .bucket(bucket)
            .key(key)
            .customize()
            .interceptor(headers)
            .interceptor(captured.clone())
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        let request_id = aws_sdk_s3::operation::RequestId::request_id(&output).map(str::to_owned);
        let e_tag = result_e_tag(output.e_tag())
            .ok_or_else(|| empty_answer(operation, "ETag", request_id.as_deref()))?;
        let lost = |message: String| {
            no_result(
                operation,
                ErrorKind::AnswerLost,
                message,
                request_id.as_deref(),
            )
        };
        let due = output.content_length();
        let due = due.and_then(|due| usize::try_from(due).ok());
        // Each piece goes at once: all of them and the whole would be twice its size.
        let mut bytes = Vec::with_capacity(due.unwrap_or_default().min(MAX_RESERVED));
        while let Some(piece) = output.body.next().await {
            let piece = piece.map_err(|cause| {
                let mut error = lost("the answer was cut off".to_owned());
                error.source = Some(Box::new(cause));
                error
            })?;
            bytes.extend_from_slice(&piece);
        }
        if let Some(due) = due
            && due != bytes.len()
        {
            return Err(lost(format!(
                "{due} bytes were due, and {} came",
                bytes.len()
            )));
        }
        let headers = captured.take();
        Ok(WholeObject {
            bytes,
            e_tag,
            last_modified: headers::find(&headers, "last-modified").and_then(headers::http_date),
            date: headers::find(&headers, "date").and_then(headers::http_date),
        })
    }

    /// Sends an object.
    ///
    /// # Errors
    ///
    /// S3's; `RequestNotBuilt` if the file cannot be opened or is over 5 GiB; `EmptyAnswer` if no ETag came.
    pub async fn put_object(&self, request: PutObject<'_>) -> Result<Put> {
        let operation = Operation::PutObject;
        let headers = AddHeaders::new(operation, request.headers).map_err(|error| *error)?;
        let not_built = |message: &str| S3Error::new(operation, ErrorKind::NotBuilt, message);
        let body = match request.body {
            PutBody::Bytes(bytes) => ByteStream::from(bytes.clone()),
            PutBody::File(file) => {
                let body = ByteStream::read_from().path(file).build().await;
                body.map_err(|cause| {
                    let mut error = not_built("the file cannot be read");
                    error.source = Some(Box::new(cause));
                    error
                })?
            }
        };
        if body.size_hint().0 > MAX_PUT_BYTES {
            return Err(not_built(
                "it is over 5 GiB, the most that one PutObject takes",
            ));
        }
        let output = self
            .sdk
            .put_object()
            .bucket(request.bucket)
            .key(request.key)
            .content_md5(aws_smithy_types::base64::encode(request.content_md5))
            .body(body)
            .customize()
            .interceptor(headers)
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        let request_id = aws_sdk_s3::operation::RequestId::request_id(&output);
        Ok(Put {
            e_tag: result_e_tag(output.e_tag())
                .ok_or_else(|| empty_answer(operation, "ETag", request_id))?,
            version_id: output.version_id,
        })
    }

    /// Deletes an object, or the version that is named. Without one a bucket with versions keeps them all, and
    /// adds a delete marker.
    ///
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html>
    ///
    /// # Errors
    ///
    /// S3's.
    pub async fn delete_object(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        headers: &[HeaderPair],
    ) -> Result<Deleted> {
        let operation = Operation::DeleteObject;
        let headers = AddHeaders::new(operation, headers).map_err(|error| *error)?;
        let output = self
            .sdk
            .delete_object()
            .bucket(bucket)
            .key(key)
            .set_version_id(version_id.map(str::to_owned))
            .customize()
            .interceptor(headers)
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        Ok(Deleted {
            delete_marker: output.delete_marker().unwrap_or(false),
            version_id: output.version_id,
        })
    }

    /// Asks for a copy of an archived object that can be read for some days, and does not wait for it.
    ///
    /// `days` is none for an object of Intelligent-Tiering, which moves back for good. `tier` is `Standard`,
    /// `Bulk` or `Expedited`; none is S3's default, `Standard`.
    ///
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_RestoreObject.html>
    ///
    /// # Errors
    ///
    /// S3's; 409 `RestoreAlreadyInProgress` if it was asked for before.
    pub async fn restore_object(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        days: Option<u32>,
        tier: Option<&str>,
        headers: &[HeaderPair],
    ) -> Result<()> {
        let operation = Operation::RestoreObject;
        let headers = AddHeaders::new(operation, headers).map_err(|error| *error)?;
        let parameters = tier
            .map(|tier| GlacierJobParameters::builder().tier(tier.into()).build())
            .transpose()
            .map_err(|cause| {
                let mut error =
                    S3Error::new(operation, ErrorKind::NotBuilt, "the tier is not whole");
                error.source = Some(Box::new(cause));
                error
            })?;
        let request = RestoreRequest::builder()
            .set_days(days.map(|days| i32::try_from(days).unwrap_or(i32::MAX)))
            .set_glacier_job_parameters(parameters)
            .build();
        self.sdk
            .restore_object()
            .bucket(bucket)
            .key(key)
            .set_version_id(version_id.map(str::to_owned))
            .restore_request(request)
            .customize()
            .interceptor(headers)
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        Ok(())
    }

    /// Reads an object's tags.
    ///
    /// # Errors
    ///
    /// S3's.
    pub async fn get_object_tagging(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        headers: &[HeaderPair],
    ) -> Result<Vec<Tag>> {
        let operation = Operation::GetObjectTagging;
        let headers = AddHeaders::new(operation, headers).map_err(|error| *error)?;
        let output = self
            .sdk
            .get_object_tagging()
            .bucket(bucket)
            .key(key)
            .set_version_id(version_id.map(str::to_owned))
            .customize()
            .interceptor(headers)
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        Ok(output
            .tag_set
            .into_iter()
            .map(|tag| Tag {
                key: tag.key,
                value: tag.value,
            })
            .collect())
    }

    /// Replaces an object's tags.
    ///
    /// # Errors
    ///
    /// S3's.
    pub async fn put_object_tagging(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        tags: &[Tag],
        headers: &[HeaderPair],
    ) -> Result<()> {
        let operation = Operation::PutObjectTagging;
        let headers = AddHeaders::new(operation, headers).map_err(|error| *error)?;
        let not_built = |error| {
            let mut told = S3Error::new(operation, ErrorKind::NotBuilt, "the tags are not whole");
            told.source = Some(Box::new(error));
            told
        };
        let tag_set = tags
            .iter()
            .map(|tag| {
                aws_sdk_s3::types::Tag::builder()
                    .key(&tag.key)
                    .value(&tag.value)
                    .build()
            })
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(not_built)?;
        let tagging = Tagging::builder()
            .set_tag_set(Some(tag_set))
            .build()
            .map_err(not_built)?;
        self.sdk
            .put_object_tagging()
            .bucket(bucket)
            .key(key)
            .set_version_id(version_id.map(str::to_owned))
            .tagging(tagging)
            .customize()
            .interceptor(headers)
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        Ok(())
    }
}

/// An ETag without its quotes. S3 quotes them, but not in every place: unquoted they compare.
pub(crate) fn unquoted(e_tag: &str) -> String {
    e_tag.trim_matches('"').to_owned()
}

/// The ETag that makes an answer a result: whole, and not empty.
///
/// The SDK reads as much as there is of a body that breaks off, which shows in a quote left open.
pub(crate) fn result_e_tag(e_tag: Option<&str>) -> Option<String> {
    let e_tag = e_tag?;
    let whole = match e_tag.strip_prefix('"') {
        Some(rest) => rest.ends_with('"'),
        None => true,
    };
    let e_tag = unquoted(e_tag);
    (whole && !e_tag.is_empty()).then_some(e_tag)
}

pub(crate) fn empty_answer(
    operation: Operation,
    missing: &str,
    request_id: Option<&str>,
) -> S3Error {
    let message = format!("the answer has no {missing}");
    no_result(operation, ErrorKind::EmptyAnswer, message, request_id)
}

/// A 200 that is no result after all.
pub(crate) fn no_result(
    operation: Operation,
    kind: ErrorKind,
    message: String,
    request_id: Option<&str>,
) -> S3Error {
    let mut error = S3Error::new(operation, kind, message);
    error.status = Some(200);
    error.request_id = request_id.map(str::to_owned);
    error
}
