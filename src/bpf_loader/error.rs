//! Errors of loading, attaching and running the programs.

use std::io;
use std::path::PathBuf;

use super::cause::Surroundings;

/// Error that prevents loading the programs.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Not enough privileges; exit code 77.
    #[error("missing capabilities: {}; {advice}", .missing.join(", "))]
    Privileges {
        /// The names of the missing capabilities.
        missing: Vec<&'static str>,
        /// Ways to get the missing capabilities.
        advice: String,
    },
    /// This kernel cannot do it; exit code 69.
    #[error("this kernel ({kernel}) cannot run the programs: {why}")]
    Kernel {
        /// Its release.
        kernel: String,
        /// Missing feature of the kernel.
        why: String,
    },
    /// The kernel refused an object for a reason of its own; exit code 69.
    #[error("the kernel refused {object}: {why}")]
    Refused {
        /// Name of the object, program or map.
        object: String,
        /// Error from the kernel.
        why: String,
    },
    /// The directory for handing over cannot be used; exit code 64.
    #[error("cannot hand over by {} (handover_dir): {why}", .directory.display())]
    Handover {
        /// Configured directory.
        directory: PathBuf,
        /// Reason.
        why: String,
    },
}

/// Error that prevents watching an interface. The rest of the agent goes on.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The interface vanished meanwhile, which is an everyday event.
    #[error("interface {name} (index {index}) vanished while it was being attached")]
    Vanished {
        /// Its name when it was seen.
        name: String,
        /// Its index.
        index: u32,
    },
    /// Its packets do not begin with an Ethernet header.
    #[error("interface {name} is not of link type Ethernet, which is the only one that can be watched")]
    NotEthernet {
        /// Its name.
        name: String,
    },
    /// Its qdisc would run the filter for packets that leave on packets that come in.
    #[error(
        "interface {name} has a qdisc `ingress`, which has no hook for packets that leave; without it, clsact can be made"
    )]
    NoEgress {
        /// Its name.
        name: String,
    },
    /// The kernel refused the attachment.
    #[error("cannot attach to interface {name} by {means}: {why}")]
    Refused {
        /// Its name.
        name: String,
        /// TCX or clsact.
        means: &'static str,
        /// Error from the kernel.
        why: String,
    },
}

impl AttachError {
    /// True if another attempt would end the same way.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::NotEthernet { .. })
    }

    /// True if there is nothing to be done about it.
    pub fn is_vanished(&self) -> bool {
        matches!(self, Self::Vanished { .. })
    }
}

/// Error of a loaded program or map.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct RunError {
    /// Attempted operation.
    pub what: &'static str,
    /// Error from the kernel.
    pub source: io::Error,
}

impl RunError {
    pub(super) fn new(what: &'static str, source: impl Into<io::Error>) -> Self {
        Self { what, source: source.into() }
    }

    /// The whole chain of causes in one line.
    pub fn text(&self) -> String {
        chain(self)
    }

    pub(super) fn map(what: &'static str, error: aya::maps::MapError) -> Self {
        Self { what, source: io::Error::other(error) }
    }
}

/// The whole chain of an error in one line; aya's own texts leave the cause to `source`.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

/// As [`chain`], and the most likely cause of a number that has many.
pub(super) fn explained(error: &(dyn std::error::Error + 'static)) -> String {
    with_cause(chain(error), error)
}

fn with_cause(text: String, error: &(dyn std::error::Error + 'static)) -> String {
    match os_error(error).and_then(|number| Surroundings::read().cause(Some(number))) {
        Some(cause) => format!("{text}: {cause}"),
        None => text,
    }
}

/// The kernel's refusal in one line: the verifier's own words if there are any.
pub(super) fn refusal(error: &(dyn std::error::Error + 'static)) -> String {
    let Some(aya::programs::ProgramError::LoadError { io_error, verifier_log }) = error.downcast_ref() else {
        return explained(error);
    };
    let log = verifier_log.to_string();
    let Some(complaint) = complaint(&log) else {
        return with_cause(io_error.to_string(), error);
    };
    // A log runs to megabytes; what led to the complaint is at its end.
    let start = log.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
    tracing::debug!("the end of the verifier's log: {}", log.get(start..).unwrap_or_default());
    format!("{io_error}; verifier: {complaint}")
}

/// The line of a verifier's log that names the fault: the last one before the statistics.
fn complaint(log: &str) -> Option<&str> {
    const STATISTICS: [&str; 4] = ["verification time", "stack depth", "processed ", "mark_precise"];
    let says = |line: &&str| !line.is_empty() && !STATISTICS.iter().any(|start| line.starts_with(start));
    log.lines().map(str::trim).rev().find(says)
}

/// The operating system's error number behind `error`, if there is one.
pub(super) fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if let Some(number) = inner.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(number);
        }
        if let Some(netlink) = inner.downcast_ref::<aya::sys::SyscallError>() {
            return netlink.io_error.raw_os_error();
        }
        if let Some(program) = inner.downcast_ref::<aya::programs::ProgramError>()
            && let Some(number) = netlink_error(program)
        {
            return Some(number);
        }
        cause = inner.source();
    }
    None
}

fn netlink_error(error: &aya::programs::ProgramError) -> Option<i32> {
    use aya::programs::{ProgramError, TcError};
    match error {
        ProgramError::NetlinkError(error) | ProgramError::TcError(TcError::NetlinkError(error)) => error.raw_os_error(),
        ProgramError::TcError(TcError::IoError(error)) | ProgramError::IOError(error) => error.raw_os_error(),
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        ProgramError::LoadError { io_error, .. } => io_error.raw_os_error(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last line of a verifier's log is statistics; the complaint stands before.
    #[test]
    fn the_complaint_is_found() {
        let log = "1736: (85) call bpf_map_lookup_elem#1\nR2 type=mem expected=fp, pkt\nverification time 4219190 usec\n\
                   stack depth 0+0+0\nprocessed 33684 insns (limit 1000000) max_states_per_insn 10\n\n";
        assert_eq!(complaint(log), Some("R2 type=mem expected=fp, pkt"));
        assert_eq!(complaint("processed 3 insns\n"), None);
    }
}
