//! Entry points for fuzz targets.

use webb_flow::{Flow, Reasons};
use webb_index::Index;

use super::Decoder;

/// Decodes any bytes. Nothing but a panic is a finding.
pub fn fuzz(bytes: &[u8]) {
    let decoder = Decoder::new(Reasons::new([(1, "NETFILTER_DROP")]));
    let _outcome = decoder.decode(bytes, &Index::default(), &mut Flow::default());
}
