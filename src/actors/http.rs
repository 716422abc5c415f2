//! Keeps a listener: the scrape endpoint or the admin one.
//!
//! The socket is bound once, before anything else starts, so that a port in use is an error at the
//! command line and a restart never loses the port. A panic in a handler ends that one request with
//! status 500 and is counted; a server that ends by itself is restarted.
//!
//! A listener with TLS follows its certificate files: until they can be used it is degraded and
//! refuses handshakes.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use actix_web::dev::ServerHandle;
use webb_flow::fault::{FaultType, State};

use super::guard::{Guarded, fail, guard, restart};
use super::restart::Intensity;
use super::{Finish, Restart};
use crate::server::{self, Connections, Routes, Serving};
use crate::tls::TlsFiles;

/// Poll interval of the certificate files.
const CERTIFICATE_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Keeps one listener.
pub struct HttpActor {
    listener: TcpListener,
    routes: Routes,
    tls: Option<Arc<TlsFiles>>,
    connections: Arc<Connections>,
    /// Error of the last check of the files; empty if there was none.
    complaint: String,
    /// True while they are being read.
    looking: bool,
    intensity: Intensity,
    server: Option<ServerHandle>,
    finishing: bool,
    down: bool,
}

impl std::fmt::Debug for HttpActor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpActor").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl HttpActor {
    /// Starts serving `routes` on a bound listener, with TLS if there are certificate files.
    pub fn start(
        listener: TcpListener,
        routes: Routes,
        tls: Option<Arc<TlsFiles>>,
        connections: Arc<Connections>,
        intensity: Intensity,
    ) -> Addr<Self> {
        Supervisor::start(move |_| Self {
            listener,
            routes,
            tls,
            connections,
            complaint: String::new(),
            looking: false,
            intensity,
            server: None,
            finishing: false,
            down: false,
        })
    }

    fn serve(&mut self, ctx: &mut Context<Self>) -> std::io::Result<()> {
        let config = self.tls.as_ref().map(|files| files.server_config()).transpose().map_err(std::io::Error::other)?;
        let serving = Serving {
            routes: Arc::clone(&self.routes),
            tls: config,
            connections: Arc::clone(&self.connections),
            component: Arc::clone(self.intensity.component()),
            signals: false,
        };
        let server = server::run(self.listener.try_clone()?, serving)?;
        self.server = Some(server.handle());
        if self.tls.is_none() {
            self.intensity.component().set_state(State::Up, "");
        } else {
            self.poll(ctx);
            ctx.run_interval(CERTIFICATE_POLL_INTERVAL, Self::poll);
        }
        ctx.spawn(server.into_actor(self).map(|ended, actor, ctx| {
            if !actor.finishing && !actor.down {
                let why = ended.err().map_or_else(|| "the server ended".to_owned(), |error| error.to_string());
                fail(actor, ctx, FaultType::Failed, &why);
            }
        }));
        Ok(())
    }
}

/// Follows the certificate files. They are read elsewhere: a file system that hangs must not hold
/// up this thread.
impl HttpActor {
    fn poll(&mut self, ctx: &mut Context<Self>) {
        let Some(files) = self.tls.clone().filter(|_| !self.looking) else { return };
        self.looking = true;
        let began = Instant::now();
        let polled = tokio::task::spawn_blocking(move || files.poll());
        ctx.spawn(polled.into_actor(self).map(move |polled, actor, _| {
            actor.looking = false;
            actor.intensity.component().passes().count(matches!(polled, Ok(Ok(_))), began.elapsed());
            match polled {
                Ok(Ok(changed)) => actor.polled(changed, ""),
                Ok(Err(error)) => actor.polled(false, &error.to_string()),
                Err(panic) => actor.polled(false, &panic.to_string()),
            }
        }));
    }

    fn polled(&mut self, changed: bool, complaint: &str) {
        let Some(files) = self.tls.as_ref().filter(|_| !self.down && !self.finishing) else { return };
        if changed {
            tracing::info!("TLS certificates read");
        }
        let (state, reason) = if complaint.is_empty() {
            files.expired().map_or((State::Up, String::new()), |why| (State::Degraded, why))
        } else if files.is_ready() {
            (State::Degraded, format!("the TLS certificates stay as they were: {complaint}"))
        } else {
            (State::Degraded, format!("waiting for TLS certificates to become available: {complaint}"))
        };
        if !reason.is_empty() && reason != self.complaint {
            tracing::warn!("{reason}");
        }
        self.intensity.component().set_state(state, &reason);
        self.complaint = reason;
    }
}

impl Guarded for HttpActor {
    fn intensity(&mut self) -> &mut Intensity {
        &mut self.intensity
    }

    fn restart_pending(&mut self) -> &mut bool {
        &mut self.down
    }
}

impl Actor for HttpActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.finishing {
            return;
        }
        if let Some(Err(error)) = guard(self, ctx, Self::serve) {
            fail(self, ctx, FaultType::Failed, &error.to_string());
        }
    }
}

impl Supervised for HttpActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.down = false;
        self.looking = false;
    }
}

impl Handler<Restart> for HttpActor {
    type Result = ();

    fn handle(&mut self, _: Restart, ctx: &mut Self::Context) {
        if self.down {
            return;
        }
        restart(self, ctx);
        if let Some(server) = self.server.take() {
            ctx.spawn(server.stop(true).into_actor(self));
        }
    }
}

impl Handler<Finish> for HttpActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Finish, _: &mut Self::Context) -> Self::Result {
        self.finishing = true;
        let component = Arc::clone(self.intensity.component());
        let server = self.server.take();
        Box::pin(async move {
            if let Some(server) = server {
                server.stop(true).await;
            }
            component.set_state(State::Stopped, "");
        })
    }
}
