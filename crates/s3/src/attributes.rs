//! `GetObjectAttributes`: what S3 has noted of an object, its checksums above all.

use aws_sdk_s3::operation::RequestId;
use aws_sdk_s3::types::{
    Checksum, ChecksumType, GetObjectAttributesParts, ObjectAttributes as Asked, ObjectPart,
};
use time::OffsetDateTime;

use crate::checksum::{ChecksumAlgorithm, PartChecksum, checksum_of};
use crate::client::S3Client;
use crate::error::{ErrorKind, Result, S3Error};
use crate::headers::{self, AddHeaders, HeaderPair, OnlyXml};
use crate::object::{empty_answer, no_result, unquoted};
use crate::operation::Operation;

/// The parts of one answer, the most that S3 lists.
const MAX_LISTED_PARTS: i32 = 1000;

/// What `GetObjectAttributes` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectAttributes {
    /// The object's size.
    pub bytes: Option<u64>,
    /// The ETag, without quotes.
    pub e_tag: Option<String>,
    /// The object's checksum, spelt as in other answers: a composite one ends in `-` and the number of parts.
    pub checksum: Option<PartChecksum>,
    /// `FULL_OBJECT` or `COMPOSITE`.
    pub checksum_type: Option<String>,
    /// The storage class, by S3's word.
    pub storage_class: Option<String>,
    /// How many parts the object was made of; none if it was not made of parts.
    pub parts_count: Option<u32>,
    /// Up to 1,000 of its parts. S3 lists them only if the object has a checksum of theirs.
    pub parts: Vec<PartAttributes>,
    /// The number to ask on behind, if there are more parts.
    pub next_part_number_marker: Option<u32>,
    /// The version, if the bucket has versions.
    pub version_id: Option<String>,
    /// When the object was made, to the second.
    pub last_modified: Option<OffsetDateTime>,
}

/// A part of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartAttributes {
    /// From 1 to 10,000.
    pub part_number: u32,
    /// Its size.
    pub bytes: u64,
    /// Its checksum.
    pub checksum: Option<PartChecksum>,
}

impl S3Client {
    /// Reads an object's size, ETag, checksum and storage class, and 1,000 of its parts behind
    /// `part_number_marker`.
    ///
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAttributes.html>
    ///
    /// # Errors
    ///
    /// S3's; `EmptyAnswer` if a part is not whole; `UnreadableAnswer` if the store answers with something else,
    /// such as the object itself, whose body is then not read.
    pub async fn get_object_attributes(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        part_number_marker: Option<u32>,
        headers: &[HeaderPair],
    ) -> Result<ObjectAttributes> {
        let operation = Operation::GetObjectAttributes;
        let headers = AddHeaders::new(operation, headers).map_err(|error| *error)?;
        let output = self
            .sdk
            .get_object_attributes()
            .bucket(bucket)
            .key(key)
            .set_version_id(version_id.map(str::to_owned))
            .set_part_number_marker(part_number_marker.map(|marker| marker.to_string()))
            .max_parts(MAX_LISTED_PARTS)
            .object_attributes(Asked::Etag)
            .object_attributes(Asked::Checksum)
            .object_attributes(Asked::ObjectParts)
            .object_attributes(Asked::StorageClass)
            .object_attributes(Asked::ObjectSize)
            .customize()
            .interceptor(headers)
            .interceptor(OnlyXml)
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        let e_tag = output.e_tag().map(unquoted);
        let bytes = output.object_size().and_then(|n| u64::try_from(n).ok());
        if e_tag.is_none() && bytes.is_none() {
            // Any XML gets this far, an object's own too.
            let message = "the answer has no attributes".to_owned();
            let request_id = output.request_id();
            return Err(no_result(
                operation,
                ErrorKind::Unreadable,
                message,
                request_id,
            ));
        }
        let listed = output.object_parts();
        let parts = listed
            .map(GetObjectAttributesParts::parts)
            .unwrap_or_default();
        let parts = parts.iter().map(part_attributes).collect::<Option<_>>();
        let next = listed
            .filter(|listed| listed.is_truncated() == Some(true))
            .map(|listed| listed.next_part_number_marker()?.parse().ok());
        if next.is_some_and(|next| next <= part_number_marker) {
            return Err(empty_answer(
                operation,
                "place to go on from",
                output.request_id(),
            ));
        }
        let parts_count = listed
            .and_then(GetObjectAttributesParts::total_parts_count)
            .and_then(|count| u32::try_from(count).ok());
        let checksum = output.checksum();
        Ok(ObjectAttributes {
            bytes,
            e_tag,
            checksum: checksum.and_then(|checksum| object_checksum(checksum, parts_count)),
            checksum_type: checksum
                .and_then(|checksum| checksum.checksum_type())
                .map(|checksum_type| checksum_type.as_str().to_owned()),
            storage_class: output
                .storage_class()
                .map(|class| class.as_str().to_owned()),
            parts_count,
            parts: parts
                .ok_or_else(|| empty_answer(operation, "whole part", output.request_id()))?,
            next_part_number_marker: next.flatten(),
            last_modified: output.last_modified().and_then(headers::offset_date_time),
            version_id: output.version_id,
        })
    }
}

/// S3 leaves the number of parts off a composite checksum here, and nowhere else; stores like it may not.
fn object_checksum(checksum: &Checksum, parts_count: Option<u32>) -> Option<PartChecksum> {
    let mut found = checksum_of!(checksum)?;
    // Base64 has no hyphen.
    if checksum.checksum_type() == Some(&ChecksumType::Composite)
        && !found.value.contains('-')
        && let Some(count) = parts_count
    {
        found.value = format!("{}-{count}", found.value);
    }
    Some(found)
}

fn part_attributes(part: &ObjectPart) -> Option<PartAttributes> {
    Some(PartAttributes {
        part_number: u32::try_from(part.part_number()?).ok()?,
        bytes: u64::try_from(part.size()?).ok()?,
        checksum: checksum_of!(part),
    })
}
