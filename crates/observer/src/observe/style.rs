//! How output looks.

use super::time::TimeFormat;

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Output {
    /// A line for each.
    #[default]
    Compact,
    /// A line for each field.
    Dict,
    /// Columns, printed at the end.
    Table,
    /// JSON, one message a line.
    Json,
}

impl Output {
    /// The form of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "compact" => Self::Compact,
            "dict" => Self::Dict,
            "tab" | "table" => Self::Table,
            "json" | "JSON" | "jsonpb" => Self::Json,
            _ => return None,
        })
    }
}

/// How flows and events are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Style {
    /// The form.
    pub(super) output: Output,
    /// The form of times.
    pub(super) time_format: TimeFormat,
    /// Colours, by escape sequences.
    pub(super) color: bool,
    /// Names in place of addresses.
    pub(super) translate: bool,
    /// The node's name with each flow.
    pub(super) node_name: bool,
    /// The names of the policies with each verdict of theirs.
    pub(super) policy_names: bool,
    /// What a relay says of its nodes even if nothing is wrong.
    pub(super) debug: bool,
}

/// A colour of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Color {
    None,
    Red,
    Green,
    Yellow,
    Magenta,
    Cyan,
}

impl Style {
    /// Appends what `write` appends, in a colour.
    pub(super) fn colored(&self, out: &mut String, color: Color, write: impl FnOnce(&mut String)) {
        let sequence = match color {
            Color::Red => "\x1b[31m",
            Color::Green => "\x1b[32m",
            Color::Yellow => "\x1b[33m",
            Color::Magenta => "\x1b[35m",
            Color::Cyan => "\x1b[36m",
            Color::None => "",
        };
        // Columns are measured by their letters.
        if !self.color || self.output == Output::Table || sequence.is_empty() {
            write(out);
            return;
        }
        out.push_str(sequence);
        write(out);
        out.push_str("\x1b[0m");
    }
}

/// Appends a text of a flow. Control characters, and those that turn the direction of a line, are
/// made visible: names and URLs come from the network. (Hubble's client does so with two of them.)
pub(crate) fn push_plain(out: &mut String, text: &str) {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t')) {
        out.push_str(text);
        return;
    }
    for letter in text.chars() {
        match letter {
            '\x1b' => out.push_str("^["),
            '\r' => out.push_str("\\r"),
            '\n' | '\t' => out.push(letter),
            letter
                if letter.is_control()
                    || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}') =>
            {
                out.push_str(&format!("[U+{:04X}]", u32::from(letter)));
            }
            letter => out.push(letter),
        }
    }
}
