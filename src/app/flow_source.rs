//! The agent with a server of Hubble's API as the source of flows: no programs, no capabilities,
//! and one thread in the place of reader and decoder.

use std::sync::Arc;

use arc_swap::ArcSwap;
use webb_flow::clock::unix_ns;
use webb_flow::names::LOST_EVENT_SOURCES;
use webb_index::Index;
use webb_metrics::MetricConfig;
use webb_observer::client::{Cause, ClientTls, ServerAddress};
use webb_settings::{HubbleServer, Settings};

use super::parts::{Parts, admin};
use super::start::{Plan, Running, say_running, start_configurator, start_resolver, start_scrapes};
use super::{Metrics, StartError, health, ledger, listeners, metrics, operator, privileges as lowered};
use crate::actors::fleet::{Fleet, OtherLanes};
use crate::actors::network::Network;
use crate::actors::restart::Intensity;
use crate::actors::{Directory, flow_source};
use crate::http::{self, Explain};
use crate::pipeline::flow_source::{FlowSource, FlowSourceState, Gap, LostEvents, Outcome, SourceLedger};
use crate::pipeline::{Commands, Counters, Lanes, SnapshotCollector};
use crate::records::Waker;
use crate::reloads::Reloads;
use crate::selfmetrics::{self as own, SelfMetrics};
use crate::server::ApiTimes;
use crate::startup::Startup;

/// Metrics that no flow of Hubble fills: it has no bytes, and neither ends of connections nor
/// calls.
const UNFILLED: [&str; 4] = ["connections", "dnsLatency", "grpc", "traffic"];

/// The server, with the files of TLS.
fn address(server: &HubbleServer, settings: &Settings) -> ServerAddress {
    match server {
        HubbleServer::Unix(path) => ServerAddress::Unix(path.clone()),
        HubbleServer::Tcp { host, port, tls } => {
            let files = &settings.flow_source_tls;
            let own = files.certificate.clone().zip(files.key.clone());
            let server_name = Some(files.server_name.clone()).filter(|name| !name.is_empty());
            // The settings have it with TLS.
            let tls = files.ca.clone().filter(|_| *tls).map(|ca| ClientTls { ca: Some(ca), own, server_name });
            ServerAddress::Tcp { host: host.clone(), port: *port, tls }
        }
    }
}

/// Starts everything; the source last.
pub(super) async fn start(plan: Plan, server: &HubbleServer, startup: Arc<Startup>) -> Result<Running, StartError> {
    // It would be of a history, and there is none.
    let Plan { layers, resolved, metrics: configured, export: _, log, loader, privileges, confinement } = plan;
    let (settings, confinement) = (&resolved.settings, Arc::new(confinement));
    loader.dismiss();
    let mut sockets = listeners::Sockets::bind(settings)?;
    confinement.enforce_seccomp();
    lowered::say(privileges, &confinement);
    let (parts, escalated) = Parts::new(settings, startup);
    let intensity = |name: &str| parts.intensity(name);
    let supervision: (&Directory, &dyn Fn(&str) -> Intensity) = (&parts.directory, &intensity);
    let responder = sockets.health.take().map(|socket| health::respond(supervision, socket));
    let address = address(server, settings);
    say_off(settings, &configured, &address);

    let index = Arc::new(ArcSwap::from_pointee(Index::not_ready()));
    let waker = Waker::new()?;
    let (commands, requests) = Commands::new(waker.clone());
    let network = Arc::new(Network::read().await?);
    let (names, resolver, mesh) = start_resolver(&parts, settings, &network, &index, commands.clone());
    let (fleet, lanes) =
        Fleet::start(parts.factory(settings, 0), configured.configs(), commands.clone(), OtherLanes::default());
    let fleet = Arc::new(fleet);
    let collector = SnapshotCollector::new(Arc::clone(&lanes), commands);
    let (counters, source_ledger) = (Arc::new(Counters::default()), Arc::new(SourceLedger::default()));

    let own = SelfMetrics::new()?;
    let reloads = Arc::new(Reloads::loaded());
    metrics::startup(&own, Arc::clone(&parts.startup), Arc::clone(&counters))?;
    ledger::handed_on(&own, Arc::clone(&counters))?;
    ledger::aggregators(&own, Arc::clone(&fleet))?;
    rows(&own, Arc::clone(&source_ledger))?;
    metrics::parts(&own, parts.components.clone(), (&log, &confinement), (&names, &index), None)?;
    let losses = Losses { ledger: Arc::clone(&source_ledger), lanes: Arc::clone(&lanes) };
    let scrape = start_scrapes(settings, collector, losses, &own)?;
    let tls = listeners::tls_files(&settings.metrics_tls);
    metrics::tls(&own, [&own::TLS_LOADS, &own::TLS_EXPIRY], tls.clone())?;
    let configurator = start_configurator(&parts, settings, configured, &fleet);
    let metrics_file = configurator.as_ref().map(|(file, _)| Arc::clone(file));
    metrics::reloads(&own, Arc::clone(&reloads), metrics_file.clone(), tls.clone())?;
    metrics::metrics_file(&own, metrics_file)?;
    let admin = Arc::new(admin(&parts, &resolved, (log, reloads), (privileges, confinement)));
    let health = health::start(supervision, responder, settings, names.cache(), &own)?;
    let certificates = listeners::Certificates { metrics: tls, agent: None };
    let (explain, times) = (Arc::new(Explain { cache: Arc::clone(names.cache()), index }), ApiTimes::default());
    mesh.register(&own, names.cache(), settings)?;
    let operator = sockets.operator.take().map(|socket| operator::Operator::start(&parts, settings, socket, &admin));
    let (served, asked) = ((&scrape, None), (&admin, explain, times, listeners::asked(settings)));
    let servers = listeners::serve(supervision, (sockets, certificates), served, asked, health.as_ref(), &own)?;

    let source = FlowSource {
        server: address,
        waker,
        lanes,
        commands: requests,
        counters,
        ledger: source_ledger,
        state: FlowSourceState::new(unix_ns()),
    };
    let reader = flow_source::start(Arc::new(source), parts.intensity("flow_source"));
    let reader = parts.register("flow_source", reader);
    say_running(settings);
    Ok(Running {
        parts,
        escalated,
        layers,
        resolved,
        names,
        kernel: None,
        scrape,
        admin,
        dissector: None,
        reader,
        fleet,
        configurator,
        resolver,
        mesh,
        conntrack: None,
        counting: Vec::new(),
        agent: None,
        operator,
        servers,
        health,
        observing: None,
        sending: None,
    })
}

