//! Settings of the names relay: of `webb names`, which serves, and of agents, which ask it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::tls::Tls;

/// The names relay as `webb names` serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Address that agents connect to.
    pub listen: SocketAddr,
    /// TLS of it, for clients with certificates only; needed beyond this machine.
    pub tls: Tls,
}

impl Default for Names {
    fn default() -> Self {
        Self { listen: (Ipv4Addr::LOCALHOST, 4246).into(), tls: Tls::default() }
    }
}

/// Address of a names relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayAddress {
    /// The host, by name or address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether it has TLS.
    pub tls: bool,
}

impl RelayAddress {
    /// Reads `https://HOST:PORT` or `http://HOST:PORT`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (scheme, address) = text.split_once("://")?;
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let (host, port) = address.rsplit_once(':')?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        // Without brackets the end of an IPv6 address would be taken for a port.
        let host = bare.filter(|host| host.contains(':')).or_else(|| Some(host).filter(|host| !host.contains(':')))?;
        let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_' | ':' | '%');
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let valid = (1..=253).contains(&host.len()) && host.chars().all(plain);
        valid.then(|| Self { host: host.to_owned(), port, tls })
    }

    pub(super) fn is_of_this_machine(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for RelayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, tls } = self;
        let scheme = if *tls { "https" } else { "http" };
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{host}{close}:{port}")
    }
}

/// The kind of the key of the address.
pub(super) mod kind {
    use super::RelayAddress;
    use crate::value::{InvalidValue, Value};

    pub(crate) fn read(value: &Value) -> Result<Option<RelayAddress>, InvalidValue> {
        match value {
            Value::Null => Ok(None),
            value if value.text()?.is_empty() => Ok(None),
            value => RelayAddress::parse(value.text()?).map(Some).ok_or_else(|| InvalidValue::of(value)),
        }
    }

    #[allow(clippy::ref_option, reason = "the table of keys calls it so")]
    pub(crate) fn show(address: &Option<RelayAddress>) -> Value {
        address.as_ref().map_or(Value::Null, |address| Value::Text(address.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read is shown as it was written, and everything else is refused.
    #[test]
    fn addresses() {
        for text in ["https://webb-names.kube-system:4246", "http://127.0.0.1:4246", "https://[fd00::1]:1"] {
            assert_eq!(RelayAddress::parse(text).unwrap().to_string(), text);
        }
        for text in
            ["", "webb-names:4246", "https://webb-names", "https://:1", "https://a:0", "ftp://a:1", "https://a b:1"]
        {
            assert_eq!(RelayAddress::parse(text), None, "{text}");
        }
    }
}
