//! One request from its head to its answer: log, faults, s3s, and what s3s leaves out.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, ETAG, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use s3s::service::S3Service;
use s3s::{Body, S3Error, S3ErrorCode};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::bodies::{CutBody, TrickleBody};
use super::document::{Refusal, rewrite_e_tags, with_control_references};
use super::server::Fuse;
use crate::clock::{self, Clock};
use crate::error::{STATUS, take_details};
use crate::exchange::Exchange;
use crate::fault::{FaultHandle, FaultKind, Faults};
use crate::identity::{Directory, random};
use crate::log::{InFlight, RequestLog};
use crate::operation::Operation;
use crate::s3::body::check_digests;
use crate::store::Store;

/// What is in front of s3s.
pub(crate) struct Front {
    pub(crate) s3: S3Service,
    pub(crate) store: Store,
    pub(crate) directory: Directory,
    pub(crate) faults: Faults,
    pub(crate) log: RequestLog,
    pub(crate) clock: Clock,
    /// Work that is done later.
    pub(crate) late: Mutex<JoinSet<()>>,
}

/// A connection ends without an answer.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the connection was dropped")]
pub(super) struct Dropped;

/// An answer on its way out.
struct Answer {
    response: Response<Body>,
    /// The code of the error that it is.
    error_code: Option<String>,
}

impl Front {
    pub(super) async fn serve(
        self: &Arc<Self>,
        request: Request<Incoming>,
        fuse: &Fuse,
    ) -> Result<Response<Body>, Dropped> {
        self.clock.of(self.answer(request, fuse)).await
    }

    async fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        fuse: &Fuse,
    ) -> Result<Response<Body>, Dropped> {
        let mut entry = self.log.arrive();
        let (parts, incoming) = request.into_parts();
        let request_id = random(16, b"0123456789ABCDEFGHJKMNPQRSTVWXYZ");
        let mut exchange = Exchange::new(
            request_id,
            &parts.method,
            &parts.uri,
            &parts.headers,
            &self.directory,
        );
        let mut body = RequestBody::Waiting(incoming);
        if exchange.is_sts() {
            exchange.operation = crate::sts::action(&body.take().await?);
        }
        entry.describe(&exchange, &parts.headers);
        let fate = self
            .faults
            .decide(exchange.operation, &exchange.key, &exchange.query);
        if fate.delay > Duration::ZERO {
            entry.fault("latency");
            tokio::time::sleep(fate.delay).await;
        }
        if let Some(kind) = &fate.kind {
            entry.fault(kind.name());
        }
        match &fate.kind {
            Some(FaultKind::Refuse) => return Err(Dropped),
            Some(FaultKind::Reset) => {
                fuse.blow();
                return Err(Dropped);
            }
            Some(FaultKind::Hang) => {
                entry.write();
                // With its body read the server notices when the client goes.
                body.take().await?;
                return pending().await;
            }
            _ => {}
        }
        let body = body.take().await?;
        let exchange = Arc::new(exchange);
        let refusal = fate.kind.as_ref().and_then(refusal_of);
        let refusal = refusal.or_else(|| skewed(&parts.headers, &exchange));
        let mut answer = match (refusal, fate.held) {
            (Some(refusal), _) => document(&exchange, refusal),
            (None, None) => self.work(parts, body, &exchange).await,
            (None, Some(held)) => self.work_later(parts, body, &exchange, held).await?,
        };
        if let Some(kind) = fate.kind {
            answer = spoil(answer, &kind, &exchange)?;
        }
        self.finish(answer, &exchange, &mut entry)
    }

    /// Does the work when the fault that holds it is removed, whether the client is still there or not.
    async fn work_later(
        self: &Arc<Self>,
        parts: Parts,
        body: Bytes,
        exchange: &Arc<Exchange>,
        held: FaultHandle,
    ) -> Result<Answer, Dropped> {
        let (front, exchange) = (Arc::clone(self), Arc::clone(exchange));
        let (done, answer) = oneshot::channel();
        let work = async move {
            held.removed().await;
            let work = front.work(parts, body, &exchange);
            // The client may have gone.
            let _ = done.send(front.clock.of(work).await);
        };
        self.late
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .spawn(work);
        answer.await.map_err(|_| Dropped)
    }

    /// Lets s3s do the work and puts its answer into S3's form.
    async fn work(&self, parts: Parts, body: Bytes, exchange: &Arc<Exchange>) -> Answer {
        if has_document(exchange.operation)
            && !parts.headers.contains_key("x-amz-trailer")
            && let Err(refused) = check_digests(&body, &parts.headers, None)
        {
            return form(response_of(refused), exchange);
        }
        let mut request = Request::from_parts(parts, Body::from(body));
        request.extensions_mut().insert(Arc::clone(exchange));
        let response = self.s3.call(request).await.unwrap_or_else(|error| {
            tracing::error!(?error, "s3s cannot answer");
            response_of(S3Error::new(S3ErrorCode::InternalError))
        });
        form(response, exchange)
    }

    /// Adds what every answer has, and writes the log.
    fn finish(
        &self,
        answer: Answer,
        exchange: &Exchange,
        entry: &mut InFlight,
    ) -> Result<Response<Body>, Dropped> {
        let Answer {
            mut response,
            error_code,
        } = answer;
        entry.answered(response.status().as_u16(), error_code);
        entry.write();
        let headers = response.headers_mut();
        headers.insert(
            DATE,
            HeaderValue::from_str(&clock::http_date()).map_err(|_| Dropped)?,
        );
        let id = HeaderValue::from_str(&exchange.request_id).map_err(|_| Dropped)?;
        if exchange.is_sts() {
            headers.insert("x-amzn-requestid", id);
            return Ok(response);
        }
        headers.insert("x-amz-request-id", id);
        headers.insert(
            "x-amz-id-2",
            HeaderValue::from_str(&host_id(exchange)).map_err(|_| Dropped)?,
        );
        headers.insert("server", HeaderValue::from_static("AmazonS3"));
        if exchange.operation == Operation::HeadBucket
            && let Some(bucket) = self.store.bucket(&exchange.bucket)
            && let Ok(region) = HeaderValue::from_str(&bucket.region)
        {
            headers.insert("x-amz-bucket-region", region);
        }
        Ok(response)
    }
}

