//! What a request must get past before its operation: session, signature's reach, implementation, Region, owners,
//! requester pays, and the policies of both sides.

use std::sync::Arc;

use hyper::{HeaderMap, Method};
use s3s::access::{S3Access, S3AccessContext};
use s3s::{S3Error, S3Result};

use crate::copy_source::CopySource;
use crate::error::{
    access_denied, error, no_such_bucket, not_implemented, with_detail, with_header,
};
use crate::exchange::Exchange;
use crate::iam::actions::Fact;
use crate::iam::{ActionRow, Context, Decision, Request, Side, actions_for, evaluate};
use crate::identity::Identity;
use crate::operation::{Level, Operation, Unimplemented};
use crate::store::Store;
use crate::store::bucket::{Bucket, Found};
use crate::store::object::{Object, VersionId};

/// The check before every operation of S3.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(crate) store: Store,
}

/// What of an object the caller may see in the answer to a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) tag_count: bool,
    pub(crate) retention: bool,
    pub(crate) legal_hold: bool,
}

/// The buckets of a request.
struct Sides {
    bucket: Option<Arc<Bucket>>,
    source: Option<(Arc<Bucket>, CopySource)>,
}

#[async_trait::async_trait]
impl S3Access for Gate {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Some(exchange) = cx.extensions_mut().get::<Arc<Exchange>>().cloned() else {
            return Err(error(500, "InternalError", "the request has no exchange"));
        };
        let identity = match (cx.credentials(), &exchange.identity) {
            (Some(_), Some(identity)) => Arc::clone(identity),
            _ => return Err(access_denied("Access Denied")),
        };
        identity.check_token(session_token(cx.headers(), &exchange))?;
        check_signed_headers(cx.headers(), &exchange)?;
        check_implemented(cx.s3_op().name(), cx.headers(), &exchange)?;
        let sides = self.sides(cx.headers(), &exchange)?;
        if let Some(bucket) = &sides.bucket {
            check_region(cx.method(), &exchange, bucket)?;
        }
        check_owners(cx.headers(), &sides)?;
        check_payer(cx.headers(), &exchange, &identity, &sides)?;
        let shown = authorize(cx.headers(), &exchange, &identity, &sides)?;
        cx.extensions_mut().insert(shown);
        Ok(())
    }
}

impl Gate {
    fn sides(&self, headers: &HeaderMap, exchange: &Exchange) -> Result<Sides, S3Error> {
        if exchange.level == Level::Service || exchange.operation == Operation::CreateBucket {
            return Ok(Sides {
                bucket: None,
                source: None,
            });
        }
        let find = |name: &str| self.store.bucket(name).ok_or_else(|| no_such_bucket(name));
        let bucket = Some(find(&exchange.bucket)?);
        let source = match exchange.operation {
            Operation::CopyObject | Operation::UploadPartCopy => {
                let header = headers
                    .get("x-amz-copy-source")
                    .and_then(|value| value.to_str().ok())
                    .unwrap_or_default();
                let source = CopySource::parse(header)?;
                Some((find(&source.bucket)?, source))
            }
            _ => None,
        };
        Ok(Sides { bucket, source })
    }

    /// Whether the caller may delete a key or a version of it, of several in one request.
    pub(crate) fn authorize_delete(
        exchange: &Exchange,
        headers: &HeaderMap,
        bucket: &Bucket,
        key: &str,
        version_id: Option<&str>,
    ) -> Result<(), S3Error> {
        let Some(identity) = &exchange.identity else {
            return Err(access_denied("Access Denied"));
        };
        let facts = |token: &str| match token {
            "versionId" => version_id.is_some(),
            header => headers.contains_key(header),
        };
        let context = context(headers, exchange, identity);
        for row in actions_for(Operation::DeleteObject.as_str(), &facts) {
            allow(identity, row, bucket, key, &context)?;
        }
        Ok(())
    }
}

