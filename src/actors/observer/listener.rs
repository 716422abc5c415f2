//! One address of the observer's API: bound, served, and tried again where that fails.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::sleep;
use webb_observer::{Admission, History, Listener, Site, UnixSocket, connections, serve};
use webb_settings::ListenAddress;

use super::complaints::Complaints;
use crate::server::bind;
use crate::tls::TlsFiles;

/// First wait after a failure; it doubles with each one that follows.
const BACKOFF_MIN: Duration = Duration::from_secs(1);

/// Longest wait.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Time for the last answers of a listener that stops: a client that reads nothing does not hold it
/// up.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// One address.
pub(super) struct Endpoint {
    pub(super) address: ListenAddress,
    pub(super) tls: Option<Arc<TlsFiles>>,
    pub(super) admission: Arc<Admission>,
}

impl Endpoint {
    /// Serves until the site stops. A failure is a complaint about this address, and it is tried
    /// again.
    pub(super) async fn run(&self, history: &Arc<History>, site: &Site, complaints: &Complaints) {
        let about = self.address.to_string();
        let mut backoff = BACKOFF_MIN;
        let mut stopping = site.stopping.clone();
        let mut stopped = pin!(stopping.wait_for(|stopping| *stopping));
        loop {
            let served = async {
                let listener = self.bind().await.map_err(|error| self.explain(&error))?;
                complaints.clear(&about);
                if self.tls.as_ref().is_none_or(|files| files.is_ready()) {
                    tracing::info!(address = %about, "the observer is served");
                } else {
                    tracing::info!(address = %about, "the observer refuses connections until its TLS certificates are read");
                }
                self.serve(listener, history, site).await
            };
            let why = tokio::select! {
                served = served => match served {
                    Ok(()) => return,
                    Err(why) => why,
                },
                _ = &mut stopped => break,
            };
            complaints.set(&about, format!("{about} is not served: {why}"));
            tokio::select! {
                () = sleep(backoff) => backoff = (backoff * 2).min(BACKOFF_MAX),
                _ = &mut stopped => break,
            }
        }
    }

    async fn bind(&self) -> io::Result<Listener> {
        match &self.address {
            ListenAddress::Unix(path) => UnixSocket::bind(path).await.map(Listener::Unix),
            ListenAddress::Tcp(address) => {
                let listener = bind(*address)?;
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener).map(Listener::Tcp)
            }
        }
    }

    async fn serve(&self, listener: Listener, history: &Arc<History>, site: &Site) -> Result<(), String> {
        let tls =
            self.tls.as_ref().map(|files| files.server_config()).transpose().map_err(|error| error.to_string())?;
        let tls = tls.map(|mut config| {
            // A client of gRPC asks for it, and may refuse a server without.
            config.alpn_protocols = vec![b"h2".to_vec()];
            Arc::new(config)
        });
        let connections = connections(listener, tls, Arc::clone(&self.admission));
        let mut stopping = site.stopping.clone();
        let late = async {
            let _stopped = stopping.wait_for(|stopping| *stopping).await;
            sleep(LAST_ANSWERS).await;
        };
        tokio::select! {
            served = serve(Arc::clone(history), site.clone(), connections) => served.map_err(|error| error.to_string()),
            () = late => Ok(()),
        }
    }

    /// The error of binding, with what to do about it.
    fn explain(&self, error: &io::Error) -> String {
        let ListenAddress::Unix(path) = &self.address else { return error.to_string() };
        let directory = path.parent().unwrap_or(path).display();
        match error.kind() {
            io::ErrorKind::NotFound => format!("{error}: is there a directory {directory}?"),
            io::ErrorKind::PermissionDenied => {
                format!("{error}: this user must be able to make files in {directory} (Landlock: since webb's start)")
            }
            _ => error.to_string(),
        }
    }
}