/// Puts an answer of s3s into S3's form.
fn form(mut response: Response<Body>, exchange: &Exchange) -> Answer {
    if let Some(status) = response.headers_mut().remove(STATUS)
        && let Ok(status) = StatusCode::from_bytes(status.as_bytes())
    {
        *response.status_mut() = status;
    }
    let details = take_details(response.headers_mut());
    let status = response.status();
    if status.as_u16() >= 300 {
        let headers = std::mem::take(response.headers_mut());
        let body = response.into_body().bytes().unwrap_or_default();
        let mut refusal = Refusal::read(&String::from_utf8_lossy(&body), status.as_u16());
        refusal.details = details;
        add_details(&mut refusal, exchange);
        return document(
            exchange,
            Refused {
                status,
                refusal,
                headers,
            },
        );
    }
    if let Some(document) = xml_document(&response) {
        let rewritten = if exchange.operation == Operation::GetObjectAttributes {
            let unquoted = |e_tag: &str| e_tag.replace("&quot;", "").replace('"', "");
            Some(rewrite_e_tags(&String::from_utf8_lossy(&document), unquoted).into_bytes())
        } else {
            with_control_references(&document)
        };
        if let Some(document) = rewritten {
            response.headers_mut().remove(CONTENT_LENGTH);
            *response.body_mut() = Body::from(document);
        }
    }
    Answer {
        response,
        error_code: None,
    }
}

/// The body of an answer that is an XML document.
fn xml_document(response: &Response<Body>) -> Option<Bytes> {
    let content_type = response.headers().get(CONTENT_TYPE)?;
    let is_xml = content_type.as_bytes().ends_with(b"/xml");
    response.body().bytes().filter(|_| is_xml)
}

/// Writes an error in the form of its service.
fn document(exchange: &Exchange, refused: Refused) -> Answer {
    let Refused {
        mut status,
        mut refusal,
        mut headers,
    } = refused;
    if exchange.is_sts() && refusal.code == "InvalidAccessKeyId" {
        let message = "The security token included in the request is invalid.";
        refusal = Refusal::new("InvalidClientTokenId", message);
        status = StatusCode::FORBIDDEN;
    }
    headers.remove(CONTENT_LENGTH);
    headers.remove(CONTENT_TYPE);
    let body = if exchange.is_head || status == StatusCode::NOT_MODIFIED {
        Body::empty()
    } else if exchange.is_sts() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
        Body::from(refusal.sts(exchange))
    } else {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        Body::from(refusal.s3(exchange, &host_id(exchange)))
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Answer {
        response,
        error_code: Some(refusal.code),
    }
}

