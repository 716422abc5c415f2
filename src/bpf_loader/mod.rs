//! The eBPF programs from user space: load, attach, read, sweep, and say what this kernel allows.
//!
//! The only module that knows aya, and the only one with `unsafe`. One subject per file:
//! * [`settings`]: what the programs can be told, and the units they count in.
//! * `object`: the embedded objects, loaded with one reading of the kernel's BTF.
//! * [`probes`]: [`Probes`], which owns all that is loaded, and attaches it. [`attached`]: whether
//!   it still is.
//! * [`Loader`]: the thread that loads them, with the capabilities that no other has.
//! * `layer7`: the ring, totals and switch of layer 7.
//! * [`handover`], `takeover`: maps and links that outlive the process, for the next one.
//! * `arrange`, [`ports`], [`traffic_control`]: interfaces that need more than the plain programs,
//!   and how they are known.
//! * [`ring`]: the rings as `pipeline` reads them. [`ledger`]: totals and the sweep of the
//!   connection table.
//! * [`btf`], [`btf_maps`]: names and layouts out of BTF. [`cost`]: what the programs cost.
//! * [`maps`]: maps and programs as objects: how many, how large, how full.
//! * `cause`: why the kernel refuses.
//! * `features`: what this kernel can do. [`mod@findings`]: that, and what else this machine
//!   allows, for people.
//!
//! Without `handover` nothing is pinned, and nothing of webb's is ever looked up by id: every file
//! descriptor is passed on from the loading process, so `CAP_BPF`, `CAP_PERFMON` and
//! `CAP_NET_ADMIN` are enough and all is gone when the process is. Only the maps of other programs
//! are, with `agent_metrics.all_maps`.

mod arrange;
pub mod attached;
pub mod btf;
pub mod btf_maps;
mod cause;
pub mod cost;
mod error;
mod features;
pub mod findings;
pub mod handover;
mod layer7;
pub mod ledger;
mod loader;
pub mod maps;
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
mod sweep_runs;
mod sys;
mod taken_over;
mod takeover;
pub mod traffic_control;

pub use arrange::Arranged;
pub use attached::{Attached, HookPosition};
pub use cause::little_memory;
pub use cost::Cost;
pub use error::{AttachError, LoadError, RunError};
pub use findings::{Finding, FindingState, PRIVILEGES, findings};
pub use handover::{Handover, HandoverOutcome};
pub use layer7::Layer7;
pub use ledger::{Ledger, Mode, Sweeper};
pub use loader::{Confine, Loader, asks_always_for_bpf, has_tcx};
pub use object::{DROP_OBJECT, FLOW_ALL_OBJECT, FLOW_L7_OBJECT, FLOW_OBJECT, FLOW_QUALITY_OBJECT};
pub use ports::Special;
pub use probes::{Hook, Probes};
pub use reasons::{DropReasons, drop_reasons};
pub use ring::{KernelRings, RingFill};
pub use settings::{Attach, Layer7Settings, MAX_PORTS, ProgramSettings, Timeouts};
pub use sweep_runs::SweepRuns;
pub use taken_over::TakenOver;
pub use traffic_control::TrafficControl;
