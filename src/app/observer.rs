//! The observer: a history of flows beside the aggregators, and its server.

use std::sync::Arc;

use actix::Addr;
use webb_cluster::Cache;
use webb_flow::clock::now_ns;
use webb_observer::export::{ExportConfig, Node};
use webb_observer::{Calls, History};
use webb_settings::Settings;

use super::exports::{self, Exporting};
use super::listeners::tls_files;
use super::metrics::Added;
use super::parts::Parts;
use crate::actors::observer::{self, server::Server};
use crate::actors::thread_supervisor::ThreadSupervisor;
use crate::families::Rows;
use crate::pipeline::{Consumer, HistoryState, Lane};
use crate::selfmetrics::{self as own, SelfMetrics};

/// The running observer.
pub(super) struct Observing {
    pub(super) state: Arc<HistoryState>,
    pub(super) recorder: Addr<ThreadSupervisor>,
    /// The server of the API, if that is enabled.
    pub(super) server: Option<Addr<ThreadSupervisor>>,
    served: Option<Arc<Server>>,
    pub(super) node: Node,
    /// Nothing but flows for outputs reads the history.
    pub(super) is_for_outputs: bool,
    pub(super) exporting: Option<Exporting>,
}

impl Observing {
    /// Starts the history if the API is enabled, or flows are exported or may be sent to outputs,
    /// and what reads it. `cache` has the other nodes.
    pub(super) fn start(
        parts: &Parts,
        settings: &Settings,
        cache: &Arc<Cache>,
        export: Option<ExportConfig>,
    ) -> Option<Self> {
        let observer = &settings.observer;
        let is_for_outputs = !observer.enabled && !settings.export.is_on();
        if is_for_outputs && settings.outputs_config.is_none() {
            return None;
        }
        let history = Arc::new(History::new(observer.flows as usize));
        let intensity = parts.intensity("observer/history");
        let (lane, items) = Lane::to(Consumer::History, Arc::clone(intensity.component()));
        let keep = Some(observer.keep).filter(|keep| !keep.is_zero());
        let name = webb_observer::qualified(&settings.cluster_name, &settings.node_name);
        let state = HistoryState::new(Arc::clone(&history), Arc::new(lane), name.clone(), keep);
        let state = Arc::new(state.with_labels(Arc::clone(cache), settings.node_name.clone()));
        let recorder = observer::start_history(items, Arc::clone(&state), intensity);
        let recorder = parts.register("observer/history", recorder);
        let served = observer.enabled.then(|| {
            let site = (settings.cluster_name.as_str(), settings.node_name.as_str(), Arc::clone(cache));
            Arc::new(Server::new(Arc::clone(&history), observer, tls_files(&observer.tls), site))
        });
        let server = served.as_ref().map(|served| {
            let server = observer::server::start(Arc::clone(served), parts.intensity("observer/server"));
            parts.register("observer/server", server)
        });
        let node = Node {
            name: settings.node_name.clone(),
            qualified: name,
            version: concat!("webb v", env!("CARGO_PKG_VERSION")).to_owned(),
            // A flow has the same id in the API and in a file.
            run: served.as_ref().map_or_else(now_ns, |served| served.started_ns()),
        };
        // Until a file of outputs asks for flows.
        state.lane().want(!is_for_outputs);
        let exporting = Exporting::start(parts, settings, export, (&history, node.clone()));
        Some(Self { state, recorder, server, served, node, is_for_outputs, exporting })
    }
}

/// Rows about the history and its server; none without an observer.
pub(super) fn metrics(metrics: &SelfMetrics, observing: Option<&Observing>) -> Added {
    let Some(observing) = observing else { return Ok(()) };
    exports::metrics(metrics, observing.exporting.as_ref())?;
    let (state, server) = (Arc::clone(&observing.state), observing.served.clone());
    let tls = server.as_ref().and_then(|server| server.tls().cloned());
    super::metrics::tls(metrics, [&own::OBSERVER_TLS_LOADS, &own::OBSERVER_TLS_EXPIRY], tls)?;
    metrics.add(
        &[
            &own::OBSERVER_FLOWS,
            &own::OBSERVER_CAPACITY,
            &own::OBSERVER_BYTES,
            &own::OBSERVER_SENT,
            &own::OBSERVER_RECORDED,
            &own::OBSERVER_LOST,
            &own::OBSERVER_CONNECTIONS,
            &own::OBSERVER_CONNECTIONS_DROPPED,
            &own::GRPC_STARTED,
            &own::GRPC_HANDLED,
            &own::GRPC_RECEIVED,
            &own::GRPC_SENT,
        ],
        Box::new(move |rows| {
            let (totals, bytes) = (state.history().totals(), state.history().bytes());
            rows.add(&own::OBSERVER_FLOWS, &[], totals.held);
            rows.add(&own::OBSERVER_CAPACITY, &[], totals.limit);
            rows.add(&own::OBSERVER_BYTES, &[], bytes);
            rows.add(&own::OBSERVER_SENT, &[], state.lane().sent());
            rows.add(&own::OBSERVER_RECORDED, &[], state.recorded());
            rows.add(&own::OBSERVER_LOST, &["skipped"], state.lane().skipped());
            rows.add(&own::OBSERVER_LOST, &["panicked"], state.panicked());
            let Some(server) = &server else { return };
            calls(rows, server.calls());
            for (listener, admission) in server.listeners() {
                rows.add(&own::OBSERVER_CONNECTIONS, &[&listener], admission.connections() as u64);
                for (reason, count) in admission.dropped() {
                    rows.add(&own::OBSERVER_CONNECTIONS_DROPPED, &[&listener, reason], count);
                }
            }
        }),
    )
}

/// Rows about calls, as Hubble has them.
fn calls(rows: &mut Rows, calls: &Calls) {
    for counts in calls.counts() {
        let labels = [counts.method.call_type, counts.method.service, counts.method.name];
        rows.add(&own::GRPC_STARTED, &labels, counts.started);
        rows.add(&own::GRPC_RECEIVED, &labels, counts.received);
        rows.add(&own::GRPC_SENT, &labels, counts.sent);
        let [call_type, service, method] = labels;
        for (code, count) in counts.handled() {
            rows.add(&own::GRPC_HANDLED, &[call_type, service, method, code], count);
        }
    }
}
