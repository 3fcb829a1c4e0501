//! DNS for the pool of connections: cached, single flight, shuffled, two addresses tried at a time.
//!
//! Without it a burst of new connections is as many lookups at once, in as many threads, and all of the
//! connections go to the first address of the answer, though S3 spreads its load over many. And one address
//! that swallows what it is sent would cost each connection that begins with it the whole time-out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
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
            Ok(with_second_family(addresses))
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

/// Lists the IPv4 addresses, then all but the first of them once more, written as IPv6 ones.
///
/// hyper tries the addresses of a family one after the other, and moves on from one that does not answer only
/// when the time-out is over; but after 300 ms it tries those of the other family beside it, and takes
/// whichever answers. Written so, the second address is of the other family, and reached by IPv4 all the
/// same. Where there is no IPv6 at all these fail at once, and the first list decides.
fn with_second_family(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let (v4, v6): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv4);
    let mapped = |address: &IpAddr| match address {
        IpAddr::V4(address) => IpAddr::V6(Ipv4Addr::to_ipv6_mapped(address)),
        IpAddr::V6(_) => *address,
    };
    let again: Vec<_> = v4.iter().skip(1).map(mapped).collect();
    [v4, again, v6].concat()
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

    #[test]
    fn the_second_address_is_of_another_family() {
        let v4 = |n| IpAddr::from([10, 0, 0, n]);
        let mapped = |n| IpAddr::V6(Ipv4Addr::new(10, 0, 0, n).to_ipv6_mapped());
        let v6 = IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]);
        let table = [
            (vec![], vec![]),
            (vec![v4(1)], vec![v4(1)]),
            (vec![v6], vec![v6]),
            (vec![v4(1), v6], vec![v4(1), v6]),
            (
                vec![v4(1), v4(2), v4(3), v6],
                vec![v4(1), v4(2), v4(3), mapped(2), mapped(3), v6],
            ),
        ];
        for (found, expected) in table {
            assert_eq!(with_second_family(found), expected);
        }
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

/// On systems where all of 127.0.0.0/8 is this machine.
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests_of_connections {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio::task::JoinSet;

    use super::*;
    use crate::client::{CONNECT_TIMEOUT, ClientOptions, HttpClient, S3Client};
    use crate::credentials::Credentials;
    use crate::network::Network;

    /// A server on an address of this machine, which counts its connections.
    struct Server {
        port: u16,
        connections: Arc<AtomicUsize>,
        _server: JoinSet<()>,
    }

    const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
    const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

    async fn serve(address: Ipv4Addr, port: u16) -> Server {
        let listener = TcpListener::bind((address, port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let answer =
                b"HTTP/1.1 200 OK\r\nx-amz-bucket-region: eu-west-1\r\nconnection: close\r\n\r\n";
            while let Ok((mut client, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                client.write_all(answer).await.unwrap();
            }
        });
        Server {
            port,
            connections,
            _server: server,
        }
    }

    /// Sends requests, each on a connection of its own, to a name that has both addresses.
    async fn ask(port: u16, requests: usize) -> Vec<crate::error::Result<crate::BucketFacts>> {
        let resolver = Resolver::default();
        let answer = Answer {
            at: Instant::now(),
            addresses: vec![FIRST.into(), SECOND.into()],
        };
        let known = Arc::new(tokio::sync::Mutex::new(Some(answer)));
        resolver
            .names
            .lock()
            .unwrap()
            .insert("two.test".into(), known);
        let http = HttpClient::with_resolver(1, &Network::default(), resolver);
        let options = ClientOptions {
            region: "eu-west-1".into(),
            endpoint_url: Some(format!("http://two.test:{port}")),
            force_path_style: true,
            max_connections: 1,
        };
        let client = S3Client::new(&http, &options, &Credentials::fixed());
        let mut answers = Vec::new();
        for _ in 0..requests {
            answers.push(client.head_bucket("b", &[]).await);
        }
        answers
    }

    #[tokio::test]
    async fn connections_are_spread_over_the_addresses() {
        let second = serve(SECOND, 0).await;
        let first = serve(FIRST, second.port).await;
        let answers = ask(second.port, 40).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        let counts = [&first, &second].map(|server| server.connections.load(Ordering::Relaxed));
        assert!(counts.iter().all(|count| *count > 5), "{counts:?}");
        assert_eq!(counts.iter().sum::<usize>(), 40);
    }

    #[tokio::test]
    async fn an_address_that_refuses_costs_nothing() {
        let second = serve(SECOND, 0).await;
        let answers = ask(second.port, 20).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }

    #[tokio::test]
    async fn an_address_that_swallows_everything_costs_little() {
        let second = serve(SECOND, 0).await;
        // A listener that accepts nobody, with no room for more: it neither answers nor refuses.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((FIRST, second.port).into()).unwrap();
        let hole = socket.listen(1).unwrap();
        let address = hole.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(connected) =
            tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
        {
            waiting.push(connected.unwrap());
        }
        let began = Instant::now();
        let answers = ask(second.port, 12).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        // Half of them begin with the address that does not answer.
        assert!(began.elapsed() < CONNECT_TIMEOUT, "{:?}", began.elapsed());
        drop(waiting);
    }
}
