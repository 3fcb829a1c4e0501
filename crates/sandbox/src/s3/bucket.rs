//! Buckets and what is set on them.

use s3s::dto::{
    BucketVersioningStatus, CreateBucketInput, CreateBucketOutput, DefaultRetention,
    DeleteBucketInput, DeleteBucketOutput, DeleteBucketOwnershipControlsInput,
    DeleteBucketOwnershipControlsOutput, DeleteBucketPolicyInput, DeleteBucketPolicyOutput,
    GetBucketAclInput, GetBucketAclOutput, GetBucketEncryptionInput, GetBucketEncryptionOutput,
    GetBucketLocationInput, GetBucketLocationOutput, GetBucketOwnershipControlsInput,
    GetBucketOwnershipControlsOutput, GetBucketPolicyInput, GetBucketPolicyOutput,
    GetBucketRequestPaymentInput, GetBucketRequestPaymentOutput, GetBucketVersioningInput,
    GetBucketVersioningOutput, GetObjectLockConfigurationInput, GetObjectLockConfigurationOutput,
    HeadBucketInput, HeadBucketOutput, ObjectLockConfiguration, ObjectLockRule, OwnershipControls,
    OwnershipControlsRule, PutBucketOwnershipControlsInput, PutBucketOwnershipControlsOutput,
    PutBucketPolicyInput, PutBucketPolicyOutput, PutBucketVersioningInput,
    PutBucketVersioningOutput, ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration,
    ServerSideEncryptionRule,
};
use s3s::{S3Error, S3Request, S3Response, S3Result};

use super::Service;
use super::answer::Answer;
use super::listing::owner;
use super::object::grant;
use crate::error::{error, invalid_argument, with_detail};
use crate::store::acl::Grantee;
use crate::store::bucket::{BucketSettings, ObjectOwnership, Versioning};
use crate::store::{StoreError, parse_policy};

pub(super) const MALFORMED_XML: &str =
    "The XML you provided was not well-formed or did not validate against our published schema";

impl Service {
    pub(super) fn make_bucket(
        &self,
        request: &S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let exchange = Self::exchange(&request.extensions)?;
        let identity = exchange
            .identity
            .as_ref()
            .ok_or_else(|| crate::error::access_denied("Access Denied"))?;
        let input = &request.input;
        let signed_for = exchange
            .scope
            .as_ref()
            .map_or("", |scope| scope.region.as_str());
        let asked = input
            .create_bucket_configuration
            .as_ref()
            .and_then(|configuration| {
                configuration
                    .location_constraint
                    .as_ref()
                    .map(|region| region.as_str().to_owned())
            });
        let region = match asked {
            None if signed_for == crate::DEFAULT_REGION => signed_for.to_owned(),
            None => {
                let message = "The unspecified location constraint is incompatible for the region specific endpoint \
                               this request was sent to.";
                return Err(error(400, "IllegalLocationConstraintException", message));
            }
            Some(region) if region == signed_for || signed_for == crate::DEFAULT_REGION => region,
            Some(region) => {
                let message = format!(
                    "The {region} location constraint is incompatible for the region specific endpoint this request \
                     was sent to."
                );
                return Err(error(400, "IllegalLocationConstraintException", message));
            }
        };
        let mut settings = BucketSettings::default();
        if let Some(ownership) = &input.object_ownership {
            settings.ownership = Some(parse_ownership(ownership.as_str())?);
        }
        if input.object_lock_enabled_for_bucket == Some(true) {
            settings.object_lock = true;
            settings.versioning = Versioning::Enabled;
        }
        match self
            .store
            .create_bucket(&input.bucket, identity.account(), &region, settings)
        {
            Ok(()) => {}
            Err(_) => return Err(self.bucket_exists(&input.bucket, identity.account())),
        }
        let output = CreateBucketOutput {
            location: Some(format!("/{}", input.bucket)),
        };
        Ok(S3Response::new(output))
    }

    fn bucket_exists(&self, bucket: &str, account: &str) -> S3Error {
        let own = self
            .store
            .bucket(bucket)
            .is_some_and(|bucket| *bucket.account == *account);
        let (code, message) = if own {
            (
                "BucketAlreadyOwnedByYou",
                "Your previous request to create the named bucket succeeded and you already own it.",
            )
        } else {
            (
                "BucketAlreadyExists",
                "The requested bucket name is not available. The bucket namespace is shared by all users of the \
                 system. Please select a different name and try again.",
            )
        };
        with_detail(error(409, code, message), "BucketName", bucket)
    }

    pub(super) fn remove_bucket(
        &self,
        request: &S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        let call = self.call(&request.extensions)?;
        {
            let state = call.bucket.lock();
            if !state.keys.is_empty() || !state.uploads.is_empty() {
                let message = if state.settings.versioning == Versioning::Unversioned {
                    "The bucket you tried to delete is not empty"
                } else {
                    "The bucket you tried to delete is not empty. You must delete all versions in the bucket."
                };
                return Err(with_detail(
                    error(409, "BucketNotEmpty", message),
                    "BucketName",
                    &call.bucket.name,
                ));
            }
        }
        self.store.remove_bucket(&call.bucket.name);
        Ok(S3Response::new(DeleteBucketOutput::default()))
    }

