//! The choice of the lines that a map has.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use webb_flow::hash::RandomState;

use super::line::{Line, Node, is_outside};
use super::place::Placements;
use crate::readings::{PairRow, State};

/// The most lines.
pub(super) const MAX_LINES: usize = 52;

/// The most lines with a problem, so that there is room for traffic.
pub(super) const MAX_PROBLEMS: usize = MAX_LINES / 2;

/// The most boxes.
pub(super) const MAX_BOXES: usize = 40;

/// Partners on one side from which on a workload is a hub: these, or a fifth of all workloads.
const MIN_HUB_PARTNERS: usize = 10;

/// The most hubs. Were there more, a mesh of all with all would have no line left.
const MAX_HUBS: usize = 3;

/// Columns each way that a map of one workload has.
const FOCUS_STEPS: usize = 2;

/// Bytes of a line that the last map had, in per cent: a new one must exceed it by so much.
const KEPT_PERCENT: u64 = 120;

/// A workload with so many partners that its lines would hide all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hub {
    pub(crate) end: Arc<str>,
    /// True if it calls them, false if they call it.
    pub(crate) calls: bool,
    pub(crate) partners: usize,
    /// Bytes of its pairs, over the window.
    pub(crate) bytes: u64,
}

/// What a map has.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    pub(crate) lines: Vec<Line>,
    pub(crate) hubs: Vec<Hub>,
    /// Pairs that are neither a line nor one of a hub's.
    pub(crate) hidden: usize,
    /// Bytes of those.
    pub(crate) hidden_bytes: u64,
    /// Those of them with a problem.
    pub(crate) hidden_problems: usize,
    /// Bytes of all pairs.
    pub(crate) bytes: u64,
    /// Lines of the last map, by the names of their ends, that are below the cut now. They are
    /// shown until they have been so for some refreshes.
    pub(crate) below: BTreeSet<(Arc<str>, Arc<str>)>,
}

/// Chooses lines among pairs: problems first, then by bytes. With a `focus` only that workload,
/// its callers and its callees, two steps each way.
pub(crate) fn choose(rows: &[&PairRow], focus: Option<&str>, placements: &Placements) -> Choice {
    let of_focus = focus.map(|focus| around(rows, focus));
    let hubs = if focus.is_some() { Vec::new() } else { hubs(rows) };
    let of_hub = |row: &PairRow| hubs.iter().position(|hub| hub.end == *if hub.calls { &row.from } else { &row.to });
    let mut choice = Choice { hubs: hubs.clone(), ..Choice::default() };
    let mut candidates: Vec<(&PairRow, u64)> = Vec::new();
    for row in rows.iter().copied() {
        choice.bytes = choice.bytes.saturating_add(row.bytes());
        let hub = of_hub(row);
        if let Some(hub) = hub.and_then(|at| choice.hubs.get_mut(at)) {
            hub.bytes = hub.bytes.saturating_add(row.bytes());
        }
        let is_near = of_focus.as_ref().is_none_or(|near| near.contains(&(&*row.from, &*row.to)));
        let is_drawn = row.from != row.to && is_near;
        if is_drawn && (hub.is_none() || row.state.is_problem()) {
            candidates.push((row, row.bytes()));
        } else if hub.is_none() {
            choice.hide(row);
        }
    }
    // Those that the last map had are few: each is looked up once, by its ends.
    for (row, weight) in &mut candidates {
        if placements.has_line(&row.from, &row.to) {
            *weight = weight.saturating_mul(KEPT_PERCENT) / 100;
        }
    }
    let rank = |(row, weight): &(&PairRow, u64)| {
        let is_at_focus = focus.is_some_and(|focus| *row.from == *focus || *row.to == *focus);
        let state = if row.state.is_problem() { row.state } else { State::Forwarded };
        (!is_at_focus, state, Reverse(*weight))
    };
    let by_rank = |one: &(&PairRow, u64), other: &(&PairRow, u64)| {
        rank(one).cmp(&rank(other)).then_with(|| (&one.0.from, &one.0.to).cmp(&(&other.0.from, &other.0.to)))
    };
    // Stable, because it is fast for rows that are nearly sorted.
    candidates.sort_by(by_rank);
    let (mut lines, mut hidden) = pick(&candidates);
    let ends = |row: &PairRow| (Arc::clone(&row.from), Arc::clone(&row.to));
    let is_shown = |row: &PairRow| placements.has_line(&row.from, &row.to);
    choice.below = hidden.iter().filter(|row| is_shown(row)).map(|row| ends(row)).collect();
    if choice.below.iter().any(|(from, to)| placements.stays(from, to)) {
        // Lines that stay come before those that are new.
        candidates.sort_by_key(|candidate| {
            let (is_far, state, _) = rank(candidate);
            (is_far, state, !placements.stays(&candidate.0.from, &candidate.0.to))
        });
        (lines, hidden) = pick(&candidates);
    }
    choice.lines = lines;
    for row in hidden {
        choice.hide(row);
    }
    choice
}

