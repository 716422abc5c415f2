//! Settings of the admin listener beside its address.

use std::path::PathBuf;
use std::time::Duration;

/// Who may ask the admin listener, and for what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdminAccess {
    /// Names that a browser may reach it by, beside `localhost` and addresses.
    pub hosts: Vec<String>,
    /// File with the token that each request must have; none without one.
    pub token_file: Option<PathBuf>,
    /// Whether it may be reached from other machines without a token.
    pub insecure: bool,
    /// Whether it refuses all that changes something.
    pub read_only: bool,
}

/// What the page, its API and `webb top` show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PageSettings {
    /// 95th percentile of its handshakes over which a pair is slow; zero for none.
    pub slow: Duration,
}

/// Names of hosts; a text is split at commas and white space.
pub(super) mod hosts {
    use crate::value::{InvalidValue, Item, Value};

    /// Names at most.
    const MAX: usize = 64;

    pub(crate) fn read(value: &Value) -> Result<Vec<String>, InvalidValue> {
        let items = value.items(true)?;
        if items.len() > MAX {
            return Err(InvalidValue::too_many(items.len(), MAX));
        }
        InvalidValue::each(&items, host)
    }

    /// Reads a name: letters, digits, dots and dashes, no port.
    fn host(item: &Item) -> Result<String, InvalidValue> {
        let name = item.text.as_str();
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.');
        let why = if name.trim().is_empty() {
            "a name is empty"
        } else if name.contains("://") {
            "leave out the scheme, and what follows the name"
        } else if name.contains(['*', '?', '[']) {
            "no wildcard is read: list each name"
        } else if name.contains('/') {
            "leave out the path"
        } else if name.contains(':') {
            "leave out the port: a name passes with any"
        } else if !name.chars().all(is_plain) {
            "a name has letters, digits, dots and dashes"
        } else if name.len() > 253 {
            "a name has 253 letters at most"
        } else {
            return Ok(name.to_owned());
        };
        Err(InvalidValue::item(item, why))
    }

    pub(crate) fn show(hosts: &[String]) -> Value {
        Value::list(hosts.iter().map(String::as_str))
    }
}
