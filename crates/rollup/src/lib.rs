//! Sums flows by pair of workloads and window: the rows that a store keeps for months.
//!
//! A row says who opened, who was called, at which port, what became of the packets, and how many
//! there were. Every flow is in one row; over all rows the sums are those of all flows. A row has
//! no pod and no address unless that is configured, so their number follows the shape of the call
//! graph and not the traffic.
//!
//! [`Rollups::observe`] adds a batch: a lookup of 32 bytes and a few additions a flow, without
//! allocation once a row exists. [`Rollups::close`] hands out the rows of a window and begins the
//! next.

mod cache;
mod call;
mod encode;
mod ends;
mod key;
mod lost;
mod primary;
mod rows;
mod seen;
mod settings;
mod sums;
#[cfg(test)]
mod tests;
mod window;

use std::collections::VecDeque;

use webb_flow::fault::inject;
use webb_flow::open::{Corrections, ListingStep, OpenConnections};
use webb_flow::sym::Sym;
use webb_flow::{ConnectionEvent, EndpointId, Extra, Flow, Sort, Verdict};
use webb_index::policy::PolicyName;
use webb_index::{End, Flows, Index};

pub use encode::{Encoder, GAP, HEARTBEAT, ROLLUP};
pub use key::{EndKey, Fold, Reporter, RowKey};
pub use lost::Lost;
pub use seen::Seen;
pub use settings::{DEFAULT_SPREAD, Keys, Settings};
pub use sums::{BOUNDS_US, Connections, Histogram, Sums};
pub use window::{Closing, Window, Windows};

use cache::{Cache, CacheKey};
use call::Call;
use primary::Primary;
use rows::Rows;
use sums::Share;

/// Totals over all rows since start: what a ledger is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Flows that were added to a row.
    pub flows: u64,
    /// Flows that stand beside another of the same packet, and are in no row.
    pub passed_over: u64,
    /// Flows that were added to a folded row.
    pub folded: u64,
    /// Bytes of all rows.
    pub bytes: u64,
    /// Packets of all rows.
    pub packets: u64,
}

/// The rows of the window that is open.
#[derive(Debug)]
pub struct Rollups {
    settings: Settings,
    rows: Rows,
    cache: Cache,
    /// Flows that were read and not yet added; empty between batches.
    read: VecDeque<Read>,
    /// The first flow of `read` is being added.
    is_adding: bool,
    /// Open connections, each with the place of its row.
    open: OpenConnections,
    totals: Totals,
}

/// Flows whose places are looked up together. More do not fit into what a CPU does at a time.
const LOOKED_UP_TOGETHER: usize = 32;

/// A flow that was read and not yet added.
#[derive(Debug, Clone, Copy)]
struct Read {
    /// Its number in the batch.
    flow: usize,
    call: Call,
    share: Share,
    primary: Primary,
    key: CacheKey,
    /// Place of its row, if it was in the cache.
    place: Option<u32>,
}

