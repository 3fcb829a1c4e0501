//! What S3 or STS, or the way to it, answered instead of a result.

use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::DispatchFailure;
use time::OffsetDateTime;

use crate::headers::{self, NotXml};
use crate::operation::Operation;
use crate::retry::{self, Class};

/// A clock so far off, in seconds, may be what a request is refused for: S3 takes 15 minutes, STS 5.
const MUCH_SKEW_SECONDS: u32 = 4 * 60;

/// No clock is said to be off by more.
const MOST_SKEW_SECONDS: i64 = i32::MAX as i64;

/// The code of a request that was not sent because this machine had no socket left for it.
pub(crate) const OUT_OF_SOCKETS: &str = "OutOfSockets";

/// What a request gives.
pub type Result<T> = std::result::Result<T, S3Error>;

/// How far a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// It was answered with an error; also 200 with `<Error>` in its body.
    Answered,
    /// It was answered with 200, but without what makes it a result, such as the ETag.
    EmptyAnswer,
    /// It was answered with 200, but with what has no meaning, such as a key that is not UTF-8.
    Unreadable,
    /// It was not answered in time.
    TimedOut,
    /// It never reached a server: no address, connection refused, or no connection in time.
    NotSent,
    /// It never reached a server: the one that is there has no certificate that is believed.
    Untrusted,
    /// It was sent, and the connection ended before the whole answer came.
    AnswerLost,
    /// There were no credentials to sign it with.
    Credentials,
    /// It could not be built, such as with a header that HTTP cannot carry.
    NotBuilt,
}

impl ErrorKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Answered,
        Self::EmptyAnswer,
        Self::Unreadable,
        Self::TimedOut,
        Self::NotSent,
        Self::Untrusted,
        Self::AnswerLost,
        Self::Credentials,
        Self::NotBuilt,
    ];

    /// The code of a request that came no further; none where the answer has one.
    pub fn code(self) -> Option<&'static str> {
        Some(match self {
            Self::Answered => return None,
            Self::EmptyAnswer => "EmptyAnswer",
            Self::Unreadable => "UnreadableAnswer",
            Self::TimedOut => "RequestTimedOut",
            Self::NotSent => "ConnectionFailed",
            Self::Untrusted => "CertificateNotTrusted",
            Self::AnswerLost => "AnswerLost",
            Self::Credentials => "CredentialsUnavailable",
            Self::NotBuilt => "RequestNotBuilt",
        })
    }
}

/// A request that gave no result, with all that S3 said about why.
///
/// Branch on [`report_code`](Self::report_code) and [`class`](Self::class), never on the text.
#[derive(Debug, thiserror::Error)]
#[error("{}", one_line(.operation, *.status, .code.as_deref(), .message, .request_id.as_deref()))]
pub struct S3Error {
    /// The request's name, such as `CopyObject`.
    pub operation: &'static str,
    /// How far it came.
    pub kind: ErrorKind,
    /// S3's code, from the body. HEAD answers have no body, hence mostly no code.
    pub code: Option<String>,
    /// The status of the answer; 200 for an error inside a 200.
    pub status: Option<u16>,
    /// S3's message, or ours where S3 said nothing.
    pub message: String,
    /// `<Condition>` of a 412: the header of the condition that failed.
    pub condition: Option<String>,
    /// `<StorageClass>` of an `InvalidObjectState`: what the object is archived as.
    pub storage_class: Option<String>,
    /// `<AccessTier>` of an `InvalidObjectState`: the archive tier of Intelligent-Tiering that the object is in.
    pub access_tier: Option<String>,
    /// `x-amz-request-id`.
    pub request_id: Option<String>,
    /// `x-amz-id-2`.
    pub extended_request_id: Option<String>,
    /// `x-amz-bucket-region`: where the bucket is, also told on errors.
    pub bucket_region: Option<Box<str>>,
    /// `Retry-After`, if it is given in seconds.
    pub retry_after: Option<Duration>,
    /// How far this machine's clock goes ahead of the server's `Date`, in seconds, where that was told.
    pub clock_ahead_seconds: Option<i32>,
    /// The cause, if it lies below HTTP.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

fn one_line(
    operation: &str,
    status: Option<u16>,
    code: Option<&str>,
    message: &str,
    request_id: Option<&str>,
) -> String {
    let mut line = format!("{operation}:");
    // Writing to a string cannot fail.
    if let Some(status) = status {
        let _ = write!(line, " {status}");
    }
    if let Some(code) = code {
        let _ = write!(line, " {code}");
    }
    if status.is_some() || code.is_some() {
        line.push(':');
    }
    let _ = write!(line, " {message}");
    if let Some(id) = request_id {
        let _ = write!(line, " (request ID {id})");
    }
    line
}

impl S3Error {
    /// An error of our own making, with nothing of S3's in it.
    pub(crate) fn new(operation: Operation, kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            operation: operation.name(),
            kind,
            code: None,
            status: None,
            message: message.into(),
            condition: None,
            storage_class: None,
            access_tier: None,
            request_id: None,
            extended_request_id: None,
            bucket_region: None,
            retry_after: None,
            clock_ahead_seconds: None,
            source: None,
        }
    }

