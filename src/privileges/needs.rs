//! [`Needs`]: what the configuration has the running agent use, and a confinement leaves it.

use std::path::PathBuf;

/// Files, ports and programs that a running agent uses, as its configuration says at its start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// Files that are read again after they were replaced.
    pub followed: Vec<PathBuf>,
    /// Files and directories of the configuration that are read as they are.
    pub fixed: Vec<PathBuf>,
    /// Files and directories that libraries read, of which a machine has those that it uses.
    pub of_machine: Vec<PathBuf>,
    /// Directories of a handover, in which pins are made and removed.
    pub pin_directories: Vec<PathBuf>,
    /// Directories in which unix sockets are made and removed.
    pub socket_directories: Vec<PathBuf>,
    /// Directories in which files are written, read and removed: those of flow logs and of spools.
    pub writable: Vec<PathBuf>,
    /// True if maps and links are pinned in directories of a handover.
    pub pins: bool,
    /// True if maps and programs of others are opened by their ids.
    pub all_maps: bool,
    /// TCP ports that are bound.
    pub ports: Vec<u16>,
    /// True if credentials come from a program.
    pub programs: bool,
}
