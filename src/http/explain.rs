//! Admin endpoints that explain names: which pod has an address, how a pod is named, which policies
//! select it.

use std::net::IpAddr;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use serde_json::json;
use webb_cluster::{Cache, ObjectKey};
use webb_index::Index;

/// The state that these endpoints explain.
#[derive(Debug)]
pub struct Explain {
    /// The objects of the cluster.
    pub cache: Arc<Cache>,
    /// The index that resolves flows.
    pub index: Arc<ArcSwap<Index>>,
}

/// These endpoints in the admin listener's index.
pub(super) const INDEX: &str = "\
GET  /pods?ip={address}          the owner of an address, other candidates and why not, owners within the last minute
GET  /pods/{namespace}/{name}    how a pod is named and why; its addresses, interfaces and policies
GET  /services                   every service with its addresses and named endpoints
GET  /policies                   every policy; ?pod={namespace}/{name}: those that select a pod
";

/// Adds these endpoints.
pub fn routes(config: &mut web::ServiceConfig, explain: &Arc<Explain>) {
    config
        .app_data(web::Data::from(Arc::clone(explain)))
        .route("/pods", web::get().to(address))
        .route("/pods/{namespace}/{name}", web::get().to(pod))
        .route("/services", web::get().to(services))
        .route("/policies", web::get().to(policies));
}

#[derive(Debug, Deserialize)]
struct AddressParams {
    ip: Option<String>,
    pod: Option<String>,
}

async fn address(explain: web::Data<Explain>, asked: web::Query<AddressParams>) -> HttpResponse {
    let Some(text) = &asked.ip else {
        return refuse(StatusCode::BAD_REQUEST, "expected an address: /pods?ip=10.0.0.1");
    };
    match text.parse::<IpAddr>() {
        Ok(ip) => answer(&explain.cache.explain_address(ip, &explain.index.load())),
        Err(_) => refuse(StatusCode::BAD_REQUEST, &format!("{text:?} is not an IP address")),
    }
}

async fn pod(explain: web::Data<Explain>, path: web::Path<(String, String)>) -> HttpResponse {
    let (namespace, name) = path.into_inner();
    about_pod(&explain, &ObjectKey { namespace, name }, |pod| answer(&pod))
}

async fn services(explain: web::Data<Explain>) -> HttpResponse {
    answer(&json!({ "services": explain.cache.explain_services(&explain.index.load()) }))
}

async fn policies(explain: web::Data<Explain>, asked: web::Query<AddressParams>) -> HttpResponse {
    let Some(text) = &asked.pod else {
        return answer(&json!({ "policies": explain.cache.explain_policies() }));
    };
    let Some((namespace, name)) = text.split_once('/') else {
        return refuse(StatusCode::BAD_REQUEST, &format!("{text:?} is not a pod, expected namespace/name"));
    };
    let key = ObjectKey { namespace: namespace.to_owned(), name: name.to_owned() };
    about_pod(&explain, &key, |pod| answer(&json!({ "pod": pod.pod, "policies": pod.policies })))
}

fn about_pod(
    explain: &Explain,
    key: &ObjectKey,
    render: impl FnOnce(webb_cluster::PodExplanation) -> HttpResponse,
) -> HttpResponse {
    match explain.cache.explain_pod(key, &explain.index.load()) {
        Some(pod) => render(pod),
        None => refuse(StatusCode::NOT_FOUND, &format!("no pod {key} is known")),
    }
}

fn answer(explanation: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok().json(explanation)
}

fn refuse(status: StatusCode, why: &str) -> HttpResponse {
    HttpResponse::build(status).body(format!("{why}\n"))
}
