//! The way to S3: certificates that are believed, and a proxy.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::support::{Run, World};

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
