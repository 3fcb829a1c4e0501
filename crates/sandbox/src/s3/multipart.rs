//! Multipart uploads: create, parts, complete, abort.

use std::ops::Range;
use std::sync::Arc;

use hyper::HeaderMap;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CompletedPart, CopyPartResult, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, ETag, UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput,
    UploadPartOutput,
};
use s3s::{S3Error, S3Request, S3Response, S3Result};

use super::body::{check_digests, collect};
use super::headers::{Answer, NewObject, checksum_type};
use super::write::MAX_ONE_REQUEST_BYTES;
use super::{Call, Service, checksum_fields, checksum_of, e_tag_value, user_metadata};
use crate::access::header;
use crate::conditions::WriteConditions;
use crate::error::{error, invalid_argument, invalid_request, no_such_upload, with_detail};
use crate::store::checksum::{
    ChecksumAlgorithm, ChecksumType, base64, composite, hex, multipart_md5,
};
use crate::store::content::Content;
use crate::store::object::{
    Encryption, Layout, Object, ObjectChecksum, PartLayout, Restore, Timestamp, encrypted_md5,
};
use crate::store::upload::{Part, Upload, parse_upload_id, upload_id};

/// The least size of a part that is not the last: 5 MiB.
/// `https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html`
const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;

impl Service {
    pub(super) fn create_upload(
        &self,
        request: &S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let call = self.call(&request.extensions)?;
        let new = NewObject::from_headers(
            &request.headers,
            user_metadata(request.input.metadata.as_ref()),
            &call.bucket,
            call.identity.account(),
        )?;
        let checksum = upload_checksum(new.algorithm, checksum_type(&request.headers)?)?;
        let upload = Upload {
            initiated: Timestamp::now(),
            initiator: call.identity.principal.arn(),
            owner: new.owner,
            metadata: new.metadata,
            tags: new.tags.unwrap_or_default(),
            settings: new.settings,
            checksum,
            parts: std::collections::BTreeMap::new(),
        };
        let mut answer = Answer::new();
        answer.encryption(&upload.settings.encryption);
        answer.charged(&call.exchange);
        if let Some((algorithm, kind)) = checksum {
            answer.set("x-amz-checksum-algorithm", algorithm.as_str());
            answer.set("x-amz-checksum-type", kind.as_str());
        }
        let number = self.store.ids().next();
        call.bucket
            .lock()
            .uploads
            .insert((request.input.key.as_str().into(), number), upload);
        let output = CreateMultipartUploadOutput {
            bucket: Some(request.input.bucket.clone()),
            key: Some(request.input.key.clone()),
            upload_id: Some(upload_id(number)),
            ..CreateMultipartUploadOutput::default()
        };
        Ok(S3Response::with_headers(output, answer.0))
    }

    pub(super) async fn send_part(
        &self,
        mut request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let call = self.call(&request.extensions)?;
        let number = part_number(request.input.part_number)?;
        let place = call.upload(&request.input.upload_id)?;
        let bytes = collect(request.input.body.take()).await?;
        if bytes.len() as u64 > MAX_ONE_REQUEST_BYTES {
            return Err(error(
                400,
                "EntityTooLarge",
                "Your proposed upload exceeds the maximum allowed size",
            ));
        }
        let sent = check_digests(&bytes, &request.headers, request.trailing_headers.as_ref())?;
        let upload = call.with_upload(&place, |upload| {
            (upload.checksum, upload.settings.encryption.clone())
        })?;
        check_part_algorithm(upload.0, sent)?;
        let content = Arc::new(Content::stored(bytes));
        let mut answer = Answer::new();
        answer.set("etag", &format!("\"{}\"", part_e_tag(&upload.1, &content)));
        answer.encryption(&upload.1);
        answer.charged(&call.exchange);
        if let Some((algorithm, _)) = upload.0 {
            answer.set(algorithm.header(), &base64(&content.checksum(algorithm)));
        }
        call.with_upload(&place, |upload| {
            upload.parts.insert(
                number,
                Part {
                    content,
                    modified: Timestamp::now(),
                },
            )
        })?;
        Ok(S3Response::with_headers(
            UploadPartOutput::default(),
            answer.0,
        ))
    }

