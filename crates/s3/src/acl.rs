//! Requests about who may do what: ACLs of objects and buckets.

use aws_sdk_s3::operation::RequestId;

use crate::client::S3Client;
use crate::error::{Result, S3Error};
use crate::headers::{AddHeaders, HeaderPair};
use crate::listing::WholeBody;
use crate::object::empty_answer;
use crate::operation::Operation;

/// An ACL: who owns an object or a bucket, and who else may use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessControl {
    /// The owner's canonical user ID.
    pub owner_id: Option<String>,
    /// In S3's order.
    pub grants: Vec<Grant>,
}

/// One permission of one grantee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who has it.
    pub grantee: Grantee,
    /// `FULL_CONTROL`, `READ`, `READ_ACP`, `WRITE` or `WRITE_ACP`.
    pub permission: String,
}

/// Whom an ACL lets in.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html#specifying-grantee>
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grantee {
    /// An account, by its canonical user ID.
    CanonicalUser(String),
    /// One of S3's groups, by its URI.
    Group(String),
    /// Anything else, by its mail address or type.
    Other(String),
}

impl S3Client {
    /// Reads an object's ACL.
    ///
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAcl.html>
    ///
    /// # Errors
    ///
    /// S3's; `EmptyAnswer` if the ACL is not whole.
    pub async fn get_object_acl(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        headers: &[HeaderPair],
    ) -> Result<AccessControl> {
        let operation = Operation::GetObjectAcl;
        let headers = AddHeaders::new(operation, headers).map_err(|error| *error)?;
        let whole = WholeBody::default();
        let output = self
            .sdk
            .get_object_acl()
            .bucket(bucket)
            .key(key)
            .set_version_id(version_id.map(str::to_owned))
            .customize()
            .interceptor(headers)
            .interceptor(whole.clone())
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        access_control(output.owner(), output.grants(), &whole)
            .ok_or_else(|| empty_answer(operation, "whole ACL", output.request_id()))
    }

    /// Reads a bucket's ACL.
    ///
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketAcl.html>
    ///
    /// # Errors
    ///
    /// S3's; `EmptyAnswer` if the ACL is not whole.
    pub async fn get_bucket_acl(
        &self,
        bucket: &str,
        headers: &[HeaderPair],
    ) -> Result<AccessControl> {
        let operation = Operation::GetBucketAcl;
        let headers = AddHeaders::new(operation, headers).map_err(|error| *error)?;
        let whole = WholeBody::default();
        let output = self
            .sdk
            .get_bucket_acl()
            .bucket(bucket)
            .customize()
            .interceptor(headers)
            .interceptor(whole.clone())
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        access_control(output.owner(), output.grants(), &whole)
            .ok_or_else(|| empty_answer(operation, "whole ACL", output.request_id()))
    }
}

/// None if something of it is missing: an ACL that breaks off looks like one that grants less.
fn access_control(
    owner: Option<&aws_sdk_s3::types::Owner>,
    grants: &[aws_sdk_s3::types::Grant],
    whole: &WholeBody,
) -> Option<AccessControl> {
    if !whole.get() {
        return None;
    }
    let grants = grants.iter().map(|grant| {
        let grantee = grant.grantee()?;
        let grantee = match (grantee.id(), grantee.uri(), grantee.email_address()) {
            (Some(id), _, _) => Grantee::CanonicalUser(id.to_owned()),
            (_, Some(uri), _) => Grantee::Group(uri.to_owned()),
            (_, _, Some(address)) => Grantee::Other(address.to_owned()),
            _ => Grantee::Other(grantee.r#type().as_str().to_owned()),
        };
        Some(Grant {
            grantee,
            permission: grant.permission()?.as_str().to_owned(),
        })
    });
    Some(AccessControl {
        owner_id: owner.and_then(|owner| owner.id()).map(str::to_owned),
        grants: grants.collect::<Option<_>>()?,
    })
}
