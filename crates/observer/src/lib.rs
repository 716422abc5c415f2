//! The flows themselves: a bounded history of them, and Hubble's API to it.
//!
//! ```text
//! flows ──▶ History (segments, oldest out) ──▶ Walk (filters, limits) ──▶ Mask ──▶ gRPC
//! ```
//!
//! A flow that was seen here is kept as it is, its names in a table of its segment, and encoded
//! when it is read. One that another program wrote is kept as it is encoded, beside the parts that
//! filters read. Messages are read from JSON, masked and written as JSON by their descriptors
//! ([`schema`]), field by field, without being decoded into structures.

mod admission;
mod answers;
mod calls;
mod choice;
pub mod client;
mod connection;
mod details;
mod encode;
pub mod export;
mod expressions;
mod filter;
pub mod fuzz;
mod history;
pub mod json_read;
pub mod json_write;
mod listen;
mod load;
mod mask;
mod namespaces;
pub mod observe;
mod peers;
pub mod proto;
mod rate;
mod record;
mod responses;
pub mod schema;
mod segment;
mod server;
mod service;
mod site;
pub mod stream;
mod summary;
mod table;
mod taken;
mod walk;
mod wire;

pub use admission::{Admission, MAX_CONNECTIONS, MAX_CONNECTIONS_OF_CLIENT};
pub use calls::{Calls, Method, MethodCounts};
pub use connection::Connection;
pub use encode::Encoder;
pub use history::{Cut, History, MAX_EVENTS, Totals};
pub use listen::{Listener, UnixSocket, connections};
pub use load::Loader;
pub use mask::{InvalidMask, Mask};
pub use record::Recorder;
pub use segment::{Event, Other, OtherSort, Segment};
pub use server::{ServeError, serve};
pub use site::{Peer, Site, qualified, server_name};
pub use taken::Taken;
pub(crate) use webb_flow::clock::unix_ns;
