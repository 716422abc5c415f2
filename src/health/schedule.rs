//! Schedules the probes: the interval by the cluster's size, jitter, and what is due next.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use webb_flow::hash::{RandomState, seed};

/// Interval in a cluster of e - 1 other nodes; it grows with the logarithm of their number.
const BASE: Duration = Duration::from_secs(20);

/// The longest time for one probe.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// Time between two first probes of nodes that come together, unless that takes longer than an
/// interval.
const FIRST_PROBES: Duration = Duration::from_millis(20);

/// Interval between two probes of an address, by the number of other nodes: 14 s for one, 48 s for
/// ten, 92 s for a hundred, 138 s for a thousand, 170 s for five thousand.
pub fn auto_interval(peers: usize) -> Duration {
    let peers = u32::try_from(peers.max(1)).unwrap_or(u32::MAX);
    BASE.mul_f64(f64::from(peers).ln_1p())
}

/// Time for one probe: two that fail one after the other end within two intervals.
pub(super) fn timeout(interval: Duration) -> Duration {
    TIMEOUT.min(interval * 2 / 5)
}

/// An address of a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) node: Arc<str>,
    pub(super) address: IpAddr,
}

/// The next probe of each target. One that is being probed is known and has none.
#[derive(Debug)]
pub(super) struct Schedule {
    due: BTreeSet<(Instant, Target)>,
    known: HashMap<Target, Option<Instant>, RandomState>,
    random: u64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { due: BTreeSet::new(), known: HashMap::default(), random: seed() }
    }
}

impl Schedule {
    /// Makes `targets` the whole of it: new ones are due within an interval, spread over it.
    pub(super) fn replace(&mut self, targets: &[Target], interval: Duration, now: Instant) {
        let listed: std::collections::HashSet<&Target> = targets.iter().collect();
        let gone: Vec<Target> = self.known.keys().filter(|known| !listed.contains(known)).cloned().collect();
        for target in gone {
            if let Some(Some(at)) = self.known.remove(&target) {
                self.due.remove(&(at, target));
            }
        }
        let new: Vec<&Target> = targets.iter().filter(|target| !self.known.contains_key(target)).collect();
        let spread = FIRST_PROBES.saturating_mul(u32::try_from(new.len()).unwrap_or(u32::MAX)).min(interval);
        for target in new {
            let at = now + spread.mul_f64(self.fraction());
            self.put(target.clone(), at);
        }
    }

    /// Takes the next target that is due.
    pub(super) fn take(&mut self, now: Instant) -> Option<Target> {
        if self.due.first().is_none_or(|(at, _)| *at > now) {
            return None;
        }
        let (_, target) = self.due.pop_first()?;
        self.known.insert(target.clone(), None);
        Some(target)
    }

    /// Has a target that was taken probed again after `wait`, a little less by chance. One that is
    /// gone meanwhile stays so.
    pub(super) fn again(&mut self, target: Target, wait: Duration, now: Instant) {
        if self.known.get(&target) == Some(&None) {
            let at = now + wait.mul_f64(1.0 - self.fraction() / 10.0);
            self.put(target, at);
        }
    }

    /// Time at which the next probe is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    fn put(&mut self, target: Target, at: Instant) {
        self.due.insert((at, target.clone()));
        self.known.insert(target, Some(at));
    }

    /// A random number from 0 to 1 (splitmix64).
    fn fraction(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from(u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or_default()) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn targets(numbers: impl IntoIterator<Item = u8>) -> Vec<Target> {
        let target = |number: u8| Target { node: format!("n{number}").into(), address: [127, 0, 0, number].into() };
        numbers.into_iter().map(target).collect()
    }

    /// The interval grows by ever less, and two probes that fail fit into two of them.
    #[test]
    fn intervals_grow_with_the_cluster() {
        let seconds = [0, 1, 10, 100, 1000, 5000].map(|peers| auto_interval(peers).as_secs());
        assert_eq!(seconds, [13, 13, 47, 92, 138, 170]);
        for interval in [Duration::from_secs(1), auto_interval(1), auto_interval(5000)] {
            let retry = super::super::track::retry(interval);
            assert!(interval + timeout(interval) + retry + timeout(interval) < interval * 2, "{interval:?}");
            assert!(timeout(interval) <= TIMEOUT);
        }
    }

    /// Nodes that come together are not probed together, and each is within an interval.
    #[test]
    fn first_probes_are_spread() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        let interval = Duration::from_secs(10);
        schedule.replace(&targets(0..200), interval, now);
        let mut at = now;
        let mut counted = 0;
        while let Some(next) = schedule.next() {
            assert!(next >= at && next <= now + interval);
            at = next;
            while schedule.take(at).is_some() {
                counted += 1;
            }
        }
        assert_eq!(counted, 200);
        assert!(at - now > Duration::from_secs(2), "spread over 4 s: {:?}", at - now);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Replace(Vec<u8>),
        Pass(u64),
        End(prop::sample::Index),
    }

    proptest! {
        /// Whatever comes and goes: a target has at most one probe at a time and exactly one that
        /// is due or runs, none is forgotten, and what is gone is never probed again.
        #[test]
        fn nothing_is_lost_or_doubled(steps in prop::collection::vec(prop_oneof![
            prop::collection::btree_set(0..6_u8, 0..6).prop_map(|set| Step::Replace(set.into_iter().collect())),
            (0..30_u64).prop_map(Step::Pass),
            any::<prop::sample::Index>().prop_map(Step::End),
        ], 1..60)) {
            let mut now = Instant::now();
            let interval = Duration::from_secs(10);
            let (mut schedule, mut listed, mut running) = (Schedule::default(), Vec::new(), Vec::new());
            for step in steps {
                match step {
                    Step::Replace(numbers) => {
                        listed = targets(numbers);
                        schedule.replace(&listed, interval, now);
                    }
                    Step::Pass(seconds) => {
                        now += Duration::from_secs(seconds);
                        while let Some(target) = schedule.take(now) {
                            prop_assert!(listed.contains(&target), "{target:?} is gone");
                            running.push(target);
                        }
                    }
                    Step::End(index) if !running.is_empty() => {
                        let target = running.swap_remove(index.index(running.len()));
                        schedule.again(target, interval, now);
                    }
                    Step::End(_) => {}
                }
                prop_assert_eq!(schedule.known.len(), listed.len());
                for target in &listed {
                    let due = schedule.due.iter().filter(|(_, one)| one == target).count();
                    prop_assert!(due <= 1);
                    prop_assert!(due == 1 || running.contains(target), "{target:?} is forgotten");
                }
                prop_assert!(schedule.due.iter().all(|(at, _)| *at <= now + interval));
            }
        }
    }
}
