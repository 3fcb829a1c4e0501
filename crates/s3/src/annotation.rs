//! Requests about annotations: named payloads beside an object, which neither its ETag nor its headers tell of.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectAnnotations.html>

use aws_sdk_s3::operation::RequestId;
use aws_sdk_s3::primitives::ByteStream;

use crate::client::S3Client;
use crate::error::{ErrorKind, Result, S3Error};
use crate::headers::{AddHeaders, HeaderPair, OnlyXml};
use crate::listing::WholeBody;
use crate::object::{empty_answer, no_result};
use crate::operation::Operation;
use crate::quotas::MAX_ANNOTATION_BYTES;

/// A page of the annotations of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnotationPage {
    /// Their names.
    pub names: Vec<String>,
    /// What to ask for the next page with, if there is more.
    pub next_token: Option<String>,
}

impl S3Client {
    /// Lists up to 1,000 annotations of an object, from its first one or from where `token` says.
    ///
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectAnnotations.html>
    ///
    /// # Errors
    ///
    /// S3's; `EmptyAnswer` if the page is not whole; `UnreadableAnswer` if the store does not know annotations
    /// and answers with something else, such as the object itself, whose body is then not read.
    pub async fn list_object_annotations(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        token: Option<&str>,
        headers: &[HeaderPair],
    ) -> Result<AnnotationPage> {
        let operation = Operation::ListObjectAnnotations;
        let headers = AddHeaders::new(operation, headers).map_err(|error| *error)?;
        let whole = WholeBody::default();
        let page = self
            .sdk
            .list_object_annotations()
            .bucket(bucket)
            .key(key)
            .set_version_id(version_id.map(str::to_owned))
            .set_continuation_token(token.map(str::to_owned))
            .customize()
            .interceptor(headers)
            .interceptor(OnlyXml)
            .interceptor(whole.clone())
            .send()
            .await
            .map_err(|error| {
                let mut told = S3Error::from_sdk(operation, error);
                if told.kind == ErrorKind::EmptyAnswer {
                    // The SDK looks at the root element: this is XML of somebody else's, as an object may be.
                    told.kind = ErrorKind::Unreadable;
                }
                told
            })?;
        let request_id = page.request_id();
        if !whole.get() {
            return Err(empty_answer(operation, "end", request_id));
        }
        let next = page.next_continuation_token();
        if next.is_some() && next == token {
            return Err(empty_answer(operation, "place to go on from", request_id));
        }
        Ok(AnnotationPage {
            names: page
                .annotations()
                .iter()
                .map(|annotation| annotation.annotation_name().to_owned())
                .collect(),
            next_token: next.map(str::to_owned),
        })
    }

    /// Reads an annotation's payload into memory.
    ///
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAnnotation.html>
    ///
    /// # Errors
    ///
    /// S3's; `UnreadableAnswer` for more than 1 MiB, which is no annotation and is not read; `AnswerLost` if the
    /// connection ended before its end.
    pub async fn get_object_annotation(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        name: &str,
        headers: &[HeaderPair],
    ) -> Result<Vec<u8>> {
        let operation = Operation::GetObjectAnnotation;
        let headers = AddHeaders::new(operation, headers).map_err(|error| *error)?;
        let output = self
            .sdk
            .get_object_annotation()
            .bucket(bucket)
            .key(key)
            .set_version_id(version_id.map(str::to_owned))
            .annotation_name(name)
            .customize()
            .interceptor(headers)
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        let request_id = output.request_id().map(str::to_owned);
        let told = |kind, message: &str| {
            no_result(operation, kind, message.to_owned(), request_id.as_deref())
        };
        let too_long = || told(ErrorKind::Unreadable, "the answer is over 1 MiB");
        let length = output.content_length();
        let length = length.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        if length.is_some_and(|length| length > MAX_ANNOTATION_BYTES) {
            return Err(too_long());
        }
        let mut body = output.annotation_payload;
        let mut payload = Vec::with_capacity(length.unwrap_or(0));
        while let Some(piece) = body.try_next().await.map_err(|cause| {
            let mut error = told(ErrorKind::AnswerLost, "the answer was cut off");
            error.source = Some(Box::new(cause));
            error
        })? {
            if payload.len() + piece.len() > MAX_ANNOTATION_BYTES {
                return Err(too_long());
            }
            payload.extend_from_slice(&piece);
        }
        Ok(payload)
    }

    /// Makes an annotation, or replaces the one of that name.
    ///
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectAnnotation.html>
    ///
    /// # Errors
    ///
    /// S3's.
    pub async fn put_object_annotation(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        name: &str,
        payload: &[u8],
        headers: &[HeaderPair],
    ) -> Result<()> {
        let operation = Operation::PutObjectAnnotation;
        let headers = AddHeaders::new(operation, headers).map_err(|error| *error)?;
        self.sdk
            .put_object_annotation()
            .bucket(bucket)
            .key(key)
            .set_version_id(version_id.map(str::to_owned))
            .annotation_name(name)
            // Its digest is signed, as it is in memory.
            .annotation_payload(ByteStream::from(payload.to_vec()))
            .customize()
            .interceptor(headers)
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        Ok(())
    }
}
