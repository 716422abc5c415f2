//! Gaps: times in which packets of an interface could pass unseen, because something else had
//! removed the programs from it, or placed a program before them that may end a packet, or because
//! it was new.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Interval of the check that the programs are still attached.
pub(super) const VERIFY_INTERVAL: Duration = Duration::from_secs(5);

/// Delay of the first check.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// Time that a gap stays reported after its end.
const REPORTED_FOR: Duration = Duration::from_mins(10);

/// Gaps that are remembered after their end.
const MAX_REMEMBERED: usize = 16;

/// Interfaces that are named.
const MAX_NAMES_SHOWN: usize = 5;

/// The wait before a place is taken that was taken once and lost again. It doubles each time:
/// another agent may insist on the same place.
const MIN_RETAKE_BACKOFF: Duration = VERIFY_INTERVAL;

/// The longest wait before that.
const MAX_RETAKE_BACKOFF: Duration = Duration::from_mins(5);

/// Reason for which packets could pass uncounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The programs were removed.
    Removed,
    /// Another program was placed before them.
    Displaced,
    /// The interface is new, and packets passed before the programs were attached.
    Late,
}

impl Reason {
    const ALL: [Self; 3] = [Self::Removed, Self::Displaced, Self::Late];

    fn label(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Displaced => "displaced",
            Self::Late => "late",
        }
    }

    /// Readable description of the gap.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Removed => "something else has removed the programs",
            Self::Displaced => "another program was placed before ours, and what it ends is not seen",
            Self::Late => "packets had passed before the programs were attached",
        }
    }
}

/// Counters of gaps and of the packets that may have passed in them; shared by all runs of the
/// thread.
#[derive(Debug, Default)]
pub(super) struct GapCounters([(AtomicU64, AtomicU64); 3]);

impl GapCounters {
    fn of(&self, reason: Reason) -> &(AtomicU64, AtomicU64) {
        let [removed, displaced, late] = &self.0;
        match reason {
            Reason::Removed => removed,
            Reason::Displaced => displaced,
            Reason::Late => late,
        }
    }

    /// Reason, gaps, packets.
    pub(super) fn read(&self) -> [(&'static str, u64, u64); 3] {
        Reason::ALL.map(|reason| {
            let (gaps, packets) = self.of(reason);
            (reason.label(), gaps.load(Relaxed), packets.load(Relaxed))
        })
    }

    pub(super) fn add_gap(&self, reason: Reason) {
        self.of(reason).0.fetch_add(1, Relaxed);
    }

    /// Adds what passed a new interface unseen: at most what the interface has counted by now, just
    /// after the programs were attached.
    pub(super) fn add_late(&self, packets: Option<u64>) {
        if let Some(packets @ 1..) = packets {
            self.add_gap(Reason::Late);
            self.add_packets(Reason::Late, packets);
        }
    }

    pub(super) fn add_packets(&self, reason: Reason, packets: u64) {
        self.of(reason).1.fetch_add(packets, Relaxed);
    }
}

/// Last known state of the attachments, and the gaps since.
#[derive(Debug)]
pub(super) struct Gaps {
    /// Packets that each interface had counted at the last check.
    counted: HashMap<u32, u64>,
    /// Gaps that last, by interface.
    open: HashMap<u32, Gap>,
    recent: VecDeque<(Gap, Instant)>,
    /// Earliest time at which a place may be taken again, by interface, and the wait until then.
    retakes: HashMap<u32, (Instant, Duration)>,
    pub(super) next: Instant,
}

/// One gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    name: String,
    pub(super) reason: Reason,
    /// Packets that the interface counted in it: as many at most were not seen.
    pub(super) packets: u64,
    /// True if the interface's packet count at the beginning of the gap is unknown.
    pub(super) unknown: bool,
    /// The programs were put in their places; that they have stayed there is not known yet.
    mended: bool,
}

