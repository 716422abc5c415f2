//! webb: Hubble's pod network metrics from eBPF, on any Kubernetes CNI.

#[cfg(not(panic = "unwind"))]
compile_error!("supervision catches panics: webb cannot be built with panic = \"abort\"");

pub mod actors;
pub mod app;
pub mod bpf_loader;
pub mod cli;
pub mod conntrack;
pub mod http;
pub mod logging;
pub mod network;
pub mod pipeline;
pub mod privileges;
pub mod records;
pub mod reloads;
pub mod selfmetrics;
pub mod server;
pub mod startup;
pub mod tls;
