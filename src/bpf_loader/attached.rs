//! Verifies the positions of the programs: still attached, and first.

use std::collections::HashMap;
use std::io;

use aya::programs::{MultiProgLink, SchedClassifier};

use super::object::{CLASSIFIERS, FROM_PORT, TO_PORT};
use super::ports::{possible, programs};
use super::probes::{Hook, Links, Probes};
use super::sys;
use crate::network::Role;

/// A watched interface with the programs that are to be on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The interface's index.
    pub index: u32,
    /// Role of the watched interface.
    pub role: Role,
    /// The programs are filters of a clsact qdisc, not in the TCX chains.
    pub by_filters: bool,
    /// The id of the program for packets that come in by it.
    pub ingress: u32,
    /// The id of the program for packets that leave by it.
    pub egress: u32,
}

/// Position of an interface's programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookPosition {
    /// Both are first in their direction.
    First,
    /// Both are there, but another comes before one of them, and may end a packet before it is
    /// seen.
    Behind,
    /// One of them is missing.
    Absent,
}

impl Attached {
    /// Position of both programs among those of the interface, given in the order of their running.
    fn place(&self, ingress: &[u32], egress: &[u32]) -> HookPosition {
        if ingress.first() == Some(&self.ingress) && egress.first() == Some(&self.egress) {
            return HookPosition::First;
        }
        if ingress.contains(&self.ingress) && egress.contains(&self.egress) {
            HookPosition::Behind
        } else {
            HookPosition::Absent
        }
    }

    /// Position of both programs in the interface's TCX chains.
    ///
    /// # Errors
    /// If the kernel does not say; an interface that is gone has empty chains.
    pub fn place_in_chains(&self) -> io::Result<HookPosition> {
        Ok(self.place(&chain(self.index, sys::TCX_INGRESS)?, &chain(self.index, sys::TCX_EGRESS)?))
    }

    /// Position of both programs among the filters of the interface. All programs of a TCX chain
    /// run before the filters.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn place_among_filters(&self, ingress: &[u32], egress: &[u32]) -> io::Result<HookPosition> {
        let place = self.place(ingress, egress);
        let chained = |attach_type| Ok::<_, io::Error>(!chain(self.index, attach_type)?.is_empty());
        if place == HookPosition::First && (chained(sys::TCX_INGRESS)? || chained(sys::TCX_EGRESS)?) {
            return Ok(HookPosition::Behind);
        }
        Ok(place)
    }
}

/// A TCX chain; empty for an interface that was removed, and on kernels without TCX.
fn chain(index: u32, attach_type: u32) -> io::Result<Vec<u32>> {
    match sys::chain(index, attach_type) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EINVAL)) => Ok(Vec::new()),
        other => other,
    }
}

impl Probes {
    /// Drops the state of an interface after another process removed its programs. Unlike
    /// [`Probes::detach`] it removes nothing: in the place of a filter of ours there may be one of
    /// another's by now.
    pub fn abandon(&mut self, index: u32) {
        self.ports.remove(index);
        if let Some(pins) = &self.pins {
            pins.remove(index);
        }
        let Some(links) = self.attached.remove(&index) else { return };
        if self.by_filters() {
            // Dropping such a link deletes whatever filter has its number. It holds no file
            // descriptor.
            std::mem::forget((links.ingress, links.egress));
        }
    }

    /// Where the programs of an interface are by their TCX links: on it, or not. Needs no
    /// capability.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn place_by_links(&self, index: u32) -> io::Result<HookPosition> {
        let Some(links) = self.attached.get(&index) else { return Ok(HookPosition::Absent) };
        for link in [&links.ingress, &links.egress] {
            if sys::linked_interface(link.fd().map_err(io::Error::other)?)? != index {
                return Ok(HookPosition::Absent);
            }
        }
        Ok(HookPosition::First)
    }

    /// Watched interfaces with the programs that are to be on them.
    pub fn attachments(&self) -> Vec<Attached> {
        let by_filters = self.by_filters();
        let id = |name: &str| -> Option<u32> {
            let program: &SchedClassifier = self.flow.program(name)?.try_into().ok()?;
            program.info().ok().map(|info| info.id())
        };
        let ids: HashMap<&str, u32> =
            CLASSIFIERS.iter().chain(&[FROM_PORT, TO_PORT]).filter_map(|&name| Some((name, id(name)?))).collect();
        let attachment = |(&index, links): (&u32, &Links)| {
            let (ingress, egress) = match links.role {
                Role::Pod => programs(possible(links.special, &self.ports)),
                Role::Node => (Hook::FromNetwork.program(), Hook::ToNetwork.program()),
            };
            let (ingress, egress) = (*ids.get(ingress)?, *ids.get(egress)?);
            Some(Attached { index, role: links.role, by_filters, ingress, egress })
        };
        self.attached.iter().filter_map(attachment).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that is there does not see what another before it ends; one that is gone sees
    /// nothing.
    #[test]
    fn places() {
        let ours = Attached { index: 7, role: Role::Pod, by_filters: false, ingress: 11, egress: 12 };
        assert_eq!(ours.place(&[11], &[12, 3]), HookPosition::First);
        assert_eq!(ours.place(&[3, 11], &[12]), HookPosition::Behind);
        assert_eq!(ours.place(&[11], &[3, 12]), HookPosition::Behind);
        assert_eq!(ours.place(&[3, 11], &[3]), HookPosition::Absent);
        assert_eq!(ours.place(&[], &[]), HookPosition::Absent);
    }
}
