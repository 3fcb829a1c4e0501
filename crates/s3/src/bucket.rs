//! Requests about a bucket.

use time::OffsetDateTime;

use crate::client::S3Client;
use crate::error::{Result, S3Error};
use crate::headers::{self, AddHeaders, CaptureHeaders, HeaderPair};
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
}
