//! This node's network as the kernel describes it over rtnetlink: interfaces, addresses, routes.
//!
//! One subject per file:
//! * [`watch`]: [`NetworkWatch`], which follows all of them, and starts anew after a loss.
//! * [`interface`]: what an interface is. [`selection`]: which interfaces are watched, and as what.
//! * `routes`: default routes, which make an interface an uplink, and routes to single addresses,
//!   which say what is behind an interface.
//! * [`peers`]: the addresses at the other end of a pod's interface, in the pod's own network
//!   namespace.
//! * [`filters`]: the eBPF filters of an interface, and its packet counters.

mod addresses;
mod error;
pub mod filters;
pub mod interface;
pub mod peers;
mod pending_request;
mod routes;
pub mod selection;
pub mod watch;

pub use interface::{Driver, Interface};
pub use peers::Peers;
pub use selection::{Pods, Role, Selection};
pub use watch::{NetworkEvent, NetworkWatch, Node};
