//! From [`PolicySpec`]s to [`Policies`].
//!
//! Pods that no policy can tell apart (same namespace, same labels, same named ports) share one *row*, as they share
//! an identity in Cilium: a deployment of a thousand replicas is one row. A policy's pods and each distinct peer are
//! matched against rows once, here, and kept as lists and bitsets, so that judging a flow compares no text.
//!
//! A row that is new, or whose namespace got other labels, is matched alone: what the rest of the cluster had worked
//! out for it stays and is shared with the tables published before. Other policies mean that each row's policies are
//! found anew (policies times rows of the namespaces that they select), and that the peers which nobody named before
//! are matched with the rows of the namespaces that they match. Memory is one bit per distinct
//! peer and row. The limit of this: labels that are unique to each pod (a `StatefulSet`'s pod name) make a row each,
//! and 20,000 such rows under 1,000 distinct peers are 2.5 MB and some 20 million comparisons.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use webb_flow::sym::Sym;
use webb_flow::{Direction, L4};

use super::nodes::{NodeSpec, Nodes};
use super::peers::{PeerKey, Peers, in_namespace};
use super::spec::{Labels, PolicyKind, PolicySpec, RuleSpec, Selector, Subject, Tier, TierRule, TierSpec};
use super::tiers::{Selected, Tiers};
use super::{Action, Compiled, Effect, More, Policies, PolicyName, Row, Rule, Set, Truth};

/// Peers that one policy with a tier may have, and all of them together; beyond it they are not compiled.
const PEERS: usize = 2_000;
const ALL_PEERS: usize = 100_000;

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
    tiered: Vec<Tiered>,
    nodes: Vec<NodeSpec>,
    node_selectors: Vec<Selector>,
    peers: Vec<PeerKey>,
    /// Lists that rows share.
    lists: HashSet<Arc<[Selected]>>,
    veil: Veil,
    policies: Policies,
    /// Rows that are to be matched with everything before the tables are given out again.
    stale: BTreeSet<u32>,
    /// Whether the policies of every row are to be found anew.
    is_relisted: bool,
    /// Peers that no row was matched with yet.
    fresh: Vec<u32>,
    /// Whether nodes have changed.
    is_stale: bool,
    oversize: Vec<String>,
}

/// In which directions pods have no verdicts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Veil {
    /// No pod has.
    pub all: Effect,
    /// Pods of a namespace have none.
    pub namespaces: HashMap<String, Effect>,
    /// Pods have none that an annotation puts under a vendor's rules.
    pub annotated: Effect,
}

#[derive(Debug, Default)]
struct Namespace {
    labels: Labels,
    /// Whether its object is known: without, only its name is.
    listed: bool,
    /// Rows of its pods.
    rows: Vec<u32>,
    /// What may match pods of this namespace, but for the pods' own labels. None until someone asks.
    candidates: Option<Candidates>,
}

#[derive(Debug)]
struct Candidates {
    peers: Vec<(u32, Truth)>,
    /// Places in `Compiler::tiered`.
    tiered: Vec<(usize, Truth)>,
}

/// A policy with a tier.
#[derive(Debug)]
struct Tiered {
    spec: Arc<TierSpec>,
    /// Its place in the compiled policies.
    id: u32,
    /// None if it may do anything to the pods that it selects.
    place: Option<Tier>,
}

impl Compiler {
    /// Tells a namespace's labels, and whether these are all; one that isn't told has none.
    pub fn namespace(&mut self, name: &str, labels: Labels, listed: bool) {
        if !self.namespaces.contains_key(name) {
            self.namespaces.insert(name.to_owned(), Namespace { listed, ..Namespace::default() });
        }
        let known = self.namespaces.get_mut(name);
        if let Some(known) = known.filter(|known| known.labels != labels || known.listed != listed) {
            (known.labels, known.listed, known.candidates) = (labels, listed, None);
            self.stale.extend(&known.rows);
        }
    }

    /// The row of a pod, for [`crate::Endpoint::policy_subject`]. Never 0: that is everyone who is no pod.
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
        let listed = Namespace { listed: true, ..Namespace::default() };
        self.namespaces.entry(subject.namespace.clone()).or_insert(listed).rows.push(row);
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

    /// These are the NetworkPolicies from now on, without policies of other kinds.
    pub fn set_policies(&mut self, specs: Vec<Arc<PolicySpec>>) {
        self.set_all(specs, Vec::new());
    }

