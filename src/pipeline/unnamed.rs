//! Flows that wait for a name: an address is a pod's, and which pod is not known yet.
//!
//! A pod's address reaches the API server after its containers have started, so a new pod's first
//! packets come before its name. Such a flow waits until an index has the name, for
//! [`NAME_TIMEOUT_NS`] at most; then it goes on as of `reserved:unknown`. An address that was
//! waited for in vain is not waited for again for a while: foreign addresses behind a pod's
//! interface fill no queue.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use webb_decode::expiring::Expiring;
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

/// Number of flows by outcome of [`NAME_WAITS`].
#[derive(Debug, Default)]
struct Outcomes {
    named: u64,
    unnamed: u64,
    queue_full: u64,
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
    outcomes: Outcomes,
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
            outcomes: Outcomes::default(),
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
    pub(super) fn asks(&self, address: Address) -> bool {
        self.asks.is_some() && self.vain.get(&address).is_none()
    }

    /// Begins a turn; called before [`Unnamed::next`].
    pub(super) fn turn(&mut self, index: &Arc<Index>, now_ns: u64) {
        self.vain.expire(now_ns);
        self.asked.expire(now_ns);
        let index = Arc::downgrade(index);
        if !Weak::ptr_eq(&index, &self.newest) {
            (self.newest, self.left) = (index, self.waiting.len());
        }
    }

    /// Has a flow wait; gives it back if that is not worth while. `behind`: the address of the pod
    /// behind a Service, if it has no name either.
    pub(super) fn hold(
        &mut self,
        flow: Flow,
        why: LookupReasons,
        behind: Option<Address>,
        now_ns: u64,
    ) -> Option<Flow> {
        if unnamed_ends(&flow).chain(behind).all(|address| self.vain.get(&address).is_some()) {
            self.outcomes.unnamed += 1;
            return Some(flow);
        }
        if self.waiting.len() >= MAX_WAITING {
            self.outcomes.queue_full += 1;
            return Some(flow);
        }
        if let Some(asks) = &self.asks {
            for address in unnamed_ends(&flow).chain(behind) {
                if self.asked.get(&address).is_none() && asks.ask(address.ip()) {
                    self.asked.insert(address, (), now_ns);
                }
            }
        }
        self.waiting.push_back(Waiting { flow, why, behind, since_ns: now_ns });
        None
    }

    /// The next flow that has a name now, or is past its timeout; with `last`, any flow.
    pub(super) fn next(&mut self, index: &Index, now_ns: u64, last: bool) -> Option<(Flow, LookupReasons)> {
        loop {
            let front = self.waiting.front()?;
            let over = last || now_ns >= front.since_ns + NAME_TIMEOUT_NS;
            if !over && self.left == 0 {
                return None;
            }
            let mut waiting = self.waiting.pop_front()?;
            self.left = self.left.saturating_sub(1);
            name(&mut waiting.flow, index);
            let behind = waiting.behind.filter(|address| is_unnamed_address(index, *address, &waiting.flow));
            if !is_unnamed(&waiting.flow) && behind.is_none() {
                self.outcomes.named += 1;
                return Some((waiting.flow, waiting.why));
            }
            if over {
                for address in unnamed_ends(&waiting.flow).chain(behind) {
                    self.vain.insert(address, (), now_ns);
                }
                self.outcomes.unnamed += 1;
                return Some((waiting.flow, waiting.why));
            }
            self.waiting.push_back(waiting);
        }
    }

    /// Number of flows by outcome since the last call.
    pub(super) fn outcomes(&mut self) -> [u64; NAME_WAITS.len()] {
        let Outcomes { named, unnamed, queue_full } = std::mem::take(&mut self.outcomes);
        [named, unnamed, queue_full]
    }
}
