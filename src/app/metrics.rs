//! The agent's own metrics, without the ledger: each number is read during a scrape.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use serde_json::json;
use webb_cluster::kubernetes::{Reason, Status};
use webb_decode::verdicts::Undecided;
use webb_flow::fault::{Components, FaultType, State};
use webb_flow::sym;
use webb_index::Index;
use webb_index::filters::expression_failures;
use webb_metrics::limit;

use crate::actors::metrics_file::MetricsFile;
use crate::actors::probes::ProbeReconciler;
use crate::actors::resolver::Resolver;
use crate::bpf_loader::HandoverOutcome;
use crate::conntrack::Counters as ConntrackCounters;
use crate::families::Def;
use crate::http::Scrape;
use crate::logging::LogControl;
use crate::pipeline::{Counters, LOOKUPS};
use crate::privileges::Confinement;
use crate::reloads::Reloads;
use crate::selfmetrics::{self as own, SelfMetrics};
use crate::server::Connections;
use crate::startup::Startup;
use crate::tls::TlsFiles;

pub(super) type Added = Result<(), prometheus::Error>;

fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Answer of `/version`.
pub(super) fn version() -> serde_json::Value {
    json!({"name": "webb", "version": env!("CARGO_PKG_VERSION"), "kernel": kernel_release()})
}

/// The parts of the agent: their states, and what each of them knows.
pub(super) fn parts(
    metrics: &SelfMetrics,
    all: Components,
    (log, confinement): (&LogControl, &Arc<Confinement>),
    (names, index): (&Arc<Resolver>, &Arc<ArcSwap<Index>>),
    watch: Option<&Arc<ProbeReconciler>>,
) -> Added {
    components(metrics, all)?;
    build(metrics, log.clone(), Arc::clone(confinement))?;
    self::names(metrics, Arc::clone(names), Arc::clone(index))?;
    watches(metrics, Arc::clone(names))?;
    super::relay::metrics(metrics, names)?;
    watch.map_or(Ok(()), |watch| probes(metrics, Arc::clone(watch)))
}

fn build(metrics: &SelfMetrics, log: LogControl, confinement: Arc<Confinement>) -> Added {
    let kernel = kernel_release();
    super::privileges::metrics(metrics, confinement)?;
    metrics.add(
        &[
            &own::BUILD_INFO,
            &own::INTERNED_NAMES,
            &own::LOG_LINES_LOST,
            &own::LABEL_VALUES_CUT,
            &own::LABEL_TEXTS_FOLDED,
            &own::EXPRESSION_FAILURES,
        ],
        Box::new(move |rows| {
            rows.add(&own::BUILD_INFO, &[env!("CARGO_PKG_VERSION"), &kernel], 1);
            rows.add(&own::INTERNED_NAMES, &[], sym::interned() as u64);
            rows.add(&own::LOG_LINES_LOST, &[], log.lost_lines());
            rows.add(&own::LABEL_VALUES_CUT, &[], limit::cut_values());
            rows.add(&own::LABEL_TEXTS_FOLDED, &[], limit::folded());
            rows.add(&own::EXPRESSION_FAILURES, &[], expression_failures());
        }),
    )
}

/// The times of the start.
pub(super) fn startup(metrics: &SelfMetrics, startup: Arc<Startup>, counters: Arc<Counters>) -> Added {
    metrics.add(
        &[&own::STARTUP_SECONDS],
        Box::new(move |rows| {
            for (stage, seconds) in startup.stages() {
                rows.add_f64(&own::STARTUP_SECONDS, &[stage], seconds);
            }
            let first_ns = counters.first_packet_ns.load(Relaxed);
            if first_ns > 0 {
                rows.add_f64(&own::STARTUP_SECONDS, &["first_packet"], startup.seconds_to(first_ns));
            }
        }),
    )
}