    /// These are the policies from now on. Policies that select no pod are kept too: they have a name, and pods may
    /// come.
    pub fn set_all(&mut self, specs: Vec<Arc<PolicySpec>>, tiered: Vec<Arc<TierSpec>>) {
        self.specs = specs;
        self.by_namespace.clear();
        for (spec, at) in self.specs.iter().zip(0_u32..) {
            self.by_namespace.entry(spec.namespace.clone()).or_default().push(at);
        }
        let mut peers = Peers::default();
        let mut compiled: Vec<Compiled> = self.specs.iter().map(|spec| standard(spec, &mut peers)).collect();
        self.oversize.clear();
        self.tiered.clear();
        let mut sum = 0;
        for spec in tiered {
            let count: usize = spec.ingress.iter().chain(&spec.egress).map(|rule| rule.rule.peers.len()).sum();
            sum += count;
            let is_oversize = count > PEERS || sum > ALL_PEERS;
            if is_oversize {
                self.oversize.push(format!("{} {}", spec.kind.name(), spec.name));
            }
            let place = spec.tier.filter(|_| spec.priority.is_some() && !is_oversize);
            let id = u32::try_from(compiled.len()).unwrap_or(u32::MAX);
            compiled.push(with_tier(&spec, place.is_some(), &mut peers));
            self.tiered.push(Tiered { spec, id, place });
        }
        self.tiered.sort_by_key(|tiered| (tiered.spec.kind, tiered.spec.priority, tiered.id));
        let sets = self.keep_sets(&peers.list);
        self.peers = peers.list;
        self.node_selectors = peers.nodes;
        self.lists.clear();
        self.policies = Policies {
            rows: Vec::new(),
            compiled: compiled.into(),
            sets,
            nodes: Arc::new(Nodes::new(&self.nodes, &self.node_selectors)),
            undecided: self.veil.all,
        };
        for namespace in self.namespaces.values_mut() {
            namespace.candidates = None;
        }
        self.is_relisted = true;
    }

    /// The sets of these peers: a peer that was there before keeps what it matches, whoever names it now.
    fn keep_sets(&mut self, list: &[PeerKey]) -> Vec<Arc<Set>> {
        let fresh = std::mem::take(&mut self.fresh);
        let known = std::mem::take(&mut self.peers).into_iter().zip(std::mem::take(&mut self.policies.sets));
        let known = known.zip(0_u32..).filter(|(_, at)| fresh.binary_search(at).is_err());
        let known: HashMap<PeerKey, Arc<Set>> = known.map(|(both, _)| both).collect();
        let mut sets = Vec::with_capacity(list.len());
        for (key, at) in list.iter().zip(0_u32..) {
            let kept = known.get(key).cloned();
            if kept.is_none() {
                self.fresh.push(at);
            }
            sets.push(kept.unwrap_or_default());
        }
        sets
    }

    /// These are the nodes from now on.
    pub fn set_nodes(&mut self, nodes: Vec<NodeSpec>) {
        if self.nodes != nodes {
            self.nodes = nodes;
            self.policies.nodes = Arc::new(Nodes::new(&self.nodes, &self.node_selectors));
            self.is_stale = true;
        }
    }

    /// These pods have no verdicts from now on, whatever policies say.
    pub fn set_veil(&mut self, veil: Veil) {
        if self.veil != veil {
            self.policies.undecided = veil.all;
            self.veil = veil;
            self.is_relisted = true;
        }
    }

    /// Policies that have more peers than are compiled: their pods have no verdicts.
    pub fn oversize(&self) -> &[String] {
        &self.oversize
    }

    /// The tables, all that was told taken into account.
    pub fn policies(&mut self) -> &Policies {
        if std::mem::take(&mut self.is_relisted) {
            self.match_fresh();
            for row in 0..u32::try_from(self.subjects.len()).unwrap_or(u32::MAX) {
                self.list(row);
            }
        }
        for row in std::mem::take(&mut self.stale) {
            self.list(row);
            self.enter(row);
        }
        self.is_stale = false;
        &self.policies
    }

    /// Whether [`Compiler::policies`] would differ from what it was.
    pub fn is_stale(&self) -> bool {
        self.is_stale || self.is_relisted || !self.stale.is_empty()
    }

