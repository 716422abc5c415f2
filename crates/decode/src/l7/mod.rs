//! Layer 7: segments of DNS and HTTP in, messages out.
//!
//! A [`Dissector`] reads the records of one ring in their order. It is pure: the time is that of
//! the records, and what it knows of pods it asks its [`Sink`]. State is bounded by entries, bytes
//! and time. What cannot be matched is counted by reason in the [`Ledger`], never guessed.

mod arena;
mod body;
mod buffers;
mod closes;
mod connections;
mod dissector;
mod dns;
mod dns_tcp;
mod event;
mod fields;
mod frames;
mod fuzz;
mod grpc;
mod head;
mod headers;
mod hpack;
mod http1;
mod http2;
mod huffman;
mod ledger;
mod out;
mod partial;
mod passwords;
mod place;
mod queries;
mod redact;
mod requests;
mod span;
mod target;
#[cfg(test)]
mod tests;
mod url;

pub use closes::Close;
pub use dissector::{Dissector, Gauges, Limits};
pub use dns::type_name;
pub use event::{
    Connection, Content, Dns, Event, Grpc, GrpcStatus, Http, Judgement, Path, Port, Side, Sink,
    Unanswered as UnansweredQuestion, Wants,
};
pub use fuzz::fuzz;
pub use ledger::{
    Abandoned, Cut, Doubt, Ledger, MessageOutcome, MessageType, Protocol as MessageProtocol, RecordOutcome, Unanswered,
    Unparsed,
};
pub use redact::{HeaderRule, REDACTED, Redact};
