//! One S3 client a region and endpoint, over one shared pool of connections.

use std::fmt;
use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, IdentityCache, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, Connector, tls};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

use crate::credentials::Credentials;
use crate::network::Network;
use crate::resolver::Resolver;

/// How long a connection may take to be made.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection is kept without a request, shorter than servers keep it: a request sent as the
/// other side closes is lost, and if it was a write, in doubt.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// The pool of connections, with its TLS and DNS. Clones share it, and so should all clients.
#[derive(Clone)]
pub struct HttpClient(SharedHttpClient);

impl HttpClient {
    /// A pool that keeps up to `max_connections` idle ones for each host.
    ///
    /// Certificates are read when the first client uses it.
    pub fn new(max_connections: usize, network: &Network) -> Self {
        Self::with_resolver(max_connections, network, Resolver::default())
    }

    pub(crate) fn with_resolver(
        max_connections: usize,
        network: &Network,
        resolver: Resolver,
    ) -> Self {
        let (proxy, tls) = (network.proxy(), network.tls());
        Self(
            Builder::new().build_with_connector_fn(move |settings, components| {
                let mut connector = Connector::builder()
                    .pool_max_idle_per_host(max_connections)
                    .pool_idle_timeout(POOL_IDLE_TIMEOUT)
                    .proxy_config(proxy.clone());
                connector.set_connector_settings(settings.cloned());
                connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
                connector
                    .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
                    .tls_context(tls.clone())
                    .build_with_resolver(resolver.clone())
            }),
        )
    }

    pub(crate) fn shared(&self) -> SharedHttpClient {
        self.0.clone()
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpClient")
    }
}

/// Where a client sends its requests.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// The region to sign for, and whose endpoint is used unless `endpoint_url` says otherwise.
    pub region: String,
    /// Another endpoint, without a path: see [`validate_endpoint_url`].
    pub endpoint_url: Option<String>,
    /// Whether the bucket goes in the path, not in the host's name.
    pub force_path_style: bool,
    /// How many connections are used at most; the pool's own number counts, this one is for the record.
    pub max_connections: usize,
}

/// Sends requests to S3, each exactly once. Clones are cheap.
///
/// Every method is named as S3 names its request, sends it once, and waits for its answer as long as it
/// takes: attempts are timed and repeated by [`Requests`](crate::Requests).
#[derive(Clone)]
pub struct S3Client {
    pub(crate) sdk: aws_sdk_s3::Client,
    region: String,
    elsewhere: bool,
}

impl S3Client {
    /// A client over that pool. It reads the credentials anew for each request.
    pub fn new(http: &HttpClient, options: &ClientOptions, credentials: &Credentials) -> Self {
        let mut config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(http.shared())
            .region(Region::new(options.region.clone()))
            .force_path_style(options.force_path_style)
            .credentials_provider(credentials.slot())
            // The slot is the cache, and can be renewed before its time.
            .identity_cache(IdentityCache::no_cache())
            // Its token bucket fails whole jobs in a storm, and it would sleep with our permit.
            .retry_config(RetryConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .build(),
            )
            // It takes the silence of a long part copy for a stall, and kills what S3 is finishing.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            // Headers are the caller's; none are added on our behalf.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        config.set_endpoint_url(options.endpoint_url.clone());
        Self {
            sdk: aws_sdk_s3::Client::from_conf(config.build()),
            region: options.region.clone(),
            elsewhere: options.endpoint_url.is_some(),
        }
    }

    /// Whether it asks an endpoint that was named, which may be a store like S3.
    pub fn is_elsewhere(&self) -> bool {
        self.elsewhere
    }

    /// The region that it signs for.
    pub fn region(&self) -> &str {
        &self.region
    }
}

impl fmt::Debug for S3Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Client")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// Checks an endpoint's URL: `http` or `https`, a host, maybe a port, and nothing else.
///
/// A path would be glued to the key without a slash.
///
/// # Errors
///
/// What is wrong with it, in words that fit after the flag's name.
pub fn validate_endpoint_url(url: &str) -> Result<(), String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(format!("{url} has no http:// or https://"));
    };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(format!("{url} is neither http:// nor https://"));
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('@') {
        return Err("an endpoint takes no user name or password".to_owned());
    }
    if authority.contains(['/', '?', '#']) {
        return Err(format!(
            "{url} has a path or a query: an endpoint is a host and a port"
        ));
    }
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!("{url} has no host"));
    }
    match port {
        Some(port) if port.parse::<u16>().is_err() => {
            Err(format!("{url} has a port that is no number"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_urls() {
        for good in [
            "http://localhost:9000",
            "https://s3.eu-west-1.amazonaws.com",
            "https://s3.eu-west-1.amazonaws.com/",
            "HTTP://127.0.0.1:80",
            "http://[::1]:9000",
            "http://[::1]",
        ] {
            assert_eq!(validate_endpoint_url(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "localhost:9000",
            "ftp://host",
            "http://",
            "http:///",
            "http://host/path",
            "http://host//",
            "http://host?x=y",
            "http://host#x",
            "http://user:secret@host",
            "http://host:port",
            "http://host:99999",
            "http:// host",
        ] {
            assert!(validate_endpoint_url(bad).is_err(), "{bad}");
        }
        let said = validate_endpoint_url("http://user:secret@host").unwrap_err();
        assert!(!said.contains("secret"));
    }
}
