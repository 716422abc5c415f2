//! Starting, in order, and what runs afterwards.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use actix::prelude::*;
use arc_swap::{ArcSwap, ArcSwapOption};
use crossbeam_channel::Receiver;
use tokio::sync::mpsc::UnboundedReceiver;
use webb_cluster as cluster;
use webb_decode::OneSided;
use webb_flow::Reasons;
use webb_flow::clock::Clock;
use webb_flow::fault::Component;
use webb_index::policy::Effect;
use webb_index::{CidrSpec, Index};
use webb_observer::export::ExportConfig;
use webb_settings::{self as settings, Layers, Resolved};

use super::health::BetweenNodes;
use super::kernel_metrics::Kernel;
use super::mesh::Mesh;
use super::observer::{self, Observing};
use super::operator::{self, Operator};
use super::outputs::{self, Sending};
use super::parts::{Parts, admin};
use super::{
    Metrics, StartError, agent_metrics, connections, health, kernel_metrics, layer7, ledger, listeners, loader,
    metrics, privileges as lowered,
};
use crate::actors::cluster_source::Sources;
use crate::actors::configurator::{Configurator, FleetFile};
use crate::actors::decoder::{DecoderActor, DecoderFault};
use crate::actors::fleet::{AggregatorFactory, Fleet, OtherLanes};
use crate::actors::http::HttpActor;
use crate::actors::listing::Lister;
use crate::actors::metrics_file::MetricsFile;
use crate::actors::network::Network;
use crate::actors::probes::ProbeReconciler;
use crate::actors::resolver::Resolver;
use crate::actors::restart::Intensity;
use crate::actors::sweeper::{Losing, Swept};
use crate::actors::thread_supervisor::ThreadSupervisor;
use crate::actors::{Directory, conntrack as follower, probes, reader, resolver, sweeper};
use crate::agent_metrics::cluster_mesh::MeshParts;
use crate::bpf_loader::maps::NodeObjects;
use crate::bpf_loader::{self, Confine, Handover, HandoverOutcome, KernelRings, Loader, Probes};
use crate::conntrack::{Counters as ConntrackCounters, Follower, Snat};
use crate::families::Endpoint;
use crate::http::{Admin, CONTROL, Explain, LostEvents, Scrape};
use crate::logging::LogControl;
use crate::pipeline::layer7::Layer7Config;
use crate::pipeline::{
    Command, Commands, Counters, Lanes, MAX_PENDING_QUERIES, Reader, ReaderState, SnapshotCollector, Translations,
};
use crate::privileges::{Confinement, Privileges};
use crate::records::Waker;
use crate::reloads::Reloads;
use crate::selfmetrics::{self as own_metrics, SelfMetrics};
use crate::server::ApiTimes;
use crate::startup::Startup;

/// Arguments of `webb run`, checked and ready.
#[derive(Debug)]
pub struct Plan {
    /// Sources of the configuration, for a reload.
    pub layers: Layers,
    /// Configuration in force.
    pub resolved: Resolved,
    /// Metrics to count.
    pub metrics: Metrics,
    /// The exporter of flows that the settings have.
    pub export: Option<ExportConfig>,
    /// The log's level.
    pub log: LogControl,
    /// The thread that loads the programs.
    pub loader: Loader,
    /// What this thread and its threads keep.
    pub privileges: Privileges,
    /// Landlock, which this thread and its threads are under, and seccomp, which all will be.
    pub confinement: Confinement,
}