fn components(metrics: &SelfMetrics, components: Components) -> Added {
    metrics.add(
        &[&own::COMPONENT_UP, &own::COMPONENT_FAULTS, &own::COMPONENT_RESTARTS, &own::COMPONENT_QUEUE],
        Box::new(move |rows| {
            for component in components.all() {
                let (name, state) = (component.name(), component.state());
                let up = matches!(state, State::Up | State::Degraded);
                rows.add(&own::COMPONENT_UP, &[name], u64::from(up));
                rows.add(&own::COMPONENT_RESTARTS, &[name], component.restarts());
                for kind in FaultType::ALL {
                    rows.add(&own::COMPONENT_FAULTS, &[name, kind.label()], component.faults(kind));
                }
                if name.starts_with("aggregator/") || name == "observer/history" {
                    rows.add(&own::COMPONENT_QUEUE, &[name], component.queue());
                }
            }
        }),
    )
}

fn names(metrics: &SelfMetrics, names: Arc<Resolver>, index: Arc<ArcSwap<Index>>) -> Added {
    metrics.add(
        &[
            &own::CLUSTER_OBJECTS,
            &own::CLUSTER_ADDRESSES,
            &own::CLUSTER_CONTESTED,
            &own::CLUSTER_PROBLEMS,
            &own::CLUSTER_PUBLISHED,
            &own::CLUSTER_OTHER_POLICIES,
        ],
        Box::new(move |rows| {
            let counts = names.counts();
            let kinds = [
                ("Pod", counts.pods),
                ("Namespace", counts.namespaces),
                ("Node", counts.nodes),
                ("Service", counts.services),
                ("EndpointSlice", counts.endpoint_slices),
                ("NetworkPolicy", counts.network_policies),
                ("AdminNetworkPolicy", counts.admin_network_policies),
                ("BaselineAdminNetworkPolicy", counts.baseline_admin_network_policies),
                ("ClusterNetworkPolicy", counts.cluster_network_policies),
            ];
            for (kind, count) in kinds {
                rows.add(&own::CLUSTER_OBJECTS, &[kind], count as u64);
            }
            for (group, kind, effect, count) in names.cache().other_counts() {
                rows.add(&own::CLUSTER_OTHER_POLICIES, &[&group, &kind, effect], count as u64);
            }
            rows.add(&own::CLUSTER_ADDRESSES, &[], index.load().addresses() as u64);
            rows.add(&own::CLUSTER_CONTESTED, &[], index.load().contested() as u64);
            rows.add(&own::CLUSTER_PROBLEMS, &[], names.problems());
            rows.add(&own::CLUSTER_PUBLISHED, &[], names.published());
        }),
    )
}

/// Rows for the watches of the API server; none while names come from elsewhere.
fn watches(metrics: &SelfMetrics, names: Arc<Resolver>) -> Added {
    metrics.add(
        &[
            &own::CLUSTER_SYNCED,
            &own::CLUSTER_LISTS,
            &own::CLUSTER_WATCH_RESTARTS,
            &own::CLUSTER_WATCH_LAG,
            &own::CLUSTER_INVALID,
            &own::CLUSTER_UNREADABLE,
        ],
        Box::new(move |rows| {
            let found = names.watches().map(Status::found).unwrap_or_default();
            let core = names.watches().into_iter().flat_map(Status::watched);
            for watched in core.chain(found.iter().map(|found| &**found)) {
                let kind = watched.label();
                rows.add(&own::CLUSTER_SYNCED, &[kind], u64::from(watched.synced()));
                for (way, count) in watched.lists() {
                    rows.add(&own::CLUSTER_LISTS, &[kind, way], count);
                }
                for reason in Reason::ALL {
                    rows.add(&own::CLUSTER_WATCH_RESTARTS, &[kind, reason.label()], watched.restarts(reason));
                }
                rows.add_f64(&own::CLUSTER_WATCH_LAG, &[kind], watched.lag());
                rows.add(&own::CLUSTER_INVALID, &[kind], watched.invalid());
                rows.add(&own::CLUSTER_UNREADABLE, &[kind], watched.unreadable());
            }
        }),
    )
}