    /// The code to report: S3's own, or where the answer had no body a name made of its status, or where
    /// there was no answer a name made of [`kind`](Self::kind).
    pub fn report_code(&self) -> &str {
        if let Some(code) = &self.code {
            return code;
        }
        self.kind
            .code()
            .unwrap_or_else(|| code_of_status(self.status.unwrap_or_default()))
    }

    /// What to do about it.
    pub fn class(&self) -> Class {
        retry::classify(self)
    }

    /// Whether the server's `Date` and this machine's clock are minutes apart.
    pub fn clock_is_off(&self) -> bool {
        self.clock_ahead_seconds
            .is_some_and(|ahead| ahead.unsigned_abs() > MUCH_SKEW_SECONDS)
    }

    /// Whether the request, if it was a write, may have been carried out all the same.
    ///
    /// True for lost, late and empty answers, for 5xx that are neither throttling nor S3's last word (such as 501),
    /// and for an internal error inside a 200.
    pub fn is_in_doubt(&self) -> bool {
        match self.kind {
            ErrorKind::TimedOut
            | ErrorKind::AnswerLost
            | ErrorKind::EmptyAnswer
            | ErrorKind::Unreadable => true,
            ErrorKind::NotSent
            | ErrorKind::Untrusted
            | ErrorKind::Credentials
            | ErrorKind::NotBuilt => false,
            ErrorKind::Answered => {
                let class = self.class();
                match self.status {
                    Some(status @ 500..) => status != 501 && class == Class::Transient,
                    Some(200..=299) => class == Class::Transient,
                    _ => false,
                }
            }
        }
    }

    /// Whether access was refused: by a policy, an ACL, a key policy, or because the credentials are no good.
    ///
    /// Not an archived object, a wrong clock or an expired token, though S3 answers those with 403 too.
    pub fn is_access_refusal(&self) -> bool {
        if self.kind != ErrorKind::Answered {
            return false;
        }
        let code = self.report_code();
        ACCESS_CODES.contains(&code) || (code.starts_with("KMS.") && code.contains("AccessDenied"))
    }

    /// Takes what the SDK says. Its own text is for programmers, so it stays in the source.
    pub(crate) fn from_sdk<E>(operation: Operation, error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let mut told = match error.raw_response() {
            Some(response) => Self::from_response(operation, response),
            None => Self::new(
                operation,
                ErrorKind::NotBuilt,
                "the request could not be built",
            ),
        };
        match &error {
            SdkError::ServiceError(service) => {
                let code = service.err().code().map(Into::into);
                told.code = code.or(told.code);
                let message = service.err().message().map(str::to_owned);
                told.settle_answer(message);
            }
            SdkError::ResponseError(_) => {
                if let Some(refused) = cause::<NotXml>(&error) {
                    told.set(
                        ErrorKind::Unreadable,
                        "the answer is not what was asked for",
                    );
                    // The SDK's error would keep the answer, and with it the connection that goes on sending.
                    told.source = Some(Box::new(refused.clone()));
                    return told;
                }
                told.set(ErrorKind::AnswerLost, "the answer was cut off");
            }
            SdkError::TimeoutError(_) => told.set(ErrorKind::TimedOut, "no answer in time"),
            SdkError::DispatchFailure(failure) => told.settle_dispatch(failure, &error),
            // A construction failure, or a variant that a later SDK adds before sending.
            _ if has_cause::<CredentialsError>(&error) => told.settle_credentials(),
            _ => {}
        }
        if !matches!(told.kind, ErrorKind::Answered) {
            told.source = Some(Box::new(error));
        }
        told
    }

