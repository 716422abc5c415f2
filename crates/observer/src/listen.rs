//! Listeners: a unix socket, or an address and a port, with TLS if there are certificates.
//!
//! What a client can make the server hold is bounded: connections in all and of each client, TLS
//! handshakes under way, the time for a handshake and the time until a client sends anything.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::admission::{Admission, Place, Refusal};
use crate::connection::Connection;

/// Permissions of the socket: the owner's and the group's.
const SOCKET_MODE: u32 = 0o660;

/// Pause after a failed accept, which is nearly always one for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// TLS handshakes under way at most: the oldest makes room for a new one.
const MAX_HANDSHAKES: usize = 128;

/// A bound listener.
#[derive(Debug)]
pub enum Listener {
    /// A unix socket.
    Unix(UnixSocket),
    /// An address and a port.
    Tcp(TcpListener),
}

impl Listener {
    async fn accept(&self) -> io::Result<(Accepted, Option<IpAddr>)> {
        match self {
            Self::Unix(socket) => socket.listener.accept().await.map(|(stream, _)| (Accepted::Unix(stream), None)),
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // An answer must not wait for the acknowledgement of the one before.
                stream.set_nodelay(true)?;
                Ok((Accepted::Tcp(stream), Some(peer.ip())))
            }
        }
    }
}

enum Accepted {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// The admitted connections of a listener; those of TCP have shaken hands if there is a `tls`.
pub fn connections(
    listener: Listener,
    tls: Option<Arc<ServerConfig>>,
    admission: Arc<Admission>,
) -> impl Stream<Item = io::Result<Connection>> {
    let acceptor = tls.map(TlsAcceptor::from);
    let incoming = Incoming { listener, acceptor, admission, handshakes: JoinSet::new(), under_way: VecDeque::new() };
    stream::unfold(incoming, |mut incoming| async move {
        let connection = incoming.next().await;
        Some((Ok(connection), incoming))
    })
}

struct Incoming {
    listener: Listener,
    acceptor: Option<TlsAcceptor>,
    admission: Arc<Admission>,
    handshakes: JoinSet<Option<Connection>>,
    /// The handshakes, oldest first.
    under_way: VecDeque<AbortHandle>,
}

impl Incoming {
    async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                Some(shaken) = self.handshakes.join_next(), if !self.handshakes.is_empty() => {
                    if let Ok(Some(connection)) = shaken {
                        return connection;
                    }
                }
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, client)) => {
                        if let Some(connection) = self.admit(stream, client) {
                            return connection;
                        }
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                },
            }
        }
    }

    /// The connection, unless it is refused or has to shake hands first.
    fn admit(&mut self, stream: Accepted, client: Option<IpAddr>) -> Option<Connection> {
        let place = self.admission.admit(client)?;
        match (stream, &self.acceptor) {
            (Accepted::Unix(stream), _) => Some(Connection::unix(stream, place)),
            (Accepted::Tcp(stream), None) => Some(Connection::tcp(stream, place)),
            (Accepted::Tcp(stream), Some(acceptor)) => {
                let handshake = shake_hands(acceptor.clone(), stream, place);
                self.start(handshake);
                None
            }
        }
    }

    fn start(&mut self, handshake: impl Future<Output = Option<Connection>> + Send + 'static) {
        self.under_way.retain(|handshake| !handshake.is_finished());
        if self.under_way.len() >= MAX_HANDSHAKES
            && let Some(oldest) = self.under_way.pop_front()
        {
            self.admission.count(Refusal::Handshake);
            oldest.abort();
        }
        self.under_way.push_back(self.handshakes.spawn(handshake));
    }
}

async fn shake_hands(acceptor: TlsAcceptor, stream: TcpStream, place: Place) -> Option<Connection> {
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(Connection::tls(stream, place)),
        Ok(Err(error)) => {
            tracing::debug!("TLS handshake: {error}");
            place.admission().count(Refusal::Handshake);
            None
        }
        Err(_late) => {
            place.admission().count(Refusal::Handshake);
            None
        }
    }
}

/// A socket that is removed when it is dropped.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl UnixSocket {
    /// Binds a socket, of which the group may read and write. One that a server left behind is
    /// replaced; one that is served, or a file of another type, is not.
    ///
    /// # Errors
    /// If it cannot be bound.
    pub async fn bind(path: &Path) -> io::Result<Self> {
        if let Ok(found) = std::fs::symlink_metadata(path) {
            if !found.file_type().is_socket() {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
            }
            if UnixStream::connect(path).await.is_ok() {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another server listens there"));
            }
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
        Ok(Self { listener, path: path.to_owned() })
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // It may be gone with its directory.
        let _removed = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket of a server that died is replaced; a live one and another file are left alone.
    #[tokio::test]
    async fn sockets_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let socket = UnixSocket::bind(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        assert!(UnixSocket::bind(&path).await.is_err());
        drop(socket);
        assert!(!path.exists());
        std::fs::write(&path, "kept").unwrap();
        assert!(UnixSocket::bind(&path).await.is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept");
    }
}
