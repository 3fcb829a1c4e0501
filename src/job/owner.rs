//! Who owns the destination bucket, asked once before the first row where ACLs are compared with it.

use s3haul_s3::{
    HeaderPair, OnDoubt, Operation, Requests, RetryOptions, Tally, Throttle, ThrottleOptions,
};

use super::access::{Access, AccessError};

/// Asks for the canonical user ID of a bucket's owner.
///
/// # Errors
/// It could not be asked, or the answer names nobody: no ACL could be judged.
pub async fn of_bucket(
    access: &Access,
    bucket: &str,
    retry: RetryOptions,
) -> Result<String, AccessError> {
    let account = access.destination_account.iter();
    let headers: Vec<HeaderPair> = account
        .map(|account| ("x-amz-expected-bucket-owner".into(), account.clone()))
        .collect();
    let throttle = Throttle::new(&ThrottleOptions::default());
    let requests = Requests::new(throttle, access.credentials.clone(), retry);
    let ask = || access.destination.get_bucket_acl(bucket, &headers);
    let mut tally = Tally::default();
    let asked = requests.send_uncounted(
        &mut tally,
        Operation::GetBucketAcl,
        None,
        OnDoubt::Resend,
        ask,
    );
    let unknown = |source| AccessError::BucketOwnerUnknown {
        bucket: bucket.to_owned(),
        source,
    };
    let acl = asked
        .await
        .map_err(|error| unknown(Some(Box::new(error))))?;
    acl.owner_id.ok_or_else(|| unknown(None))
}
