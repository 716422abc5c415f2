//! What the source of flows means for other settings.

use super::flow_source::{FlowSource, HubbleServer};
use super::model::{Capture, Layer7, Settings};

impl Settings {
    /// The server that flows come from; none if they are webb's own.
    pub fn hubble_server(&self) -> Option<&HubbleServer> {
        match &self.flow_source {
            FlowSource::Ebpf => None,
            FlowSource::Hubble(server) => Some(server),
        }
    }

    /// Settings of layer 7 and of events of connections for the metrics: those of a server are what
    /// it sends, whatever is set for packets.
    pub fn seen_by_metrics(&self) -> (Layer7, Capture) {
        match self.flow_source {
            FlowSource::Ebpf => (self.l7.clone(), self.connections.capture),
            FlowSource::Hubble(_) => (Layer7::default(), Capture::Auto),
        }
    }
}

/// Rules about the keys of TLS together: the key, the other one, and what is wrong.
pub(super) fn contradictions(settings: &Settings) -> Vec<(&'static str, &'static str, String)> {
    let (tls, source) = (&settings.flow_source_tls, &settings.flow_source);
    let with_tls = matches!(source, FlowSource::Hubble(HubbleServer::Tcp { tls: true, .. }));
    let mut found = Vec::new();
    if with_tls && tls.ca.is_none() {
        let message = format!("`flow_source`: {source} needs `flow_source_tls.ca` beside it");
        found.push(("flow_source", "flow_source_tls.ca", message));
    }
    if tls.certificate.is_some() != tls.key.is_some() {
        let (set, missing) = if tls.key.is_none() {
            ("flow_source_tls.certificate", "flow_source_tls.key")
        } else {
            ("flow_source_tls.key", "flow_source_tls.certificate")
        };
        found.push((set, missing, format!("`{set}` needs `{missing}` beside it")));
    }
    if tls.ca.is_some() && !with_tls {
        let message = "`flow_source_tls.ca` is of use with hubble:tls://HOST:PORT in `flow_source` only; a connection \
                       without TLS would not be what it seems";
        found.push(("flow_source_tls.ca", "flow_source", message.to_owned()));
    }
    found
}
