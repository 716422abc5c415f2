//! Starting, in order, and what runs afterwards.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use actix::prelude::*;
use arc_swap::{ArcSwap, ArcSwapOption};
use crossbeam_channel::Receiver;
use serde_json::json;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use webb_cluster as cluster;
use webb_decode::OneSided;
use webb_flow::Reasons;
use webb_flow::clock::Clock;
use webb_flow::fault::{Component, Components};
use webb_index::Index;
use webb_index::policy::Effect;
use webb_metrics::dynamic::Dynamic;
use webb_metrics::{Budget, Layer7Wishes, Limits, MetricConfig};
use webb_settings::{self as settings, Layers, Resolved};

use super::{StartError, layer7, ledger, listen, listeners, loader, metrics, privileges as lowered};
use crate::actors::cluster_source::Sources;
use crate::actors::configurator::Configurator;
use crate::actors::decoder::{DecoderActor, DecoderFault};
use crate::actors::fleet::{AggregatorFactory, Fleet};
use crate::actors::http::HttpActor;
use crate::actors::metrics_file::MetricsFile;
use crate::actors::network::Network;
use crate::actors::probes::ProbeReconciler;
use crate::actors::resolver::Resolver;
use crate::actors::restart::{Escalations, Intensity, RestartPolicy, SharedRestartPolicy};
use crate::actors::sweeper::{Losing, Swept};
use crate::actors::thread_supervisor::ThreadSupervisor;
use crate::actors::{Directory, conntrack as follower, probes, reader, resolver, sweeper};
use crate::bpf_loader::{self, Loader, Probes};
use crate::conntrack::{Counters as Heard, Follower};
use crate::http::{Admin, CONTROL, Explain, Scrape};
use crate::logging::LogControl;
use crate::pipeline::layer7::Layer7Config;
use crate::pipeline::{
    Command, Commands, Counters, Lanes, Looks, MAX_PENDING_QUERIES, Reader, ReaderState, SnapshotCollector,
    Translations,
};
use crate::privileges::Privileges;
use crate::records::{Rings, Waker};
use crate::reloads::Reloads;
use crate::selfmetrics::SelfMetrics;
use crate::startup::Startup;

/// Number of checks within a `series_ttl`: an idle series is removed after it and at most a quarter
/// more.
const IDLE_CHECKS_PER_TTL: u32 = 4;

/// Interval of the search for series that are still refused, where none makes room for others.
const STANDING_EVERY: Duration = Duration::from_secs(75);

/// Arguments of `webb run`, checked and ready.
#[derive(Debug)]
pub struct Plan {
    /// Sources of the configuration, for a reload.
    pub layers: Layers,
    /// Configuration in force.
    pub resolved: Resolved,
    /// Metrics to count.
    pub metrics: Metrics,
    /// The log's level.
    pub log: LogControl,
    /// The thread that loads the programs.
    pub loader: Loader,
    /// What this thread and its threads keep.
    pub privileges: Privileges,
}

/// Source of the metrics' configuration.
#[derive(Debug)]
pub enum Metrics {
    /// Metrics of the configuration, which never change.
    Static(Vec<MetricConfig>),
    /// Metrics of a file of their own, which is followed.
    Dynamic(PathBuf, Dynamic),
}

impl Metrics {
    fn configs(&self) -> Vec<&MetricConfig> {
        match self {
            Self::Static(configs) => configs.iter().collect(),
            Self::Dynamic(_, dynamic) => dynamic.metrics.iter().map(|listed| &listed.config).collect(),
        }
    }

    /// Layer 7 fields that the metrics need; none if others may come.
    fn layer7(&self) -> Option<Layer7Wishes> {
        match self {
            Self::Static(configs) => {
                Some(configs.iter().fold(Layer7Wishes::default(), |all, config| all.and(config.layer7())))
            }
            Self::Dynamic(..) => None,
        }
    }
}

/// Shared parts that the actors are built with.
pub(super) struct Parts {
    pub(super) components: Components,
    pub(super) directory: Directory,
    pub(super) policy: SharedRestartPolicy,
    escalations: Escalations,
    startup: Arc<Startup>,
}