fn session_token<'a>(headers: &'a HeaderMap, exchange: &'a Exchange) -> Option<&'a str> {
    header(headers, "x-amz-security-token").or_else(|| exchange.parameter("X-Amz-Security-Token"))
}

pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .filter(|value| !value.is_empty())
}

/// Each `x-amz-*` header must be under the signature.
fn check_signed_headers(headers: &HeaderMap, exchange: &Exchange) -> Result<(), S3Error> {
    let Some(scope) = &exchange.scope else {
        return Ok(());
    };
    let unsigned: Vec<&str> = headers
        .keys()
        .map(hyper::header::HeaderName::as_str)
        .filter(|name| {
            name.starts_with("x-amz-") && !scope.signed_headers.iter().any(|signed| signed == name)
        })
        .collect();
    // Of a presigned URL, S3 takes the hash of the payload unsigned.
    if unsigned.is_empty() || unsigned == ["x-amz-content-sha256"] {
        return Ok(());
    }
    let refused = access_denied("There were headers present in the request which were not signed");
    Err(with_detail(
        refused,
        "HeadersNotSigned",
        &unsigned.join(", "),
    ))
}

fn check_implemented(
    resolved: &str,
    headers: &HeaderMap,
    exchange: &Exchange,
) -> Result<(), S3Error> {
    if exchange.operation == Operation::NotImplemented || exchange.operation.as_str() != resolved {
        return Err(not_implemented("Operation", resolved));
    }
    match exchange.operation.unimplemented(&exchange.query, headers) {
        None => Ok(()),
        Some(Unimplemented::Header(name)) => Err(not_implemented("Header", &name)),
        Some(Unimplemented::Parameter(name)) => Err(not_implemented("Parameter", &name)),
    }
}

/// One endpoint serves all Regions: which one a request is for is in its signature.
fn check_region(method: &Method, exchange: &Exchange, bucket: &Bucket) -> Result<(), S3Error> {
    let region = exchange
        .scope
        .as_ref()
        .map_or("", |scope| scope.region.as_str());
    if region == bucket.region || exchange.operation == Operation::GetBucketLocation {
        return Ok(());
    }
    let refused = if method == Method::GET {
        let message = format!(
            "The authorization header is malformed; the region '{region}' is wrong; expecting '{}'",
            bucket.region
        );
        with_detail(
            error(400, "AuthorizationHeaderMalformed", message),
            "Region",
            &bucket.region,
        )
    } else {
        let message = "The bucket you are attempting to access must be addressed using the specified endpoint. \
                       Please send all future requests to this endpoint.";
        let endpoint = format!("s3.{}.amazonaws.com", bucket.region);
        let refused = with_detail(
            error(301, "PermanentRedirect", message),
            "Endpoint",
            &endpoint,
        );
        with_detail(refused, "Bucket", &bucket.name)
    };
    Err(with_header(refused, "x-amz-bucket-region", &bucket.region))
}

fn check_owners(headers: &HeaderMap, sides: &Sides) -> Result<(), S3Error> {
    let expected = |name: &str, bucket: Option<&Arc<Bucket>>| match (header(headers, name), bucket)
    {
        (Some(account), _)
            if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            let message = format!(
                "The value of the expected bucket owner parameter must be an AWS Account ID... [{name}]"
            );
            Err(error(400, "InvalidBucketOwnerAWSAccountID", message))
        }
        (Some(account), Some(bucket)) if account != &*bucket.account => {
            Err(access_denied("Access Denied"))
        }
        _ => Ok(()),
    };
    expected("x-amz-expected-bucket-owner", sides.bucket.as_ref())?;
    expected(
        "x-amz-source-expected-bucket-owner",
        sides.source.as_ref().map(|(bucket, _)| bucket),
    )
}