    /// Compiles once and for all.
    pub fn compile<'a>(mut self, specs: impl IntoIterator<Item = &'a PolicySpec>) -> Policies {
        self.set_policies(specs.into_iter().cloned().map(Arc::new).collect());
        self.policies().clone()
    }

    fn subject_of(&self, row: u32) -> Option<Arc<Subject>> {
        let place = self.subjects.get(row as usize).and_then(|place| place.as_ref());
        place.map(|(subject, _)| Arc::clone(subject))
    }

    /// Finds the policies of one row.
    fn list(&mut self, number: u32) {
        let row = self.subject_of(number).map_or_else(Row::default, |subject| self.row(&subject));
        let rows = &mut self.policies.rows;
        if rows.len() <= number as usize {
            rows.resize(number as usize + 1, Arc::default());
        }
        if let Some(place) = rows.get_mut(number as usize) {
            *place = Arc::new(row);
        }
    }

    /// Matches every row with the peers that are new, and with no other.
    fn match_fresh(&mut self) {
        let fresh = std::mem::take(&mut self.fresh);
        for (name, namespace) in self.namespaces.iter().filter(|_| !fresh.is_empty()) {
            for at in &fresh {
                let Some(peer) = self.peers.get(*at as usize) else { continue };
                let is = peer.may_match(name, &namespace.labels, namespace.listed);
                let Some(set) = self.policies.sets.get_mut(*at as usize).filter(|_| is > Truth::No) else { continue };
                for &row in &namespace.rows {
                    let Some(Some((subject, _))) = self.subjects.get(row as usize) else { continue };
                    let pods = peer.pods.as_ref();
                    let is = is.min(pods.map_or(Truth::Yes, |selector| selector.matches(&subject.labels)));
                    if is > Truth::No {
                        Arc::make_mut(set).put(row, is);
                    }
                }
            }
        }
    }

    /// Matches one row with all peers.
    fn enter(&mut self, number: u32) {
        let wanted = self.subject_of(number).map_or_else(Vec::new, |subject| self.wanted(&subject));
        let mut wanted = wanted.into_iter().peekable();
        for (set, at) in self.policies.sets.iter_mut().zip(0_u32..) {
            let should = wanted.next_if(|(peer, _)| *peer == at).map_or(Truth::No, |(_, is)| is);
            if set.holds(number) != should {
                Arc::make_mut(set).put(number, should);
            }
        }
    }

    fn row(&mut self, subject: &Subject) -> Row {
        let ports = subject.ports.iter();
        let ports = ports.map(|port| (Sym::new(&port.name), L4::of_protocol(port.protocol), port.port));
        let mut row = Row { ports: ports.collect(), ..Row::default() };
        let mut perhaps = [Vec::new(), Vec::new()];
        for &id in self.by_namespace.get(&subject.namespace).into_iter().flatten() {
            let Some(spec) = self.specs.get(id as usize) else { continue };
            let is = spec.pods.matches(&subject.labels);
            let [maybe_ingress, maybe_egress] = &mut perhaps;
            let directions =
                [(&spec.ingress, &mut row.ingress, maybe_ingress), (&spec.egress, &mut row.egress, maybe_egress)];
            for (_, certain, maybe) in directions.into_iter().filter(|(rules, ..)| rules.is_some()) {
                match is {
                    Truth::Yes => certain.push(id),
                    Truth::Maybe => maybe.push(id),
                    Truth::No => {}
                }
            }
        }
        row.more = self.more(subject, perhaps);
        row
    }

    /// What few rows have.
    fn more(&mut self, subject: &Subject, [ingress, egress]: [Vec<u32>; 2]) -> Option<Arc<More>> {
        let mut more = More {
            ingress: Tiers { maybe: ingress.into(), ..Tiers::default() },
            egress: Tiers { maybe: egress.into(), ..Tiers::default() },
            undecided: self.veil.namespaces.get(&subject.namespace).copied().unwrap_or_default(),
        };
        if subject.vendor {
            more.undecided = more.undecided.with(self.veil.annotated);
        }
        if !self.tiered.is_empty() {
            self.candidates(&subject.namespace);
            let candidates = self.namespaces.get(&subject.namespace).and_then(|known| known.candidates.as_ref());
            let candidates = candidates.map_or(&[][..], |candidates| &candidates.tiered);
            let mut selected = Vec::new();
            for (at, is) in candidates {
                let Some(tiered) = self.tiered.get(*at) else { continue };
                let pods = tiered.spec.pods.as_ref().map_or(Truth::Yes, |pods| pods.matches(&subject.labels));
                match (*is).min(pods) {
                    Truth::No => {}
                    is => selected.push((tiered, Selected { policy: tiered.id, certain: is == Truth::Yes })),
                }
            }
            let directions = [(&mut more.ingress, Direction::Ingress), (&mut more.egress, Direction::Egress)];
            let lists = directions.map(|(tiers, direction)| {
                let mut lists = [Vec::new(), Vec::new()];
                for (tiered, selected) in &selected {
                    let [admin, baseline] = &mut lists;
                    let is_empty = match direction {
                        Direction::Egress => tiered.spec.egress.is_empty(),
                        _ => tiered.spec.ingress.is_empty(),
                    };
                    match tiered.place {
                        None => tiers.unreadable = true,
                        // A direction without rules is not touched.
                        Some(_) if is_empty => {}
                        Some(Tier::Admin) => admin.push(*selected),
                        Some(Tier::Baseline) => baseline.push(*selected),
                    }
                }
                (tiers, lists)
            });
            for (tiers, [admin, baseline]) in lists {
                (tiers.admin, tiers.baseline) = (share(&mut self.lists, admin), share(&mut self.lists, baseline));
            }
        }
        let is_plain = more.ingress.is_empty() && more.egress.is_empty() && more.undecided == Effect::NONE;
        (!is_plain).then(|| Arc::new(more))
    }

    /// The peers that match, in order.
    fn wanted(&mut self, subject: &Subject) -> Vec<(u32, Truth)> {
        self.candidates(&subject.namespace);
        let candidates = self.namespaces.get(&subject.namespace).and_then(|known| known.candidates.as_ref());
        let candidates = candidates.map_or(&[][..], |candidates| &candidates.peers);
        let matched = candidates.iter().map(|(at, is)| {
            let pods = self.peers.get(*at as usize).and_then(|peer| peer.pods.as_ref());
            (*at, (*is).min(pods.map_or(Truth::Yes, |selector| selector.matches(&subject.labels))))
        });
        matched.filter(|(_, is)| *is > Truth::No).collect()
    }

    /// Works out a namespace's candidates.
    fn candidates(&mut self, name: &str) {
        let Some(namespace) = self.namespaces.get_mut(name).filter(|known| known.candidates.is_none()) else { return };
        let (labels, listed) = (&namespace.labels, namespace.listed);
        let peers = self.peers.iter().zip(0_u32..).map(|(peer, at)| (at, peer.may_match(name, labels, listed)));
        let tiered = self.tiered.iter().map(|tiered| in_namespace(&tiered.spec.namespaces, labels, listed)).enumerate();
        namespace.candidates = Some(Candidates {
            peers: peers.filter(|(_, is)| *is > Truth::No).collect(),
            tiered: tiered.filter(|(_, is)| *is > Truth::No).collect(),
        });
    }
}

