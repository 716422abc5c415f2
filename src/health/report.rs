//! Report of every node's health, as `/health` shows it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::address::{AddressState, NodeState};
use super::track::Track;
use super::{Connectivity, Protocol};

/// All nodes.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Interval between two probes of an address, in seconds.
    pub interval_seconds: f64,
    /// Time for one probe, in seconds.
    pub timeout_seconds: f64,
    /// The reason for which there is no ICMP echo; none if there is, or if it is not wanted.
    pub icmp_error: Option<String>,
    /// Nodes, by name.
    pub nodes: Vec<NodeReport>,
}

/// One node.
#[derive(Debug, Clone, Serialize)]
pub struct NodeReport {
    /// Its name.
    pub name: String,
    /// Connectivity over all its addresses.
    pub status: &'static str,
    /// Its addresses, the primary one first.
    pub addresses: Vec<AddressReport>,
    /// Its internal addresses that are not probed, the first 16.
    pub unprobed: Vec<UnprobedReport>,
}

/// One address that is not probed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnprobedReport {
    /// The address.
    pub address: IpAddr,
    /// Value of the `reason` label of `webb_health_unprobed_addresses`.
    pub reason: &'static str,
}

/// One address.
#[derive(Debug, Clone, Serialize)]
pub struct AddressReport {
    /// The address.
    pub address: IpAddr,
    /// `primary` or `secondary`.
    #[serde(rename = "type")]
    pub rank: &'static str,
    /// Connectivity over its protocols.
    pub status: &'static str,
    /// Its protocols.
    pub protocols: Vec<ProbeReport>,
}

/// One protocol of an address.
#[derive(Debug, Clone, Serialize)]
pub struct ProbeReport {
    /// `http` or `icmp`.
    pub protocol: &'static str,
    /// Connectivity by it.
    pub status: &'static str,
    /// Outcome of the last probe, as `webb_health_probes_total` has it; none before the first one.
    pub outcome: Option<&'static str>,
    /// Latency of the last answer, in seconds.
    pub latency_seconds: Option<f64>,
    /// Seconds since the last answer.
    pub last_seen_seconds_ago: Option<f64>,
    /// Error of the last probe; none if it was answered.
    pub error: Option<String>,
}

impl NodeReport {
    pub(super) fn new(name: &str, node: &NodeState, now: Instant, max_age: Duration) -> Self {
        let states = node.addresses.iter();
        let unprobed = node.unprobed.iter();
        Self {
            name: name.to_owned(),
            status: Connectivity::of_all(states.clone().map(|state| state.connectivity(now, max_age))).label(),
            addresses: states.map(|state| AddressReport::new(state, now, max_age)).collect(),
            unprobed: unprobed
                .map(|(address, reason)| UnprobedReport { address: *address, reason: reason.label() })
                .collect(),
        }
    }
}

impl AddressReport {
    fn new(state: &AddressState, now: Instant, max_age: Duration) -> Self {
        let of = |(protocol, track)| ProbeReport::new(protocol, track, now, max_age);
        Self {
            address: state.address,
            rank: state.rank.label(),
            status: state.connectivity(now, max_age).label(),
            protocols: state.tracks().map(of).collect(),
        }
    }
}

impl ProbeReport {
    fn new(protocol: Protocol, track: &Track, now: Instant, max_age: Duration) -> Self {
        Self {
            protocol: protocol.label(),
            status: track.connectivity(now, max_age).label(),
            outcome: track.outcome(),
            latency_seconds: track.latency.map(|latency| latency.as_secs_f64()),
            last_seen_seconds_ago: track.seen.map(|seen| now.saturating_duration_since(seen).as_secs_f64()),
            error: track.error.as_ref().map(ToString::to_string),
        }
    }
}