/// The running agent.
pub(super) struct Running {
    pub(super) parts: Parts,
    pub(super) escalated: UnboundedReceiver<String>,
    pub(super) layers: Layers,
    pub(super) resolved: Resolved,
    pub(super) names: Arc<Resolver>,
    /// What is there with programs of webb's own.
    pub(super) kernel: Option<OfKernel>,
    pub(super) scrape: Arc<Scrape>,
    pub(super) admin: Arc<Admin>,
    pub(super) dissector: Option<(Addr<ThreadSupervisor>, Arc<ArcSwap<Layer7Config>>)>,
    /// Of the rings, or the flow source.
    pub(super) reader: Addr<ThreadSupervisor>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) configurator: Option<(Arc<MetricsFile>, Addr<Configurator>)>,
    pub(super) resolver: Addr<ThreadSupervisor>,
    pub(super) mesh: Mesh,
    pub(super) conntrack: Option<Addr<ThreadSupervisor>>,
    /// Threads that count for the agent endpoint.
    pub(super) counting: Vec<Addr<ThreadSupervisor>>,
    pub(super) agent: Option<Arc<Endpoint>>,
    pub(super) operator: Option<Operator>,
    pub(super) servers: Vec<Addr<HttpActor>>,
    pub(super) health: Option<BetweenNodes>,
    pub(super) observing: Option<Observing>,
    /// The rollups and outputs, if there are any.
    pub(super) sending: Option<Sending>,
}

/// The parts that work with the programs.
pub(super) struct OfKernel {
    pub(super) watch: Arc<ProbeReconciler>,
    pub(super) probes: Addr<ThreadSupervisor>,
    pub(super) sweeper: Addr<ThreadSupervisor>,
    pub(super) decoder: Addr<DecoderActor>,
}

impl Running {
    /// Component of the control thread, which handles signals and reloads.
    pub(super) fn control(&self) -> Arc<Component> {
        self.parts.components.component(CONTROL)
    }
}