    pub(super) fn copy_part(
        &self,
        request: &S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let call = self.call(&request.extensions)?;
        let number = part_number(request.input.part_number)?;
        let place = call.upload(&request.input.upload_id)?;
        let source = self.source(&request.headers)?;
        let from = &source.found.object;
        let range = match header(&request.headers, "x-amz-copy-source-range") {
            None => 0..from.size(),
            Some(text) => copy_range(text, from.size())?,
        };
        if range.is_empty() {
            return Err(invalid_request(
                "The specified copy source is not supported as a byte-range copy source",
            ));
        }
        if range.end - range.start > MAX_ONE_REQUEST_BYTES {
            return Err(invalid_request(format!(
                "The specified copy source is larger than the maximum allowable size for a copy source: \
                 {MAX_ONE_REQUEST_BYTES}"
            )));
        }
        let content = if range == (0..from.size()) {
            Arc::clone(&from.content)
        } else {
            Arc::new(from.content.slice(&range))
        };
        let (checksum, encryption) = call.with_upload(&place, |upload| {
            (upload.checksum, upload.settings.encryption.clone())
        })?;
        let modified = Timestamp::now();
        let mut result = CopyPartResult {
            e_tag: Some(ETag::Strong(part_e_tag(&encryption, &content))),
            last_modified: Some(modified.into()),
            ..CopyPartResult::default()
        };
        if let Some((algorithm, _)) = checksum {
            checksum_fields!(result, algorithm, base64(&content.checksum(algorithm)));
        }
        call.with_upload(&place, |upload| {
            upload.parts.insert(number, Part { content, modified })
        })?;
        let mut answer = Answer::new();
        answer.encryption(&encryption);
        answer.charged(&call.exchange);
        source.answer(&mut answer);
        let output = UploadPartCopyOutput {
            copy_part_result: Some(result),
            ..UploadPartCopyOutput::default()
        };
        Ok(S3Response::with_headers(output, answer.0))
    }

    pub(super) fn complete_upload(
        &self,
        request: &S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let call = self.call(&request.extensions)?;
        let input = &request.input;
        let place = call.upload(&input.upload_id)?;
        let conditions = WriteConditions::from_headers(&request.headers)?;
        let upload = call.with_upload(&place, |upload| upload.clone())?;
        let listed = input
            .multipart_upload
            .as_ref()
            .and_then(|upload| upload.parts.as_deref())
            .unwrap_or_default();
        let object = Arc::new(assemble(&upload, listed, &input.upload_id)?);
        check_whole(&object, &upload, &request.headers)?;
        let id = {
            let mut state = call.bucket.lock();
            if !state.uploads.contains_key(&place) {
                return Err(no_such_upload(&input.upload_id));
            }
            conditions.check(&input.key, || {
                state.current(&input.key).map(|object| object.e_tag())
            })?;
            state.uploads.remove(&place);
            state.put(self.store.ids(), &input.key, Some(Arc::clone(&object)))
        };
        let mut answer = Answer::new();
        answer.version(&call.bucket.settings(), id);
        answer.encryption(&object.settings.encryption);
        answer.charged(&call.exchange);
        let mut output = CompleteMultipartUploadOutput {
            bucket: Some(input.bucket.clone()),
            key: Some(input.key.clone()),
            location: Some(format!(
                "http://{}.s3.{}.amazonaws.com/{}",
                call.bucket.name, call.bucket.region, input.key
            )),
            e_tag: Some(e_tag_value(&object)),
            checksum_type: Some(object.checksum_type().as_str().to_owned().into()),
            ..CompleteMultipartUploadOutput::default()
        };
        checksum_fields!(output, object.checksum.algorithm, object.checksum_value());
        Ok(S3Response::with_headers(output, answer.0))
    }

