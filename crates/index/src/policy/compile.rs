//! Compiles [`PolicySpec`]s into [`Policies`].
//!
//! Pods that no policy can tell apart (same namespace, same labels, same named ports) share one
//! *row*, as they share an identity in Cilium: a deployment of a thousand replicas is one row. A
//! policy's pods and its peers are matched against rows once, here, and kept as lists and bitsets,
//! so that evaluating a flow compares no text.
//!
//! Compilation is incremental, and a policy that has not changed is the same [`Arc`] as before. A
//! row that is new, or whose namespace got other labels, is matched alone. A policy that is new or
//! changed is matched with the rows of the namespaces that it selects, and its peers with the rows
//! of those that they match. All other results are shared with the tables published before. Memory
//! is one bit for each row and distinct peer of NetworkPolicies, and for each row and rule of
//! policies with a tier. The limit of this: labels that are unique to each pod (a `StatefulSet`'s
//! pod name) make a row each, and 20,000 such rows under 1,000 distinct peers are 2.5 MB and some
//! 20 million comparisons.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use webb_flow::L4;
use webb_flow::hash::RandomState;
use webb_flow::room::is_spacious;
use webb_flow::sym::Sym;

use super::compiled::CompiledPolicies;
use super::effect::VerdictExclusions;
use super::nodes::{NodeSpec, Nodes};
use super::peers::Peers;
use super::rows::{Lists, Selecting, Standard};
use super::rule_bits::RuleBitsDraft;
use super::spec::{Labels, PolicySpec, Subject, TierSpec};
use super::table::{CompiledPolicy, Policies, Row, RowSet};
use super::tiered::{Candidate, Candidates, Layout, PeerCount, Tiered, network_rules, select_alike};
use super::truth::Truth;

/// Compiles pods and policies into match tables, incrementally.
#[derive(Debug, Default)]
pub struct Compiler {
    /// Subjects by row, each with its number of references; row 0 is of endpoints that are no pods.
    subjects: Vec<Option<(Arc<Subject>, usize)>>,
    rows: HashMap<Arc<Subject>, u32>,
    /// The least is used first, so that the last ones come free for good.
    free: BinaryHeap<Reverse<u32>>,
    namespaces: HashMap<String, Namespace>,
    compiled: CompiledPolicies,
    standard: Standard,
    /// Policies with tiers, in the order of evaluation.
    tiered: Vec<Tiered>,
    /// The policies with a tier that rows were matched with.
    matched_tiered: Vec<Tiered>,
    nodes: Vec<NodeSpec>,
    peers: Peers,
    lists: Lists,
    bits: RuleBitsDraft,
    /// The row without pods, which all such places share.
    empty_row: Arc<Row>,
    exclusions: VerdictExclusions,
    policies: Policies,
    /// Rows to match with all policies and peers before the tables are published.
    stale: BTreeSet<u32>,
    /// Namespaces with rows that are to be matched with their NetworkPolicies again.
    relisted: HashSet<String, RandomState>,
    /// Whether all rows are to be matched with the policies that select them again.
    is_relisted: bool,
    /// Whether policies were replaced.
    is_replaced: bool,
    /// Whether nodes have changed.
    is_stale: bool,
    oversize: Vec<String>,
}

#[derive(Debug, Default)]
struct Namespace {
    labels: Labels,
    /// Whether its object is known: without, only its name is.
    listed: bool,
    /// Rows of its pods.
    rows: Vec<u32>,
    /// Peers of NetworkPolicies that may match pods of this namespace, by all but the pods' own
    /// labels. Computed at first use.
    peers: Option<Vec<(u32, Truth)>>,
    /// Computed at first use.
    tiered: Candidates,
}

