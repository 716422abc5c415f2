//! Interns the distinct peers of all policies: rules refer to them by number.

use std::collections::HashMap;

use webb_flow::sym::Sym;

use super::block::Block;
use super::spec::Action;
use super::spec::{Labels, PeerSpec, PortMatch, PortSpec, RuleSpec, Selector};
use super::table::{Peer, Port, Rule};
use super::truth::Truth;

/// The label that the API server gives to every namespace.
pub(super) const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// What makes two peers of pods the same: where the namespace selector is missing, the policy's
/// namespace counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PeerKey {
    own: Option<String>,
    namespaces: Option<Selector>,
    pub(super) pods: Option<Selector>,
}

impl PeerKey {
    /// Whether it may match pods of a namespace, but for their own labels. `listed`: whether its
    /// labels are known.
    pub(super) fn may_match(&self, name: &str, labels: &Labels, listed: bool) -> Truth {
        match &self.own {
            Some(own) => (own == name).into(),
            None => self.namespaces.as_ref().map_or(Truth::Yes, |selector| in_namespace(selector, labels, listed)),
        }
    }
}

/// Whether a selector matches a namespace. Of one that is not listed yet, only the name is known.
pub(super) fn in_namespace(selector: &Selector, labels: &Labels, listed: bool) -> Truth {
    selector.matches_some(labels, |key| listed || key == NAMESPACE_NAME)
}

/// The distinct peers.
#[derive(Debug, Default)]
pub(super) struct Peers {
    pub(super) list: Vec<PeerKey>,
    known: HashMap<PeerKey, u32>,
    pub(super) nodes: Vec<Selector>,
}

impl Peers {
    /// A rule of a policy of that namespace; none for a policy of the cluster.
    pub(super) fn rule(&mut self, namespace: Option<&str>, action: Option<Action>, rule: &RuleSpec) -> Rule {
        let unreadable_peer = |peer: &PeerSpec| match peer {
            PeerSpec::Unknown => true,
            PeerSpec::Pods { namespaces, pods } => [namespaces, pods].into_iter().flatten().any(Selector::is_unsure),
            PeerSpec::Nodes(selector) => selector.is_unsure(),
            PeerSpec::Block { .. } | PeerSpec::Domain => false,
        };
        Rule {
            peers: rule.peers.iter().map(|peer| self.peer(namespace, peer)).collect(),
            ports: rule.ports.iter().map(port).collect(),
            action,
            unknown: rule.unknown,
            unreadable: rule.unknown
                || rule.peers.iter().any(unreadable_peer)
                || rule.ports.iter().any(|port| port.port == PortMatch::Unknown),
        }
    }

    fn peer(&mut self, namespace: Option<&str>, peer: &PeerSpec) -> Peer {
        match peer {
            PeerSpec::Block { net, except } => Peer::Block(Block::new(*net, except)),
            PeerSpec::Unknown | PeerSpec::Domain => Peer::Unknown,
            PeerSpec::Nodes(selector) => {
                let at = self.nodes.iter().position(|known| known == selector).unwrap_or_else(|| {
                    self.nodes.push(selector.clone());
                    self.nodes.len() - 1
                });
                Peer::Nodes(u32::try_from(at).unwrap_or(u32::MAX))
            }
            PeerSpec::Pods { namespaces, pods } => {
                let own = namespace.filter(|_| namespaces.is_none()).map(str::to_owned);
                let key = PeerKey { own, namespaces: namespaces.clone(), pods: pods.clone() };
                if let Some(&known) = self.known.get(&key) {
                    return Peer::Pods(known);
                }
                let made = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
                self.list.push(key.clone());
                self.known.insert(key, made);
                Peer::Pods(made)
            }
        }
    }
}

fn port(spec: &PortSpec) -> Port {
    match &spec.port {
        PortMatch::Any => Port::Range { protocol: spec.protocol, first: 0, last: u16::MAX },
        PortMatch::Range(first, last) => Port::Range { protocol: spec.protocol, first: *first, last: *last },
        PortMatch::Named(name) => Port::Named { protocol: spec.protocol, name: Sym::new(name) },
        PortMatch::Unknown => Port::Unknown { protocol: spec.protocol },
    }
}
