//! Compiles [`PolicySpec`]s into [`Policies`].
//!
//! Pods that no policy can tell apart (same namespace, same labels, same named ports) share one
//! *row*, as they share an identity in Cilium: a deployment of a thousand replicas is one row. A
//! policy's pods and each distinct peer are matched against rows once, here, and kept as lists and
//! bitsets, so that evaluating a flow compares no text.
//!
//! Compilation is incremental. A row that is new, or whose namespace got other labels, is matched
//! alone: all other results are shared with the tables published before. New policies mean that the
//! policies of each row are matched again (policies times rows of the namespaces that they select),
//! and that new peers are matched with the rows of the namespaces that they match. Memory is one
//! bit per distinct peer and row. The limit of this: labels that are unique to each pod (a
//! `StatefulSet`'s pod name) make a row each, and 20,000 such rows under 1,000 distinct peers are
//! 2.5 MB and some 20 million comparisons.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use webb_flow::sym::Sym;
use webb_flow::{Direction, L4};

use super::effect::Effect;
use super::nodes::{NodeSpec, Nodes};
use super::peers::{PeerKey, Peers, in_namespace};
use super::spec::Action;
use super::spec::{Labels, PolicyKind, PolicySpec, RuleSpec, Selector, Subject, Tier, TierRule, TierSpec};
use super::table::{CompiledPolicy, Policies, PolicyName, Row, RowExtras, RowSet, Rule, Selected, Tiers};
use super::truth::Truth;

/// Peers of one policy with a tier, and of all together, at most; policies beyond are not compiled.
const MAX_PEERS_PER_POLICY: usize = 2_000;
const MAX_PEERS_TOTAL: usize = 100_000;

/// Compiles pods and policies into match tables, incrementally.
#[derive(Debug, Default)]
pub struct Compiler {
    /// By row, each with its number of references; row 0 is of endpoints that are no pods.
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
    /// Interned lists, shared by rows.
    lists: HashSet<Arc<[Selected]>>,
    exclusions: VerdictExclusions,
    policies: Policies,
    /// Rows to match with all policies and peers before the tables are published.
    stale: BTreeSet<u32>,
    /// True if the policies of every row are to be matched again.
    is_relisted: bool,
    /// Peers that are not matched with rows yet.
    unmatched: Vec<u32>,
    /// Whether nodes have changed.
    is_stale: bool,
    oversize: Vec<String>,
}

/// Pods without verdicts, by direction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerdictExclusions {
    /// All pods.
    pub all: Effect,
    /// Pods of a namespace.
    pub namespaces: HashMap<String, Effect>,
    /// Pods that an annotation puts under a vendor's rules.
    pub annotated: Effect,
}

#[derive(Debug, Default)]
struct Namespace {
    labels: Labels,
    /// Whether its object is known: without, only its name is.
    listed: bool,
    /// Rows of its pods.
    rows: Vec<u32>,
    /// Policies and peers that may match pods of this namespace, by all but the pods' own labels.
    /// Computed at first use.
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
    /// Upserts the labels of a namespace; `listed` is false if they are not known yet. Others have
    /// none.
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

    /// Interns a subject and adds a reference to its row, for [`crate::Endpoint::policy_subject`].
    /// Never 0, which is for endpoints that are no pods.
    pub fn subject(&mut self, subject: impl Into<Arc<Subject>>) -> u32 {
        let mut subject = subject.into();
        if !subject.ports.is_sorted() {
            Arc::make_mut(&mut subject).ports.sort_unstable();
        }
        let known = self.rows.get(&subject).copied();
        let row = known.unwrap_or_else(|| self.add_row(subject));
        if let Some(Some((_, used))) = self.subjects.get_mut(row as usize) {
            *used += 1;
        }
        row
    }