    pub(super) fn abort_upload(
        &self,
        request: &S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let call = self.call(&request.extensions)?;
        let place = call.upload(&request.input.upload_id)?;
        if call.bucket.lock().uploads.remove(&place).is_none() {
            return Err(no_such_upload(&request.input.upload_id));
        }
        let mut answer = Answer::new();
        answer.charged(&call.exchange);
        Ok(S3Response::with_headers(
            AbortMultipartUploadOutput::default(),
            answer.0,
        ))
    }
}

/// Where an upload stands in its bucket.
pub(super) type Place = (Box<str>, u64);

impl Call {
    /// The upload that the request names, which must be there.
    pub(super) fn upload(&self, id: &str) -> Result<Place, S3Error> {
        let number = parse_upload_id(id).ok_or_else(|| no_such_upload(id))?;
        let place = (self.exchange.key.as_str().into(), number);
        if self.bucket.lock().uploads.contains_key(&place) {
            Ok(place)
        } else {
            Err(no_such_upload(id))
        }
    }

    pub(super) fn with_upload<T>(
        &self,
        place: &Place,
        look: impl FnOnce(&mut Upload) -> T,
    ) -> Result<T, S3Error> {
        self.bucket
            .lock()
            .uploads
            .get_mut(place)
            .map(look)
            .ok_or_else(|| no_such_upload(&upload_id(place.1)))
    }
}

fn upload_checksum(
    algorithm: Option<ChecksumAlgorithm>,
    kind: Option<ChecksumType>,
) -> Result<Option<(ChecksumAlgorithm, ChecksumType)>, S3Error> {
    let Some(algorithm) = algorithm else {
        return match kind {
            None => Ok(None),
            Some(_) => Err(invalid_request(
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
            )),
        };
    };
    let kind = kind.unwrap_or_else(|| algorithm.default_type());
    if !algorithm.permits(kind) {
        return Err(invalid_request(format!(
            "The {} checksum type cannot be used with the {} checksum algorithm.",
            kind.as_str(),
            algorithm.as_str().to_lowercase()
        )));
    }
    Ok(Some((algorithm, kind)))
}

fn part_number(number: i32) -> Result<u32, S3Error> {
    u32::try_from(number)
        .ok()
        .filter(|number| (1..=10_000).contains(number))
        .ok_or_else(|| {
            let message = "Part number must be an integer between 1 and 10000, inclusive";
            invalid_argument("partNumber", &number.to_string(), message)
        })
}

/// Reads `x-amz-copy-source-range`: both ends, and only of sources of more than 5 MB.
fn copy_range(text: &str, size: u64) -> Result<Range<u64>, S3Error> {
    let name = "x-amz-copy-source-range";
    let number = |digits: &str| -> Option<u64> {
        digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| digits.parse().ok())
            .flatten()
    };
    let (first, last) = text
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
        .and_then(|(first, last)| Some((number(first)?, number(last)?)))
        .filter(|(first, last)| first <= last)
        .ok_or_else(|| {
            let message = "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last \
                           are the zero-based offsets of the first and last bytes to copy";
            invalid_argument(name, text, message)
        })?;
    if last >= size {
        let message = format!("Range specified is not valid for source object of size: {size}");
        return Err(invalid_argument(name, text, message));
    }
    if size <= MIN_PART_BYTES {
        return Err(invalid_request(
            "The specified copy source is not supported as a byte-range copy source",
        ));
    }
    Ok(first..last + 1)
}

fn check_part_algorithm(
    upload: Option<(ChecksumAlgorithm, ChecksumType)>,
    sent: Option<ChecksumAlgorithm>,
) -> Result<(), S3Error> {
    let expected = upload.map(|(algorithm, _)| algorithm);
    let optional = upload.is_none_or(|(_, kind)| kind == ChecksumType::FullObject);
    if sent == expected || (sent.is_none() && optional) {
        return Ok(());
    }
    // An upload without an algorithm gets CRC64NVME, and takes parts with it.
    if expected.is_none() && sent == Some(ChecksumAlgorithm::Crc64Nvme) {
        return Ok(());
    }
    let name = |algorithm: Option<ChecksumAlgorithm>| {
        algorithm.map_or_else(
            || "null".to_owned(),
            |algorithm| algorithm.as_str().to_lowercase(),
        )
    };
    Err(invalid_request(format!(
        "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
        name(expected),
        name(sent)
    )))
}

