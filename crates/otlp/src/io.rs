//! Connections to receivers, and exchanges that fail on them.

use std::cell::RefCell;
use std::error::Error;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::tls::TlsFiles;

/// Code of a connection that was not made, or was ended.
pub(crate) const CONNECTION: &str = "connection";

/// A request without an answer.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The label's value: `connection`, `timeout` or `protocol`.
    pub(crate) code: &'static str,
    pub(crate) text: String,
}

impl Fault {
    pub(crate) fn connection(text: impl Into<String>) -> Self {
        Self { code: CONNECTION, text: text.into() }
    }

    pub(crate) fn protocol(text: impl Into<String>) -> Self {
        Self { code: "protocol", text: text.into() }
    }
}

/// A request that nothing has answered.
#[derive(Debug)]
pub(crate) enum Failure {
    Fault(Fault),
    /// The request was not sent: its message would be larger than any receiver takes. Holds why.
    TooLarge(String),
    /// The request was not sent: its bytes cannot be read. Holds the reason.
    Unreadable(String),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A connection without its kind.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Begins TLS on a connection. `hint`: what to do about a failure; empty if nothing is known.
pub(crate) async fn begin_tls(
    files: &RefCell<TlsFiles>,
    host: &str,
    port: u16,
    stream: TcpStream,
    hint: impl Fn(&(dyn Error + 'static)) -> &'static str,
) -> Result<Box<dyn Io>, Fault> {
    let (config, name) = {
        let mut files = files.borrow_mut();
        let config = files.current().map_err(Fault::connection)?;
        (config, files.server_name(host).map_err(Fault::connection)?)
    };
    let failed = |error: io::Error| {
        let hint = hint(&error);
        Fault::connection(format!("no TLS with {host}:{port}: {error}{hint}"))
    };
    Ok(Box::new(TlsConnector::from(config).connect(name, stream).await.map_err(failed)?))
}
