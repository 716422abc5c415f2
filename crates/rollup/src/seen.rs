//! [`Seen`]: what the eBPF programs have seen, and what of it no row has.

/// Packets and events since the maps of the eBPF programs were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Packets that the programs saw.
    pub packets: u64,
    /// Packets of these that no row has: there was no room for them, or they could not be read.
    pub missing_packets: u64,
    /// Their bytes.
    pub missing_bytes: u64,
    /// Packets of these that belong in no row: they are no pod's, or another point counts them.
    pub foreign_packets: u64,
    /// Events of connections that no row has.
    pub missing_events: u64,
    /// Retransmitted segments that no row has.
    pub missing_retransmits: u64,
}

impl Seen {
    /// What was seen since then.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        let mut numbers = self.numbers();
        for (number, before) in numbers.iter_mut().zip(before.numbers()) {
            *number = number.saturating_sub(before);
        }
        Self::of(numbers)
    }

    /// All fields.
    pub fn numbers(self) -> [u64; 6] {
        let Self { packets, missing_packets, missing_bytes, foreign_packets, missing_events, missing_retransmits } =
            self;
        [packets, missing_packets, missing_bytes, foreign_packets, missing_events, missing_retransmits]
    }

    /// The reverse of [`Self::numbers`].
    pub fn of(numbers: [u64; 6]) -> Self {
        let [packets, missing_packets, missing_bytes, foreign_packets, missing_events, missing_retransmits] = numbers;
        Self { packets, missing_packets, missing_bytes, foreign_packets, missing_events, missing_retransmits }
    }
}
