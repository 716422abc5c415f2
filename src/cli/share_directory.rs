//! `webb share-directory`.

use std::path::PathBuf;

use clap::Args;

pub(super) const HELP: &str = "\
The directory is made if it is missing. Its owner may do so for a group of the owner's own, and
needs no capability: the chart does before agents write flow logs to a directory of the node.

Example:
  webb share-directory --group 65532 /var/run/cilium/hubble

Exit codes:
  0   the group may make files there
  64  the command line is wrong
  74  the directory cannot be made, or given to the group";

/// `webb share-directory`.
#[derive(Debug, Clone, Args)]
pub struct ShareDirectoryArgs {
    /// The directory
    pub directory: PathBuf,
    /// The group, by number
    #[arg(long, value_name = "GID")]
    pub group: u32,
}
