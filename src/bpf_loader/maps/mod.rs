//! Maps and programs as objects of the kernel: how many there are, what memory they take, and how
//! full a map is.
//!
//! webb's own are known by their descriptors. Those of other programs are found by their ids, which
//! takes `CAP_SYS_ADMIN`; only [`NodeObjects`]' thread has it. Nothing here is asked by a scrape: a
//! map may have millions of entries.

mod entries;
mod figures;
mod node;
mod own;
mod syscalls;

pub use entries::{Buffer, EntryCount};
pub use figures::{Figures, Outcomes, Round};
pub(super) use node::serve;
pub use node::{NodeObject, NodeObjects};
pub use own::{OpenMap, OwnObjects};
pub use syscalls::{MapOperation, OwnMap, SYSCALLS, Syscalls};
