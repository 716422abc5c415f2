//! What the kernel's address translation made of a connection: the table that flows are looked up in.
//!
//! Who follows the kernel's connection tracking sends [`Change`]s; the reader owns the [`Table`] and is the only one to
//! touch it, so a lookup is a hash probe without lock. Two questions are asked of it, each with a key of its own:
//!
//! - A client talks to a service's address: who answers? Key is the connection as the client sees it.
//! - A server is talked to by a node: for whom? Key is the connection as the server sees it, sources translated.
//!
//! Connections whose addresses nobody changed are not in the table.

use hashbrown::HashMap;
use webb_flow::hash::RandomState;
use webb_flow::{Address, Flow, L4};

/// An address and a port.
pub type Peer = (Address, u16);

/// The two ends of a connection, in the direction of its first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Connection {
    /// Who opened it.
    pub source: Peer,
    /// With whom.
    pub destination: Peer,
    /// TCP, UDP or SCTP.
    pub protocol: L4,
}

impl Connection {
    /// The connection that `flow` is a packet of, if the packet goes the way of the first.
    pub fn of(flow: &Flow) -> Self {
        Self {
            source: (flow.source_ip, flow.source_port),
            destination: (flow.destination_ip, flow.destination_port),
            protocol: flow.l4,
        }
    }

    /// With the ends exchanged.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source, ..self }
    }
}

/// A connection before and after translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translation {
    /// As the client opened it.
    pub opened: Connection,
    /// As it arrived, in the same direction.
    pub arrived: Connection,
}

impl Translation {
    /// True if nothing was translated: then there is nothing to remember.
    pub fn is_plain(&self) -> bool {
        self.opened == self.arrived
    }
}

/// What the follower of connection tracking says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A connection is translated so.
    Add(Translation),
    /// It has ended.
    Remove(Translation),
    /// From here on everything that exists is told anew.
    Begin,
    /// All of it has been told: what was not is gone.
    End,
    /// Somebody asked: what had happened by then has been told.
    UpToDate,
    /// The answer to a question: what a packet with these ends is to its conversation.
    Answer(Connection, Conversation),
}

/// What a packet is to the conversation that it belongs to, as connection tracking knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conversation {
    /// Its sender opened it just now, or it is not tracked.
    New,
    /// Its sender opened it, and packets went both ways for a while.
    Older,
    /// Its receiver opened it.
    Reply,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    peer: Peer,
    told: u32,
}

type Rows = HashMap<Connection, Row, RandomState>;

/// The translations that are known, bounded.
#[derive(Debug, Default)]
pub struct Table {
    /// By the connection as it was opened: who answers.
    backends: Rows,
    /// By the connection as it arrived: who opened it.
    origins: Rows,
    most: usize,
    told: u32,
    refused: u64,
}

impl Table {
    /// A table for so many translations. Memory is taken as they come.
    pub fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// Takes a change in.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Add(Translation { opened, arrived }) => {
                if opened.destination != arrived.destination {
                    self.insert(opened, arrived.destination, false);
                }
                if opened.source != arrived.source {
                    self.insert(arrived, opened.source, true);
                }
            }
            Change::Remove(Translation { opened, arrived }) => {
                self.backends.remove(&opened);
                self.origins.remove(&arrived);
            }
            Change::Begin => self.told = self.told.wrapping_add(1),
            Change::End => {
                let told = self.told;
                self.backends.retain(|_, row| row.told == told);
                self.origins.retain(|_, row| row.told == told);
            }
            Change::UpToDate | Change::Answer(..) => {}
        }
    }

    fn insert(&mut self, key: Connection, peer: Peer, origin: bool) {
        let full = self.len() >= self.most;
        let rows = if origin { &mut self.origins } else { &mut self.backends };
        if full && !rows.contains_key(&key) {
            self.refused += 1;
            return;
        }
        rows.insert(key, Row { peer, told: self.told });
    }

    /// Who answers a connection that was opened to a service's address.
    pub fn backend(&self, opened: &Connection) -> Option<Peer> {
        self.backends.get(opened).map(|row| row.peer)
    }

    /// Who opened a connection that arrived from somebody else's address.
    pub fn origin(&self, arrived: &Connection) -> Option<Peer> {
        self.origins.get(arrived).map(|row| row.peer)
    }

    /// How many translations are known; one of both ends counts twice.
    pub fn len(&self) -> usize {
        self.backends.len() + self.origins.len()
    }

    /// True if none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many were refused because the table was full.
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
        table.apply(Change::Add(direct));
        table.apply(Change::Add(hidden));
        assert_eq!(table.backend(&direct.opened), Some(peer(2, 8080)));
        assert_eq!(table.origin(&direct.arrived), None, "its source was not translated");
        assert_eq!(table.backend(&hidden.opened), Some(peer(3, 8080)));
        assert_eq!(table.origin(&hidden.arrived), Some(peer(1, 1001)));
        table.apply(Change::Remove(hidden));
        assert_eq!((table.backend(&hidden.opened), table.origin(&hidden.arrived)), (None, None));
        assert_eq!(table.len(), 1);
    }

    /// Telling everything anew drops what is not told; what came meanwhile stays.
    #[test]
    fn a_retelling_sweeps() {
        let mut table = Table::new(10);
        let [gone, stays, new] = [1000, 1001, 1002].map(|port| translation(port, 2, true));
        table.apply(Change::Add(gone));
        table.apply(Change::Add(stays));
        table.apply(Change::Begin);
        table.apply(Change::Add(stays));
        table.apply(Change::Add(new));
        table.apply(Change::End);
        assert_eq!(table.backend(&gone.opened), None);
        assert!(table.backend(&stays.opened).is_some() && table.origin(&new.arrived).is_some());
    }

    proptest! {
        /// Under any order of changes the table agrees with two plain maps, up to its bound, and never beyond it.
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
                    table.apply(Change::Add(told));
                    if backends.contains_key(&told.opened) || backends.len() + origins.len() < most {
                        backends.insert(told.opened, told.arrived.destination);
                    }
                    let fits = origins.contains_key(&told.arrived) || backends.len() + origins.len() < most;
                    if masqueraded && fits {
                        origins.insert(told.arrived, told.opened.source);
                    }
                } else {
                    table.apply(Change::Remove(told));
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
