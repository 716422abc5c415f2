//! Names from DNS on their way to the batches of the reader.
//!
//! A pod connects some microseconds after the answer that named the address. The answer is read by
//! the dissector and the connection by the reader, so a batch waits until the dissector has read
//! all messages of the batch's time; then the newest table of names goes with it. It waits outside
//! of the ring, in order, and not for long: while the dissector is down or behind, the batch goes
//! on with the names of then, counted as late. While no metric wants names, nothing waits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use webb_decode::l7::{Connection, Dns};
use webb_flow::clock::now_ns;
use webb_index::{DnsNameCache, DnsNames, Index, NameLimits, NameRefusal};

use crate::pipeline::Batch;
use crate::records::Waker;

/// How long a batch waits for the dissector at most.
const MAX_WAIT_NS: u64 = 100_000_000;

/// Batches that may wait; the oldest of more goes on.
const MAX_WAITING: usize = 8;

/// Tables are published this far apart while messages come in without end.
const PUBLISH_INTERVAL_NS: u64 = 20_000_000;

/// What both threads know.
#[derive(Debug, Default)]
struct Shared {
    table: ArcSwap<DnsNames>,
    /// Answers until then are in the table (`CLOCK_MONOTONIC`).
    read_until_ns: AtomicU64,
    wanted: AtomicBool,
    /// Whether a batch waits.
    is_awaited: AtomicBool,
    /// Flows that went on before the answers of their time were read.
    late: AtomicU64,
}

/// Counts of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NameCounts {
    /// Pairs of a pod and an address that have names now.
    pub pairs: u64,
    /// Names evicted before their time, or not learned, by [`NameRefusal`].
    pub refused: [u64; NameRefusal::ALL.len()],
    /// Names whose time was over.
    pub expired: u64,
    /// Flows that went on before the answers of their time were read.
    pub late: u64,
}

/// The dissector's end: learns names, and publishes them.
#[derive(Debug)]
pub struct NamesWriter {
    cache: DnsNameCache,
    shared: Arc<Shared>,
    reader: Waker,
    /// The index that the cache has followed.
    followed: Option<Arc<Index>>,
    published_ns: u64,
}

impl NamesWriter {
    /// Learns names from now on, or forgets all.
    pub(super) fn want(&mut self, wanted: bool) {
        if !wanted {
            self.cache.clear();
        }
        self.shared.wanted.store(wanted, Ordering::SeqCst);
    }

    /// What names are learned into.
    pub(super) fn cache(&mut self) -> &mut DnsNameCache {
        &mut self.cache
    }

    /// Learns the addresses of an answer that the pod of a connection had asked for.
    pub(super) fn learn(&mut self, connection: &Connection, answer: &Dns<'_>, time_ns: u64, index: &Index) {
        let pod = connection.path.pod.address;
        let owner = index.endpoint(index.find(pod)).pod;
        self.cache.learn((pod, owner), answer.query, answer.addresses, (answer.ttl, time_ns));
    }

    /// Forgets what pods have learned that are others in a new index.
    pub(super) fn follow(&mut self, index: &Arc<Index>) {
        if self.followed.as_ref().is_none_or(|followed| !Arc::ptr_eq(followed, index)) {
            self.cache.follow(index);
            self.followed = Some(Arc::clone(index));
        }
    }

    /// Ends a turn that began at `began_ns`: publishes what has changed. `is_empty` if the turn
    /// read the ring until nothing was left.
    pub(super) fn end_turn(&mut self, began_ns: u64, is_empty: bool) {
        self.cache.expire(began_ns);
        let due = is_empty || began_ns.saturating_sub(self.published_ns) >= PUBLISH_INTERVAL_NS;
        if due && let Some(table) = self.cache.publish(began_ns) {
            self.shared.table.store(table);
            self.published_ns = began_ns;
        }
        if is_empty {
            self.shared.read_until_ns.store(began_ns, Ordering::SeqCst);
            if self.shared.is_awaited.swap(false, Ordering::SeqCst) {
                self.reader.wake();
            }
        }
    }

    /// No more messages will come.
    pub(super) fn end(&self) {
        self.shared.read_until_ns.store(u64::MAX, Ordering::SeqCst);
    }

    pub(super) fn counts(&self) -> NameCounts {
        let late = self.shared.late.load(Ordering::Relaxed);
        let (refused, expired) = (self.cache.refused(), self.cache.expired());
        NameCounts { pairs: self.cache.len() as u64, refused, expired, late }
    }
}

/// The reader's end: batches that wait for names.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct NamesReader {
    /// None without a dissector.
    link: Option<(Arc<Shared>, Waker)>,
    /// With the time at which each was filled.
    waiting: VecDeque<(u64, Arc<Batch>)>,
    /// The last index with its names, and what it was made of.
    named: Option<[Arc<Index>; 2]>,
}

/// Both ends; `reader` and `dissector` wake the threads.
pub(super) fn channel(reader: Waker, dissector: Waker) -> (NamesWriter, NamesReader) {
    let shared = Arc::new(Shared::default());
    let cache = DnsNameCache::new(NameLimits::default());
    let writer = NamesWriter { cache, shared: Arc::clone(&shared), reader, followed: None, published_ns: 0 };
    (writer, NamesReader { link: Some((shared, dissector)), ..NamesReader::default() })
}

impl NamesReader {
    /// Takes a filled batch, which [`NamesReader::next`] gives back.
    pub(in crate::pipeline) fn take(&mut self, batch: Arc<Batch>) {
        let mut filled_ns = 0;
        if let Some((shared, dissector)) = self.link.as_ref().filter(|(shared, _)| shared.wanted.load(Ordering::SeqCst))
        {
            filled_ns = now_ns();
            shared.is_awaited.store(true, Ordering::SeqCst);
            dissector.wake();
        }
        self.waiting.push_back((filled_ns, batch));
    }

    /// The oldest batch, if it need not wait any longer, with the names of now.
    pub(in crate::pipeline) fn next(&mut self) -> Option<Arc<Batch>> {
        let &(filled_ns, _) = self.waiting.front()?;
        let Some((shared, _)) = &self.link else { return self.waiting.pop_front().map(|(_, batch)| batch) };
        let is_read = filled_ns <= shared.read_until_ns.load(Ordering::SeqCst) || !shared.wanted.load(Ordering::SeqCst);
        let is_late = || self.waiting.len() > MAX_WAITING || now_ns().saturating_sub(filled_ns) >= MAX_WAIT_NS;
        if !is_read && !is_late() {
            return None;
        }
        let table = shared.table.load_full();
        let (_, mut batch) = self.waiting.pop_front()?;
        if !is_read {
            shared.late.fetch_add(batch.flows.len() as u64, Ordering::Relaxed);
        }
        // A batch that waits has one reference, so this is always some.
        if let Some(batch) = Arc::get_mut(&mut batch)
            && !Arc::ptr_eq(batch.index.dns_names(), &table)
        {
            batch.index = self.name(&batch.index, table);
        }
        Some(batch)
    }

    /// True if no batch waits.
    pub(in crate::pipeline) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// An index with the names of a table.
    fn name(&mut self, index: &Arc<Index>, table: Arc<DnsNames>) -> Arc<Index> {
        if let Some([of, named]) = &self.named
            && Arc::ptr_eq(of, index)
            && Arc::ptr_eq(named.dns_names(), &table)
        {
            return Arc::clone(named);
        }
        let named = Arc::new(index.with_dns_names(table));
        self.named = Some([Arc::clone(index), Arc::clone(&named)]);
        named
    }
}
