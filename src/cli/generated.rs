//! What is made from the command line's types: completions for shells, and manual pages.

use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory as _;

use super::Cli;

/// Writes the completions for `shell`.
///
/// # Errors
/// When `out` cannot be written.
pub fn completions(shell: clap_complete::Shell, out: &mut dyn Write) -> io::Result<()> {
    // The generator panics when it cannot write; a closed pipe should not look like a crash.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "webb", &mut script);
    out.write_all(&script)
}

/// Writes the manual pages of the program and of each of its commands into `directory`.
///
/// # Errors
/// When a page cannot be written.
pub fn manual(directory: &Path) -> io::Result<()> {
    clap_mangen::generate_to(Cli::command(), directory)
}
