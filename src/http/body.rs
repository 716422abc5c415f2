//! Streaming response body: each part is rendered when the connection can take it.
//!
//! A scraper that reads slowly costs a chunk of some parts and a reference to the snapshot,
//! whatever the size of the exposition, and blocks no other. That reference is bounded in time too:
//! the snapshot is leased, and after [`MAX_RESPONSE_TIME`] the lease is revoked and the response
//! aborted.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use webb_metrics::expose::Exposition;

use super::gzip::{self, Sum};
use super::snapshot::RenderedSnapshot;

/// The most that a response may take; no scraper waits as long.
const MAX_RESPONSE_TIME: Duration = Duration::from_mins(2);

/// Snapshots that are leased at once, beside the current one: scrapers that read slowly, or not at
/// all, each hold the series of their moment.
const MAX_SNAPSHOTS: usize = 4;

/// The most that a response may take while there are so many.
const MAX_RESPONSE_TIME_OF_MANY: Duration = Duration::from_secs(10);

/// Bytes of text from which on a chunk is sent: two pages. Each chunk is a call of the system and
/// wakes up the client.
const TEXT_CHUNK: usize = 128 * 1024;

/// A snapshot, until its lease is revoked.
type Leased = Mutex<Option<Arc<RenderedSnapshot>>>;

/// The leases that are out, and since when.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<Vec<(Instant, Weak<Leased>)>>);

impl Leases {
    /// Grants a lease on a snapshot, and revokes those that have expired.
    pub(super) fn grant(&self, snapshot: Arc<RenderedSnapshot>) -> Lease {
        self.revoke_expired(MAX_RESPONSE_TIME);
        let lease = Lease(Arc::new(Mutex::new(Some(snapshot))));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), Arc::downgrade(&lease.0)));
        lease
    }

    /// True if as many snapshots are leased as may be, beside `current`. Those that are leased for
    /// long are given up first.
    pub(super) fn are_many(&self, current: &Arc<RenderedSnapshot>) -> bool {
        if self.leased_beside(current) >= MAX_SNAPSHOTS {
            self.revoke_expired(MAX_RESPONSE_TIME_OF_MANY);
        }
        self.leased_beside(current) >= MAX_SNAPSHOTS
    }

    fn leased_beside(&self, current: &Arc<RenderedSnapshot>) -> usize {
        let leases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshots = leases.iter().filter_map(|(_, leased)| {
            leased.upgrade()?.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Arc::as_ptr)
        });
        let mut others: Vec<_> = snapshots.filter(|snapshot| *snapshot != Arc::as_ptr(current)).collect();
        others.sort_unstable();
        others.dedup();
        others.len()
    }

    fn revoke_expired(&self, after: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(since, leased)| {
            let Some(leased) = leased.upgrade() else { return false };
            let expired = since.elapsed() >= after;
            if expired {
                *leased.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            !expired
        });
    }
}

/// A lease on a snapshot.
#[derive(Debug)]
pub(super) struct Lease(Arc<Leased>);

impl Lease {
    fn snapshot(&self) -> Option<Arc<RenderedSnapshot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Called when a response has ended or was aborted.
pub(super) type Done = Box<dyn FnOnce()>;

/// The body of a scrape's response.
pub(super) struct Body {
    lease: Lease,
    exposition: Exposition,
    /// The next part; one behind the last is the end of the gzip stream.
    next: usize,
    gzip: Option<Sum>,
    done: Option<Done>,
}

impl Body {
    pub(super) fn new(lease: Lease, exposition: Exposition, gzip: bool, done: Done) -> Self {
        Self { lease, exposition, next: 0, gzip: gzip.then(Sum::default), done: Some(done) }
    }

    fn next_bytes(&mut self) -> io::Result<Option<Bytes>> {
        let at = self.next;
        let Some(part) = self.exposition.parts().get(at) else {
            self.next += 1;
            let end = self.gzip.take().map(|sum| sum.trailer().into());
            return Ok(end);
        };
        let snapshot = self.lease.snapshot().ok_or_else(|| io::Error::other("the scraper took too long"))?;
        // Three references are this one, the lease and the collector; any more are other responses.
        let shared = Arc::strong_count(&snapshot) > 3;
        if self.gzip.is_none() && !shared {
            let (text, count) = snapshot.text(&self.exposition, at, TEXT_CHUNK);
            self.next += count;
            return Ok(Some(text));
        }
        self.next += 1;
        let piece = snapshot.piece(&self.exposition, part, self.gzip.is_some(), shared)?;
        let Some(sum) = &mut self.gzip else { return Ok(Some(piece.bytes.clone())) };
        sum.append(&piece.sum);
        if at > 0 {
            return Ok(Some(piece.bytes.clone()));
        }
        let mut first = gzip::HEADER.to_vec();
        first.extend_from_slice(&piece.bytes);
        Ok(Some(first.into()))
    }
}

impl MessageBody for Body {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        Poll::Ready(self.next_bytes().transpose())
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some(snapshot) = self.lease.snapshot()
            && Arc::strong_count(&snapshot) <= 3
        {
            snapshot.clear_cache();
        }
        if let Some(done) = self.done.take() {
            done();
        }
    }
}

/// The body of a response to HEAD: none, and no length either, because it is not computed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Headless;

impl MessageBody for Headless {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::None
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use webb_metrics::expose::Format;

    use super::*;

    fn next(body: &mut Body) -> Option<io::Result<Bytes>> {
        body.next_bytes().transpose()
    }

    fn body(leases: &Leases, snapshot: &Arc<RenderedSnapshot>) -> Body {
        let exposition = Exposition::new(Format::OpenMetrics, &snapshot.snapshots(), [], |_| true);
        Body::new(leases.grant(Arc::clone(snapshot)), exposition, false, Box::new(|| {}))
    }

    /// A slow client must not hold a snapshot for ever: a revoked lease frees it, and the response
    /// is aborted.
    #[test]
    fn a_lease_expires() {
        let (leases, snapshot) = (Leases::default(), Arc::new(RenderedSnapshot::default()));
        let (mut slow, mut quick) = (body(&leases, &snapshot), body(&leases, &snapshot));
        assert_eq!(next(&mut quick).unwrap().unwrap(), "# EOF\n");
        assert!(next(&mut quick).is_none());
        assert_eq!(leases.leased_beside(&snapshot), 0);
        assert_eq!(leases.leased_beside(&Arc::default()), 1, "two leases on one snapshot");
        leases.revoke_expired(MAX_RESPONSE_TIME);
        assert_eq!(Arc::strong_count(&snapshot), 3);
        leases.revoke_expired(Duration::ZERO);
        assert_eq!(Arc::strong_count(&snapshot), 1);
        assert!(next(&mut slow).unwrap().is_err());
    }
}
