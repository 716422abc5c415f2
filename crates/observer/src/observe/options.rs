//! What is asked for.

use std::path::PathBuf;

use super::style::{Output, Style};
use super::time::{TIME_FORMATS, TimeFormat};

/// What is asked of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Question {
    /// Its flows.
    #[default]
    Flows,
    /// Events of the agent.
    AgentEvents,
    /// Events of debugging.
    DebugEvents,
    /// How many flows it has, and since when.
    Status,
    /// The nodes that it knows.
    Nodes,
    /// The namespaces of the last hour's flows.
    Namespaces,
    /// The nodes that serve flows, as they come and go.
    Peers,
}

/// Options, as they are typed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[allow(missing_docs, reason = "each is the flag of Hubble's command line of the same name")]
pub struct Options {
    /// Flags of filters with their values, in their order.
    pub filters: Vec<(String, String)>,
    pub allowlist: Vec<String>,
    pub denylist: Vec<String>,
    pub first: u64,
    pub last: u64,
    pub all: bool,
    pub follow: bool,
    pub since: Option<String>,
    pub until: Option<String>,
    pub output: String,
    pub time_format: String,
    pub color: bool,
    pub numeric: bool,
    pub ip_translation: bool,
    pub print_node_name: bool,
    pub print_policy_names: bool,
    pub field_mask: Vec<String>,
    pub default_masks: bool,
    pub input_file: Option<PathBuf>,
    pub print_raw_filters: bool,
    pub debug: bool,
}

impl Options {
    /// How to print what comes.
    ///
    /// # Errors
    /// If the form has a name that none has, or is a table without an end.
    pub(super) fn style(&self) -> Result<Style, String> {
        let Some(output) = Output::named(&self.output) else {
            return Err(format!("invalid output format: {}", self.output));
        };
        if output == Output::Table && self.follow {
            return Err("table output format is not compatible with follow mode".to_owned());
        }
        let format = TIME_FORMATS.iter().find(|(name, _)| name.eq_ignore_ascii_case(&self.time_format));
        Ok(Style {
            output,
            time_format: format.map_or(TimeFormat::StampMilli, |(_, format)| *format),
            color: self.color,
            translate: self.ip_translation && !self.numeric,
            node_name: self.print_node_name,
            policy_names: self.print_policy_names,
            debug: self.debug,
        })
    }
}
