//! Run time and run count of the programs, as the kernel counts them.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use aya::programs::Program;

/// The cost of one program since it was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// Its name, as `bpftool prog` shows it.
    pub program: String,
    /// Time spent in it; counted only while `kernel.bpf_stats_enabled` is on, like `runs`.
    pub run_time: Duration,
    /// Number of runs.
    pub runs: u64,
    /// Runs that the kernel left out because the program was running on that CPU already. For the
    /// drop program these are drops that were not seen.
    pub misses: u64,
}

impl Cost {
    pub(super) fn of(name: &str, program: &Program) -> Option<Self> {
        let info = program.info().ok()?;
        let text = fdinfo(program.fd().ok()?.as_fd());
        Some(Self {
            program: name.to_owned(),
            run_time: info.run_time(),
            runs: info.run_count(),
            misses: field(&text, "recursion_misses:").unwrap_or(0),
        })
    }

    /// The cost of a program that another process has loaded.
    pub(super) fn of_pinned(name: &str, program: BorrowedFd<'_>) -> Option<Self> {
        let text = fdinfo(program);
        Some(Self {
            program: name.to_owned(),
            run_time: Duration::from_nanos(field(&text, "run_time_ns:")?),
            runs: field(&text, "run_cnt:")?,
            misses: field(&text, "recursion_misses:").unwrap_or(0),
        })
    }
}

/// The kernel reports misses only here (`bpf_prog_show_fdinfo`) and in a field of the info that aya
/// does not read.
pub(super) fn fdinfo(program: BorrowedFd<'_>) -> String {
    std::fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd())).unwrap_or_default()
}

pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of fdinfo are separated by a tabulator; a missing one (before Linux 5.12) is no
    /// error.
    #[test]
    fn reads_fdinfo() {
        let text = "pos:\t0\nprog_type:\t3\nrecursion_misses:\t42\n";
        assert_eq!(field(text, "recursion_misses:"), Some(42));
        assert_eq!(field("pos:\t0\n", "recursion_misses:"), None);
    }
}
