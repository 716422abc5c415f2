//! State of one node: its addresses with their protocols, each tracked by itself.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::peers::Unprobed;
use super::track::Track;
use super::{Connectivity, ProbeError, Protocol, Rank};

/// Outcome of a probe of one address: by HTTP, and by ICMP where that is possible.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) http: Result<Duration, ProbeError>,
    pub(super) icmp: Option<Result<Duration, ProbeError>>,
}

/// State of one node.
#[derive(Debug, Default)]
pub(super) struct NodeState {
    pub(super) addresses: Vec<AddressState>,
    /// Some of its addresses that are not probed.
    pub(super) unprobed: Vec<(IpAddr, Unprobed)>,
}

/// State of one address.
#[derive(Debug, Clone)]
pub(super) struct AddressState {
    pub(super) address: IpAddr,
    pub(super) rank: Rank,
    http: Track,
    /// None where the address is not probed by ICMP.
    icmp: Option<Track>,
}

impl AddressState {
    pub(super) fn new(address: IpAddr, rank: Rank) -> Self {
        Self { address, rank, http: Track::default(), icmp: None }
    }

    /// The same state, of an address whose rank may be another now.
    pub(super) fn ranked(self, rank: Rank) -> Self {
        Self { rank, ..self }
    }

    /// Its protocols.
    pub(super) fn tracks(&self) -> impl Iterator<Item = (Protocol, &Track)> {
        std::iter::once((Protocol::Http, &self.http)).chain(self.icmp.as_ref().map(|icmp| (Protocol::Icmp, icmp)))
    }

    /// Connectivity over its protocols.
    pub(super) fn connectivity(&self, now: Instant, max_age: Duration) -> Connectivity {
        Connectivity::of_all(self.tracks().map(|(_, track)| track.connectivity(now, max_age)))
    }

    /// Records a probe.
    pub(super) fn record(&mut self, outcome: &Outcome, now: Instant) {
        self.http.record(&outcome.http, now);
        match &outcome.icmp {
            Some(outcome) => self.icmp.get_or_insert_default().record(outcome, now),
            None => self.icmp = None,
        }
    }
}