    fn from_response(operation: Operation, response: &HttpResponse) -> Self {
        let header = |name: &str| response.headers().get(name).map(str::to_owned);
        let body = response.body().bytes().unwrap_or_default();
        let mut told = Self::new(operation, ErrorKind::Answered, "");
        told.status = Some(response.status().as_u16());
        told.condition = element(body, "Condition");
        told.storage_class = element(body, "StorageClass");
        told.access_tier = element(body, "AccessTier");
        // STS names it otherwise, or only in the body.
        told.request_id = header("x-amz-request-id")
            .or_else(|| header("x-amzn-requestid"))
            .or_else(|| element(body, "RequestId"));
        told.extended_request_id = header("x-amz-id-2");
        told.bucket_region = header("x-amz-bucket-region").map(Into::into);
        told.retry_after = header("retry-after")
            .and_then(|seconds| seconds.trim().parse().ok())
            .map(Duration::from_secs);
        told.clock_ahead_seconds = header("date")
            .and_then(|date| headers::http_date(&date))
            .map(|date| (OffsetDateTime::now_utc() - date).whole_seconds())
            .map(|ahead| ahead.clamp(-MOST_SKEW_SECONDS, MOST_SKEW_SECONDS))
            .and_then(|ahead| i32::try_from(ahead).ok());
        // For when the SDK cannot read the body, as with white space before its XML declaration.
        told.code = element(body, "Code");
        told.message = element(body, "Message").unwrap_or_default();
        told
    }

    fn set(&mut self, kind: ErrorKind, message: &str) {
        self.kind = kind;
        message.clone_into(&mut self.message);
    }

    /// An answer that the SDK took for an error: S3's own, or a 200 that it could not read as a result.
    fn settle_answer(&mut self, message: Option<String>) {
        let success = self
            .status
            .is_some_and(|status| (200..300).contains(&status));
        if success && self.code.is_none() {
            self.set(ErrorKind::EmptyAnswer, "the answer has no result");
        } else {
            self.kind = ErrorKind::Answered;
            let message = message.filter(|text| !text.is_empty());
            if let Some(message) = message {
                self.message = message;
            } else if self.message.is_empty() {
                // Bodiless, as every answer to HEAD is.
                self.message = self.report_code().to_owned();
            }
        }
    }

    fn settle_dispatch(&mut self, failure: &DispatchFailure, error: &(dyn Error + 'static)) {
        if has_cause::<CredentialsError>(error) {
            self.settle_credentials();
        } else if failure.is_user() {
            self.set(
                ErrorKind::NotBuilt,
                "the request could not be sent as it is",
            );
        } else if failure.is_timeout() {
            // Attempts are timed by `Requests`: the one time-out that the SDK is given is that of connecting.
            self.set(ErrorKind::NotSent, "no connection in time");
        } else if let Some(why) = untrusted(error) {
            let message = format!(
                "the server's certificate is not believed: {why}; AWS_CA_BUNDLE names a file of \
                 certificates that are"
            );
            self.set(ErrorKind::Untrusted, &message);
        } else if cause::<hyper_util::client::legacy::Error>(error)
            .is_some_and(hyper_util::client::legacy::Error::is_connect)
        {
            self.set(ErrorKind::NotSent, "no connection");
            if is_out_of_sockets(error) {
                self.code = Some(OUT_OF_SOCKETS.into());
            }
        } else {
            self.set(ErrorKind::AnswerLost, "the connection was lost");
        }
    }

    fn settle_credentials(&mut self) {
        self.set(ErrorKind::Credentials, "no valid credentials");
    }
}

/// Names the status of an answer without a body, as the code to report.
pub fn code_of_status(status: u16) -> &'static str {
    match status {
        301 | 308 => "PermanentRedirect",
        302 | 307 => "TemporaryRedirect",
        304 => "NotModified",
        400 => "BadRequest",
        401 | 403 => "AccessDenied",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        408 => "RequestTimeout",
        409 => "Conflict",
        411 => "MissingContentLength",
        412 => "PreconditionFailed",
        416 => "InvalidRange",
        429 => "TooManyRequests",
        501 => "NotImplemented",
        503 => "ServiceUnavailable",
        500.. => "InternalError",
        _ => "UnknownError",
    }
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList>, and STS's and KMS's.
pub(crate) const ACCESS_CODES: &[&str] = &[
    "AccessDenied",
    "AccessDeniedException",
    "AccessPointAccessDenied",
    "AccountProblem",
    "AllAccessDisabled",
    "AuthFailure",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSecurity",
    "InvalidToken",
    "NotSignedUp",
    "SignatureDoesNotMatch",
    "UnauthorizedAccess",
    "UnrecognizedClientException",
];

/// The text of the first `<name>` element of an error's body.
///
/// The SDK drops the elements it has no member for. Error bodies are flat and small, and of the text that
/// we look for only a message could hold an entity.
fn element(body: &[u8], name: &str) -> Option<String> {
    let body = std::str::from_utf8(body).ok()?;
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Why a certificate was not believed, if that is what ended a connection.
fn untrusted(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(why)) = error.downcast_ref() {
            let why = why.to_string();
            // The usual form of one that somebody made for a store at home.
            let of_ca = why.contains("CaUsedAsEndEntity");
            return Some(if of_ca {
                "it is that of a CA: the server needs one of its own, made with CA:FALSE".to_owned()
            } else {
                why
            });
        }
        // What is inside of an error of the system's is no source of it.
        let of_system = error.downcast_ref::<std::io::Error>();
        let inside = of_system.and_then(std::io::Error::get_ref);
        next = inside.map(|inside| inside as _).or_else(|| error.source());
    }
    None
}

