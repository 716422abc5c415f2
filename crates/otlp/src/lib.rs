//! OTLP logs: records are written as protobuf, put into requests, and delivered to a receiver.
//!
//! ```text
//! Record ─► Feed ─► Request ─► Output::offer ─► queue ──► Output::run ──► receiver
//!           one each: output,   never waits       │  ▲      a thread
//!           stream                                ▼  │
//!                                           spool directory
//! ```
//!
//! A producer has one [`Record`] and, for each output and stream, one [`Feed`]. It begins a record,
//! writes its attributes, of which those of an endpoint are ready-made ([`Attributes`]), and adds
//! it to the feeds. An owner of a thread calls [`Output::run`]; after a panic it calls that again,
//! and what waited is still there. [`Figures`] say what became of every record.

mod answer;
mod attributes;
mod client;
mod config;
mod delivery;
mod encoding;
mod environment;
mod feed;
mod figures;
pub mod fuzz;
mod headers;
mod hints;
mod io;
mod kafka;
mod orphans;
mod output;
mod pace;
mod partial;
mod protobuf;
mod proxy;
mod queue;
mod record;
mod request;
mod resolved;
mod run;
mod sender;
mod spool;
mod state_log;
mod store;
mod target;
mod tls;
mod window;

pub use attributes::{Attributes, MAX_ATTRIBUTES, MAX_KEY_BYTES, MAX_RECORD_BYTES, MAX_VALUE_BYTES};
pub use config::{
    BatchConfig, InvalidConfig, KafkaConfig, MAX_MESSAGE_BYTES, Mechanism, MessageForm, OutputConfig, Protocol,
    RetryConfig, SaslConfig, SpoolConfig, TlsConfig,
};
pub use encoding::Encoding;
pub use environment::Environment;
pub use feed::Feed;
pub use figures::{Figures, Ledger, Loss};
pub use orphans::{Orphan, orphans};
pub use output::{Output, Owner, SHUTDOWN_BUDGET};
pub use record::{Encoded, Head, MAX_BODY_BYTES, Record, Severity};
pub use request::{MAX_REQUEST_BYTES, Request, RequestBuilder, Stream};
pub use window::{LastWindow, last_window};
