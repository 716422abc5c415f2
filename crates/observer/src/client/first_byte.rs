//! A connection that keeps why it may have ended before the server's first byte, or with it.
//!
//! A server checks the client's certificate after the client's end of the handshake. Its alert may
//! be lost with the connection, and the client sees an end, or a broken pipe. The calls on the
//! connection do not even see that: HTTP/2 tells them that their stream was closed. Without TLS, a
//! server that expects it sends an alert, or ends the connection without a word.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// First byte of an alert of TLS. A server of HTTP/2 begins with the length of its settings, whose
/// first byte is 0.
const TLS_ALERT: u8 = 21;

/// How a connection ended before the server's first byte, if it did.
pub(super) type EarlyEnd = Arc<OnceLock<Ended>>;

/// An end before the server has sent anything that is HTTP/2.
#[derive(Debug)]
pub(super) struct Ended {
    /// How it was, and a reason that the server may have.
    pub(super) why: String,
    /// The server has sent what is no HTTP/2.
    is_protocol: bool,
}

impl Ended {
    /// The error of a call on the connection.
    pub(super) fn error(&self) -> Box<dyn Error + Send + Sync> {
        let kind = if self.is_protocol { io::ErrorKind::InvalidData } else { io::ErrorKind::UnexpectedEof };
        Box::new(io::Error::new(kind, self.why.clone()))
    }
}

/// A connection that notes its end before the server's first byte.
pub(super) struct FirstByteGuard<S> {
    stream: S,
    /// What it may refuse; none once it has sent something.
    why: Option<String>,
    is_plain: bool,
    early_end: EarlyEnd,
}

impl<S> FirstByteGuard<S> {
    /// A connection with TLS.
    pub(super) fn new(stream: S, why: String, early_end: EarlyEnd) -> Self {
        Self { stream, why: Some(why), is_plain: false, early_end }
    }

    /// A connection without TLS.
    pub(super) fn plain(stream: S, early_end: EarlyEnd) -> Self {
        let why = "if the port speaks TLS, use tls:// in the address".to_owned();
        Self { stream, why: Some(why), is_plain: true, early_end }
    }

    /// Keeps what may be the reason of an error.
    fn note(&self, error: io::Error) -> io::Error {
        if let Some(why) = &self.why {
            let why = match error.kind() {
                // An alert.
                io::ErrorKind::InvalidData => format!("the server refused it ({error}): {why}"),
                _ => format!("the server had sent nothing: {why}"),
            };
            self.early_end.get_or_init(|| Ended { why, is_protocol: false });
        }
        error
    }

    fn note_tls(&self) -> io::Error {
        let why = "it speaks TLS: use tls:// in the address";
        self.early_end.get_or_init(|| Ended { why: why.to_owned(), is_protocol: true });
        io::Error::new(io::ErrorKind::InvalidData, why)
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
            if self.is_plain && buffer.filled().get(before) == Some(&TLS_ALERT) {
                return Poll::Ready(Err(self.note_tls()));
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
