//! `/metrics`, by any method as in Hubble; other paths are 404 and not counted (hubble-contract
//! §3.5).

use std::sync::Arc;
use std::time::Instant;

use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use webb_flow::fault::inject;
use webb_metrics::expose::negotiate::{self, Negotiated};

use super::Scrape;
use super::body::{Body, Headless};

/// Adds the scrape endpoint.
pub fn routes(config: &mut web::ServiceConfig, scrape: &Arc<Scrape>) {
    config
        .app_data(web::Data::from(Arc::clone(scrape)))
        .route("/metrics", web::to(metrics))
        .default_service(web::to(not_found));
}

/// The words are those of Go's server.
pub(super) async fn not_found() -> HttpResponse {
    HttpResponse::NotFound()
        .insert_header((CONTENT_TYPE, "text/plain; charset=utf-8"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body("404 page not found\n")
}

async fn metrics(request: HttpRequest, scrape: web::Data<Scrape>) -> HttpResponse {
    let began = Instant::now();
    inject::point("http");
    let (negotiated, mut answer) = negotiated(&request, scrape.open_metrics());
    let counted = scrape.clone();
    let done = move |status: u16| counted.answered(status, began.elapsed());
    if request.method() == Method::HEAD {
        done(200);
        return answer.body(Headless);
    }
    let (shared, wanted) = (scrape.clone(), wanted(request.query_string()));
    // Concurrent scrapes wait here, on no thread, for the one that takes the snapshot.
    let turn = scrape.turn().await;
    // The snapshot waits for the aggregators, and sorting new series takes its time: not on an I/O
    // thread.
    let planned = web::block(move || shared.plan(negotiated.format, &wanted)).await;
    drop(turn);
    match planned {
        Ok((lease, exposition)) => {
            answer.body(Body::new(lease, exposition, negotiated.gzip, Box::new(move || done(200))))
        }
        Err(error) => {
            done(500);
            HttpResponse::InternalServerError()
                .body(format!("An error has occurred while serving metrics:\n\nthe scrape was aborted: {error}\n"))
        }
    }
}

/// Format and encoding that a request gets, and the head of its answer.
pub(super) fn negotiated(request: &HttpRequest, open_metrics: bool) -> (Negotiated, HttpResponseBuilder) {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let negotiated = negotiate::negotiate(header(ACCEPT), header(ACCEPT_ENCODING), open_metrics);
    let mut answer = HttpResponse::Ok();
    answer.insert_header((CONTENT_TYPE, negotiated.content_type.as_str())).insert_header((VARY, "Accept-Encoding"));
    if negotiated.gzip {
        answer.insert_header((CONTENT_ENCODING, "gzip"));
    }
    (negotiated, answer)
}

/// The families that `name[]` restricts the answer to; none for all.
pub(super) fn wanted(query: &str) -> Vec<String> {
    let pairs = web::Query::<Vec<(String, String)>>::from_query(query).map(web::Query::into_inner).unwrap_or_default();
    pairs.into_iter().filter(|(name, _)| name == "name[]").map(|(_, value)| value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Brackets may come escaped; other parameters and nonsense restrict nothing.
    #[test]
    fn names_are_read() {
        assert_eq!(wanted("name[]=a&x=1&name%5B%5D=b%5F&name[]="), ["a", "b_", ""]);
        for query in ["", "name=a", "&&=&", "%%%", "x"] {
            assert!(wanted(query).is_empty(), "{query}");
        }
    }
}
