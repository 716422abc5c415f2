//! IPsec in the kernel of this node's network namespace: errors of `xfrm_stat`, and the states and
//! policies of a netlink dump.
//!
//! Both are read in the background. A kernel without one of them has none of its figures, which is
//! no error.

mod counts;
mod dump;
mod statistics;

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

pub use counts::Counts;
pub use dump::{Dump, DumpError};
pub use statistics::{ERRORS, ErrorCount, parse};

/// Errors of the transformations, as this process's network namespace counts them.
const STATISTICS: &str = "/proc/self/net/xfrm_stat";

/// What was found last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Figures {
    /// Errors by type and name; none if the kernel has no `CONFIG_XFRM_STATISTICS`.
    pub errors: Option<Vec<ErrorCount>>,
    /// States and policies; none if the kernel has no `CONFIG_XFRM_USER`, or they are not read.
    pub counts: Option<Counts>,
}

/// Reads the figures, and keeps the last ones for scrapes.
#[derive(Debug)]
pub struct Ipsec {
    dumps: bool,
    found: Mutex<Arc<Figures>>,
}

/// Error that prevents reading the figures.
#[derive(Debug, thiserror::Error)]
pub enum IpsecError {
    /// The counters of errors cannot be read.
    #[error("the errors of IPsec cannot be read: {STATISTICS}: {0}")]
    Statistics(io::Error),
    /// States or policies cannot be read.
    #[error(transparent)]
    Dump(#[from] DumpError),
}

impl Ipsec {
    /// Nothing found yet. Without `dumps`, which take `CAP_NET_ADMIN`, only errors are read.
    pub fn new(dumps: bool) -> Self {
        Self { dumps, found: Mutex::default() }
    }

    /// The figures of the last reading.
    pub fn found(&self) -> Arc<Figures> {
        Arc::clone(&self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads everything. `own`: the addresses of this node, by which a state is one of packets that
    /// leave or of packets that come in, where the kernel does not say so itself.
    ///
    /// # Errors
    /// What cannot be read, though the kernel has it; its figures are absent until it can.
    pub fn read(&self, own: &[IpAddr]) -> Result<(), IpsecError> {
        let (mut figures, mut outcome) = (Figures::default(), Ok(()));
        match std::fs::read_to_string(STATISTICS) {
            Ok(text) => figures.errors = Some(parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => outcome = Err(IpsecError::Statistics(error)),
        }
        match self.counts(own) {
            Ok(counts) => figures.counts = counts,
            Err(error) => outcome = Err(error.into()),
        }
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(figures);
        outcome
    }

    fn counts(&self, own: &[IpAddr]) -> Result<Option<Counts>, DumpError> {
        let dump = if self.dumps { Dump::open()? } else { None };
        dump.map(|dump| dump.counts(own)).transpose()
    }
}

/// Reads arbitrary bytes as errors and as a dump: for fuzzing, where no input may do more than end.
///
/// # Panics
/// If an error is counted twice.
pub fn fuzz(bytes: &[u8]) {
    let mut errors: Vec<_> =
        parse(&String::from_utf8_lossy(bytes)).iter().map(|error| (error.direction, error.error)).collect();
    let found = errors.len();
    errors.sort_unstable();
    errors.dedup();
    assert!(errors.len() == found, "each error has one count");
    dump::fuzz(bytes);
}
