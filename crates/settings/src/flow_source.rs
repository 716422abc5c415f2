//! Settings of the source of flows.

use std::fmt;
use std::path::PathBuf;

/// Where flows come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum FlowSource {
    /// webb's own programs.
    #[default]
    Ebpf,
    /// A server of Hubble's API: Cilium's agent, or a relay.
    Hubble(HubbleServer),
}

/// Address of a server of Hubble's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubbleServer {
    /// A socket of this machine.
    Unix(PathBuf),
    /// A host and a port.
    Tcp {
        /// The host, by name or address.
        host: String,
        /// The port.
        port: u16,
        /// Whether it has TLS.
        tls: bool,
    },
}

/// TLS of a connection to a server: of Hubble's API, or a names relay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientTls {
    /// The authorities that the server's certificate must come from.
    pub ca: Option<PathBuf>,
    /// Certificate of this agent, for a server that asks for one.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// Name that the server's certificate must have; empty for that of the host.
    pub server_name: String,
}

impl FlowSource {
    /// Reads `ebpf`, or an address behind `hubble:`.
    fn parse(text: &str) -> Option<Self> {
        if text == "ebpf" {
            return Some(Self::Ebpf);
        }
        let address = text.strip_prefix("hubble:")?;
        if let Some(path) = address.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return path.starts_with('/').then(|| Self::Hubble(HubbleServer::Unix(path.into())));
        }
        let (tls, address) = address.strip_prefix("tls://").map_or((false, address), |address| (true, address));
        let (host, port) = address.rsplit_once(':')?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        // Without brackets the end of an IPv6 address would be taken for a port.
        let host = bare.filter(|host| host.contains(':')).or_else(|| Some(host).filter(|host| !host.contains(':')))?;
        let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_' | ':' | '%');
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let valid = (1..=253).contains(&host.len()) && host.chars().all(plain);
        valid.then(|| Self::Hubble(HubbleServer::Tcp { host: host.to_owned(), port, tls }))
    }
}

impl fmt::Display for FlowSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ebpf => f.write_str("ebpf"),
            Self::Hubble(HubbleServer::Unix(path)) => write!(f, "hubble:unix://{}", path.display()),
            Self::Hubble(HubbleServer::Tcp { host, port, tls }) => {
                let scheme = if *tls { "tls://" } else { "" };
                let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
                write!(f, "hubble:{scheme}{open}{host}{close}:{port}")
            }
        }
    }
}

/// The kind of the key.
pub(super) mod kind {
    use super::{FlowSource, HubbleServer};
    use crate::observer::MAX_SOCKET_PATH_BYTES;
    use crate::value::{InvalidValue, Value};

    pub(crate) fn read(value: &Value) -> Result<FlowSource, InvalidValue> {
        let source = FlowSource::parse(value.text()?).ok_or_else(|| InvalidValue::of(value))?;
        if let FlowSource::Hubble(HubbleServer::Unix(path)) = &source
            && path.as_os_str().len() > MAX_SOCKET_PATH_BYTES
        {
            let why = format!("the path of a socket has {MAX_SOCKET_PATH_BYTES} bytes at most");
            return Err(InvalidValue::because(value, why));
        }
        Ok(source)
    }

    pub(crate) fn show(source: &FlowSource) -> Value {
        Value::Text(source.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read is shown as it was written, and everything else is refused.
    #[test]
    fn sources() {
        for text in [
            "ebpf",
            "hubble:unix:///var/run/cilium/hubble.sock",
            "hubble:hubble-relay.kube-system:80",
            "hubble:127.0.0.1:4244",
            "hubble:[fd00::1]:4244",
            "hubble:tls://node-1.company.com:4244",
            "hubble:tls://[fd00::1]:4244",
        ] {
            assert_eq!(FlowSource::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(FlowSource::parse("hubble:unix:/a").unwrap().to_string(), "hubble:unix:///a");
        for text in [
            "",
            "hubble",
            "hubble:",
            "eBPF",
            "hubble:unix://",
            "hubble:unix://a.sock",
            "hubble:4244",
            "hubble:host",
            "hubble:host:0",
            "hubble:host:70000",
            "hubble:fd00::1:4244",
            "hubble:a b:1",
            "hubble:tls://:1",
            "hubble:http://host:1",
            "unix:///a",
        ] {
            assert_eq!(FlowSource::parse(text), None, "{text}");
        }
    }
}
