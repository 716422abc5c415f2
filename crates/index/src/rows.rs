//! Endpoints by number, in blocks that are shared by all indexes in which they are the same.
//!
//! A row's names are worked out when they are first asked for, so a pod of a large cluster that never talks to this
//! node costs no interned name: names are never freed, and pods come and go for as long as the cluster lives. The
//! price is paid where a series is born, once for each endpoint.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use super::Endpoint;

/// Rows in a block: what one new endpoint costs to copy.
const BLOCK: usize = 64;

/// Somebody who can be named: called once for a row, when a flow first asks for its names.
pub trait Describe: Debug + Send + Sync {
    /// All names. May intern.
    fn endpoint(&self) -> Endpoint;
}

#[derive(Debug, Clone, Default)]
struct Row {
    named: OnceLock<Endpoint>,
    /// None once it is named, or if it never was anybody.
    who: Option<Arc<dyn Describe>>,
}

/// Rows; a clone shares the blocks.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    blocks: Vec<Arc<[Row]>>,
    /// One bit for each row that stands for somebody who is there.
    live: Vec<u64>,
}

impl Rows {
    /// The endpoint of a row; the empty one if the row never was anybody's.
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

    /// Puts an endpoint whose names are known into a row.
    pub(super) fn put(&mut self, row: u32, endpoint: Endpoint) {
        self.write(row, Row { named: OnceLock::from(endpoint), who: None });
    }

    /// Puts somebody into a row who will be named when asked for.
    pub(super) fn put_later(&mut self, row: u32, who: Arc<dyn Describe>) {
        self.write(row, Row { named: OnceLock::new(), who: Some(who) });
    }

    /// The one in this row is there no more. Who asks for the row still finds them, until it is given to another.
    pub(super) fn leave(&mut self, row: u32) {
        if let Some(word) = self.live.get_mut(row as usize / 64) {
            *word &= !(1 << (row % 64));
        }
    }

    /// The rows of those who are there.
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
        self.named.get_or_init(|| self.who.as_ref().map_or(Endpoint::EMPTY, |who| who.endpoint()))
    }
}

#[inline]
fn place(row: u32) -> (usize, usize) {
    (row as usize / BLOCK, row as usize % BLOCK)
}
