//! Connections: a socket or TCP, with TLS or without, under HTTP/2.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustix::net::sockopt;
use rustls::CertificateError;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::address::ServerAddress;
use super::error::ClientError;
use super::first_byte::{EarlyEnd, FirstByteGuard};
use super::tls::ClientTls;

/// Bytes of a stream, and of the connection, that are on their way to a client that does not read.
const WINDOW_BYTES: u32 = 1 << 20;

/// Quiet time after which the kernel asks the other machine whether it is there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// Interval of the questions, as long as there is no answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Questions without an answer that end the connection.
const KEEPALIVE_PROBES: u32 = 3;

/// A stream of bytes in both directions.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Connects once. The channel does not connect by itself again: its owner does, and counts it.
pub(super) async fn channel(address: &ServerAddress, early_end: EarlyEnd) -> Result<Channel, ClientError> {
    let stream = stream(address, early_end).await?;
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

async fn stream(address: &ServerAddress, early_end: EarlyEnd) -> Result<Box<dyn Duplex>, ClientError> {
    match address {
        ServerAddress::Unix(path) => match UnixStream::connect(path).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(ClientError::socket(path, &error)),
        },
        ServerAddress::Tcp { host, port, tls } => {
            let unreachable = |error| ClientError::unreachable(&error);
            let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
            stream.set_nodelay(true).map_err(unreachable)?;
            keep_alive(&stream).map_err(|error| unreachable(error.into()))?;
            match tls {
                None => Ok(Box::new(FirstByteGuard::plain(stream, early_end))),
                Some(tls) => Ok(Box::new(handshake(tls.clone(), host, stream, early_end).await?)),
            }
        }
    }
}

/// Has the kernel ask whether the other machine is still there: one that is gone without a word
/// ends the connection, whatever is followed. (Servers in Go end a connection with frequent pings
/// of HTTP/2.)
fn keep_alive(stream: &TcpStream) -> rustix::io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)
}

async fn handshake(
    tls: ClientTls,
    host: &str,
    stream: TcpStream,
    early_end: EarlyEnd,
) -> Result<FirstByteGuard<tokio_rustls::client::TlsStream<TcpStream>>, ClientError> {
    let name = tls.server_name.clone().unwrap_or_else(|| host.to_owned());
    let wrong = |_| ClientError::tls(format!("{name:?} is no name that a certificate can have"));
    let server = ServerName::try_from(name.clone()).map_err(wrong)?;
    let why = match &tls.own {
        None => "it may want a certificate of its client".to_owned(),
        Some((certificate, _)) => format!("it may not accept the certificate in {}", certificate.display()),
    };
    // On another thread, as it reads files: one that hangs must not keep this one.
    let config = tokio::task::spawn_blocking(move || tls.config()).await;
    let config = config.map_err(|panic| ClientError::tls(panic.to_string()))?.map_err(ClientError::tls)?;
    let connected = TlsConnector::from(Arc::new(config)).connect(server, stream).await;
    let stream = connected.map_err(|error| {
        let hint = hint(&error);
        ClientError::tls(format!("the handshake as {name:?} failed: {error}{hint}"))
    })?;
    Ok(FirstByteGuard::new(stream, why, early_end))
}

/// What to do about a failed handshake; empty if nothing is known.
fn hint(error: &io::Error) -> &'static str {
    // As a server does that reads a request.
    if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) {
        return "; the port may not speak TLS: if so, use the address without it";
    }
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::InvalidMessage(_)) => "; the port does not speak TLS: use the address without it",
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            "; the CA file must have the authority that has signed the server's certificate"
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "; set the server's name to one that its certificate has",
        _ => "",
    }
}
