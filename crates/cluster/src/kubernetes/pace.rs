//! Timeouts, intervals and bounds of the watches.

use std::time::Duration;

/// Timeouts, intervals and bounds of the watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// Bound of the wait after the first failure.
    pub backoff_min: Duration,
    /// Bound of the wait after many failures.
    pub backoff_max: Duration,
    /// How long an answer may take to begin, and to go on. Overloaded servers take half a minute.
    pub answer: Duration,
    /// Silence on a watch after which the connection is taken for dead, or the version for one that
    /// the server does not know: servers send a bookmark each minute.
    pub quiet: Duration,
    /// The longest that a watch is asked to last; up to a quarter less, so that agents started
    /// together drift apart.
    pub watch: Duration,
    /// A watch that ends in order sooner than this counts as a failure.
    pub brief: Duration,
    /// The first requests of each kind are spread over this.
    pub spread: Duration,
    /// Bound of the wait before a list that a healthy server asks for, and of the first wait after
    /// its refusal: agents that were cut off together do not list together.
    pub relist: Duration,
    /// How often it is asked which kinds of policy there are, and whether a vendor's kind of the
    /// whole cluster has objects; down to a quarter less.
    pub discovery: Duration,
    /// How long lists come in pages after the server has refused a streamed one. It may have been
    /// another server's word, or an older one's.
    pub paged: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
            answer: Duration::from_mins(1),
            quiet: Duration::from_secs(150),
            watch: Duration::from_secs(290),
            brief: Duration::from_secs(5),
            spread: Duration::from_millis(500),
            relist: Duration::from_secs(1),
            discovery: Duration::from_mins(1),
            paged: Duration::from_mins(10),
        }
    }
}