impl Gaps {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            counted: HashMap::new(),
            open: HashMap::new(),
            recent: VecDeque::new(),
            retakes: HashMap::new(),
            next: now + VERIFY_INTERVAL,
        }
    }

    /// Has the attachments verified soon.
    pub(super) fn soon(&mut self, now: Instant) {
        self.next = self.next.min(now + DEBOUNCE);
    }

    /// Records that an interface was attached to, and its packet count just before.
    pub(super) fn attached(&mut self, index: u32, packets: Option<u64>) {
        if !self.open.contains_key(&index) {
            self.count(index, packets);
        }
    }

    /// The programs are where they should be. Returns the gap that has ended, if there was one, and
    /// its last packets.
    pub(super) fn intact(&mut self, index: u32, packets: Option<u64>, now: Instant) -> Option<(Gap, u64)> {
        let passed = self.count(index, packets);
        let mut gap = self.open.remove(&index)?;
        // What has passed since the mending was seen.
        let last = if gap.mended { Some(0) } else { passed };
        gap.add(last);
        if self.recent.len() == MAX_REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back((gap.clone(), now));
        Some((gap, last.unwrap_or(0)))
    }

    /// The programs are not where they should be. True if that is new.
    pub(super) fn broken(&mut self, index: u32, name: &str, reason: Reason) -> bool {
        let new = Gap { name: name.to_owned(), reason, packets: 0, unknown: false, mended: false };
        match self.open.get_mut(&index) {
            Some(gap) if gap.reason == reason => {
                gap.mended = false;
                false
            }
            Some(gap) => {
                *gap = Gap { packets: gap.packets, unknown: gap.unknown, ..new };
                true
            }
            None => {
                self.open.insert(index, new);
                true
            }
        }
    }

    /// Records an interface's packet count; those since the last count may have passed unseen.
    /// Returns how many, if that is known. `mended`: from now on the programs are in their places
    /// again.
    pub(super) fn passed(&mut self, index: u32, packets: Option<u64>, mended: bool) -> Option<u64> {
        let passed = self.count(index, packets);
        if let Some(gap) = self.open.get_mut(&index) {
            gap.add(passed);
            gap.mended = mended;
        }
        passed
    }

    /// Whether programs may be put into their places now.
    pub(super) fn may_mend(&mut self, index: u32, reason: Reason, now: Instant) -> bool {
        if reason == Reason::Removed {
            return true;
        }
        let before = self.retakes.get(&index).filter(|(next, _)| now.saturating_duration_since(*next) < REPORTED_FOR);
        if before.is_some_and(|(next, _)| now < *next) {
            return false;
        }
        let wait = before.map_or(MIN_RETAKE_BACKOFF, |(_, wait)| (*wait * 2).min(MAX_RETAKE_BACKOFF));
        self.retakes.insert(index, (now + wait, wait));
        true
    }

    /// Drops an interface that is removed, or not watched any more.
    pub(super) fn forget(&mut self, index: u32) {
        self.counted.remove(&index);
        self.open.remove(&index);
        self.retakes.remove(&index);
    }

    /// Message about lasting and recent gaps; none if there are none.
    pub(super) fn complaint(&mut self, now: Instant) -> Option<String> {
        self.recent.retain(|(_, ended)| now.saturating_duration_since(*ended) < REPORTED_FOR);
        let mut parts: Vec<String> = Reason::ALL.into_iter().filter_map(|reason| self.lasting(reason)).collect();
        parts.extend(self.over());
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    fn lasting(&self, reason: Reason) -> Option<String> {
        let mut names: Vec<&str> =
            self.open.values().filter(|gap| gap.reason == reason).map(|gap| gap.name.as_str()).collect();
        names.sort_unstable();
        let shown = names.iter().take(MAX_NAMES_SHOWN).copied().collect::<Vec<_>>().join(", ");
        let more = names.len().saturating_sub(MAX_NAMES_SHOWN);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        (!names.is_empty()).then(|| format!("at {shown}{more} {}", reason.text()))
    }

    fn over(&self) -> Option<String> {
        let (last, _) = self.recent.back()?;
        let of = |reason| self.recent.iter().filter(|(gap, _)| gap.reason == reason).count();
        let packets: u64 = self.recent.iter().map(|(gap, _)| gap.packets).sum();
        let unknown = self.recent.iter().filter(|(gap, _)| gap.unknown).count();
        let unknown = match unknown {
            0 => String::new(),
            some => format!(", beside those of {some} gaps whose packets are not known"),
        };
        Some(format!(
            "in the last {} minutes something else has removed the programs from interfaces {} times and placed others \
             before them {} times (last: {}); they are in their places again, and up to {packets} packets were not \
             seen{unknown}",
            REPORTED_FOR.as_secs() / 60,
            of(Reason::Removed),
            of(Reason::Displaced),
            last.name,
        ))
    }

    /// Takes note of an interface's count, and returns the difference to the last one.
    fn count(&mut self, index: u32, packets: Option<u64>) -> Option<u64> {
        let packets = packets?;
        let before = self.counted.insert(index, packets)?;
        Some(packets.saturating_sub(before))
    }
}

