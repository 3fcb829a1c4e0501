//! Tags, ACLs and restores of objects.

use s3s::dto::{
    self, DeleteObjectTaggingInput, DeleteObjectTaggingOutput, GetObjectAclInput,
    GetObjectAclOutput, GetObjectTaggingInput, GetObjectTaggingOutput, Grant, PutObjectAclInput,
    PutObjectAclOutput, PutObjectTaggingInput, PutObjectTaggingOutput, RestoreObjectInput,
    RestoreObjectOutput, RestoreRequest, Tag,
};
use s3s::{S3Error, S3Request, S3Response, S3Result};

use super::answer::Answer;
use super::listing::owner;
use super::read::invalid_object_state;
use super::settings::{acl, check_tags};
use super::{Call, Service};
use crate::error::{STATUS, error, invalid_argument, not_implemented};
use crate::store::acl::{Grantee, grants};
use crate::store::bucket::{FoundObject, ObjectOwnership};
use crate::store::object::{
    ArchiveTier, Object, Restore, RestoreTier, Settings, StorageClass, Tags, Timestamp,
};

impl Service {
    pub(super) fn tagging(
        &self,
        request: &S3Request<GetObjectTaggingInput>,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        let call = self.call(&request.extensions)?;
        let found = call.object(request.input.version_id.as_deref())?;
        let tag_set = found
            .object
            .tags
            .iter()
            .map(|(key, value)| Tag {
                key: Some(key.clone()),
                value: Some(value.clone()),
            })
            .collect();
        let output = GetObjectTaggingOutput {
            tag_set,
            version_id: None,
        };
        Ok(call.answer(&found, output))
    }

    pub(super) fn put_tagging(
        &self,
        request: &S3Request<PutObjectTaggingInput>,
    ) -> S3Result<S3Response<PutObjectTaggingOutput>> {
        let call = self.call(&request.extensions)?;
        let tags: Tags = request
            .input
            .tagging
            .tag_set
            .iter()
            .map(|tag| {
                (
                    tag.key.clone().unwrap_or_default(),
                    tag.value.clone().unwrap_or_default(),
                )
            })
            .collect();
        check_tags(&tags)?;
        let found = call.amend(request.input.version_id.as_deref(), |object| {
            object.tags = tags.into();
        })?;
        Ok(call.answer(&found, PutObjectTaggingOutput::default()))
    }

    pub(super) fn delete_tagging(
        &self,
        request: &S3Request<DeleteObjectTaggingInput>,
    ) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
        let call = self.call(&request.extensions)?;
        let found = call.amend(request.input.version_id.as_deref(), |object| {
            object.tags = Tags::new().into();
        })?;
        Ok(call.answer(&found, DeleteObjectTaggingOutput::default()))
    }

    pub(super) fn object_acl(
        &self,
        request: &S3Request<GetObjectAclInput>,
    ) -> S3Result<S3Response<GetObjectAclOutput>> {
        let call = self.call(&request.extensions)?;
        let found = call.object(request.input.version_id.as_deref())?;
        let object = &*found.object;
        let enforced =
            call.bucket.settings().effective_ownership() == ObjectOwnership::BucketOwnerEnforced;
        // Under BucketOwnerEnforced the bucket's owner owns even what others wrote before.
        let object_owner = if enforced {
            &*call.bucket.account
        } else {
            &*object.owner
        };
        let grants = if enforced {
            vec![("FULL_CONTROL", Grantee::account(object_owner))]
        } else {
            grants(object, &call.bucket.account)
        };
        let output = GetObjectAclOutput {
            owner: Some(owner(object_owner)),
            grants: Some(
                grants
                    .into_iter()
                    .map(|(permission, grantee)| grant(permission, grantee))
                    .collect(),
            ),
            ..GetObjectAclOutput::default()
        };
        Ok(call.answer(&found, output))
    }

    pub(super) fn change_acl(
        &self,
        request: &S3Request<PutObjectAclInput>,
    ) -> S3Result<S3Response<PutObjectAclOutput>> {
        let call = self.call(&request.extensions)?;
        if request.input.access_control_policy.is_some() {
            return Err(not_implemented("Element", "AccessControlPolicy"));
        }
        let acl = acl(&request.headers, &call.bucket.settings())?;
        let found = call.amend(request.input.version_id.as_deref(), |object| {
            object.settings = Settings {
                acl,
                ..(*object.settings).clone()
            }
            .into();
        })?;
        Ok(call.answer(&found, PutObjectAclOutput::default()))
    }

    pub(super) fn restore(
        &self,
        request: &S3Request<RestoreObjectInput>,
    ) -> S3Result<S3Response<RestoreObjectOutput>> {
        let call = self.call(&request.extensions)?;
        let restore = request.input.restore_request.clone().unwrap_or_default();
        if restore.select_parameters.is_some()
            || restore.output_location.is_some()
            || restore.type_.is_some()
        {
            return Err(not_implemented(
                "Element",
                "SelectParameters, OutputLocation or Type",
            ));
        }
        let version_id = request.input.version_id.as_deref();
        let found = call.object(version_id)?;
        let now = Timestamp::now();
        if !found.object.is_archivable() {
            return Err(invalid_object_state(
                &found.object,
                "Restore is not allowed for the object's current storage class",
            ));
        }
        let (days, tier) = asked_restore(&restore, &found.object)?;
        let mut response = match found.object.restore {
            Restore::Ongoing { .. } => {
                return Err(error(
                    409,
                    "RestoreAlreadyInProgress",
                    "Object restore is already in progress",
                ));
            }
            Restore::Done { until } if until > now => {
                let until = now.after(u64::from(days.unwrap_or_default()) * 86_400);
                call.amend(version_id, |object| {
                    object.restore = Restore::Done { until }
                })?;
                S3Response::new(RestoreObjectOutput::default())
            }
            _ => {
                call.amend(version_id, |object| {
                    object.restore = Restore::Ongoing { days, tier };
                })?;
                let mut response = S3Response::new(RestoreObjectOutput::default());
                response
                    .headers
                    .insert(STATUS, hyper::header::HeaderValue::from_static("202"));
                response
            }
        };
        let mut answer = Answer::new();
        answer.charged(&call.exchange);
        response.headers.extend(answer.0);
        Ok(response)
    }
}

