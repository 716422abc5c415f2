//! `GET /hello` for the agents of other nodes, and `/health` of the admin listener.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};

use crate::health::Health;

/// This endpoint in the admin listener's index.
pub(super) const INDEX: &str = "GET  /health                     every other node: its addresses, protocols, status, latency, last answer, error\n";

/// Adds `GET /hello`. Everything else is 404.
pub fn hello_routes(config: &mut web::ServiceConfig) {
    let hello = web::resource("/hello").route(web::get().to(hello)).default_service(web::to(not_found));
    config.service(hello).default_service(web::to(not_found));
}

async fn hello() -> HttpResponse {
    HttpResponse::Ok().finish()
}

async fn not_found() -> HttpResponse {
    HttpResponse::NotFound().finish()
}

/// Adds `/health`; `health` is none while nodes are not probed.
pub fn health_routes(config: &mut web::ServiceConfig, health: Option<&Arc<Health>>) {
    match health {
        Some(health) => {
            config.app_data(web::Data::from(Arc::clone(health))).route("/health", web::get().to(report));
        }
        None => {
            config.route("/health", web::get().to(is_off));
        }
    }
}

async fn report(health: web::Data<Health>) -> HttpResponse {
    HttpResponse::Ok().json(health.report())
}

async fn is_off() -> HttpResponse {
    HttpResponse::build(StatusCode::NOT_FOUND).body("nodes are not probed: health.listen is not set\n")
}
