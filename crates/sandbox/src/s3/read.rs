//! `GetObject`, `HeadObject`, `GetObjectAttributes`.

use std::ops::Range;
use std::sync::Arc;

use s3s::dto::{
    Checksum, GetObjectAttributesInput, GetObjectAttributesOutput, GetObjectAttributesParts,
    GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, ObjectPart, StreamingBlob,
};
use s3s::{Body, S3Error, S3Request, S3Response, S3Result};

use super::answer::{Answer, http_date};
use super::body::ContentBody;
use super::customer_key::{KeyFor, check_customer_key};
use super::{Call, Service, checksum_fields, e_tag_value};
use crate::access::header;
use crate::authorize::Shown;
use crate::conditions::ReadConditions;
use crate::error::{self, error, invalid_argument, with_detail, with_header};
use crate::store::bucket::{Bucket, Found, FoundObject};
use crate::store::checksum::base64;
use crate::store::object::{Object, PartLayout, Timestamp, VersionId};

/// Which bytes a read is for.
struct Extent {
    range: Range<u64>,
    /// Whether it is less than was stored, or asked for as such: 206.
    partial: bool,
    /// The number of parts, when one was asked for of a multipart object.
    parts_count: Option<usize>,
}

impl Service {
    pub(super) fn get(
        &self,
        request: &S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let call = self.call(&request.extensions)?;
        let input = &request.input;
        let found = readable(&call.bucket, &input.key, input.version_id.as_deref())?;
        let object = Arc::clone(&found.object);
        check_customer_key(
            &request.headers,
            KeyFor::Object,
            &object.settings.encryption,
        )?;
        if object.is_archived(Timestamp::now()) {
            return Err(invalid_object_state(
                &object,
                "The operation is not valid for the object's storage class",
            ));
        }
        check_conditions(&request.headers, &found)?;
        let extent = extent(&object, input.range, input.part_number)?;
        let mut answer = Answer::new();
        answer.object(&found, &call.bucket.settings(), shown(&request.extensions));
        answer.charged(&call.exchange);
        if let Some(parts) = extent.parts_count {
            answer.set("x-amz-mp-parts-count", &parts.to_string());
        }
        // A reader checks the bytes against it, and a digest of extents would fail.
        let wants_checksum = header(&request.headers, "x-amz-checksum-mode").is_some();
        if wants_checksum && !extent.partial && object.content.has_true_digests() {
            answer.checksum(&object);
        }
        let length = extent.range.end - extent.range.start;
        let output = GetObjectOutput {
            content_length: i64::try_from(length).ok(),
            content_range: extent
                .partial
                .then(|| content_range(&extent.range, object.size())),
            metadata: super::metadata_value(&object.metadata),
            body: Some(StreamingBlob::from(Body::http_body(ContentBody::new(
                Arc::clone(&object.content),
                extent.range,
            )))),
            ..GetObjectOutput::default()
        };
        Ok(S3Response::with_headers(output, answer.0))
    }

    pub(super) fn head(
        &self,
        request: &S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let call = self.call(&request.extensions)?;
        let input = &request.input;
        let found = readable(&call.bucket, &input.key, input.version_id.as_deref())?;
        let object = Arc::clone(&found.object);
        check_customer_key(
            &request.headers,
            KeyFor::Object,
            &object.settings.encryption,
        )?;
        check_conditions(&request.headers, &found)?;
        let extent = extent(&object, input.range, input.part_number)?;
        let mut answer = Answer::new();
        answer.object(&found, &call.bucket.settings(), shown(&request.extensions));
        answer.charged(&call.exchange);
        if let Some(parts) = extent.parts_count {
            answer.set("x-amz-mp-parts-count", &parts.to_string());
        }
        if header(&request.headers, "x-amz-checksum-mode").is_some() {
            match (part(&object, input.part_number), extent.partial) {
                (Some(part), _) => answer.part_checksum(&object, part),
                (None, true) => {}
                (None, false) => answer.checksum(&object),
            }
        }
        if extent.partial {
            answer.set(
                "content-range",
                &content_range(&extent.range, object.size()),
            );
            answer.set(error::STATUS, "206");
        }
        let output = HeadObjectOutput {
            content_length: i64::try_from(extent.range.end - extent.range.start).ok(),
            metadata: super::metadata_value(&object.metadata),
            ..HeadObjectOutput::default()
        };
        Ok(S3Response::with_headers(output, answer.0))
    }