fn check_payer(
    headers: &HeaderMap,
    exchange: &Exchange,
    identity: &Identity,
    sides: &Sides,
) -> Result<(), S3Error> {
    let agreed = match header(headers, "x-amz-request-payer") {
        None => false,
        Some("requester") => true,
        Some(other) => {
            return Err(crate::error::invalid_argument(
                "x-amz-request-payer",
                other,
                "Invalid value for x-amz-request-payer",
            ));
        }
    };
    let source = sides.source.as_ref().map(|(bucket, _)| bucket);
    for bucket in [sides.bucket.as_ref(), source].into_iter().flatten() {
        if bucket.settings().requester_pays && identity.account() != &*bucket.account {
            if !agreed {
                return Err(access_denied(
                    "Bucket is requester pays bucket. Requester should send x-amz-request-payer: requester",
                ));
            }
            exchange.set_charged();
        }
    }
    Ok(())
}

/// Asks the policies of both sides for each action that the request is.
fn authorize(
    headers: &HeaderMap,
    exchange: &Exchange,
    identity: &Identity,
    sides: &Sides,
) -> Result<Shown, S3Error> {
    let mut shown = Shown::default();
    // Each key of these is asked for by the operation.
    if exchange.operation == Operation::DeleteObjects {
        return Ok(shown);
    }
    let subject = Subject::of(headers, exchange, sides);
    let facts = |token: &str| subject.fact(token, headers);
    let rows = actions_for(exchange.operation.as_str(), &facts);
    if rows.is_empty() {
        return Err(not_implemented("Operation", exchange.operation.as_str()));
    }
    let context = context(headers, exchange, identity);
    for row in rows {
        let allowed = match (row.side, &sides.source, &sides.bucket) {
            (Side::Source, Some((bucket, source)), _) => {
                allow(identity, row, bucket, &source.key, &context)
            }
            (_, _, Some(bucket)) => allow(identity, row, bucket, &exchange.key, &context),
            _ => allow_unowned(identity, row, exchange, &context),
        };
        match row
            .when
            .iter()
            .find(|Fact { token, .. }| token.starts_with("shows-"))
        {
            None => allowed?,
            Some(Fact {
                token: "shows-tag-count",
                ..
            }) => shown.tag_count = allowed.is_ok(),
            Some(Fact {
                token: "shows-retention",
                ..
            }) => shown.retention = allowed.is_ok(),
            Some(_) => shown.legal_hold = allowed.is_ok(),
        }
    }
    Ok(shown)
}

/// What the table's tokens are about: the object that is read, if it is there.
struct Subject {
    has_version_id: bool,
    /// Whether the operation reads an object.
    reads: bool,
    object: Option<Arc<Object>>,
    copies_tags: bool,
}

impl Subject {
    fn of(headers: &HeaderMap, exchange: &Exchange, sides: &Sides) -> Self {
        let (bucket, key, version_id) = match (&sides.source, &sides.bucket) {
            (Some((bucket, source)), _) => (
                Some(bucket),
                source.key.as_str(),
                source.version_id.as_deref(),
            ),
            (None, bucket) => (
                bucket.as_ref(),
                exchange.key.as_str(),
                exchange.parameter("versionId"),
            ),
        };
        let reads = matches!(
            exchange.operation,
            Operation::CopyObject
                | Operation::UploadPartCopy
                | Operation::HeadObject
                | Operation::GetObject
                | Operation::GetObjectAttributes
        );
        let object = bucket.filter(|_| reads).and_then(|bucket| {
            let id = version_id.map(|id| VersionId::parse(id).unwrap_or(VersionId(u64::MAX)));
            match bucket.find(key, id) {
                Found::Object(found) => Some(found.object),
                _ => None,
            }
        });
        let replaces_tags = header(headers, "x-amz-tagging-directive")
            .is_some_and(|value| value.eq_ignore_ascii_case("REPLACE"));
        Self {
            has_version_id: version_id.is_some(),
            reads,
            object,
            copies_tags: exchange.operation == Operation::CopyObject && !replaces_tags,
        }
    }

