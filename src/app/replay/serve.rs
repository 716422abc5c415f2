//! `--serve`: what was counted, for a scraper, by the agent's own endpoint.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use webb_flow::fault::Components;

use super::exposition::ReplayExposition;
use crate::http::{Fixed, fixed_routes};
use crate::server::{self, Connections, Limits, Serving};

/// Serves until SIGINT or SIGTERM.
pub(super) fn serve(address: SocketAddr, exposition: ReplayExposition) -> io::Result<()> {
    let fixed = Arc::new(Fixed::new(exposition.snapshots, exposition.families));
    actix_web::rt::System::new().block_on(async move {
        let listener = server::bind(address)?;
        eprintln!("serving http://{}/metrics", listener.local_addr()?);
        let serving = Serving {
            routes: Arc::new(move |config| fixed_routes(config, &fixed)),
            tls: None,
            connections: Arc::new(Connections::new(Limits::default())),
            component: Components::default().component("http/metrics"),
            signals: true,
        };
        server::run(listener, serving)?.await
    })
}