    fn add_row(&mut self, subject: Arc<Subject>) -> u32 {
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

    /// Removes a namespace that was deleted; false if it still has pods.
    pub fn remove_namespace(&mut self, name: &str) -> bool {
        let empty = self.namespaces.get(name).is_none_or(|known| known.rows.is_empty());
        if empty {
            self.namespaces.remove(name);
        }
        empty
    }

    /// Releases one reference to a row of [`Compiler::subject`]; a row without references is
    /// reused.
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

    /// Replaces the policies by these NetworkPolicies, without policies of other kinds.
    pub fn set_policies(&mut self, specs: Vec<Arc<PolicySpec>>) {
        self.set_all(specs, Vec::new());
    }

    /// Replaces the policies. Those that select no pod are kept too: pods may be added.
    pub fn set_all(&mut self, specs: Vec<Arc<PolicySpec>>, tiered: Vec<Arc<TierSpec>>) {
        self.specs = specs;
        self.by_namespace.clear();
        for (spec, at) in self.specs.iter().zip(0_u32..) {
            self.by_namespace.entry(spec.namespace.clone()).or_default().push(at);
        }
        let mut peers = Peers::default();
        let mut compiled: Vec<CompiledPolicy> = self.specs.iter().map(|spec| standard(spec, &mut peers)).collect();
        self.oversize.clear();
        self.tiered.clear();
        let mut sum = 0;
        for spec in tiered {
            let count: usize = spec.ingress.iter().chain(&spec.egress).map(|rule| rule.rule.peers.len()).sum();
            sum += count;
            let is_oversize = count > MAX_PEERS_PER_POLICY || sum > MAX_PEERS_TOTAL;
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
            undecided: self.exclusions.all,
        };
        for namespace in self.namespaces.values_mut() {
            namespace.candidates = None;
        }
        self.is_relisted = true;
    }

    /// The row sets of these peers; a peer of the previous policies keeps its set.
    fn keep_sets(&mut self, list: &[PeerKey]) -> Vec<Arc<RowSet>> {
        let unmatched = std::mem::take(&mut self.unmatched);
        let known = std::mem::take(&mut self.peers).into_iter().zip(std::mem::take(&mut self.policies.sets));
        let known = known.zip(0_u32..).filter(|(_, at)| unmatched.binary_search(at).is_err());
        let known: HashMap<PeerKey, Arc<RowSet>> = known.map(|(both, _)| both).collect();
        let mut sets = Vec::with_capacity(list.len());
        for (key, at) in list.iter().zip(0_u32..) {
            let kept = known.get(key).cloned();
            if kept.is_none() {
                self.unmatched.push(at);
            }
            sets.push(kept.unwrap_or_default());
        }
        sets
    }

    /// Replaces the nodes.
    pub fn set_nodes(&mut self, nodes: Vec<NodeSpec>) {
        if self.nodes != nodes {
            self.nodes = nodes;
            self.policies.nodes = Arc::new(Nodes::new(&self.nodes, &self.node_selectors));
            self.is_stale = true;
        }
    }

    /// Replaces the pods without verdicts.
    pub fn set_exclusions(&mut self, exclusions: VerdictExclusions) {
        if self.exclusions != exclusions {
            self.policies.undecided = exclusions.all;
            self.exclusions = exclusions;
            self.is_relisted = true;
        }
    }

    /// Policies that have more peers than are compiled: their pods have no verdicts.
    pub fn oversize(&self) -> &[String] {
        &self.oversize
    }

    /// The tables, brought up to date.
    pub fn policies(&mut self) -> &Policies {
        if std::mem::take(&mut self.is_relisted) {
            self.match_new_peers();
            for row in 0..u32::try_from(self.subjects.len()).unwrap_or(u32::MAX) {
                self.match_policies(row);
            }
        }
        for row in std::mem::take(&mut self.stale) {
            self.match_policies(row);
            self.match_peers(row);
        }
        self.is_stale = false;
        &self.policies
    }

    /// Whether [`Compiler::policies`] would differ from what it was.
    pub fn is_stale(&self) -> bool {
        self.is_stale || self.is_relisted || !self.stale.is_empty()
    }

    /// Compiles these policies once.
    pub fn compile<'a>(mut self, specs: impl IntoIterator<Item = &'a PolicySpec>) -> Policies {
        self.set_policies(specs.into_iter().cloned().map(Arc::new).collect());
        self.policies().clone()
    }

    fn subject_of(&self, row: u32) -> Option<Arc<Subject>> {
        let place = self.subjects.get(row as usize).and_then(|place| place.as_ref());
        place.map(|(subject, _)| Arc::clone(subject))
    }

    /// Matches one row with all policies.
    fn match_policies(&mut self, number: u32) {
        let row = self.subject_of(number).map_or_else(Row::default, |subject| self.row(&subject));
        let rows = &mut self.policies.rows;
        if rows.len() <= number as usize {
            rows.resize(number as usize + 1, Arc::default());
        }
        if let Some(place) = rows.get_mut(number as usize) {
            *place = Arc::new(row);
        }
    }

