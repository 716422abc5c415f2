//! `GET /metrics`. Other paths are 404 and not counted, as in Hubble (contract, 3.5).

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use actix_web::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use actix_web::{HttpRequest, HttpResponse, web};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::Scrape;
use crate::expose::negotiate;
use crate::fault::inject;

/// Adds the scrape endpoint.
pub fn routes(config: &mut web::ServiceConfig, scrape: &Arc<Scrape>) {
    config.app_data(web::Data::from(Arc::clone(scrape))).route("/metrics", web::get().to(metrics));
}

async fn metrics(request: HttpRequest, scrape: web::Data<Scrape>) -> HttpResponse {
    let began = Instant::now();
    inject::point("http");
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let negotiated = negotiate::negotiate(header(ACCEPT), header(ACCEPT_ENCODING));
    let gzip = negotiated.gzip;
    let shared = scrape.clone();
    // The cut waits for the aggregators and the text takes milliseconds: not on a thread that serves others.
    let body = web::block(move || {
        let text = shared.exposition();
        if gzip { compress(&text) } else { Ok(text) }
    });
    let answer = match body.await {
        Ok(Ok(body)) => {
            let mut answer = HttpResponse::Ok();
            answer.insert_header((CONTENT_TYPE, negotiated.content_type)).insert_header((VARY, "Accept-Encoding"));
            if gzip {
                answer.insert_header((CONTENT_ENCODING, "gzip"));
            }
            answer.body(body)
        }
        Ok(Err(error)) => HttpResponse::InternalServerError().body(format!("cannot compress the answer: {error}\n")),
        Err(error) => HttpResponse::InternalServerError().body(format!("the scrape was cut short: {error}\n")),
    };
    scrape.answered(answer.status().as_u16(), began.elapsed());
    answer
}

/// The fastest level: a scrape is compressed anew each time and crosses one network hop.
fn compress(text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    encoder.write_all(text)?;
    encoder.finish()
}
