//! From [`PolicySpec`]s to [`Policies`].
//!
//! Pods that no policy can tell apart (same namespace, same labels, same named ports) share one *row*, as they share
//! an identity in Cilium: a deployment of a thousand replicas is one row. A policy's pods and each distinct peer are
//! then matched against rows once, here, and kept as lists and bitsets, so that judging a flow compares no text.
//!
//! Work is policies times rows of their namespace, plus distinct peers times rows of the namespaces they match; memory
//! is one bit per distinct peer and row. The limit of this: labels that are unique to each pod (a `StatefulSet`'s
//! pod name) make a row each, and 20,000 such rows under 1,000 distinct peers are 2.5 MB and some 20 million comparisons.

use std::collections::HashMap;

use super::block::Block;
use super::spec::{Labels, PeerSpec, PolicySpec, PortMatch, PortSpec, RuleSpec, Selector, Subject};
use super::{Compiled, Peer, Policies, PolicyName, Port, Row, Rule};
use crate::flow::L4;
use crate::sym::Sym;

/// Collects pods, then compiles the policies against them.
#[derive(Debug, Default)]
pub struct Compiler {
    subjects: Vec<Subject>,
    rows: HashMap<Subject, u32>,
    namespaces: HashMap<String, Namespace>,
}

#[derive(Debug, Default)]
struct Namespace {
    labels: Labels,
    /// Rows of its pods.
    rows: Vec<u32>,
}

impl Compiler {
    /// Tells a namespace's labels; one that isn't told has none.
    pub fn namespace(&mut self, name: &str, labels: Labels) {
        self.namespaces.entry(name.to_owned()).or_default().labels = labels;
    }

    /// The row of a pod, for [`crate::index::Endpoint::policy_subject`]. Never 0: that is everyone who is no pod.
    pub fn subject(&mut self, mut subject: Subject) -> u32 {
        subject.ports.sort_unstable();
        if let Some(&row) = self.rows.get(&subject) {
            return row;
        }
        let row = u32::try_from(self.subjects.len() + 1).unwrap_or(u32::MAX);
        self.namespaces.entry(subject.namespace.clone()).or_default().rows.push(row);
        self.rows.insert(subject.clone(), row);
        self.subjects.push(subject);
        row
    }

    /// Compiles. Policies that select no pod are kept too: they have a name, and pods may come.
    pub fn compile<'a>(self, specs: impl IntoIterator<Item = &'a PolicySpec>) -> Policies {
        let mut rows: Vec<Row> = self.subjects.iter().map(Row::of).collect();
        rows.insert(0, Row::default());
        let mut building = Building { pods: &self, sets: Vec::new(), known: HashMap::new() };
        let mut policies = Vec::new();
        for (at, spec) in specs.into_iter().enumerate() {
            let id = u32::try_from(at).unwrap_or(u32::MAX);
            for &row in self.namespaces.get(&spec.namespace).map_or(&[][..], |namespace| &namespace.rows) {
                let (Some(subject), Some(row)) = (self.of_row(row), rows.get_mut(row as usize)) else { continue };
                if !spec.pods.matches(&subject.labels) {
                    continue;
                }
                if spec.ingress.is_some() {
                    row.ingress.push(id);
                }
                if spec.egress.is_some() {
                    row.egress.push(id);
                }
            }
            policies.push(Compiled {
                name: PolicyName { namespace: Sym::new(&spec.namespace), name: Sym::new(&spec.name) },
                ingress: building.rules(spec, spec.ingress.as_deref()),
                egress: building.rules(spec, spec.egress.as_deref()),
            });
        }
        let sets = building.sets;
        Policies { rows, compiled: policies, sets }
    }

    fn of_row(&self, row: u32) -> Option<&Subject> {
        self.subjects.get((row as usize).checked_sub(1)?)
    }
}

/// What makes two peers of pods the same: where the namespace selector is missing, the policy's namespace counts.
#[derive(Debug, PartialEq, Eq, Hash)]
struct PeerKey<'a> {
    own: Option<&'a str>,
    namespaces: Option<&'a Selector>,
    pods: Option<&'a Selector>,
}

struct Building<'a> {
    pods: &'a Compiler,
    sets: Vec<Box<[u64]>>,
    known: HashMap<PeerKey<'a>, u32>,
}

impl<'a> Building<'a> {
    fn rules(&mut self, spec: &'a PolicySpec, rules: Option<&'a [RuleSpec]>) -> Box<[Rule]> {
        rules
            .unwrap_or_default()
            .iter()
            .map(|rule| Rule {
                peers: rule.peers.iter().map(|peer| self.peer(spec, peer)).collect(),
                ports: rule.ports.iter().map(port).collect(),
            })
            .collect()
    }

    fn peer(&mut self, spec: &'a PolicySpec, peer: &'a PeerSpec) -> Peer {
        match peer {
            PeerSpec::Block { net, except } => Peer::Block(Block::new(*net, except)),
            PeerSpec::Pods { namespaces, pods } => {
                let own = namespaces.is_none().then_some(spec.namespace.as_str());
                let key = PeerKey { own, namespaces: namespaces.as_ref(), pods: pods.as_ref() };
                if let Some(&known) = self.known.get(&key) {
                    return Peer::Pods(known);
                }
                let made = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
                self.sets.push(self.pods.matching(&key));
                self.known.insert(key, made);
                Peer::Pods(made)
            }
        }
    }
}

impl Compiler {
    /// The rows that a peer matches, as a bitset.
    fn matching(&self, key: &PeerKey<'_>) -> Box<[u64]> {
        let mut set = vec![0_u64; (self.subjects.len() + 1).div_ceil(64)].into_boxed_slice();
        let rows = self
            .namespaces
            .iter()
            .filter(|(name, namespace)| match key.own {
                Some(own) => own == name.as_str(),
                None => key.namespaces.is_none_or(|selector| selector.matches(&namespace.labels)),
            })
            .flat_map(|(_, namespace)| &namespace.rows);
        for &row in rows {
            let Some(subject) = self.of_row(row) else { continue };
            if key.pods.is_none_or(|selector| selector.matches(&subject.labels))
                && let Some(word) = set.get_mut(row as usize / 64)
            {
                *word |= 1 << (row % 64);
            }
        }
        set
    }
}

impl Row {
    fn of(subject: &Subject) -> Self {
        let ports = subject
            .ports
            .iter()
            .map(|port| (Sym::new(&port.name), L4::of_protocol(port.protocol), port.port))
            .collect();
        Self { ingress: Vec::new(), egress: Vec::new(), ports }
    }
}

fn port(spec: &PortSpec) -> Port {
    match &spec.port {
        PortMatch::Any => Port::Range { protocol: spec.protocol, first: 0, last: u16::MAX },
        PortMatch::Range(first, last) => Port::Range { protocol: spec.protocol, first: *first, last: *last },
        PortMatch::Named(name) => Port::Named { protocol: spec.protocol, name: Sym::new(name) },
    }
}
