//! Listeners: a unix socket, or an address and a port.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use futures::stream::{self, Stream};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Permissions of the socket: the owner's and the group's.
const SOCKET_MODE: u32 = 0o660;

/// Pause after a failed accept, which is nearly always one for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An address to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Path of a socket: `unix:///run/hubble.sock`.
    Unix(PathBuf),
    /// An address and a port: `127.0.0.1:4244`.
    Tcp(SocketAddr),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() {
                Err("expected a path behind unix://, found nothing".to_owned())
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        text.parse().map(Self::Tcp).map_err(|_| format!("expected address:port or unix:///path, found {text:?}"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
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

    /// Its connections.
    pub fn connections(&self) -> impl Stream<Item = io::Result<UnixStream>> {
        stream::unfold(&self.listener, |listener| async move {
            Some((accepted(listener.accept().await.map(|(stream, _)| stream)).await, listener))
        })
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // It may be gone with its directory.
        let _removed = std::fs::remove_file(&self.path);
    }
}

/// The connections of a TCP listener.
pub fn tcp_connections(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> {
    stream::unfold(listener, |listener| async move {
        let stream = listener.accept().await.and_then(|(stream, _)| {
            // An answer must not wait for the acknowledgement of the one before.
            stream.set_nodelay(true)?;
            Ok(stream)
        });
        Some((accepted(stream).await, listener))
    })
}

async fn accepted<T>(stream: io::Result<T>) -> io::Result<T> {
    if stream.is_err() {
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
    stream
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses in both forms, and what is wrong with others.
    #[test]
    fn addresses() {
        assert_eq!("unix:///run/a.sock".parse(), Ok(Address::Unix("/run/a.sock".into())));
        assert_eq!("unix:a.sock".parse(), Ok(Address::Unix("a.sock".into())));
        assert_eq!("127.0.0.1:4244".parse::<Address>().unwrap().to_string(), "127.0.0.1:4244");
        for wrong in ["", "unix://", "4244", "localhost:4244"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
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
