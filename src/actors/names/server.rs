//! Keeps the thread that serves the names relay to agents.

use std::net::TcpListener as BoundListener;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use webb_cluster::Kind;
use webb_cluster::kubernetes::Status;
use webb_flow::fault::{State, inject};
use webb_names::{Directory, Site, serve};
use webb_observer::{Admission, Listener, connections};

use crate::actors::restart::Intensity;
use crate::actors::thread_supervisor::{Failure, ThreadSupervisor};
use crate::pipeline::Lifecycle;
use crate::tls::TlsFiles;

/// Interval of the heartbeat and of the look at the certificates.
const TURN: Duration = Duration::from_secs(1);

/// Time for the last answers of a server that stops.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Age at which a stream ends, or up to half as long again: after the restart of a replica agents
/// are spread over all within a quarter of an hour.
const STREAM_AGE: Duration = Duration::from_mins(10);

/// Connections at most: one for each agent, and those that are ending. All may come from one
/// address, where a Service hides the others.
pub const MAX_CONNECTIONS: usize = 8192;

/// The server of a directory.
pub struct Server {
    socket: BoundListener,
    tls: Option<Arc<TlsFiles>>,
    directory: Arc<Directory>,
    watch: Arc<Status>,
    admission: Arc<Admission>,
    cluster: String,
    name: String,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Server {
    /// A server at a bound socket; `watch` is that of its pods and nodes.
    pub fn new(
        socket: BoundListener,
        tls: Option<Arc<TlsFiles>>,
        (directory, watch): (Arc<Directory>, Arc<Status>),
        (cluster, name): (String, String),
    ) -> Self {
        let admission = Arc::new(Admission::of(MAX_CONNECTIONS, MAX_CONNECTIONS));
        Self { socket, tls, directory, watch, admission, cluster, name }
    }

    /// Its connections.
    pub fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    fn run(&self, lifecycle: &Lifecycle, woken: &Notify) -> Result<(), Failure> {
        lifecycle.beat();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
        let socket = self.socket.try_clone()?;
        socket.set_nonblocking(true)?;
        let outcome = runtime.block_on(async {
            let (stop, stopping) = watch::channel(false);
            let tls = self.tls.as_ref().map(|files| files.server_config()).transpose()?;
            let tls = tls.map(|mut config| {
                config.alpn_protocols = vec![b"h2".to_vec()];
                Arc::new(config)
            });
            let listener = Listener::Tcp(TcpListener::from_std(socket)?);
            let incoming = connections(listener, tls, Arc::clone(&self.admission));
            tokio::select! {
                served = serve(Arc::clone(&self.directory), self.site(stopping), incoming) => served?,
                () = self.turn(lifecycle, woken, &stop) => {}
            }
            Ok(())
        });
        // A file system that hangs does not hold up the end.
        runtime.shutdown_background();
        outcome
    }

    fn site(&self, stopping: watch::Receiver<bool>) -> Site {
        let (status, directory) = (Arc::clone(&self.watch), Arc::clone(&self.directory));
        let lag = move || {
            let pods = status.watched().iter().find(|watched| watched.kind == Kind::Pod)?;
            let are_listed = status.synced() && directory.knows_nodes();
            are_listed.then(|| Duration::try_from_secs_f64(pods.lag()).unwrap_or_default())
        };
        Site {
            cluster: self.cluster.clone(),
            name: self.name.clone(),
            lag: Arc::new(lag),
            max_age: STREAM_AGE,
            stopping,
        }
    }

    /// Heartbeats and certificates, until the thread is to stop and the last answers are sent.
    async fn turn(&self, lifecycle: &Lifecycle, woken: &Notify, stop: &watch::Sender<bool>) {
        while !lifecycle.stopping() {
            lifecycle.beat();
            inject::point("names/server");
            let complaint = self.certificates().await;
            let state = if complaint.is_empty() { State::Up } else { State::Degraded };
            lifecycle.component().set_state(state, &complaint);
            tokio::select! {
                () = sleep(TURN) => {}
                () = woken.notified() => {}
            }
        }
        stop.send_replace(true);
        sleep(LAST_ANSWERS).await;
    }

    /// Follows the certificate files, which are read elsewhere; what is wrong with them.
    async fn certificates(&self) -> String {
        let Some(files) = &self.tls else { return String::new() };
        let polled = {
            let files = Arc::clone(files);
            tokio::task::spawn_blocking(move || files.poll())
        };
        match polled.await {
            Ok(Ok(changed)) => {
                if changed {
                    tracing::info!("the relay's TLS certificates are read");
                }
                files.expired().unwrap_or_default()
            }
            Ok(Err(error)) if files.is_ready() => format!("the TLS certificates stay as they were: {error}"),
            Ok(Err(error)) => format!("waiting for TLS certificates to become available: {error}"),
            Err(panic) => panic.to_string(),
        }
    }
}

/// Starts to serve.
pub fn start(server: Arc<Server>, intensity: Intensity) -> Addr<ThreadSupervisor> {
    let wake = Arc::new(Notify::new());
    let woken = Arc::clone(&wake);
    let body = move |lifecycle: &Lifecycle| server.run(lifecycle, &woken);
    ThreadSupervisor::start(Arc::new(body), Arc::new(move || wake.notify_one()), intensity)
}