impl Gap {
    fn add(&mut self, passed: Option<u64>) {
        self.packets += passed.unwrap_or(0);
        self.unknown |= passed.is_none();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps() -> (Gaps, Instant) {
        let now = Instant::now();
        (Gaps::new(now), now)
    }

    /// A gap counts what the interface counted since the programs were last there, is spoken of
    /// while it lasts and for a while after, and the memory of gaps has an end.
    #[test]
    fn gaps_are_counted_and_forgotten() {
        let (mut gaps, now) = gaps();
        gaps.attached(7, Some(40));
        assert_eq!(gaps.intact(7, Some(100), now), None);
        assert_eq!(gaps.complaint(now), None);
        assert!(gaps.broken(7, "veth7", Reason::Removed));
        assert_eq!(gaps.passed(7, Some(160), true), Some(60));
        assert!(gaps.complaint(now).unwrap().starts_with("at veth7 something else has removed the programs"));
        let (gap, last) = gaps.intact(7, Some(500), now).unwrap();
        assert_eq!((gap.packets, gap.unknown, last), (60, false, 0), "what came after the mending was seen");
        let said = gaps.complaint(now).unwrap();
        assert!(said.contains("1 times and placed others before them 0 times (last: veth7)"), "{said}");
        assert!(said.ends_with("up to 60 packets were not seen"), "{said}");
        assert_eq!(gaps.complaint(now + REPORTED_FOR), None);
        for _ in 0..100 {
            gaps.broken(7, "veth7", Reason::Removed);
            gaps.intact(7, Some(500), now);
        }
        assert_eq!(gaps.recent.len(), MAX_REMEMBERED);
    }

    /// An interface that was never seen intact has its count of just before it was attached to;
    /// without that, how many packets were missed is not known, and no number is said.
    #[test]
    fn a_gap_without_a_beginning() {
        let (mut gaps, now) = gaps();
        gaps.attached(7, Some(1000));
        gaps.broken(7, "veth7", Reason::Removed);
        assert_eq!(gaps.passed(7, Some(1200), true), Some(200), "removed before it was verified once");
        gaps.broken(8, "veth8", Reason::Removed);
        assert_eq!(gaps.passed(8, Some(5000), true), None);
        gaps.intact(7, Some(1200), now);
        assert!(gaps.intact(8, Some(5000), now).unwrap().0.unknown);
        let said = gaps.complaint(now).unwrap();
        assert!(
            said.ends_with("200 packets were not seen, beside those of 1 gaps whose packets are not known"),
            "{said}"
        );
        gaps.forget(7);
        gaps.broken(7, "veth7", Reason::Removed);
        assert_eq!(gaps.passed(7, Some(5000), true), None, "an index is used again by another");
    }

    /// A gap that lasts is new once, and grows until it ends, also if it ends of itself.
    #[test]
    fn a_gap_that_lasts() {
        let (mut gaps, now) = gaps();
        gaps.intact(7, Some(100), now);
        assert!(gaps.broken(7, "veth7", Reason::Displaced));
        gaps.passed(7, Some(150), false);
        assert!(!gaps.broken(7, "veth7", Reason::Displaced));
        gaps.passed(7, Some(170), true);
        assert!(!gaps.broken(7, "veth7", Reason::Displaced), "the mending has not lasted");
        gaps.attached(7, Some(180));
        let (gap, last) = gaps.intact(7, Some(200), now).unwrap();
        assert_eq!((gap.packets, last), (100, 30));
        assert_eq!(gaps.intact(7, Some(300), now), None);
    }

    /// Two that insist on the first place do not take it from each other for ever; peace ends the
    /// waits.
    #[test]
    fn a_place_is_not_fought_for() {
        let (mut gaps, mut now) = gaps();
        let mut waits = Vec::new();
        for _ in 0..8 {
            assert!(gaps.may_mend(7, Reason::Displaced, now));
            let next = gaps.retakes[&7].0;
            assert!(!gaps.may_mend(7, Reason::Displaced, now));
            assert!(gaps.may_mend(7, Reason::Removed, now), "what is gone is mended at once");
            waits.push((next - now).as_secs());
            now = next;
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
        now += REPORTED_FOR;
        assert!(gaps.may_mend(7, Reason::Displaced, now));
        assert_eq!(gaps.retakes[&7].1, MIN_RETAKE_BACKOFF);
    }

    /// Many interfaces are not all named.
    #[test]
    fn some_are_named() {
        let (mut gaps, now) = gaps();
        for index in 1..=7 {
            gaps.broken(index, &format!("veth{index}"), Reason::Displaced);
        }
        let said = gaps.complaint(now).unwrap();
        assert!(said.starts_with("at veth1, veth2, veth3, veth4, veth5 and 2 more another program"), "{said}");
    }
}
