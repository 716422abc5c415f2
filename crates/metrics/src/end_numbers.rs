//! Numbers for the ends of flows in contexts that show addresses, DNS names or services, where an
//! endpoint's row alone does not say what the context shows.
//!
//! Only ends of series have a number: a stranger whose flows are counted as `~other` has none, is
//! looked up each time, and takes no memory.

use hashbrown::HashMap;
use webb_flow::hash::RandomState;
use webb_flow::sym::Sym;
use webb_flow::{Address, EndpointId, Extra, Family, Flow};
use webb_index::{End, Index};

use super::context::{Uses, is_addressed, mapped};
use super::slot_cache::NO_ENDS;

/// One end of a flow, with all that its context depends on. Its symbols are valid while ids mean
/// the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Where {
    endpoint: u32,
    address: Address,
    names: Sym,
    service: Sym,
    family: Family,
    /// Whether it is an IP packet: only such have addresses.
    addressed: bool,
    /// Whether the address is written as IPv6 though it is IPv4's.
    mapped: bool,
}

/// Bits of the number of an end: two of them and a direction fit into 60. A row has 27.
const END_BITS: u32 = 29;

const _: () = assert!(EndpointId::ROWS <= 1 << END_BITS);

/// The table is emptied at half of all numbers, long before none is left.
const MAX_NUMBERS: u32 = 1 << (END_BITS - 1);

/// Ends that are remembered beside four for each context: several may lead to the same one.
const MAX_SPARE_ENDS: usize = 1 << 14;

/// Numbers of ends.
#[derive(Debug)]
pub(super) struct EndNumbers {
    uses: Uses,
    /// True if the row alone does not say what the context shows of the source.
    source_numbered: bool,
    /// The same of the destination.
    destination_numbered: bool,
    known: HashMap<Where, u32, RandomState>,
    /// The number of the next end. Numbers are not given twice between two calls of
    /// [`EndNumbers::clear`].
    next: u32,
}

impl EndNumbers {
    pub(super) fn new(uses: Uses) -> Self {
        Self {
            uses,
            source_numbered: uses.service || uses.source_ip || uses.source_dns,
            destination_numbered: uses.service || uses.destination_ip || uses.destination_dns,
            known: HashMap::default(),
            next: 0,
        }
    }

    /// Forgets all numbers: keys with them must not be used any more.
    pub(super) fn clear(&mut self) {
        // As many ends come again as a rule, so their memory is kept; that of many more is not.
        let used = self.known.len();
        self.known.clear();
        self.known.shrink_to(4 * used);
        self.next = 0;
    }

    /// True if there are so many that most are not in use, or so many were given that they may come
    /// to an end.
    pub(super) fn is_full(&self, contexts: usize) -> bool {
        self.next >= MAX_NUMBERS || self.known.len() > 4 * contexts + MAX_SPARE_ENDS
    }

    /// All that the context depends on, in 60 bits; [`NO_ENDS`] where an end has no number.
    #[inline]
    pub(super) fn of(&self, flow: &Flow, extra: Option<&Extra>, index: &Index) -> u64 {
        let (mut source, mut destination) = (self.row(End::Source, flow), self.row(End::Destination, flow));
        if self.source_numbered {
            source = self.find(End::Source, source, flow, extra, index);
        }
        if self.destination_numbered {
            destination = self.find(End::Destination, destination, flow, extra, index);
        }
        if (source | destination) >> END_BITS != 0 {
            return NO_ENDS;
        }
        let direction = if self.uses.direction { flow.direction as u8 } else { 0 };
        u64::from(source) | u64::from(destination) << END_BITS | u64::from(direction) << (2 * END_BITS)
    }

    /// The number of an end, or one of more bits than there are.
    fn find(&self, end: End, row: u32, flow: &Flow, extra: Option<&Extra>, index: &Index) -> u32 {
        self.known.get(&self.place(end, row, flow, extra, index)).copied().unwrap_or(u32::MAX)
    }

    /// The same, with a number for each end.
    pub(super) fn give(&mut self, flow: &Flow, extra: Option<&Extra>, index: &Index) -> u64 {
        for (end, numbered) in [(End::Source, self.source_numbered), (End::Destination, self.destination_numbered)] {
            if numbered {
                let row = self.row(end, flow);
                let place = self.place(end, row, flow, extra, index);
                let next = self.next;
                if *self.known.entry(place).or_insert(next) == next {
                    self.next = next.saturating_add(1);
                }
            }
        }
        self.of(flow, extra, index)
    }

    #[inline]
    fn row(&self, end: End, flow: &Flow) -> u32 {
        let used = if end == End::Source { self.uses.source } else { self.uses.destination };
        if used { end.id(flow).row() } else { 0 }
    }

    fn place(&self, end: End, endpoint: u32, flow: &Flow, extra: Option<&Extra>, index: &Index) -> Where {
        let uses = self.uses;
        let (ip, names, address) = match end {
            End::Source => (uses.source_ip, uses.source_dns, flow.source_ip),
            End::Destination => (uses.destination_ip, uses.destination_dns, flow.destination_ip),
        };
        Where {
            endpoint,
            address: if ip { address } else { Address::default() },
            names: if names { end.dns_names(flow, extra, index) } else { Sym::EMPTY },
            service: if uses.service { end.service(flow, extra, index) } else { Sym::EMPTY },
            family: if ip { flow.family } else { Family::NotUsed },
            addressed: ip && is_addressed(flow, extra),
            mapped: ip && mapped(extra, end),
        }
    }
}
