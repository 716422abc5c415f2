//! The NAT table: maps connections to their ends before and after the kernel's address translation.
//!
//! The follower of conntrack sends [`NatUpdate`]s; the reader owns the [`Table`] alone, so a lookup
//! is a hash probe without lock. There are two lookups, each with a key of its own:
//!
//! - The backend of a connection to a service's address. The key is the connection as opened.
//! - The origin of a masqueraded connection. The key is the connection as it arrived.
//!
//! Connections without translation are not in the table.

use hashbrown::HashMap;
use webb_flow::hash::RandomState;
use webb_flow::{Address, Flow, L4};

/// An address and a port.
pub type Peer = (Address, u16);

/// The two ends of a connection, in the direction of its first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Connection {
    /// The end that opened it.
    pub source: Peer,
    /// The other end.
    pub destination: Peer,
    /// TCP, UDP or SCTP.
    pub protocol: L4,
}

impl Connection {
    /// The connection of `flow`, if the packet has the direction of the first one.
    pub fn of(flow: &Flow) -> Self {
        Self {
            source: (flow.source_ip, flow.source_port),
            destination: (flow.destination_ip, flow.destination_port),
            protocol: flow.l4,
        }
    }

    /// The connection with its ends exchanged.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source, ..self }
    }
}

/// A connection before and after translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translation {
    /// Connection as the client opened it.
    pub opened: Connection,
    /// Connection as it arrived, in the same direction.
    pub arrived: Connection,
}

impl Translation {
    /// True if nothing was translated.
    pub fn is_plain(&self) -> bool {
        self.opened == self.arrived
    }
}

/// An update of the NAT table by the follower of conntrack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatUpdate {
    /// Upserts a translation.
    Add(Translation),
    /// Removes the translation of a connection that has ended.
    Remove(Translation),
    /// Begins a full dump.
    BeginDump,
    /// Ends a full dump: translations that it did not contain are removed.
    EndDump,
    /// Answers a flush: all events until the request have been sent.
    Flushed,
    /// Answers a conntrack query: the state of the conversation of a packet with these ends.
    Answer(Connection, Conversation),
}

/// The position of a packet in its conversation, as conntrack has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conversation {
    /// Its sender opened it just now, or it is not tracked.
    New,
    /// The sender opened it, and packets went both ways for a while.
    Older,
    /// Its receiver opened it.
    Reply,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    peer: Peer,
    dump: u32,
}

type Rows = HashMap<Connection, Row, RandomState>;

/// The translations that are known, bounded.
#[derive(Debug, Default)]
pub struct Table {
    /// Backends by the connection as it was opened.
    backends: Rows,
    /// Origins by the connection as it arrived.
    origins: Rows,
    most: usize,
    dump: u32,
    refused: u64,
}

impl Table {
    /// An empty table of at most `most` translations. Memory grows with them.
    pub fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// Applies an update.
    pub fn apply(&mut self, update: NatUpdate) {
        match update {
            NatUpdate::Add(Translation { opened, arrived }) => {
                if opened.destination != arrived.destination {
                    self.insert(opened, arrived.destination, false);
                }
                if opened.source != arrived.source {
                    self.insert(arrived, opened.source, true);
                }
            }
            NatUpdate::Remove(Translation { opened, arrived }) => {
                self.backends.remove(&opened);
                self.origins.remove(&arrived);
            }
            NatUpdate::BeginDump => self.dump = self.dump.wrapping_add(1),
            NatUpdate::EndDump => {
                let dump = self.dump;
                self.backends.retain(|_, row| row.dump == dump);
                self.origins.retain(|_, row| row.dump == dump);
            }
            NatUpdate::Flushed | NatUpdate::Answer(..) => {}
        }
    }

    fn insert(&mut self, key: Connection, peer: Peer, origin: bool) {
        let full = self.len() >= self.most;
        let rows = if origin { &mut self.origins } else { &mut self.backends };
        if full && !rows.contains_key(&key) {
            self.refused += 1;
            return;
        }
        rows.insert(key, Row { peer, dump: self.dump });
    }

    /// Looks up the backend of a connection that was opened to a service's address.
    pub fn backend(&self, opened: &Connection) -> Option<Peer> {
        self.backends.get(opened).map(|row| row.peer)
    }

