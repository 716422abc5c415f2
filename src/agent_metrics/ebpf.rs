//! eBPF: maps, programs, and webb's own use of them.

use std::sync::Arc;

use crate::bpf_loader::maps::{Round, SYSCALLS};
use crate::bpf_loader::{KernelRings, Layer7, Ledger};
use crate::families::{Category, CategorySource, SelectedRows, cilium_families};
use crate::records::Signal;

cilium_families! {
    MAP_OPS: counter "cilium_bpf_map_ops_total" ["map_name", "operation", "outcome"]
        "Total operations on map"
        from "webb's own system calls on its maps. That there is no such entry is no failure";
    SYSCALL_DURATION: histogram "cilium_bpf_syscall_duration_seconds" ["operation", "outcome"]
        "Duration of BPF system calls"
        from "the same calls", off;
    MAP_PRESSURE: gauge "cilium_bpf_map_pressure" ["map_name"]
        "Fill percentage of map, tagged by map name"
        from "the entries of a map by its maximal number, counted twice a minute; `connections` at the last sweep, of rings the \
              bytes that wait to be read. Maps without entries that come and go have no row. webb's own maps; with \
              `agent_metrics.all_maps` all of the node, by their names in the kernel, of several with one name the fullest";
    MAP_CAPACITY: gauge "cilium_bpf_map_capacity" ["map_group"]
        "Maximum size of map, tagged by map group"
        from "the kernel, for every map, also those of 65,536 entries, which Cilium has under `default`. webb's own have \
              `webb_` before their name; of several with one name the largest";
    MAPS: gauge "cilium_bpf_maps" []
        "Total count of BPF maps"
        from "webb's own maps; with `agent_metrics.all_maps` all of the node";
    PROGS: gauge "cilium_bpf_progs" []
        "Total count of BPF programs"
        from "webb's own programs; with `agent_metrics.all_maps` all of the node";
    MAPS_MEMORY: gauge "cilium_bpf_maps_virtual_memory_max_bytes" []
        "BPF maps kernel max memory usage size in bytes"
        from "`memlock` of these maps";
    PROGS_MEMORY: gauge "cilium_bpf_progs_virtual_memory_max_bytes" []
        "BPF programs kernel max memory usage size in bytes"
        from "`memlock` of these programs";
    RATE_LIMIT_DROPPED: counter "cilium_bpf_ratelimit_dropped_total" ["usage"]
        "Total number of drops resulting from BPF ratelimiter, tagged by source of drop"
        from "`events`: records that found a ring full, and drops over `drop_budget`. webb limits nothing else";
}

/// The category.
pub static CATEGORY: Category = Category { title: "eBPF", families: FAMILIES, absent: &[] };

/// What the rows are read from.
pub struct Parts {
    /// Figures of maps and programs.
    pub round: Arc<Round>,
    /// Lost records and suppressed drops.
    pub ledger: Ledger,
    /// The rings of flows and drops.
    pub rings: KernelRings,
    /// Layer 7, with a ring of its own.
    pub layer7: Option<Layer7>,
    /// Connections in the table at the last sweep, and room for them.
    pub connections: Box<dyn Fn() -> (u64, u64) + Send + Sync>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("round", &self.round).finish_non_exhaustive()
    }
}

/// Source of the rows.
pub fn source(parts: Parts) -> CategorySource {
    Box::new(move |rows| {
        calls(rows);
        pressures(rows, &parts);
        if let Some(figures) = parts.round.found() {
            for (group, capacity) in &figures.capacities {
                rows.add(&MAP_CAPACITY, &[group], *capacity);
            }
            rows.add(&MAPS, &[], figures.maps);
            rows.add(&PROGS, &[], figures.programs);
            rows.add(&MAPS_MEMORY, &[], figures.map_bytes);
            rows.add(&PROGS_MEMORY, &[], figures.program_bytes);
        }
        let Ok(totals) = parts.ledger.totals() else { return };
        let dropped: u64 = totals.iter().map(|hook| hook.lost_records + hook.suppressed_packets).sum();
        let messages = parts.layer7.as_ref().and_then(|layer7| layer7.totals().ok());
        let lost = messages.map_or(0, |totals| totals.lost.iter().sum::<u64>());
        rows.add(&RATE_LIMIT_DROPPED, &["events"], dropped + lost);
    })
}

fn calls(rows: &mut SelectedRows<'_>) {
    for (map, operation, outcome, count) in SYSCALLS.counts() {
        rows.add(&MAP_OPS, &[map.label(), operation.label(), outcome], count);
    }
    if rows.wants(&SYSCALL_DURATION) {
        for (operation, outcome, times) in SYSCALLS.durations() {
            rows.add_histogram(&SYSCALL_DURATION, &[operation.label(), outcome], &times);
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "Prometheus numbers are doubles")]
fn pressures(rows: &mut SelectedRows<'_>, parts: &Parts) {
    let part = |used: u64, of: u64| used as f64 / of.max(1) as f64;
    let figures = parts.round.found();
    let mut pressures = figures.map(|figures| figures.pressures.clone()).unwrap_or_default();
    let (entries, capacity) = (parts.connections)();
    let own = parts.layer7.as_ref().map(|layer7| layer7.rings().fill()).unwrap_or_default();
    let rings = parts.rings.fill().into_iter().chain(own).map(|ring| {
        let name = match ring.signal {
            Signal::Flow => "flow_events",
            Signal::Drop => "drop_events",
            Signal::Message => "l7_events",
        };
        (name, part(ring.used, ring.size))
    });
    for (name, pressure) in rings.chain([("connections", part(entries, capacity))]) {
        // Another program's map may have the name.
        let fullest = pressures.entry(name.to_owned()).or_default();
        *fullest = fullest.max(pressure);
    }
    for (name, pressure) in &pressures {
        rows.add_f64(&MAP_PRESSURE, &[name], *pressure);
    }
}
