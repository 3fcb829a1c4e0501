//! Bodies: what a client sends, checked, and what it is sent.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use s3s::dto::StreamingBlob;
use s3s::{Body, S3Error, StdError, TrailingHeaders};

use crate::access::header;
use crate::error::{error, invalid_request};
use crate::store::checksum::{ChecksumAlgorithm, base64};
use crate::store::content::Content;

/// Takes a request's whole body.
pub(super) async fn collect(body: Option<StreamingBlob>) -> Result<Bytes, S3Error> {
    let Some(body) = body else {
        return Ok(Bytes::new());
    };
    let collected = Body::from(body).collect().await.map_err(|cause| {
        let text = cause.to_string();
        // s3s names what is wrong with a signed body only in the text of its stream's error.
        if text.contains("Sha256")
            || text.contains("Signature")
            || text.contains("SHA256")
            || text.contains("hash")
        {
            error(
                400,
                "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
            )
        } else {
            error(
                400,
                "IncompleteBody",
                "The request body terminated unexpectedly",
            )
        }
    })?;
    Ok(collected.to_bytes())
}

/// Checks the digests that a client sent, in headers or after the body; answers the additional checksum's algorithm.
pub(crate) fn check_digests(
    bytes: &[u8],
    headers: &HeaderMap,
    trailers: Option<&TrailingHeaders>,
) -> Result<Option<ChecksumAlgorithm>, S3Error> {
    check_md5(bytes, headers)?;
    let trailers = trailers.and_then(TrailingHeaders::take).unwrap_or_default();
    let mut sent = None;
    for algorithm in ChecksumAlgorithm::ALL {
        let Some(value) =
            header(headers, algorithm.header()).or_else(|| header(&trailers, algorithm.header()))
        else {
            continue;
        };
        if sent.is_some() {
            return Err(invalid_request(
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            ));
        }
        if base64(&algorithm.of(bytes)) != value {
            let message =
                format!("The {algorithm} you specified did not match the calculated checksum.");
            return Err(error(400, "BadDigest", message));
        }
        sent = Some(algorithm);
    }
    Ok(sent)
}

fn check_md5(bytes: &[u8], headers: &HeaderMap) -> Result<(), S3Error> {
    let Some(value) = header(headers, "content-md5") else {
        return Ok(());
    };
    match base64_simd::STANDARD.decode_to_vec(value.as_bytes()) {
        Ok(md5) if md5.len() == 16 => {
            let actual = Content::stored(Bytes::copy_from_slice(bytes)).md5();
            if md5 == actual {
                Ok(())
            } else {
                Err(error(
                    400,
                    "BadDigest",
                    "The Content-MD5 you specified did not match what we received.",
                ))
            }
        }
        _ => Err(error(
            400,
            "InvalidDigest",
            "The Content-MD5 you specified was invalid.",
        )),
    }
}

/// A range of an object's content as a body, made as it is sent.
pub(super) struct ContentBody {
    content: Arc<Content>,
    range: Range<u64>,
}

impl ContentBody {
    pub(super) fn new(content: Arc<Content>, range: Range<u64>) -> Self {
        Self { content, range }
    }
}

impl http_body::Body for ContentBody {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = self.get_mut();
        if this.range.is_empty() {
            return Poll::Ready(None);
        }
        let chunk = this
            .content
            .chunk(this.range.start, this.range.end - this.range.start);
        this.range.start += chunk.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.range.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.range.end - self.range.start)
    }
}
