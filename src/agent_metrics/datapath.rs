//! Datapath: the connection table, NAT, neighbours.

use std::sync::Arc;
use std::time::Duration;

use webb_flow::abi::{CLASSES, Swept, class};

use crate::bpf_loader::SweepRuns;
use crate::conntrack::Snat;
use crate::families::{Absent, Category, CategorySource, cilium_families};

cilium_families! {
    ENTRIES: gauge "cilium_datapath_conntrack_gc_entries" ["family", "protocol", "status"]
        "The number of alive and deleted conntrack entries at the end of a garbage collector run"
        from "webb's own connection table, which is to it what Cilium's conntrack maps are to Cilium: a connection at one \
              interface is an entry, so one between two pods of this node is two. At the last sweep; `deleted` are those \
              that it removed. The kernel's own `nf_conntrack` is not counted here";
    RUNS: counter "cilium_datapath_conntrack_gc_runs_total" ["family", "protocol", "status"]
        "Number of times that the conntrack garbage collector process was run"
        from "sweeps of that table. One sweep is of all families and protocols, so that it counts once for each";
    DURATION: histogram "cilium_datapath_conntrack_gc_duration_seconds" ["family", "protocol", "status"]
        "Duration in seconds of the garbage collector process"
        from "the same sweeps: the time that their parts took, without the pauses between them";
    INTERVAL: gauge "cilium_datapath_conntrack_gc_interval_seconds" ["global"]
        "Interval in seconds between conntrack garbage collector runs"
        from "`connections.sweep_interval`; `global` is `global`, as in Cilium";
    RESETS: counter "cilium_datapath_conntrack_dump_resets_total" ["area", "name", "family"]
        "Number of conntrack dump resets. Happens when a BPF entry gets removed while dumping the map is in progress"
        from "sweeps of that table that had to begin a part of it anew, because the kernel refused to go on; an entry that \
              goes meanwhile interrupts none. For both families at once";
    NAT_ENTRIES: gauge "cilium_datapath_nat_gc_entries" ["family", "direction", "status"]
        "The number of alive and deleted nat entries at the end of a garbage collector run"
        from "connections of the kernel's `nf_conntrack` with a translated source, as webb follows them: each is one entry \
              of both directions; `deleted` are those that ended since the last dump, which comes every five minutes. Absent \
              without connection tracking", off;
    NAT_SATURATION: gauge "cilium_nat_endpoint_max_connection" ["family"]
        "Saturation of the most saturated distinct NAT mapped connection, in terms of egress-IP and remote endpoint address"
        from "the same connections: of the 64,512 ports that netfilter gives for one address, the share that one egress \
              address has in use towards one remote address and port, at most";
}

/// The category.
pub static CATEGORY: Category = Category {
    title: "Datapath",
    families: FAMILIES,
    absent: &[
        Absent {
            name: "cilium_datapath_conntrack_gc_key_fallbacks_total",
            reason: "webb's table is swept by place and not by key, so that there is no key to fall back to",
        },
        Absent {
            name: "cilium_datapath_signals_handled_total",
            reason: "webb's programs send records, and no signals to be handled",
        },
        Absent {
            name: "cilium_neighbor_*",
            reason: "counts of Cilium's own neighbour management; webb leaves neighbours to the kernel",
        },
    ],
};

/// Cilium's labels of each class of [`Swept::alive`]: family and protocol.
fn labels(number: usize) -> [&'static str; 2] {
    [if number & class::IPV6 == 0 { "ipv4" } else { "ipv6" }, if number & class::TCP == 0 { "non-TCP" } else { "TCP" }]
}

/// What the rows are read from.
pub struct Parts {
    /// Totals of the last sweep.
    pub swept: Box<dyn Fn() -> Swept + Send + Sync>,
    /// The sweeps.
    pub runs: Arc<SweepRuns>,
    /// Their interval.
    pub interval: Duration,
    /// Translated sources; none without connection tracking.
    pub snat: Option<Arc<Snat>>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("runs", &self.runs).finish_non_exhaustive()
    }
}

/// Source of the rows.
pub fn source(parts: Parts) -> CategorySource {
    Box::new(move |rows| {
        let swept = (parts.swept)();
        for (number, (alive, ended)) in swept.alive.iter().zip(swept.ended).enumerate() {
            let [family, protocol] = labels(number);
            rows.add(&ENTRIES, &[family, protocol, "alive"], *alive);
            rows.add(&ENTRIES, &[family, protocol, "deleted"], ended);
        }
        for (status, times) in parts.runs.times() {
            for number in 0..CLASSES {
                let [family, protocol] = labels(number);
                rows.add(&RUNS, &[family, protocol, status], times.count);
                rows.add_histogram(&DURATION, &[family, protocol, status], &times);
            }
        }
        rows.add_f64(&INTERVAL, &["global"], parts.interval.as_secs_f64());
        for family in ["ipv4", "ipv6"] {
            rows.add(&RESETS, &["conntrack", "dump_interrupts", family], parts.runs.resets());
        }
        for figures in parts.snat.iter().filter_map(|snat| snat.figures()).flatten() {
            for direction in ["ingress", "egress"] {
                rows.add(&NAT_ENTRIES, &[figures.family, direction, "alive"], figures.alive);
                rows.add(&NAT_ENTRIES, &[figures.family, direction, "deleted"], figures.deleted);
            }
            rows.add_f64(&NAT_SATURATION, &[figures.family], figures.saturation);
        }
    })
}
