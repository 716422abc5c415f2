//! The two listeners of the running agent.

use std::net::TcpListener;
use std::sync::Arc;

use actix::prelude::*;
use actix_web::middleware::from_fn;
use actix_web::web::scope;
use webb_settings as settings;

use super::metrics;
use crate::actors::Directory;
use crate::actors::http::HttpActor;
use crate::actors::restart::Intensity;
use crate::http::{Admin, Explain, Scrape, admin_routes, explain_routes, metrics_routes, refuse_foreign};
use crate::selfmetrics::SelfMetrics;
use crate::server::{Connections, Limits, Routes};
use crate::tls::{Paths, TlsFiles};

/// Starts both.
pub(super) fn serve(
    (directory, intensity): (&Directory, impl Fn(&str) -> Intensity),
    (metrics_listener, tls): (TcpListener, Option<Arc<TlsFiles>>),
    admin_listener: TcpListener,
    scrape: &Arc<Scrape>,
    (admin, explain): (&Arc<Admin>, Arc<Explain>),
    own: &SelfMetrics,
) -> Result<[Addr<HttpActor>; 2], prometheus::Error> {
    let (scrape, admin) = (Arc::clone(scrape), Arc::clone(admin));
    let connections = || Arc::new(Connections::new(Limits::default()));
    let (of_metrics, of_admin) = (connections(), connections());
    metrics::connections(own, vec![("metrics", Arc::clone(&of_metrics)), ("admin", Arc::clone(&of_admin))])?;
    let start = |name: &str, listener, tls, connections, routes: Routes| {
        let server = HttpActor::start(listener, routes, tls, connections, intensity(name));
        directory.add(name, server.clone().recipient());
        server
    };
    let metrics: Routes = Arc::new(move |config| metrics_routes(config, &scrape));
    let admin: Routes = Arc::new(move |config| {
        config.service(scope("").wrap(from_fn(refuse_foreign)).configure(|config| {
            admin_routes(config, &admin);
            explain_routes(config, &explain);
        }));
    });
    Ok([
        start("http/metrics", metrics_listener, tls, of_metrics, metrics),
        start("http/admin", admin_listener, None, of_admin, admin),
    ])
}

/// The certificate files, if TLS is on.
pub(super) fn tls_files(settings: &settings::MetricsTls) -> Option<Arc<TlsFiles>> {
    let (certificate, key) = (settings.certificate.clone()?, settings.key.clone()?);
    Some(Arc::new(TlsFiles::new(Paths { certificate, key, client_ca: settings.client_ca.clone() })))
}
