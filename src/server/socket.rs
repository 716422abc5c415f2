//! The stream of one connection, which counts what goes through it.
//!
//! Two hold it: the server while it serves, and [`super::serve`], which closes it afterwards.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::connection::{Connection, Room};
use super::connections::Connections;
use super::reason::Reason;

/// The answer to a head that is too large.
const TOO_LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Bytes that are read at a time from a client that is closed.
const DISCARDED: usize = 1024;

/// Bytes between client and server.
pub(super) enum Stream {
    /// A plain stream.
    Plain(TcpStream),
    /// A TLS stream after the handshake.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn poll_read(&mut self, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, into),
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// A shared handle of a connection's stream.
#[derive(Clone)]
pub(super) struct Socket {
    stream: Rc<RefCell<Stream>>,
    connection: Arc<Connection>,
    connections: Arc<Connections>,
}

impl Socket {
    pub(super) fn new(stream: Stream, connection: &Arc<Connection>, connections: &Arc<Connections>) -> Self {
        Self {
            stream: Rc::new(RefCell::new(stream)),
            connection: Arc::clone(connection),
            connections: Arc::clone(connections),
        }
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Makes the kernel drop unread data when the last handle is closed.
    pub(super) fn abort(&self) {
        abort(self.stream.borrow().tcp());
    }

    /// Sends the end of the stream, and waits until the client has read all and closes. The kernel
    /// would keep what is not read, uncounted, for many minutes.
    pub(super) async fn close(&self) -> io::Result<()> {
        std::future::poll_fn(|context| self.stream.borrow_mut().poll_shutdown(context)).await?;
        std::future::poll_fn(|context| {
            let mut stream = self.stream.borrow_mut();
            loop {
                let mut discarded = [0; DISCARDED];
                let mut into = ReadBuf::new(&mut discarded);
                ready!(stream.poll_read(context, &mut into))?;
                if into.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
            }
        })
        .await
    }
}

/// See [`Socket::abort`].
pub(super) fn abort(stream: &TcpStream) {
    if let Err(error) = rustix::net::sockopt::set_socket_linger(stream, Some(std::time::Duration::ZERO)) {
        tracing::debug!("a connection is not aborted: {error}");
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut stream = self.stream.borrow_mut();
        let most = match self.connection.room(self.connections.limits()) {
            Room::Bytes(most) => most,
            Room::Later => {
                self.connection.wake_later(context.waker());
                return Poll::Pending;
            }
            Room::End => return Poll::Ready(Ok(())),
            Room::TooLarge(unanswered) => {
                self.connections.count_dropped(Reason::LargeHead);
                if unanswered {
                    // As much as the kernel takes: there is no other answer in its way.
                    let _taken = stream.poll_write(context, TOO_LARGE)?;
                }
                return Poll::Ready(Ok(()));
            }
        };
        let most = most.min(into.remaining());
        let mut part = ReadBuf::new(into.initialize_unfilled_to(most));
        ready!(stream.poll_read(context, &mut part))?;
        let read = part.filled().len();
        self.connection.has_read(part.filled(), Instant::now());
        into.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.stream.borrow_mut().poll_write(context, bytes);
        match &written {
            Poll::Ready(Ok(count)) => self.connection.has_written(*count, Instant::now()),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.connection.is_blocked(Instant::now()),
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.borrow_mut().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.borrow_mut().poll_shutdown(context)
    }
}
