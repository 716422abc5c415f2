//! Variables of the environment: `OTEL_EXPORTER_OTLP_*`, which apply where the configuration says
//! nothing, and proxies.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::config::{InvalidConfig, Protocol, TlsConfig};
use crate::encoding::Encoding;

/// Variables that outputs read. Those of logs are before those of all signals.
const NAMES: &[&str] = &[
    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_LOGS_INSECURE",
    "OTEL_EXPORTER_OTLP_INSECURE",
    "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_LOGS_COMPRESSION",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// The variables that are set. An empty one is not.
#[derive(Clone, Default)]
pub struct Environment(HashMap<&'static str, String>);

impl fmt::Debug for Environment {
    /// Names only: headers and proxies hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// The variables of this process.
    pub fn of_process() -> Self {
        Self::new(|name| std::env::var(name).ok())
    }

    /// The variables that `get` knows.
    pub fn new(get: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &&'static str| Some((*name, get(name).filter(|value| !value.trim().is_empty())?));
        Self(NAMES.iter().filter_map(set).collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim())
    }

    /// The first variable of these that is set, with its name.
    fn first(&self, names: [&'static str; 2]) -> Option<(&'static str, &str)> {
        names.into_iter().find_map(|name| Some((name, self.get(name)?)))
    }

    pub(crate) fn protocol(&self) -> Result<Protocol, InvalidConfig> {
        match self.first(["OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]) {
            None | Some((_, "grpc")) => Ok(Protocol::Grpc),
            Some((_, "http/protobuf")) => Ok(Protocol::HttpProtobuf),
            Some((name, other)) => {
                Err(InvalidConfig::new(name, format!("expected grpc or http/protobuf, found {other:?}")))
            }
        }
    }

    /// Whether `http` to other hosts is allowed.
    pub(crate) fn insecure(&self) -> Result<bool, InvalidConfig> {
        match self.first(["OTEL_EXPORTER_OTLP_LOGS_INSECURE", "OTEL_EXPORTER_OTLP_INSECURE"]) {
            None => Ok(false),
            Some((_, text)) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some((_, text)) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some((name, text)) => Err(InvalidConfig::new(name, format!("expected true or false, found {text:?}"))),
        }
    }

    pub(crate) fn compression(&self) -> Result<Encoding, InvalidConfig> {
        match self.first(["OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"]) {
            None => Ok(Encoding::Gzip),
            Some((name, text)) => Encoding::ALL
                .into_iter()
                .find(|encoding| encoding.label() == text)
                .ok_or_else(|| InvalidConfig::new(name, format!("expected gzip, zstd or none, found {text:?}"))),
        }
    }

    /// The timeout, which is in milliseconds.
    pub(crate) fn timeout(&self) -> Result<Option<Duration>, InvalidConfig> {
        let Some((name, text)) = self.first(["OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"]) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(milliseconds @ 1..) => Ok(Some(Duration::from_millis(milliseconds))),
            _ => Err(InvalidConfig::new(name, format!("expected milliseconds, found {text:?}"))),
        }
    }

    /// Sets files of TLS that are not set.
    pub(crate) fn complete_tls(&self, tls: &mut TlsConfig) {
        let path = |names| self.first(names).map(|(_, text)| PathBuf::from(text));
        if tls.ca_file.is_none() {
            tls.ca_file = path(["OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"]);
        }
        if tls.cert_file.is_none() && tls.key_file.is_none() {
            tls.cert_file =
                path(["OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"]);
            tls.key_file = path(["OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY"]);
        }
    }

    /// Headers, as `name=value` between commas; values are percent-encoded. Errors show none.
    pub(crate) fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, InvalidConfig> {
        let Some((variable, text)) = self.first(["OTEL_EXPORTER_OTLP_LOGS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"])
        else {
            return Ok(Vec::new());
        };
        let header = |(number, pair): (usize, &str)| {
            let invalid = || InvalidConfig::new(variable, format!("expected name=value in entry {}", number + 1));
            let (name, value) = pair.split_once('=').ok_or_else(invalid)?;
            let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| invalid())?;
            let mut value = HeaderValue::from_bytes(&percent_decoded(value.trim())).map_err(|_| invalid())?;
            value.set_sensitive(true);
            Ok((name, value))
        };
        text.split(',').enumerate().filter(|(_, pair)| !pair.trim().is_empty()).map(header).collect()
    }
}

/// The bytes of a percent-encoded text. What is no code stays as it is.
pub(crate) fn percent_decoded(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    while let Some((first, after)) = rest.split_first() {
        let code = match after {
            [high, low, ..] if *first == b'%' => digit(*high).zip(digit(*low)),
            _ => None,
        };
        out.push(code.map_or(*first, |(high, low)| high << 4 | low));
        rest = if code.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    out
}
