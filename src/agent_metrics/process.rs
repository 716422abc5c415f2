//! Process and build.

use std::sync::Arc;

use webb_settings::Compat;

use crate::families::{Absent, Category, CategorySource, Versions, build_row, cilium_families};
use crate::reloads::Reloads;
use crate::startup::{Stage, Startup};

cilium_families! {
    VERSION: gauge "cilium_version" ["version", "revision", "arch"]
        "Version of the agent"
        from "webb's build; always 0, as Cilium's. Dashboards take their variables from it";
    VIRTUAL_MEMORY_MAX: gauge "cilium_process_virtual_memory_max_bytes" []
        "Maximum amount of virtual memory available in bytes"
        from "the limit of the address space; -1 without one. The other `cilium_process_*` families are those of the \
              `prometheus` library: `cpu_seconds_total`, `max_fds`, `open_fds`, `resident_memory_bytes`, \
              `start_time_seconds`, `threads`, `virtual_memory_bytes`";
    CONFIG_DELTA: gauge "cilium_drift_checker_config_delta" []
        "Total delta between config map and running configuration"
        from "keys of the configuration file, as it was last reloaded, that wait for the next start";
    START: gauge "cilium_hive_start_duration" []
        "Duration in seconds to start"
        from "the time until the agent was ready for the first time; absent until then", in Versions::from(Compat::V1_20);
}

/// The category.
pub static CATEGORY: Category = Category {
    title: "Process and build",
    families: FAMILIES,
    absent: &[
        Absent { name: "go_*", reason: "webb has no Go runtime" },
        Absent { name: "cilium_hive_populate_duration", reason: "`webb_startup_seconds` has webb's own stages" },
        Absent { name: "cilium_hive_stop_duration", reason: "a process that has stopped is not scraped" },
        Absent { name: "cilium_reconciler_*", reason: "internals of Cilium, off by default there" },
        Absent { name: "cilium_statedb_*", reason: "internals of Cilium, off by default there" },
        Absent { name: "cilium_subprocess_start_total", reason: "webb starts no other program" },
    ],
};

/// Source of the rows.
pub fn source(startup: Arc<Startup>, reloads: Arc<Reloads>) -> CategorySource {
    Box::new(move |rows| {
        build_row(rows, &VERSION);
        rows.add(&CONFIG_DELTA, &[], reloads.waiting());
        for (_, seconds) in startup.stages().filter(|(stage, _)| *stage == Stage::Ready.label()) {
            rows.add_f64(&START, &[], seconds);
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::As).current;
        #[allow(clippy::cast_precision_loss, reason = "Prometheus numbers are doubles")]
        rows.add_f64(&VIRTUAL_MEMORY_MAX, &[], limit.map_or(-1.0, |limit| limit as f64));
    })
}