/// The lines that fit, in this order, and the pairs that do not.
fn pick<'a>(candidates: &[(&'a PairRow, u64)]) -> (Vec<Line>, Vec<&'a PairRow>) {
    let (mut lines, mut hidden) = (Vec::new(), Vec::new());
    let (mut boxes, mut problems) = (BTreeSet::new(), 0);
    for (row, _) in candidates {
        let is_problem = row.state.is_problem();
        let is_full = lines.len() >= MAX_LINES || is_problem && problems >= MAX_PROBLEMS;
        let (from, to) = (Node::of(&row.from, true), Node::of(&row.to, false));
        if is_full || boxes.len() + usize::from(!boxes.contains(&from)) + usize::from(!boxes.contains(&to)) > MAX_BOXES
        {
            hidden.push(*row);
            continue;
        }
        problems += usize::from(is_problem);
        boxes.extend([from.clone(), to.clone()]);
        lines.push(Line { from, to, state: row.state, bytes: row.bytes() });
    }
    (lines, hidden)
}

impl Choice {
    /// Share of the bytes that is not drawn.
    #[allow(clippy::cast_precision_loss, reason = "a share is a float")]
    pub(crate) fn hidden_share(&self) -> f64 {
        if self.bytes > 0 { self.hidden_bytes as f64 / self.bytes as f64 } else { 0.0 }
    }

    fn hide(&mut self, row: &PairRow) {
        self.hidden += 1;
        self.hidden_bytes = self.hidden_bytes.saturating_add(row.bytes());
        self.hidden_problems += usize::from(row.state.is_problem());
    }
}

/// The workloads with most partners on one side.
fn hubs(rows: &[&PairRow]) -> Vec<Hub> {
    let mut partners: HashMap<(&Arc<str>, bool), usize, RandomState> = HashMap::default();
    for row in rows {
        *partners.entry((&row.from, true)).or_default() += 1;
        *partners.entry((&row.to, false)).or_default() += 1;
    }
    let ends = partners.keys().filter(|(end, calls)| *calls || !partners.contains_key(&(*end, true))).count();
    let least = MIN_HUB_PARTNERS.max(ends / 5);
    let hub = |((end, calls), partners): (&(&Arc<str>, bool), &usize)| {
        (*partners > least).then(|| Hub { end: Arc::clone(end), calls: *calls, partners: *partners, bytes: 0 })
    };
    let mut hubs: Vec<_> = partners.iter().filter_map(hub).collect();
    hubs.sort_by(|one, other| {
        (Reverse(one.partners), &one.end, one.calls).cmp(&(Reverse(other.partners), &other.end, other.calls))
    });
    hubs.truncate(MAX_HUBS);
    hubs
}

/// The pairs on ways of at most [`FOCUS_STEPS`] that begin or end at a workload.
fn around<'a>(rows: &[&'a PairRow], focus: &str) -> BTreeSet<(&'a str, &'a str)> {
    let mut partners: [HashMap<&str, Vec<&str>, RandomState>; 2] = Default::default();
    let [callees, callers] = &mut partners;
    for row in rows {
        callees.entry(&row.from).or_default().push(&row.to);
        callers.entry(&row.to).or_default().push(&row.from);
    }
    let mut near = BTreeSet::new();
    let Some(focus) = rows.iter().flat_map(|row| [&row.from, &row.to]).find(|end| ***end == *focus) else {
        return near;
    };
    for (partners, are_callees) in partners.iter().zip([true, false]) {
        let mut edge: BTreeSet<&str> = [&**focus].into();
        let mut known = edge.clone();
        for _ in 0..FOCUS_STEPS {
            let mut next = BTreeSet::new();
            for end in edge {
                for partner in partners.get(end).into_iter().flatten().copied() {
                    near.insert(if are_callees { (end, partner) } else { (partner, end) });
                    // What is no workload ends a way: it would join all that talk to it.
                    if known.insert(partner) && !is_outside(partner) {
                        next.insert(partner);
                    }
                }
            }
            edge = next;
        }
    }
    near
}
