//! Marks the types of map entries as plain data for the eBPF library.

use webb_flow::abi::{Claim, Claimed, L7Totals, Port, Retransmits, Swept, Totals};

/// A value of a map that `webb_flow` defines: the library's trait cannot be implemented for it
/// there.
#[derive(Debug, Clone, Copy, Default)]
#[repr(transparent)]
pub(super) struct Plain<T>(pub(super) T);

// SAFETY: plain integers without padding (asserted in `abi`), valid for every bit pattern.
unsafe impl aya::Pod for Plain<Totals> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<Swept> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<L7Totals> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<Retransmits> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<Port> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<Claimed> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<Claim> {}
