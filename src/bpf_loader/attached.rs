//! Whether the programs are still where they were attached.

use std::collections::HashMap;
use std::io;

use aya::programs::SchedClassifier;

use super::arrange::{possible, programs};
use super::object::{CLASSIFIERS, FROM_PORT, TO_PORT};
use super::probes::{Hook, Links, Probes};
use super::sys;
use crate::network::Role;

/// A watched interface with the programs that are to be on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The interface's index.
    pub index: u32,
    /// What it is watched as.
    pub role: Role,
    /// The programs are filters of a clsact qdisc, not in the TCX chains.
    pub by_filters: bool,
    /// The id of the program for packets that come in by it.
    pub ingress: u32,
    /// The id of the program for packets that leave by it.
    pub egress: u32,
}

impl Attached {
    /// Whether both programs are among those of the interface.
    pub fn is_in(&self, ingress: &[u32], egress: &[u32]) -> bool {
        ingress.contains(&self.ingress) && egress.contains(&self.egress)
    }

    /// Whether both programs are in the interface's TCX chains.
    ///
    /// # Errors
    /// If the kernel does not say; an interface that is gone has empty chains.
    pub fn is_in_chain(&self) -> io::Result<bool> {
        let chain = |attach_type| match sys::chain(self.index, attach_type) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(Vec::new()),
            other => other,
        };
        Ok(self.is_in(&chain(sys::TCX_INGRESS)?, &chain(sys::TCX_EGRESS)?))
    }
}

impl Probes {
    /// Gives an interface up whose programs something else has removed. Unlike [`Probes::detach`] it removes nothing: in
    /// the place of a filter of ours there may be one of another's by now.
    pub fn abandon(&mut self, index: u32) {
        self.ports.remove(index);
        let Some(links) = self.attached.remove(&index) else { return };
        if self.by_filters() {
            // Dropping such a link deletes whatever filter has its number. It holds no file descriptor.
            std::mem::forget((links.ingress, links.egress));
        }
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