/// Starts everything, probes last. Names are read meanwhile, and waited for by the first flows.
pub(super) async fn start(plan: Plan, startup: Arc<Startup>) -> Result<Running, StartError> {
    let Plan { layers, resolved, metrics: configured, export, log, loader, privileges, confinement } = plan;
    let (settings, confinement) = (&resolved.settings, Arc::new(confinement));
    let mut sockets = listeners::Sockets::bind(settings)?;
    let (parts, escalated) = Parts::new(settings, startup);
    let intensity = |name: &str| parts.intensity(name);
    let supervision: (&Directory, &dyn Fn(&str) -> Intensity) = (&parts.directory, &intensity);
    // Before the programs are loaded: for the other nodes an agent that starts is there.
    let responder = sockets.health.take().map(|socket| health::respond(supervision, socket));
    let wanted = kernel_metrics::Wanted::new(&settings.agent_metrics);
    let (mut loaded, node) = load((loader, privileges, &confinement), settings, &configured).await?;
    let (objects, layer7_maps, taken_over) = ((loaded.take_objects(), node), loaded.layer7(), loaded.take_taken_over());
    let sweeping = loaded.take_sweeper().ok_or_else(|| std::io::Error::other("the table has no sweeper"))?;
    let (kernel_ledger, rings, capacity) = (loaded.ledger(), loaded.rings(), sweeping.capacity());

    let index = Arc::new(ArcSwap::from_pointee(Index::not_ready()));
    let (waker, counters) = (Waker::new()?, Arc::new(Counters::default()));
    let (commands, requests) = Commands::new(waker.clone());
    let network = Arc::new(Network::read().await?);
    let (names, resolver, mesh) = start_resolver(&parts, settings, &network, &index, commands.clone());
    let captures = connections::are_captured(settings, &configured);
    let observing = Observing::start(&parts, settings, names.cache(), export);
    let sending = Sending::start(&parts, settings, observing.as_ref());
    let (beside, factory) = ((observing.as_ref(), sending.as_ref()), (parts.factory(settings, capacity), captures));
    let (fleet, lanes, collector, lister) = start_fleet(factory, &configured, commands, beside);
    outputs::go_on(sending.as_ref(), (&kernel_ledger, taken_over.as_ref()), &counters).await?;
    let Tracking { translations, conntrack_counters, conntrack } =
        start_conntrack(&parts, settings, (privileges, wanted.snat.clone()))?;
    let (way_out, inbox) = layer7::channel(loaded.layer7().as_ref(), &waker)?;
    let state = ReaderState::new(translations, Clock::default()).waiting_for_names(settings.cluster_wait, names.asks());
    let state = state.with_layer7(inbox).with_connections(captures.then_some(capacity)).counting(wanted.drops.clone());
    let dissecting =
        layer7::start(|| parts.intensity("dissector"), settings, (loaded.layer7(), way_out), &lanes, &index);
    let ReaderParts { one_sided, decoder, reader, reasons } =
        start_reading(&parts, (rings.clone(), state), (waker, requests), &lanes, (Arc::clone(&index), &counters))?;
    let (swept, interval) = (Arc::new(Swept::default()), settings.connections.sweep_interval);
    let (counters_of_maps, sweeps) = ((kernel_ledger.clone(), rings.clone(), layer7_maps), (sweeping.runs(), interval));
    let kernel = Kernel::new(objects, counters_of_maps, sweeps, (&swept, capacity), (&network, privileges));
    let losing = Losing { ledger: kernel_ledger.clone(), layer7: loaded.layer7(), lanes: Arc::clone(&lanes) };
    let sweep = sweeper::start((sweeping, lister), losing, Arc::clone(&swept), interval, parts.intensity("sweeper"));
    let sweeper = parts.register("sweeper", sweep);
    let component = (parts.components.component("probes"), Arc::clone(&parts.startup));
    let selection = loader::selection(&settings.interfaces);
    let watch = Arc::new(ProbeReconciler::new(loaded, selection, (network, one_sided), component));

    let (own, reloads) = (SelfMetrics::new()?, Arc::new(Reloads::loaded()));
    connections::ledger(&own, captures.then(|| kernel_ledger.clone()), Arc::clone(&fleet))?;
    ledger::programs(&own, kernel_ledger.clone(), (reasons, capacity), Arc::clone(&swept), (rings, &watch))?;
    layer7::ledger(&own, dissecting.as_ref())?;
    let expired_names = layer7::expired_names(dissecting.as_ref());
    let dissector = dissecting.map(|of| (parts.register("dissector", of.supervisor), of.config));
    metrics::conntrack(&own, conntrack_counters, Arc::clone(&counters))?;
    metrics::startup(&own, Arc::clone(&parts.startup), Arc::clone(&counters))?;
    ledger::pipeline(&own, counters, Arc::clone(&fleet))?;
    beside_metrics(&own, observing.as_ref(), sending.as_ref())?;
    metrics::parts(&own, parts.components.clone(), (&log, &confinement), (&names, &index), Some(&watch))?;
    let history = observing.as_ref().map(|observing| Arc::clone(observing.state.history()));
    let scrape = start_scrapes(settings, collector, ledger::Losses { swept, lanes, history }, &own)?;
    let tls = listeners::tls_files(&settings.metrics_tls);
    metrics::tls(&own, [&own_metrics::TLS_LOADS, &own_metrics::TLS_EXPIRY], tls.clone())?;
    let configurator = start_configurator(&parts, settings, configured, &fleet);
    let metrics_file = configurator.as_ref().map(|(file, _)| Arc::clone(file));
    metrics::reloads(&own, Arc::clone(&reloads), metrics_file.clone(), tls.clone())?;
    metrics::metrics_file(&own, metrics_file)?;
    let admin = Arc::new(admin(&parts, &resolved, (log, reloads), (privileges, confinement)));
    let health = health::start(supervision, responder, settings, names.cache(), &own)?;
    let certificates = listeners::Certificates { metrics: tls, agent: listeners::tls_files(&settings.metrics_tls) };
    let (explain, times) = (Arc::new(Explain { cache: Arc::clone(names.cache()), index }), ApiTimes::default());
    let named = (Arc::clone(&names), mesh.register(&own, names.cache(), settings)?);
    let run = |name: &str, task| parts.periodic(name, task, kernel_metrics::INTERVAL);
    let counting = kernel.count(wanted, run, &own)?;
    let counted = (health.as_ref(), expired_names, counting.sources, named);
    let agent = start_agent_endpoint(settings, &parts, (&admin, &times), counted, &own)?;
    let operator = sockets.operator.take().map(|socket| Operator::start(&parts, settings, socket, &admin));
    let (served, asked) = ((&scrape, agent.clone()), (&admin, explain, times, listeners::asked(settings)));
    let servers = listeners::serve(supervision, (sockets, certificates), served, asked, health.as_ref(), &own)?;

    let probes = parts.register("probes", probes::start(Arc::clone(&watch), parts.intensity("probes")));
    say_running(settings);
    Ok(Running {
        parts,
        escalated,
        layers,
        resolved,
        names,
        kernel: Some(OfKernel { watch, probes, sweeper, decoder }),
        scrape,
        admin,
        dissector,
        reader,
        fleet,
        configurator,
        resolver,
        mesh,
        conntrack,
        counting: counting.threads,
        agent,
        operator,
        servers,
        health,
        observing,
        sending,
    })
}

