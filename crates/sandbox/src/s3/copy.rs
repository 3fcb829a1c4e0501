//! `CopyObject`, and what it shares with `UploadPartCopy`.

use std::sync::Arc;

use hyper::HeaderMap;
use s3s::dto::{CopyObjectInput, CopyObjectOutput, CopyObjectResult};
use s3s::{S3Error, S3Request, S3Response, S3Result};

use super::annotation::check_annotatable;
use super::answer::Answer;
use super::customer_key::{KeyFor, check_customer_key};
use super::read::{invalid_object_state, parse_version_id};
use super::settings::NewObject;
use super::write::MAX_ONE_REQUEST_BYTES;
use super::{Call, Service, checksum_fields, e_tag_value, user_metadata};
use crate::access::header;
use crate::conditions::{ReadConditions, WriteConditions};
use crate::copy_source::CopySource;
use crate::error::{self, invalid_argument, invalid_request, no_such_bucket};
use crate::store::bucket::{Bucket, Found, FoundObject, Versioning};
use crate::store::object::{Layout, Object, ObjectChecksum, Restore, Timestamp};

/// A copy's source, found, with its conditions true.
pub(super) struct Source {
    pub(super) bucket: Arc<Bucket>,
    pub(super) named: CopySource,
    pub(super) found: FoundObject,
}

/// A directive: `COPY` or `REPLACE`.
fn replaces(headers: &HeaderMap, name: &'static str) -> Result<bool, S3Error> {
    match header(headers, name) {
        None => Ok(false),
        Some(value) if value.eq_ignore_ascii_case("COPY") => Ok(false),
        Some(value) if value.eq_ignore_ascii_case("REPLACE") => Ok(true),
        Some(value) => {
            let message = match name {
                "x-amz-metadata-directive" => "Unknown metadata directive.",
                _ => "Unknown tagging directive.",
            };
            Err(invalid_argument(name, value, message))
        }
    }
}

fn excludes_annotations(headers: &HeaderMap) -> Result<bool, S3Error> {
    let name = "x-amz-object-annotation-directive";
    match header(headers, name) {
        None | Some("COPY") => Ok(false),
        Some("EXCLUDE") => Ok(true),
        Some(value) => Err(invalid_argument(
            name,
            value,
            "Unknown annotation directive.",
        )),
    }
}

impl Service {
    /// Finds the source of a copy and checks the conditions on it.
    pub(super) fn source(&self, headers: &HeaderMap) -> Result<Source, S3Error> {
        let named = CopySource::parse(header(headers, "x-amz-copy-source").unwrap_or_default())?;
        let bucket = self
            .store
            .bucket(&named.bucket)
            .ok_or_else(|| no_such_bucket(&named.bucket))?;
        let found = match bucket.find(&named.key, parse_version_id(named.version_id.as_deref())?) {
            Found::Object(found) => found,
            Found::NoSuchVersion => {
                return Err(error::no_such_version(
                    &named.key,
                    named.version_id.as_deref().unwrap_or_default(),
                ));
            }
            Found::DeleteMarker(_) if named.version_id.is_some() => {
                return Err(invalid_request(
                    "The source of a copy request may not specifically refer to a delete marker by version id.",
                ));
            }
            Found::DeleteMarker(_) | Found::NoSuchKey => {
                return Err(error::no_such_key(&named.key));
            }
        };
        check_customer_key(headers, KeyFor::Source, &found.object.settings.encryption)?;
        if found.object.is_archived(Timestamp::now()) {
            let message = "Operation is not valid for the source object's storage class";
            return Err(invalid_object_state(&found.object, message));
        }
        let conditions = ReadConditions::from_headers(headers, "x-amz-copy-source-");
        match conditions.failed(&found.object.e_tag(), found.modified.date()) {
            Some(failed) => Err(failed.of_source()),
            None => Ok(Source {
                bucket,
                named,
                found,
            }),
        }
    }

