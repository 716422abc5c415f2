//! `--serve`: what was counted, for a scraper, by the agent's own endpoint.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::{App, HttpServer};

use super::exposition::Exposition;
use crate::http::{Fixed, fixed_routes};

/// Serves until SIGINT or SIGTERM.
pub(super) fn serve(address: SocketAddr, exposition: Exposition) -> io::Result<()> {
    let fixed = Arc::new(Fixed::new(exposition.snapshots, exposition.families));
    actix_web::rt::System::new().block_on(async move {
        let app = move || App::new().configure(|config| fixed_routes(config, &fixed));
        let server = HttpServer::new(app).workers(1).tcp_nodelay(true).bind(address)?;
        for address in server.addrs() {
            eprintln!("serving http://{address}/metrics");
        }
        server.run().await
    })
}
