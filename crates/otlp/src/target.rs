//! The address of a receiver, from a URL.

use std::fmt;
use std::net::IpAddr;

use http::Uri;

use crate::config::{InvalidConfig, Protocol};
use crate::environment::Environment;

/// Path of the call in gRPC.
const GRPC_PATH: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// Path of logs in HTTP, below an origin.
pub(crate) const HTTP_PATH: &str = "/v1/logs";

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// TLS or plain TCP.
    pub(crate) is_tls: bool,
    /// Host, without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The whole URL of a request.
    pub(crate) uri: Uri,
}

impl fmt::Display for Target {
    /// The origin.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        write!(f, "{}://{authority}", if self.is_tls { "https" } else { "http" })
    }
}

impl Target {
    /// The target of an endpoint that is configured, or of the environment's.
    pub(crate) fn new(
        endpoint: Option<&str>,
        protocol: Protocol,
        insecure: bool,
        environment: &Environment,
    ) -> Result<Self, InvalidConfig> {
        let [of_logs, of_all] = ["OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
        let (field, url) = match (endpoint, environment.get(of_logs), environment.get(of_all)) {
            (Some(url), ..) => ("endpoint", url),
            (None, Some(url), _) => (of_logs, url),
            (None, None, Some(url)) => (of_all, url),
            (None, None, None) => {
                return Err(InvalidConfig::new("endpoint", "expected the receiver's URL, such as https://host:4317"));
            }
        };
        let invalid = |problem: &str| InvalidConfig::new(field, problem);
        let uri: Uri = url.parse().map_err(|_| invalid("expected a URL, such as https://host:4317"))?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(invalid("expected a URL that begins with https:// or http://")),
        };
        let authority = uri.authority().ok_or_else(|| invalid("expected a host"))?;
        if authority.as_str().contains('@') {
            return Err(invalid("expected a URL without a user; a password belongs in `headers_directory`"));
        }
        if uri.query().is_some() {
            return Err(invalid("expected a URL without a query"));
        }
        // The parser leaves it out.
        if url.contains('#') {
            return Err(invalid("expected a URL without a fragment (`#`)"));
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(invalid("expected a host"));
        }
        let behind = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        if !behind.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
            return Err(invalid("expected a port from 1 to 65535"));
        }
        if !is_tls && !insecure && !is_near(&host) {
            return Err(invalid("http to another host is not encrypted: expected https, or `insecure: true`"));
        }
        let base = uri.path().trim_end_matches('/');
        let path = match protocol {
            Protocol::Grpc if base.is_empty() => GRPC_PATH.to_owned(),
            Protocol::Grpc => return Err(invalid("expected no path in the URL of a receiver of gRPC")),
            // By the specification the variable of all signals is a base, that of logs a whole URL.
            Protocol::HttpProtobuf if base.is_empty() && field != of_logs => HTTP_PATH.to_owned(),
            Protocol::HttpProtobuf if field == of_all => format!("{base}{HTTP_PATH}"),
            Protocol::HttpProtobuf => uri.path().to_owned(),
        };
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let uri = Uri::builder()
            .scheme(if is_tls { "https" } else { "http" })
            .authority(authority.as_str())
            .path_and_query(path)
            .build()
            .map_err(|_| invalid("expected a URL, such as https://host:4317"))?;
        Ok(Self { is_tls, host, port, uri })
    }
}

/// True for the machine itself, and for what is reached without a router.
pub(crate) fn is_near(host: &str) -> bool {
    match host.parse() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unicast_link_local(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}
