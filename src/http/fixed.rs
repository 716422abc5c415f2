//! `/metrics` of series that do not change any more, as `webb replay --serve` has them: the same
//! formats, encodings and parts as the agent's, from one snapshot.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use webb_metrics::expose::{Exposition, Family, Snapshot};

use super::body::{Body, Headless, Leases};
use super::metrics::{negotiated, wanted};
use super::snapshot::RenderedSnapshot;

/// A snapshot, and the families beside it.
#[derive(Debug)]
pub struct Fixed {
    snapshot: Arc<RenderedSnapshot>,
    families: Vec<Family>,
    leases: Leases,
}

impl Fixed {
    /// Serves these.
    pub fn new(snapshots: Vec<Snapshot>, families: Vec<Family>) -> Self {
        Self { snapshot: Arc::new(RenderedSnapshot::new(snapshots)), families, leases: Leases::default() }
    }
}

/// Adds the scrape endpoint.
pub fn routes(config: &mut web::ServiceConfig, fixed: &Arc<Fixed>) {
    config.app_data(web::Data::from(Arc::clone(fixed))).route("/metrics", web::to(metrics));
}

async fn metrics(request: HttpRequest, fixed: web::Data<Fixed>) -> HttpResponse {
    let (negotiated, mut answer) = negotiated(&request, true);
    if request.method() == Method::HEAD {
        return answer.body(Headless);
    }
    let wanted = wanted(request.query_string());
    let wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let exposition = Exposition::new(negotiated.format, &fixed.snapshot.snapshots(), &fixed.families, wanted);
    let lease = fixed.leases.grant(Arc::clone(&fixed.snapshot));
    answer.body(Body::new(lease, exposition, negotiated.gzip, Box::new(|| {})))
}
