//! Requests that tell of multipart uploads under way.

use aws_sdk_s3::operation::RequestId;
use aws_sdk_s3::types::EncodingType;
use time::OffsetDateTime;

use crate::checksum::{ChecksumAlgorithm, PartChecksum, checksum_of};
use crate::client::S3Client;
use crate::error::{Result, S3Error};
use crate::headers::{self, AddHeaders, HeaderPair};
use crate::listing::decoded;
use crate::object::{empty_answer, unquoted};
use crate::operation::Operation;

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

impl S3Client {
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
        self.list_uploads_while(bucket, prefix, headers, |_| true)
            .await
    }

    /// Lists the uploads under way of one key. Others whose keys begin with it come behind it, and are not
    /// asked for.
    ///
    /// # Errors
    ///
    /// S3's.
    pub async fn list_multipart_uploads_of(
        &self,
        bucket: &str,
        key: &str,
        headers: &[HeaderPair],
    ) -> Result<Vec<ListedUpload>> {
        self.list_uploads_while(bucket, key, headers, |listed| listed == key)
            .await
    }

    async fn list_uploads_while(
        &self,
        bucket: &str,
        prefix: &str,
        headers: &[HeaderPair],
        wanted: impl Fn(&str) -> bool,
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
                let key = named(key, encoded);
                if !wanted(&key) {
                    return Ok(uploads);
                }
                let initiator = upload.initiator();
                uploads.push(ListedUpload {
                    key,
                    upload_id: upload_id.to_owned(),
                    initiated: upload.initiated().and_then(headers::offset_date_time),
                    initiator_id: initiator.and_then(|i| i.id()).map(str::to_owned),
                    initiator_name: initiator.and_then(|i| i.display_name()).map(str::to_owned),
                });
            }
            let next = page
                .next_key_marker()
                .map(|key| named(key, encoded))
                .map(|key| (key, page.next_upload_id_marker().map(str::to_owned)));
            if page.is_truncated() != Some(true) || next.is_none() || next == marker {
                return Ok(uploads);
            }
            marker = next;
        }
    }
}

/// A key, for a look at whose upload it is: what is not UTF-8 of it is replaced.
fn named(key: &str, encoded: bool) -> String {
    String::from_utf8_lossy(&decoded(key, encoded)).into_owned()
}
