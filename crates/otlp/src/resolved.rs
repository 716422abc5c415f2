//! What the configuration of an output makes with the environment, and its checks.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use rustls::pki_types::ServerName;

use crate::config::{InvalidConfig, OutputConfig, Protocol, TIMEOUT, TlsConfig};
use crate::encoding::Encoding;
use crate::environment::Environment;
use crate::kafka::cluster::Kafka;
use crate::target::Target;

/// Requests that may be under way at once, at most.
const MAX_IN_FLIGHT: usize = 16;

/// How to send, with what the environment says.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    pub(crate) receiver: Receiver,
    pub(crate) encoding: Encoding,
}

/// How to reach a receiver.
#[derive(Debug, Clone)]
pub(crate) enum Receiver {
    Otlp(Otlp),
    Kafka(Kafka),
}

impl fmt::Display for Receiver {
    /// The origin, or the first brokers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Otlp(otlp) => otlp.target.fmt(f),
            Self::Kafka(kafka) => kafka.fmt(f),
        }
    }
}

/// How to reach a receiver of OTLP.
#[derive(Debug, Clone)]
pub(crate) struct Otlp {
    pub(crate) target: Target,
    pub(crate) protocol: Protocol,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) headers_directory: Option<PathBuf>,
    pub(crate) tls: TlsConfig,
    pub(crate) timeout: Duration,
}

impl OutputConfig {
    /// Checks the configuration. Reads no file.
    ///
    /// # Errors
    /// The first field that cannot be used.
    pub fn check(&self, environment: &Environment) -> Result<(), InvalidConfig> {
        self.resolve(environment).map(|_| ())
    }

    /// The files of TLS, those that the environment names among them.
    pub fn tls_files(&self, environment: &Environment) -> impl Iterator<Item = PathBuf> + use<> {
        let mut tls = self.tls.clone();
        // Those variables are of OTLP.
        if self.kafka.is_none() {
            environment.complete_tls(&mut tls);
        }
        [tls.ca_file, tls.cert_file, tls.key_file].into_iter().flatten()
    }

    pub(crate) fn resolve(&self, environment: &Environment) -> Result<Resolved, InvalidConfig> {
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
        if self.name.is_empty() || self.name.len() > 63 || !self.name.chars().all(is_plain) {
            return Err(InvalidConfig::new("name", "expected 1 to 63 letters, digits, `-` and `_`"));
        }
        let within = |field: &str, fits: bool, expected: &str| {
            if fits { Ok(()) } else { Err(InvalidConfig::new(field, format!("expected {expected}"))) }
        };
        within("batch.max_records", (1..=100_000).contains(&self.batch.max_records), "1 to 100000")?;
        within("batch.max_bytes", (64 << 10..=32 << 20).contains(&self.batch.max_bytes), "64 KiB to 32 MiB")?;
        within("in_flight", (1..=MAX_IN_FLIGHT).contains(&self.in_flight), "1 to 16")?;
        within("retry.min", !self.retry.min.is_zero(), "a time above zero")?;
        within("retry.max", self.retry.max >= self.retry.min, "at least `retry.min`")?;
        // Otherwise a request that cannot be compressed would never find room.
        let request_bytes = self.batch.max_bytes as u64;
        within("queue.max_bytes", self.queue_bytes >= request_bytes, "at least `batch.max_bytes`")?;
        // What is no path may be a secret, which would be in every complaint.
        let is_path = self.headers_directory.as_ref().is_none_or(|directory| directory.is_absolute());
        let expected =
            "the absolute path of a directory: a header's name is that of a file in it, its value the content";
        within("headers_directory", is_path, expected)?;
        if let Some(spool) = &self.spool {
            within("spool.directory", spool.directory.is_absolute(), "an absolute path")?;
            within("spool.max_bytes", spool.max_bytes >= 1 << 16, "at least 64 KiB")?;
        }
        let has_pair = |tls: &TlsConfig| {
            within("tls.key_file", tls.cert_file.is_some() == tls.key_file.is_some(), "a key beside a certificate")
        };
        let is_server = |name: &String| ServerName::try_from(name.as_str()).is_ok();
        within("tls.server_name", self.tls.server_name.as_ref().is_none_or(is_server), "the name of a host")?;
        if let Some(kafka) = &self.kafka {
            has_pair(&self.tls)?;
            let receiver = Receiver::Kafka(Kafka::resolve(self, kafka)?);
            return Ok(Resolved { receiver, encoding: self.compression.unwrap_or(Encoding::Zstd) });
        }
        let protocol = self.protocol.map_or_else(|| environment.protocol(), Ok)?;
        let mut tls = self.tls.clone();
        environment.complete_tls(&mut tls);
        has_pair(&tls)?;
        let insecure = self.insecure.map_or_else(|| environment.insecure(), Ok)?;
        let target = Target::new(self.endpoint.as_deref(), protocol, insecure, environment)?;
        // The variables of the environment may be those of all exporters.
        let is_used = target.is_tls || self.tls == TlsConfig::default();
        within("tls", is_used, "an endpoint with https, or no `tls`: with http nothing of it applies")?;
        let timeout = self.timeout.map_or_else(|| environment.timeout(), |timeout| Ok(Some(timeout)))?;
        let otlp = Otlp {
            target,
            protocol,
            headers: if self.headers_directory.is_some() { Vec::new() } else { environment.headers()? },
            headers_directory: self.headers_directory.clone(),
            tls,
            timeout: timeout.unwrap_or(TIMEOUT),
        };
        let encoding = self.compression.map_or_else(|| environment.compression(), Ok)?;
        Ok(Resolved { receiver: Receiver::Otlp(otlp), encoding })
    }
}
