//! The HTTP endpoints of both listeners: `/metrics` for Prometheus, and the admin endpoints for
//! operators.

mod admin;
mod api;
mod body;
mod explain;
mod families;
mod fixed;
mod gzip;
mod health;
mod ledger;
mod look;
mod metrics;
mod origin;
mod page;
mod query;
mod scrape;
mod snapshot;

use std::sync::Arc;

use actix_web::web::{Data, ServiceConfig};
pub use admin::{Admin, CONTROL, probe_routes, routes as admin_routes};
pub use explain::{Explain, routes as explain_routes};
pub use families::routes as families_routes;
pub use fixed::{Fixed, routes as fixed_routes};
pub use health::{health_routes, hello_routes};
pub use look::Looks;
pub use metrics::routes as metrics_routes;
pub use origin::{Access, COMMAND_HEADER, guard};
pub use scrape::{LostEvents, Scrape};

/// Adds the API and the page, which show what `looks` has.
pub fn look_routes(config: &mut ServiceConfig, looks: &Arc<Looks>) {
    config.app_data(Data::from(Arc::clone(looks)));
    api::routes(config);
    page::routes(config);
}
