//! Admin endpoints that explain names: which pod has an address, how a pod is named, which policies select it.

use std::net::IpAddr;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use serde_json::json;
use webb_cluster::{Cache, ObjectKey};
use webb_index::Index;

/// What these endpoints look at.
#[derive(Debug)]
pub struct Beliefs {
    /// What is known of the cluster.
    pub cache: Arc<Cache>,
    /// What flows are named by.
    pub index: Arc<ArcSwap<Index>>,
}

/// The part of the admin listener's index that is about these.
pub(super) const INDEX: &str = "\
GET  /pods?ip={address}          who has an address, who else claims it and why not, who had it in the last minute
GET  /pods/{namespace}/{name}    how a pod is named and why; its addresses, interfaces and policies
GET  /services                   every service with its addresses, and who its endpoints are
GET  /policies                   every policy; ?pod={namespace}/{name}: those that select a pod
";

/// Adds these endpoints.
pub fn routes(config: &mut web::ServiceConfig, beliefs: &Arc<Beliefs>) {
    config
        .app_data(web::Data::from(Arc::clone(beliefs)))
        .route("/pods", web::get().to(address))
        .route("/pods/{namespace}/{name}", web::get().to(pod))
        .route("/services", web::get().to(services))
        .route("/policies", web::get().to(policies));
}

#[derive(Debug, Deserialize)]
struct Asked {
    ip: Option<String>,
    pod: Option<String>,
}

async fn address(beliefs: web::Data<Beliefs>, asked: web::Query<Asked>) -> HttpResponse {
    let Some(text) = &asked.ip else {
        return refuse(StatusCode::BAD_REQUEST, "tell an address: /pods?ip=10.0.0.1");
    };
    match text.parse::<IpAddr>() {
        Ok(ip) => answer(&beliefs.cache.believe_address(ip, &beliefs.index.load())),
        Err(_) => refuse(StatusCode::BAD_REQUEST, &format!("{text:?} is not an IP address")),
    }
}

async fn pod(beliefs: web::Data<Beliefs>, path: web::Path<(String, String)>) -> HttpResponse {
    let (namespace, name) = path.into_inner();
    about_pod(&beliefs, &ObjectKey { namespace, name }, |pod| answer(&pod))
}

async fn services(beliefs: web::Data<Beliefs>) -> HttpResponse {
    answer(&json!({ "services": beliefs.cache.believe_services(&beliefs.index.load()) }))
}

async fn policies(beliefs: web::Data<Beliefs>, asked: web::Query<Asked>) -> HttpResponse {
    let Some(text) = &asked.pod else {
        return answer(&json!({ "policies": beliefs.cache.believe_policies() }));
    };
    let Some((namespace, name)) = text.split_once('/') else {
        return refuse(StatusCode::BAD_REQUEST, &format!("{text:?} is not a pod, expected namespace/name"));
    };
    let key = ObjectKey { namespace: namespace.to_owned(), name: name.to_owned() };
    about_pod(&beliefs, &key, |pod| answer(&json!({ "pod": pod.pod, "policies": pod.policies })))
}

fn about_pod(
    beliefs: &Beliefs,
    key: &ObjectKey,
    tell: impl FnOnce(webb_cluster::PodBelief) -> HttpResponse,
) -> HttpResponse {
    match beliefs.cache.believe_pod(key, &beliefs.index.load()) {
        Some(pod) => tell(pod),
        None => refuse(StatusCode::NOT_FOUND, &format!("no pod {key} is known")),
    }
}

fn answer(told: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok().json(told)
}

fn refuse(status: StatusCode, why: &str) -> HttpResponse {
    HttpResponse::build(status).body(format!("{why}\n"))
}
