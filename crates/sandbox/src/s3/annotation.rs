//! Annotations: named payloads of up to 1 MiB beside an object.

use std::fmt::Write as _;
use std::sync::Arc;

use s3s::dto::StreamingBlob;
use s3s::{Body, S3Error, S3Request, S3Response};
use time::format_description::well_known::Rfc3339;

use super::Service;
use super::answer::{Answer, http_date};
use super::body::{check_digests, collect};
use crate::access::header;
use crate::conditions::e_tag_matches;
use crate::error::{error, invalid_argument, invalid_request, precondition_failed, with_detail};
use crate::store::bucket::FoundObject;
use crate::store::checksum::{ChecksumAlgorithm, ChecksumType, base64, hex};
use crate::store::content::Content;
use crate::store::object::{Annotation, Encryption, Timestamp};
use crate::wire::xml_text;

/// The limits on annotations, from S3's API model.
const MAX_BYTES: usize = 1024 * 1024;
const MAX_COUNT: usize = 1000;
const MAX_NAME_BYTES: usize = 512;

impl Service {
    pub(crate) fn annotation(
        &self,
        request: &S3Request<Body>,
    ) -> Result<S3Response<Body>, S3Error> {
        let call = self.call(&request.extensions)?;
        let found = call.object(call.exchange.parameter("versionId"))?;
        let name = call
            .exchange
            .parameter("annotationName")
            .unwrap_or_default();
        let annotation = found.object.annotations.get(name).ok_or_else(|| {
            with_detail(
                error(
                    404,
                    "NoSuchAnnotation",
                    "The specified annotation does not exist.",
                ),
                "AnnotationName",
                name,
            )
        })?;
        let mut answer = Answer::new();
        answer.set("etag", &e_tag(annotation));
        answer.set("last-modified", &http_date(annotation.modified.date()));
        if header(&request.headers, "x-amz-checksum-mode").is_some() {
            let algorithm = ChecksumAlgorithm::Crc64Nvme;
            answer.set(
                algorithm.header(),
                &base64(&algorithm.of(&annotation.payload)),
            );
            answer.set("x-amz-checksum-type", ChecksumType::FullObject.as_str());
        }
        answer.set("x-amz-object-version-id", &found.id.to_string());
        answer.charged(&call.exchange);
        Ok(S3Response::with_headers(
            Body::from(annotation.payload.clone()),
            answer.0,
        ))
    }

