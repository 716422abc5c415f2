//! `/metrics` of an endpoint that speaks Cilium's language.
//!
//! Text only: OpenMetrics would give another name to each counter that does not end in `_total`.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use webb_flow::fault::inject;
use webb_metrics::expose::Exposition;

use super::body::{Body, Headless, Leases};
use super::metrics::{negotiated, not_found, wanted};
use super::snapshot::RenderedSnapshot;
use crate::families::Endpoint;

/// An endpoint, and the lock under which it is read.
#[derive(Debug)]
struct Served {
    endpoint: Arc<Endpoint>,
    turn: tokio::sync::Mutex<()>,
    leases: Leases,
}

/// Routes of an endpoint, for as many servers as are started one after the other.
pub fn routes(endpoint: Arc<Endpoint>) -> impl Fn(&mut web::ServiceConfig) + Send + Sync + 'static {
    let served = web::Data::new(Served { endpoint, turn: tokio::sync::Mutex::default(), leases: Leases::default() });
    move |config| {
        config.app_data(served.clone()).route("/metrics", web::to(metrics)).default_service(web::to(not_found));
    }
}

async fn metrics(request: HttpRequest, served: web::Data<Served>) -> HttpResponse {
    inject::point("http");
    let (negotiated, mut answer) = negotiated(&request, false);
    if request.method() == Method::HEAD {
        return answer.body(Headless);
    }
    let endpoint = Arc::clone(&served.endpoint);
    // One read at a time, whatever the number of scrapers.
    let turn = served.turn.lock().await;
    let gathered = web::block(move || endpoint.gather()).await;
    drop(turn);
    let Ok(families) = gathered else { return HttpResponse::InternalServerError().finish() };
    let wanted = wanted(request.query_string());
    let wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let exposition = Exposition::new(negotiated.format, &[], &families, wanted);
    let lease = served.leases.grant(Arc::new(RenderedSnapshot::default()));
    answer.body(Body::new(lease, exposition, negotiated.gzip, Box::new(|| {})))
}
