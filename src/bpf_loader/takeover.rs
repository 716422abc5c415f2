//! [`Probes`] of a handover: what is taken over at the start, and what is removed once all
//! interfaces are known.

use std::collections::HashSet;

use super::error::LoadError;
use super::handover::{AT_SENDING, AT_SENT, Entries, HandoverOutcome, Leftovers};
use super::ports::Special;
use super::probes::Probes;
use super::taken_over::TakenOver;
use crate::network::Role;

impl Probes {
    /// What a process of before had done with the maps; none where they are new, or if it has been
    /// taken.
    pub fn take_taken_over(&mut self) -> Option<TakenOver> {
        self.taken_over.take()
    }

    /// Outcome of looking for what a process of before has left; none if it was not looked for, or
    /// there was nothing to remove.
    pub fn handover(&self) -> Option<HandoverOutcome> {
        self.handover
    }

    /// True if the programs stay when this process ends.
    pub fn hands_over(&self) -> bool {
        self.pins.is_some()
    }

    /// Reads what was done with the maps, and puts right what is beside them and the links:
    /// interfaces of the map that have no program any more, and the programs at the device.
    pub(super) fn take_over(mut self) -> Result<Self, LoadError> {
        let Some(pins) = &self.pins else { return Ok(self) };
        if pins.are_taken_over() {
            self.taken_over = Some(TakenOver::read(&self.ledger(), &self.rings())?);
        }
        self.ports.retain(|index| pins.has(index));
        if [AT_SENDING, AT_SENT].iter().any(|entry| Entries::is_attached(pins, *entry))
            && let Err(error) = self.trace(true)
        {
            // Without it what the entries call is the program of before, which counts as well.
            tracing::warn!("programs at the device are not taken over: {error}");
        }
        Ok(self)
    }

    /// Special properties of an interface whose links were left by a process of before; none if
    /// there are no such links. The program in their place must be the one for these.
    pub(super) fn left(&mut self, index: u32, role: Role) -> Option<Special> {
        let pins = self.pins.as_ref()?;
        if self.attached.contains_key(&index) || !pins.has(index) {
            return None;
        }
        if role == Role::Pod {
            return Some(self.ports.left(index));
        }
        self.ports.remove(index);
        Some(Special::default())
    }

    /// Removes what an earlier process has left and this one does not want. All interfaces that are
    /// there must have been attached to. Returns the number of links and of sets of maps.
    pub fn settle(&mut self) -> (usize, usize) {
        let attached: HashSet<u32> = self.attached.keys().copied().collect();
        let sets = self.leftovers.take().map_or(0, Leftovers::remove);
        let (links, more) = self.pins.as_mut().map_or((0, 0), |pins| pins.settle(&attached));
        (links, sets + more)
    }
}
