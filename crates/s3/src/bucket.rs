//! Requests about a bucket.

use aws_sdk_s3::operation::RequestId;
use aws_sdk_s3::types::{ExpirationStatus, LifecycleRule, ObjectLockEnabled, Payer};
use time::OffsetDateTime;

use crate::client::S3Client;
use crate::error::{Result, S3Error};
use crate::headers::{self, AddHeaders, CaptureHeaders, HeaderPair};
use crate::object::empty_answer;
use crate::operation::Operation;

/// What `HeadBucket` tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BucketFacts {
    /// The bucket's region.
    pub region: Option<String>,
    /// `Date`: the server's time.
    pub date: Option<OffsetDateTime>,
    /// Whether the name is an access point's alias.
    pub access_point_alias: bool,
}

/// How a bucket encrypts what says nothing of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultEncryption {
    /// `AES256`, `aws:kms` or `aws:kms:dsse`.
    pub algorithm: String,
    /// The key of SSE-KMS; none is the account's `aws/s3`.
    pub kms_key_id: Option<String>,
}

/// Object Lock of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectLock {
    /// Whether it is on.
    pub enabled: bool,
    /// Whether what is put is retained by default.
    pub retains: bool,
}

impl S3Client {
    /// Asks whether a bucket is there and may be used, and where it is.
    ///
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html>
    ///
    /// # Errors
    ///
    /// S3's, without code or message; its `bucket_region` says where the bucket is all the same.
    pub async fn head_bucket(&self, bucket: &str, headers: &[HeaderPair]) -> Result<BucketFacts> {
        let operation = Operation::HeadBucket;
        let headers = AddHeaders::new(operation, headers).map_err(|error| *error)?;
        let captured = CaptureHeaders::default();
        let output = self
            .sdk
            .head_bucket()
            .bucket(bucket)
            .customize()
            .interceptor(headers)
            .interceptor(captured.clone())
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        let headers = captured.take();
        Ok(BucketFacts {
            region: headers::find(&headers, "x-amz-bucket-region").map(str::to_owned),
            date: headers::find(&headers, "date").and_then(headers::http_date),
            access_point_alias: output.access_point_alias().unwrap_or(false),
        })
    }

    /// Asks whether a bucket keeps versions: `Enabled`, `Suspended`, or none where it never did.
    ///
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketVersioning.html>
    ///
    /// # Errors
    ///
    /// S3's.
    pub async fn get_bucket_versioning(
        &self,
        bucket: &str,
        headers: &[HeaderPair],
    ) -> Result<Option<String>> {
        let operation = Operation::GetBucketVersioning;
        let headers = AddHeaders::new(operation, headers).map_err(|error| *error)?;
        let output = self
            .sdk
            .get_bucket_versioning()
            .bucket(bucket)
            .customize()
            .interceptor(headers)
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        Ok(output.status.map(|status| status.as_str().to_owned()))
    }

    /// Asks who owns what is written to a bucket: `BucketOwnerEnforced`, `BucketOwnerPreferred` or `ObjectWriter`.
    ///
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketOwnershipControls.html>
    ///
    /// # Errors
    ///
    /// S3's; 404 `OwnershipControlsNotFoundError` where nothing was ever set, which is `ObjectWriter`; `EmptyAnswer` if
    /// no rule came.
    pub async fn get_bucket_ownership_controls(
        &self,
        bucket: &str,
        headers: &[HeaderPair],
    ) -> Result<String> {
        let operation = Operation::GetBucketOwnershipControls;
        let headers = AddHeaders::new(operation, headers).map_err(|error| *error)?;
        let output = self
            .sdk
            .get_bucket_ownership_controls()
            .bucket(bucket)
            .customize()
            .interceptor(headers)
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        output
            .ownership_controls()
            .and_then(|controls| controls.rules().first())
            .map(|rule| rule.object_ownership().as_str().to_owned())
            .ok_or_else(|| empty_answer(operation, "rule", output.request_id()))
    }

