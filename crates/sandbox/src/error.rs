//! Errors in S3's words.

use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderValue};
use s3s::{S3Error, S3ErrorCode};

/// A header from here to [`crate::wire`], which makes elements of an error document of it: `Name=value`, encoded.
pub(crate) const DETAIL: &str = "x-sandbox-detail";

/// A header from here to [`crate::wire`]: the status of an answer where s3s knows only another.
pub(crate) const STATUS: &str = "x-sandbox-status";

pub(crate) fn error(status: u16, code: &str, message: impl Into<String>) -> S3Error {
    let code = S3ErrorCode::from_bytes(code.as_bytes()).unwrap_or(S3ErrorCode::InternalError);
    let mut error = S3Error::with_message(code, message.into());
    error
        .set_status_code(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    error
}

/// Adds an element to the error's document.
pub(crate) fn with_detail(mut error: S3Error, name: &str, value: &str) -> S3Error {
    let encoded = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
    let mut headers = error.headers().cloned().unwrap_or_default();
    if let Ok(value) = HeaderValue::from_str(&format!("{name}={encoded}")) {
        headers.append(DETAIL, value);
    }
    error.set_headers(headers);
    error
}

/// Adds a header to the error's answer.
pub(crate) fn with_header(mut error: S3Error, name: &'static str, value: &str) -> S3Error {
    let mut headers = error.headers().cloned().unwrap_or_default();
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
    error.set_headers(headers);
    error
}

/// Takes the elements that [`with_detail`] added out of an answer's headers.
pub(crate) fn take_details(headers: &mut HeaderMap) -> Vec<(String, String)> {
    let details = headers
        .get_all(DETAIL)
        .iter()
        .filter_map(|value| value.to_str().ok()?.split_once('='))
        .map(|(name, value)| {
            (
                name.to_owned(),
                percent_encoding::percent_decode_str(value)
                    .decode_utf8_lossy()
                    .into_owned(),
            )
        })
        .collect();
    headers.remove(DETAIL);
    details
}

pub(crate) fn access_denied(message: impl Into<String>) -> S3Error {
    error(403, "AccessDenied", message)
}

pub(crate) fn no_such_bucket(bucket: &str) -> S3Error {
    with_detail(
        error(404, "NoSuchBucket", "The specified bucket does not exist"),
        "BucketName",
        bucket,
    )
}

pub(crate) fn no_such_key(key: &str) -> S3Error {
    with_detail(
        error(404, "NoSuchKey", "The specified key does not exist."),
        "Key",
        key,
    )
}

pub(crate) fn no_such_version(key: &str, version_id: &str) -> S3Error {
    let error = error(
        404,
        "NoSuchVersion",
        "The specified version does not exist.",
    );
    with_detail(with_detail(error, "Key", key), "VersionId", version_id)
}

pub(crate) fn no_such_upload(upload_id: &str) -> S3Error {
    let error = error(
        404,
        "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or \
         completed.",
    );
    with_detail(error, "UploadId", upload_id)
}

pub(crate) fn invalid_argument(name: &str, value: &str, message: impl Into<String>) -> S3Error {
    let error = error(400, "InvalidArgument", message);
    with_detail(
        with_detail(error, "ArgumentName", name),
        "ArgumentValue",
        value,
    )
}

pub(crate) fn invalid_request(message: impl Into<String>) -> S3Error {
    error(400, "InvalidRequest", message)
}

/// What S3 says of a header that it does not know here.
pub(crate) fn not_implemented(kind: &str, name: &str) -> S3Error {
    let message = format!(
        "A {} you provided implies functionality that is not implemented: {name}",
        kind.to_lowercase()
    );
    with_detail(error(501, "NotImplemented", message), kind, name)
}

/// A failed condition, spelled as S3 spells it in `<Condition>`.
pub(crate) fn precondition_failed(condition: &str) -> S3Error {
    let error = error(
        412,
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold",
    );
    with_detail(error, "Condition", condition)
}
