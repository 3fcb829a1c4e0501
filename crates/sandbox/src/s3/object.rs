//! Tags, ACLs and restores of objects.

use s3s::dto::{
    DeleteObjectTaggingInput, DeleteObjectTaggingOutput, GetObjectAclInput, GetObjectAclOutput,
    GetObjectTaggingInput, GetObjectTaggingOutput, Grant, Grantee, PutObjectAclInput,
    PutObjectAclOutput, PutObjectTaggingInput, PutObjectTaggingOutput, RestoreObjectInput,
    RestoreObjectOutput, Tag,
};
use s3s::{S3Error, S3Request, S3Response, S3Result};

use super::answer::Answer;
use super::listing::owner;
use super::read::invalid_object_state;
use super::settings::{acl, check_tags};
use super::{Call, Service};
use crate::error::{STATUS, error, not_implemented};
use crate::store::bucket::{FoundObject, ObjectOwnership};
use crate::store::object::{Object, Restore, Settings, Tags, Timestamp, canonical_user_id};

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
        let mut grants = vec![grant("FULL_CONTROL", user(object_owner))];
        if !enforced {
            grants.extend(further_grants(object, &call.bucket.account));
        }
        let output = GetObjectAclOutput {
            owner: Some(owner(object_owner)),
            grants: Some(grants),
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
        let days = restore
            .days
            .and_then(|days| u32::try_from(days).ok())
            .filter(|days| *days > 0)
            .ok_or_else(|| error(400, "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema"))?;
        let version_id = request.input.version_id.as_deref();
        let found = call.object(version_id)?;
        let now = Timestamp::now();
        if !found.object.settings.storage_class.is_archived() {
            return Err(invalid_object_state(
                &found.object,
                "Restore is not allowed for the object's current storage class",
            ));
        }
        let mut response = match found.object.restore {
            Restore::Ongoing { .. } => {
                return Err(error(
                    409,
                    "RestoreAlreadyInProgress",
                    "Object restore is already in progress",
                ));
            }
            Restore::Done { until } if until > now => {
                let until = now.after(u64::from(days) * 86_400);
                call.amend(version_id, |object| {
                    object.restore = Restore::Done { until }
                })?;
                S3Response::new(RestoreObjectOutput::default())
            }
            _ => {
                call.amend(version_id, |object| {
                    object.restore = Restore::Ongoing { days }
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

fn user(account: &str) -> Grantee {
    grantee("CanonicalUser", Some(canonical_user_id(account)), None)
}

fn group(name: &str) -> Grantee {
    grantee(
        "Group",
        None,
        Some(format!("http://acs.amazonaws.com/groups/global/{name}")),
    )
}

fn grantee(kind: &str, id: Option<String>, uri: Option<String>) -> Grantee {
    Grantee {
        display_name: None,
        email_address: None,
        id,
        type_: kind.to_owned().into(),
        uri,
    }
}

fn grant(permission: &str, grantee: Grantee) -> Grant {
    Grant {
        grantee: Some(grantee),
        permission: Some(permission.to_owned().into()),
    }
}

/// What an ACL grants besides full control to the owner.
fn further_grants(object: &Object, bucket_account: &str) -> Vec<Grant> {
    let acl = &object.settings.acl;
    let mut grants: Vec<Grant> = match acl.canned.as_deref() {
        Some("public-read") => vec![grant("READ", group("AllUsers"))],
        Some("public-read-write") => vec![
            grant("READ", group("AllUsers")),
            grant("WRITE", group("AllUsers")),
        ],
        Some("authenticated-read") => vec![grant("READ", group("AuthenticatedUsers"))],
        Some("bucket-owner-read") if *object.owner != *bucket_account => {
            vec![grant("READ", user(bucket_account))]
        }
        Some("bucket-owner-full-control") if *object.owner != *bucket_account => {
            vec![grant("FULL_CONTROL", user(bucket_account))]
        }
        _ => Vec::new(),
    };
    grants.extend(acl.grants.iter().map(|(permission, text)| {
        let value = |name: &str| {
            text.strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('='))
                .map(|value| value.trim_matches('"').to_owned())
        };
        let grantee = match value("uri") {
            Some(uri) => grantee("Group", None, Some(uri)),
            None => grantee(
                "CanonicalUser",
                Some(value("id").unwrap_or_else(|| text.clone())),
                None,
            ),
        };
        grant(permission, grantee)
    }));
    grants
}
