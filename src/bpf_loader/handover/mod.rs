//! Handing over to the next process: maps and links that stay when this one ends.
//!
//! With `handover` the maps and the links are pinned in the BPF filesystem. The programs go on
//! counting when the agent ends, orderly or killed; the next one opens the same maps, reads what is
//! in the rings, and replaces the program of each link, which is one step for the kernel. So no
//! packet is unseen, and the ledger and the connection table go on.
//!
//! * `mark`: what two processes must agree on. It names the directory of a set of pins, so maps
//!   of another layout are never opened.
//! * `contents`: the maps that a set must have.
//! * `pins`: the directory, its checks, and the pins of links.
//! * `lock`: one process at a time.
//! * `entries`: tracepoints, whose programs the kernel cannot replace.
//! * `pin`: the two system calls.

mod contents;
mod entries;
mod lock;
mod mark;
mod pin;
mod pins;

use std::path::PathBuf;

pub(super) use entries::{AT_SENDING, AT_SENT, Entries};
pub use pins::make_directory;
pub(super) use pins::{Leftovers, Pins};

/// Whether to hand over, and where the pins are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Handover {
    /// Maps and links stay when this process ends.
    pub wanted: bool,
    /// Directory of the pins. Without `wanted` those that lie there are removed; none: not looked
    /// for.
    pub directory: Option<PathBuf>,
}

/// Outcome of looking for what a process of before has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandoverOutcome {
    /// Maps and links were taken over.
    TakenOver,
    /// There was nothing.
    StartedNew,
    /// A process that had ended before its maps were complete, or maps that are missing by now.
    Incomplete,
    /// Maps of another layout: they are removed, with what they had counted and not reported.
    AbiDiffers,
    /// Maps of other sizes, or of another network namespace; likewise.
    SettingsDiffer,
    /// Interfaces are watched by clsact filters, which are not handed over.
    NotSupported,
    /// Handover is off, and what an earlier process had left is removed.
    Removed,
}

impl HandoverOutcome {
    /// All, in the order of `webb_handover_total`.
    pub const ALL: [Self; 7] = [
        Self::TakenOver,
        Self::StartedNew,
        Self::Incomplete,
        Self::AbiDiffers,
        Self::SettingsDiffer,
        Self::NotSupported,
        Self::Removed,
    ];

    /// Value of the label `outcome`.
    pub fn label(self) -> &'static str {
        match self {
            Self::TakenOver => "taken_over",
            Self::StartedNew => "started_new",
            Self::Incomplete => "incomplete",
            Self::AbiDiffers => "abi_differs",
            Self::SettingsDiffer => "settings_differ",
            Self::NotSupported => "not_supported",
            Self::Removed => "removed",
        }
    }

    /// Readable description.
    pub fn text(self) -> &'static str {
        match self {
            Self::TakenOver => "maps and programs of the process before are taken over: nothing was missed",
            Self::StartedNew => "there is nothing to take over: counting begins now",
            Self::Incomplete => {
                "the process before had not got as far as counting, or maps of it are missing: counting begins now"
            }
            Self::AbiDiffers => {
                "the process before had maps of another layout: what it left uncounted is lost, and counting begins now"
            }
            Self::SettingsDiffer => {
                "the process before had maps of other sizes (table, rings, report_interval, layer 7): what it left \
                 uncounted is lost, and counting begins now"
            }
            Self::NotSupported => "clsact filters are not handed over, only TCX links are (Linux 6.6)",
            Self::Removed => "handover is off: what an earlier process had left is removed",
        }
    }
}
