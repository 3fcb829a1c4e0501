//! Header pairs: what callers add to a request before it is signed.
//!
//! The spelling of a header exists once, with who decides that it is sent. Here they are put on the
//! request, and the answer's are taken off it as S3 sent them: the SDK parses some of them on the
//! way (`Expires` is one) and forgets how they were spelt.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::http::Headers;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use time::OffsetDateTime;

use crate::error::{ErrorKind, S3Error};
use crate::operation::Operation;

/// A header: its name in lower case, and its value.
pub type HeaderPair = (Cow<'static, str>, String);

/// Puts the caller's headers on a request before it is signed.
#[derive(Debug)]
pub(crate) struct AddHeaders(Headers);

impl AddHeaders {
    /// Checks that the pairs can be sent, so that a stranger's metadata fails its row and no more.
    pub(crate) fn new(
        operation: Operation,
        pairs: &[HeaderPair],
    ) -> std::result::Result<Self, Box<S3Error>> {
        let mut headers = Headers::new();
        if matches!(operation, Operation::CopyObject | Operation::UploadPartCopy) {
            // A PUT without a body says so (RFC 9110 8.6), which the SDK leaves out and some stores insist on.
            headers.insert("content-length", "0");
        }
        for (name, value) in pairs {
            if let Err(source) = headers.try_insert(name.to_string(), value.clone()) {
                let mut error = S3Error::new(
                    operation,
                    ErrorKind::NotBuilt,
                    format!("the value of header {name} cannot be sent"),
                );
                error.source = Some(Box::new(source));
                return Err(Box::new(error));
            }
        }
        Ok(Self(headers))
    }
}

#[dyn_dispatch_hint]
impl Intercept for AddHeaders {
    fn name(&self) -> &'static str {
        "AddHeaders"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        let headers = context.request_mut().headers_mut();
        for (name, value) in &self.0 {
            headers.try_insert(name.to_owned(), value.to_owned())?;
        }
        Ok(())
    }
}

/// Takes the headers of an answer off it, all of them, as they came.
#[derive(Debug, Clone, Default)]
pub(crate) struct CaptureHeaders(Arc<Mutex<Vec<HeaderPair>>>);

impl CaptureHeaders {
    /// The headers of the answer, names in lower case.
    pub(crate) fn take(&self) -> Vec<HeaderPair> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[dyn_dispatch_hint]
impl Intercept for CaptureHeaders {
    fn name(&self) -> &'static str {
        "CaptureHeaders"
    }

    // As early as can be: later the SDK moves an `Expires` that is no date to a header of its own.
    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        let pairs = pairs(context.response().headers());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = pairs;
        Ok(())
    }
}

/// Refuses an answer before its body is read, unless it can be a small XML document.
///
/// A store that does not know a sub-resource may answer with the object itself, however large.
#[derive(Debug)]
pub(crate) struct OnlyXml;

/// Why an answer was refused unread.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotXml {
    /// It says that it is something else.
    #[error("its Content-Type is {}", .0.escape_debug())]
    Type(String),
    /// It is longer than any such answer.
    #[error("it is {0} bytes long")]
    Long(u64),
    /// It says nothing of itself.
    #[error("it has neither Content-Type nor Content-Length")]
    Unknown,
}

/// The longest XML answer that is read; S3's are below 1 MiB.
const MAX_XML_BYTES: u64 = 16 * 1024 * 1024;

fn check_xml(
    content_type: Option<&str>,
    content_length: Option<u64>,
) -> std::result::Result<(), NotXml> {
    if let Some(length) = content_length.filter(|length| *length > MAX_XML_BYTES) {
        return Err(NotXml::Long(length));
    }
    let Some(content_type) = content_type else {
        return content_length.map(|_| ()).ok_or(NotXml::Unknown);
    };
    let (media_type, _) = content_type.split_once(';').unwrap_or((content_type, ""));
    let is_xml = ["application/xml", "text/xml"]
        .iter()
        .any(|xml| media_type.trim().eq_ignore_ascii_case(xml));
    if is_xml {
        Ok(())
    } else {
        Err(NotXml::Type(content_type.to_owned()))
    }
}

#[dyn_dispatch_hint]
impl Intercept for OnlyXml {
    fn name(&self) -> &'static str {
        "OnlyXml"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        let response = context.response();
        // Errors are believed whatever they are written in.
        if response.status().is_success() {
            let headers = response.headers();
            let length = headers.get("content-length").and_then(|n| n.parse().ok());
            check_xml(headers.get("content-type"), length)?;
        }
        Ok(())
    }
}

/// Copies an answer's headers. Bytes that are not UTF-8 are replaced: S3 sends none, stores like it may.
pub(crate) fn pairs(headers: &Headers) -> Vec<HeaderPair> {
    headers
        .iter_bytes()
        .map(|(name, value)| {
            (
                Cow::Owned(name.to_ascii_lowercase()),
                String::from_utf8_lossy(value).into_owned(),
            )
        })
        .collect()
}

/// The value of the first header of that name (lower case).
pub(crate) fn find<'a>(headers: &'a [HeaderPair], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

/// S3's time of day, from a header such as `Date` or `Last-Modified`.
pub(crate) fn http_date(value: &str) -> Option<OffsetDateTime> {
    DateTime::from_str(value, Format::HttpDate)
        .ok()
        .and_then(|time| offset_date_time(&time))
}

/// The SDK's time as ours; none outside the years that `time` knows.
pub(crate) fn offset_date_time(time: &DateTime) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(time.as_nanos()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_xml() {
        let xml = Some("application/xml");
        let table = [
            (xml, Some(0), Ok(())),
            (xml, Some(MAX_XML_BYTES), Ok(())),
            // S3 does not say how long an answer is that it makes as it goes.
            (xml, None, Ok(())),
            (Some("Text/XML; charset=utf-8"), None, Ok(())),
            (None, Some(MAX_XML_BYTES), Ok(())),
            (None, None, Err(NotXml::Unknown)),
            (
                xml,
                Some(MAX_XML_BYTES + 1),
                Err(NotXml::Long(MAX_XML_BYTES + 1)),
            ),
            (None, Some(u64::MAX), Err(NotXml::Long(u64::MAX))),
        ];
        for (content_type, length, expected) in table {
            assert_eq!(
                check_xml(content_type, length),
                expected,
                "{content_type:?} {length:?}"
            );
        }
        for other in ["text/plain", "image/svg+xml", "application/xml-dtd", ""] {
            let refused = Err(NotXml::Type(other.to_owned()));
            assert_eq!(check_xml(Some(other), Some(1)), refused, "{other}");
        }
    }
}