/// The running agent.
pub(super) struct Running {
    pub(super) parts: Parts,
    pub(super) escalated: UnboundedReceiver<String>,
    pub(super) layers: Layers,
    pub(super) resolved: Resolved,
    pub(super) names: Arc<Resolver>,
    pub(super) watch: Arc<ProbeReconciler>,
    pub(super) scrape: Arc<Scrape>,
    pub(super) admin: Arc<Admin>,
    pub(super) probes: Addr<ThreadSupervisor>,
    pub(super) sweeper: Addr<ThreadSupervisor>,
    pub(super) dissector: Option<(Addr<ThreadSupervisor>, Arc<ArcSwap<Layer7Config>>)>,
    pub(super) reader: Addr<ThreadSupervisor>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) configurator: Option<(Arc<MetricsFile>, Addr<Configurator>)>,
    pub(super) resolver: Addr<ThreadSupervisor>,
    pub(super) conntrack: Option<Addr<ThreadSupervisor>>,
    pub(super) servers: [Addr<HttpActor>; 2],
    pub(super) decoder: Addr<DecoderActor>,
}

impl Running {
    /// Component of the control thread, which handles signals and reloads.
    pub(super) fn control(&self) -> Arc<Component> {
        self.parts.components.component(CONTROL)
    }
}

impl Parts {
    fn new(settings: &settings::Settings, startup: Arc<Startup>) -> (Self, UnboundedReceiver<String>) {
        let (escalations, escalated) = mpsc::unbounded_channel();
        let policy = Arc::new(ArcSwap::from_pointee(policy(&settings.supervision)));
        let (components, directory) = (Components::default(), Directory::default());
        (Self { components, directory, policy, escalations, startup }, escalated)
    }

    fn factory(&self, settings: &settings::Settings) -> AggregatorFactory {
        AggregatorFactory {
            components: self.components.clone(),
            directory: self.directory.clone(),
            policy: Arc::clone(&self.policy),
            escalations: self.escalations.clone(),
            home: format!("{}/{}", settings.cluster_name, settings.node_name),
            limits: Limits {
                per_family: settings.max_series as usize,
                budget: Arc::new(Budget::new(settings.max_series_total as usize)),
                idle_looks: Some(IDLE_CHECKS_PER_TTL),
                room_looks: (!settings.series_room_ttl.is_zero()).then_some(IDLE_CHECKS_PER_TTL),
            },
            looks: Looks {
                expire_every: looks(settings.series_ttl),
                room_every: looks(settings.series_room_ttl).or(Some(STANDING_EVERY)),
            },
        }
    }

    fn intensity(&self, name: &str) -> Intensity {
        Intensity::new(self.components.component(name), Arc::clone(&self.policy), self.escalations.clone())
    }

    /// Makes a supervisor known to the admin listener.
    fn register(&self, name: &str, supervisor: Addr<ThreadSupervisor>) -> Addr<ThreadSupervisor> {
        self.directory.add(name, supervisor.clone().recipient());
        supervisor
    }
}

/// Interval of the search for series that expire after `ttl`.
fn looks(ttl: Duration) -> Option<Duration> {
    (!ttl.is_zero()).then(|| ttl / IDLE_CHECKS_PER_TTL)
}

/// The rules of supervision, as configured.
pub(super) fn policy(settings: &settings::Supervision) -> RestartPolicy {
    RestartPolicy {
        max_restarts: settings.max_restarts,
        window: settings.window,
        backoff_min: settings.backoff_min,
        backoff_max: settings.backoff_max,
        stall_after: settings.stall_after,
    }
}

