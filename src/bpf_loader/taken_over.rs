//! [`TakenOver`]: how far a process of before had come with maps that are taken over.

use webb_flow::abi::{HOOKS, Totals};

use super::error::LoadError;
use super::ledger::Ledger;
use super::object::refused;
use super::ring::KernelRings;

/// Attempts to read counters and rings while no packet changes them.
const READ_ATTEMPTS: u32 = 100;

/// What a process of before had done with maps that were taken over.
#[derive(Debug)]
pub struct TakenOver {
    /// The kernel's counters just before this process read its first record.
    pub totals: Box<[Totals; HOOKS]>,
    /// Packets of records that processes of before have read, since the maps were made.
    pub read_packets: u64,
}

impl TakenOver {
    /// Reads it, before the first record is read. Programs of before are at work: it is exact if
    /// they write no record during one of a hundred attempts, else off by those of one attempt.
    pub(super) fn read(ledger: &Ledger, rings: &KernelRings) -> Result<Self, LoadError> {
        let mut attempts = READ_ATTEMPTS;
        loop {
            let before = rings.ends();
            let totals = ledger.totals().map_err(|error| refused("the totals", &error))?;
            let (unread, is_whole) = rings.unread_packets().map_err(|error| refused("a ring", &error))?;
            attempts -= 1;
            if attempts == 0 || is_whole && rings.ends() == before {
                let reported: u64 = totals.iter().map(|totals| totals.reported_packets).sum();
                return Ok(Self { totals: Box::new(totals), read_packets: reported.saturating_sub(unread) });
            }
        }
    }
}