/// Whether a connection was not made because this machine has no descriptor or port left for it.
fn is_out_of_sockets(error: &(dyn Error + 'static)) -> bool {
    // ENFILE and EMFILE are no kinds of the standard library; their numbers are the same everywhere.
    cause::<std::io::Error>(error).is_some_and(|error| {
        matches!(error.raw_os_error(), Some(23 | 24))
            || error.kind() == std::io::ErrorKind::AddrNotAvailable
    })
}

fn has_cause<T: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    cause::<T>(error).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_a_body() {
        let body = b"<?xml version=\"1.0\"?>\n<Error><Code>PreconditionFailed</Code>\
            <Condition> If-None-Match </Condition></Error>";
        assert_eq!(element(body, "Condition").as_deref(), Some("If-None-Match"));
        for body in [
            &b""[..],
            b"<Error></Error>",
            b"<Condition></Condition>",
            b"<Condition>If-Match",
            b"</Condition>If-Match<Condition>",
            b"\xff<Condition>If-Match</Condition>",
        ] {
            assert_eq!(element(body, "Condition"), None);
        }
    }

    #[test]
    fn report_codes() {
        let answered = |status, code: Option<&str>| {
            let mut error = S3Error::new(Operation::HeadObject, ErrorKind::Answered, "");
            error.status = Some(status);
            error.code = code.map(Into::into);
            error.report_code().to_owned()
        };
        let table = [
            (403, Some("InvalidObjectState"), "InvalidObjectState"),
            (200, Some("SlowDown"), "SlowDown"),
            (301, None, "PermanentRedirect"),
            (400, None, "BadRequest"),
            (401, None, "AccessDenied"),
            (403, None, "AccessDenied"),
            (404, None, "NotFound"),
            (412, None, "PreconditionFailed"),
            (429, None, "TooManyRequests"),
            (500, None, "InternalError"),
            (501, None, "NotImplemented"),
            (502, None, "InternalError"),
            (503, None, "ServiceUnavailable"),
            (418, None, "UnknownError"),
        ];
        for (status, code, expected) in table {
            assert_eq!(answered(status, code), expected, "{status} {code:?}");
        }
        let table = [
            (ErrorKind::EmptyAnswer, "EmptyAnswer"),
            (ErrorKind::Unreadable, "UnreadableAnswer"),
            (ErrorKind::TimedOut, "RequestTimedOut"),
            (ErrorKind::NotSent, "ConnectionFailed"),
            (ErrorKind::Untrusted, "CertificateNotTrusted"),
            (ErrorKind::AnswerLost, "AnswerLost"),
            (ErrorKind::Credentials, "CredentialsUnavailable"),
            (ErrorKind::NotBuilt, "RequestNotBuilt"),
        ];
        for (kind, expected) in table {
            let error = S3Error::new(Operation::CopyObject, kind, "");
            assert_eq!(error.report_code(), expected);
        }
    }

    #[test]
    fn one_line_without_the_cause() {
        let mut error = S3Error::new(Operation::CopyObject, ErrorKind::Answered, "Access Denied");
        error.status = Some(403);
        error.code = Some("AccessDenied".into());
        error.request_id = Some("X".into());
        let line = "CopyObject: 403 AccessDenied: Access Denied (request ID X)";
        assert_eq!(error.to_string(), line);
        let mut error = S3Error::new(Operation::CopyObject, ErrorKind::NotSent, "no connection");
        error.source = Some("refused by 10.0.0.1".into());
        assert_eq!(error.to_string(), "CopyObject: no connection");
        assert_eq!(
            std::error::Error::source(&error).unwrap().to_string(),
            "refused by 10.0.0.1"
        );
    }
}
