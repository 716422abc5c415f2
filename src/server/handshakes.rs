//! TLS handshakes, on a thread of their own: a flood of them takes no time from answers.
//!
//! Those under way are bounded by the connections of the listener, and each in time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Handshakes {
    runtime: Handle,
    config: Arc<ServerConfig>,
    time: Duration,
    _running: oneshot::Sender<()>,
}

/// A handshake that ends with what waits for it.
struct PendingHandshake(JoinHandle<io::Result<TlsStream<TcpStream>>>);

impl Drop for PendingHandshake {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Handshakes {
    /// Starts the thread. A handshake may take as long as `time`.
    pub(super) fn start(config: ServerConfig, time: Duration) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let (running, ended) = oneshot::channel::<()>();
        let handle = runtime.handle().clone();
        std::thread::Builder::new().name("tls".to_owned()).spawn(move || {
            // It never comes: the other end is dropped.
            let _dropped = runtime.block_on(ended);
        })?;
        Ok(Self { runtime: handle, config: Arc::new(config), time, _running: running })
    }

    /// Shakes hands.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let (acceptor, time) = (TlsAcceptor::from(Arc::clone(&self.config)), self.time);
        let accepted = async move { timeout(time, acceptor.accept(stream)).await? };
        let mut pending = PendingHandshake(self.runtime.spawn(accepted));
        (&mut pending.0).await.map_err(io::Error::other)?
    }
}
