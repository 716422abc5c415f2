//! Endpoints by row, in blocks that snapshots share while they are unchanged.
//!
//! The names of a row are computed at its first lookup, so a pod that never talks to this node
//! interns none: interned names are never freed, and pods come and go for as long as the cluster
//! lives. The cost falls on the first series of an endpoint.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use super::Endpoint;

/// Rows in a block: one new endpoint copies so many.
const BLOCK: usize = 64;

/// Computes the names of an endpoint: called once for a row, at its first lookup.
pub trait Describe: Debug + Send + Sync {
    /// Computes all names. May intern.
    fn endpoint(&self) -> Endpoint;
}

#[derive(Debug, Clone, Default)]
struct Row {
    named: OnceLock<Endpoint>,
    /// The source of names that are not computed yet; none for other rows.
    source: Option<Arc<dyn Describe>>,
}

/// Rows; a clone shares the blocks.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    blocks: Vec<Arc<[Row]>>,
    /// One bit for each row of a live endpoint.
    live: Vec<u64>,
}

impl Rows {
    /// Looks up the endpoint of a row; the empty one for a row that was never set.
    #[inline]
    pub(super) fn get(&self, row: u32) -> &Endpoint {
        static EMPTY: Endpoint = Endpoint::EMPTY;
        let (block, at) = place(row);
        let Some(row) = self.blocks.get(block).and_then(|rows| rows.get(at)) else { return &EMPTY };
        match row.named.get() {
            Some(named) => named,
            None => row.name(),
        }
    }

    /// Sets the endpoint of a row.
    pub(super) fn put(&mut self, row: u32, endpoint: Endpoint) {
        self.write(row, Row { named: OnceLock::from(endpoint), source: None });
    }

    /// Sets the source that computes the names of a row at its first lookup.
    pub(super) fn put_lazy(&mut self, row: u32, source: Arc<dyn Describe>) {
        self.write(row, Row { named: OnceLock::new(), source: Some(source) });
    }

    /// Marks the endpoint in this row as deleted. Lookups still return it until the row is reused.
    pub(super) fn mark_deleted(&mut self, row: u32) {
        if let Some(word) = self.live.get_mut(row as usize / 64) {
            *word &= !(1 << (row % 64));
        }
    }

    /// The rows of live endpoints.
    pub(super) fn live(&self) -> impl Iterator<Item = u32> {
        self.live
            .iter()
            .zip(0_u32..)
            .flat_map(|(&word, at)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit))
    }

    fn write(&mut self, row: u32, new: Row) {
        let (block, at) = place(row);
        while self.blocks.len() <= block {
            self.blocks.push(vec![Row::default(); BLOCK].into());
            self.live.resize(self.blocks.len() * BLOCK / 64, 0);
        }
        if let Some(place) = self.blocks.get_mut(block).and_then(|rows| Arc::make_mut(rows).get_mut(at)) {
            *place = new;
        }
        if let Some(word) = self.live.get_mut(row as usize / 64) {
            *word |= 1 << (row % 64);
        }
    }
}

impl Row {
    #[cold]
    fn name(&self) -> &Endpoint {
        self.named.get_or_init(|| self.source.as_ref().map_or(Endpoint::EMPTY, |source| source.endpoint()))
    }
}

#[inline]
fn place(row: u32) -> (usize, usize) {
    (row as usize / BLOCK, row as usize % BLOCK)
}
