//! Flows of other programs: parses what `hubble observe -o json` and Hubble's flow-log export
//! write, and the responses of Hubble's API.
//!
//! A line or response is read in one pass straight into a [`Flow`](webb_flow::Flow) and its
//! [`Extra`](webb_flow::Extra) ([`Reader`]), whatever its notation; endpoints are interned by their
//! bytes ([`EndpointInterner`]), since the same few thousand stand in every file again and again.
//! Memory does not grow with the file: lines are cut from one buffer ([`lines()`]), rows of a batch
//! are used again, and every cache has a limit.

pub mod cardinality;
mod fields;
pub mod fuzz;
mod input;
mod interner;
mod json;
mod lines;
mod notation;
mod numbers;
pub mod progress;
mod reader;
mod time;
mod wire;

pub use input::{Input, Position, open};
pub use interner::EndpointInterner;
pub use json::{Cursor, JsonError};
pub use lines::{Line, lines};
pub use reader::{Content, Counts, Reader, hubble_counts};
pub use time::nanoseconds;
pub use wire::{WireError, WireFault};