/// Starts everything, probes last. Names are read meanwhile, and waited for by the first flows.
pub(super) async fn start(plan: Plan, startup: Arc<Startup>) -> Result<Running, StartError> {
    let Plan { layers, resolved, metrics: configured, log, loader, privileges } = plan;
    let settings = &resolved.settings;
    let metrics_listener = listen::on("metrics_listen", settings.metrics_listen)?;
    let admin_listener = listen::on("admin_listen", settings.admin_listen)?;
    let mut loaded = load((loader, privileges), settings, &configured).await?;
    let sweeping = loaded.take_sweeper().ok_or_else(|| std::io::Error::other("the table has no sweeper"))?;
    let (kernel_ledger, rings, capacity) = (loaded.ledger(), loaded.rings(), sweeping.capacity());
    let (parts, escalated) = Parts::new(settings, startup);

    let index = Arc::new(ArcSwap::from_pointee(Index::not_ready()));
    let waker = Waker::new()?;
    let (commands, requests) = Commands::new(waker.clone());
    let network = Arc::new(Network::read().await?);
    let (names, resolver) = start_resolver(&parts, settings, &network, &index, commands.clone());
    let (fleet, lanes) = Fleet::start(parts.factory(settings), configured.configs(), commands.clone());
    let fleet = Arc::new(fleet);
    let collector = SnapshotCollector::new(Arc::clone(&lanes), commands);
    let Tracking { translations, heard, conntrack } = start_conntrack(&parts, settings, privileges)?;
    let (way_out, inbox) = layer7::channel(loaded.layer7().as_ref(), &waker)?;
    let state = ReaderState::new(translations, Clock::default()).waiting_for_names(settings.cluster_wait);
    let state = state.with_layer7(inbox);
    let dissecting =
        layer7::start(|| parts.intensity("dissector"), settings, (loaded.layer7(), way_out), &lanes, &index);
    let ReaderParts { one_sided, counters, decoder, reader, reasons } =
        start_reading(&parts, Arc::new(rings.clone()), state, (waker, requests), &lanes, Arc::clone(&index))?;
    let (swept, interval) = (Arc::new(Swept::default()), settings.connections.sweep_interval);
    let losing = Losing { ledger: kernel_ledger.clone(), layer7: loaded.layer7(), lanes: Arc::clone(&lanes) };
    let sweep = sweeper::start(sweeping, losing, Arc::clone(&swept), interval, parts.intensity("sweeper"));
    let sweeper = parts.register("sweeper", sweep);
    let selection = loader::selection(&settings.interfaces);
    let component = (parts.components.component("probes"), Arc::clone(&parts.startup));
    let watch = Arc::new(ProbeReconciler::new(loaded, selection, (network, one_sided), component));

    let own = SelfMetrics::new()?;
    let reloads = Arc::new(Reloads::loaded());
    ledger::suppressed(&own, kernel_ledger.clone(), reasons)?;
    ledger::kernel(&own, kernel_ledger, capacity, Arc::clone(&swept))?;
    ledger::rings(&own, rings, Arc::clone(&watch))?;
    layer7::ledger(&own, dissecting.as_ref())?;
    let dissector = dissecting.map(|of| (parts.register("dissector", of.supervisor), of.config));
    metrics::conntrack(&own, heard, Arc::clone(&counters))?;
    metrics::startup(&own, Arc::clone(&parts.startup), Arc::clone(&counters))?;
    ledger::pipeline(&own, counters, Arc::clone(&fleet))?;
    metrics::components(&own, parts.components.clone())?;
    metrics::build(&own, log.clone())?;
    metrics::names(&own, Arc::clone(&names), Arc::clone(&index))?;
    metrics::watches(&own, Arc::clone(&names))?;
    metrics::probes(&own, Arc::clone(&watch))?;
    let losses = Box::new(ledger::Losses { swept, lanes });
    let timings = &settings.scrape;
    let scrape = Arc::new(Scrape::new(collector, own.clone(), losses, timings.min_interval, timings.timeout));
    scrape.set_open_metrics(settings.open_metrics);
    metrics::scrapes(&own, Arc::downgrade(&scrape))?;
    let tls = listeners::tls_files(&settings.metrics_tls);
    metrics::tls(&own, tls.clone())?;
    let configurator = start_configurator(&parts, settings, configured, &fleet);
    let metrics_file = configurator.as_ref().map(|(file, _)| Arc::clone(file));
    metrics::reloads(&own, Arc::clone(&reloads), metrics_file.clone(), tls.clone())?;
    metrics::metrics_file(&own, metrics_file)?;
    let admin = Arc::new(Admin {
        components: parts.components.clone(),
        directory: parts.directory.clone(),
        config: ArcSwap::from_pointee(json!(resolved.entries())),
        log,
        reloads,
        stopping: AtomicBool::new(false),
        privileges,
        version: metrics::version(),
    });
    let explain = Arc::new(Explain { cache: Arc::clone(names.cache()), index });
    let making = (&parts.directory, |name: &str| parts.intensity(name));
    let servers = listeners::serve(making, (metrics_listener, tls), admin_listener, &scrape, (&admin, explain), &own)?;

    let probes = parts.register("probes", probes::start(Arc::clone(&watch), parts.intensity("probes")));
    tracing::info!(
        metrics = %settings.metrics_listen,
        admin = %settings.admin_listen,
        node = %settings.node_name,
        "webb {} is running",
        env!("CARGO_PKG_VERSION"),
    );
    Ok(Running {
        parts,
        escalated,
        layers,
        resolved,
        names,
        watch,
        scrape,
        admin,
        probes,
        sweeper,
        dissector,
        reader,
        fleet,
        configurator,
        resolver,
        conntrack,
        servers,
        decoder,
    })
}

