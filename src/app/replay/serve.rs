//! `--serve`: what was counted, for a scraper. It does not change any more, so each format is
//! written once.

use std::io;
use std::net::SocketAddr;

use actix_web::http::header::{ACCEPT, CONTENT_TYPE};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use bytes::Bytes;
use webb_metrics::expose::negotiate::negotiate;

use super::exposition::Exposition;
use crate::cli::ReplayFormat;

#[derive(Debug, Clone)]
struct Bodies {
    text: Bytes,
    openmetrics: Bytes,
}

/// Serves until SIGINT or SIGTERM.
pub(super) fn serve(address: SocketAddr, exposition: &Exposition) -> io::Result<()> {
    let bodies = Bodies {
        text: exposition.render(ReplayFormat::Text).into(),
        openmetrics: exposition.render(ReplayFormat::Openmetrics).into(),
    };
    actix_web::rt::System::new().block_on(async move {
        let app = move || App::new().app_data(web::Data::new(bodies.clone())).route("/metrics", web::get().to(metrics));
        let server = HttpServer::new(app).workers(1).bind(address)?;
        for address in server.addrs() {
            eprintln!("serving http://{address}/metrics");
        }
        server.run().await
    })
}

async fn metrics(request: HttpRequest, bodies: web::Data<Bodies>) -> HttpResponse {
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let answer = negotiate(accept, "", true);
    let openmetrics = answer.content_type.starts_with("application/openmetrics-text");
    let body = if openmetrics { &bodies.openmetrics } else { &bodies.text };
    HttpResponse::Ok().insert_header((CONTENT_TYPE, answer.content_type)).body(body.clone())
}
