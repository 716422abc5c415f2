//! Flows from files: what `hubble observe -o json` and Hubble's flow-log export wrote, as the metrics read them.
//!
//! A line is read in one pass straight into a [`Flow`](crate::flow::Flow) and its [`Extra`](crate::flow::Extra)
//! ([`Reader`]); endpoints are interned by what they say ([`Book`]), since the same few thousand stand in every file
//! again and again. Memory does not grow with the file: lines are cut from one buffer ([`lines`]), rows of a batch are
//! used again, and every memo has a limit.

mod book;
pub mod cardinality;
mod fields;
pub mod fuzz;
mod input;
mod json;
mod lines;
pub mod progress;
mod reader;
mod time;

pub use book::Book;
pub use input::{Input, Position, open};
pub use json::Wrong;
pub use lines::{Line, lines};
pub use reader::{Counts, Reader};
