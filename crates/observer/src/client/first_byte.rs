//! A TLS connection that keeps why it may have ended before the server's first byte.
//!
//! A server checks the client's certificate after the client's end of the handshake. Its alert may
//! be lost with the connection, and the client sees an end, or a broken pipe. The calls on the
//! connection do not even see that: HTTP/2 tells them that their stream was closed.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How a connection ended before the server's first byte, and a reason that the server may have.
pub(super) type EarlyEnd = Arc<OnceLock<String>>;

/// A connection that notes its end before the server's first byte.
pub(super) struct FirstByteGuard<S> {
    stream: S,
    /// What it may refuse; none once it has sent something.
    why: Option<String>,
    early_end: EarlyEnd,
}

impl<S> FirstByteGuard<S> {
    pub(super) fn new(stream: S, why: String, early_end: EarlyEnd) -> Self {
        Self { stream, why: Some(why), early_end }
    }

    /// Keeps what may be the reason of an error.
    fn note(&self, error: io::Error) -> io::Error {
        if let Some(why) = &self.why {
            self.early_end.get_or_init(|| match error.kind() {
                // An alert.
                io::ErrorKind::InvalidData => format!("the server refused it ({error}): {why}"),
                _ => format!("the server had sent nothing: {why}"),
            });
        }
        error
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstByteGuard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (before, has_room) = (buffer.filled().len(), buffer.remaining() > 0);
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer)).map_err(|error| self.note(error));
        if read.is_ok() && has_room && self.why.is_some() {
            if buffer.filled().len() == before {
                return Poll::Ready(Err(self.note(io::ErrorKind::UnexpectedEof.into())));
            }
            self.why = None;
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstByteGuard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes).map_err(|error| self.note(error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx).map_err(|error| self.note(error))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