    pub(crate) fn list_annotations(
        &self,
        request: &S3Request<Body>,
    ) -> Result<S3Response<Body>, S3Error> {
        let call = self.call(&request.extensions)?;
        let found = call.object(call.exchange.parameter("versionId"))?;
        let prefix = call
            .exchange
            .parameter("annotation-prefix")
            .unwrap_or_default();
        let after = call.exchange.parameter("continuation-token");
        let limit = match call.exchange.parameter("max-annotation-results") {
            None => MAX_COUNT,
            Some(text) => text.parse().map_err(|_| {
                invalid_argument(
                    "max-annotation-results",
                    text,
                    "Provided max-annotation-results is not an integer",
                )
            })?,
        };
        let mut rest = found.object.annotations.iter().filter(|(name, _)| {
            name.starts_with(prefix) && after.is_none_or(|after| name.as_str() > after)
        });
        let page: Vec<_> = rest.by_ref().take(limit).collect();
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListObjectAnnotationsOutput><Bucket>{}</Bucket>\
             <Key>{}</Key><AnnotationPrefix>{}</AnnotationPrefix><MaxAnnotationResults>{limit}</MaxAnnotationResults>\
             <AnnotationCount>{}</AnnotationCount>",
            xml_text(&call.bucket.name),
            xml_text(&call.exchange.key),
            xml_text(prefix),
            page.len()
        );
        if let (Some((last, _)), Some(_)) = (page.last(), rest.next()) {
            let _ = write!(
                text,
                "<NextContinuationToken>{}</NextContinuationToken>",
                xml_text(last)
            );
        }
        text.push_str("<Annotations>");
        for (name, annotation) in page {
            let _ = write!(
                text,
                "<AnnotationEntry><AnnotationName>{}</AnnotationName><LastModified>{}</LastModified>\
                 <ETag>{}</ETag><Size>{}</Size></AnnotationEntry>",
                xml_text(name),
                annotation
                    .modified
                    .date()
                    .format(&Rfc3339)
                    .unwrap_or_default(),
                xml_text(&e_tag(annotation)),
                annotation.payload.len()
            );
        }
        text.push_str("</Annotations></ListObjectAnnotationsOutput>");
        let mut answer = Answer::new();
        answer.set("content-type", "application/xml");
        answer.set("x-amz-object-version-id", &found.id.to_string());
        answer.charged(&call.exchange);
        Ok(S3Response::with_headers(Body::from(text), answer.0))
    }

    pub(crate) async fn put_annotation(
        &self,
        mut request: S3Request<Body>,
    ) -> Result<S3Response<Body>, S3Error> {
        let call = self.call(&request.extensions)?;
        let name = call
            .exchange
            .parameter("annotationName")
            .unwrap_or_default()
            .to_owned();
        if name.is_empty() {
            return Err(error(
                400,
                "InvalidAnnotationName",
                "The annotation name is empty.",
            ));
        }
        if name.len() > MAX_NAME_BYTES {
            return Err(error(
                400,
                "AnnotationNameTooLong",
                "The annotation name is too long.",
            ));
        }
        let found = call.object(call.exchange.parameter("versionId"))?;
        check_object(&request, &found)?;
        check_annotatable(&found.object.settings.encryption)?;
        let payload = collect(Some(StreamingBlob::from(std::mem::take(
            &mut request.input,
        ))))
        .await?;
        if payload.len() > MAX_BYTES {
            return Err(error(
                400,
                "EntityTooLarge",
                "Your proposed upload exceeds the maximum allowed size",
            ));
        }
        check_digests(
            &payload,
            &request.headers,
            request.trailing_headers.as_ref(),
        )?;
        let annotation = Annotation {
            payload,
            modified: Timestamp::now(),
        };
        let mut answer = Answer::new();
        answer.set("etag", &e_tag(&annotation));
        answer.set("content-type", "application/xml");
        answer.set("x-amz-object-version-id", &found.id.to_string());
        answer.charged(&call.exchange);
        if found.object.annotations.len() >= MAX_COUNT
            && !found.object.annotations.contains_key(&name)
        {
            return Err(error(
                400,
                "AnnotationLimitExceeded",
                "The object has the most annotations that it can have.",
            ));
        }
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PutObjectAnnotationOutput><Key>{}</Key>\
             <AnnotationName>{}</AnnotationName></PutObjectAnnotationOutput>",
            xml_text(&call.exchange.key),
            xml_text(&name)
        );
        call.bucket
            .lock()
            .amend(&call.exchange.key, Some(found.id), |object| {
                Arc::make_mut(&mut object.annotations).insert(name, annotation);
            });
        Ok(S3Response::with_headers(Body::from(text), answer.0))
    }
}

fn e_tag(annotation: &Annotation) -> String {
    format!(
        "\"{}\"",
        hex(&Content::stored(annotation.payload.clone()).md5())
    )
}

/// Objects under SSE-C have no annotations.
pub(super) fn check_annotatable(encryption: &Encryption) -> Result<(), S3Error> {
    if encryption.customer_key_md5.is_some() {
        return Err(invalid_request(
            "Annotations are not supported for objects that are encrypted with customer provided keys.",
        ));
    }
    Ok(())
}

/// `x-amz-object-if-match`: the object must still be the one that is meant.
fn check_object(request: &S3Request<Body>, found: &FoundObject) -> Result<(), S3Error> {
    match header(&request.headers, "x-amz-object-if-match") {
        Some(wanted) if !e_tag_matches(wanted, &found.object.e_tag()) => {
            Err(precondition_failed("x-amz-object-if-match"))
        }
        _ => Ok(()),
    }
}