impl Rollups {
    /// A table without rows.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            rows: Rows::new(settings.max_rows),
            cache: Cache::default(),
            read: VecDeque::with_capacity(LOOKED_UP_TOGETHER),
            is_adding: false,
            open: OpenConnections::default(),
            totals: Totals::default(),
        }
    }

    /// Follows no more than so many open connections.
    pub fn limit_open(&mut self, most: usize) {
        self.open.limit(most);
    }

    /// Makes rows by these settings from now on. The open window's must have been handed out. Which
    /// connections are open is known after the next listing.
    pub fn apply(&mut self, settings: Settings) {
        self.settings = settings;
        self.rows = Rows::new(settings.max_rows);
        self.open.clear();
        self.cache.clear();
    }

    /// Takes a step of a listing of all open connections.
    pub fn list(&mut self, step: ListingStep) {
        let gone = match step {
            ListingStep::Begin => return self.open.begin_listing(),
            ListingStep::End => self.open.end_listing(),
            ListingStep::Reset => self.open.clear(),
        };
        for place in gone {
            self.rows.lower(place);
        }
    }

    /// By how much listings have corrected the open connections, since start.
    pub fn corrections(&self) -> Corrections {
        self.open.corrections()
    }

    /// Adds the batch's flows from number `from` on, some at a time: their places are looked up
    /// together, so that the CPU fetches them together. `progress` is the last flow that was read,
    /// and the number of flows at the end: after a panic, which costs one flow, the caller has that
    /// one passed over ([`Self::pass_over`]) and goes on behind `progress`.
    pub fn observe(&mut self, batch: Flows<'_>, from: usize, progress: &mut usize) {
        self.cache.follow(batch.index);
        if from == 0 {
            self.read.clear();
            self.is_adding = false;
        }
        let mut next = from;
        loop {
            while self.read.len() < LOOKED_UP_TOGETHER {
                let Some(flow) = batch.flows.get(next) else { break };
                *progress = next;
                let extra = batch.extras.get(flow.extra.0 as usize);
                match Share::of(flow, extra) {
                    Some(share) => {
                        let primary = Primary::of(flow, extra, share);
                        let call = Call::of(flow);
                        let key = CacheKey::new(flow, extra, batch.index, call, (share, primary));
                        self.read.push_back(Read { flow: next, call, share, primary, key, place: None });
                    }
                    None => self.totals.passed_over += 1,
                }
                next += 1;
            }
            if self.read.is_empty() {
                break;
            }
            *progress = next.saturating_sub(1);
            self.add_read(batch);
        }
        *progress = batch.flows.len();
    }

    /// Adds the flows that were read to their rows.
    fn add_read(&mut self, batch: Flows<'_>) {
        // A flow is taken out once it is added: if that panics, or a lookup does, the first one is
        // passed over, so that each panic costs one flow.
        self.is_adding = true;
        for read in &mut self.read {
            read.place = self.cache.find(&read.key);
        }
        let cleared = self.cache.cleared();
        while let Some(read) = self.read.front().copied() {
            inject::point("rollups");
            if let Some(flow) = batch.flows.get(read.flow) {
                let extra = batch.extras.get(flow.extra.0 as usize);
                let known = if self.cache.cleared() == cleared { read.place } else { None };
                let place = known.unwrap_or_else(|| self.place(&read, flow, extra, batch.index));
                self.add(flow, extra, &read, place);
            }
            self.read.pop_front();
        }
        self.is_adding = false;
    }

    /// Passes over the flow that the last call of [`Self::observe`] panicked at, and returns what
    /// is lost with it. The batch and `progress` are those of that call.
    pub fn pass_over(&mut self, batch: Flows<'_>, progress: usize) -> Lost {
        let added = if std::mem::take(&mut self.is_adding) { self.read.pop_front() } else { None };
        let flow = batch.flows.get(added.map_or(progress, |read| read.flow));
        flow.map_or_else(Lost::default, |flow| Lost::of(std::slice::from_ref(flow), batch.extras))
    }

    #[inline]
    fn add(&mut self, flow: &Flow, extra: Option<&Extra>, read: &Read, place: u32) {
        let Some((sums, folded)) = self.rows.sums(place) else { return };
        match read.share {
            Share::Packets => {
                sums.add_packets(flow, read.call.by_source);
                self.totals.bytes += flow.bytes;
                self.totals.packets += u64::from(flow.packets);
            }
            Share::Event(event, value) => {
                sums.add_event(event, value, self.settings.histograms);
                self.follow(flow, event, place);
            }
            Share::Unenforced => sums.unenforced = sums.unenforced.saturating_add(1),
            Share::Message => {
                if let Some(extra) = extra {
                    sums.add_message(flow, extra, self.settings.histograms);
                }
            }
        }
        self.totals.flows += 1;
        self.totals.folded += u64::from(folded);
    }

    /// Opens or ends a connection. An end lowers the row that its begin was in, whatever its ends
    /// are named by now.
    fn follow(&mut self, flow: &Flow, event: ConnectionEvent, place: u32) {
        if matches!(event, ConnectionEvent::Accepted | ConnectionEvent::Open) {
            if !self.open.holds(flow) {
                self.open.insert(flow, place, event == ConnectionEvent::Open);
                self.rows.raise(place);
            }
        } else if event.is_end()
            && let Some(place) = self.open.remove(flow)
        {
            self.rows.lower(place);
        }
    }

    /// The place of a flow's row, which is made if it is new.
    #[cold]
    fn place(&mut self, read: &Read, flow: &Flow, extra: Option<&Extra>, index: &Index) -> u32 {
        let key = read.key;
        // One of the same key may have made it, or the places have changed since the lookup.
        if let Some(place) = self.cache.find(&key) {
            return place;
        }
        let row = self.row_key(read, flow, extra, index);
        if self.rows.wants_sweep(&row) {
            self.rows.sweep();
            self.cache.clear();
        }
        let place = self.rows.place(&row);
        // Which policy denies an address of the world depends on the address, which has no number.
        let is_of_address = row.policy.is_some() && [flow.source, flow.destination].iter().any(|end| !is_pod(*end));
        if !is_of_address {
            self.cache.insert(key, place);
        }
        place
    }

    fn row_key(&self, read: &Read, flow: &Flow, extra: Option<&Extra>, index: &Index) -> RowKey {
        let Read { call, share, primary, .. } = *read;
        let keys = self.settings.keys;
        let (opener, called) =
            if call.by_source { (End::Source, End::Destination) } else { (End::Destination, End::Source) };
        let verdict = match share {
            Share::Unenforced => Verdict::Audit,
            _ if share.is_denial() => Verdict::Dropped,
            _ if flow.verdict == Verdict::Unknown => Verdict::Forwarded,
            _ => flow.verdict,
        };
        let is_dropped = verdict == Verdict::Dropped;
        RowKey {
            source: ends::end(opener, flow, extra, index, keys),
            destination: ends::end(called, flow, extra, index, keys),
            port: call.port,
            l4: flow.l4,
            verdict,
            reason: if is_dropped { flow.reason.0 } else { Sym::EMPTY },
            policy: if keys.policy { policy(flow, index, call, share, is_dropped) } else { None },
            reporter: call.reporter,
            primary: primary.is(flow, call, index),
            opener_known: call.known,
            fold: Fold::None,
        }
    }

    /// Hands out the rows of the window, in no order, and begins the next one. A row that had
    /// nothing in the window, and has no open connection, is removed.
    pub fn close(&mut self, with: impl FnMut(&RowKey, &Sums)) {
        if self.rows.drain(with) {
            self.cache.clear();
        }
    }

    /// Number of rows, those without a sum included.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Totals since start.
    pub fn totals(&self) -> Totals {
        self.totals
    }
}

/// True for an end whose number says all of it.
fn is_pod(id: EndpointId) -> bool {
    matches!(id.sort(), Sort::Local | Sort::Remote)
}

/// The policy that decided a denial: the verdict's own, or for a dropped packet the one that
/// forbids the connection which it opens.
fn policy(flow: &Flow, index: &Index, call: Call, share: Share, is_dropped: bool) -> Option<PolicyName> {
    let policies = index.policies();
    if share == Share::Unenforced {
        return policies.name(flow.ruling.policy()?);
    }
    if !is_dropped || !is_policy(flow.reason.0) {
        return None;
    }
    let opening = if call.by_source { *flow } else { flow.reversed() };
    let denial = policies.evaluate(index, &opening).denial()?;
    policies.name(denial.decider()?)
}

/// True for the reasons of a drop by a policy.
fn is_policy(reason: Sym) -> bool {
    matches!(&*reason.text(), "POLICY_DENIED" | "POLICY_DENY")
}
