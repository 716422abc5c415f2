//! The times at which the agent came to what it is started for.
//!
//! They are what a rollout waits for, and what a packet may pass unseen or unnamed meanwhile.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use webb_flow::clock::now_ns;

/// A stage of the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The programs are attached to all interfaces that were there.
    Attached,
    /// The names of the cluster are complete.
    Named,
    /// `/readyz` answers with 200.
    Ready,
}

impl Stage {
    /// All stages, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Attached, Self::Named, Self::Ready];

    /// Value of the `stage` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Named => "named",
            Self::Ready => "ready",
        }
    }
}

/// First time that each stage was reached.
#[derive(Debug)]
pub struct Startup {
    began_ns: u64,
    /// Nanoseconds after the beginning, plus one; 0 is not yet.
    reached: [AtomicU64; Stage::ALL.len()],
}

impl Default for Startup {
    fn default() -> Self {
        Self { began_ns: now_ns(), reached: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl Startup {
    /// Notes a stage. Only the first time counts.
    pub fn reach(&self, stage: Stage) {
        let after_ns = now_ns().saturating_sub(self.began_ns).saturating_add(1);
        if let Some(reached) = self.reached.get(stage as usize) {
            let _first = reached.compare_exchange(0, after_ns, Relaxed, Relaxed);
        }
    }

    /// The stages that were reached, each with its seconds after the beginning.
    pub fn stages(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let reached = Stage::ALL.iter().zip(&self.reached).map(|(stage, after)| (stage.label(), after.load(Relaxed)));
        reached.filter(|(_, after_ns)| *after_ns > 0).map(|(stage, after_ns)| (stage, seconds(after_ns - 1)))
    }

    /// Seconds from the beginning to a time of `CLOCK_MONOTONIC` in nanoseconds.
    pub fn seconds_to(&self, time_ns: u64) -> f64 {
        seconds(time_ns.saturating_sub(self.began_ns))
    }
}

#[allow(clippy::cast_precision_loss, reason = "nanoseconds of an uptime fit many times")]
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stage that was not reached has no time, and one that is reached again keeps its first.
    #[test]
    fn first_times_count() {
        let startup = Startup::default();
        assert_eq!(startup.stages().count(), 0);
        startup.reach(Stage::Named);
        let first: Vec<_> = startup.stages().collect();
        assert_eq!(first.iter().map(|(stage, _)| *stage).collect::<Vec<_>>(), ["named"]);
        startup.reach(Stage::Attached);
        startup.reach(Stage::Named);
        let stages: Vec<_> = startup.stages().collect();
        assert_eq!(stages.iter().map(|(stage, _)| *stage).collect::<Vec<_>>(), ["attached", "named"]);
        assert_eq!(stages[1], first[0]);
        assert!(stages[0].1 >= first[0].1);
    }

    /// The labels are in the order of the numbers.
    #[test]
    fn stages_are_in_order() {
        for (at, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, at);
        }
    }
}
