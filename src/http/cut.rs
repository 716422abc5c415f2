//! The series of one cut, and the pages of them that were written most lately.
//!
//! Scrapers that come together read the same cut at nearly the same pace. What one has written, or compressed, serves
//! the others; who falls far behind writes for himself. So a page is kept for a moment and never all of them.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::web::Bytes;

use super::gzip::{self, Sum};
use crate::expose::{Exposition, Format, Part, Snapshot};

/// Pages that are kept: some 3 MB.
const KEPT: usize = 32;

/// A part of an answer as it goes out.
#[derive(Debug)]
pub(super) struct Piece {
    /// The bytes.
    pub(super) bytes: Bytes,
    /// What they were before they were compressed.
    pub(super) sum: Sum,
}

/// What a kept page is of.
type Key = (Format, bool, Part);

/// The series of all aggregators as they stood behind the same batch.
#[derive(Debug, Default)]
pub(super) struct Cut {
    snapshots: Vec<Snapshot>,
    kept: Mutex<VecDeque<(Key, Arc<Piece>)>>,
}

impl Cut {
    pub(super) fn new(snapshots: Vec<Snapshot>) -> Self {
        Self { snapshots, kept: Mutex::default() }
    }

    pub(super) fn snapshots(&self) -> Vec<&Snapshot> {
        self.snapshots.iter().collect()
    }

    /// A part of an exposition that was planned with these series. `shared` says whether somebody else may want it too.
    pub(super) fn piece(
        &self,
        exposition: &Exposition,
        part: &Part,
        gzip: bool,
        shared: bool,
    ) -> io::Result<Arc<Piece>> {
        if !shared || matches!(part, Part::Written(_)) {
            return self.write(exposition, part, gzip).map(Arc::new);
        }
        let key = (exposition.format(), gzip, part.clone());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, piece)) = kept.iter().find(|(known, _)| *known == key) {
            return Ok(Arc::clone(piece));
        }
        let piece = Arc::new(self.write(exposition, part, gzip)?);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back((key, Arc::clone(&piece)));
        Ok(piece)
    }

    /// Forgets the pages: nobody is reading.
    pub(super) fn rest(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = VecDeque::new();
    }

    fn write(&self, exposition: &Exposition, part: &Part, gzip: bool) -> io::Result<Piece> {
        let mut text = Vec::new();
        exposition.write(part, |at| self.snapshots.get(at), &mut text);
        if !gzip {
            return Ok(Piece { bytes: text.into(), sum: Sum::default() });
        }
        let (packed, sum) = gzip::pack(&text)?;
        Ok(Piece { bytes: packed.into(), sum })
    }
}