/// Loads the programs, with layer 7 in them if that may be looked for.
async fn load(
    (loader, privileges): (Loader, Privileges),
    settings: &settings::Settings,
    metrics: &Metrics,
) -> Result<Probes, StartError> {
    let layer7 = layer7::settings(settings, metrics.layer7());
    if let Some(little) = bpf_loader::little_memory() {
        tracing::warn!("{little}");
    }
    let mut loaded = loader.load(bpf_loader::ProgramSettings { layer7, ..settings.into() }).await?;
    lowered::say(privileges);
    if let Some(missing) = layer7::switched_off(settings, &metrics.configs()) {
        loaded.degrade(missing);
    }
    for missing in loaded.degraded() {
        tracing::warn!("{missing}");
    }
    Ok(loaded)
}

fn start_resolver(
    parts: &Parts,
    settings: &settings::Settings,
    network: &Arc<Network>,
    index: &Arc<ArcSwap<Index>>,
    reader: Commands,
) -> (Arc<Resolver>, Addr<ThreadSupervisor>) {
    let of_cluster = cluster::CacheSettings {
        node: settings.node_name.clone(),
        cluster: settings.cluster_name.clone(),
        addresses: network.addresses(),
        other_kinds: other_kinds(&settings.policies),
        pod_networks: settings.pod_networks.clone(),
    };
    let component = parts.components.component("resolver");
    let (sources, index) = (Sources::from(settings), Arc::clone(index));
    let to = (reader, Arc::clone(&parts.startup));
    let names = Arc::new(Resolver::new(of_cluster, sources, Arc::clone(network), index, component, to));
    let resolver = parts.register("resolver", resolver::start(Arc::clone(&names), parts.intensity("resolver")));
    (names, resolver)
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
    heard: Arc<Heard>,
    conntrack: Option<Addr<ThreadSupervisor>>,
}

/// Changes of translations that may be on the way to the reader. Connection tracking waits for
/// room, and what the kernel drops meanwhile is read again.
const MAX_TRANSLATIONS_QUEUED: usize = 8192;

fn start_conntrack(parts: &Parts, settings: &settings::Settings, privileges: Privileges) -> std::io::Result<Tracking> {
    let most = settings.conntrack_entries as usize;
    let (heard, followed) = (Arc::new(Heard::default()), Arc::new(AtomicBool::new(false)));
    if most == 0 || privileges.are_least() {
        return Ok(Tracking { translations: Translations::default(), heard, conntrack: None });
    }
    let (sender, changes) = crossbeam_channel::bounded(MAX_TRANSLATIONS_QUEUED);
    let (ask, queries) = crossbeam_channel::bounded(MAX_PENDING_QUERIES);
    let waker = Waker::new()?;
    let following = Follower {
        changes: sender,
        queries,
        waker: waker.clone(),
        followed: Arc::clone(&followed),
        counters: Arc::clone(&heard),
    };
    let conntrack = parts.register("conntrack", follower::start(following, parts.intensity("conntrack")));
    let translations = Translations { changes, ask: Some(ask), followed, waker: Some(waker), most };
    Ok(Tracking { translations, heard, conntrack: Some(conntrack) })
}

struct ReaderParts {
    one_sided: Arc<OneSided>,
    counters: Arc<Counters>,
    decoder: Addr<DecoderActor>,
    reader: Addr<ThreadSupervisor>,
    reasons: Reasons,
}

fn start_reading(
    parts: &Parts,
    rings: Arc<dyn Rings>,
    state: ReaderState,
    (waker, commands): (Waker, Receiver<Command>),
    lanes: &Arc<Lanes>,
    index: Arc<ArcSwap<Index>>,
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
    let counters = Arc::new(Counters::default());
    let fault_to = decoder.clone();
    let reader = Reader {
        rings,
        waker,
        lanes: Arc::clone(lanes),
        commands,
        index,
        decoder: decoder_slot,
        decoder_fault: Box::new(move |text| fault_to.do_send(DecoderFault(text))),
        counters: Arc::clone(&counters),
        state,
    };
    let reader = parts.register("reader", reader::start(Arc::new(reader), parts.intensity("reader")));
    Ok(ReaderParts { one_sided, counters, decoder, reader, reasons })
}

fn start_configurator(
    parts: &Parts,
    settings: &settings::Settings,
    metrics: Metrics,
    fleet: &Arc<Fleet>,
) -> Option<(Arc<MetricsFile>, Addr<Configurator>)> {
    let Metrics::Dynamic(path, dynamic) = metrics else { return None };
    let file = Arc::new(MetricsFile::new(path, &dynamic, settings.metrics_config_strict));
    let actor = Configurator::start(Arc::clone(&file), Arc::clone(fleet), parts.intensity("configurator"));
    parts.directory.add("configurator", actor.clone().recipient());
    Some((file, actor))
}
