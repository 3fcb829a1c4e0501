//! Bodies that faults make.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use s3s::{Body, StdError};
use tokio::time::{Sleep, sleep};

/// How long the first half has to leave before the connection closes.
const FLUSH: Duration = Duration::from_millis(20);

/// Half of a body, then an error, which closes the connection.
pub(super) struct CutBody {
    inner: Body,
    length: u64,
    left: u64,
    flush: Option<Pin<Box<Sleep>>>,
}

impl CutBody {
    pub(super) fn new(inner: Body) -> Self {
        let length = inner.size_hint().exact().unwrap_or(0);
        Self {
            inner,
            length,
            left: length / 2,
            flush: None,
        }
    }
}

impl HttpBody for CutBody {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = self.get_mut();
        if this.left > 0
            && let Some(frame) = ready!(Pin::new(&mut this.inner).poll_frame(cx))
            && let Ok(mut data) = frame?.into_data()
        {
            data.truncate(usize::try_from(this.left).unwrap_or(usize::MAX));
            this.left -= data.remaining() as u64;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        // Pending lets the server write what it has.
        ready!(
            this.flush
                .get_or_insert_with(|| Box::pin(sleep(FLUSH)))
                .as_mut()
                .poll(cx)
        );
        Poll::Ready(Some(Err("cut by a fault".into())))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}

/// An XML document after white space that comes slowly.
pub(super) struct TrickleBody {
    every: Duration,
    spaces: u32,
    next: Pin<Box<Sleep>>,
    declaration: Option<Bytes>,
    document: Option<Bytes>,
}

impl TrickleBody {
    /// Splits the document behind its XML declaration, in front of which no white space may stand.
    pub(super) fn new(mut document: Bytes, every: Duration, spaces: u32) -> Self {
        let end = document
            .windows(2)
            .position(|pair| pair == b"?>")
            .map_or(0, |at| at + 2);
        let declaration = if document.starts_with(b"<?xml") {
            document.split_to(end)
        } else {
            Bytes::new()
        };
        let declaration = Some(declaration).filter(|declaration| !declaration.is_empty());
        Self {
            every,
            spaces,
            next: Box::pin(sleep(every)),
            declaration,
            document: Some(document),
        }
    }
}

impl HttpBody for TrickleBody {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = self.get_mut();
        if let Some(declaration) = this.declaration.take() {
            return Poll::Ready(Some(Ok(Frame::data(declaration))));
        }
        if this.spaces > 0 {
            ready!(this.next.as_mut().poll(cx));
            this.spaces -= 1;
            this.next = Box::pin(sleep(this.every));
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b" ")))));
        }
        Poll::Ready(
            this.document
                .take()
                .map(|document| Ok(Frame::data(document))),
        )
    }
}