/// The list, shared with rows that have the same.
fn share(known: &mut HashSet<Arc<[Selected]>>, list: Vec<Selected>) -> Arc<[Selected]> {
    if let Some(same) = known.get(list.as_slice()) {
        return Arc::clone(same);
    }
    let list: Arc<[Selected]> = list.into();
    known.insert(Arc::clone(&list));
    list
}

fn standard(spec: &PolicySpec, peers: &mut Peers) -> Compiled {
    let mut rules = |rules: &Option<Vec<RuleSpec>>| -> Box<[Rule]> {
        let rules = rules.iter().flatten();
        rules.map(|rule| peers.rule(Some(&spec.namespace), Some(Action::Accept), rule)).collect()
    };
    Compiled {
        ingress: rules(&spec.ingress),
        egress: rules(&spec.egress),
        priority: 0,
        name: PolicyName {
            kind: PolicyKind::NetworkPolicy,
            namespace: Sym::new(&spec.namespace),
            name: Sym::new(&spec.name),
        },
    }
}

/// `is_read`: whether its rules are used.
fn with_tier(spec: &TierSpec, is_read: bool, peers: &mut Peers) -> Compiled {
    let mut rules = |rules: &[TierRule]| -> Box<[Rule]> {
        let rules = rules.iter().filter(|_| is_read);
        rules.map(|rule| peers.rule(None, rule.action, &rule.rule)).collect()
    };
    Compiled {
        ingress: rules(&spec.ingress),
        egress: rules(&spec.egress),
        priority: spec.priority.unwrap_or_default(),
        name: PolicyName { kind: spec.kind, namespace: Sym::EMPTY, name: Sym::new(&spec.name) },
    }
}
