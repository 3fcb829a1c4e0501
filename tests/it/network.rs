//! The way to S3: certificates that are believed, a proxy, connections, and clocks that differ.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use s3haul_sandbox::{BucketSettings, Fault, FaultKind, Operation, SandboxOptions, When};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_util::sync::CancellationToken;

use crate::objects::{IN_PARTS, LARGE, sent, sized_manifest};
use crate::support::{DESTINATION, Run, World, message};

/// A way to a sandbox that passes everything on.
pub(crate) struct Front {
    pub(crate) url: String,
    /// What was counted when each connection came.
    pub(crate) accepted: Arc<Mutex<Vec<usize>>>,
    dropped: CancellationToken,
    _server: JoinSet<()>,
}

impl Front {
    /// `count` is asked at each new connection; one without a request for so long is closed.
    pub(crate) async fn before(
        world: &World,
        idle: Duration,
        count: impl Fn() -> usize + Clone + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let sandbox = world.sandbox.address();
        let accepted = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&accepted);
        let dropped = CancellationToken::new();
        let until = dropped.clone();
        let server = serve(listener, move |client| {
            seen.lock().unwrap().push(count());
            let until = until.clone();
            // Those that come afterwards stay.
            let first = !until.is_cancelled();
            async move {
                let passed_on = Box::pin(pass_on(client, sandbox, idle));
                if first {
                    until.run_until_cancelled(passed_on).await;
                } else {
                    passed_on.await;
                }
            }
        });
        Self {
            url,
            accepted,
            dropped,
            _server: server,
        }
    }

    /// Closes the connections that there are.
    pub(crate) fn drop_connections(&self) {
        self.dropped.cancel();
    }
}

/// Passes on what either side sends, until nothing was sent for a while after an answer.
async fn pass_on(mut client: TcpStream, sandbox: std::net::SocketAddr, idle: Duration) {
    let mut server = TcpStream::connect(sandbox).await.unwrap();
    let (mut from_client, mut from_server) = ([0; 16_384], [0; 16_384]);
    let mut waits_for_answer = true;
    loop {
        let patience = if waits_for_answer {
            Duration::from_mins(2)
        } else {
            idle
        };
        let read = async {
            tokio::select! {
                read = client.read(&mut from_client) => (true, read),
                read = server.read(&mut from_server) => (false, read),
            }
        };
        let Ok((of_client, Ok(read @ 1..))) = tokio::time::timeout(patience, read).await else {
            return;
        };
        waits_for_answer = of_client;
        let passed = if of_client {
            server.write_all(&from_client[..read]).await
        } else {
            client.write_all(&from_server[..read]).await
        };
        if passed.is_err() {
            return;
        }
    }
}

/// Serves each connection until it is dropped.
fn serve<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F + Send + 'static) -> JoinSet<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            connections.spawn(serve(client));
        }
    });
    server
}

/// TLS before a sandbox, with a certificate of its own making.
struct Tls {
    url: String,
    certificate: String,
    _server: JoinSet<()>,
}

impl Tls {
    async fn before(world: &World) -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let sandbox = world.sandbox.endpoint().replace("http://", "");
        let server = serve(listener, move |client| {
            let (acceptor, sandbox) = (acceptor.clone(), sandbox.clone());
            async move {
                // A client that does not believe the certificate is gone by now.
                let Ok(mut client) = acceptor.accept(client).await else {
                    return;
                };
                let mut server = TcpStream::connect(sandbox).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
        });
        Self {
            url,
            certificate: made.cert.pem(),
            _server: server,
        }
    }

    fn bundle(&self, world: &World) -> PathBuf {
        let path = world.path("bundle.pem");
        std::fs::write(&path, &self.certificate).unwrap();
        path
    }

    /// `copy` of what lies behind it.
    fn copy_command(&self, world: &World) -> tokio::process::Command {
        world.copy_command_by(&self.url, "report")
    }
}