/// For how many days and at which tier a request restores an object: days of storage classes that are archives,
/// none of the tiers of INTELLIGENT_TIERING.
fn asked_restore(
    request: &RestoreRequest,
    object: &Object,
) -> Result<(Option<u32>, RestoreTier), S3Error> {
    let malformed = || {
        error(
            400,
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema",
        )
    };
    let days = match (request.days, object.archive_tier) {
        (None, Some(_)) => None,
        (Some(days), Some(_)) => {
            let message =
                "Days must not be specified for objects in the INTELLIGENT_TIERING storage class";
            return Err(invalid_argument("Days", &days.to_string(), message));
        }
        (days, None) => {
            let days = days.and_then(|days| u32::try_from(days).ok());
            Some(days.filter(|days| *days > 0).ok_or_else(malformed)?)
        }
    };
    let named = request
        .glacier_job_parameters
        .as_ref()
        .map(|parameters| &parameters.tier)
        .or(request.tier.as_ref());
    let tier = match named {
        None => RestoreTier::default(),
        Some(name) => RestoreTier::parse(name.as_str()).ok_or_else(malformed)?,
    };
    let is_deep = object.settings.storage_class == StorageClass::DeepArchive
        || object.archive_tier == Some(ArchiveTier::DeepArchiveAccess);
    if is_deep && tier == RestoreTier::Expedited {
        let message = "Expedited retrieval is not available for this storage class";
        return Err(invalid_argument("Tier", tier.as_str(), message));
    }
    Ok((days, tier))
}

impl Call {
    /// Changes the object that the request names in place.
    fn amend(
        &self,
        version_id: Option<&str>,
        change: impl FnOnce(&mut Object),
    ) -> Result<FoundObject, S3Error> {
        let found = self.object(version_id)?;
        self.bucket
            .lock()
            .amend(&self.exchange.key, Some(found.id), change);
        Ok(found)
    }

    fn answer<T>(&self, found: &FoundObject, output: T) -> S3Response<T> {
        let mut answer = Answer::new();
        answer.version(&self.bucket.settings(), found.id);
        answer.charged(&self.exchange);
        S3Response::with_headers(output, answer.0)
    }
}

/// A grant in one of s3s's types.
pub(super) fn grant(permission: &str, grantee: Grantee) -> Grant {
    let (kind, id, uri) = match grantee {
        Grantee::User(id) => ("CanonicalUser", Some(id), None),
        Grantee::Group(uri) => ("Group", None, Some(uri)),
    };
    let grantee = dto::Grantee {
        display_name: None,
        email_address: None,
        id,
        type_: kind.to_owned().into(),
        uri,
    };
    Grant {
        grantee: Some(grantee),
        permission: Some(permission.to_owned().into()),
    }
}
