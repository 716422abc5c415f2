//! From [`PolicySpec`]s to [`Policies`].
//!
//! Pods that no policy can tell apart (same namespace, same labels, same named ports) share one *row*, as they share
//! an identity in Cilium: a deployment of a thousand replicas is one row. A policy's pods and each distinct peer are
//! matched against rows once, here, and kept as lists and bitsets, so that judging a flow compares no text.
//!
//! A row that is new, or whose namespace got other labels, is matched alone: what the rest of the cluster had worked
//! out for it stays and is shared with the tables published before. Other policies mean all rows anew: policies times
//! rows of their namespace, plus distinct peers times rows of the namespaces they match. Memory is one bit per distinct
//! peer and row. The limit of this: labels that are unique to each pod (a `StatefulSet`'s pod name) make a row each,
//! and 20,000 such rows under 1,000 distinct peers are 2.5 MB and some 20 million comparisons.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::block::Block;
use super::spec::{Labels, PeerSpec, PolicySpec, PortMatch, PortSpec, RuleSpec, Selector, Subject};
use super::{Compiled, Peer, Policies, PolicyName, Port, Row, Rule};
use crate::flow::L4;
use crate::sym::Sym;

/// Knows pods and policies, and keeps the tables of one against the other.
#[derive(Debug, Default)]
pub struct Compiler {
    /// By row; row 0 is everyone who is no pod.
    subjects: Vec<Option<(Arc<Subject>, usize)>>,
    rows: HashMap<Arc<Subject>, u32>,
    free: Vec<u32>,
    namespaces: HashMap<String, Namespace>,
    specs: Vec<Arc<PolicySpec>>,
    by_namespace: HashMap<String, Vec<u32>>,
    peers: Vec<PeerKey>,
    policies: Policies,
    /// Rows that are to be matched before the tables are given out again.
    stale: BTreeSet<u32>,
}

#[derive(Debug, Default)]
struct Namespace {
    labels: Labels,
    /// Rows of its pods.
    rows: Vec<u32>,
    /// Peers that may match pods of this namespace, but for the pods' own labels. None until someone asks.
    peers: Option<Vec<u32>>,
}

/// What makes two peers of pods the same: where the namespace selector is missing, the policy's namespace counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PeerKey {
    own: Option<String>,
    namespaces: Option<Selector>,
    pods: Option<Selector>,
}

impl PeerKey {
    fn may_match(&self, name: &str, labels: &Labels) -> bool {
        match &self.own {
            Some(own) => own == name,
            None => self.namespaces.as_ref().is_none_or(|selector| selector.matches(labels)),
        }
    }
}

impl Compiler {
    /// Tells a namespace's labels; one that isn't told has none.
    pub fn namespace(&mut self, name: &str, labels: Labels) {
        if !self.namespaces.contains_key(name) {
            self.namespaces.insert(name.to_owned(), Namespace::default());
        }
        if let Some(known) = self.namespaces.get_mut(name).filter(|known| known.labels != labels) {
            known.labels = labels;
            known.peers = None;
            self.stale.extend(&known.rows);
        }
    }

    /// The row of a pod, for [`crate::index::Endpoint::policy_subject`]. Never 0: that is everyone who is no pod.
    pub fn subject(&mut self, subject: impl Into<Arc<Subject>>) -> u32 {
        let mut subject = subject.into();
        if !subject.ports.is_sorted() {
            Arc::make_mut(&mut subject).ports.sort_unstable();
        }
        let known = self.rows.get(&subject).copied();
        let row = known.unwrap_or_else(|| self.meet(subject));
        if let Some(Some((_, used))) = self.subjects.get_mut(row as usize) {
            *used += 1;
        }
        row
    }

    fn meet(&mut self, subject: Arc<Subject>) -> u32 {
        let row = self.free.pop().unwrap_or_else(|| {
            self.subjects.resize(self.subjects.len().max(1) + 1, None);
            u32::try_from(self.subjects.len() - 1).unwrap_or(u32::MAX)
        });
        self.namespaces.entry(subject.namespace.clone()).or_default().rows.push(row);
        self.rows.insert(Arc::clone(&subject), row);
        if let Some(place) = self.subjects.get_mut(row as usize) {
            *place = Some((subject, 0));
        }
        self.stale.insert(row);
        row
    }

    /// Forgets a namespace that is no more; false if it still has pods.
    pub fn forget_namespace(&mut self, name: &str) -> bool {
        let empty = self.namespaces.get(name).is_none_or(|known| known.rows.is_empty());
        if empty {
            self.namespaces.remove(name);
        }
        empty
    }

    /// One who was told as a [`Compiler::subject`] is no more. A row without any may be given to others.
    pub fn release(&mut self, row: u32) {
        let Some(place) = self.subjects.get_mut(row as usize) else { return };
        let Some((subject, used)) = place else { return };
        *used = used.saturating_sub(1);
        if *used > 0 {
            return;
        }
        self.rows.remove(subject);
        if let Some(namespace) = self.namespaces.get_mut(&subject.namespace) {
            namespace.rows.retain(|known| *known != row);
        }
        *place = None;
        self.free.push(row);
        self.stale.insert(row);
    }

