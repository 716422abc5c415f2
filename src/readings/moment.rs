//! When a sample was taken.

use std::time::Duration;

/// A moment, by two clocks: one that never steps, for rates, and one to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// Since any fixed moment.
    pub steady: Duration,
    /// Since 1970.
    pub unix: Duration,
}
