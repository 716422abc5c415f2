//! The agent's own API: the admin listener.

use crate::families::{Absent, Category, CategorySource, cilium_families};
use crate::server::ApiTimes;

cilium_families! {
    PROCESS_TIME: histogram "cilium_agent_api_process_time_seconds" ["path", "method", "return_code"]
        "Duration of processed API calls labeled by path, method and return code"
        from "requests to the admin listener; `path` is the route's, so that no name is in it";
}

/// The category.
pub static CATEGORY: Category = Category {
    title: "Agent API",
    families: FAMILIES,
    absent: &[Absent {
        name: "cilium_agent_bootstrap_seconds",
        reason: "`webb_startup_seconds` has webb's own stages, and Cilium 1.20 no longer has it",
    }],
};

/// Source of the rows.
pub fn source(times: ApiTimes) -> CategorySource {
    Box::new(move |rows| {
        if !rows.wants(&PROCESS_TIME) {
            return;
        }
        for ((path, method, status), times) in times.times() {
            rows.add_histogram(&PROCESS_TIME, &[&path, method, &status.to_string()], &times);
        }
    })
}