    fn fact(&self, token: &str, headers: &HeaderMap) -> bool {
        let object = self.object.as_ref();
        match token {
            "versionId" => self.has_version_id,
            "missing-object" => self.reads && object.is_none(),
            "source-tagged" => {
                self.copies_tags && object.is_some_and(|object| !object.tags.is_empty())
            }
            // Objects of the sandbox have no annotations.
            "source-annotated" => false,
            "shows-tag-count" => object.is_some_and(|object| !object.tags.is_empty()),
            "shows-retention" => {
                object.is_some_and(|object| object.settings.lock.retention.is_some())
            }
            "shows-legal-hold" => object.is_some_and(|object| object.settings.lock.legal_hold),
            "x-amz-grant-*" => headers
                .keys()
                .any(|name| name.as_str().starts_with("x-amz-grant-")),
            header_name => header(headers, &header_name.to_ascii_lowercase()).is_some(),
        }
    }
}

/// Condition keys of a request, those aside that follow from principal and resource.
pub(crate) fn context(headers: &HeaderMap, exchange: &Exchange, identity: &Identity) -> Context {
    let mut context = Context::new()
        .with("aws:SourceIp", "127.0.0.1")
        .with("aws:SecureTransport", "false")
        .with("s3:signatureversion", "AWS4-HMAC-SHA256");
    if let Some(session) = &identity.session {
        context.insert("aws:MultiFactorAuthPresent", session.mfa.to_string());
    }
    for (name, value) in headers {
        let name = name.as_str();
        if (name.starts_with("x-amz-") && name != "x-amz-security-token" || name.starts_with("if-"))
            && let Ok(value) = value.to_str()
        {
            context.insert(&format!("s3:{name}"), value);
        }
    }
    for (parameter, key) in [
        ("prefix", "s3:prefix"),
        ("delimiter", "s3:delimiter"),
        ("max-keys", "s3:max-keys"),
        ("versionId", "s3:VersionId"),
    ] {
        if let Some(value) = exchange.parameter(parameter) {
            context.insert(key, value);
        }
    }
    if let Some(tagging) = header(headers, "x-amz-tagging") {
        let tags = crate::exchange::parse_query(tagging);
        for (key, value) in &tags {
            context.insert(&format!("s3:RequestObjectTag/{key}"), value.as_str());
        }
        context.insert_all(
            "s3:RequestObjectTagKeys",
            tags.into_iter().map(|(key, _)| key).collect(),
        );
    }
    context
}

fn allow(
    identity: &Identity,
    row: &ActionRow,
    bucket: &Bucket,
    key: &str,
    context: &Context,
) -> Result<(), S3Error> {
    let policy = bucket.policy();
    let decision = evaluate(&Request {
        principal: &identity.principal,
        action: row.action,
        resource: &row.resource.arn(&bucket.name, key),
        resource_account: &bucket.account,
        context,
        identity_policies: &identity.policies,
        session_policy: identity.session_policy(),
        resource_policy: policy.as_deref(),
    });
    match decision {
        Decision::Allowed => Ok(()),
        // Between accounts S3 says no more.
        Decision::Denied { reason } if identity.account() == &*bucket.account => {
            Err(access_denied(reason))
        }
        Decision::Denied { .. } => Err(access_denied("Access Denied")),
    }
}

/// Asks for an action on what nobody owns yet: the caller's account will.
fn allow_unowned(
    identity: &Identity,
    row: &ActionRow,
    exchange: &Exchange,
    context: &Context,
) -> Result<(), S3Error> {
    let decision = evaluate(&Request {
        principal: &identity.principal,
        action: row.action,
        resource: &row.resource.arn(&exchange.bucket, &exchange.key),
        resource_account: identity.account(),
        context,
        identity_policies: &identity.policies,
        session_policy: identity.session_policy(),
        resource_policy: None,
    });
    match decision {
        Decision::Allowed => Ok(()),
        Decision::Denied { reason } => Err(access_denied(reason)),
    }
}
