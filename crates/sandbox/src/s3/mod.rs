//! The operations of S3 on the [`Store`].
//!
//! s3s has checked the signature and parsed the request, [`crate::access`] has let it through. What s3s's types
//! lack is read from the raw headers.

mod annotation;
pub(crate) mod answer;
pub(crate) mod body;
mod bucket;
mod complete;
mod copy;
mod customer_key;
mod lifecycle;
mod listing;
mod multipart;
mod object;
mod read;
pub(crate) mod settings;
mod uploads;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::http::Extensions;
use s3s::dto::{self, ETag, Metadata};
use s3s::{S3, S3Error, S3Request, S3Response, S3Result};

use crate::error::{access_denied, no_such_bucket};
use crate::exchange::Exchange;
use crate::identity::Identity;
use crate::store::Store;
use crate::store::bucket::Bucket;

/// S3.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) store: Store,
}

/// A request about a bucket, whose caller is known.
struct Call {
    exchange: Arc<Exchange>,
    bucket: Arc<Bucket>,
    identity: Arc<Identity>,
}

/// Sets the field of a checksum in one of s3s's types.
macro_rules! checksum_fields {
    ($target:expr, $algorithm:expr, $value:expr) => {{
        use $crate::store::checksum::ChecksumAlgorithm;
        let value = Some($value);
        match $algorithm {
            ChecksumAlgorithm::Crc32 => $target.checksum_crc32 = value,
            ChecksumAlgorithm::Crc32c => $target.checksum_crc32c = value,
            ChecksumAlgorithm::Crc64Nvme => $target.checksum_crc64nvme = value,
            ChecksumAlgorithm::Sha1 => $target.checksum_sha1 = value,
            ChecksumAlgorithm::Sha256 => $target.checksum_sha256 = value,
        }
    }};
}

/// Reads the field of a checksum in one of s3s's types.
macro_rules! checksum_of {
    ($from:expr, $algorithm:expr) => {{
        use $crate::store::checksum::ChecksumAlgorithm;
        match $algorithm {
            ChecksumAlgorithm::Crc32 => $from.checksum_crc32.as_ref(),
            ChecksumAlgorithm::Crc32c => $from.checksum_crc32c.as_ref(),
            ChecksumAlgorithm::Crc64Nvme => $from.checksum_crc64nvme.as_ref(),
            ChecksumAlgorithm::Sha1 => $from.checksum_sha1.as_ref(),
            ChecksumAlgorithm::Sha256 => $from.checksum_sha256.as_ref(),
        }
    }};
}

use {checksum_fields, checksum_of};

fn e_tag_value(object: &crate::store::object::Object) -> ETag {
    ETag::Strong(object.e_tag())
}

/// User metadata as s3s reads it: decoded where it came as RFC 2047 words.
fn user_metadata(metadata: Option<&Metadata>) -> Option<BTreeMap<String, String>> {
    metadata.map(|metadata| {
        metadata
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    })
}

fn metadata_value(metadata: &crate::store::object::Metadata) -> Option<Metadata> {
    let map: Metadata = metadata
        .user
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    (!map.is_empty()).then_some(map)
}

impl Service {
    fn exchange(extensions: &Extensions) -> Result<Arc<Exchange>, S3Error> {
        extensions
            .get::<Arc<Exchange>>()
            .cloned()
            .ok_or_else(|| access_denied("Access Denied"))
    }

    fn call(&self, extensions: &Extensions) -> Result<Call, S3Error> {
        let exchange = Self::exchange(extensions)?;
        let identity = exchange
            .identity
            .clone()
            .ok_or_else(|| access_denied("Access Denied"))?;
        let bucket = self
            .store
            .bucket(&exchange.bucket)
            .ok_or_else(|| no_such_bucket(&exchange.bucket))?;
        Ok(Call {
            exchange,
            bucket,
            identity,
        })
    }
}

macro_rules! operations {
    ($($name:ident: $input:ident -> $output:ident = $method:ident;)* + body
     $($body_name:ident: $body_input:ident -> $body_output:ident = $body_method:ident;)*) => {
        #[async_trait::async_trait]
        impl S3 for Service {
            $(async fn $name(&self, request: S3Request<dto::$input>) -> S3Result<S3Response<dto::$output>> {
                self.$method(&request)
            })*
            $(async fn $body_name(
                &self,
                request: S3Request<dto::$body_input>,
            ) -> S3Result<S3Response<dto::$body_output>> {
                self.$body_method(request).await
            })*
        }
    };
}

