//! OpenMetrics 1.0.0 as the Go client writes it (hubble-contract §3.6), all at once.

use super::Format;
use super::exposition;
use super::family::Family;
use super::snapshot::Snapshot;

/// Appends the exposition of all sources to `out`, as [`super::text::render`] does, and the line
/// that ends it.
pub fn render<'a>(
    snapshots: impl IntoIterator<Item = &'a Snapshot>,
    families: impl IntoIterator<Item = &'a Family>,
    out: &mut Vec<u8>,
) {
    exposition::render(Format::OpenMetrics, snapshots, families, out);
}
