//! One request from its head to its answer: log, faults, s3s, and what s3s leaves out.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use s3s::service::S3Service;
use s3s::{Body, S3Error};

use super::bodies::{CutBody, TrickleBody};
use super::document::{Refusal, rewrite_e_tags, with_control_references};
use super::server::Fuse;
use crate::error::{STATUS, take_details};
use crate::exchange::Exchange;
use crate::fault::{FaultKind, Faults};
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
    pub(super) async fn serve(&self, request: Request<Incoming>, fuse: &Fuse) -> Result<Response<Body>, Dropped> {
        let mut entry = self.log.arrive();
        let (parts, incoming) = request.into_parts();
        let request_id = random(16, b"0123456789ABCDEFGHJKMNPQRSTVWXYZ");
        let mut exchange = Exchange::new(request_id, &parts.method, &parts.uri, &parts.headers, &self.directory);
        let mut body = RequestBody::Waiting(incoming);
        if exchange.is_sts() {
            exchange.operation = crate::sts::action(&body.take().await?);
        }
        entry.describe(&exchange, &parts.headers);
        let fate = self.faults.decide(exchange.operation, &exchange.key);
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
        let (head, is_head) = ((parts.headers.clone(), exchange.operation), parts.method == Method::HEAD);
        let mut answer = match refusal {
            Some(refusal) => self.refuse(&exchange, refusal, is_head),
            None => self.work(parts, body, &exchange, head, is_head).await,
        };
        if let Some(kind) = fate.kind {
            answer = self.spoil(answer, &kind, &exchange, is_head).await?;
        }
        self.finish(answer, &exchange, &mut entry)
    }

    /// Lets s3s do the work and puts its answer into S3's form.
    async fn work(
        &self,
        parts: Parts,
        body: Bytes,
        exchange: &Arc<Exchange>,
        (headers, operation): (HeaderMap, Operation),
        is_head: bool,
    ) -> Answer {
        if has_document(operation) && !headers.contains_key("x-amz-trailer")
            && let Err(refused) = check_digests(&body, &headers, None)
        {
            return self.form(response_of(refused).await, exchange, is_head).await;
        }
        let mut request = Request::from_parts(parts, Body::from(body));
        request.extensions_mut().insert(Arc::clone(exchange));
        let response = match self.s3.call(request).await {
            Ok(response) => response,
            Err(error) => {
                tracing::error!(?error, "s3s cannot answer");
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                response
            }
        };
        self.form(response, exchange, is_head).await
    }

    async fn form(&self, mut response: Response<Body>, exchange: &Exchange, is_head: bool) -> Answer {
        if let Some(status) = response.headers_mut().remove(STATUS)
            && let Ok(status) = StatusCode::from_bytes(status.as_bytes())
        {
            *response.status_mut() = status;
        }
        let details = take_details(response.headers_mut());
        if response.status().as_u16() >= 300 {
            let status = response.status();
            let headers = std::mem::take(response.headers_mut());
            let document = match response.into_body().collect().await {
                Ok(body) => body.to_bytes(),
                Err(_) => Bytes::new(),
            };
            let mut refusal = Refusal::read(&String::from_utf8_lossy(&document), status.as_u16());
            refusal.details = details;
            add_details(&mut refusal, exchange);
            return self.document(exchange, Refused { status, refusal, headers }, is_head);
        }
        if let Some(bytes) = response.body().bytes() {
            if exchange.operation == Operation::GetObjectAttributes {
                let text = rewrite_e_tags(&String::from_utf8_lossy(&bytes), |e_tag| e_tag.replace("&quot;", ""));
                *response.body_mut() = Body::from(text);
                response.headers_mut().remove(CONTENT_LENGTH);
            } else if let Some(escaped) = with_control_references(&bytes) {
                *response.body_mut() = Body::from(escaped);
                response.headers_mut().remove(CONTENT_LENGTH);
            }
        }
        Answer { response, error_code: None }
    }

    /// Refuses a request for a fault.
    fn refuse(&self, exchange: &Exchange, refused: Refused, is_head: bool) -> Answer {
        self.document(exchange, refused, is_head)
    }

    fn document(&self, exchange: &Exchange, refused: Refused, is_head: bool) -> Answer {
        let Refused { status, mut refusal, mut headers } = refused;
        let mut status = status;
        if exchange.is_sts() && refusal.code == "InvalidAccessKeyId" {
            refusal = Refusal::new("InvalidClientTokenId", "The security token included in the request is invalid.");
            status = StatusCode::FORBIDDEN;
        }
        headers.remove(CONTENT_LENGTH);
        headers.remove(CONTENT_TYPE);
        let bare = is_head || status == StatusCode::NOT_MODIFIED;
        let body = if bare {
            Body::empty()
        } else {
            let content_type = if exchange.is_sts() { "text/xml" } else { "application/xml" };
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            Body::from(if exchange.is_sts() { refusal.sts(exchange) } else { refusal.s3(exchange, &host_id(exchange)) })
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Answer { response, error_code: Some(refusal.code) }
    }

    /// Does to an answer what a fault does after the work.
    async fn spoil(
        &self,
        answer: Answer,
        kind: &FaultKind,
        exchange: &Exchange,
        is_head: bool,
    ) -> Result<Answer, Dropped> {
        let is_success = answer.response.status().is_success() && answer.error_code.is_none();
        match kind {
            FaultKind::AnswerLost => Err(Dropped),
            FaultKind::ErrorInOkAfterWork(code) if is_success => {
                let refusal = Refusal::new(code, "");
                let refused = Refused { status: StatusCode::OK, refusal, headers: HeaderMap::new() };
                Ok(self.document(exchange, refused, is_head))
            }
            FaultKind::EmptyETag if is_success => {
                let (mut parts, body) = answer.response.into_parts();
                if parts.headers.contains_key("etag") {
                    parts.headers.insert("etag", HeaderValue::from_static("\"\""));
                }
                let body = match body.bytes() {
                    Some(bytes) => {
                        parts.headers.remove(CONTENT_LENGTH);
                        Body::from(rewrite_e_tags(&String::from_utf8_lossy(&bytes), |_| String::new()))
                    }
                    None => body,
                };
                Ok(Answer { response: Response::from_parts(parts, body), ..answer_of(None) })
            }
            FaultKind::CutBody => {
                let error_code = answer.error_code;
                let (mut parts, body) = answer.response.into_parts();
                if let Some(length) = http_body::Body::size_hint(&body).exact() {
                    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
                }
                let body = Body::http_body_unsync(CutBody::new(body));
                Ok(Answer { response: Response::from_parts(parts, body), error_code })
            }
            FaultKind::Trickle { every_ms, spaces } if is_success => {
                let (mut parts, body) = answer.response.into_parts();
                let body = match body.bytes().filter(|bytes| bytes.starts_with(b"<")) {
                    Some(bytes) => {
                        parts.headers.remove(CONTENT_LENGTH);
                        let every = Duration::from_millis(*every_ms);
                        Body::http_body_unsync(TrickleBody::new(bytes, every, *spaces))
                    }
                    None => body,
                };
                Ok(Answer { response: Response::from_parts(parts, body), ..answer_of(None) })
            }
            _ => Ok(answer),
        }
    }

    /// Adds what every answer has, and writes the log.
    fn finish(&self, answer: Answer, exchange: &Exchange, entry: &mut InFlight) -> Result<Response<Body>, Dropped> {
        let Answer { mut response, error_code } = answer;
        entry.answered(response.status().as_u16(), error_code);
        entry.write();
        let headers = response.headers_mut();
        let id = HeaderValue::from_str(&exchange.request_id).map_err(|_| Dropped)?;
        if exchange.is_sts() {
            headers.insert("x-amzn-requestid", id);
            return Ok(response);
        }
        headers.insert("x-amz-request-id", id);
        headers.insert("x-amz-id-2", HeaderValue::from_str(&host_id(exchange)).map_err(|_| Dropped)?);
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

/// An error answer before it has its form.
struct Refused {
    status: StatusCode,
    refusal: Refusal,
    headers: HeaderMap,
}

fn answer_of(error_code: Option<String>) -> Answer {
    Answer { response: Response::new(Body::empty()), error_code }
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
        FaultKind::Error { status, code, message, retry_after } => {
            let mut refused = refused(*status, code, message);
            if let Some(seconds) = retry_after {
                refused.headers.insert("retry-after", HeaderValue::from(*seconds));
            }
            Some(refused)
        }
        FaultKind::SlowDownAbove { .. } => Some(refused(503, "SlowDown", "")),
        FaultKind::ExpireToken => Some(refused(400, "ExpiredToken", "")),
        _ => None,
    }
}

async fn response_of(refused: S3Error) -> Response<Body> {
    refused.to_http_response().unwrap_or_else(|_| Response::new(Body::empty()))
}

/// The elements that S3 adds to errors which s3s makes.
fn add_details(refusal: &mut Refusal, exchange: &Exchange) {
    match refusal.code.as_str() {
        "SignatureDoesNotMatch" => {
            let key = exchange.scope.as_ref().map(|scope| scope.access_key_id.clone()).unwrap_or_default();
            refusal.details.push(("AWSAccessKeyId".to_owned(), key));
        }
        "KeyTooLongError" => {
            refusal.details.push(("Size".to_owned(), exchange.key.len().to_string()));
            refusal.details.push(("MaxSizeAllowed".to_owned(), "1024".to_owned()));
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
