//! What the two listeners answer: `/metrics` for Prometheus, everything else for the person on call.

mod admin;
mod beliefs;
mod body;
mod cut;
mod gzip;
mod metrics;
mod scrape;

pub use admin::{Admin, CONTROL, Reloads, routes as admin_routes};
pub use beliefs::{Beliefs, routes as belief_routes};
pub use metrics::routes as metrics_routes;
pub use scrape::{LostEvents, Scrape};
