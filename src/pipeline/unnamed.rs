//! Flows that wait for a name: an address is a pod's, and which pod is not known yet.
//!
//! A pod's address reaches the API server after its containers have started, so a new pod's first
//! packets come before its name. Such a flow waits until an index has the name, for
//! [`NAME_TIMEOUT_NS`] at most; then it goes on as of `reserved:unknown`. An address that was
//! waited for in vain is not waited for again for a while: foreign addresses behind a pod's
//! interface fill no queue. A flow may wait a second time, for the pod behind its Service: within
//! the time that is left, and it is counted once.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use webb_decode::expiring::Expiring;
use webb_decode::nat::Peer;
use webb_decode::{LookupReasons, name};
use webb_flow::{Address, Flow, Sort};
use webb_index::Index;
use webb_names::Asks;

/// Maximal wait of a flow for a name, in nanoseconds.
const NAME_TIMEOUT_NS: u64 = 2_500_000_000;

/// Maximal number of waiting flows; one more passes without a name.
const MAX_WAITING: usize = 4096;

/// Lifetime of a cached miss of an address in nanoseconds, and the maximal number of them.
pub(super) const MISS_TTL_NS: u64 = 60_000_000_000;
pub(super) const MAX_MISSES: usize = 4096;

/// Outcome of a flow without a name, as the label `outcome` has it: named in time, unnamed (or its
/// address is a cached miss), or too many waited.
pub const NAME_WAITS: [&str; 3] = ["named", "unnamed", "queue_full"];

/// Index of an outcome in [`NAME_WAITS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Named,
    Unnamed,
    QueueFull,
}

/// What became of a flow that waits no more, counted once it is resolved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waited {
    /// Begin of its first wait.
    since_ns: u64,
    outcome: Outcome,
}

#[derive(Debug)]
struct Waiting {
    flow: Flow,
    why: LookupReasons,
    /// The address of the pod behind a Service, if it has no name.
    behind: Option<Address>,
    since_ns: u64,
}

/// The flows that wait, oldest first.
#[derive(Debug)]
pub(super) struct Unnamed {
    waiting: VecDeque<Waiting>,
    /// Number of flows not yet looked up in the newest index.
    left: usize,
    newest: Weak<Index>,
    vain: Expiring<Address, ()>,
    /// Number of flows by outcome.
    outcomes: [u64; NAME_WAITS.len()],
    now_ns: u64,
    /// Takes the addresses, if a relay is asked for names.
    asks: Option<Asks>,
    /// Addresses that it was asked for: their other flows wait for the same answer.
    asked: Expiring<Address, ()>,
}

impl Default for Unnamed {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            left: 0,
            newest: Weak::new(),
            vain: Expiring::new(MISS_TTL_NS, MAX_MISSES),
            outcomes: [0; NAME_WAITS.len()],
            now_ns: 0,
            asks: None,
            asked: Expiring::new(NAME_TIMEOUT_NS, MAX_WAITING),
        }
    }
}

/// The addresses of a flow's ends without a name.
pub(super) fn unnamed_ends(flow: &Flow) -> impl Iterator<Item = Address> {
    [(flow.source, flow.source_ip), (flow.destination, flow.destination_ip)]
        .into_iter()
        .filter_map(|(end, address)| (end.sort() == Sort::Unnamed).then_some(address))
}

/// True if an end of the flow has no name yet.
#[inline]
pub(super) fn is_unnamed(flow: &Flow) -> bool {
    flow.source.sort() == Sort::Unnamed || flow.destination.sort() == Sort::Unnamed
}

/// True if an address had no name yet at the time of a flow.
pub(super) fn is_unnamed_address(index: &Index, address: Address, flow: &Flow) -> bool {
    index.find_at(address, flow.time_ns).sort() == Sort::Unnamed
}

impl Unnamed {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Number of waiting flows.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Has a relay asked for the names that are waited for.
    pub(super) fn set_asks(&mut self, asks: Option<Asks>) {
        self.asks = asks;
    }

    /// True if a relay is asked, and was not asked for this address in vain.
    fn asks(&self, address: Address) -> bool {
        self.asks.as_ref().is_some_and(Asks::is_open) && self.vain.get(&address).is_none()
    }

    /// Begins a turn; called before [`Unnamed::next`].
    pub(super) fn turn(&mut self, index: &Arc<Index>, now_ns: u64) {
        self.now_ns = now_ns;
        self.vain.expire(now_ns);
        self.asked.expire(now_ns);
        let index = Arc::downgrade(index);
        if !Weak::ptr_eq(&index, &self.newest) {
            // Those of a pass that this one cuts off are the oldest.
            self.waiting.rotate_left(self.left);
            (self.newest, self.left) = (index, self.waiting.len());
        }
    }

