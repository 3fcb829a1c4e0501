//! `CompleteMultipartUpload`.

use std::sync::Arc;

use hyper::HeaderMap;
use s3s::dto::{CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart, ETag};
use s3s::{S3Error, S3Request, S3Response, S3Result};

use super::answer::Answer;
use super::customer_key::{UploadKey, check_upload_key};
use super::multipart::{part_e_tag, part_number};
use super::settings::checksum_type;
use super::{Service, checksum_fields, checksum_of, e_tag_value};
use crate::access::header;
use crate::conditions::WriteConditions;
use crate::error::{error, invalid_request, no_such_upload, with_detail};
use crate::store::checksum::{ChecksumAlgorithm, ChecksumType, base64, composite, multipart_md5};
use crate::store::content::Content;
use crate::store::object::{Layout, Object, ObjectChecksum, PartLayout, Restore};
use crate::store::upload::{Part, Upload};

/// The least size of a part that is not the last: 5 MiB.
/// `https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html`
pub(super) const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;

impl Service {
    pub(super) fn complete_upload(
        &self,
        request: &S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let call = self.call(&request.extensions)?;
        let input = &request.input;
        let place = call.upload(&input.upload_id)?;
        let conditions = WriteConditions::from_headers(&request.headers)?;
        conditions.check_enforced(&call.bucket.settings(), false)?;
        let upload = call.with_upload(&place, |upload| upload.clone())?;
        check_upload_key(&request.headers, &upload, UploadKey::ForChecksums)?;
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
        // The one answer to a write that does not show the key's MD5.
        if object.settings.encryption.customer_key_md5.is_none() {
            answer.encryption(&object.settings.encryption);
        }
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
        annotations: Arc::default(),
        settings: Arc::clone(&upload.settings),
        layout: Layout::Parts {
            md5: multipart_md5(parts.iter().map(|(_, part)| part.content.md5())),
            parts: layout.into(),
        },
        checksum: ObjectChecksum {
            algorithm,
            composite,
            is_missing: false,
        },
        owner: Arc::clone(&upload.owner),
        archive_tier: None,
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