    /// Looks up the origin of a masqueraded connection.
    pub fn origin(&self, arrived: &Connection) -> Option<Peer> {
        self.origins.get(arrived).map(|row| row.peer)
    }

    /// The number of entries; a translation of both ends counts twice.
    pub fn len(&self) -> usize {
        self.backends.len() + self.origins.len()
    }

    /// True without entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of translations refused by a full table.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap as Plain;

    use proptest::prelude::*;

    use super::*;

    fn peer(number: u8, port: u16) -> Peer {
        let mut address = Address::default();
        address.0[15] = number;
        (address, port)
    }

    fn translation(client: u16, backend: u8, masqueraded: bool) -> Translation {
        let opened = Connection { source: peer(1, client), destination: peer(200, 80), protocol: L4::Tcp };
        let source = if masqueraded { peer(100, client) } else { opened.source };
        Translation { opened, arrived: Connection { source, destination: peer(backend, 8080), ..opened } }
    }

    /// Each side finds the other's true end, and neither what was not translated.
    #[test]
    fn both_questions_are_answered() {
        let mut table = Table::new(10);
        let (direct, hidden) = (translation(1000, 2, false), translation(1001, 3, true));
        table.apply(NatUpdate::Add(direct));
        table.apply(NatUpdate::Add(hidden));
        assert_eq!(table.backend(&direct.opened), Some(peer(2, 8080)));
        assert_eq!(table.origin(&direct.arrived), None, "its source was not translated");
        assert_eq!(table.backend(&hidden.opened), Some(peer(3, 8080)));
        assert_eq!(table.origin(&hidden.arrived), Some(peer(1, 1001)));
        table.apply(NatUpdate::Remove(hidden));
        assert_eq!((table.backend(&hidden.opened), table.origin(&hidden.arrived)), (None, None));
        assert_eq!(table.len(), 1);
    }

    /// A dump removes entries that it does not contain; those added meanwhile stay.
    #[test]
    fn a_dump_sweeps() {
        let mut table = Table::new(10);
        let [gone, stays, new] = [1000, 1001, 1002].map(|port| translation(port, 2, true));
        table.apply(NatUpdate::Add(gone));
        table.apply(NatUpdate::Add(stays));
        table.apply(NatUpdate::BeginDump);
        table.apply(NatUpdate::Add(stays));
        table.apply(NatUpdate::Add(new));
        table.apply(NatUpdate::EndDump);
        assert_eq!(table.backend(&gone.opened), None);
        assert!(table.backend(&stays.opened).is_some() && table.origin(&new.arrived).is_some());
    }

    proptest! {
        /// Under any order of changes the table agrees with two plain maps, up to its bound, and
        /// never beyond it.
        #[test]
        fn agrees_with_plain_maps(
            changes in prop::collection::vec((0_u16..12, 0_u8..3, any::<bool>(), any::<bool>()), 0..80),
            most in 0_usize..30,
        ) {
            let mut table = Table::new(most);
            let (mut backends, mut origins): (Plain<_, _>, Plain<_, _>) = Default::default();
            for (client, backend, masqueraded, add) in changes {
                let told = translation(client, backend, masqueraded);
                if add {
                    table.apply(NatUpdate::Add(told));
                    if backends.contains_key(&told.opened) || backends.len() + origins.len() < most {
                        backends.insert(told.opened, told.arrived.destination);
                    }
                    let fits = origins.contains_key(&told.arrived) || backends.len() + origins.len() < most;
                    if masqueraded && fits {
                        origins.insert(told.arrived, told.opened.source);
                    }
                } else {
                    table.apply(NatUpdate::Remove(told));
                    backends.remove(&told.opened);
                    origins.remove(&told.arrived);
                }
                prop_assert!(table.len() <= most);
                prop_assert_eq!(table.len(), backends.len() + origins.len());
                for (key, peer) in &backends {
                    prop_assert_eq!(table.backend(key), Some(*peer));
                }
                for (key, peer) in &origins {
                    prop_assert_eq!(table.origin(key), Some(*peer));
                }
            }
        }
    }
}
