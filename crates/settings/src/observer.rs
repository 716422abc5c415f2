//! Settings of the observer.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::tls::Tls;

/// The observer: a history of the last flows, and Hubble's API to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observer {
    /// Whether there is a history, and listeners.
    pub enabled: bool,
    /// Listeners of the API.
    pub listen: Vec<ListenAddress>,
    /// Events that the history holds.
    pub flows: u32,
    /// Time after which an event leaves the history; zero is never.
    pub keep: Duration,
    /// TLS of the TCP listeners.
    pub tls: Tls,
}

impl Default for Observer {
    fn default() -> Self {
        Self {
            enabled: false,
            listen: vec![ListenAddress::Unix(PathBuf::from("/var/run/cilium/hubble.sock"))],
            flows: 4095,
            keep: Duration::ZERO,
            tls: Tls::default(),
        }
    }
}

/// Bytes of the path of a unix socket at most: the kernel's 108, with a zero at the end.
pub(super) const MAX_SOCKET_PATH_BYTES: usize = 107;

/// An address to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// Path of a socket: `unix:///run/hubble.sock`.
    Unix(PathBuf),
    /// An address and a port: `127.0.0.1:4244`. `:4244` is every address of the machine.
    Tcp(SocketAddr),
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() {
                Err("expected a path behind unix://, found nothing".to_owned())
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        if let Some(port) = text.strip_prefix(':').and_then(|port| port.parse().ok()) {
            return Ok(Self::Tcp((Ipv6Addr::UNSPECIFIED, port).into()));
        }
        text.parse().map(Self::Tcp).map_err(|_| format!("expected address:port or unix:///path, found {text:?}"))
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

/// The kind of value of `observer.listen`.
pub(super) mod listen_addresses {
    use super::super::value::{InvalidValue, Item, Value};
    use super::{ListenAddress, MAX_SOCKET_PATH_BYTES};

    /// Addresses of the list at most.
    const MAX_ADDRESSES: usize = 8;

    pub(crate) fn read(value: &Value) -> Result<Vec<ListenAddress>, InvalidValue> {
        let items = value.items(true)?;
        if items.len() > MAX_ADDRESSES {
            return Err(InvalidValue::because(value, format!("there are more than {MAX_ADDRESSES}")));
        }
        let mut addresses = Vec::new();
        for item in &items {
            let address = address(item)?;
            if addresses.contains(&address) {
                return Err(InvalidValue::item(item, "it is there twice"));
            }
            addresses.push(address);
        }
        Ok(addresses)
    }

    fn address(item: &Item) -> Result<ListenAddress, InvalidValue> {
        match item.text.parse() {
            Ok(ListenAddress::Unix(path)) if !path.is_absolute() => {
                Err(InvalidValue::item(item, "the path of a socket begins with /"))
            }
            Ok(ListenAddress::Unix(path)) if path.as_os_str().len() > MAX_SOCKET_PATH_BYTES => {
                let bytes = path.as_os_str().len();
                let why =
                    format!("the path of a socket has {MAX_SOCKET_PATH_BYTES} bytes at most, and this one has {bytes}");
                Err(InvalidValue::item(item, why))
            }
            Ok(address) => Ok(address),
            Err(_) => Err(InvalidValue::item(item, "it is neither address:port nor unix:///path")),
        }
    }

    pub(crate) fn show(addresses: &[ListenAddress]) -> Value {
        let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        Value::list(texts.iter().map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket whose path the kernel would refuse is refused here, with the length.
    #[test]
    fn long_paths() {
        use crate::value::Value;
        let path = |bytes: usize| format!("unix:///{}", "a".repeat(bytes - 1));
        let read = |text: &str| listen_addresses::read(&Value::list([text]));
        assert!(read(&path(MAX_SOCKET_PATH_BYTES)).is_ok());
        let wrong = read(&path(MAX_SOCKET_PATH_BYTES + 1)).unwrap_err();
        assert_eq!(wrong.why, "the path of a socket has 107 bytes at most, and this one has 108");
    }

    /// Addresses in each form, and what is wrong with others.
    #[test]
    fn addresses() {
        assert_eq!("unix:///run/a.sock".parse(), Ok(ListenAddress::Unix("/run/a.sock".into())));
        assert_eq!("unix:a.sock".parse(), Ok(ListenAddress::Unix("a.sock".into())));
        assert_eq!("127.0.0.1:4244".parse::<ListenAddress>().unwrap().to_string(), "127.0.0.1:4244");
        assert_eq!(":4244".parse::<ListenAddress>().unwrap().to_string(), "[::]:4244");
        for wrong in ["", "unix://", "4244", "localhost:4244", ":", ":65536"] {
            assert!(wrong.parse::<ListenAddress>().is_err(), "{wrong}");
        }
    }
}
