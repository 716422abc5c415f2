//! The eBPF programs from user space: load, attach, read, sweep, and say what this kernel allows.
//!
//! The only module that knows aya, and the only one with `unsafe`. One subject per file:
//! * [`settings`]: what the programs can be told, and the units they count in.
//! * `object`: the embedded objects, loaded with one reading of the kernel's BTF.
//! * [`probes`]: [`Probes`], which owns all that is loaded, and attaches it. [`attached`]: whether
//!   it still is.
//! * [`Loader`]: the thread that loads them, with the capabilities that no other has.
//! * `layer7`: the ring, totals and switch of layer 7.
//! * `arrange`, [`ports`], [`traffic_control`]: interfaces that need more than the plain programs,
//!   and how they are known.
//! * [`ring`]: the rings as `pipeline` reads them. [`ledger`]: totals and the sweep of the
//!   connection table.
//! * [`btf`]: names out of BTF. [`cost`]: what the programs cost.
//! * `cause`: why the kernel refuses.
//! * `features`: what this kernel can do. [`mod@findings`]: that, and what else this machine
//!   allows, for people.
//!
//! Nothing is pinned and nothing is looked up by id: every file descriptor is passed on from the
//! loading process, so `CAP_BPF`, `CAP_PERFMON` and `CAP_NET_ADMIN` are enough and all is gone when
//! the process is.

mod arrange;
pub mod attached;
pub mod btf;
mod cause;
pub mod cost;
mod error;
mod features;
pub mod findings;
mod layer7;
pub mod ledger;
mod loader;
mod object;
mod plain;
pub mod ports;
pub mod probes;
mod reasons;
pub mod ring;
mod ring_pages;
pub mod rounds;
pub mod settings;
mod signals;
mod sys;
pub mod traffic_control;

pub use arrange::Arranged;
pub use attached::{Attached, HookPosition};
pub use cause::little_memory;
pub use cost::Cost;
pub use error::{AttachError, LoadError, RunError};
pub use findings::{Finding, FindingState, PRIVILEGES, findings};
pub use layer7::Layer7;
pub use ledger::{Ledger, Mode, Sweeper};
pub use loader::{Loader, asks_always_for_bpf, has_tcx};
pub use object::{DROP_OBJECT, FLOW_L7_OBJECT, FLOW_OBJECT};
pub use ports::Special;
pub use probes::{Hook, Probes};
pub use reasons::{DropReasons, drop_reasons};
pub use ring::{KernelRings, RingFill};
pub use settings::{Attach, Layer7Settings, MAX_PORTS, ProgramSettings, Timeouts};
pub use traffic_control::TrafficControl;
