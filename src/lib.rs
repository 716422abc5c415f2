//! webb: Hubble's pod network metrics from eBPF, on any Kubernetes CNI.

#[cfg(not(panic = "unwind"))]
compile_error!("supervision catches panics: webb cannot be built with panic = \"abort\"");

pub mod abi;
pub mod actors;
pub mod app;
pub mod bpf_loader;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod conntrack;
pub mod decode;
pub mod expose;
pub mod fault;
pub mod file;
pub mod flow;
pub mod hash;
pub mod http;
pub mod index;
pub mod logging;
pub mod metrics;
pub mod network;
pub mod pipeline;
pub mod records;
pub mod replay;
pub mod selfmetrics;
pub mod settings;
pub mod sym;
pub mod tls;
