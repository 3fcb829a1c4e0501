//! Multipart uploads: create, parts, complete, abort.

use std::ops::Range;
use std::sync::Arc;

use hyper::HeaderMap;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CopyPartResult,
    CreateMultipartUploadInput, CreateMultipartUploadOutput, ETag, UploadPartCopyInput,
    UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Error, S3Request, S3Response, S3Result};

use super::answer::Answer;
use super::body::{check_digests, collect};
use super::complete::MIN_PART_BYTES;
use super::customer_key::{UploadKey, check_upload_key};
use super::settings::{NewObject, checksum_type};
use super::write::MAX_ONE_REQUEST_BYTES;
use super::{Call, Service, checksum_fields, user_metadata};
use crate::access::header;
use crate::error::{error, invalid_argument, invalid_request, no_such_upload};
use crate::store::checksum::{ChecksumAlgorithm, ChecksumType, base64, hex};
use crate::store::content::Content;
use crate::store::object::{Encryption, Timestamp, encrypted_md5};
use crate::store::upload::{Part, Upload, parse_upload_id, upload_id};

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
        let (checksum, encryption) = call.part_settings(&place, &request.headers)?;
        check_part_algorithm(checksum, sent)?;
        let content = Arc::new(Content::stored(bytes));
        let mut answer = Answer::new();
        answer.set(
            "etag",
            &format!("\"{}\"", part_e_tag(&encryption, &content)),
        );
        answer.encryption(&encryption);
        answer.charged(&call.exchange);
        if let Some((algorithm, _)) = checksum {
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
        let (checksum, encryption) = call.part_settings(&place, &request.headers)?;
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

    /// What of an upload a part needs: its checksum and its encryption, whose key the part must bring.
    fn part_settings(
        &self,
        place: &Place,
        headers: &HeaderMap,
    ) -> Result<(Option<(ChecksumAlgorithm, ChecksumType)>, Encryption), S3Error> {
        self.with_upload(place, |upload| {
            check_upload_key(headers, upload, UploadKey::Required)?;
            Ok((upload.checksum, upload.settings.encryption.clone()))
        })?
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

pub(super) fn part_number(number: i32) -> Result<u32, S3Error> {
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

pub(super) fn part_e_tag(encryption: &Encryption, content: &Content) -> String {
    hex(&encrypted_md5(encryption, content.md5()))
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
