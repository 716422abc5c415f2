//! Compiles rules, and interns what their peers select by.
//!
//! A `NetworkPolicy`'s peer of pods is a number: distinct peers are matched with pods once, however
//! many rules have them. A rule of a policy with a tier has a single [`Peer::Matched`] for all its
//! peers of pods; [`RuleBits`](super::rule_bits::RuleBits) hold what these match. As well, it has a
//! single [`Peer::Networks`], and a rule of a `NetworkPolicy` one [`Peer::Blocks`].

use ipnet::IpNet;
use webb_flow::sym::Sym;

use super::blocks::Blocks;
use super::interner::Interner;
use super::spec::{Action, Labels, PeerSpec, PortMatch, PortSpec, RuleSpec, Selector};
use super::table::{CompiledPolicy, Peer, Port, Rule};
use super::truth::Truth;

/// The label that the API server gives to every namespace.
pub(super) const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Key that is equal for the same peers of pods: the policy's namespace counts where the namespace
/// selector is missing.
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
            None => in_any_namespace(self.namespaces.as_ref(), labels, listed),
        }
    }
}

/// Whether a selector matches a namespace. Of one that is not listed yet, only the name is known.
pub(super) fn in_namespace(selector: &Selector, labels: &Labels, listed: bool) -> Truth {
    selector.matches_some(labels, |key| listed || key == NAMESPACE_NAME)
}

/// Matches like [`in_namespace`]; no selector matches every namespace.
pub(super) fn in_any_namespace(selector: Option<&Selector>, labels: &Labels, listed: bool) -> Truth {
    selector.map_or(Truth::Yes, |selector| in_namespace(selector, labels, listed))
}

/// The distinct peers of all policies.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// Peers of pods of NetworkPolicies.
    pub(super) pods: Interner<PeerKey>,
    pub(super) nodes: Interner<Selector>,
    /// Peers of pods that are new, or have lost their last reference, since these were taken.
    pub(super) changed_pods: Vec<u32>,
    /// Whether there are new peers of nodes.
    pub(super) has_new_nodes: bool,
}

impl Peers {
    /// Compiles a rule of a policy of that namespace; none for a policy of the cluster.
    pub(super) fn rule(&mut self, namespace: Option<&str>, action: Option<Action>, rule: &RuleSpec) -> Rule {
        let unreadable_peer = |peer: &PeerSpec| match peer {
            PeerSpec::Unknown => true,
            PeerSpec::Pods { namespaces, pods } => [namespaces, pods].into_iter().flatten().any(Selector::is_unsure),
            PeerSpec::Nodes(selector) => selector.is_unsure(),
            PeerSpec::Block { .. } | PeerSpec::Domain => false,
        };
        let is_tiered = namespace.is_none();
        let has = |is: fn(&PeerSpec) -> bool| rule.peers.iter().any(is);
        let matched = is_tiered && has(|peer| matches!(peer, PeerSpec::Pods { .. }));
        let networks = is_tiered && has(|peer| network(peer).is_some());
        let common = [(matched, Peer::Matched), (networks, Peer::Networks)].into_iter();
        let common = common.filter_map(|(is, peer)| is.then_some(peer));
        let blocks = blocks(rule.peers.iter().filter(|peer| !is_tiered || network(peer).is_none()));
        let peers = rule.peers.iter().filter_map(|peer| self.peer(namespace, peer));
        Rule {
            peers: common.chain(blocks).chain(peers).collect(),
            ports: rule.ports.iter().map(port).collect(),
            action,
            unknown: rule.unknown,
            unreadable: rule.unknown
                || rule.peers.iter().any(unreadable_peer)
                || rule.ports.iter().any(|port| port.port == PortMatch::Unknown),
        }
    }

    /// Compiles a peer; none where one peer stands for several of the rule.
    fn peer(&mut self, namespace: Option<&str>, peer: &PeerSpec) -> Option<Peer> {
        Some(match peer {
            PeerSpec::Block { .. } => return None,
            PeerSpec::Unknown | PeerSpec::Domain => Peer::Unknown,
            PeerSpec::Nodes(selector) => {
                let (number, is_new) = self.nodes.acquire(selector.clone());
                self.has_new_nodes |= is_new;
                Peer::Nodes(number)
            }
            PeerSpec::Pods { namespaces, pods } => {
                let own = namespace.filter(|_| namespaces.is_none()).map(str::to_owned);
                let key = PeerKey { own, namespaces: namespaces.clone(), pods: pods.clone() };
                namespace?;
                let (number, is_new) = self.pods.acquire(key);
                if is_new {
                    self.changed_pods.push(number);
                }
                Peer::Pods(number)
            }
        })
    }

    /// Releases the peers of a policy that is no more.
    pub(super) fn release(&mut self, policy: &CompiledPolicy) {
        let rules = policy.ingress.rules.iter().chain(policy.egress.rules.iter());
        for peer in rules.flat_map(|rule| &rule.peers) {
            match *peer {
                Peer::Pods(number) if self.pods.release(number) => self.changed_pods.push(number),
                Peer::Nodes(number) => _ = self.nodes.release(number),
                _ => {}
            }
        }
    }
}

/// The network of a peer that is one, without exceptions: such a peer of a policy with a tier is
/// found by its address.
pub(super) fn network(peer: &PeerSpec) -> Option<IpNet> {
    match peer {
        PeerSpec::Block { net, except } if except.is_empty() => Some(*net),
        _ => None,
    }
}

/// Compiles one peer for all blocks; none without any.
fn blocks<'a>(peers: impl Iterator<Item = &'a PeerSpec>) -> Option<Peer> {
    let block = |peer: &'a PeerSpec| match peer {
        PeerSpec::Block { net, except } => Some((*net, except.as_slice())),
        _ => None,
    };
    let mut blocks = peers.filter_map(block).peekable();
    blocks.peek()?;
    Some(Peer::Blocks(Blocks::new(blocks)))
}

fn port(spec: &PortSpec) -> Port {
    match &spec.port {
        PortMatch::Any => Port::Range { protocol: spec.protocol, first: 0, last: u16::MAX },
        PortMatch::Range(first, last) => Port::Range { protocol: spec.protocol, first: *first, last: *last },
        PortMatch::Named(name) => Port::Named { protocol: spec.protocol, name: Sym::new(name) },
        PortMatch::Unknown => Port::Unknown { protocol: spec.protocol },
    }
}