    pub(super) fn look_up_bucket(
        &self,
        request: &S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        let call = self.call(&request.extensions)?;
        let mut answer = Answer::new();
        answer.set("x-amz-access-point-alias", "false");
        answer.charged(&call.exchange);
        let output = HeadBucketOutput {
            bucket_region: Some(call.bucket.region.clone()),
            ..HeadBucketOutput::default()
        };
        Ok(S3Response::with_headers(output, answer.0))
    }

    /// A bucket's ACL: nobody but its owner has anything of it, as of any new bucket.
    pub(super) fn bucket_acl(
        &self,
        request: &S3Request<GetBucketAclInput>,
    ) -> S3Result<S3Response<GetBucketAclOutput>> {
        let call = self.call(&request.extensions)?;
        let account = &call.bucket.account;
        Ok(S3Response::new(GetBucketAclOutput {
            owner: Some(owner(account)),
            grants: Some(vec![grant("FULL_CONTROL", Grantee::account(account))]),
        }))
    }

    pub(super) fn location(
        &self,
        request: &S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        let call = self.call(&request.extensions)?;
        // Of us-east-1 S3 shows none.
        let region = Some(&call.bucket.region).filter(|region| *region != crate::DEFAULT_REGION);
        let output = GetBucketLocationOutput {
            location_constraint: region.map(|region| region.clone().into()),
        };
        Ok(S3Response::new(output))
    }

    pub(super) fn policy(
        &self,
        request: &S3Request<GetBucketPolicyInput>,
    ) -> S3Result<S3Response<GetBucketPolicyOutput>> {
        let call = self.call(&request.extensions)?;
        let Some(policy) = call.bucket.settings().policy.clone() else {
            let refused = error(
                404,
                "NoSuchBucketPolicy",
                "The bucket policy does not exist",
            );
            return Err(with_detail(refused, "BucketName", &call.bucket.name));
        };
        Ok(S3Response::new(GetBucketPolicyOutput {
            policy: Some(policy),
        }))
    }

    pub(super) fn put_policy(
        &self,
        request: &S3Request<PutBucketPolicyInput>,
    ) -> S3Result<S3Response<PutBucketPolicyOutput>> {
        let call = self.call(&request.extensions)?;
        let text = request.input.policy.clone();
        let policy = parse_policy(&call.bucket.name, Some(&text)).map_err(|refused| {
            let message = match refused {
                StoreError::MalformedPolicy { source, .. } => source.to_string(),
                other => other.to_string(),
            };
            error(400, "MalformedPolicy", message)
        })?;
        let mut state = call.bucket.lock();
        state.settings = BucketSettings {
            policy: Some(text),
            ..(*state.settings).clone()
        }
        .into();
        state.policy = policy.map(Into::into);
        Ok(S3Response::new(PutBucketPolicyOutput::default()))
    }

    pub(super) fn delete_policy(
        &self,
        request: &S3Request<DeleteBucketPolicyInput>,
    ) -> S3Result<S3Response<DeleteBucketPolicyOutput>> {
        let call = self.call(&request.extensions)?;
        let mut state = call.bucket.lock();
        state.settings = BucketSettings {
            policy: None,
            ..(*state.settings).clone()
        }
        .into();
        state.policy = None;
        Ok(S3Response::new(DeleteBucketPolicyOutput::default()))
    }

    pub(super) fn versioning(
        &self,
        request: &S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        let call = self.call(&request.extensions)?;
        let status = match call.bucket.settings().versioning {
            Versioning::Unversioned => None,
            Versioning::Enabled => Some("Enabled"),
            Versioning::Suspended => Some("Suspended"),
        };
        let output = GetBucketVersioningOutput {
            status: status.map(|status| status.to_owned().into()),
            ..GetBucketVersioningOutput::default()
        };
        Ok(S3Response::new(output))
    }

    pub(super) fn put_versioning(
        &self,
        request: &S3Request<PutBucketVersioningInput>,
    ) -> S3Result<S3Response<PutBucketVersioningOutput>> {
        let call = self.call(&request.extensions)?;
        let configuration = &request.input.versioning_configuration;
        if configuration.mfa_delete.is_some() {
            return Err(crate::error::not_implemented("Element", "MfaDelete"));
        }
        let versioning = match configuration
            .status
            .as_ref()
            .map(BucketVersioningStatus::as_str)
        {
            Some("Enabled") => Versioning::Enabled,
            Some("Suspended") => Versioning::Suspended,
            _ => {
                return Err(error(
                    400,
                    "IllegalVersioningConfigurationException",
                    "The Versioning element must be specified",
                ));
            }
        };
        let mut state = call.bucket.lock();
        if state.settings.object_lock && versioning == Versioning::Suspended {
            let message = "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.";
            return Err(error(409, "InvalidBucketState", message));
        }
        state.settings = BucketSettings {
            versioning,
            ..(*state.settings).clone()
        }
        .into();
        Ok(S3Response::new(PutBucketVersioningOutput::default()))
    }

