//! Keeps the thread that serves the history: Hubble's Observer and Peer.
//!
//! It has a runtime of its own, so that no client holds up anything else, and none takes more than
//! one core. An address that cannot be served leaves the component degraded and is tried again; the
//! others go on.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use webb_cluster::Cache;
use webb_flow::clock::now_ns;
use webb_flow::fault::{Component, inject};
use webb_observer::{Admission, Calls, History, Peer, Site};
use webb_settings::{ListenAddress, Observer};

use super::complaints::Complaints;
use super::listener::Endpoint;
use super::peers::Peers;
use crate::actors::restart::Intensity;
use crate::actors::thread_supervisor::{Failure, ThreadSupervisor};
use crate::pipeline::Lifecycle;
use crate::tls::TlsFiles;

/// Interval of the heartbeat, and of the look at the cluster's nodes.
const TURN: Duration = Duration::from_secs(1);

/// Poll interval of the certificate files.
const CERTIFICATE_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Name of the complaint about certificates.
const CERTIFICATES: &str = "tls";

/// Name of the complaint about a certificate that is no longer valid.
const EXPIRY: &str = "tls_expiry";

/// The server of a history.
pub struct Server {
    history: Arc<History>,
    endpoints: Vec<Endpoint>,
    tls: Option<Arc<TlsFiles>>,
    cluster: String,
    node: String,
    peers: Peers,
    started_ns: u64,
    calls: Arc<Calls>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Server {
    /// A server at the addresses of these settings, with these certificates for those of TCP. The
    /// other nodes are in `cache`.
    pub fn new(
        history: Arc<History>,
        settings: &Observer,
        tls: Option<Arc<TlsFiles>>,
        (cluster, node, cache): (&str, &str, Arc<Cache>),
    ) -> Self {
        let is_tcp = |address: &ListenAddress| matches!(address, ListenAddress::Tcp(_));
        let endpoint = |address: &ListenAddress| Endpoint {
            address: address.clone(),
            tls: tls.clone().filter(|_| is_tcp(address)),
            admission: Arc::default(),
        };
        let port = settings.listen.iter().find_map(|address| match address {
            ListenAddress::Tcp(address) => Some(address.port()),
            ListenAddress::Unix(_) => None,
        });
        let peers = Peers { cache, cluster: cluster.to_owned(), node: node.to_owned(), port, tls: tls.is_some() };
        Self {
            history,
            endpoints: settings.listen.iter().map(endpoint).collect(),
            tls,
            cluster: cluster.to_owned(),
            node: node.to_owned(),
            peers,
            started_ns: now_ns(),
            calls: Arc::default(),
        }
    }

    /// When it was made, `CLOCK_MONOTONIC` in nanoseconds: flows get their ids by it.
    pub fn started_ns(&self) -> u64 {
        self.started_ns
    }

    /// The listeners by address, with their connections.
    pub fn listeners(&self) -> impl Iterator<Item = (String, &Arc<Admission>)> {
        self.endpoints.iter().map(|endpoint| (endpoint.address.to_string(), &endpoint.admission))
    }

    /// The certificate files of the TCP listeners.
    pub fn tls(&self) -> Option<&Arc<TlsFiles>> {
        self.tls.as_ref()
    }

    /// Counts of the calls.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    fn run(&self, lifecycle: &Lifecycle, component: &Arc<Component>, woken: &Notify) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
        let complaints = Complaints::new(Arc::clone(component));
        let (stop, stopping) = watch::channel(false);
        let (announce, peers) = watch::channel(Arc::from([]));
        let version = concat!("webb v", env!("CARGO_PKG_VERSION")).to_owned();
        let site = Site {
            node: self.node.clone(),
            cluster: self.cluster.clone(),
            version,
            started_ns: self.started_ns,
            calls: Arc::clone(&self.calls),
            peers,
            stopping,
        };
        runtime.block_on(async {
            lifecycle.beat();
            let served = self.endpoints.iter().map(|endpoint| endpoint.run(&self.history, &site, &complaints));
            tokio::join!(
                futures::future::join_all(served),
                self.turn(lifecycle, woken, &stop, &announce),
                self.follow_certificates(&site, &complaints),
            );
        });
        // A file system that hangs does not hold up the end.
        runtime.shutdown_background();
        Ok(())
    }

    /// The heartbeat, and the list of nodes; until the thread is to stop.
    async fn turn(
        &self,
        lifecycle: &Lifecycle,
        woken: &Notify,
        stop: &watch::Sender<bool>,
        announce: &watch::Sender<Arc<[Peer]>>,
    ) {
        let mut version = None;
        while !lifecycle.stopping() {
            lifecycle.beat();
            inject::point("observer/server");
            version = Some(self.peers.publish(version, announce));
            tokio::select! {
                () = sleep(TURN) => {}
                () = woken.notified() => {}
            }
        }
        stop.send_replace(true);
    }

    /// Follows the certificate files, which are read elsewhere.
    async fn follow_certificates(&self, site: &Site, complaints: &Complaints) {
        let Some(files) = &self.tls else { return };
        let mut stopping = site.stopping.clone();
        loop {
            let began = Instant::now();
            let polled = {
                let files = Arc::clone(files);
                tokio::task::spawn_blocking(move || files.poll())
            };
            tokio::select! {
                polled = polled => match polled {
                    Ok(Ok(changed)) => {
                        if changed {
                            tracing::info!("the observer's TLS certificates are read");
                        }
                        complaints.clear(CERTIFICATES);
                        match files.expired() {
                            Some(why) => complaints.set(EXPIRY, why),
                            None => complaints.clear(EXPIRY),
                        }
                    }
                    Ok(Err(error)) => complaints.set(CERTIFICATES, certificates(files, &error.to_string())),
                    Err(panic) => complaints.set(CERTIFICATES, certificates(files, &panic.to_string())),
                },
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
            tokio::select! {
                () = tokio::time::sleep_until(began + CERTIFICATE_POLL_INTERVAL) => {}
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
        }
    }
}

fn certificates(files: &TlsFiles, error: &str) -> String {
    if files.is_ready() {
        format!("the TLS certificates stay as they were: {error}")
    } else {
        format!("waiting for TLS certificates to become available: {error}")
    }
}

/// Starts to serve.
pub fn start(server: Arc<Server>, intensity: Intensity) -> Addr<ThreadSupervisor> {
    let component = Arc::clone(intensity.component());
    let wake = Arc::new(Notify::new());
    let woken = Arc::clone(&wake);
    let body = move |lifecycle: &Lifecycle| server.run(lifecycle, &component, &woken);
    ThreadSupervisor::start(Arc::new(body), Arc::new(move || wake.notify_one()), intensity)
}
