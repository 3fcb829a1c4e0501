//! Which region a bucket is in, and which partition a region.

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
                region: Some(region.into()),
                ..BucketFacts::default()
            }),
            None => Err(error),
        },
        found => found,
    }
}

/// The partition that a region belongs to. Partitions share neither identities nor buckets.
///
/// Regions that this does not know are taken for ones of `aws`, as new ones are.
///
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>
pub fn partition_of(region: &str) -> &'static str {
    const PREFIXES: [(&str, &str); 7] = [
        ("cn-", "aws-cn"),
        ("us-gov-", "aws-us-gov"),
        ("us-iso-", "aws-iso"),
        ("us-isob-", "aws-iso-b"),
        ("eu-isoe-", "aws-iso-e"),
        ("us-isof-", "aws-iso-f"),
        ("eusc-", "aws-eusc"),
    ];
    let of = PREFIXES
        .iter()
        .find(|(prefix, _)| region.starts_with(prefix));
    of.map_or("aws", |(_, partition)| partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions() {
        for (region, partition) in [
            ("us-east-1", "aws"),
            ("eu-central-2", "aws"),
            ("mx-central-1", "aws"),
            ("cn-northwest-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
            ("us-iso-east-1", "aws-iso"),
            ("us-isob-east-1", "aws-iso-b"),
            ("eusc-de-east-1", "aws-eusc"),
        ] {
            assert_eq!(partition_of(region), partition, "{region}");
        }
    }
}
