//! Selects the programs for a pod's interface: the plain ones, or those for interfaces with special
//! properties.
//!
//! It is found out by looking, since no message says so: whether it is a port of a bridge, and
//! whether a program or a queue stands behind ours on the way out. The looks are cheap, and
//! repeated: after events of traffic control, and now and then because TCX has none.

use std::io;

use aya::programs::tc::SchedClassifierLink;
use aya::programs::{ProgramError, SchedClassifier};

use super::error::{AttachError, LoadError, chain};
use super::ports::{Special, mac_number, possible, programs};
use super::probes::{CLSACT, Links, Probes};
use super::sys;
use super::traffic_control::{Egress, TrafficControl};
use crate::network::Role;

/// An interface that is watched in another way from now on.
#[derive(Debug)]
pub struct Arranged {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Special properties of the interface now. After an error it is not watched any more.
    pub outcome: Result<Special, AttachError>,
}

impl Probes {
    /// Looks at what else is on the way out of pods' interfaces, and has each watched as that
    /// needs. What is new comes back.
    pub fn arrange(&mut self, traffic_control: &mut TrafficControl) -> io::Result<Vec<Arranged>> {
        let egress = traffic_control.egress()?;
        let mut changed = Vec::new();
        for (&index, links) in self.attached.iter().filter(|(_, links)| links.role == Role::Pod) {
            let egress = egress.get(&index).copied().unwrap_or_default();
            let special = Special { bridge: links.bridge, at_device: self.is_shared(index, egress) };
            if special != links.special {
                changed.push((index, special));
            }
        }
        let arrange = |(index, special)| self.arrange_one(index, special, traffic_control);
        let arranged = changed.into_iter().filter_map(arrange).collect();
        let traced = self.attached.values().any(|links| links.special.at_device);
        if !traced {
            // Taking them off cannot fail.
            let _off = self.trace(false);
        }
        Ok(arranged)
    }

    /// True if a packet that our egress program has seen may end behind it.
    fn is_shared(&self, index: u32, egress: Egress) -> bool {
        if self.means() == CLSACT {
            return egress.queue || egress.filters > 1;
        }
        // A chain that cannot be asked about belongs to an interface that has just gone.
        egress.queue || egress.filters > 0 || sys::chain(index, sys::TCX_EGRESS).is_ok_and(|chain| chain.len() > 1)
    }

    fn arrange_one(&mut self, index: u32, special: Special, kernel: &mut TrafficControl) -> Option<Arranged> {
        let links = self.attached.remove(&index)?;
        let name = links.name.clone();
        let outcome = match self.rearrange(index, links, special, kernel) {
            Ok(links) => {
                self.attached.insert(index, links);
                Ok(special)
            }
            Err(why) => {
                self.ports.remove(index);
                Err(AttachError::Refused { name: name.clone(), means: self.means(), why })
            }
        };
        Some(Arranged { index, name, outcome })
    }

    /// Replaces programs where they stand, so that no packet passes unseen or is seen twice. What
    /// counts at the device is switched by one bit that both programs look at: a packet that is
    /// between the two at that moment may count twice, or not at all.
    fn rearrange(
        &mut self,
        index: u32,
        mut links: Links,
        special: Special,
        kernel: &mut TrafficControl,
    ) -> Result<Links, String> {
        let (was, is) = (possible(links.special, &self.ports), possible(special, &self.ports));
        if is.at_device {
            self.trace(true).map_err(|error| chain(&error))?;
        }
        let own = links.peer.filter(|_| is.bridge.is_some()).and_then(|(namespace, peer)| {
            // Without it the pod's address is known when it has sent something.
            kernel.address(namespace, peer).ok().flatten().map(mac_number)
        });
        let before = Special { at_device: is.at_device && was.at_device, ..is };
        self.ports.set(index, before, own).map_err(|error| chain(&error))?;
        let ((was_from, was_to), (from, to)) = (programs(was), programs(is));
        if from != was_from {
            links.ingress = self.replace(links.ingress, from).map_err(|error| chain(&error))?;
        }
        if to != was_to {
            links.egress = self.replace(links.egress, to).map_err(|error| chain(&error))?;
        }
        if is.is_none() {
            self.ports.remove(index);
        } else {
            self.ports.set(index, is, own).map_err(|error| chain(&error))?;
        }
        links.special = special;
        Ok(links)
    }

    /// Attaches the programs at the device, or takes them off.
    pub(super) fn trace(&mut self, wanted: bool) -> Result<(), LoadError> {
        self.ports.trace(&mut self.flow, self.entries.as_mut().zip(self.pins.as_ref()), wanted)
    }

    fn replace(&mut self, link: SchedClassifierLink, name: &str) -> Result<SchedClassifierLink, ProgramError> {
        let classifier: &mut SchedClassifier =
            self.flow.program_mut(name).ok_or(ProgramError::NotLoaded)?.try_into()?;
        let id = classifier.attach_to_link(link)?;
        classifier.take_link(id)
    }
}
