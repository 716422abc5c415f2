//! Events of TCP connections that records carry.
//!
//! Most records of an event are those of a packet: the SYN-ACK of an accepted connection, the last
//! FIN of one that ends. The packet's flow is decoded as ever, and the event is a second flow
//! ([`webb_flow::Flow::connection`]). A record of an event alone gives the flow of its deltas, if
//! it has any.

use std::hash::BuildHasher;
use std::mem::offset_of;

use hashbrown::HashSet;
use webb_flow::abi::{Record, VALUE_RESENT, VALUE_UNKNOWN, kind};
use webb_flow::hash::RandomState;
use webb_flow::{ConnectionEvent, Direction, Flow, L4, NO_TIME, Reply, TcpFlags};

use super::expiring::Expiring;

/// An event in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    event: ConnectionEvent,
    value: u32,
    /// The record has neither a packet nor deltas.
    pub is_alone: bool,
}

/// The event that a record carries; none for nearly all. For a record that was decoded.
#[inline]
pub fn carried(bytes: &[u8]) -> Option<Carried> {
    let number = *bytes.get(offset_of!(Record, event))?;
    if number == 0 { None } else { read(bytes, number) }
}

#[cold]
fn read(bytes: &[u8], number: u8) -> Option<Carried> {
    let value = bytes.get(offset_of!(Record, value)..)?.first_chunk().map(|value| u32::from_ne_bytes(*value))?;
    let event = ConnectionEvent::of(number)?;
    let of_kind = bytes.get(offset_of!(Record, kind)) == Some(&kind::EVENT);
    Some(Carried { event, value, is_alone: of_kind && Record::packets_of(bytes) == 0 })
}

impl Carried {
    /// The flow of the event, beside that of the record.
    pub fn flow(self, record: &Flow) -> Flow {
        use ConnectionEvent::{
            Accepted, Closed, Idle, Interrupted, Open, ResetByAcceptor, ResetByOpener, RetransmitData, RetransmitSyn,
            RetransmitSynAck, Sample, ZeroWindow,
        };
        let by_acceptor = record.reply == Reply::Yes;
        let value = u64::from(self.value);
        let value = match self.event {
            Accepted => u64::from(self.value & !VALUE_RESENT),
            Closed | ResetByOpener | ResetByAcceptor | Idle | Interrupted | Open if self.value == VALUE_UNKNOWN => {
                NO_TIME
            }
            Closed | ResetByOpener | ResetByAcceptor | Idle | Interrupted | Open | Sample => value,
            RetransmitSyn | RetransmitSynAck | RetransmitData => value.max(1),
            ZeroWindow => by_acceptor.into(),
            _ => 0,
        };
        let opened = if by_acceptor { record.reversed() } else { *record };
        // A socket is of a pod or of the node, and it is the sender.
        let direction = match self.event {
            RetransmitSyn | RetransmitSynAck | RetransmitData if by_acceptor => Direction::Ingress,
            RetransmitSyn | RetransmitSynAck | RetransmitData => Direction::Egress,
            _ => record.direction,
        };
        Flow { reply: Reply::No, direction, ..opened }.connection(self.event, value)
    }
}

/// Time for which the opener of a connection that has ended is known, and the maximal number of
/// such.
const ENDED_TTL_NS: u64 = 60_000_000_000;
const MAX_ENDED: usize = 16_384;

/// The openers of connections: a socket that sends data again does not know it.
#[derive(Debug)]
pub struct Openers {
    /// Hashes of open connections, from opener to acceptor.
    known: HashSet<u64, RandomState>,
    /// Those that have ended: a FIN may be sent again.
    ended: Expiring<u64, ()>,
    hasher: RandomState,
    most: usize,
}

impl Openers {
    /// An empty set that holds no more than so many.
    pub fn new(most: usize) -> Self {
        let ended = Expiring::new(ENDED_TTL_NS, MAX_ENDED);
        Self { known: HashSet::default(), ended, hasher: RandomState::default(), most }
    }

    /// Forgets all, before a listing.
    pub fn clear(&mut self) {
        self.known.clear();
    }

    /// Follows the events of connections. The ends of data that was sent again are exchanged if the
    /// connection is known the other way round.
    pub fn follow(&mut self, flow: &mut Flow) {
        let Some((event, _)) = flow.connection_event() else { return };
        match event {
            ConnectionEvent::Accepted | ConnectionEvent::Open if self.known.len() < self.most => {
                self.known.insert(self.hash(flow));
            }
            ConnectionEvent::RetransmitData if !self.knows(flow) => {
                let other = flow.reversed();
                if self.knows(&other) {
                    let by_opener = flow.direction == Direction::Egress;
                    let direction = if by_opener { Direction::Ingress } else { Direction::Egress };
                    *flow = Flow { direction, ..other };
                }
            }
            end if end.is_end() => {
                let hash = self.hash(flow);
                self.known.remove(&hash);
                self.ended.expire(flow.time_ns);
                self.ended.insert(hash, (), flow.time_ns);
            }
            _ => {}
        }
    }

    fn knows(&self, flow: &Flow) -> bool {
        let hash = self.hash(flow);
        self.known.contains(&hash) || self.ended.get(&hash).is_some()
    }

    fn hash(&self, flow: &Flow) -> u64 {
        let ends = (flow.source_ip, flow.destination_ip, flow.source_port, flow.destination_port);
        self.hasher.hash_one(ends)
    }
}

/// True for the opening packet of a TCP connection.
#[inline]
pub fn is_syn(flow: &Flow) -> bool {
    flow.l4 == L4::Tcp && flow.tcp_flags.has(TcpFlags::SYN) && !flow.tcp_flags.has(TcpFlags::ACK)
}
