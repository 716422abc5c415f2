//! The agent endpoint, put together: each category gets the parts that it reads.

use std::sync::Arc;

use webb_flow::fault::Components;
use webb_settings::AgentMetrics;

use crate::actors::resolver::Resolver;
use crate::agent_metrics::cluster_mesh::{self, MeshParts};
use crate::agent_metrics::kubernetes::{self, Watches};
use crate::agent_metrics::node_connectivity::NodeHealth;
use crate::agent_metrics::{
    api, cluster_health, controllers, endpoint, errors, fqdn, identity, ipam, node_connectivity, nodes, policy,
    process, services,
};
use crate::families::{Category, CategorySource, Endpoint, Selection};
use crate::logging::LogControl;
use crate::reloads::Reloads;
use crate::selfmetrics::{self as own, SelfMetrics};
use crate::server::ApiTimes;
use crate::startup::Startup;

/// Prefix of all names but a few.
pub(super) const PREFIX: &str = "cilium";

/// Reads the number of names from DNS that have expired.
pub(super) type ExpiredNames = Box<dyn Fn() -> Option<u64> + Send + Sync>;

/// Parts of the running agent that the categories read.
pub(super) struct Sources {
    pub(super) log: LogControl,
    pub(super) components: Components,
    pub(super) times: ApiTimes,
    /// None while nodes are not probed.
    pub(super) nodes: Option<NodeHealth>,
    pub(super) startup: Arc<Startup>,
    pub(super) reloads: Arc<Reloads>,
    pub(super) expired_names: ExpiredNames,
    pub(super) kernel: Vec<(&'static Category, CategorySource)>,
    pub(super) mesh: MeshParts,
    pub(super) names: Arc<Resolver>,
}

/// The families that a configuration asks for.
pub(super) fn selection(settings: &AgentMetrics) -> Selection {
    Selection::new(settings.compat, &settings.metrics)
}

/// The endpoint, if the configuration has it.
pub(super) fn endpoint(
    settings: &AgentMetrics,
    sources: Sources,
    metrics: &SelfMetrics,
) -> Result<Option<Arc<Endpoint>>, prometheus::Error> {
    if settings.listen.is_none() {
        return Ok(None);
    }
    let health = sources.nodes.as_ref().map(|nodes| Arc::clone(&nodes.health));
    let names = &sources.names;
    let (cache, watches) = (|| Arc::clone(names.cache()), || watches(Arc::clone(names)));
    let mut categories: Vec<(&'static Category, CategorySource)> = vec![
        (&cluster_health::CATEGORY, cluster_health::source(health)),
        (&node_connectivity::CATEGORY, node_connectivity::source(sources.nodes)),
        (&process::CATEGORY, process::source(sources.startup, sources.reloads)),
        (&errors::CATEGORY, errors::source(sources.log)),
        (&controllers::CATEGORY, controllers::source(sources.components)),
        (&fqdn::CATEGORY, fqdn::source(sources.expired_names)),
        (&api::CATEGORY, api::source(sources.times)),
        (&cluster_mesh::CATEGORY, cluster_mesh::source(sources.mesh)),
        (&endpoint::CATEGORY, endpoint::source(cache())),
        (&services::CATEGORY, services::source(watches())),
        (&nodes::CATEGORY, nodes::source(cache(), watches())),
        (&identity::CATEGORY, identity::source(cache())),
        (&policy::CATEGORY, policy::source(cache(), watches())),
        (&ipam::CATEGORY, ipam::source(cache())),
        (&kubernetes::CATEGORY, kubernetes::source(watches())),
    ];
    categories.extend(sources.kernel);
    let endpoint = Arc::new(Endpoint::new(PREFIX, selection(settings), categories));
    let counted = Arc::clone(&endpoint);
    metrics.add(
        &[&own::ENDPOINT_PANICS],
        Box::new(move |rows| {
            for (category, count) in counted.panics() {
                rows.add(&own::ENDPOINT_PANICS, &[category], count);
            }
        }),
    )?;
    Ok(Some(endpoint))
}

/// The watches of this cluster's API server.
fn watches(names: Arc<Resolver>) -> Watches {
    Arc::new(move |each| {
        if let Some(status) = names.watches() {
            each(status);
        }
    })
}
