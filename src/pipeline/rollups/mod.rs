//! The rollups: rows of the open window, by a thread of their own that adds batches to them and
//! sends the rows of each window that ends.
//!
//! The reader does not wait for it. What finds the lane full is skipped and counted, and each
//! window's heartbeat says how many flows are missing. After a panic the next run goes on behind
//! the flow that caused it.

mod figures;
mod ledger;
mod listings;
mod run;
mod site;
mod state;
#[cfg(test)]
mod tests;
mod wanted;
mod windows;
mod work;

pub use figures::RollupCounts;
pub use ledger::{HandedOver, RollupLedger, Unrolled};
pub use run::roll_up;
pub use site::{RollupSite, heartbeat, new_uuid, resource};
pub use state::RollupState;
pub use wanted::WantedRollups;