/// A proxy that passes on what CONNECT asks for, and counts.
struct Proxy {
    url: String,
    asked: Arc<AtomicUsize>,
    _server: JoinSet<()>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let server = serve(listener, move |mut client| {
            let count = Arc::clone(&count);
            async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let mut words = head.split(' ');
                assert_eq!(words.next(), Some("CONNECT"));
                count.fetch_add(1, Ordering::Relaxed);
                let mut server = TcpStream::connect(words.next().unwrap()).await.unwrap();
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
        });
        Self {
            url,
            asked,
            _server: server,
        }
    }

    /// How often it was asked.
    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_vouches_for_is_named_at_once() {
    let world = World::new();
    world.small_objects(3);
    let tls = Tls::before(&world).await;
    let run = Run::of(tls.copy_command(&world)).await;
    run.expect(3);
    for words in [
        "certificate is not believed",
        "UnknownIssuer",
        "AWS_CA_BUNDLE",
    ] {
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
    assert!(world.sandbox.log().entries().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_of_certificates_is_believed() {
    let world = World::new();
    world.small_objects(3);
    let tls = Tls::before(&world).await;
    let mut command = tls.copy_command(&world);
    command.env("AWS_CA_BUNDLE", tls.bundle(&world));
    Run::of(command).await.expect(0);
    world.assert_copied("k00002");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_cannot_be_used_is_refused() {
    let world = World::new();
    world.small_objects(3);
    let bundle = world.path("bundle.pem");
    std::fs::write(&bundle, "no certificate\n").unwrap();
    for (path, words) in [
        (bundle, "holds no certificate"),
        (world.path("absent"), "cannot read"),
    ] {
        let mut command = world.copy_command();
        command.env("AWS_CA_BUNDLE", path);
        let run = Run::of(command).await;
        run.expect(2);
        assert!(
            run.stderr.contains("AWS_CA_BUNDLE") && run.stderr.contains(words),
            "{}",
            run.stderr
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn https_goes_through_a_proxy() {
    for (no_proxy, through) in [("", true), ("example.org,127.0.0.1", false)] {
        let world = World::new();
        world.small_objects(3);
        let tls = Tls::before(&world).await;
        let proxy = Proxy::start().await;
        let mut command = tls.copy_command(&world);
        command
            .env("AWS_CA_BUNDLE", tls.bundle(&world))
            .env("HTTPS_PROXY", &proxy.url)
            .env("NO_PROXY", no_proxy);
        Run::of(command).await.expect(0);
        world.assert_copied("k00002");
        assert_eq!(proxy.asked() > 0, through, "{no_proxy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_goes_through_no_proxy() {
    let world = World::new();
    world.small_objects(3);
    let proxy = Proxy::start().await;
    let mut command = world.copy_command();
    for variable in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY"] {
        command.env(variable, &proxy.url);
    }
    Run::of(command).await.expect(0);
    assert_eq!(proxy.asked(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_none_is_refused_without_its_password() {
    let world = World::new();
    world.small_objects(3);
    let mut command = world.copy_command();
    command.env("HTTPS_PROXY", "http://user:secret@pro xy");
    let run = Run::of(command).await;
    run.expect(2);
    assert!(
        run.stderr.contains("HTTPS_PROXY") && !run.stderr.contains("secret"),
        "{}",
        run.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_has_addresses_without_a_server_is_reached_by_the_others() {
    let world = World::new();
    world.small_objects(30);
    // The sandbox listens on 127.0.0.1; the name may be ::1 too.
    let port = world.sandbox.address().port();
    let mut command = world.copy_command_by(&format!("http://localhost:{port}"), "report");
    command.arg("--force-path-style");
    let run = Run::of(command).await;
    run.expect(0);
    assert_eq!(run.summary("succeeded"), 30);
    assert_eq!(world.sandbox.log().count(Operation::CopyObject), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_grow_with_the_answers() {
    for concurrency in ["auto", "256"] {
        let world = World::new();
        world.small_objects(600);
        let slow = Fault::on(Operation::CopyObject, FaultKind::Latency(150));
        world.sandbox.faults().add(slow);
        let log = world.sandbox.log().clone();
        let answered = move || {
            let copies = log.of(Operation::CopyObject);
            copies
                .iter()
                .filter(|copy| copy.status == Some(200))
                .count()
        };
        let front = Front::before(&world, Duration::from_mins(2), answered).await;
        let mut command = world.copy_command_by(&front.url, "report");
        command.args(["--concurrency", concurrency]);
        Run::of(command).await.expect(0);
        let accepted = front.accepted.lock().unwrap().clone();
        for (before, answered) in accepted.iter().enumerate() {
            // What waits for a connection may be served by another meanwhile: the pool keeps both.
            let most = 2 * (16 + answered) + 8;
            assert!(
                before < most,
                "{before} connections after {answered} answers"
            );
        }
        assert!(accepted.len() > 100, "{concurrency}: {}", accepted.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_that_the_server_closes_cost_no_attempt() {
    let world = World::new();
    world.small_objects(12);
    let front = Front::before(&world, Duration::from_millis(150), || 0).await;
    let mut command = world.copy_command_by(&front.url, "report");
    command.args(["--max-rps", "3", "--overwrite", "never"]);
    let run = Run::of(command).await;
    run.expect(0);
    // The connections were gone before the next request.
    let connections = front.accepted.lock().unwrap().len();
    assert!(connections >= 10, "{connections}");
    assert_eq!(world.sandbox.log().count(Operation::CopyObject), 12);
    assert_eq!(run.summary("in_doubt"), 0);
    for row in world.rows() {
        assert_eq!(message(&row, "attempts"), 1);
    }
}

/// Copies with a clock that is off by so many seconds, seen from the server, and loses answers on the way.
async fn with_a_clock_off(seconds: i64) {
    let options = SandboxOptions {
        clock_ahead_seconds: seconds,
        ..SandboxOptions::default()
    };
    let world = World::with(options, BucketSettings::default());
    let mut keys: Vec<_> = (0..40).map(|n| format!("k{n:02}")).collect();
    for key in &keys {
        world.put(key, key);
    }
    for key in ["large", "lost-upload"] {
        world.declare(key, LARGE);
        keys.push(key.to_owned());
    }
    sized_manifest(&world, &keys);
    let lost = |operation, key: &str| {
        let fault = Fault::on(operation, FaultKind::AnswerLost).key(key);
        world.sandbox.faults().add(fault.when(When::First(1)))
    };
    let lost = [
        lost(Operation::CopyObject, "k20"),
        lost(Operation::CompleteMultipartUpload, "large"),
        lost(Operation::CreateMultipartUpload, "lost-upload"),
    ];
    let mut flags = IN_PARTS.to_vec();
    flags.extend(["--overwrite", "never"]);
    let run = world.copy(&flags).await;
    run.expect(0);
    assert!(lost.iter().all(|fault| fault.hits() == 1));
    assert_eq!(run.summary("succeeded"), keys.len());
    assert_eq!(run.summary("errors"), json!({}));
    // By S3's clock they were written since the job began: found, not taken for another's.
    let rows = world.rows_by_key();
    for key in ["k20", "large"] {
        assert_eq!(message(&rows[key], "evidence"), "found", "{key}");
    }
    assert_eq!(sent(&world, Operation::CopyObject, "k20").len(), 1);
    assert_eq!(world.store().uploads(DESTINATION).len(), 0);
    for key in &keys {
        world.assert_copied(key);
    }
    // Each client learns the time from its first answer.
    let entries = world.sandbox.log().entries();
    let refused = |code: &str| {
        let of = entries
            .iter()
            .filter(|entry| entry.error_code.as_deref() == Some(code));
        of.count()
    };
    assert_eq!(refused("SignatureDoesNotMatch"), 1);
    assert!((1..=6).contains(&refused("RequestTimeTooSkewed")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_an_hour_slow_is_corrected() {
    with_a_clock_off(3_600).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_an_hour_fast_is_corrected() {
    with_a_clock_off(-3_600).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_renewed_in_time_by_a_clock_that_is_off() {
    for ahead in [3_600, -3_600] {
        let options = SandboxOptions {
            clock_ahead_seconds: ahead,
            min_session_seconds: 1,
            ..SandboxOptions::default()
        };
        let world = World::with(options, BucketSettings::default());
        world.small_objects(40);
        let slow = Fault::on(Operation::CopyObject, FaultKind::Latency(400));
        world.sandbox.faults().add(slow);
        let flags = ["--role-duration", "2s", "--concurrency", "4"];
        let run = world.copy(&flags).await;
        run.expect(0);
        assert_eq!(run.summary("succeeded"), 40);
        let sessions = world.sandbox.log().count(Operation::AssumeRole);
        assert!((3..=10).contains(&sessions), "{sessions}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_believed_although_the_clock_is_off() {
    let options = SandboxOptions {
        clock_ahead_seconds: 3_600,
        ..SandboxOptions::default()
    };
    let world = World::with(options, BucketSettings::default());
    world.small_objects(3);
    world
        .store()
        .set_bucket_policy(crate::support::SOURCE, None)
        .unwrap();
    let run = world.copy(&[]).await;
    run.expect(3);
    assert!(!run.stderr.contains("Skewed"), "{}", run.stderr);
    let heads = world.sandbox.log().count(Operation::HeadBucket);
    assert!(heads <= 12, "{heads}");
}