fn part_e_tag(encryption: &Encryption, content: &Content) -> String {
    hex(&encrypted_md5(encryption, content.md5()))
}

/// Makes the object of the parts that a completion lists.
fn assemble(upload: &Upload, listed: &[CompletedPart], upload_id: &str) -> Result<Object, S3Error> {
    if listed.is_empty() {
        let message = "The XML you provided was not well-formed or did not validate against our published schema";
        return Err(error(400, "MalformedXML", message));
    }
    let (algorithm, kind) = upload.algorithm();
    let mut parts: Vec<(u32, &Part)> = Vec::with_capacity(listed.len());
    for listed_part in listed {
        let number = part_number(listed_part.part_number.unwrap_or_default())?;
        if parts.last().is_some_and(|(last, _)| *last >= number) {
            return Err(invalid_part_order());
        }
        let e_tag = listed_part.e_tag.as_ref().map_or("", ETag::value);
        let part = upload
            .parts
            .get(&number)
            .filter(|part| part_e_tag(&upload.settings.encryption, &part.content) == e_tag)
            .ok_or_else(|| invalid_part(upload_id, number, e_tag))?;
        check_listed_checksum(upload, listed_part, number, part, upload_id)?;
        parts.push((number, part));
    }
    if kind == ChecksumType::Composite
        && parts
            .iter()
            .zip(1..)
            .any(|((number, _), place)| *number != place)
    {
        return Err(invalid_part_order());
    }
    for (number, part) in &parts[..parts.len() - 1] {
        if part.content.size() < MIN_PART_BYTES {
            return Err(entity_too_small(upload, *number, part));
        }
    }
    let checksums = upload.checksum.map(|(algorithm, _)| {
        parts
            .iter()
            .map(|(_, part)| part.content.checksum(algorithm))
            .collect::<Vec<_>>()
    });
    let layout = parts
        .iter()
        .enumerate()
        .map(|(at, (number, part))| PartLayout {
            number: *number,
            size: part.content.size(),
            checksum: checksums
                .as_ref()
                .and_then(|checksums| checksums.get(at).cloned()),
        })
        .collect::<Vec<_>>();
    let composite = match (&checksums, kind) {
        (Some(checksums), ChecksumType::Composite) => {
            Some(composite(algorithm, checksums).into_boxed_str())
        }
        _ => None,
    };
    Ok(Object {
        content: Arc::new(Content::concat(
            parts.iter().map(|(_, part)| &*part.content),
        )),
        metadata: Arc::clone(&upload.metadata),
        tags: Arc::clone(&upload.tags),
        settings: Arc::clone(&upload.settings),
        layout: Layout::Parts {
            md5: multipart_md5(parts.iter().map(|(_, part)| part.content.md5())),
            parts: layout.into(),
        },
        checksum: ObjectChecksum {
            algorithm,
            composite,
        },
        owner: Arc::clone(&upload.owner),
        restore: Restore::None,
    })
}

fn check_listed_checksum(
    upload: &Upload,
    listed: &CompletedPart,
    number: u32,
    part: &Part,
    upload_id: &str,
) -> Result<(), S3Error> {
    for algorithm in ChecksumAlgorithm::ALL {
        let Some(value) = checksum_of!(listed, algorithm) else {
            continue;
        };
        if base64(&part.content.checksum(algorithm)) != *value {
            return Err(invalid_part(
                upload_id,
                number,
                listed.e_tag.as_ref().map_or("", ETag::value),
            ));
        }
    }
    match upload.checksum {
        Some((algorithm, ChecksumType::Composite)) if checksum_of!(listed, algorithm).is_none() => {
            Err(invalid_request(format!(
                "The upload was created using a {} checksum. The complete request must include the checksum for each \
                 part. It was missing for part {number} in the request.",
                algorithm.as_str().to_lowercase()
            )))
        }
        _ => Ok(()),
    }
}

