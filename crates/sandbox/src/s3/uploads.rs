//! `ListMultipartUploads` and `ListParts`.

use std::ops::Bound;

use s3s::dto::{
    ETag, Initiator, ListMultipartUploadsInput, ListMultipartUploadsOutput, ListPartsInput,
    ListPartsOutput, MultipartUpload,
};
use s3s::{S3Request, S3Response, S3Result};

use super::customer_key::{UploadKey, check_upload_key};
use super::listing::{Names, charged, common_prefix, owner, page_size, prefixes, shown_size};
use super::{Service, checksum_fields};
use crate::store::checksum::{base64, hex};
use crate::store::object::encrypted_md5;
use crate::store::upload::{parse_upload_id, upload_id};

impl Service {
    pub(super) fn list_uploads(
        &self,
        request: &S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let call = self.call(&request.extensions)?;
        let input = &request.input;
        let names = Names::of(input.encoding_type.as_ref())?;
        let limit = page_size("max-uploads", input.max_uploads)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let marker_key = input.key_marker.as_deref().filter(|key| !key.is_empty());
        // Without a key marker S3 ignores an upload ID marker.
        let marker_id = input
            .upload_id_marker
            .as_deref()
            .filter(|_| marker_key.is_some())
            .and_then(parse_upload_id);
        let start = marker_key.map(|key| (key.into(), marker_id.unwrap_or(u64::MAX)));
        let (mut uploads, mut groups, mut next): (Vec<MultipartUpload>, Vec<String>, _) =
            (Vec::new(), Vec::new(), None);
        let mut last = None;
        {
            let state = call.bucket.lock();
            let bound: Bound<&(Box<str>, u64)> =
                start.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            for ((key, number), upload) in state
                .uploads
                .range::<(Box<str>, u64), _>((bound, Bound::Unbounded))
            {
                if !key.starts_with(&prefix) {
                    continue;
                }
                let group = common_prefix(key, &prefix, input.delimiter.as_deref());
                if group.is_some_and(|group| {
                    groups.last().is_some_and(|last| last == group) || marker_key == Some(group)
                }) {
                    continue;
                }
                if uploads.len() + groups.len() == limit {
                    next = last;
                    break;
                }
                last = Some(if let Some(group) = group {
                    groups.push(group.to_owned());
                    (group.to_owned(), None)
                } else {
                    uploads.push(shown_upload(names, key, *number, upload));
                    (key.to_string(), Some(upload_id(*number)))
                });
            }
        }
        let (next_key, next_id) = next.map_or((None, None), |(key, id)| (Some(key), id));
        let output = ListMultipartUploadsOutput {
            bucket: Some(input.bucket.clone()),
            prefix: Some(names.write(&prefix)),
            key_marker: Some(names.write(input.key_marker.as_deref().unwrap_or_default())),
            upload_id_marker: Some(input.upload_id_marker.clone().unwrap_or_default()),
            max_uploads: i32::try_from(limit).ok(),
            is_truncated: Some(next_key.is_some()),
            next_key_marker: next_key.map(|key| names.write(&key)),
            next_upload_id_marker: next_id,
            uploads: Some(uploads),
            common_prefixes: prefixes(names, &groups),
            delimiter: input
                .delimiter
                .as_deref()
                .map(|delimiter| names.write(delimiter)),
            encoding_type: input.encoding_type.clone(),
            ..ListMultipartUploadsOutput::default()
        };
        Ok(charged(&call, output))
    }

    pub(super) fn list_parts_page(
        &self,
        request: &S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let call = self.call(&request.extensions)?;
        let input = &request.input;
        let place = call.upload(&input.upload_id)?;
        let limit = page_size("max-parts", input.max_parts)?;
        let marker = input
            .part_number_marker
            .and_then(|marker| u32::try_from(marker).ok())
            .unwrap_or(0);
        let upload = call.with_upload(&place, |upload| upload.clone())?;
        check_upload_key(&request.headers, &upload, UploadKey::ForChecksums)?;
        let page: Vec<_> = upload
            .parts
            .range((Bound::Excluded(marker), Bound::Unbounded))
            .take(limit)
            .collect();
        let last = page.last().map_or(marker, |(number, _)| **number);
        let parts = page
            .into_iter()
            .map(|(number, part)| {
                let md5 = encrypted_md5(&upload.settings.encryption, part.content.md5());
                let mut shown = s3s::dto::Part {
                    part_number: i32::try_from(*number).ok(),
                    e_tag: Some(ETag::Strong(hex(&md5))),
                    size: shown_size(part.content.size()),
                    last_modified: Some(part.modified.into()),
                    ..s3s::dto::Part::default()
                };
                if let Some((algorithm, _)) = upload.checksum {
                    checksum_fields!(shown, algorithm, base64(&part.content.checksum(algorithm)));
                }
                shown
            })
            .collect();
        let truncated = upload
            .parts
            .last_key_value()
            .is_some_and(|(number, _)| *number > last);
        let output = ListPartsOutput {
            bucket: Some(input.bucket.clone()),
            key: Some(input.key.clone()),
            upload_id: Some(input.upload_id.clone()),
            part_number_marker: i32::try_from(marker).ok(),
            next_part_number_marker: i32::try_from(last).ok(),
            max_parts: i32::try_from(limit).ok(),
            is_truncated: Some(truncated),
            parts: Some(parts),
            initiator: Some(initiator(&upload.initiator)),
            owner: Some(owner(&upload.owner)),
            storage_class: Some(upload.settings.storage_class.as_str().to_owned().into()),
            checksum_algorithm: upload
                .checksum
                .map(|(algorithm, _)| algorithm.as_str().to_owned().into()),
            checksum_type: upload
                .checksum
                .map(|(_, kind)| kind.as_str().to_owned().into()),
            ..ListPartsOutput::default()
        };
        Ok(charged(&call, output))
    }
}

/// S3 shows who began an upload by ARN, and by its last part.
fn initiator(arn: &str) -> Initiator {
    Initiator {
        id: Some(arn.to_owned()),
        display_name: arn.rsplit(['/', ':']).next().map(str::to_owned),
    }
}

fn shown_upload(
    names: Names,
    key: &str,
    number: u64,
    upload: &crate::store::upload::Upload,
) -> MultipartUpload {
    MultipartUpload {
        key: Some(names.write(key)),
        upload_id: Some(upload_id(number)),
        initiated: Some(upload.initiated.into()),
        initiator: Some(initiator(&upload.initiator)),
        owner: Some(owner(&upload.owner)),
        storage_class: Some(upload.settings.storage_class.as_str().to_owned().into()),
        checksum_algorithm: upload
            .checksum
            .map(|(algorithm, _)| algorithm.as_str().to_owned().into()),
        checksum_type: upload
            .checksum
            .map(|(_, kind)| kind.as_str().to_owned().into()),
    }
}
