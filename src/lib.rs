//! webb: Hubble's pod network metrics from eBPF, on any Kubernetes CNI.

#[cfg(not(panic = "unwind"))]
compile_error!("supervision catches panics: webb cannot be built with panic = \"abort\"");

pub mod actors;
pub mod agent_metrics;
pub mod app;
pub mod bpf_loader;
pub mod cli;
pub mod conntrack;
pub mod display;
pub mod exports;
pub mod families;
pub mod health;
pub mod http;
pub mod http_client;
pub mod ipsec;
pub mod logging;
pub mod network;
pub mod operator_metrics;
pub mod output;
pub mod pipeline;
pub mod privileges;
pub mod readings;
pub mod records;
pub mod relay_metrics;
pub mod reloads;
pub mod selfmetrics;
pub mod server;
pub mod startup;
pub mod tls;
pub mod top;