fn start_fleet(
    (factory, captures): (AggregatorFactory, bool),
    metrics: &Metrics,
    commands: Commands,
    (observing, sending): (Option<&Observing>, Option<&Sending>),
) -> (Arc<Fleet>, Arc<Lanes>, SnapshotCollector, Option<Lister>) {
    let (factory, lister) = connections::lister(captures, factory, &commands, sending);
    let others = OtherLanes {
        history: observing.map(|observing| Arc::clone(observing.state.lane())),
        rollups: sending.map(|sending| Arc::clone(sending.lane())),
    };
    let (fleet, lanes) = Fleet::start(factory, metrics.configs(), commands.clone(), others);
    let collector = SnapshotCollector::new(Arc::clone(&lanes), commands);
    (Arc::new(fleet), lanes, collector, lister)
}

/// Rows about what there is beside the metrics.
fn beside_metrics(
    own: &SelfMetrics,
    observing: Option<&Observing>,
    sending: Option<&Sending>,
) -> Result<(), prometheus::Error> {
    observer::metrics(own, observing)?;
    outputs::metrics(own, sending)
}

pub(super) fn start_scrapes(
    settings: &settings::Settings,
    collector: SnapshotCollector,
    losses: impl LostEvents + 'static,
    own: &SelfMetrics,
) -> Result<Arc<Scrape>, prometheus::Error> {
    let timings = &settings.scrape;
    let scrape = Scrape::new(collector, own.clone(), Box::new(losses), timings.min_interval, timings.timeout);
    let scrape = Arc::new(scrape);
    scrape.set_open_metrics(settings.open_metrics);
    metrics::scrapes(own, Arc::downgrade(&scrape))?;
    Ok(scrape)
}

