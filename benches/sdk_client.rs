//! Requests alone: the job's client sends CopyObject again and again, with neither manifest, plan,
//! throttle nor report. What `s3haul copy` costs above it is ours. Run by `end_to_end.py`.
//!
//! Arguments: endpoint, role ARN, external ID, source bucket, key prefix, destination bucket,
//! requests, requests in flight. Keys are the prefix and eight digits.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures::future::try_join_all;
use s3haul_s3::{
    BaseIdentity, BaseOptions, ClientOptions, CopyObject, CopySource, Credentials, HttpClient,
    RoleOptions, S3Client,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    // `cargo bench` and `cargo test --benches` pass flags of their own.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let [
        endpoint,
        role_arn,
        external_id,
        source,
        prefix,
        destination,
        requests,
        in_flight,
    ] = &arguments[..]
    else {
        return Ok(());
    };
    let (requests, in_flight): (u64, usize) = (requests.parse()?, in_flight.parse()?);
    let http = HttpClient::new(in_flight, &s3haul_s3::Network::default());
    let options = BaseOptions {
        profile: None,
        region: Some("us-east-1".to_owned()),
        sts_endpoint_url: None,
        endpoint_url: Some(endpoint.clone()),
        ..BaseOptions::default()
    };
    let base = BaseIdentity::load(&http, &options).await?;
    let role = RoleOptions {
        role_arn: role_arn.clone(),
        external_id: Some(external_id.clone()),
        session_name: "s3haul-bench".to_owned(),
        duration: Duration::from_hours(1),
        mfa_serial: None,
        mfa_code: None,
    };
    let credentials = Credentials::assume_role(&base, role).await?;
    let options = ClientOptions {
        region: "us-east-1".to_owned(),
        endpoint_url: Some(endpoint.clone()),
        force_path_style: true,
        max_connections: in_flight,
    };
    let client = S3Client::new(&http, &options, &credentials);
    let next = Rc::new(Cell::new(0));
    let copies = (0..in_flight).map(|_| async {
        while next.get() < requests {
            let n = next.replace(next.get() + 1);
            let key = format!("{prefix}{n:08}");
            let source = CopySource {
                bucket: source.clone(),
                key: key.clone(),
                version_id: None,
            };
            let acl = ("x-amz-acl".into(), "bucket-owner-full-control".to_owned());
            let request = CopyObject {
                bucket: destination,
                key: &key,
                source: &source,
                headers: &[acl],
            };
            client.copy_object(request).await?;
        }
        Ok::<(), Failure>(())
    });
    try_join_all(copies).await?;
    Ok(())
}
