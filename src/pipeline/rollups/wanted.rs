//! What is wanted of the rollups.

use std::sync::Arc;

use webb_otlp::Output;
use webb_rollup::{DEFAULT_SPREAD, Settings};

/// Rows that are wanted, and those that take them.
#[derive(Debug, Clone)]
pub struct WantedRollups {
    /// The rows. A change applies from the next window on.
    pub settings: Settings,
    /// Share of a window, in percent, over which the agents of a cluster spread their requests.
    pub spread: u8,
    /// Outputs that take them; without one no rows are made.
    pub outputs: Vec<Arc<Output>>,
}

impl Default for WantedRollups {
    fn default() -> Self {
        Self { settings: Settings::default(), spread: DEFAULT_SPREAD, outputs: Vec::new() }
    }
}

impl WantedRollups {
    pub(super) fn is_on(&self) -> bool {
        !self.settings.window.is_zero() && !self.outputs.is_empty()
    }
}
