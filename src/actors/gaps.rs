//! Gaps: times in which an interface was not watched because something else removed the programs from it.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// How often it is verified that the programs are where they were attached.
pub(super) const VERIFY: Duration = Duration::from_secs(5);

/// After how long that is verified first.
const SOON: Duration = Duration::from_millis(200);

/// How long a gap is spoken of.
const RECENT: Duration = Duration::from_mins(10);

/// Gaps that are remembered.
const MOST: usize = 16;

/// What was last known of the attachments, and the gaps since.
#[derive(Debug)]
pub(super) struct Gaps {
    /// Packets that each interface had counted when the programs were last there.
    verified: HashMap<u32, u64>,
    recent: VecDeque<Gap>,
    pub(super) next: Instant,
}

#[derive(Debug)]
struct Gap {
    name: String,
    ended: Instant,
    packets: u64,
}

impl Gaps {
    pub(super) fn new(now: Instant) -> Self {
        Self { verified: HashMap::new(), recent: VecDeque::new(), next: now + VERIFY }
    }

    /// Something was attached: from when on its packets could be missed is to be known soon.
    pub(super) fn soon(&mut self, now: Instant) {
        self.next = self.next.min(now + SOON);
    }

    /// The programs are where they should be, and the interface has counted so many packets.
    pub(super) fn intact(&mut self, index: u32, packets: u64) {
        self.verified.insert(index, packets);
    }

    /// The programs were gone and are attached again. Returns how many packets may have passed unseen: all that the
    /// interface counted since they were last there.
    pub(super) fn mended(&mut self, index: u32, name: &str, packets: u64, now: Instant) -> u64 {
        let before = self.verified.insert(index, packets).unwrap_or(packets);
        let missed = packets.saturating_sub(before);
        if self.recent.len() == MOST {
            self.recent.pop_front();
        }
        self.recent.push_back(Gap { name: name.to_owned(), ended: now, packets: missed });
        missed
    }

    /// The interface is gone, or not watched any more.
    pub(super) fn forget(&mut self, index: u32) {
        self.verified.remove(&index);
    }

    /// What is to be said of recent gaps; none if there are none.
    pub(super) fn complaint(&mut self, now: Instant) -> Option<String> {
        self.recent.retain(|gap| now.saturating_duration_since(gap.ended) < RECENT);
        let last = self.recent.back()?;
        let packets: u64 = self.recent.iter().map(|gap| gap.packets).sum();
        let minutes = RECENT.as_secs() / 60;
        Some(format!(
            "in the last {minutes} minutes something else has removed the programs from interfaces {} times (last: {}); \
             they are attached again, and up to {packets} packets were not seen",
            self.recent.len(),
            last.name,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A gap counts what the interface counted since the programs were last there, is spoken of for a while, and the
    /// memory of gaps has an end.
    #[test]
    fn gaps_are_counted_and_forgotten() {
        let now = Instant::now();
        let mut gaps = Gaps::new(now);
        gaps.intact(7, 100);
        assert_eq!(gaps.complaint(now), None);
        assert_eq!(gaps.mended(7, "veth7", 160, now), 60);
        assert_eq!(gaps.mended(7, "veth7", 160, now), 0, "counted once");
        assert_eq!(gaps.mended(8, "veth8", 5000, now), 0, "never known to be intact");
        let said = gaps.complaint(now).unwrap();
        assert!(said.contains("3 times") && said.contains("veth8") && said.contains("60 packets"), "{said}");
        assert_eq!(gaps.complaint(now + RECENT), None);
        for _ in 0..100 {
            gaps.mended(7, "veth7", 160, now);
        }
        assert_eq!(gaps.recent.len(), MOST);
        gaps.forget(7);
        assert_eq!(gaps.mended(7, "veth7", 5000, now), 0, "an index is used again by another");
    }
}
