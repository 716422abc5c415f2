//! Timeouts, intervals and bounds of the watches.

use std::time::Duration;

/// Timeouts, intervals and bounds of the watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchTimings {
    /// Bound of the wait after the first failure.
    pub backoff_min: Duration,
    /// Bound of the wait after many failures.
    pub backoff_max: Duration,
    /// Time-out for an answer to begin, and to go on. Overloaded servers take half a minute.
    pub answer_timeout: Duration,
    /// Silence on a watch after which the connection is taken for dead, or the version for one that
    /// the server does not know: servers send a bookmark each minute.
    pub silence_timeout: Duration,
    /// The longest duration of a watch; up to a quarter less, so that agents started together drift
    /// apart.
    pub max_watch: Duration,
    /// A watch that ends in order sooner than this counts as a failure.
    pub min_watch: Duration,
    /// The first requests of each kind are spread over this.
    pub start_spread: Duration,
    /// The first requests of all agents are spread over this for each node of the cluster, up to a
    /// minute. Zero: the nodes are not counted, and nothing is spread.
    pub start_spread_per_node: Duration,
    /// Interval of the lists of Nodes' metadata where Nodes are not watched; a fifth more or less.
    pub nodes_interval: Duration,
    /// Interval of reading the own Node there.
    pub own_node_interval: Duration,
    /// Interval of reading the Nodes that are new there; a fifth more or less.
    pub node_reads_interval: Duration,
    /// Bound of the delay before a list that a healthy server asks for, and of the first delay
    /// after its refusal: agents that were cut off together do not list together.
    pub relist_backoff: Duration,
    /// Interval of discovering the kinds of policy, and of checking whether a vendor's kind of the
    /// whole cluster has objects; down to a quarter less.
    pub discovery_interval: Duration,
    /// Time for which lists are requested in pages after a refusal of a streamed one, and pods in
    /// JSON after protocol buffers that were refused or could not be read: that may have come from
    /// another server or from an older one.
    pub paged_period: Duration,
}

impl Default for WatchTimings {
    fn default() -> Self {
        Self {
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
            answer_timeout: Duration::from_mins(1),
            silence_timeout: Duration::from_secs(150),
            max_watch: Duration::from_secs(290),
            min_watch: Duration::from_secs(5),
            start_spread: Duration::from_millis(500),
            start_spread_per_node: Duration::from_millis(10),
            nodes_interval: Duration::from_mins(10),
            own_node_interval: Duration::from_mins(1),
            node_reads_interval: Duration::from_secs(10),
            relist_backoff: Duration::from_secs(1),
            discovery_interval: Duration::from_mins(1),
            paged_period: Duration::from_mins(10),
        }
    }
}