    /// Asks whether the requester pays for requests to a bucket.
    ///
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketRequestPayment.html>
    ///
    /// # Errors
    ///
    /// S3's; mostly a refusal to who is not of the bucket's account.
    pub async fn get_bucket_request_payment(
        &self,
        bucket: &str,
        headers: &[HeaderPair],
    ) -> Result<bool> {
        let operation = Operation::GetBucketRequestPayment;
        let headers = AddHeaders::new(operation, headers).map_err(|error| *error)?;
        let output = self
            .sdk
            .get_bucket_request_payment()
            .bucket(bucket)
            .customize()
            .interceptor(headers)
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        Ok(output.payer() == Some(&Payer::Requester))
    }

    /// Asks how a bucket encrypts what says nothing of it.
    ///
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketEncryption.html>
    ///
    /// # Errors
    ///
    /// S3's; 404 `ServerSideEncryptionConfigurationNotFoundError` from stores like S3 that encrypt nothing by
    /// default; `EmptyAnswer` if no rule came.
    pub async fn get_bucket_encryption(
        &self,
        bucket: &str,
        headers: &[HeaderPair],
    ) -> Result<DefaultEncryption> {
        let operation = Operation::GetBucketEncryption;
        let headers = AddHeaders::new(operation, headers).map_err(|error| *error)?;
        let output = self
            .sdk
            .get_bucket_encryption()
            .bucket(bucket)
            .customize()
            .interceptor(headers)
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        output
            .server_side_encryption_configuration()
            .and_then(|configuration| configuration.rules().first())
            .and_then(|rule| rule.apply_server_side_encryption_by_default())
            .map(|default| DefaultEncryption {
                algorithm: default.sse_algorithm().as_str().to_owned(),
                kms_key_id: default.kms_master_key_id().map(str::to_owned),
            })
            .ok_or_else(|| empty_answer(operation, "rule", output.request_id()))
    }

    /// Asks whether a bucket has Object Lock, and retains what says nothing of it.
    ///
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectLockConfiguration.html>
    ///
    /// # Errors
    ///
    /// S3's; 404 `ObjectLockConfigurationNotFoundError` where it has none.
    pub async fn get_object_lock_configuration(
        &self,
        bucket: &str,
        headers: &[HeaderPair],
    ) -> Result<ObjectLock> {
        let operation = Operation::GetObjectLockConfiguration;
        let headers = AddHeaders::new(operation, headers).map_err(|error| *error)?;
        let output = self
            .sdk
            .get_object_lock_configuration()
            .bucket(bucket)
            .customize()
            .interceptor(headers)
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        let configuration = output.object_lock_configuration();
        let enabled = configuration.and_then(|lock| lock.object_lock_enabled());
        let rule = configuration.and_then(|lock| lock.rule());
        Ok(ObjectLock {
            enabled: enabled == Some(&ObjectLockEnabled::Enabled),
            retains: rule.is_some_and(|rule| rule.default_retention().is_some()),
        })
    }

    /// Asks whether an enabled lifecycle rule aborts multipart uploads that are left of a key.
    ///
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLifecycleConfiguration.html>
    ///
    /// # Errors
    ///
    /// S3's; 404 `NoSuchLifecycleConfiguration` where there are no rules.
    pub async fn get_bucket_lifecycle_configuration(
        &self,
        bucket: &str,
        key: &str,
        headers: &[HeaderPair],
    ) -> Result<bool> {
        let operation = Operation::GetBucketLifecycleConfiguration;
        let headers = AddHeaders::new(operation, headers).map_err(|error| *error)?;
        let output = self
            .sdk
            .get_bucket_lifecycle_configuration()
            .bucket(bucket)
            .customize()
            .interceptor(headers)
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        Ok(output.rules().iter().any(|rule| {
            let aborts = rule.abort_incomplete_multipart_upload().is_some();
            aborts
                && *rule.status() == ExpirationStatus::Enabled
                && key.starts_with(prefix_of(rule))
        }))
    }
}

/// What keys of a lifecycle rule begin with.
fn prefix_of(rule: &LifecycleRule) -> &str {
    let filter = rule.filter();
    let and = filter.and_then(|filter| filter.and());
    #[expect(deprecated, reason = "rules of old still have it")]
    let of_old = rule.prefix();
    filter
        .and_then(|filter| filter.prefix())
        .or_else(|| and.and_then(|and| and.prefix()))
        .or(of_old)
        .unwrap_or_default()
}
