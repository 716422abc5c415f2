//! Errors and warnings.

use crate::families::{Category, CategorySource, cilium_families, log_rows};
use crate::logging::LogControl;

cilium_families! {
    ERRORS_WARNINGS: counter "cilium_errors_warnings_total" ["level", "subsystem"]
        "Number of total errors in webb"
        from "the log: its warnings and errors by the part of webb that they come from. `level` is `error`, `warning` \
              with `compat: 1.16`, as Cilium's logging library had it";
}

/// The category.
pub static CATEGORY: Category = Category { title: "Errors and warnings", families: FAMILIES, absent: &[] };

/// Source of the rows.
pub fn source(log: LogControl) -> CategorySource {
    Box::new(move |rows| {
        log_rows(rows, &ERRORS_WARNINGS, log.problems());
    })
}
