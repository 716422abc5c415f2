//! The configuration of an output.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::encoding::Encoding;

/// Time that a request may take, unless configured.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a message of Kafka at most, before compression: brokers take 1 MiB unless configured.
pub const MAX_MESSAGE_BYTES: usize = 900_000;

/// How requests travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC, on HTTP/2.
    Grpc,
    /// POST with a body of protobuf, on HTTP/1.1.
    HttpProtobuf,
}

/// An output as it is configured. `None` is for what the configuration says nothing of: then the
/// variables `OTEL_EXPORTER_OTLP_*` apply, and then defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputConfig {
    /// Its name, unique among the outputs: of letters, digits, `-` and `_`.
    pub name: String,
    /// The receiver's URL, `http` or `https`.
    pub endpoint: Option<String>,
    /// How requests travel; by default gRPC.
    pub protocol: Option<Protocol>,
    /// Allows `http` to hosts that are neither loopback nor link-local; by default it does not.
    pub insecure: Option<bool>,
    /// How requests are compressed; by default gzip.
    pub compression: Option<Encoding>,
    /// A directory with a file for each header: its name, and the value as content.
    pub headers_directory: Option<PathBuf>,
    /// TLS of `https`.
    pub tls: TlsConfig,
    /// Time that a request may take; by default 10 s.
    pub timeout: Option<Duration>,
    /// Size of a request.
    pub batch: BatchConfig,
    /// Requests that may be under way at once.
    pub in_flight: usize,
    /// Waits between attempts.
    pub retry: RetryConfig,
    /// Bytes of compressed requests that are held in memory at most.
    pub queue_bytes: u64,
    /// The directory for requests that wait; none holds them in memory only.
    pub spool: Option<SpoolConfig>,
    /// The cluster of Kafka; none for a receiver of OTLP. Then nothing of the environment applies.
    pub kafka: Option<KafkaConfig>,
}

/// A cluster of Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// Brokers that are asked for all others, each `host:port`.
    pub brokers: Vec<String>,
    /// The topics of [`Stream::ALL`](crate::Stream::ALL), in that order.
    pub topics: [String; 2],
    /// What messages are.
    pub form: MessageForm,
    /// TLS to all brokers; otherwise plain TCP.
    pub tls: bool,
    /// The login; none without one.
    pub sasl: Option<SaslConfig>,
}

/// What messages of Kafka are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageForm {
    /// A message is a request: `ExportLogsServiceRequest`.
    OtlpProto,
    /// A message is a record: an object of JSON without objects in it.
    Json,
}

/// A login to Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaslConfig {
    /// How the password is proved.
    pub mechanism: Mechanism,
    /// A directory with the files `username` and `password`.
    pub directory: PathBuf,
}

/// Mechanisms of SASL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// The password itself.
    Plain,
    /// A proof by SHA-256.
    ScramSha256,
    /// A proof by SHA-512.
    ScramSha512,
}

impl Mechanism {
    /// Every mechanism.
    pub const ALL: [Self; 3] = [Self::Plain, Self::ScramSha256, Self::ScramSha512];

    /// Its name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Files and names of TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// Authorities for the receiver's certificate, in PEM; none is the system's.
    pub ca_file: Option<PathBuf>,
    /// The own certificate, in PEM, for a receiver that asks for one.
    pub cert_file: Option<PathBuf>,
    /// Its key, in PEM.
    pub key_file: Option<PathBuf>,
    /// Name that the receiver's certificate must have; none is the host of the endpoint.
    pub server_name: Option<String>,
    /// Takes any certificate.
    pub insecure_skip_verify: bool,
}

/// Size of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchConfig {
    /// Records at most.
    pub max_records: u32,
    /// Bytes before compression at most.
    pub max_bytes: usize,
    /// Time for which a record waits for others.
    pub linger: Duration,
}

/// Waits between attempts: each is random between zero and a limit, which doubles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryConfig {
    /// The first limit.
    pub min: Duration,
    /// The greatest one, also of what a receiver asks for.
    pub max: Duration,
}

/// A directory for requests that wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolConfig {
    /// The directory; the output has one of its name in it.
    pub directory: PathBuf,
    /// Bytes of its files at most.
    pub max_bytes: u64,
    /// Age at which a file is dropped.
    pub max_age: Duration,
    /// Forces each file to the disk.
    pub fsync: bool,
}

/// Error of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field}: {problem}")]
pub struct InvalidConfig {
    /// The field as in the configuration file, such as `tls.ca_file`, or the environment variable.
    pub field: String,
    /// What is wrong with it, and what was expected.
    pub problem: String,
}

impl InvalidConfig {
    pub(crate) fn new(field: &str, problem: impl Into<String>) -> Self {
        Self { field: field.to_owned(), problem: problem.into() }
    }
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self { max_records: 4000, max_bytes: 3 << 20, linger: Duration::from_secs(5) }
    }
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { min: Duration::from_secs(1), max: Duration::from_mins(1) }
    }
}

impl OutputConfig {
    /// An output with a name and defaults.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            endpoint: None,
            protocol: None,
            insecure: None,
            compression: None,
            headers_directory: None,
            tls: TlsConfig::default(),
            timeout: None,
            batch: BatchConfig::default(),
            in_flight: 2,
            retry: RetryConfig::default(),
            queue_bytes: 16 << 20,
            spool: None,
            kafka: None,
        }
    }

    /// An output to Kafka with a name and defaults.
    pub fn kafka_named(name: &str) -> Self {
        let batch = BatchConfig { max_bytes: MAX_MESSAGE_BYTES, ..BatchConfig::default() };
        let kafka = KafkaConfig {
            brokers: Vec::new(),
            topics: ["webb.rollups", "webb.flows"].map(str::to_owned),
            form: MessageForm::OtlpProto,
            tls: false,
            sasl: None,
        };
        // One after the other: a message keeps its place behind those before it.
        Self { batch, in_flight: 1, kafka: Some(kafka), ..Self::named(name) }
    }
}
