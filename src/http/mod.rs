//! The HTTP endpoints of both listeners: `/metrics` for Prometheus, and the admin endpoints for
//! operators.

mod admin;
mod api;
mod body;
mod changes;
mod explain;
mod families;
mod fixed;
mod gzip;
mod health;
mod ledger;
mod map;
mod metrics;
mod node_view;
mod origin;
mod page;
mod pods;
mod policies;
mod query;
mod scrape;
mod snapshot;
mod take;
mod views;

pub use admin::{Admin, CONTROL, index_route, probe_routes, routes as admin_routes};
pub use explain::{Explain, routes as explain_routes};
pub use families::routes as families_routes;
pub use fixed::{Fixed, routes as fixed_routes};
pub use health::{health_routes, hello_routes};
pub use metrics::routes as metrics_routes;
pub use node_view::{AgentInfo, ViewCache};
pub use origin::{Access, COMMAND_HEADER, guard};
pub use scrape::{LostEvents, Scrape};
pub use views::view_routes;
