//! A batch: flows of one moment and the index that names them.

use std::sync::Arc;

use webb_flow::{Extra, Flow};
use webb_index::Flows;
use webb_index::Index;

/// Maximal number of flows in a batch. Together with [`webb_flow::Flow`]'s size, a fraction of an
/// L2 cache.
pub const BATCH: usize = 512;

/// Up to [`BATCH`] flows, all resolved with `index`.
#[derive(Debug)]
pub struct Batch {
    /// Index that the endpoint ids in `flows` refer to.
    pub index: Arc<Index>,
    /// The flows, oldest first.
    pub flows: Vec<Flow>,
    /// Fields of a few flows beyond a [`Flow`], by their [`webb_flow::ExtraId`]; empty for kernel
    /// records.
    pub extras: Vec<Extra>,
}

impl Batch {
    /// View of the batch for metrics.
    pub fn view(&self) -> Flows<'_> {
        Flows { flows: &self.flows, extras: &self.extras, index: &self.index }
    }
}
