//! The server of every listener: HTTP/1.1 with bounds on what a client can make it hold or wait
//! for.
//!
//! actix has a limit of connections, but none for each client: at the limit it accepts no more, so
//! idle clients keep all others out. It has times for the handshake and the first head, none for
//! later heads and bodies, and none for answers that are not read. So connections are admitted here
//! (`connections`), their bytes counted on the way to actix' protocol (`socket`), and those
//! whose client does not do its part are dropped (`connection`). The kernel's buffers are set
//! small, and emptied when a connection is dropped: what they hold is memory too.

mod api_times;
mod client;
mod connection;
mod connections;
mod handshakes;
mod limits;
mod listen;
mod reason;
mod request;
mod socket;

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix_http::HttpService;
use actix_http::error::DispatchError;
use actix_service::map_config;
use actix_web::dev::{AppConfig, Server, Service, ServiceFactory, fn_factory, fn_service};
use actix_web::middleware::from_fn;
use actix_web::{App, rt, web};
pub use api_times::{ApiCall, ApiTimes, time};
pub use connections::Connections;
use handshakes::Handshakes;
pub use limits::Limits;
pub use listen::bind;
pub use reason::Reason;
use rustix::net::sockopt;
use rustls::ServerConfig;
use socket::{Socket, Stream};
use tokio::net::TcpStream;
use tokio::time::timeout;
use webb_flow::fault::Component;

/// Adds routes to a server; called once for each of its workers.
pub type Routes = Arc<dyn Fn(&mut web::ServiceConfig) + Send + Sync>;

/// Connections between the thread that accepts and the one that serves.
const MAX_ACCEPTED: usize = 512;

/// Threads for what blocks: a snapshot is taken by one scrape at a time.
const BLOCKING_THREADS: usize = 4;

/// Seconds that open connections get when the server stops.
const SHUTDOWN_SECONDS: u64 = 2;

/// Shared parts of a server.
pub struct Serving {
    /// Routes that are served.
    pub routes: Routes,
    /// The certificates, if there are any.
    pub tls: Option<ServerConfig>,
    /// Bounds and counters, which outlive the server.
    pub connections: Arc<Connections>,
    /// Component that counts the faults of handlers.
    pub component: Arc<Component>,
    /// Whether SIGINT and SIGTERM end the server.
    pub signals: bool,
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").field("component", &self.component.name()).finish_non_exhaustive()
    }
}

/// Serves on a listener, on one thread, until the server is stopped.
///
/// # Errors
/// If the system refuses a thread or an option of the socket.
pub fn run(listener: TcpListener, serving: Serving) -> io::Result<Server> {
    let Serving { routes, tls, connections, component, signals } = serving;
    // Accepted connections inherit them.
    sockopt::set_socket_send_buffer_size(&listener, limits::SEND_BUFFER_BYTES)?;
    sockopt::set_socket_recv_buffer_size(&listener, limits::RECEIVE_BUFFER_BYTES)?;
    let handshakes = tls.map(|config| Handshakes::start(config, connections.limits().handshake)).transpose()?;
    let handshakes = handshakes.map(Arc::new);
    let builder = Server::build()
        .workers(1)
        .worker_max_blocking_threads(BLOCKING_THREADS)
        .max_concurrent_connections(MAX_ACCEPTED)
        .shutdown_timeout(SHUTDOWN_SECONDS);
    let builder = if signals { builder } else { builder.disable_signals() };
    let stopping = builder.graceful_shutdown_signal();
    let factory = move || {
        let (routes, component) = (Arc::clone(&routes), Arc::clone(&component));
        let (connections, handshakes) = (Arc::clone(&connections), handshakes.clone());
        let of_requests = Arc::clone(&connections);
        let app = App::new()
            .wrap(from_fn(move |request, next| {
                request::handle(request, next, Arc::clone(&of_requests), Arc::clone(&component))
            }))
            .configure(move |config| routes(config));
        let stops = stopping.clone();
        let http = HttpService::build()
            .client_request_timeout(connections.limits().head)
            .client_disconnect_timeout(connections.limits().stalled)
            .graceful_shutdown_signal(move || {
                let stops = stops.clone();
                async move { stops.notified().await }
            })
            .on_connect_ext(|socket: &Socket, data| {
                data.insert(Arc::clone(socket.connection()));
            })
            .h1(map_config(app, |()| AppConfig::default()));
        let stopping = stopping.clone();
        fn_factory(move || {
            let (http, connections) = (http.new_service(()), Arc::clone(&connections));
            let (handshakes, stopping) = (handshakes.clone(), stopping.clone());
            async move {
                let http = Rc::new(http.await?);
                rt::spawn(reap(Arc::clone(&connections)));
                Ok::<_, ()>(fn_service(move |stream: TcpStream| {
                    let (http, connections) = (Rc::clone(&http), Arc::clone(&connections));
                    let (handshakes, stopping) = (handshakes.clone(), stopping.clone());
                    async move {
                        let stopped = stopping.notified();
                        serve(stream, &*http, &connections, handshakes.as_deref(), stopped).await;
                        Ok::<_, ()>(())
                    }
                }))
            }
        })
    };
    Ok(builder.listen("http", listener, factory)?.run())
}

/// Drops the overdue, as long as its thread runs.
async fn reap(connections: Arc<Connections>) {
    let mut interval = tokio::time::interval(limits::REAP_INTERVAL);
    loop {
        interval.tick().await;
        connections.reap(Instant::now());
    }
}

/// Serves one connection.
async fn serve(
    stream: TcpStream,
    http: &impl Service<(Socket, Option<std::net::SocketAddr>), Response = (), Error = DispatchError>,
    connections: &Arc<Connections>,
    handshakes: Option<&Handshakes>,
    stopped: impl Future<Output = ()>,
) {
    let peer = stream.peer_addr().ok();
    let Some(admitted) = connections.admit(peer.map(|peer| peer.ip()), handshakes.is_some(), Instant::now()) else {
        return socket::abort(&stream);
    };
    // Or the end of an answer waits for its beginning to be acknowledged: 40 ms, as a rule.
    let _delayed = stream.set_nodelay(true);
    let connection = &admitted.connection;
    let stream = match handshakes {
        None => Stream::Plain(stream),
        Some(handshakes) => {
            let accepted = tokio::select! {
                accepted = handshakes.accept(stream) => accepted,
                () = connection.is_cut() => return,
            };
            match accepted {
                Ok(stream) => Stream::Tls(Box::new(stream)),
                Err(error) => {
                    tracing::debug!(?peer, "TLS handshake: {error}");
                    return connections.count_dropped(Reason::Handshake);
                }
            }
        }
    };
    connection.shook_hands(Instant::now());
    let socket = Socket::new(stream, connection, connections);
    let to_the_end = async {
        match http.call((socket.clone(), peer)).await {
            Err(DispatchError::Io(_)) => return,
            Err(DispatchError::Parse(error)) => {
                tracing::debug!(?peer, "no request: {error}");
                connections.count_dropped(Reason::Invalid);
            }
            Err(error) => tracing::debug!(?peer, "{error}"),
            Ok(()) => {}
        }
        tokio::select! {
            closed = timeout(connections.limits().stalled, socket.close()) => {
                if closed.is_err() {
                    connections.count_dropped(Reason::SlowReader);
                    socket.abort();
                }
            }
            () = stopped => {}
        }
    };
    tokio::select! {
        () = to_the_end => {}
        () = connection.is_cut() => socket.abort(),
    }
}