/// Checks what a completion says of the whole object.
fn check_whole(object: &Object, upload: &Upload, headers: &HeaderMap) -> Result<(), S3Error> {
    if let Some(text) = header(headers, "x-amz-mp-object-size") {
        let size: u64 = text
            .parse()
            .map_err(|_| invalid_request("Value for x-amz-mp-object-size header is invalid."))?;
        if size != object.size() {
            let message = "The provided 'x-amz-mp-object-size' header value does not match what was computed.";
            let refused = with_detail(
                invalid_request(message),
                "ComputedSize",
                &object.size().to_string(),
            );
            return Err(refused);
        }
    }
    let (algorithm, kind) = upload.algorithm();
    if checksum_type(headers)?.is_some_and(|named| named != kind) {
        return Err(error(
            400,
            "BadDigest",
            "The checksum type does not match that of the upload.",
        ));
    }
    for sent in ChecksumAlgorithm::ALL {
        let Some(value) = header(headers, sent.header()) else {
            continue;
        };
        let actual = object.checksum_value();
        let without_count = actual.split('-').next().unwrap_or_default();
        if sent != algorithm || (value != actual && value != without_count) {
            let message =
                format!("The {sent} you specified did not match the calculated checksum.");
            return Err(error(400, "BadDigest", message));
        }
    }
    Ok(())
}

fn invalid_part(upload_id: &str, number: u32, e_tag: &str) -> S3Error {
    let refused = error(
        400,
        "InvalidPart",
        "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified \
         entity tag may not match the part's entity tag.",
    );
    let refused = with_detail(refused, "UploadId", upload_id);
    with_detail(
        with_detail(refused, "PartNumber", &number.to_string()),
        "ETag",
        e_tag,
    )
}

fn invalid_part_order() -> S3Error {
    let message =
        "The list of parts was not in ascending order. Parts must be ordered by part number.";
    error(400, "InvalidPartOrder", message)
}

fn entity_too_small(upload: &Upload, number: u32, part: &Part) -> S3Error {
    let message = "Your proposed upload is smaller than the minimum allowed size";
    let refused = with_detail(
        error(400, "EntityTooSmall", message),
        "ProposedSize",
        &part.content.size().to_string(),
    );
    let refused = with_detail(refused, "MinSizeAllowed", &MIN_PART_BYTES.to_string());
    let refused = with_detail(refused, "PartNumber", &number.to_string());
    with_detail(
        refused,
        "ETag",
        &part_e_tag(&upload.settings.encryption, &part.content),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_ranges() {
        let size = 6 * 1024 * 1024;
        for (text, expected) in [
            ("bytes=0-0", Some(0..1)),
            ("bytes=5-6291455", Some(5..size)),
            ("bytes=0-6291456", None),
            ("bytes=7-5", None),
            ("bytes=5-", None),
            ("bytes=-5", None),
            ("bytes=+1-5", None),
            ("0-5", None),
            ("bytes=0-5,7-9", None),
        ] {
            assert_eq!(copy_range(text, size).ok(), expected, "{text}");
        }
        assert!(copy_range("bytes=0-1", MIN_PART_BYTES).is_err());
    }

    #[test]
    fn checksum_types() {
        use ChecksumAlgorithm::{Crc32, Crc64Nvme, Sha256};
        use ChecksumType::{Composite, FullObject};
        for (algorithm, kind, expected) in [
            (None, None, Some(None)),
            (None, Some(FullObject), None),
            (Some(Crc32), None, Some(Some((Crc32, Composite)))),
            (
                Some(Crc32),
                Some(FullObject),
                Some(Some((Crc32, FullObject))),
            ),
            (Some(Crc64Nvme), None, Some(Some((Crc64Nvme, FullObject)))),
            (Some(Crc64Nvme), Some(Composite), None),
            (Some(Sha256), Some(FullObject), None),
        ] {
            assert_eq!(upload_checksum(algorithm, kind).ok(), expected);
        }
    }
}
