//! The state of a pair, and what needs a look.

use std::sync::Arc;

/// State of a pair, the most serious first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// A policy forbids it, and it passes: nothing enforces that policy.
    Passed,
    /// A policy denies it.
    Denied,
    /// Connects or requests fail.
    Failing,
    /// Connects take much longer than usual for the pair.
    Slow,
    /// Packets are dropped, for another reason than a policy.
    Dropped,
    /// It was seen in the window, and is none of these.
    Forwarded,
    /// Nothing of it was counted in the window.
    Idle,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Passed, Self::Denied, Self::Failing, Self::Slow, Self::Dropped, Self::Forwarded, Self::Idle];

    /// Name in the API and in a query.
    pub fn label(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Denied => "denied",
            Self::Failing => "failing",
            Self::Slow => "slow",
            Self::Dropped => "dropped",
            Self::Forwarded => "forwarded",
            Self::Idle => "idle",
        }
    }

    /// True for a state that needs a look.
    pub fn is_problem(self) -> bool {
        matches!(self, Self::Passed | Self::Denied | Self::Failing | Self::Slow)
    }
}

/// Something that needs a look.
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// State that it shows.
    pub state: State,
    /// View with more about it: `drops`, `connections`, `dns` or `http`.
    pub view: &'static str,
    /// Who calls.
    pub from: Arc<str>,
    /// Who is called.
    pub to: Arc<str>,
    /// What is seen, behind both names.
    pub text: String,
    /// Events a second.
    pub per_second: f64,
    /// Unix time of the first of them, in seconds; 0 if it was there at the start.
    pub since: u64,
    /// True within an hour of the first.
    pub is_new: bool,
}
