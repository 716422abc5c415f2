//! Connections: a socket or TCP, with TLS or without, under HTTP/2.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::address::ServerAddress;
use super::error::ClientError;
use super::tls::ClientTls;

/// Bytes of a stream, and of the connection, that are on their way to a client that does not read.
const WINDOW_BYTES: u32 = 1 << 20;

/// A stream of bytes in both directions.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Connects once. The channel does not connect by itself again: its owner does, and counts it.
pub(super) async fn channel(address: &ServerAddress) -> Result<Channel, ClientError> {
    let stream = stream(address).await?;
    let stream = Arc::new(Mutex::new(Some(TokioIo::new(stream))));
    // The name is none that a server looks at.
    let endpoint = Endpoint::from_static("http://localhost")
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    let connector = service_fn(move |_: Uri| {
        let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move { stream.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the connection has ended")) }
    });
    endpoint.connect_with_connector(connector).await.map_err(|error| ClientError::protocol(&error))
}

async fn stream(address: &ServerAddress) -> Result<Box<dyn Duplex>, ClientError> {
    match address {
        ServerAddress::Unix(path) => match UnixStream::connect(path).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(ClientError::socket(path, &error)),
        },
        ServerAddress::Tcp { host, port, tls } => {
            let unreachable = |error| ClientError::unreachable(address, &error);
            let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
            stream.set_nodelay(true).map_err(unreachable)?;
            match tls {
                None => Ok(Box::new(stream)),
                Some(tls) => Ok(Box::new(handshake(tls.clone(), host, stream).await?)),
            }
        }
    }
}

async fn handshake(
    tls: ClientTls,
    host: &str,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, ClientError> {
    let name = tls.server_name.clone().unwrap_or_else(|| host.to_owned());
    let wrong = |_| ClientError::tls(format!("{name:?} is no name that a certificate can have"));
    let server = ServerName::try_from(name.clone()).map_err(wrong)?;
    // On another thread, as it reads files: one that hangs must not keep this one.
    let config = tokio::task::spawn_blocking(move || tls.config()).await;
    let config = config.map_err(|panic| ClientError::tls(panic.to_string()))?.map_err(ClientError::tls)?;
    let connected = TlsConnector::from(Arc::new(config)).connect(server, stream).await;
    connected.map_err(|error| ClientError::tls(format!("the handshake as {name:?} failed: {error}")))
}
