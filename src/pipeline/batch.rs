//! A batch: flows of one moment and the index that names them.

use std::sync::Arc;

use crate::flow::Flow;
use crate::index::Index;

/// How many flows a batch holds at most. Together with [`crate::flow::Flow`]'s size, a fraction of an L2 cache.
pub const BATCH: usize = 512;

/// Up to [`BATCH`] flows, all resolved with `index`.
#[derive(Debug)]
pub struct Batch {
    /// What the endpoint ids in `flows` mean.
    pub index: Arc<Index>,
    /// The flows, oldest first.
    pub flows: Vec<Flow>,
}
