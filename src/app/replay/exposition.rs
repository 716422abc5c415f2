//! Renders the counts of the files' flows in the formats that are printed and served.

use webb_metrics::expose::{Family, Snapshot, openmetrics, text};

use crate::cli::ReplayFormat;

/// All that was counted.
#[derive(Debug)]
pub(super) struct ReplayExposition {
    pub(super) snapshots: Vec<Snapshot>,
    pub(super) families: Vec<Family>,
}

impl ReplayExposition {
    pub(super) fn render(&self, format: ReplayFormat) -> Vec<u8> {
        let mut out = Vec::new();
        match format {
            ReplayFormat::Text => text::render(&self.snapshots, &self.families, &mut out),
            ReplayFormat::Openmetrics => openmetrics::render(&self.snapshots, &self.families, &mut out),
        }
        out
    }
}
