//! `PutObject`, `DeleteObject`, `DeleteObjects`.

use std::sync::Arc;

use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject,
    PutObjectInput, PutObjectOutput,
};
use s3s::{S3Error, S3Request, S3Response, S3Result};
use time::OffsetDateTime;

use super::answer::Answer;
use super::body::{check_digests, collect};
use super::read::parse_version_id;
use super::settings::NewObject;
use super::{Call, Service, user_metadata};
use crate::access::header;
use crate::authorize::authorize_delete;
use crate::conditions::WriteConditions;
use crate::error::{access_denied, error, invalid_argument};
use crate::store::bucket::{Bucket, Deleted, Found};
use crate::store::checksum::ChecksumAlgorithm;
use crate::store::content::Content;
use crate::store::object::{Layout, Object, ObjectChecksum, Restore, VersionId};

/// The largest object that one request can make: 5 GiB.
pub(super) const MAX_ONE_REQUEST_BYTES: u64 = 5 * 1024 * 1024 * 1024;

impl Service {
    pub(super) async fn put(
        &self,
        mut request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let call = self.call(&request.extensions)?;
        let conditions = WriteConditions::from_headers(&request.headers)?;
        conditions.check_enforced(&call.bucket.settings(), false)?;
        let new = NewObject::from_headers(
            &request.headers,
            user_metadata(request.input.metadata.as_ref()),
            &call.bucket,
            call.identity.account(),
        )?;
        let bytes = collect(request.input.body.take()).await?;
        if bytes.len() as u64 > MAX_ONE_REQUEST_BYTES {
            return Err(error(
                400,
                "EntityTooLarge",
                "Your proposed upload exceeds the maximum allowed size",
            ));
        }
        let sent = check_digests(&bytes, &request.headers, request.trailing_headers.as_ref())?;
        let object = Object {
            content: Arc::new(Content::stored(bytes)),
            metadata: new.metadata,
            tags: new.tags.unwrap_or_default(),
            annotations: Arc::default(),
            settings: new.settings,
            layout: Layout::Whole,
            checksum: ObjectChecksum {
                algorithm: sent
                    .or(new.algorithm)
                    .unwrap_or(ChecksumAlgorithm::Crc64Nvme),
                composite: None,
                is_missing: false,
            },
            owner: new.owner,
            archive_tier: None,
            restore: Restore::None,
        };
        let object = Arc::new(object);
        let id = self.write(&call, &request.input.key, &conditions, Arc::clone(&object))?;
        let mut answer = Answer::new();
        answer.set("etag", &format!("\"{}\"", object.e_tag()));
        answer.version(&call.bucket.settings(), id);
        answer.encryption(&object.settings.encryption);
        answer.checksum(&object);
        answer.charged(&call.exchange);
        Ok(S3Response::with_headers(
            PutObjectOutput::default(),
            answer.0,
        ))
    }

    /// Writes an object if the conditions on what it replaces hold, at one instant.
    pub(super) fn write(
        &self,
        call: &Call,
        key: &str,
        conditions: &WriteConditions,
        object: Arc<Object>,
    ) -> Result<VersionId, S3Error> {
        // Digests are made once, outside the lock.
        object.content.md5();
        let mut state = call.bucket.lock();
        if !state.settings.ignores_conditional_writes {
            conditions.check(key, || state.current(key).map(|object| object.e_tag()))?;
        }
        Ok(state.put(self.store.ids(), key, Some(object)))
    }

    pub(super) fn delete(
        &self,
        request: &S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let call = self.call(&request.extensions)?;
        let input = &request.input;
        let deleted = self.delete_one(
            &call.bucket,
            &input.key,
            input.version_id.as_deref(),
            &request.headers,
        )?;
        let mut answer = Answer::new();
        if let Some(id) = deleted.version_id {
            answer.set("x-amz-version-id", &id.to_string());
        }
        if deleted.delete_marker {
            answer.set("x-amz-delete-marker", "true");
        }
        answer.charged(&call.exchange);
        Ok(S3Response::with_headers(
            DeleteObjectOutput::default(),
            answer.0,
        ))
    }

    pub(super) fn delete_many(
        &self,
        request: &S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let call = self.call(&request.extensions)?;
        let delete = &request.input.delete;
        if delete.objects.is_empty() || delete.objects.len() > 1000 {
            let message = "The XML you provided was not well-formed or did not validate against our published schema";
            return Err(error(400, "MalformedXML", message));
        }
        let quiet = delete.quiet.unwrap_or(false);
        let (mut gone, mut errors) = (Vec::new(), Vec::new());
        for object in &delete.objects {
            if object.e_tag.is_some()
                || object.size.is_some()
                || object.last_modified_time.is_some()
            {
                return Err(crate::error::not_implemented(
                    "Element",
                    "ETag, Size or LastModifiedTime of DeleteObjects",
                ));
            }
            let version_id = object.version_id.as_deref();
            let result = authorize_delete(
                &call.exchange,
                &request.headers,
                &call.bucket,
                &object.key,
                version_id,
            )
            .and_then(|()| {
                self.delete_one(&call.bucket, &object.key, version_id, &request.headers)
            });
            match result {
                Ok(_) if quiet => {}
                Ok(deleted) => gone.push(deleted_object(&object.key, version_id, deleted)),
                Err(refused) => errors.push(s3s::dto::Error {
                    code: Some(refused.code().as_str().to_owned()),
                    key: Some(object.key.clone()),
                    message: refused.message().map(str::to_owned),
                    version_id: object.version_id.clone(),
                }),
            }
        }
        let output = DeleteObjectsOutput {
            deleted: Some(gone),
            errors: Some(errors),
            ..DeleteObjectsOutput::default()
        };
        let mut answer = Answer::new();
        answer.charged(&call.exchange);
        Ok(S3Response::with_headers(output, answer.0))
    }

    fn delete_one(
        &self,
        bucket: &Bucket,
        key: &str,
        version_id: Option<&str>,
        headers: &hyper::HeaderMap,
    ) -> Result<Deleted, S3Error> {
        let id = parse_version_id(version_id)?;
        let mut state = bucket.lock();
        if id.is_some()
            && let Found::Object(found) = state.find(key, id)
        {
            check_lock(&found.object, headers)?;
        }
        Ok(state.delete(self.store.ids(), key, id))
    }
}

/// A version under a lock cannot be deleted.
fn check_lock(object: &Object, headers: &hyper::HeaderMap) -> Result<(), S3Error> {
    let lock = &object.settings.lock;
    let bypass = match header(headers, "x-amz-bypass-governance-retention") {
        None => false,
        Some(value) if value.eq_ignore_ascii_case("true") => true,
        Some(value) if value.eq_ignore_ascii_case("false") => false,
        Some(value) => {
            return Err(invalid_argument(
                "x-amz-bypass-governance-retention",
                value,
                "Invalid value",
            ));
        }
    };
    let retained = lock.retention.as_ref().is_some_and(|(mode, until)| {
        *until > OffsetDateTime::now_utc() && !(mode == "GOVERNANCE" && bypass)
    });
    if lock.legal_hold || retained {
        return Err(access_denied(
            "Access Denied because object protected by object lock.",
        ));
    }
    Ok(())
}

fn deleted_object(key: &str, version_id: Option<&str>, deleted: Deleted) -> DeletedObject {
    DeletedObject {
        key: Some(key.to_owned()),
        version_id: version_id.map(str::to_owned),
        delete_marker: deleted.delete_marker.then_some(true),
        delete_marker_version_id: deleted
            .version_id
            .filter(|_| deleted.delete_marker)
            .map(|id| id.to_string()),
    }
}
