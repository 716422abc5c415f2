//! The HTTP endpoints of both listeners: `/metrics` for Prometheus, and the admin endpoints for
//! operators.

mod admin;
mod body;
mod explain;
mod families;
mod fixed;
mod gzip;
mod health;
mod metrics;
mod origin;
mod scrape;
mod snapshot;

pub use admin::{Admin, CONTROL, probe_routes, routes as admin_routes};
pub use explain::{Explain, routes as explain_routes};
pub use families::routes as families_routes;
pub use fixed::{Fixed, routes as fixed_routes};
pub use health::{health_routes, hello_routes};
pub use metrics::routes as metrics_routes;
pub use origin::{COMMAND_HEADER, refuse_foreign};
pub use scrape::{LostEvents, Scrape};
