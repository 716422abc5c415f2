//! Reads the section `rollups` of a file of outputs: which rows are summed.

use std::time::Duration;

use webb_metrics::dynamic::tree::Node;
use webb_rollup::{DEFAULT_SPREAD, Keys, Settings};

use super::values::Values;

/// The rows that a file asks for, and the share of a window over which they are sent, in percent.
pub(super) fn read(values: &mut Values<'_>, node: Option<&Node>) -> (Settings, u8) {
    let defaults = Settings::default();
    let [window, max_rows, keys, spread, histograms] =
        values.fields(node, "rollups", ["window", "max_rows", "keys", "spread", "histograms"]);
    let max_rows = values.number(max_rows, "max_rows", defaults.max_rows as u64, (100, 1_000_000));
    let settings = Settings {
        window: read_window(values, window, defaults.window),
        keys: read_keys(values, keys),
        max_rows: usize::try_from(max_rows).unwrap_or(usize::MAX),
        histograms: values.boolean(histograms, "histograms", true),
    };
    (settings, values.percent(spread, "spread", DEFAULT_SPREAD))
}

/// The length of a window: its start and its end are whole seconds of Unix time.
fn read_window(values: &mut Values<'_>, node: Option<&Node>, default: Duration) -> Duration {
    let bounds = (Duration::from_secs(1), Duration::from_hours(1), true);
    let window = values.duration(node, "window", default, bounds);
    if let Some(node) = node.filter(|_| window.subsec_nanos() > 0) {
        values.expected(node, "window", "whole seconds");
    }
    window
}

fn read_keys(values: &mut Values<'_>, node: Option<&Node>) -> Keys {
    let known: [(&str, usize); 4] = [("zone", 0), ("service", 1), ("policy", 2), ("pod", 3)];
    let chosen = values.choices(node, "keys", &known);
    chosen.map_or_else(Keys::default, |chosen| {
        let has = |key: usize| chosen.contains(&key);
        Keys { zone: has(0), service: has(1), policy: has(2), pod: has(3) }
    })
}