    pub(super) fn attributes(
        &self,
        request: &S3Request<GetObjectAttributesInput>,
    ) -> S3Result<S3Response<GetObjectAttributesOutput>> {
        let call = self.call(&request.extensions)?;
        let input = &request.input;
        let found = readable(&call.bucket, &input.key, input.version_id.as_deref())?;
        let object = &*found.object;
        check_customer_key(
            &request.headers,
            KeyFor::Object,
            &object.settings.encryption,
        )?;
        // One header with commas, or several.
        let wanted: Vec<&str> = input
            .object_attributes
            .iter()
            .flat_map(|attributes| attributes.as_str().split(','))
            .map(str::trim)
            .collect();
        let known = [
            "ETag",
            "Checksum",
            "ObjectParts",
            "StorageClass",
            "ObjectSize",
        ];
        if let Some(unknown) = wanted.iter().find(|name| !known.contains(name)) {
            return Err(invalid_argument(
                "x-amz-object-attributes",
                unknown,
                "Invalid attribute name specified.",
            ));
        }
        let wants = |name: &str| wanted.contains(&name);
        let mut answer = Answer::new();
        answer.version(&call.bucket.settings(), found.id);
        answer.charged(&call.exchange);
        answer.set("last-modified", &http_date(found.modified.date()));
        let value = (wants("Checksum") && !object.checksum.is_missing).then(|| {
            let mut checksum = Checksum {
                checksum_type: Some(object.checksum_type().as_str().to_owned().into()),
                ..Checksum::default()
            };
            checksum_fields!(checksum, object.checksum.algorithm, object.checksum_value());
            checksum
        });
        let parts = object
            .parts()
            .filter(|_| wants("ObjectParts"))
            .map(|parts| {
                let marker = input
                    .part_number_marker
                    .and_then(|marker| u32::try_from(marker).ok())
                    .unwrap_or(0);
                attributes_parts(object, parts, marker, input.max_parts)
            });
        let output = GetObjectAttributesOutput {
            checksum: value,
            // Here S3 shows it without quotes, which s3s always writes; the wire layer takes them off.
            e_tag: wants("ETag").then(|| e_tag_value(object)),
            object_parts: parts,
            object_size: wants("ObjectSize")
                .then(|| i64::try_from(object.size()).unwrap_or(i64::MAX)),
            storage_class: wants("StorageClass")
                .then(|| object.settings.storage_class.as_str().to_owned().into()),
            ..GetObjectAttributesOutput::default()
        };
        Ok(S3Response::with_headers(output, answer.0))
    }
}

fn attributes_parts(
    object: &Object,
    parts: &[PartLayout],
    marker: u32,
    max: Option<i32>,
) -> GetObjectAttributesParts {
    let total_parts_count = i32::try_from(parts.len()).ok();
    // S3 lists parts only of objects with composite checksums, or of full-object ones with part checksums.
    if parts.iter().all(|part| part.checksum.is_none()) {
        return GetObjectAttributesParts {
            total_parts_count,
            ..GetObjectAttributesParts::default()
        };
    }
    let limit = max
        .and_then(|max| usize::try_from(max).ok())
        .unwrap_or(1000)
        .min(1000);
    let page: Vec<&PartLayout> = parts
        .iter()
        .filter(|part| part.number > marker)
        .take(limit)
        .collect();
    let last = page.last().map_or(marker, |part| part.number);
    GetObjectAttributesParts {
        is_truncated: Some(parts.last().is_some_and(|part| part.number > last)),
        max_parts: i32::try_from(limit).ok(),
        next_part_number_marker: i32::try_from(last).ok(),
        part_number_marker: i32::try_from(marker).ok(),
        parts: Some(
            page.into_iter()
                .map(|part| {
                    let mut shown = ObjectPart {
                        part_number: i32::try_from(part.number).ok(),
                        size: i64::try_from(part.size).ok(),
                        ..ObjectPart::default()
                    };
                    if let Some(checksum) = &part.checksum {
                        checksum_fields!(shown, object.checksum.algorithm, base64(checksum));
                    }
                    shown
                })
                .collect(),
        ),
        total_parts_count,
    }
}

fn shown(extensions: &hyper::http::Extensions) -> Shown {
    extensions.get::<Shown>().copied().unwrap_or_default()
}

fn check_conditions(headers: &hyper::HeaderMap, found: &FoundObject) -> Result<(), S3Error> {
    let e_tag = found.object.e_tag();
    match ReadConditions::from_headers(headers, "").failed(&e_tag, found.modified.date()) {
        None => Ok(()),
        Some(failed) => Err(with_header(
            failed.of_read(),
            "etag",
            &format!("\"{e_tag}\""),
        )),
    }
}