/// What the agent endpoint reads beside what all of webb reads.
type Counted<'a> =
    (Option<&'a BetweenNodes>, agent_metrics::ExpiredNames, kernel_metrics::Sources, (Arc<Resolver>, MeshParts));

fn start_agent_endpoint(
    settings: &settings::Settings,
    parts: &Parts,
    (admin, times): (&Admin, &ApiTimes),
    (health, expired_names, kernel, (names, mesh)): Counted<'_>,
    own: &SelfMetrics,
) -> Result<Option<Arc<Endpoint>>, prometheus::Error> {
    let sources = agent_metrics::Sources {
        log: admin.log.clone(),
        components: parts.components.clone(),
        times: times.clone(),
        startup: Arc::clone(&parts.startup),
        reloads: Arc::clone(&admin.reloads),
        expired_names,
        names,
        mesh,
        nodes: health.map(|health| health.nodes(settings)),
        kernel,
    };
    agent_metrics::endpoint(&settings.agent_metrics, sources, own)
}

pub(super) fn say_running(settings: &settings::Settings) {
    tracing::info!(
        metrics = %settings.metrics_listen,
        admin = %settings.admin_listen,
        node = %settings.node_name,
        "webb {} is running",
        env!("CARGO_PKG_VERSION"),
    );
}

/// Loads the programs, with layer 7 in them if that may be looked for.
async fn load(
    (loader, privileges, confinement): (Loader, Privileges, &Arc<Confinement>),
    settings: &settings::Settings,
    metrics: &Metrics,
) -> Result<(Probes, Option<NodeObjects>), StartError> {
    let layer7 = layer7::settings(settings, metrics.layer7());
    if let Some(little) = bpf_loader::little_memory() {
        tracing::warn!("{little}");
    }
    let handover = Handover { wanted: settings.handover, directory: settings.handover_dir.clone() };
    let agent = &settings.agent_metrics;
    let confine = (agent.listen.is_some() && agent.all_maps).then(|| -> Confine {
        let confinement = Arc::clone(confinement);
        Box::new(move || confinement.confine_thread())
    });
    let captures = connections::are_captured(settings, metrics);
    let programs = bpf_loader::ProgramSettings { layer7, connections: captures, ..settings.into() };
    let (mut loaded, node) = loader.load(programs, handover, confine).await?;
    confinement.enforce_seccomp();
    lowered::say(privileges, confinement);
    match loaded.handover() {
        Some(gap @ (HandoverOutcome::AbiDiffers | HandoverOutcome::SettingsDiffer)) => {
            tracing::warn!(outcome = gap.label(), "handover: {}", gap.text());
        }
        Some(outcome) => tracing::info!(outcome = outcome.label(), "handover: {}", outcome.text()),
        None => {}
    }
    if let Some(missing) = metrics.switched_off(settings) {
        loaded.degrade(missing);
    }
    for missing in loaded.degraded() {
        tracing::warn!("{missing}");
    }
    Ok((loaded, node))
}

pub(super) fn start_resolver(
    parts: &Parts,
    settings: &settings::Settings,
    network: &Arc<Network>,
    index: &Arc<ArcSwap<Index>>,
    reader: Commands,
) -> (Arc<Resolver>, Addr<ThreadSupervisor>, Mesh) {
    let mut mesh = Mesh::new(settings);
    let of_cluster = cluster::CacheSettings {
        node: settings.node_name.clone(),
        cluster: settings.cluster_name.clone(),
        of_mesh: false,
        addresses: network.addresses(),
        other_kinds: other_kinds(&settings.policies),
        pod_networks: settings.pod_networks.clone(),
        agent_labels: operator::labels(&settings.operator.agent_labels),
    };
    let component = parts.components.component("resolver");
    let (sources, index) = (Sources::from(settings), Arc::clone(index));
    let to = (reader, Arc::clone(&parts.startup), Arc::clone(&mesh.changed));
    let cache = Arc::new(cluster::Cache::with_mesh(of_cluster, mesh.caches()));
    cache.set_places(zone_cidrs(&settings.zones), settings.zones.overhead);
    let names = Arc::new(Resolver::new(cache, sources, Arc::clone(network), index, component, to));
    let resolver = parts.register("resolver", resolver::start(Arc::clone(&names), parts.intensity("resolver")));
    mesh.start(names.cache(), |name, start| parts.register(name, start(parts.intensity(name))));
    (names, resolver, mesh)
}

/// Places of networks outside the cluster.
pub(super) fn zone_cidrs(zones: &settings::Zones) -> Vec<CidrSpec> {
    let spec = |entry: &settings::ZoneCidr| CidrSpec {
        network: entry.cidr,
        zone: entry.zone.clone(),
        region: entry.region.clone(),
        name: entry.name.clone(),
    };
    zones.cidrs.iter().map(spec).collect()
}

/// Settings for vendors' kinds of policy.
fn other_kinds(policies: &settings::Policies) -> cluster::OtherKinds {
    let added: Vec<(String, String, Effect)> = policies
        .more_kinds
        .iter()
        .map(|kind| {
            let effect = match kind.effect {
                settings::KindEffect::None => Effect::NONE,
                settings::KindEffect::Ingress => Effect::INGRESS,
                settings::KindEffect::Egress => Effect::EGRESS,
                settings::KindEffect::Both => Effect::BOTH,
            };
            (kind.group.clone(), kind.plural.clone(), effect)
        })
        .collect();
    cluster::OtherKinds::new(policies.other_kinds == settings::OtherKinds::Ignore, &added)
}

struct Tracking {
    translations: Translations,
    conntrack_counters: Arc<ConntrackCounters>,
    conntrack: Option<Addr<ThreadSupervisor>>,
}

/// Changes of translations that may be on the way to the reader. Connection tracking waits for
/// room, and what the kernel drops meanwhile is read again.
const MAX_TRANSLATIONS_QUEUED: usize = 8192;

fn start_conntrack(
    parts: &Parts,
    settings: &settings::Settings,
    (privileges, snat): (Privileges, Option<Arc<Snat>>),
) -> std::io::Result<Tracking> {
    let most = settings.conntrack_entries as usize;
    let (conntrack_counters, followed) = (Arc::new(ConntrackCounters::default()), Arc::new(AtomicBool::new(false)));
    if most == 0 || privileges.are_least() {
        return Ok(Tracking { translations: Translations::default(), conntrack_counters, conntrack: None });
    }
    let (sender, changes) = crossbeam_channel::bounded(MAX_TRANSLATIONS_QUEUED);
    let (ask, queries) = crossbeam_channel::bounded(MAX_PENDING_QUERIES);
    let waker = Waker::new()?;
    let following = Follower {
        changes: sender,
        queries,
        waker: waker.clone(),
        followed: Arc::clone(&followed),
        counters: Arc::clone(&conntrack_counters),
        snat,
    };
    let conntrack = parts.register("conntrack", follower::start(following, parts.intensity("conntrack")));
    let translations = Translations { changes, ask: Some(ask), followed, waker: Some(waker), most };
    Ok(Tracking { translations, conntrack_counters, conntrack: Some(conntrack) })
}

struct ReaderParts {
    one_sided: Arc<OneSided>,
    decoder: Addr<DecoderActor>,
    reader: Addr<ThreadSupervisor>,
    reasons: Reasons,
}

fn start_reading(
    parts: &Parts,
    (rings, state): (KernelRings, ReaderState),
    (waker, commands): (Waker, Receiver<Command>),
    lanes: &Arc<Lanes>,
    (index, counters): (Arc<ArcSwap<Index>>, &Arc<Counters>),
) -> Result<ReaderParts, StartError> {
    let decoder_slot = Arc::new(ArcSwapOption::empty());
    let named = |reasons: &[(u32, String)]| Reasons::new(reasons.iter().map(|(number, name)| (*number, name.as_str())));
    let mut source = bpf_loader::DropReasons::default();
    let reasons = named(&source.read()?);
    let reread = Box::new(move || {
        let more = source.are_outdated().then(|| source.read().ok()).flatten()?;
        Some(named(&more))
    });
    let one_sided = Arc::new(OneSided::default());
    let decoder_slot_of_reader = Arc::clone(&decoder_slot);
    let intensity = parts.intensity("decoder");
    let decoder =
        DecoderActor::start(reasons.clone(), reread, Arc::clone(&one_sided), decoder_slot_of_reader, intensity);
    parts.directory.add("decoder", decoder.clone().recipient());
    let fault_to = decoder.clone();
    let reader = Reader {
        rings: Arc::new(rings),
        waker,
        lanes: Arc::clone(lanes),
        commands,
        index,
        decoder: decoder_slot,
        decoder_fault: Box::new(move |text| fault_to.do_send(DecoderFault(text))),
        counters: Arc::clone(counters),
        state,
    };
    let reader = parts.register("reader", reader::start(Arc::new(reader), parts.intensity("reader")));
    Ok(ReaderParts { one_sided, decoder, reader, reasons })
}

pub(super) fn start_configurator(
    parts: &Parts,
    settings: &settings::Settings,
    metrics: Metrics,
    fleet: &Arc<Fleet>,
) -> Option<(Arc<MetricsFile>, Addr<Configurator>)> {
    let Metrics::Dynamic(path, dynamic) = metrics else { return None };
    let file = Arc::new(MetricsFile::new(path, &dynamic, settings.into()));
    let followed = FleetFile { file: Arc::clone(&file), fleet: Arc::clone(fleet) };
    let actor = Configurator::start(followed, parts.intensity("configurator"));
    parts.directory.add("configurator", actor.clone().recipient());
    Some((file, actor))
}