/// Conntrack events, and NAT lookups.
pub(super) fn conntrack(metrics: &SelfMetrics, events: Arc<ConntrackCounters>, counters: Arc<Counters>) -> Added {
    let defs = [
        &own::CONNTRACK_ENTRIES,
        &own::CONNTRACK_EVENTS,
        &own::CONNTRACK_OVERRUNS,
        &own::CONNTRACK_DUMPS,
        &own::CONNTRACK_QUERIES,
        &own::CONNTRACK_MALFORMED,
        &own::CONNTRACK_REFUSED,
        &own::CONNTRACK_LOOKUPS,
        &own::POLICY_UNDECIDED,
    ];
    metrics.add(
        &defs,
        Box::new(move |rows| {
            rows.add(&own::CONNTRACK_ENTRIES, &[], counters.translations.load(Relaxed));
            rows.add(&own::CONNTRACK_EVENTS, &["new"], events.began.load(Relaxed));
            rows.add(&own::CONNTRACK_EVENTS, &["destroy"], events.ended.load(Relaxed));
            rows.add(&own::CONNTRACK_OVERRUNS, &[], events.overruns.load(Relaxed));
            rows.add(&own::CONNTRACK_DUMPS, &[], events.dumps.load(Relaxed));
            rows.add(&own::CONNTRACK_QUERIES, &[], events.queries.load(Relaxed));
            rows.add(&own::CONNTRACK_MALFORMED, &[], events.malformed.load(Relaxed));
            rows.add(&own::CONNTRACK_REFUSED, &[], counters.refused.load(Relaxed));
            for (outcome, count) in LOOKUPS.iter().zip(&counters.lookups) {
                rows.add(&own::CONNTRACK_LOOKUPS, &[outcome], count.load(Relaxed));
            }
            for (reason, count) in Undecided::ALL.iter().zip(&counters.undecided) {
                rows.add(&own::POLICY_UNDECIDED, &[reason.label()], count.load(Relaxed));
            }
        }),
    )
}

fn probes(metrics: &SelfMetrics, watch: Arc<ProbeReconciler>) -> Added {
    handover(metrics, watch.handover())?;
    metrics.add(
        &[
            &own::PROBE_INTERFACES,
            &own::PROBE_SPECIAL_INTERFACES,
            &own::PROBE_ATTACH_ERRORS,
            &own::PROBE_UNWATCHED_PODS,
            &own::PROBE_UNREAD_ADDRESSES,
            &own::PROBE_ONE_SIDED,
            &own::PROBE_GAPS,
            &own::PROBE_GAP_PACKETS,
        ],
        Box::new(move |rows| {
            for (role, count) in watch.attached() {
                rows.add(&own::PROBE_INTERFACES, &[role], count);
            }
            for (special, count) in watch.special() {
                rows.add(&own::PROBE_SPECIAL_INTERFACES, &[special], count);
            }
            rows.add(&own::PROBE_ATTACH_ERRORS, &[], watch.errors());
            for (reason, count) in watch.unwatched_pods() {
                rows.add(&own::PROBE_UNWATCHED_PODS, &[reason], count);
            }
            rows.add(&own::PROBE_UNREAD_ADDRESSES, &[], watch.unread_addresses());
            rows.add(&own::PROBE_ONE_SIDED, &[], watch.one_sided());
            for (reason, gaps, packets) in watch.gaps() {
                rows.add(&own::PROBE_GAPS, &[reason], gaps);
                rows.add(&own::PROBE_GAP_PACKETS, &[reason], packets);
            }
        }),
    )
}

/// Outcome of the start, for an agent that takes over from the one before. No rows otherwise.
fn handover(metrics: &SelfMetrics, outcome: Option<HandoverOutcome>) -> Added {
    let Some(outcome) = outcome else { return Ok(()) };
    metrics.add(
        &[&own::HANDOVER],
        Box::new(move |rows| {
            for one in HandoverOutcome::ALL {
                rows.add(&own::HANDOVER, &[one.label()], u64::from(one == outcome));
            }
        }),
    )
}

