//! Rows of an `errors_warnings_total`.

use tracing::Level;
use webb_settings::Compat;

use super::{Family, SelectedRows};

/// Adds the warnings and errors of the log by level and part, spelled as the version has them.
pub fn log_rows(rows: &mut SelectedRows<'_>, family: &Family, mut problems: Vec<((Level, &'static str), u64)>) {
    let old = rows.compat() < Compat::V1_18;
    // A rate needs the series before its first event.
    for level in [Level::ERROR, Level::WARN] {
        if !problems.iter().any(|((known, _), _)| *known == level) {
            problems.push(((level, "unspecified"), 0));
        }
    }
    for ((level, part), count) in problems {
        let level = match (level == Level::ERROR, old) {
            (true, true) => "error",
            (true, false) => "ERROR",
            (false, true) => "warning",
            (false, false) => "WARN",
        };
        rows.add(family, &[level, part], count);
    }
}
