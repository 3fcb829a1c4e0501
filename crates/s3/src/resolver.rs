//! DNS for the pool of connections: cached, single flight, shuffled.
//!
//! Without it a burst of new connections is as many lookups at once, in as many threads, and all of the
//! connections go to the first address of the answer, though S3 spreads its load over many.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};

/// How long an answer is used. S3's live for seconds, so that load can move.
const FRESH: Duration = Duration::from_secs(10);

/// How long an old answer is used when no new one can be had.
const STALE: Duration = Duration::from_mins(5);

/// Resolves names for all clients of one pool.
#[derive(Debug, Clone, Default)]
pub struct Resolver {
    names: Arc<Mutex<HashMap<String, Arc<Name>>>>,
}

/// One name. The lock is held during the lookup, so that all who ask meanwhile wait for its answer.
type Name = tokio::sync::Mutex<Option<Answer>>;

#[derive(Debug, Clone)]
struct Answer {
    at: Instant,
    addresses: Vec<IpAddr>,
}

impl ResolveDns for Resolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let mut addresses = self.addresses(name).await.map_err(ResolveDnsError::new)?;
            shuffle(&mut addresses);
            Ok(addresses)
        })
    }
}

impl Resolver {
    async fn addresses(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        let entry = {
            let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            // Few names: an endpoint, or a bucket's virtual host or two.
            Arc::clone(names.entry(name.to_owned()).or_default())
        };
        let mut answer = entry.lock().await;
        let age = answer.as_ref().map(|answer| answer.at.elapsed());
        if let (Some(answer), Some(age)) = (&*answer, age)
            && age < FRESH
        {
            return Ok(answer.addresses.clone());
        }
        match lookup(name).await {
            Ok(addresses) => {
                *answer = Some(Answer {
                    at: Instant::now(),
                    addresses: addresses.clone(),
                });
                Ok(addresses)
            }
            Err(error) => match (&*answer, age) {
                (Some(old), Some(age)) if age < STALE => {
                    tracing::debug!(name, %error, "no new addresses, the old ones are used");
                    Ok(old.addresses.clone())
                }
                _ => Err(error),
            },
        }
    }
}

async fn lookup(name: &str) -> std::io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> = tokio::net::lookup_host((name, 0))
        .await?
        .map(|address| address.ip())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// Mixes the addresses, the IPv4 ones first: a host without IPv6 then does not try it for each connection.
fn shuffle(addresses: &mut [IpAddr]) {
    fastrand::shuffle(addresses);
    addresses.sort_by_key(IpAddr::is_ipv6);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffles_within_the_families() {
        let v4: Vec<IpAddr> = (0..8).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        let v6 = IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]);
        let mut firsts = std::collections::HashSet::new();
        for _ in 0..200 {
            let mut addresses = vec![v6];
            addresses.extend(&v4);
            shuffle(&mut addresses);
            assert_eq!(addresses.last(), Some(&v6));
            firsts.insert(addresses[0]);
        }
        assert_eq!(firsts.len(), v4.len());
    }

    #[tokio::test]
    async fn an_answer_is_kept() {
        let resolver = Resolver::default();
        let first = resolver.addresses("localhost").await.unwrap();
        assert!(!first.is_empty());
        let at = |resolver: &Resolver| {
            let names = resolver.names.lock().unwrap();
            names["localhost"].try_lock().unwrap().clone().unwrap().at
        };
        let before = at(&resolver);
        let second = resolver.addresses("localhost").await.unwrap();
        assert_eq!(first, second);
        assert_eq!(before, at(&resolver));
    }
}
