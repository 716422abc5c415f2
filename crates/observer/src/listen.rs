//! Listeners: a unix socket, or an address and a port, with TLS if there are certificates.
//!
//! What a client can make the server hold is bounded: connections in all and of each client, TLS
//! handshakes under way, the time for a handshake and the time until a client sends anything.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

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

/// Interval of log lines about handshakes that are refused.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

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
    let (handshakes, under_way, log) = Default::default();
    let incoming = Incoming { listener, acceptor, admission, handshakes, under_way, log };
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
    log: Arc<HandshakeLog>,
}

/// Log lines about handshakes that are refused, of which there may be many.
#[derive(Debug, Default)]
struct HandshakeLog(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    last: Option<Instant>,
    /// Lines that were left out since.
    left_out: u64,
}

impl HandshakeLog {
    /// The line about a handshake; none if there was one a short while ago.
    fn line(&self, client: Option<IpAddr>, error: &io::Error, now: Instant) -> Option<String> {
        // A client that goes without a word, such as a probe of the port, has nothing to mend.
        if error.kind() != io::ErrorKind::InvalidData {
            return None;
        }
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.last.is_some_and(|last| now.saturating_duration_since(last) < LOG_INTERVAL) {
            lines.left_out += 1;
            return None;
        }
        lines.last = Some(now);
        let client = client.map_or_else(|| "a client".to_owned(), |client| client.to_canonical().to_string());
        let more = match std::mem::take(&mut lines.left_out) {
            0 => String::new(),
            left_out => format!("; {left_out} more were refused since the last such line"),
        };
        Some(format!("the TLS handshake with {client} was refused: {error}{}{more}", reason(error)))
    }
}

/// What may be the reason of a refused handshake; empty if nothing is known.
fn reason(error: &io::Error) -> &'static str {
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::InvalidMessage(_)) => ", as of a client without TLS",
        Some(rustls::Error::NoCertificatesPresented) => ": the client needs a certificate",
        Some(rustls::Error::InvalidCertificate(_)) => {
            ": the client needs a certificate of the CA that is configured here"
        }
        Some(rustls::Error::AlertReceived(_)) => ": the client does not accept this server's certificate",
        _ => "",
    }
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
                let handshake = shake_hands(acceptor.clone(), stream, (client, place), Arc::clone(&self.log));
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

async fn shake_hands(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    (client, place): (Option<IpAddr>, Place),
    log: Arc<HandshakeLog>,
) -> Option<Connection> {
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(Connection::tls(stream, place)),
        Ok(Err(error)) => {
            if let Some(line) = log.line(client, &error, Instant::now()) {
                tracing::warn!("{line}");
            } else {
                tracing::debug!("TLS handshake: {error}");
            }
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

    /// A refused handshake is logged with its client and the reason; many are one line a minute.
    #[test]
    fn refused_handshakes_are_logged() {
        let (log, now) = (HandshakeLog::default(), Instant::now());
        let refused = |error: rustls::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        let client = Some("::ffff:10.0.0.7".parse().unwrap());
        assert_eq!(log.line(client, &io::ErrorKind::UnexpectedEof.into(), now), None);
        let line = log.line(client, &refused(rustls::Error::NoCertificatesPresented), now).unwrap();
        assert!(line.starts_with("the TLS handshake with 10.0.0.7 was refused: "), "{line}");
        assert!(line.ends_with(": the client needs a certificate"), "{line}");
        let issuer = || refused(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer));
        assert_eq!(log.line(client, &issuer(), now + LOG_INTERVAL / 2), None);
        assert_eq!(log.line(client, &issuer(), now + LOG_INTERVAL / 2), None);
        let line = log.line(None, &issuer(), now + LOG_INTERVAL).unwrap();
        assert!(line.starts_with("the TLS handshake with a client was refused: "), "{line}");
        assert!(line.ends_with("configured here; 2 more were refused since the last such line"), "{line}");
    }

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