/// Says what there is not without programs.
fn say_off(settings: &Settings, configured: &Metrics, server: &ServerAddress) {
    tracing::info!(
        "flows come from {server}: no program is loaded, and interfaces, bytes and packets, the ledger of packets, \
         layer 7 out of packets, connection tracking and policy verdicts of webb's own are off"
    );
    if settings.agent_metrics.listen.is_some() {
        tracing::warn!("agent_metrics.listen: there is no agent endpoint with this flow source; Cilium has its own");
    }
    if settings.observer.enabled {
        tracing::warn!("observer.enabled: no flows are kept or served with this flow source; ask its server for them");
    }
    if settings.outputs_config.is_some() {
        tracing::warn!(
            "outputs_config: nothing is sent to outputs with this flow source: its flows have no bytes, and none are kept"
        );
    }
    if settings.export.is_on() {
        tracing::warn!("export: no flow logs are written with this flow source; its server can write them");
    }
    let empty: Vec<_> = configured.configs().map(MetricConfig::name).filter(|name| UNFILLED.contains(name)).collect();
    if !empty.is_empty() {
        tracing::warn!(
            "these metrics stay empty, because Hubble's flows do not have what they count: {}",
            empty.join(", ")
        );
    }
}

/// Adds what the source counts.
fn rows(metrics: &SelfMetrics, ledger: Arc<SourceLedger>) -> Result<(), prometheus::Error> {
    let defs = [
        &own::FLOW_SOURCE_CONNECTED,
        &own::FLOW_SOURCE_DISCONNECTS,
        &own::FLOW_SOURCE_RECEIVED,
        &own::FLOW_SOURCE_RESPONSES,
        &own::FLOW_SOURCE_LOST,
        &own::FLOW_SOURCE_GAPS,
    ];
    metrics.add(
        &defs,
        Box::new(move |rows| {
            rows.add(&own::FLOW_SOURCE_CONNECTED, &[], u64::from(ledger.is_connected()));
            for cause in Cause::ALL {
                rows.add(&own::FLOW_SOURCE_DISCONNECTS, &[cause.label()], ledger.ended(cause));
            }
            rows.add(&own::FLOW_SOURCE_RECEIVED, &[], ledger.received());
            for outcome in Outcome::all() {
                rows.add(&own::FLOW_SOURCE_RESPONSES, &[outcome.label()], ledger.outcome(outcome));
            }
            for ((_, source), lost) in LOST_EVENT_SOURCES.iter().zip(ledger.lost()) {
                rows.add(&own::FLOW_SOURCE_LOST, &[&source.to_ascii_lowercase()], lost);
            }
            for gap in Gap::ALL {
                rows.add(&own::FLOW_SOURCE_GAPS, &[gap.label()], ledger.gaps(gap));
            }
        }),
    )
}

/// Hubble's own loss counter: what the server lost, and what an aggregator missed.
#[derive(Debug)]
struct Losses {
    ledger: Arc<SourceLedger>,
    lanes: Arc<Lanes>,
}

impl http::LostEvents for Losses {
    fn by_source(&self) -> LostEvents {
        let [unknown, ring, queue, history] = self.ledger.notices();
        [unknown, ring, queue + self.lanes.skipped().of_hubble(), history]
    }
}
