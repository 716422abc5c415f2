//! A batch: flows of one moment and the index that names them.

use std::sync::Arc;

use webb_flow::{Extra, Flow};
use webb_index::Flows;
use webb_index::Index;

/// How many flows a batch holds at most. Together with [`webb_flow::Flow`]'s size, a fraction of an
/// L2 cache.
pub const BATCH: usize = 512;

/// Up to [`BATCH`] flows, all resolved with `index`.
#[derive(Debug)]
pub struct Batch {
    /// What the endpoint ids in `flows` mean.
    pub index: Arc<Index>,
    /// The flows, oldest first.
    pub flows: Vec<Flow>,
    /// What a few of them carry beyond a [`Flow`], by their [`webb_flow::ExtraId`]; empty for
    /// kernel records.
    pub extras: Vec<Extra>,
}

impl Batch {
    /// As metrics read it.
    pub fn view(&self) -> Flows<'_> {
        Flows { flows: &self.flows, extras: &self.extras, index: &self.index }
    }
}
