//! Process, build and errors.

use crate::families::{Absent, Category, CategorySource, build_row, cilium_families, log_rows};
use crate::logging::LogControl;

cilium_families! {
    VERSION: gauge "cilium_operator_version" ["version", "revision", "arch"]
        "Version of the operator"
        from "webb's build; always 0, as Cilium's. The families `cilium_operator_process_*` are those of the \
              `prometheus` library: `cpu_seconds_total`, `max_fds`, `open_fds`, `resident_memory_bytes`, \
              `start_time_seconds`, `threads`, `virtual_memory_bytes`";
    ERRORS_WARNINGS: counter "cilium_operator_errors_warnings_total" ["level", "subsystem"]
        "Number of total errors in webb's operator"
        from "the log: its warnings and errors by the part of webb that they come from. `level` is `error`, `warning` \
              with `compat: 1.16`, as Cilium's logging library had it";
}

/// The category.
pub static CATEGORY: Category = Category {
    title: "Process, build and errors",
    families: FAMILIES,
    absent: &[
        Absent { name: "go_*", reason: "webb has no Go runtime" },
        Absent {
            name: "cilium_operator_doublewrite_*",
            reason: "webb makes no identities, neither as objects nor in a key-value store",
        },
        Absent { name: "cilium_operator_kvstore_*", reason: "webb has no key-value store" },
        Absent { name: "cilium_operator_api_limiter_*", reason: "webb has no API that would be limited" },
        Absent { name: "cilium_operator_certwatcher_*", reason: "the operator's endpoint has no certificates" },
    ],
};

/// Source of the rows.
pub fn source(log: LogControl) -> CategorySource {
    Box::new(move |rows| {
        build_row(rows, &VERSION);
        log_rows(rows, &ERRORS_WARNINGS, log.problems());
    })
}