    pub(super) fn ownership(
        &self,
        request: &S3Request<GetBucketOwnershipControlsInput>,
    ) -> S3Result<S3Response<GetBucketOwnershipControlsOutput>> {
        let call = self.call(&request.extensions)?;
        let Some(ownership) = call.bucket.settings().ownership else {
            let refused = error(
                404,
                "OwnershipControlsNotFoundError",
                "The bucket ownership controls were not found",
            );
            return Err(with_detail(refused, "BucketName", &call.bucket.name));
        };
        let rule = OwnershipControlsRule {
            object_ownership: ownership.as_str().to_owned().into(),
        };
        let output = GetBucketOwnershipControlsOutput {
            ownership_controls: Some(OwnershipControls { rules: vec![rule] }),
        };
        Ok(S3Response::new(output))
    }

    pub(super) fn put_ownership(
        &self,
        request: &S3Request<PutBucketOwnershipControlsInput>,
    ) -> S3Result<S3Response<PutBucketOwnershipControlsOutput>> {
        let call = self.call(&request.extensions)?;
        let rules = &request.input.ownership_controls.rules;
        let [rule] = rules.as_slice() else {
            return Err(error(400, "MalformedXML", MALFORMED_XML));
        };
        let ownership = Some(parse_ownership(rule.object_ownership.as_str())?);
        let mut state = call.bucket.lock();
        state.settings = BucketSettings {
            ownership,
            ..(*state.settings).clone()
        }
        .into();
        Ok(S3Response::new(PutBucketOwnershipControlsOutput::default()))
    }

    pub(super) fn delete_ownership(
        &self,
        request: &S3Request<DeleteBucketOwnershipControlsInput>,
    ) -> S3Result<S3Response<DeleteBucketOwnershipControlsOutput>> {
        let call = self.call(&request.extensions)?;
        let mut state = call.bucket.lock();
        state.settings = BucketSettings {
            ownership: None,
            ..(*state.settings).clone()
        }
        .into();
        Ok(S3Response::new(
            DeleteBucketOwnershipControlsOutput::default(),
        ))
    }

    pub(super) fn request_payment(
        &self,
        request: &S3Request<GetBucketRequestPaymentInput>,
    ) -> S3Result<S3Response<GetBucketRequestPaymentOutput>> {
        let call = self.call(&request.extensions)?;
        let payer = if call.bucket.settings().requester_pays {
            "Requester"
        } else {
            "BucketOwner"
        };
        Ok(S3Response::new(GetBucketRequestPaymentOutput {
            payer: Some(payer.to_owned().into()),
        }))
    }

    pub(super) fn encryption(
        &self,
        request: &S3Request<GetBucketEncryptionInput>,
    ) -> S3Result<S3Response<GetBucketEncryptionOutput>> {
        let call = self.call(&request.extensions)?;
        let settings = call.bucket.settings();
        let kms = settings.kms_key_id.clone();
        let by_default = ServerSideEncryptionByDefault {
            sse_algorithm: if kms.is_some() { "aws:kms" } else { "AES256" }
                .to_owned()
                .into(),
            kms_master_key_id: kms,
        };
        let rule = ServerSideEncryptionRule {
            apply_server_side_encryption_by_default: Some(by_default),
            bucket_key_enabled: Some(settings.bucket_key),
        };
        let output = GetBucketEncryptionOutput {
            server_side_encryption_configuration: Some(ServerSideEncryptionConfiguration {
                rules: vec![rule],
            }),
        };
        Ok(S3Response::new(output))
    }

    pub(super) fn object_lock(
        &self,
        request: &S3Request<GetObjectLockConfigurationInput>,
    ) -> S3Result<S3Response<GetObjectLockConfigurationOutput>> {
        let call = self.call(&request.extensions)?;
        let settings = call.bucket.settings();
        if !settings.object_lock {
            let message = "Object Lock configuration does not exist for this bucket";
            let refused = error(404, "ObjectLockConfigurationNotFoundError", message);
            return Err(with_detail(refused, "BucketName", &call.bucket.name));
        }
        let configuration = ObjectLockConfiguration {
            object_lock_enabled: Some("Enabled".to_owned().into()),
            rule: settings.default_retention_days.map(|days| ObjectLockRule {
                default_retention: Some(DefaultRetention {
                    days: Some(days),
                    mode: Some("GOVERNANCE".to_owned().into()),
                    years: None,
                }),
            }),
        };
        Ok(S3Response::new(GetObjectLockConfigurationOutput {
            object_lock_configuration: Some(configuration),
        }))
    }
}

fn parse_ownership(name: &str) -> Result<ObjectOwnership, S3Error> {
    ObjectOwnership::parse(name).ok_or_else(|| {
        invalid_argument(
            "x-amz-object-ownership",
            name,
            "Invalid x-amz-object-ownership header",
        )
    })
}
