//! Tracks the owners of a table's series, so that room is shared fairly between pods.
//!
//! A series belongs to the interface at which the first of its flows was seen, which is a pod's;
//! series of strangers (the world, and addresses without a name) are apart from those between known
//! ends. One owner may hold at most [`SHARE`] times as many series as there is room for, the rule
//! by which switches share a buffer between their ports: a single greedy owner gets four fifths of
//! all room, two get four ninths each, and however greedy some are, a share is left for all others.
//! No number of owners must be known beforehand.

use hashbrown::HashMap;
use webb_flow::hash::RandomState;
use webb_flow::{Flow, Sort};

/// Maximal part of one owner, as a multiple of the room that is left.
const SHARE: usize = 4;

/// An interface, and true if an end of the flow has no endpoint in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Owner {
    /// 0 for none: flows of a file have no interface, and share all room.
    ifindex: u32,
    stranger: bool,
}

impl Owner {
    pub(super) fn of(flow: &Flow) -> Self {
        let is_stranger = |sort| matches!(sort, Sort::World | Sort::Unnamed | Sort::Unknown);
        let stranger = is_stranger(flow.source.sort()) || is_stranger(flow.destination.sort());
        Self { ifindex: flow.ifindex, stranger }
    }
}

#[derive(Debug, Default)]
struct Tally {
    series: usize,
    /// Number of further looks at which series of this owner are removed.
    pressed: u32,
}

/// The owners of a table's series.
#[derive(Debug, Default)]
pub(super) struct Owners {
    by_slot: Vec<Owner>,
    tallies: HashMap<Owner, Tally, RandomState>,
}

impl Owners {
    /// True if the owner may have one more series while there is room for so many.
    pub(super) fn fits(&self, owner: Owner, room: usize) -> bool {
        owner.ifindex == 0 || self.tallies.get(&owner).is_none_or(|tally| tally.series < room.saturating_mul(SHARE))
    }

    /// Notes that a series of the owner was refused: for so many looks its idle series make room.
    pub(super) fn press(&mut self, owner: Owner, looks: u32) {
        self.tallies.entry(owner).or_default().pressed = looks;
    }

    /// Records the owner of a new series.
    pub(super) fn add(&mut self, slot: u32, owner: Owner) {
        let slot = slot as usize;
        if self.by_slot.len() <= slot {
            self.by_slot.resize(slot + 1, Owner::default());
        }
        if let Some(place) = self.by_slot.get_mut(slot) {
            *place = owner;
        }
        self.tallies.entry(owner).or_default().series += 1;
    }

    /// Removes a series.
    pub(super) fn remove(&mut self, slot: u32) {
        let owner = self.of(slot);
        if let Some(tally) = self.tallies.get_mut(&owner) {
            tally.series = tally.series.saturating_sub(1);
            if tally.series == 0 && tally.pressed == 0 {
                self.tallies.remove(&owner);
            }
        }
    }

    pub(super) fn of(&self, slot: u32) -> Owner {
        self.by_slot.get(slot as usize).copied().unwrap_or_default()
    }

    /// True if idle series of the slot's owner make room: some of its own were refused, or it holds
    /// as many as `much`.
    pub(super) fn gives_up(&self, slot: u32, much: usize) -> bool {
        self.tallies.get(&self.of(slot)).is_some_and(|tally| tally.pressed > 0 || tally.series >= much)
    }

    /// An equal part of all series for each owner.
    pub(super) fn equal_part(&self) -> usize {
        self.tallies.values().map(|tally| tally.series).sum::<usize>() / self.tallies.len().max(1)
    }

    /// True if series of some owner were refused lately.
    pub(super) fn are_pressed(&self) -> bool {
        self.tallies.values().any(|tally| tally.pressed > 0)
    }

    /// A look is over.
    pub(super) fn looked(&mut self) {
        self.tallies.retain(|_, tally| {
            tally.pressed = tally.pressed.saturating_sub(1);
            tally.series > 0 || tally.pressed > 0
        });
    }

    /// Gives the series other slots: those in this order are 0, 1, 2, ...
    pub(super) fn renumber(&mut self, slots: &[u32]) {
        self.by_slot = slots.iter().map(|&slot| self.of(slot)).collect();
        self.tallies.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use webb_flow::EndpointId;

    use super::*;

    /// Adds series of an owner while they fit; returns how many it has then.
    fn greed(owners: &mut Owners, owner: Owner, held: &mut usize, most: usize) -> usize {
        let before = *held;
        while *held < most && owners.fits(owner, most - *held) {
            owners.add(u32::try_from(*held).unwrap(), owner);
            *held += 1;
        }
        *held - before
    }

    fn owner(ifindex: u32) -> Owner {
        Owner { ifindex, stranger: true }
    }

    /// One greedy owner leaves a fifth, and no order of greedy ones leaves a new one nothing.
    #[test]
    fn greed_leaves_room() {
        let (mut owners, mut held) = (Owners::default(), 0);
        assert_eq!(greed(&mut owners, owner(1), &mut held, 1000), 800);
        let shares: Vec<usize> = (2..6).map(|number| greed(&mut owners, owner(number), &mut held, 1000)).collect();
        assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
        assert!(greed(&mut Owners::default(), Owner::default(), &mut 0, 1000) == 1000, "a file's flows have all");
    }

    /// A scan of the world by a pod does not count against its series with pods.
    #[test]
    fn strangers_are_apart() {
        let flow = |sort| Flow {
            ifindex: 7,
            source: EndpointId::new(Sort::Local, 5),
            destination: EndpointId::new(sort, 6),
            ..Flow::default()
        };
        assert_eq!(Owner::of(&flow(Sort::Remote)), Owner::of(&flow(Sort::Service)));
        assert_ne!(Owner::of(&flow(Sort::Remote)), Owner::of(&flow(Sort::World)));
        assert_eq!(Owner::of(&flow(Sort::Unnamed)), Owner::of(&flow(Sort::World)));
    }

    proptest! {
        /// However owners come and go, a tally is the number of the owner's slots.
        #[test]
        fn tallies_are_exact(steps in prop::collection::vec((0..4_u32, 0..20_u32), 0..200)) {
            let (mut owners, mut slots) = (Owners::default(), std::collections::BTreeMap::new());
            for (number, slot) in steps {
                if slots.remove(&slot).is_some() {
                    owners.remove(slot);
                } else {
                    owners.add(slot, owner(number));
                    slots.insert(slot, number);
                }
                for number in 0..4 {
                    let expected = slots.values().filter(|other| **other == number).count();
                    prop_assert_eq!(owners.tallies.get(&owner(number)).map_or(0, |tally| tally.series), expected);
                }
            }
        }
    }
}
