//! Settings of the rows.

use std::time::Duration;

/// Share of a window over which the agents of a cluster spread their requests, in percent, unless
/// configured.
pub const DEFAULT_SPREAD: u8 = 20;

/// Optional parts of a row's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a part that is on or off")]
pub struct Keys {
    /// Zone and region of both ends.
    pub zone: bool,
    /// The Service that the destination was called through.
    pub service: bool,
    /// The policy that decided a denial.
    pub policy: bool,
    /// Names of pods.
    pub pod: bool,
}

impl Default for Keys {
    fn default() -> Self {
        Self { zone: true, service: true, policy: true, pod: false }
    }
}

/// Settings of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Length of a window; zero makes no rows.
    pub window: Duration,
    /// Parts of the key.
    pub keys: Keys,
    /// Number of rows at most, without folded ones: these are a tenth of it and a few.
    pub max_rows: usize,
    /// Whether rows have histograms of handshakes and requests.
    pub histograms: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { window: Duration::from_mins(1), keys: Keys::default(), max_rows: 20_000, histograms: true }
    }
}
