//! What is known of a request before anything is done for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::{HeaderMap, Method, Uri};
use percent_encoding::percent_decode_str;

use crate::identity::{Directory, Identity};
use crate::operation::{Level, Operation};

/// A request as the fault layer, the log and the operations see it. It travels in the request's extensions.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) request_id: String,
    pub(crate) operation: Operation,
    pub(crate) level: Level,
    /// Whether the answer has no body.
    pub(crate) is_head: bool,
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) scope: Option<Scope>,
    /// Whose key the request names; not yet whether the signature is right.
    pub(crate) identity: Option<Arc<Identity>>,
    /// Whether the requester pays, found by the access check.
    pub(crate) charged: AtomicBool,
}

/// The credential scope of a signature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) access_key_id: String,
    pub(crate) region: String,
    pub(crate) service: String,
    pub(crate) signed_headers: Vec<String>,
}

impl Exchange {
    pub(crate) fn new(
        request_id: String,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        directory: &Directory,
    ) -> Self {
        let query = parse_query(uri.query().unwrap_or_default());
        let path = percent_decode_str(uri.path()).decode_utf8_lossy();
        let path = path.strip_prefix('/').unwrap_or(&path);
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let level = match (bucket, key) {
            ("", _) => Level::Service,
            (_, "") => Level::Bucket,
            _ => Level::Object,
        };
        let scope = Scope::of(headers, &query);
        let identity = scope
            .as_ref()
            .and_then(|scope| directory.find(&scope.access_key_id));
        Self {
            request_id,
            operation: Operation::resolve(method, level, &query, headers),
            level,
            is_head: method == Method::HEAD,
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            query,
            scope,
            identity,
            charged: AtomicBool::new(false),
        }
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether the request is for STS, by its path and its scope.
    pub(crate) fn is_sts(&self) -> bool {
        self.scope
            .as_ref()
            .is_some_and(|scope| scope.service == "sts")
    }

    pub(crate) fn is_charged(&self) -> bool {
        self.charged.load(Ordering::Relaxed)
    }

    pub(crate) fn set_charged(&self) {
        self.charged.store(true, Ordering::Relaxed);
    }
}

impl Scope {
    fn of(headers: &HeaderMap, query: &[(String, String)]) -> Option<Self> {
        let parameter = |name: &str| {
            query
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.as_str())
        };
        if let Some(credential) = parameter("X-Amz-Credential") {
            return Self::parse(
                credential,
                parameter("X-Amz-SignedHeaders").unwrap_or_default(),
            );
        }
        let authorization = headers.get("authorization")?.to_str().ok()?;
        let field = |name: &str| {
            authorization
                .split([' ', ','])
                .find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='))
        };
        Self::parse(
            field("Credential")?,
            field("SignedHeaders").unwrap_or_default(),
        )
    }

    fn parse(credential: &str, signed_headers: &str) -> Option<Self> {
        let mut fields = credential.split('/');
        let access_key_id = fields.next()?.to_owned();
        let _date = fields.next()?;
        Some(Self {
            access_key_id,
            region: fields.next()?.to_owned(),
            service: fields.next()?.to_owned(),
            signed_headers: signed_headers.split(';').map(str::to_owned).collect(),
        })
    }
}

/// Reads a query string; `+` is a space.
pub(crate) fn parse_query(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        percent_decode_str(&text.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iam::AccountsFile;

    fn exchange(uri: &'static str) -> Exchange {
        let directory = Directory::new(AccountsFile::built_in());
        let uri = Uri::from_static(uri);
        Exchange::new(
            "id".into(),
            &Method::GET,
            &uri,
            &HeaderMap::new(),
            &directory,
        )
    }

    #[test]
    fn keys_are_the_path_as_it_is() {
        for (uri, bucket, key) in [
            ("/", "", ""),
            ("/b", "b", ""),
            ("/b/", "b", ""),
            ("/b//", "b", "/"),
            ("/b//a//b/", "b", "/a//b/"),
            ("/b/a%2Bb+c%20%25%3F", "b", "a+b+c %?"),
            ("/b/%F0%9F%98%80?versionId=1", "b", "😀"),
        ] {
            let exchange = exchange(uri);
            assert_eq!(
                (exchange.bucket.as_str(), exchange.key.as_str()),
                (bucket, key),
                "{uri}"
            );
        }
    }

    #[test]
    fn scopes_are_read_from_headers_and_queries() {
        let mut headers = HeaderMap::new();
        let authorization = "AWS4-HMAC-SHA256 Credential=AKIA/20260101/eu-west-1/s3/aws4_request, \
                             SignedHeaders=host;x-amz-date, Signature=00";
        headers.insert(
            "authorization",
            authorization.parse().expect("a header value"),
        );
        let scope = Scope::of(&headers, &[]).expect("a scope");
        assert_eq!(
            (scope.region.as_str(), scope.service.as_str()),
            ("eu-west-1", "s3")
        );
        assert_eq!(scope.signed_headers, ["host", "x-amz-date"]);
        let query =
            parse_query("X-Amz-Credential=AKIA%2F20260101%2Fus-east-1%2Fsts%2Faws4_request");
        assert_eq!(
            Scope::of(&HeaderMap::new(), &query)
                .expect("a scope")
                .service,
            "sts"
        );
    }
}