/// Parts of a row that are to be computed.
#[derive(Clone, Copy)]
struct Update<'a> {
    is_new: bool,
    /// Whether other policies may select it.
    lists: bool,
    bits: Option<&'a Layout>,
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
            (known.labels, known.listed, known.peers) = (labels, listed, None);
            known.tiered.clear();
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
        let row = self.free.pop().map(|Reverse(row)| row).unwrap_or_else(|| {
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
        self.free.push(Reverse(row));
        self.stale.insert(row);
    }

    /// Replaces the policies by these NetworkPolicies, without policies of other kinds.
    pub fn set_policies(&mut self, specs: Vec<Arc<PolicySpec>>) {
        self.set_all(specs, Vec::new());
    }

    /// Replaces the policies. Those that select no pod are kept too: pods may be added. A policy
    /// that is the same [`Arc`] as before has not changed.
    pub fn set_all(&mut self, specs: Vec<Arc<PolicySpec>>, tiered: Vec<Arc<TierSpec>>) {
        let ranks = u32::try_from(specs.len()).unwrap_or(u32::MAX)..;
        self.set_standard(specs);
        self.set_tiered(tiered.into_iter().zip(ranks));
        self.is_replaced = true;
    }

    fn set_standard(&mut self, specs: Vec<Arc<PolicySpec>>) {
        let known = std::mem::take(&mut self.standard).into_values().flatten();
        let mut known: HashMap<_, _, RandomState> = known.map(|(id, spec)| (Arc::as_ptr(&spec), (id, spec))).collect();
        for (spec, rank) in specs.into_iter().zip(0..) {
            let id = if let Some((id, _)) = known.remove(&Arc::as_ptr(&spec)) {
                id
            } else {
                self.relisted.insert(spec.namespace.clone());
                self.compiled.add(CompiledPolicy::standard(&spec, &mut self.peers))
            };
            self.compiled.set_rank(id, rank);
            self.standard.entry(spec.namespace.clone()).or_default().push((id, spec));
        }
        for (id, spec) in known.into_values() {
            self.relisted.insert(spec.namespace.clone());
            self.compiled.remove(id, &mut self.peers);
        }
    }

    fn set_tiered(&mut self, specs: impl Iterator<Item = (Arc<TierSpec>, u32)>) {
        let mut known: HashMap<_, Tiered, RandomState> = HashMap::default();
        for tiered in std::mem::take(&mut self.tiered) {
            let key = (tiered.spec.kind, tiered.spec.name.clone());
            if let Some(replaced) = known.insert(key, tiered) {
                self.remove_tiered(&replaced);
            }
        }
        self.oversize.clear();
        let mut peers = PeerCount::default();
        for (spec, rank) in specs {
            let is_oversize = peers.is_over(&spec);
            if is_oversize {
                self.oversize.push(format!("{} {}", spec.kind.name(), spec.name));
            }
            let tier = spec.tier.filter(|_| spec.priority.is_some() && !is_oversize);
            let before = known.remove(&(spec.kind, spec.name.clone()));
            let mut tiered = Tiered { spec, id: 0, tier, at: [0, 0] };
            match before {
                Some(before) if before.is_same(&tiered) => tiered.id = before.id,
                before => {
                    let compiled = CompiledPolicy::tiered(&tiered, &mut self.peers);
                    // It takes the place of its predecessor, so that lists of rows stay as they
                    // are.
                    if let Some(before) = before {
                        self.remove_tiered(&before);
                    }
                    tiered.id = self.compiled.add(compiled);
                }
            }
            self.compiled.set_rank(tiered.id, rank);
            self.tiered.push(tiered);
        }
        for gone in known.into_values() {
            self.remove_tiered(&gone);
        }
        self.tiered.sort_by_key(|tiered| (tiered.spec.kind, tiered.spec.priority, self.compiled.rank(tiered.id)));
    }

    fn remove_tiered(&mut self, tiered: &Tiered) {
        self.compiled.remove(tiered.id, &mut self.peers);
        for namespace in self.namespaces.values_mut() {
            namespace.tiered.remove(&tiered.id);
        }
    }

    /// Replaces the nodes.
    pub fn set_nodes(&mut self, nodes: Vec<NodeSpec>) {
        if self.nodes != nodes {
            self.nodes = nodes;
            self.policies.nodes = self.nodes_table();
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
        self.match_changed_peers();
        let layout = std::mem::take(&mut self.is_replaced).then(|| self.place_policies()).flatten();
        let relisted = std::mem::take(&mut self.relisted);
        let are_all_relisted = std::mem::take(&mut self.is_relisted);
        self.policies.rows.resize(self.subjects.len(), Arc::clone(&self.empty_row));
        let mut namespaces = std::mem::take(&mut self.namespaces);
        for (name, namespace) in &mut namespaces {
            let lists = are_all_relisted || relisted.contains(name);
            if lists || layout.is_some() {
                let rows = namespace.rows.clone();
                self.update_rows(name, namespace, &rows, Update { is_new: false, lists, bits: layout.as_ref() });
            }
        }
        if layout.is_some() || are_all_relisted {
            self.lists.prune();
        }
        let stale = std::mem::take(&mut self.stale);
        let all = (!stale.is_empty()).then(|| Layout::of_new_row(&self.tiered));
        for row in stale {
            if let Some(subject) = self.subject_of(row)
                && let Some(namespace) = namespaces.get_mut(&subject.namespace)
            {
                let update = Update { is_new: true, lists: true, bits: all.as_ref() };
                self.update_rows(&subject.namespace, namespace, &[row], update);
                self.match_peers(row, namespace, &subject);
            } else {
                self.clear_row(row);
            }
        }
        self.namespaces = namespaces;
        self.is_stale = false;
        self.shrink();
        &self.policies
    }

    /// Drops the rows behind the last one with pods, if far more are free than in use, and gives
    /// back the room of tables that were larger.
    fn shrink(&mut self) {
        if is_spacious(self.subjects.len(), self.rows.len()) {
            let used = self.subjects.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
            self.subjects.truncate(used);
            self.policies.rows.truncate(used);
            self.free.retain(|Reverse(row)| (*row as usize) < used);
            for set in self.policies.sets.iter_mut().filter(|set| set.reaches(used)) {
                Arc::make_mut(set).truncate(used);
            }
        }
        if is_spacious(self.subjects.capacity(), self.subjects.len()) {
            self.subjects.shrink_to_fit();
            self.policies.rows.shrink_to_fit();
            self.free.shrink_to_fit();
        }
        if is_spacious(self.rows.capacity(), self.rows.len()) {
            self.rows.shrink_to_fit();
        }
    }

    /// Whether [`Compiler::policies`] would differ from what it was.
    pub fn is_stale(&self) -> bool {
        self.is_stale || self.is_replaced || self.is_relisted || !self.stale.is_empty()
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

    /// Publishes the policies that were replaced. Returns the new layout of the bits of all rows,
    /// if they change.
    fn place_policies(&mut self) -> Option<Layout> {
        let layout = Layout::new(&self.matched_tiered, &mut self.tiered);
        self.is_relisted |= !select_alike(&self.matched_tiered, &self.tiered);
        for tiered in &self.tiered {
            self.compiled.set_bytes(tiered);
        }
        self.policies.compiled = self.compiled.publish();
        self.policies.others = layout.others(&self.tiered);
        self.policies.networks = network_rules(&self.tiered).into();
        if std::mem::take(&mut self.peers.has_new_nodes) {
            self.policies.nodes = self.nodes_table();
        }
        let is_change = layout.is_change(&self.matched_tiered);
        self.matched_tiered.clone_from(&self.tiered);
        is_change.then_some(layout)
    }

    fn nodes_table(&self) -> Arc<Nodes> {
        Arc::new(Nodes::new(&self.nodes, self.peers.nodes.slots()))
    }

    /// Matches rows of one namespace with policies.
    fn update_rows(&mut self, name: &str, namespace: &mut Namespace, rows: &[u32], update: Update<'_>) {
        let Namespace { labels, listed, tiered: candidates, .. } = namespace;
        for tiered in &self.tiered {
            candidates.entry(tiered.id).or_insert_with(|| Candidate::new(tiered, labels, *listed));
        }
        let of = |tiered: &'_ Tiered| candidates.get(&tiered.id);
        let selecting = self.tiered.iter().filter(|_| update.lists);
        let selecting = selecting.filter_map(|tiered| Some((tiered, of(tiered)?.subject)));
        let selecting = Selecting {
            standard: self.standard.get(name).map_or(&[], Vec::as_slice),
            tiered: selecting.filter(|(_, is)| *is > Truth::No).collect(),
            exclusions: &self.exclusions,
        };
        let fresh = update.bits.into_iter().flat_map(|layout| &layout.fresh);
        let fresh = fresh.filter_map(|place| self.tiered.get(*place));
        let fresh: Vec<_> = fresh.filter_map(|tiered| Some((tiered, of(tiered)?))).collect();
        for &number in rows {
            let Some(Some((subject, _))) = self.subjects.get(number as usize) else { continue };
            let Some(place) = self.policies.rows.get_mut(number as usize) else { continue };
            let mut row = Row::clone(place);
            if update.is_new {
                let ports = subject.ports.iter();
                let ports = ports.map(|port| (Sym::new(&port.name), L4::of_protocol(port.protocol), port.port));
                row.ports = ports.collect();
            }
            if update.lists {
                selecting.select(&mut row, subject, &mut self.lists);
            }
            if let Some(layout) = update.bits {
                layout.begin(row.matched.as_deref(), &mut self.bits);
                for (tiered, candidate) in &fresh {
                    candidate.insert(tiered, subject, &mut self.bits);
                }
                self.bits.store(&mut row.matched);
            }
            if row != **place {
                *place = Arc::new(row);
            }
        }
    }

    /// Matches all rows with the peers that are new, and none with those that are no more.
    fn match_changed_peers(&mut self) {
        let mut changed = std::mem::take(&mut self.peers.changed_pods);
        if changed.is_empty() {
            return;
        }
        changed.sort_unstable();
        changed.dedup();
        self.policies.sets.resize(self.peers.pods.capacity(), Arc::default());
        for at in changed {
            let mut set = RowSet::default();
            for (name, namespace) in &mut self.namespaces {
                namespace.peers = None;
                let Some(peer) = self.peers.pods.get(at) else { continue };
                let is = peer.may_match(name, &namespace.labels, namespace.listed);
                for &row in namespace.rows.iter().filter(|_| is > Truth::No) {
                    let Some(Some((subject, _))) = self.subjects.get(row as usize) else { continue };
                    let pods = peer.pods.as_ref();
                    match is.min(pods.map_or(Truth::Yes, |selector| selector.matches(&subject.labels))) {
                        Truth::No => {}
                        is => set.insert(row, is),
                    }
                }
            }
            if let Some(place) = self.policies.sets.get_mut(at as usize) {
                *place = Arc::new(set);
            }
        }
    }

    /// Matches one row with all peers of NetworkPolicies.
    fn match_peers(&mut self, number: u32, namespace: &mut Namespace, subject: &Subject) {
        let Namespace { labels, listed, peers, .. } = namespace;
        let candidates = peers.get_or_insert_with(|| {
            let peers = self.peers.pods.slots();
            let peers = peers.filter_map(|(at, peer)| Some((at, peer?.may_match(&subject.namespace, labels, *listed))));
            peers.filter(|(_, is)| *is > Truth::No).collect()
        });
        let mut candidates = candidates.iter().peekable();
        for (set, at) in self.policies.sets.iter_mut().zip(0_u32..) {
            let is = candidates.next_if(|(peer, _)| *peer == at).map_or(Truth::No, |(_, is)| *is);
            let pods = self.peers.pods.get(at).filter(|_| is > Truth::No).and_then(|peer| peer.pods.as_ref());
            let should = is.min(pods.map_or(Truth::Yes, |selector| selector.matches(&subject.labels)));
            set_row(set, number, should);
        }
    }

    /// Clears a row without pods.
    fn clear_row(&mut self, number: u32) {
        if let Some(place) = self.policies.rows.get_mut(number as usize) {
            *place = Arc::clone(&self.empty_row);
        }
        for set in &mut self.policies.sets {
            set_row(set, number, Truth::No);
        }
    }
}

fn set_row(set: &mut Arc<RowSet>, number: u32, should: Truth) {
    if set.contains(number) != should {
        Arc::make_mut(set).insert(number, should);
    }
}

#[cfg(test)]
mod tests;