    /// Has a flow wait. Not if that is not worth while: then its outcome is returned, to be counted
    /// with [`Unnamed::count`].
    pub(super) fn hold(&mut self, flow: Flow, why: LookupReasons) -> Option<Waited> {
        self.hold_for(flow, why, None, None)
    }

    /// Has a flow wait for the name of the pod behind a Service, if a relay is asked for it.
    /// Watches of all pods have it already. True if it waits, now within the time that `waited` has
    /// left.
    pub(super) fn hold_for_backend(
        &mut self,
        (unresolved, resolved): (Flow, &Flow),
        why: LookupReasons,
        backend: Option<Peer>,
        waited: &mut Option<Waited>,
        index: &Index,
    ) -> bool {
        let behind = backend.map(|(address, _)| address).filter(|address| self.asks(*address));
        match behind.filter(|address| index.awaits_names() && is_unnamed_address(index, *address, resolved)) {
            Some(behind) => {
                *waited = self.hold_for(unresolved, why, Some(behind), *waited);
                waited.is_none()
            }
            None => false,
        }
    }

    fn hold_for(
        &mut self,
        flow: Flow,
        why: LookupReasons,
        behind: Option<Address>,
        before: Option<Waited>,
    ) -> Option<Waited> {
        let since_ns = before.map_or(self.now_ns, |before| before.since_ns);
        let ended = |outcome| Some(Waited { since_ns, outcome });
        if unnamed_ends(&flow).chain(behind).all(|address| self.vain.get(&address).is_some()) {
            return ended(Outcome::Unnamed);
        }
        if self.waiting.len() >= MAX_WAITING {
            return ended(Outcome::QueueFull);
        }
        if let Some(asks) = self.asks.as_ref().filter(|asks| asks.is_open()) {
            for address in unnamed_ends(&flow).chain(behind) {
                if self.asked.get(&address).is_none() && asks.ask(address.ip()) {
                    self.asked.insert(address, (), self.now_ns);
                }
            }
        }
        if self.now_ns >= since_ns + NAME_TIMEOUT_NS {
            // The answer is for later flows.
            return ended(Outcome::Unnamed);
        }
        self.insert(Waiting { flow, why, behind, since_ns });
        None
    }

    /// Inserts a flow where its age has it: the oldest is released first. Those that are not looked
    /// up yet are at the front, and younger than the rest.
    fn insert(&mut self, waiting: Waiting) {
        let is_young = self.left > 0 && self.waiting.front().is_some_and(|front| front.since_ns < waiting.since_ns);
        let (begin, end) = if is_young { (0, self.left) } else { (self.left, self.waiting.len()) };
        let older = self.waiting.range(begin..end).rposition(|other| other.since_ns <= waiting.since_ns);
        self.waiting.insert(older.map_or(begin, |at| begin + at + 1), waiting);
        self.left += usize::from(is_young);
    }

    /// The next flow that has a name now, or is past its timeout; with `last`, any flow. Its
    /// outcome is to be counted.
    pub(super) fn next(&mut self, index: &Index, last: bool) -> Option<(Flow, LookupReasons, Waited)> {
        loop {
            let front = self.waiting.front()?;
            let over = last || self.now_ns >= front.since_ns + NAME_TIMEOUT_NS;
            if !over && self.left == 0 {
                return None;
            }
            let mut waiting = self.waiting.pop_front()?;
            self.left = self.left.saturating_sub(1);
            name(&mut waiting.flow, index);
            let behind = waiting.behind.filter(|address| is_unnamed_address(index, *address, &waiting.flow));
            let outcome = if !is_unnamed(&waiting.flow) && behind.is_none() {
                Outcome::Named
            } else if over {
                for address in unnamed_ends(&waiting.flow).chain(behind) {
                    self.vain.insert(address, (), self.now_ns);
                }
                Outcome::Unnamed
            } else {
                self.waiting.push_back(waiting);
                continue;
            };
            let Waiting { flow, why, since_ns, .. } = waiting;
            return Some((flow, why, Waited { since_ns, outcome }));
        }
    }

    /// Counts a flow that has waited, or would have, and is resolved as far as it can be.
    pub(super) fn count(&mut self, waited: Option<Waited>) {
        if let Some(count) = waited.and_then(|waited| self.outcomes.get_mut(waited.outcome as usize)) {
            *count += 1;
        }
    }

    /// Number of flows by outcome since the last call.
    pub(super) fn outcomes(&mut self) -> [u64; NAME_WAITS.len()] {
        std::mem::take(&mut self.outcomes)
    }
}