fn extent(
    object: &Object,
    range: Option<s3s::dto::Range>,
    part_number: Option<i32>,
) -> Result<Extent, S3Error> {
    let size = object.size();
    match (range, part_number) {
        (Some(_), Some(_)) => Err(error::invalid_request(
            "Cannot specify both Range header and partNumber query parameter",
        )),
        (None, None) => Ok(Extent {
            range: 0..size,
            partial: false,
            parts_count: None,
        }),
        (Some(range), None) => {
            let range = range.check(size).map_err(|_| {
                let refused = error(
                    416,
                    "InvalidRange",
                    "The requested range is not satisfiable",
                );
                let refused = with_detail(refused, "ActualObjectSize", &size.to_string());
                with_header(refused, "content-range", &format!("bytes */{size}"))
            })?;
            Ok(Extent {
                range,
                partial: true,
                parts_count: None,
            })
        }
        (None, Some(number)) => part_extent(object, number),
    }
}

fn part_extent(object: &Object, number: i32) -> Result<Extent, S3Error> {
    if !(1..=10_000).contains(&number) {
        let message = "Part number must be an integer between 1 and 10000, inclusive";
        return Err(invalid_argument("partNumber", &number.to_string(), message));
    }
    let Some(parts) = object.parts() else {
        return if number == 1 {
            Ok(Extent {
                range: 0..object.size(),
                partial: object.size() > 0,
                parts_count: None,
            })
        } else {
            Err(no_such_part(number, 1))
        };
    };
    // Parts are counted as they stand in the object, whatever numbers they were uploaded with.
    let at = usize::try_from(number - 1).unwrap_or(usize::MAX);
    let Some(part) = parts.get(at) else {
        return Err(no_such_part(number, parts.len()));
    };
    let start = parts[..at].iter().map(|part| part.size).sum();
    Ok(Extent {
        range: start..start + part.size,
        partial: true,
        parts_count: Some(parts.len()),
    })
}

/// The part of a multipart object that a request is for.
fn part(object: &Object, number: Option<i32>) -> Option<&PartLayout> {
    let at = usize::try_from(number? - 1).ok()?;
    object.parts()?.get(at)
}

fn no_such_part(number: i32, count: usize) -> S3Error {
    let refused = error(
        416,
        "InvalidPartNumber",
        "The requested partnumber is not satisfiable",
    );
    let refused = with_detail(refused, "PartNumberRequested", &number.to_string());
    with_detail(refused, "ActualPartCount", &count.to_string())
}

fn content_range(range: &Range<u64>, size: u64) -> String {
    format!(
        "bytes {}-{}/{size}",
        range.start,
        range.end.saturating_sub(1)
    )
}

pub(super) fn parse_version_id(version_id: Option<&str>) -> Result<Option<VersionId>, S3Error> {
    version_id
        .map(|text| {
            VersionId::parse(text)
                .ok_or_else(|| invalid_argument("versionId", text, "Invalid version id specified"))
        })
        .transpose()
}

/// Finds what a read is for.
pub(super) fn readable(
    bucket: &Bucket,
    key: &str,
    version_id: Option<&str>,
) -> Result<FoundObject, S3Error> {
    match bucket.find(key, parse_version_id(version_id)?) {
        Found::Object(found) => Ok(found),
        Found::NoSuchKey => Err(error::no_such_key(key)),
        Found::NoSuchVersion => Err(error::no_such_version(key, version_id.unwrap_or_default())),
        Found::DeleteMarker(version) => {
            let refused = if version_id.is_none() {
                error::no_such_key(key)
            } else {
                let refused = error(
                    405,
                    "MethodNotAllowed",
                    "The specified method is not allowed against this resource.",
                );
                let refused = with_detail(
                    with_detail(refused, "Method", "GET"),
                    "ResourceType",
                    "DeleteMarker",
                );
                let refused = with_header(refused, "allow", "DELETE");
                with_header(
                    refused,
                    "last-modified",
                    &http_date(version.modified.date()),
                )
            };
            let refused = with_header(refused, "x-amz-delete-marker", "true");
            Err(with_header(
                refused,
                "x-amz-version-id",
                &version.id.to_string(),
            ))
        }
    }
}

pub(super) fn invalid_object_state(object: &Object, message: &str) -> S3Error {
    let refused = with_detail(
        error(403, "InvalidObjectState", message),
        "StorageClass",
        object.settings.storage_class.as_str(),
    );
    match object.archive_tier {
        Some(tier) => with_detail(refused, "AccessTier", tier.as_str()),
        None => refused,
    }
}

impl Call {
    /// The object that a request about tags, ACL or restore names.
    pub(super) fn object(&self, version_id: Option<&str>) -> Result<FoundObject, S3Error> {
        readable(&self.bucket, &self.exchange.key, version_id)
    }
}