/// Does to an answer what a fault does after the work.
fn spoil(answer: Answer, kind: &FaultKind, exchange: &Exchange) -> Result<Answer, Dropped> {
    let succeeded = answer.response.status().is_success() && answer.error_code.is_none();
    let Answer {
        mut response,
        error_code,
    } = answer;
    match kind {
        FaultKind::AnswerLost => return Err(Dropped),
        FaultKind::ErrorInOkAfterWork(code) if succeeded => {
            let refusal = Refusal::new(code, "");
            let refused = Refused {
                status: StatusCode::OK,
                refusal,
                headers: HeaderMap::new(),
            };
            return Ok(document(exchange, refused));
        }
        FaultKind::EmptyETag if succeeded => {
            if response.headers().contains_key(ETAG) {
                response
                    .headers_mut()
                    .insert(ETAG, HeaderValue::from_static("\"\""));
            }
            if let Some(document) = xml_document(&response) {
                let emptied =
                    rewrite_e_tags(&String::from_utf8_lossy(&document), |_| String::new());
                response.headers_mut().remove(CONTENT_LENGTH);
                *response.body_mut() = Body::from(emptied);
            }
        }
        // There is no body to cut.
        FaultKind::CutBody if exchange.is_head => {}
        FaultKind::CutBody => {
            if let Some(length) = http_body::Body::size_hint(response.body()).exact() {
                response
                    .headers_mut()
                    .insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
            response = response.map(|body| Body::http_body_unsync(CutBody::new(body)));
        }
        FaultKind::Trickle { every_ms, spaces } if succeeded => {
            if let Some(document) = xml_document(&response) {
                let body = TrickleBody::new(document, Duration::from_millis(*every_ms), *spaces);
                response.headers_mut().remove(CONTENT_LENGTH);
                *response.body_mut() = Body::http_body_unsync(body);
            }
        }
        _ => {}
    }
    Ok(Answer {
        response,
        error_code,
    })
}

/// An error answer before it has its form.
struct Refused {
    status: StatusCode,
    refusal: Refusal,
    headers: HeaderMap,
}

/// The error that a fault answers with in place of the work.
fn refusal_of(kind: &FaultKind) -> Option<Refused> {
    let refused = |status: u16, code: &str, message: &str| Refused {
        status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        refusal: Refusal::new(code, message),
        headers: HeaderMap::new(),
    };
    match kind {
        FaultKind::ErrorInOk(code) => Some(refused(200, code, "")),
        FaultKind::Error {
            status,
            code,
            message,
            retry_after,
        } => {
            let mut refused = refused(*status, code, message);
            if let Some(seconds) = retry_after {
                refused
                    .headers
                    .insert("retry-after", HeaderValue::from(*seconds));
            }
            Some(refused)
        }
        FaultKind::SlowDownAbove { .. } => Some(refused(503, "SlowDown", "")),
        FaultKind::ExpireToken => Some(refused(400, "ExpiredToken", "")),
        _ => None,
    }
}

/// The error of a request that was signed at another time than it is here.
fn skewed(headers: &HeaderMap, exchange: &Exchange) -> Option<Refused> {
    let signed = headers.get("x-amz-date")?.to_str().ok()?;
    if !clock::is_skewed(signed) {
        return None;
    }
    let refusal = if exchange.is_sts() {
        let message = format!("Signature expired: {signed} is too far from now");
        Refusal::new("SignatureDoesNotMatch", &message)
    } else {
        let message = "The difference between the request time and the current time is too large.";
        let mut refusal = Refusal::new("RequestTimeTooSkewed", message);
        let details = [
            ("RequestTime", signed),
            ("MaxAllowedSkewMilliseconds", "900000"),
        ];
        refusal.details = details
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        refusal
    };
    Some(Refused {
        status: StatusCode::FORBIDDEN,
        refusal,
        headers: HeaderMap::new(),
    })
}

fn response_of(refused: S3Error) -> Response<Body> {
    refused
        .to_http_response()
        .unwrap_or_else(|_| Response::new(Body::empty()))
}

/// The elements that S3 adds to errors which s3s makes.
fn add_details(refusal: &mut Refusal, exchange: &Exchange) {
    match refusal.code.as_str() {
        "SignatureDoesNotMatch" => {
            let key = exchange
                .scope
                .as_ref()
                .map(|scope| scope.access_key_id.clone())
                .unwrap_or_default();
            refusal.details.push(("AWSAccessKeyId".to_owned(), key));
        }
        "KeyTooLongError" => {
            refusal
                .details
                .push(("Size".to_owned(), exchange.key.len().to_string()));
            refusal
                .details
                .push(("MaxSizeAllowed".to_owned(), "1024".to_owned()));
        }
        _ => {}
    }
}

/// Operations whose body is a document, with digests that s3s does not check.
fn has_document(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::CreateBucket
            | Operation::DeleteObjects
            | Operation::PutBucketOwnershipControls
            | Operation::PutBucketPolicy
            | Operation::PutBucketVersioning
            | Operation::PutObjectAcl
            | Operation::PutObjectTagging
            | Operation::RestoreObject
    )
}

/// `x-amz-id-2`: follows from the request's ID.
fn host_id(exchange: &Exchange) -> String {
    crate::store::checksum::base64(exchange.request_id.repeat(3).as_bytes())
}

/// A request's body, taken once.
enum RequestBody {
    Waiting(Incoming),
    Taken(Bytes),
}

impl RequestBody {
    async fn take(&mut self) -> Result<Bytes, Dropped> {
        if let Self::Waiting(incoming) = self {
            let bytes = incoming.collect().await.map_err(|_| Dropped)?.to_bytes();
            *self = Self::Taken(bytes);
        }
        match self {
            Self::Taken(bytes) => Ok(bytes.clone()),
            Self::Waiting(_) => Err(Dropped),
        }
    }
}