    /// These are the policies from now on. Policies that select no pod are kept too: they have a name, and pods may
    /// come.
    pub fn set_policies(&mut self, specs: Vec<Arc<PolicySpec>>) {
        self.specs = specs;
        self.by_namespace.clear();
        for (spec, at) in self.specs.iter().zip(0_u32..) {
            self.by_namespace.entry(spec.namespace.clone()).or_default().push(at);
        }
        let mut peers = Peers::default();
        let compiled = self.specs.iter().map(|spec| Compiled {
            name: PolicyName { namespace: Sym::new(&spec.namespace), name: Sym::new(&spec.name) },
            ingress: peers.rules(spec, spec.ingress.as_deref()),
            egress: peers.rules(spec, spec.egress.as_deref()),
        });
        let compiled: Arc<[Compiled]> = compiled.collect();
        self.peers = peers.list;
        self.policies = Policies { rows: Vec::new(), compiled, sets: vec![Arc::default(); self.peers.len()] };
        for namespace in self.namespaces.values_mut() {
            namespace.peers = None;
        }
        self.stale = (0..u32::try_from(self.subjects.len()).unwrap_or(u32::MAX)).collect();
    }

    /// The tables, all that was told taken into account.
    pub fn policies(&mut self) -> &Policies {
        for row in std::mem::take(&mut self.stale) {
            self.enter(row);
        }
        &self.policies
    }

    /// Whether [`Compiler::policies`] would differ from what it was.
    pub fn is_stale(&self) -> bool {
        !self.stale.is_empty()
    }

    /// Compiles once and for all.
    pub fn compile<'a>(mut self, specs: impl IntoIterator<Item = &'a PolicySpec>) -> Policies {
        self.set_policies(specs.into_iter().cloned().map(Arc::new).collect());
        self.policies().clone()
    }

    /// Matches one row with all policies and peers.
    fn enter(&mut self, number: u32) {
        let subject = self.subjects.get(number as usize).and_then(|place| place.as_ref());
        let subject = subject.map(|(subject, _)| Arc::clone(subject));
        let (row, wanted) =
            subject.map_or_else(Default::default, |subject| (self.row(&subject), self.wanted(&subject)));
        let Policies { rows, sets, .. } = &mut self.policies;
        if rows.len() <= number as usize {
            rows.resize(number as usize + 1, Arc::default());
        }
        if let Some(place) = rows.get_mut(number as usize) {
            *place = Arc::new(row);
        }
        let (word, bit) = (number as usize / 64, 1_u64 << (number % 64));
        for (set, at) in sets.iter_mut().zip(0_u32..) {
            let (is, should) = (set.get(word).is_some_and(|word| word & bit != 0), wanted.binary_search(&at).is_ok());
            if is == should {
                continue;
            }
            let set = Arc::make_mut(set);
            set.resize(set.len().max(word + 1), 0);
            if let Some(word) = set.get_mut(word) {
                *word ^= bit;
            }
        }
    }

    fn row(&self, subject: &Subject) -> Row {
        let ports = subject.ports.iter();
        let ports = ports.map(|port| (Sym::new(&port.name), L4::of_protocol(port.protocol), port.port));
        let mut row = Row { ports: ports.collect(), ..Row::default() };
        for &id in self.by_namespace.get(&subject.namespace).into_iter().flatten() {
            let Some(spec) = self.specs.get(id as usize) else { continue };
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
        row
    }

    /// The peers that match, sorted.
    fn wanted(&mut self, subject: &Subject) -> Vec<u32> {
        let Some(namespace) = self.namespaces.get_mut(&subject.namespace) else { return Vec::new() };
        let peers = &self.peers;
        let candidates = namespace.peers.get_or_insert_with(|| {
            let all = peers.iter().zip(0_u32..);
            all.filter(|(peer, _)| peer.may_match(&subject.namespace, &namespace.labels)).map(|(_, at)| at).collect()
        });
        let matches = |at: &&u32| {
            let pods = peers.get(**at as usize).and_then(|peer| peer.pods.as_ref());
            pods.is_none_or(|selector| selector.matches(&subject.labels))
        };
        candidates.iter().filter(matches).copied().collect()
    }
}

/// The distinct peers of all policies.
#[derive(Debug, Default)]
struct Peers {
    list: Vec<PeerKey>,
    known: HashMap<PeerKey, u32>,
}

impl Peers {
    fn rules(&mut self, spec: &PolicySpec, rules: Option<&[RuleSpec]>) -> Box<[Rule]> {
        rules
            .unwrap_or_default()
            .iter()
            .map(|rule| Rule {
                peers: rule.peers.iter().map(|peer| self.peer(spec, peer)).collect(),
                ports: rule.ports.iter().map(port).collect(),
            })
            .collect()
    }

    fn peer(&mut self, spec: &PolicySpec, peer: &PeerSpec) -> Peer {
        match peer {
            PeerSpec::Block { net, except } => Peer::Block(Block::new(*net, except)),
            PeerSpec::Pods { namespaces, pods } => {
                let own = namespaces.is_none().then(|| spec.namespace.clone());
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
    }
}