operations! {
    list_buckets: ListBucketsInput -> ListBucketsOutput = list_buckets_of_caller;
    create_bucket: CreateBucketInput -> CreateBucketOutput = make_bucket;
    delete_bucket: DeleteBucketInput -> DeleteBucketOutput = remove_bucket;
    head_bucket: HeadBucketInput -> HeadBucketOutput = look_up_bucket;
    get_bucket_location: GetBucketLocationInput -> GetBucketLocationOutput = location;
    get_bucket_acl: GetBucketAclInput -> GetBucketAclOutput = bucket_acl;
    get_bucket_policy: GetBucketPolicyInput -> GetBucketPolicyOutput = policy;
    put_bucket_policy: PutBucketPolicyInput -> PutBucketPolicyOutput = put_policy;
    delete_bucket_policy: DeleteBucketPolicyInput -> DeleteBucketPolicyOutput = delete_policy;
    get_bucket_versioning: GetBucketVersioningInput -> GetBucketVersioningOutput = versioning;
    put_bucket_versioning: PutBucketVersioningInput -> PutBucketVersioningOutput = put_versioning;
    get_bucket_ownership_controls: GetBucketOwnershipControlsInput -> GetBucketOwnershipControlsOutput = ownership;
    put_bucket_ownership_controls: PutBucketOwnershipControlsInput -> PutBucketOwnershipControlsOutput = put_ownership;
    delete_bucket_ownership_controls: DeleteBucketOwnershipControlsInput -> DeleteBucketOwnershipControlsOutput = delete_ownership;
    get_bucket_request_payment: GetBucketRequestPaymentInput -> GetBucketRequestPaymentOutput = request_payment;
    get_bucket_encryption: GetBucketEncryptionInput -> GetBucketEncryptionOutput = encryption;
    get_bucket_lifecycle_configuration: GetBucketLifecycleConfigurationInput -> GetBucketLifecycleConfigurationOutput = lifecycle;
    put_bucket_lifecycle_configuration: PutBucketLifecycleConfigurationInput -> PutBucketLifecycleConfigurationOutput = put_lifecycle;
    delete_bucket_lifecycle: DeleteBucketLifecycleInput -> DeleteBucketLifecycleOutput = delete_lifecycle;
    get_object_lock_configuration: GetObjectLockConfigurationInput -> GetObjectLockConfigurationOutput = object_lock;
    list_objects_v2: ListObjectsV2Input -> ListObjectsV2Output = list_objects_page;
    list_object_versions: ListObjectVersionsInput -> ListObjectVersionsOutput = list_versions;
    list_multipart_uploads: ListMultipartUploadsInput -> ListMultipartUploadsOutput = list_uploads;
    list_parts: ListPartsInput -> ListPartsOutput = list_parts_page;
    get_object: GetObjectInput -> GetObjectOutput = get;
    head_object: HeadObjectInput -> HeadObjectOutput = head;
    get_object_attributes: GetObjectAttributesInput -> GetObjectAttributesOutput = attributes;
    delete_object: DeleteObjectInput -> DeleteObjectOutput = delete;
    delete_objects: DeleteObjectsInput -> DeleteObjectsOutput = delete_many;
    copy_object: CopyObjectInput -> CopyObjectOutput = copy;
    create_multipart_upload: CreateMultipartUploadInput -> CreateMultipartUploadOutput = create_upload;
    upload_part_copy: UploadPartCopyInput -> UploadPartCopyOutput = copy_part;
    complete_multipart_upload: CompleteMultipartUploadInput -> CompleteMultipartUploadOutput = complete_upload;
    abort_multipart_upload: AbortMultipartUploadInput -> AbortMultipartUploadOutput = abort_upload;
    get_object_tagging: GetObjectTaggingInput -> GetObjectTaggingOutput = tagging;
    put_object_tagging: PutObjectTaggingInput -> PutObjectTaggingOutput = put_tagging;
    delete_object_tagging: DeleteObjectTaggingInput -> DeleteObjectTaggingOutput = delete_tagging;
    get_object_acl: GetObjectAclInput -> GetObjectAclOutput = object_acl;
    put_object_acl: PutObjectAclInput -> PutObjectAclOutput = change_acl;
    restore_object: RestoreObjectInput -> RestoreObjectOutput = restore;
    + body
    put_object: PutObjectInput -> PutObjectOutput = put;
    upload_part: UploadPartInput -> UploadPartOutput = send_part;
}