    pub(super) fn copy(
        &self,
        request: &S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let call = self.call(&request.extensions)?;
        let headers = &request.headers;
        let replaces_metadata = replaces(headers, "x-amz-metadata-directive")?;
        let replaces_tags = replaces(headers, "x-amz-tagging-directive")?;
        let excludes_annotations = excludes_annotations(headers)?;
        let conditions = WriteConditions::from_headers(headers)?;
        conditions.check_enforced(&call.bucket.settings(), true)?;
        let new = NewObject::from_headers(
            headers,
            user_metadata(request.input.metadata.as_ref()),
            &call.bucket,
            call.identity.account(),
        )?;
        let source = self.source(headers)?;
        let from = &source.found.object;
        if from.size() > MAX_ONE_REQUEST_BYTES {
            return Err(invalid_request(format!(
                "The specified copy source is larger than the maximum allowable size for a copy source: \
                 {MAX_ONE_REQUEST_BYTES}"
            )));
        }
        check_self_copy(&call, &source, headers, replaces_metadata)?;
        if !excludes_annotations && !from.annotations.is_empty() {
            check_annotatable(&new.settings.encryption)?;
        }
        let object = Arc::new(Object {
            content: Arc::clone(&from.content),
            metadata: if replaces_metadata {
                new.metadata
            } else {
                Arc::clone(&from.metadata)
            },
            // Without REPLACE S3 ignores x-amz-tagging and metadata headers.
            tags: if replaces_tags {
                new.tags.unwrap_or_default()
            } else {
                Arc::clone(&from.tags)
            },
            annotations: if excludes_annotations {
                Arc::default()
            } else {
                Arc::clone(&from.annotations)
            },
            settings: new.settings,
            layout: Layout::Whole,
            // A composite checksum becomes a full-object one of the same algorithm.
            checksum: ObjectChecksum {
                algorithm: new.algorithm.unwrap_or(from.checksum.algorithm),
                composite: None,
                is_missing: false,
            },
            owner: new.owner,
            archive_tier: None,
            restore: Restore::None,
        });
        let id = self.write(&call, &request.input.key, &conditions, Arc::clone(&object))?;
        let mut answer = Answer::new();
        answer.version(&call.bucket.settings(), id);
        answer.encryption(&object.settings.encryption);
        answer.charged(&call.exchange);
        source.answer(&mut answer);
        let mut result = CopyObjectResult {
            e_tag: Some(e_tag_value(&object)),
            last_modified: Some(Timestamp::now().into()),
            checksum_type: Some(object.checksum_type().as_str().to_owned().into()),
            ..CopyObjectResult::default()
        };
        checksum_fields!(result, object.checksum.algorithm, object.checksum_value());
        let output = CopyObjectOutput {
            copy_object_result: Some(result),
            ..CopyObjectOutput::default()
        };
        Ok(S3Response::with_headers(output, answer.0))
    }
}

impl Source {
    /// Shows which version was copied, of a bucket that has versions.
    pub(super) fn answer(&self, answer: &mut Answer) {
        if self.bucket.settings().versioning != Versioning::Unversioned {
            answer.set("x-amz-copy-source-version-id", &self.found.id.to_string());
        }
    }
}

/// A copy onto itself must ask for a change, whether or not it is one.
fn check_self_copy(
    call: &Call,
    source: &Source,
    headers: &HeaderMap,
    replaces_metadata: bool,
) -> Result<(), S3Error> {
    let onto_itself = source.bucket.name == call.bucket.name
        && source.named.key == call.exchange.key
        && source.named.version_id.is_none();
    let asks = [
        "x-amz-storage-class",
        "x-amz-website-redirect-location",
        "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-customer-algorithm",
    ]
    .iter()
    .any(|name| header(headers, name).is_some());
    if onto_itself && !replaces_metadata && !asks {
        return Err(invalid_request(
            "This copy request is illegal because it is trying to copy an object to itself without changing the \
             object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }
    Ok(())
}
