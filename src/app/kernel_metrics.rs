//! The categories of the agent endpoint whose figures come from the kernel, and the threads that
//! count for them. Without the endpoint there are none.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use webb_settings::AgentMetrics;

use crate::actors::network::Network;
use crate::actors::periodic;
use crate::actors::sweeper::Swept;
use crate::actors::thread_supervisor::ThreadSupervisor;
use crate::agent_metrics::{datapath, drop_forward, ebpf, ipsec};
use crate::bpf_loader::maps::{NodeObjects, OwnObjects, Round, SYSCALLS};
use crate::bpf_loader::{KernelRings, Layer7, Ledger, SweepRuns};
use crate::conntrack::Snat;
use crate::families::{Category, CategorySource};
use crate::ipsec::Ipsec;
use crate::pipeline::{Drops, Lifecycle};
use crate::privileges::Privileges;
use crate::selfmetrics::{self as own, SelfMetrics};

/// Interval of the counts, as in Cilium.
pub(super) const INTERVAL: Duration = Duration::from_secs(30);

/// A thread that counts maps rests for so many times of what it took: at most a tenth of a core.
const REST: u32 = 9;

/// Rests that are shorter are made up for later.
const MIN_REST: Duration = Duration::from_millis(5);

/// Counters that only the agent endpoint reads.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Drops by reason.
    pub(super) drops: Option<Arc<Drops>>,
    /// Translated sources.
    pub(super) snat: Option<Arc<Snat>>,
}

impl Wanted {
    pub(super) fn new(settings: &AgentMetrics) -> Self {
        if settings.listen.is_none() {
            return Self::default();
        }
        SYSCALLS.take_times();
        Self { drops: Some(Arc::default()), snat: Some(Arc::default()) }
    }
}

/// What the categories are read from.
pub(super) struct Kernel {
    objects: (Option<OwnObjects>, Option<NodeObjects>),
    counters: (Ledger, KernelRings, Option<Layer7>),
    /// The sweeps, their interval, and what the last one found.
    sweeps: (Arc<SweepRuns>, Duration, Arc<Swept>),
    /// Connections that the table has room for.
    capacity: u32,
    network: Arc<Network>,
    /// CAP_NET_ADMIN is given up.
    least: bool,
}

/// Sources of the categories.
pub(super) type Sources = Vec<(&'static Category, CategorySource)>;

/// Threads that count, and the sources of their categories.
#[derive(Default)]
pub(super) struct Counting {
    pub(super) threads: Vec<Addr<ThreadSupervisor>>,
    pub(super) sources: Sources,
}

impl Kernel {
    pub(super) fn new(
        objects: (Option<OwnObjects>, Option<NodeObjects>),
        counters: (Ledger, KernelRings, Option<Layer7>),
        (runs, interval): (Arc<SweepRuns>, Duration),
        (swept, capacity): (&Arc<Swept>, u32),
        (network, privileges): (&Arc<Network>, Privileges),
    ) -> Self {
        let sweeps = (runs, interval, Arc::clone(swept));
        let (network, least) = (Arc::clone(network), privileges.are_least());
        Self { objects, counters, sweeps, capacity, network, least }
    }

    /// Starts the threads by `run`, each task to be done at each [`INTERVAL`]; none without the
    /// endpoint.
    pub(super) fn count(
        self,
        wanted: Wanted,
        run: impl Fn(&str, periodic::Task) -> Addr<ThreadSupervisor>,
        metrics: &SelfMetrics,
    ) -> Result<Counting, prometheus::Error> {
        let Wanted { drops: Some(drops), snat } = wanted else { return Ok(Counting::default()) };
        let (own, node) = self.objects;
        let (ledger, rings, layer7) = self.counters;
        let (runs, interval, swept) = self.sweeps;
        let round = Arc::new(Round::new(own.unwrap_or_default(), node));
        let state = Arc::new(Ipsec::new(!self.least));
        let threads = [("bpf_maps", maps_task(&round)), ("ipsec", ipsec_task(&state, self.network))];
        outcomes(metrics, Arc::clone(&round))?;
        let (of_table, of_drops) = (Arc::clone(&swept), ledger.clone());
        let capacity = u64::from(self.capacity);
        let connections = Box::new(move || (of_table.last().entries, capacity));
        let maps = ebpf::Parts { round, ledger, rings, layer7, connections };
        let table = datapath::Parts { swept: Box::new(move || swept.last()), runs, interval, snat };
        Ok(Counting {
            threads: threads.map(|(name, task)| run(name, task)).into(),
            sources: vec![
                (&datapath::CATEGORY, datapath::source(table)),
                (&ipsec::CATEGORY, ipsec::source(state)),
                (&ebpf::CATEGORY, ebpf::source(maps)),
                (&drop_forward::CATEGORY, drop_forward::source(of_drops, drops)),
            ],
        })
    }
}

fn maps_task(round: &Arc<Round>) -> periodic::Task {
    let round = Arc::clone(round);
    Box::new(move |lifecycle: &Lifecycle| {
        let mut rest = Duration::ZERO;
        let counted = round.run(&mut |took| {
            rest += REST * took;
            if rest >= MIN_REST {
                lifecycle.wait(std::mem::take(&mut rest));
            }
            lifecycle.beat();
            !lifecycle.stopping()
        });
        counted.map_err(|error| {
            let error = error.text();
            format!("agent_metrics.all_maps: only webb's own maps are counted: {error}; the others need CAP_SYS_ADMIN")
        })
    })
}

fn ipsec_task(state: &Arc<Ipsec>, network: Arc<Network>) -> periodic::Task {
    let state = Arc::clone(state);
    Box::new(move |_| state.read(&network.addresses()).map_err(|error| error.to_string()))
}

fn outcomes(metrics: &SelfMetrics, round: Arc<Round>) -> Result<(), prometheus::Error> {
    metrics.add(
        &[&own::BPF_MAPS_COUNTED],
        Box::new(move |rows| {
            let Some(figures) = round.found() else { return };
            let outcomes = figures.outcomes;
            for (outcome, count) in [
                ("counted", outcomes.counted),
                ("uncountable", outcomes.uncountable),
                ("timed_out", outcomes.timed_out),
                ("refused", outcomes.refused),
            ] {
                rows.add(&own::BPF_MAPS_COUNTED, &[outcome], count);
            }
        }),
    )
}
