//! [`Lost`]: flows that never came to a row, with what rows would have counted of them.

use std::ops::{Add, AddAssign};

use webb_flow::{Extra, Flow};

use super::sums::Share;

/// Flows that never came to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lost {
    /// Their number.
    pub flows: u64,
    /// Packets that they would have added to rows.
    pub packets: u64,
    /// Bytes of these packets.
    pub bytes: u64,
}

impl Lost {
    /// These flows; `extras` are those of their batch. Of flows about one packet one counts it, as
    /// in rows.
    pub fn of(flows: &[Flow], extras: &[Extra]) -> Self {
        let mut lost = Self { flows: flows.len() as u64, ..Self::default() };
        let has_packets = |flow: &&Flow| Share::of(flow, extras.get(flow.extra.0 as usize)) == Some(Share::Packets);
        for flow in flows.iter().filter(has_packets) {
            lost.packets += u64::from(flow.packets);
            lost.bytes += flow.bytes;
        }
        lost
    }

    /// What is lost since then.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            flows: self.flows.saturating_sub(before.flows),
            packets: self.packets.saturating_sub(before.packets),
            bytes: self.bytes.saturating_sub(before.bytes),
        }
    }
}

impl Add for Lost {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl AddAssign for Lost {
    fn add_assign(&mut self, other: Self) {
        self.flows += other.flows;
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}
