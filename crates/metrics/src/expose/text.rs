//! Prometheus text format 0.0.4 (hubble-contract §3.6), all at once.

use super::Format;
use super::exposition;
use super::family::Family;
use super::snapshot::Snapshot;

/// Appends the exposition of all sources to `out`: families sorted by name, series by label values,
/// families without a series left out. Families of one name are written together, under the help
/// and type of the first.
pub fn render<'a>(
    snapshots: impl IntoIterator<Item = &'a Snapshot>,
    families: impl IntoIterator<Item = &'a Family>,
    out: &mut Vec<u8>,
) {
    exposition::render(Format::Text, snapshots, families, out);
}
