//! A snapshot of all series, with a cache of the pages that were rendered last.
//!
//! Concurrent scrapes read the same snapshot at nearly the same pace, so a page that one of them
//! rendered or compressed serves the others; a scrape that lags behind renders its own. The cache
//! holds some pages, never all of them.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::web::Bytes;
use webb_metrics::expose::{Exposition, Format, Part, Snapshot};

use super::gzip::{self, Sum};

/// Pages in the cache: some 3 MB.
const CACHED_PAGES: usize = 32;

/// A rendered part of a response.
#[derive(Debug)]
pub(super) struct Piece {
    /// The bytes.
    pub(super) bytes: Bytes,
    /// Checksum of the pages before compression.
    pub(super) sum: Sum,
}

/// The key of a cached page.
type Key = (Format, bool, Part);

/// The series of all aggregators after the same batch (a barrier snapshot).
#[derive(Debug, Default)]
pub(super) struct RenderedSnapshot {
    snapshots: Vec<Snapshot>,
    cached: Mutex<VecDeque<(Key, Arc<Piece>)>>,
}

impl RenderedSnapshot {
    pub(super) fn new(snapshots: Vec<Snapshot>) -> Self {
        Self { snapshots, cached: Mutex::default() }
    }

    pub(super) fn snapshots(&self) -> Vec<&Snapshot> {
        self.snapshots.iter().collect()
    }

    /// A part of an exposition that was planned with these series. With `shared`, other responses
    /// may read it too.
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
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, piece)) = cached.iter().find(|(known, _)| *known == key) {
            return Ok(Arc::clone(piece));
        }
        let piece = Arc::new(self.write(exposition, part, gzip)?);
        if cached.len() >= CACHED_PAGES {
            cached.pop_front();
        }
        cached.push_back((key, Arc::clone(&piece)));
        Ok(piece)
    }

    /// Renders parts from `first` on until there are so many `bytes`; returns them with the number
    /// of parts. Not cached: where no other response reads the same, copies cost more than they
    /// save.
    pub(super) fn text(&self, exposition: &Exposition, first: usize, bytes: usize) -> (Bytes, usize) {
        let (mut text, mut count) = (Vec::with_capacity(bytes + bytes / 2), 0);
        for part in exposition.parts().iter().skip(first) {
            if text.len() >= bytes {
                break;
            }
            exposition.write(part, |at| self.snapshots.get(at), &mut text);
            count += 1;
        }
        (text.into(), count)
    }

    /// Drops the cached pages.
    pub(super) fn clear_cache(&self) {
        *self.cached.lock().unwrap_or_else(PoisonError::into_inner) = VecDeque::new();
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
