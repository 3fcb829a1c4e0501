//! Which region a bucket is in.

use crate::bucket::BucketFacts;
use crate::client::S3Client;
use crate::error::Result;

/// Finds a bucket's region by `HeadBucket`, whatever region the client is of.
///
/// `x-amz-bucket-region` is sent with 200, 301, 400 and 403 alike, so that it takes no permission. No
/// expected owner is sent with it: a wrong one would hide the answer.
///
/// # Errors
///
/// S3's, if it does not tell the region: 404 `NotFound` if there is no such bucket, or what kept it from answering.
pub async fn find_region(client: &S3Client, bucket: &str) -> Result<BucketFacts> {
    match client.head_bucket(bucket, &[]).await {
        Err(error) => match error.bucket_region.clone() {
            Some(region) => Ok(BucketFacts {
                region: Some(region),
                ..BucketFacts::default()
            }),
            None => Err(error),
        },
        found => found,
    }
}
