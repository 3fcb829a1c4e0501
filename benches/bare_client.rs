//! A bare hyper client that sends the same signed PUT again and again: the floor under which no
//! client of the same server comes. Run by `end_to_end.py`, which signs the request.
//!
//! Arguments: authority, path, requests, requests in flight, then `name=value` of each header.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    // `cargo bench` and `cargo test --benches` pass flags of their own.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let [authority, path, requests, in_flight, headers @ ..] = &arguments[..] else {
        return Ok(());
    };
    let (requests, in_flight): (u64, usize) = (requests.parse()?, in_flight.parse()?);
    let uri: hyper::Uri = format!("http://{authority}{path}").parse()?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let left = Arc::new(AtomicU64::new(requests));
    let mut tasks = JoinSet::new();
    for _ in 0..in_flight {
        let (client, left, uri) = (client.clone(), Arc::clone(&left), uri.clone());
        let headers = headers.to_vec();
        tasks.spawn(async move {
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                .is_ok()
            {
                let mut request = hyper::Request::put(uri.clone());
                for header in &headers {
                    let (name, value) = header.split_once('=').unwrap_or((header, ""));
                    request = request.header(name, value);
                }
                let answer = client.request(request.body(Empty::new())?).await?;
                let status = answer.status();
                answer.into_body().collect().await?;
                if !status.is_success() {
                    return Err::<(), Failure>(format!("answered {status}").into());
                }
            }
            Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}
