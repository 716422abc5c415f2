//! What a flow that was seen here has only when it is shown: its id, and the name of its interface.

use std::collections::HashMap;
use std::fmt::Write as _;

use rustix::fd::OwnedFd;
use rustix::net::netdevice::index_to_name;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use webb_flow::extra::Interface;
use webb_flow::{Extra, Flow};

use crate::record::plain;
use crate::segment::Segment;

/// Interfaces whose name is kept.
const MAX_INTERFACES: usize = 4096;

/// Writes the id of a flow: a UUID of version 8 (RFC 9562) of the run, the segment and the place in
/// it. `seed` is a number of this run, `generation` that of the segment's index.
fn write_id(seed: u64, generation: u64, place: usize, out: &mut String) {
    out.clear();
    write_run(seed, generation, out);
    // Writing to memory does not fail.
    let _written = write!(out, "{place:012x}");
}

/// Appends the part of an id that all flows of a segment have.
pub(crate) fn write_run(seed: u64, generation: u64, out: &mut String) {
    let run = seed ^ generation.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // Writing to memory does not fail.
    let _written =
        write!(out, "{:08x}-{:04x}-8{:03x}-8{:03x}-", run >> 32, run >> 16 & 0xffff, run >> 4 & 0xfff, run & 0xf);
}

/// Appends the part of an id that is the flow's own, faster than a format does.
pub(crate) fn put_place(place: usize, out: &mut Vec<u8>) {
    out.extend((0..12_u32).rev().map(|digit| match place >> (4 * digit) & 15 {
        nibble @ 0..=9 => b'0' + nibble.to_le_bytes()[0],
        nibble => b'a' - 10 + nibble.to_le_bytes()[0],
    }));
}

/// Names of this node's interfaces, each asked of the kernel once.
#[derive(Debug, Default)]
pub(crate) struct Interfaces {
    names: HashMap<u32, String>,
    socket: Option<OwnedFd>,
}

impl Interfaces {
    /// The name of an interface; empty if there is none of that number any more.
    pub(crate) fn name(&mut self, index: u32) -> &str {
        if !self.names.contains_key(&index) {
            if self.names.len() >= MAX_INTERFACES {
                self.names.clear();
            }
            let name = self.ask(index);
            self.names.insert(index, name);
        }
        self.names.get(&index).map_or("", String::as_str)
    }

    fn ask(&mut self, index: u32) -> String {
        if self.socket.is_none() {
            self.socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok();
        }
        self.socket.as_ref().and_then(|socket| index_to_name(socket, index).ok()).unwrap_or_default()
    }
}

/// Makes extras with these details, for filters that read them.
#[derive(Debug)]
pub(crate) struct Details {
    seed: u64,
    interfaces: Interfaces,
}

impl Details {
    /// Details of the run of that seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, interfaces: Interfaces::default() }
    }

    /// The extra of a flow with its details.
    pub(crate) fn extra(&mut self, segment: &Segment, place: usize, flow: &Flow) -> Extra {
        let mut extra = segment.extra(flow).cloned().unwrap_or_else(|| plain(flow));
        write_id(self.seed, segment.index.generation(), segment.before + place, &mut extra.uuid);
        let name = self.interfaces.name(flow.ifindex).to_owned();
        extra.interface = Some(Interface { index: flow.ifindex, name });
        extra
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A flow has one id, whichever way it is written.
    #[test]
    fn ids_are_the_same() {
        for (seed, generation, place) in [(7, 1, 0), (u64::MAX, 3, 1023), (5, u64::MAX, 0x0abc_def0)] {
            let (mut whole, mut parts) = (String::new(), String::new());
            write_id(seed, generation, place, &mut whole);
            write_run(seed, generation, &mut parts);
            let mut parts = parts.into_bytes();
            put_place(place, &mut parts);
            assert_eq!(whole.as_bytes(), parts);
            assert_eq!(whole.len(), 36);
        }
    }

    /// The loopback is the first interface of every network namespace.
    #[test]
    fn names_of_interfaces() {
        let mut interfaces = Interfaces::default();
        assert_eq!(interfaces.name(1), "lo");
        assert_eq!(interfaces.name(u32::MAX), "");
        assert_eq!(interfaces.names.len(), 2);
    }
}
