//! Whether the destination keeps versions, asked before the first row of `--versions all`.

use s3haul_s3::{OnDoubt, Operation, Requests, RetryOptions, Tally, Throttle, ThrottleOptions};

use super::access::{Access, AccessError};

/// Asks whether a bucket keeps versions.
///
/// Who may not ask can copy all the same: each answer then says it. But a delete is sent only to a
/// bucket that was seen to keep versions, for elsewhere it deletes. `replay`: some will be sent.
///
/// # Errors
/// It keeps none, also none any more; or it could not be asked.
pub async fn check(
    access: &Access,
    bucket: &str,
    replay: bool,
    retry: RetryOptions,
) -> Result<(), AccessError> {
    let owner = access.destination_account.iter();
    let owner: Vec<_> = owner
        .map(|account| ("x-amz-expected-bucket-owner".into(), account.clone()))
        .collect();
    let throttle = Throttle::new(&ThrottleOptions::default());
    let requests = Requests::new(throttle, access.credentials.clone(), retry);
    let ask = || access.destination.get_bucket_versioning(bucket, &owner);
    let (operation, on_doubt) = (Operation::GetBucketVersioning, OnDoubt::Resend);
    let mut tally = Tally::default();
    let asked = requests.send_uncounted(&mut tally, operation, None, on_doubt, ask);
    match asked.await {
        Ok(Some(status)) if status == "Enabled" => Ok(()),
        Ok(status) => Err(AccessError::NotVersioned {
            bucket: bucket.to_owned(),
            suspended: status.is_some(),
        }),
        Err(error) if error.status == Some(403) && !replay => {
            tracing::warn!(
                bucket,
                "it may not be asked whether the destination keeps versions \
                 (s3:GetBucketVersioning): a copy that gets no version ID fails its row"
            );
            Ok(())
        }
        Err(error) => Err(AccessError::VersioningUnknown {
            bucket: bucket.to_owned(),
            source: Box::new(error),
        }),
    }
}
