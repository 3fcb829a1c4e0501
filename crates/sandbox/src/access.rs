//! What a request must get past before its operation: session, signature's reach, implementation, Region, owners,
//! requester pays, and the policies of both sides.

use std::sync::Arc;

use hyper::{HeaderMap, Method};
use s3s::access::{S3Access, S3AccessContext};
use s3s::{S3Error, S3Result};

use crate::authorize::{Shown, Sides, authorize};
use crate::copy_source::CopySource;
use crate::error::{
    access_denied, error, no_such_bucket, not_implemented, with_detail, with_header,
};
use crate::exchange::Exchange;
use crate::identity::{Directory, Identity};
use crate::operation::{Level, Operation, Unimplemented};
use crate::store::Store;
use crate::store::bucket::Bucket;

/// The check before every operation of S3.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(crate) store: Store,
    pub(crate) directory: Directory,
}

#[async_trait::async_trait]
impl S3Access for Gate {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Some(exchange) = cx.extensions_mut().get::<Arc<Exchange>>().cloned() else {
            return Err(error(500, "InternalError", "the request has no exchange"));
        };
        if exchange.operation.as_str() != cx.s3_op().name() {
            return Err(not_implemented("Operation", cx.s3_op().name()));
        }
        let signed = cx.credentials().is_some();
        let shown = self.admit(&exchange, cx.method(), cx.headers(), signed)?;
        cx.extensions_mut().insert(shown);
        Ok(())
    }
}

impl Gate {
    /// Lets a request through to its operation, or says why not.
    pub(crate) fn admit(
        &self,
        exchange: &Exchange,
        method: &Method,
        headers: &HeaderMap,
        signed: bool,
    ) -> Result<Shown, S3Error> {
        let identity = match &exchange.identity {
            Some(identity) if signed => identity,
            _ => return Err(access_denied("Access Denied")),
        };
        identity.check_token(session_token(headers, exchange))?;
        check_signed_headers(headers, exchange)?;
        check_implemented(headers, exchange)?;
        let sides = self.sides(headers, exchange)?;
        if let Some(bucket) = &sides.bucket {
            check_region(method, exchange, bucket)?;
        }
        check_owners(headers, &sides)?;
        check_payer(headers, exchange, identity, &sides)?;
        authorize(
            headers,
            exchange,
            identity,
            &sides,
            self.directory.accounts(),
        )
    }

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

fn check_implemented(headers: &HeaderMap, exchange: &Exchange) -> Result<(), S3Error> {
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