/// Rows about scrapes. Weak: the scrape endpoint owns the registry, and a strong reference would be
/// a cycle.
pub(super) fn scrapes(metrics: &SelfMetrics, scrape: Weak<Scrape>) -> Added {
    metrics.add(
        &[&own::SCRAPES],
        Box::new(move |rows| {
            let Some(scrape) = scrape.upgrade() else { return };
            for (outcome, count) in scrape.results() {
                rows.add(&own::SCRAPES, &[outcome], count);
            }
        }),
    )
}

/// The connections of each listener.
pub(super) fn connections(metrics: &SelfMetrics, listeners: Vec<(&'static str, Arc<Connections>)>) -> Added {
    metrics.add(
        &[&own::HTTP_CONNECTIONS, &own::HTTP_CONNECTIONS_DROPPED],
        Box::new(move |rows| {
            for (listener, connections) in &listeners {
                rows.add(&own::HTTP_CONNECTIONS, &[listener], connections.count() as u64);
                for (reason, count) in connections.dropped() {
                    rows.add(&own::HTTP_CONNECTIONS_DROPPED, &[listener, reason], count);
                }
            }
        }),
    )
}

/// Rows about a listener's certificates: the families of its reloads and of the end of their
/// validity.
pub(super) fn tls(metrics: &SelfMetrics, families: [&'static Def; 2], files: Option<Arc<TlsFiles>>) -> Added {
    let Some(files) = files else { return Ok(()) };
    let [loads, expires] = families;
    metrics.add(
        &families,
        Box::new(move |rows| {
            if let Some(expiry) = files.expiry() {
                #[allow(clippy::cast_precision_loss, reason = "seconds of a date fit many times")]
                rows.add_f64(expires, &[], expiry as f64);
            }
            for (outcome, count) in files.reloads().counts() {
                rows.add(loads, &[outcome], count);
            }
        }),
    )
}

pub(super) fn metrics_file(metrics: &SelfMetrics, file: Option<Arc<MetricsFile>>) -> Added {
    let Some(file) = file else { return Ok(()) };
    metrics.add(
        &[&own::METRICS_CONFIG_RELOADS, &own::METRICS_CONFIG_CHANGES],
        Box::new(move |rows| {
            for (outcome, count) in file.reloads().counts() {
                rows.add(&own::METRICS_CONFIG_RELOADS, &[outcome], count);
            }
            for ((metric, change), count) in file.changes() {
                rows.add(&own::METRICS_CONFIG_CHANGES, &[metric, change], count);
            }
        }),
    )
}

/// Reloads of the configuration, and the last one of each file there is.
pub(super) fn reloads(
    metrics: &SelfMetrics,
    config: Arc<Reloads>,
    metrics_file: Option<Arc<MetricsFile>>,
    certificates: Option<Arc<TlsFiles>>,
) -> Added {
    metrics.add(
        &[&own::CONFIG_RELOADS, &own::LAST_RELOAD_SUCCESSFUL, &own::LAST_RELOAD_SUCCESS],
        Box::new(move |rows| {
            for (outcome, count) in config.counts() {
                rows.add(&own::CONFIG_RELOADS, &[outcome], count);
            }
            let files = [
                Some(("config", config.as_ref())),
                metrics_file.as_ref().map(|file| ("metrics_config", file.reloads())),
                certificates.as_ref().map(|files| ("metrics_tls", files.reloads())),
            ];
            for (file, reloads) in files.into_iter().flatten() {
                rows.add(&own::LAST_RELOAD_SUCCESSFUL, &[file], u64::from(reloads.succeeded()));
                rows.add(&own::LAST_RELOAD_SUCCESS, &[file], reloads.success_seconds());
            }
        }),
    )
}
