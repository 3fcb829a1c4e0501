//! What the environment says of the way to S3: a proxy, and whose certificates are believed.

use std::env::VarError;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{TlsContext, TrustStore};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::client::validate_endpoint_url;

/// A proxy and certificates, as the environment names them.
///
/// `HTTPS_PROXY` with `NO_PROXY`: requests over HTTPS go through it. Those over HTTP never do: they are
/// for stores nearby, and for the credentials of containers and instances, which are nobody else's to see.
///
/// `AWS_CA_BUNDLE`: a file of certificates in PEM that are believed instead of the system's, as by the
/// AWS CLI.
#[derive(Debug, Clone, Default)]
pub struct Network {
    proxy: Option<ProxyConfig>,
    /// What `AWS_CA_BUNDLE` holds.
    certificates: Option<Arc<[u8]>>,
}

/// What the environment names and cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The value is not shown: it may have a password.
    #[error("{variable} is no address of a proxy: write http://HOST:PORT")]
    Proxy {
        /// `HTTPS_PROXY` or its other spelling.
        variable: &'static str,
    },
    /// The file of `AWS_CA_BUNDLE` cannot be read.
    #[error("cannot read AWS_CA_BUNDLE {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file of `AWS_CA_BUNDLE` has no certificates that can be used.
    #[error("AWS_CA_BUNDLE {}: {why}", path.display())]
    NoCertificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl Network {
    /// As the environment has it.
    ///
    /// # Errors
    ///
    /// A proxy's address or a file of certificates that cannot be used.
    pub fn of_environment() -> Result<Self, NetworkError> {
        Self::of(|name| match std::env::var(name) {
            Ok(value) => Some(value),
            Err(VarError::NotPresent) => None,
            // Not what it means, and more than nothing: it is refused by name where it is used.
            Err(VarError::NotUnicode(value)) => Some(value.to_string_lossy().into_owned()),
        })
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self, NetworkError> {
        let set = |name: &'static str| {
            let value = variable(name).filter(|value| !value.is_empty());
            value.map(|value| (name, value))
        };
        let proxy = set("HTTPS_PROXY").or_else(|| set("https_proxy"));
        let no_proxy = set("NO_PROXY").or_else(|| set("no_proxy"));
        let proxy = match proxy {
            None => None,
            Some((name, address)) => {
                let refused = || NetworkError::Proxy { variable: name };
                // Tools take a bare host and port too.
                let rest = address.strip_prefix("http://").unwrap_or(&address);
                let (user, host) = rest
                    .rsplit_once('@')
                    .map_or(("", rest), |(user, host)| (user, host));
                validate_endpoint_url(&format!("http://{host}")).map_err(|_| refused())?;
                let at = if user.is_empty() { "" } else { "@" };
                let address = format!("http://{user}{at}{host}");
                let proxy = ProxyConfig::https(address.as_str()).map_err(|_| refused())?;
                Some(match no_proxy {
                    Some((_, rules)) => proxy.no_proxy(rules),
                    None => proxy,
                })
            }
        };
        let certificates = match set("AWS_CA_BUNDLE") {
            None => None,
            Some((_, path)) => Some(certificates(Path::new(&path))?),
        };
        Ok(Self {
            proxy,
            certificates,
        })
    }

    /// What requests over HTTPS go through.
    pub(crate) fn proxy(&self) -> ProxyConfig {
        self.proxy.clone().unwrap_or_else(ProxyConfig::disabled)
    }

    /// Whose certificates are believed.
    pub(crate) fn tls(&self) -> TlsContext {
        let store = match &self.certificates {
            None => TrustStore::default(),
            Some(pem) => TrustStore::empty().with_pem_certificate(pem.to_vec()),
        };
        // Its one error is of further server names, of which there are none.
        TlsContext::builder()
            .with_trust_store(store)
            .build()
            .unwrap_or_default()
    }
}

/// Reads a file of certificates, each of which is looked at here: the SDK would panic at a bad one.
fn certificates(path: &Path) -> Result<Arc<[u8]>, NetworkError> {
    let pem = std::fs::read(path).map_err(|source| NetworkError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let refused = |why: String| NetworkError::NoCertificates {
        path: path.to_owned(),
        why,
    };
    let mut roots = RootCertStore::empty();
    for (at, certificate) in CertificateDer::pem_slice_iter(&pem).enumerate() {
        let nth = at + 1;
        let certificate =
            certificate.map_err(|why| refused(format!("certificate {nth} is no PEM: {why}")))?;
        roots
            .add(certificate)
            .map_err(|why| refused(format!("certificate {nth} cannot be used: {why}")))?;
    }
    if roots.is_empty() {
        return Err(refused("it holds no certificate in PEM".to_owned()));
    }
    Ok(pem.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Network, NetworkError> {
        Network::of(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_proxy_is_taken_by_either_spelling() {
        assert!(of(&[]).unwrap().proxy().is_disabled());
        assert!(of(&[("HTTPS_PROXY", "")]).unwrap().proxy().is_disabled());
        for value in [
            "http://proxy:8080",
            "proxy:8080",
            "http://user:secret@proxy:8080",
        ] {
            for name in ["HTTPS_PROXY", "https_proxy"] {
                assert!(
                    !of(&[(name, value)]).unwrap().proxy().is_disabled(),
                    "{value}"
                );
            }
        }
        for value in [
            "http://h:99999",
            "https://h:1",
            "socks5://h:1",
            "http://h:1/path?x",
            "::",
        ] {
            assert!(of(&[("HTTPS_PROXY", value)]).is_err(), "{value}");
        }
        let refused = of(&[("HTTPS_PROXY", "http://user:secret@pro xy")]).unwrap_err();
        assert!(
            refused.to_string().contains("HTTPS_PROXY") && !refused.to_string().contains("secret")
        );
    }

    #[test]
    fn certificates_are_looked_at_before_they_are_needed() {
        let folder = std::env::temp_dir().join(format!("s3haul-bundle-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("bundle.pem");
        let told = || {
            let path = path.display().to_string();
            of(&[("AWS_CA_BUNDLE", &path)]).unwrap_err().to_string()
        };
        assert!(told().contains("cannot read AWS_CA_BUNDLE"));
        std::fs::write(&path, "nothing\n").unwrap();
        assert!(told().contains("holds no certificate"));
        let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&path, bad).unwrap();
        assert!(
            told().contains("certificate 1 cannot be used"),
            "{}",
            told()
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
