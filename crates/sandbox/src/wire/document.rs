//! Error documents of S3 and STS, and XML as both send it.

use std::fmt::Write as _;

use crate::exchange::Exchange;

/// The code and message of an error, as text that may stand in XML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) details: Vec<(String, String)>,
}

impl Refusal {
    pub(super) fn new(code: &str, message: &str) -> Self {
        let message = if message.is_empty() {
            default_message(code)
        } else {
            message
        };
        Self {
            code: code.to_owned(),
            message: xml_text(message),
            details: Vec::new(),
        }
    }

    /// Reads what s3s wrote.
    pub(super) fn read(document: &str, status: u16) -> Self {
        let code = element(document, "Code").unwrap_or(match status {
            304 => "NotModified",
            400 => "BadRequest",
            403 => "AccessDenied",
            _ => "InternalError",
        });
        let message = element(document, "Message").filter(|message| !message.is_empty());
        Self {
            code: code.to_owned(),
            message: message.map_or_else(|| xml_text(default_message(code)), str::to_owned),
            details: Vec::new(),
        }
    }

    /// The document of S3.
    pub(super) fn s3(&self, exchange: &Exchange, host_id: &str) -> String {
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message>",
            self.code, self.message
        );
        for (name, value) in &self.details {
            let _ = write!(text, "<{name}>{}</{name}>", xml_text(value));
        }
        let _ = write!(
            text,
            "<RequestId>{}</RequestId><HostId>{host_id}</HostId></Error>",
            exchange.request_id
        );
        text
    }

    /// The document of STS.
    pub(super) fn sts(&self, exchange: &Exchange) -> String {
        format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
             <Code>{}</Code><Message>{}</Message></Error><RequestId>{}</RequestId></ErrorResponse>",
            self.code, self.message, exchange.request_id
        )
    }
}

/// The text of the first element of a name, as it stands in the document.
fn element<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

/// What S3 says where s3s says nothing.
/// `https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html`
fn default_message(code: &str) -> &'static str {
    match code {
        "SignatureDoesNotMatch" => {
            "The request signature we calculated does not match the signature you provided. Check your key and signing \
             method."
        }
        "AccessDenied" => "Access Denied",
        "KeyTooLongError" => "Your key is too long",
        "InvalidBucketName" => "The specified bucket is not valid.",
        "InvalidURI" => "Couldn't parse the specified URI.",
        "MalformedXML" => {
            "The XML you provided was not well-formed or did not validate against our published schema"
        }
        "MissingContentLength" => "You must provide the Content-Length HTTP header.",
        "MissingRequestBodyError" => "Request body is empty.",
        "RequestTimeTooSkewed" => {
            "The difference between the request time and the current time is too large."
        }
        "IncompleteBody" => {
            "You did not provide the number of bytes specified by the Content-Length HTTP header"
        }
        "MethodNotAllowed" => "The specified method is not allowed against this resource.",
        "InternalError" => "We encountered an internal error. Please try again.",
        "ServiceUnavailable" => "Service is unable to handle request.",
        "SlowDown" => "Please reduce your request rate.",
        "ExpiredToken" => "The provided token has expired.",
        "NotImplemented" => "A header you provided implies functionality that is not implemented.",
        "RequestTimeout" => {
            "Your socket connection to the server was not read from or written to within the timeout period. Idle \
             connections will be closed."
        }
        _ => "The request was refused.",
    }
}

/// Writes text for an element, control characters as references, which XML parsers would else change.
pub(crate) fn xml_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            control if control.is_ascii_control() => {
                let _ = write!(escaped, "&#x{:x};", u32::from(control));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

/// Writes the control characters of a document as references; none where there is none. s3s writes them bare.
pub(super) fn with_control_references(document: &[u8]) -> Option<Vec<u8>> {
    let is_control = |byte: &u8| *byte < 0x20 && *byte != b'\n';
    document.iter().any(is_control).then(|| {
        let mut escaped = Vec::with_capacity(document.len() + 16);
        for byte in document {
            if is_control(byte) {
                escaped.extend_from_slice(format!("&#x{byte:x};").as_bytes());
            } else {
                escaped.push(*byte);
            }
        }
        escaped
    })
}

/// Empties all ETag elements of a document, or only takes their quotes off.
pub(super) fn rewrite_e_tags(document: &str, rewrite: impl Fn(&str) -> String) -> String {
    let mut text = String::with_capacity(document.len());
    let mut rest = document;
    while let Some((before, after)) = rest.split_once("<ETag>") {
        let (e_tag, after) = after.split_once("</ETag>").unwrap_or((after, ""));
        let _ = write!(text, "{before}<ETag>{}</ETag>", rewrite(e_tag));
        rest = after;
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read() {
        let refusal = Refusal::read(
            "<Error><Code>NoSuchKey</Code><Message>a &amp; b</Message></Error>",
            404,
        );
        assert_eq!(
            (refusal.code.as_str(), refusal.message.as_str()),
            ("NoSuchKey", "a &amp; b")
        );
        assert_eq!(
            Refusal::read("<Error><Code>KeyTooLongError</Code></Error>", 400).message,
            "Your key is too long"
        );
        assert_eq!(Refusal::read("", 304).code, "NotModified");
    }

    #[test]
    fn control_characters_become_references() {
        assert_eq!(xml_text("a\r<\u{1}>"), "a&#xd;&lt;&#x1;&gt;");
        assert_eq!(
            with_control_references(b"<K>a\rb\n</K>").as_deref(),
            Some(&b"<K>a&#xd;b\n</K>"[..])
        );
        assert_eq!(with_control_references(b"<K>a\n</K>"), None);
    }

    #[test]
    fn e_tags_are_rewritten() {
        let document = "<A><ETag>&quot;x&quot;</ETag><B/><ETag>y</ETag></A>";
        assert_eq!(
            rewrite_e_tags(document, |_| String::new()),
            "<A><ETag></ETag><B/><ETag></ETag></A>"
        );
        assert_eq!(
            rewrite_e_tags(document, |e_tag| e_tag.replace("&quot;", "")),
            "<A><ETag>x</ETag><B/><ETag>y</ETag></A>"
        );
    }
}