    /// Matches all rows with the new peers.
    fn match_new_peers(&mut self) {
        let unmatched = std::mem::take(&mut self.unmatched);
        for (name, namespace) in self.namespaces.iter().filter(|_| !unmatched.is_empty()) {
            for at in &unmatched {
                let Some(peer) = self.peers.get(*at as usize) else { continue };
                let is = peer.may_match(name, &namespace.labels, namespace.listed);
                let Some(set) = self.policies.sets.get_mut(*at as usize).filter(|_| is > Truth::No) else { continue };
                for &row in &namespace.rows {
                    let Some(Some((subject, _))) = self.subjects.get(row as usize) else { continue };
                    let pods = peer.pods.as_ref();
                    let is = is.min(pods.map_or(Truth::Yes, |selector| selector.matches(&subject.labels)));
                    if is > Truth::No {
                        Arc::make_mut(set).insert(row, is);
                    }
                }
            }
        }
    }

    /// Matches one row with all peers.
    fn match_peers(&mut self, number: u32) {
        let wanted = self.subject_of(number).map_or_else(Vec::new, |subject| self.wanted(&subject));
        let mut wanted = wanted.into_iter().peekable();
        for (set, at) in self.policies.sets.iter_mut().zip(0_u32..) {
            let should = wanted.next_if(|(peer, _)| *peer == at).map_or(Truth::No, |(_, is)| is);
            if set.contains(number) != should {
                Arc::make_mut(set).insert(number, should);
            }
        }
    }

    fn row(&mut self, subject: &Subject) -> Row {
        let ports = subject.ports.iter();
        let ports = ports.map(|port| (Sym::new(&port.name), L4::of_protocol(port.protocol), port.port));
        let mut row = Row { ports: ports.collect(), ..Row::default() };
        let mut maybe_selecting = [Vec::new(), Vec::new()];
        for &id in self.by_namespace.get(&subject.namespace).into_iter().flatten() {
            let Some(spec) = self.specs.get(id as usize) else { continue };
            let is = spec.pods.matches(&subject.labels);
            let [maybe_ingress, maybe_egress] = &mut maybe_selecting;
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
        row.extras = self.extras(subject, maybe_selecting);
        row
    }

    /// The rare parts of a row.
    fn extras(&mut self, subject: &Subject, [ingress, egress]: [Vec<u32>; 2]) -> Option<Arc<RowExtras>> {
        let mut more = RowExtras {
            ingress: Tiers { maybe: ingress.into(), ..Tiers::default() },
            egress: Tiers { maybe: egress.into(), ..Tiers::default() },
            undecided: self.exclusions.namespaces.get(&subject.namespace).copied().unwrap_or_default(),
        };
        if subject.vendor {
            more.undecided = more.undecided.with(self.exclusions.annotated);
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
                (tiers.admin, tiers.baseline) = (intern(&mut self.lists, admin), intern(&mut self.lists, baseline));
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

    /// Computes a namespace's candidates.
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

/// Interns a list.
fn intern(known: &mut HashSet<Arc<[Selected]>>, list: Vec<Selected>) -> Arc<[Selected]> {
    if let Some(same) = known.get(list.as_slice()) {
        return Arc::clone(same);
    }
    let list: Arc<[Selected]> = list.into();
    known.insert(Arc::clone(&list));
    list
}

fn standard(spec: &PolicySpec, peers: &mut Peers) -> CompiledPolicy {
    let mut rules = |rules: &Option<Vec<RuleSpec>>| -> Box<[Rule]> {
        let rules = rules.iter().flatten();
        rules.map(|rule| peers.rule(Some(&spec.namespace), Some(Action::Accept), rule)).collect()
    };
    CompiledPolicy {
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
fn with_tier(spec: &TierSpec, is_read: bool, peers: &mut Peers) -> CompiledPolicy {
    let mut rules = |rules: &[TierRule]| -> Box<[Rule]> {
        let rules = rules.iter().filter(|_| is_read);
        rules.map(|rule| peers.rule(None, rule.action, &rule.rule)).collect()
    };
    CompiledPolicy {
        ingress: rules(&spec.ingress),
        egress: rules(&spec.egress),
        priority: spec.priority.unwrap_or_default(),
        name: PolicyName { kind: spec.kind, namespace: Sym::EMPTY, name: Sym::new(&spec.name) },
    }
}
