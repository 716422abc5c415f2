//! A layout from nothing: columns by who calls whom, rows near to the partners.

use std::collections::{BTreeMap, BTreeSet};

use super::line::{Line, Node};

/// The most columns.
pub(super) const MAX_COLUMNS: usize = 7;

/// Passes over the columns that bring boxes near to their partners.
const SWEEPS: usize = 14;

/// Column and row of a box.
pub(super) type Place = (usize, usize);

/// The boxes of these lines.
pub(super) fn nodes(lines: &[Line]) -> BTreeSet<&Node> {
    lines.iter().flat_map(|line| [&line.from, &line.to]).collect()
}

/// Places for all boxes of these lines.
pub(super) fn layout(lines: &[Line]) -> BTreeMap<Node, Place> {
    let columns = columns(lines, &BTreeMap::new());
    let mut by_column: BTreeMap<usize, Vec<&Node>> = BTreeMap::new();
    for (node, column) in &columns {
        by_column.entry(*column).or_default().push(node);
    }
    let mut rows: BTreeMap<&Node, f64> = BTreeMap::new();
    for nodes in by_column.values() {
        rows.extend(settle(nodes.iter().map(|node| (*node, 0.0)).collect()));
    }
    let placed = |rows: &BTreeMap<&Node, f64>| -> BTreeMap<Node, Place> {
        let top = rows.values().copied().fold(f64::INFINITY, f64::min);
        let place = |(node, row): (&&Node, &f64)| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to some dozens")]
            let row = (row - top) as usize;
            ((*node).clone(), (columns.get(node).copied().unwrap_or(0), row))
        };
        rows.iter().map(place).collect()
    };
    let mut best = placed(&rows);
    let mut fewest = crossings(lines, &best);
    for sweep in 0..SWEEPS {
        let to_the_right = sweep % 2 == 0;
        let mut order: Vec<_> = by_column.values().collect();
        if !to_the_right {
            order.reverse();
        }
        for nodes in order {
            let wishes = nodes.iter().map(|node| (*node, wish(node, lines, |of| rows.get(of).copied()))).collect();
            rows.extend(settle(wishes));
        }
        let now = placed(&rows);
        let crossings = crossings(lines, &now);
        if crossings < fewest {
            (best, fewest) = (now, crossings);
        }
    }
    best
}

/// The row in the middle of a box's partners; 0 without one that has a row.
#[allow(clippy::cast_precision_loss, reason = "some dozens")]
pub(super) fn wish(node: &Node, lines: &[Line], row: impl Fn(&Node) -> Option<f64>) -> f64 {
    let partner = |line: &Line| {
        if line.from == *node {
            row(&line.to)
        } else if line.to == *node {
            row(&line.from)
        } else {
            None
        }
    };
    let partners: Vec<f64> = lines.iter().filter_map(partner).collect();
    if partners.is_empty() { 0.0 } else { partners.iter().sum::<f64>() / partners.len() as f64 }
}

/// Whole rows of the boxes of a column, each as near as possible to the one that it wishes: those
/// of a namespace below each other, and no two in one row.
#[allow(clippy::cast_precision_loss, reason = "some dozens")]
fn settle(wishes: Vec<(&Node, f64)>) -> Vec<(&Node, f64)> {
    let mut groups: BTreeMap<&str, Vec<(&Node, f64)>> = BTreeMap::new();
    for (node, wish) in wishes {
        groups.entry(node.namespace()).or_default().push((node, wish));
    }
    let mut groups: Vec<(f64, Vec<(&Node, f64)>)> = groups
        .into_values()
        .map(|mut nodes| {
            nodes.sort_by(|one, other| one.1.total_cmp(&other.1).then_with(|| one.0.cmp(other.0)));
            let middle = nodes.iter().map(|(_, wish)| wish).sum::<f64>() / nodes.len() as f64;
            (middle, nodes)
        })
        .collect();
    groups.sort_by(|one, other| one.0.total_cmp(&other.0));
    let wanted: Vec<(f64, f64)> =
        groups.iter().map(|(middle, nodes)| (middle - (nodes.len() as f64 - 1.0) / 2.0, nodes.len() as f64)).collect();
    let tops = apart(&wanted);
    let mut rows = Vec::new();
    for ((_, nodes), top) in groups.into_iter().zip(tops) {
        rows.extend(nodes.into_iter().enumerate().map(|(at, (node, _))| (node, top.round() + at as f64)));
    }
    rows
}

/// Beginnings of intervals that do not overlap, in this order, each with its size, as near as
/// possible to those that are wanted: isotonic regression by pooling adjacent violators.
pub(super) fn apart(wanted: &[(f64, f64)]) -> Vec<f64> {
    // Pools: sum of weighted wishes, weight, and the number of intervals.
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    let mut before = 0.0;
    for (start, size) in wanted {
        let mut pool = ((start - before) * size, *size, 1);
        while let Some(last) = pools.last().filter(|last| last.0 / last.1 >= pool.0 / pool.1) {
            pool = (last.0 + pool.0, last.1 + pool.1, last.2 + pool.2);
            pools.pop();
        }
        pools.push(pool);
        before += size;
    }
    let starts = pools.into_iter().flat_map(|(sum, weight, count)| std::iter::repeat_n(sum / weight, count));
    let mut before = 0.0;
    starts
        .zip(wanted)
        .map(|(start, (_, size))| {
            before += size;
            start + before - size
        })
        .collect()
}

/// Column of each box: callees are right of their callers, but for lines that close a cycle. Those
/// with a known place stay in its column.
pub(super) fn columns<'a>(lines: &'a [Line], known: &BTreeMap<Node, Place>) -> BTreeMap<&'a Node, usize> {
    let order = order(lines);
    let position: BTreeMap<&Node, usize> = order.iter().enumerate().map(|(at, node)| (*node, at)).collect();
    let mut columns: BTreeMap<&Node, usize> = BTreeMap::new();
    for node in &order {
        let callers = lines.iter().filter(|line| line.to == **node && position.get(&line.from) < position.get(node));
        let after = callers.filter_map(|line| columns.get(&line.from)).max().map_or(0, |column| column + 1);
        columns.insert(node, known.get(*node).map_or(after.min(MAX_COLUMNS - 1), |(column, _)| *column));
    }
    // What nothing calls stands beside what it calls.
    for node in order.iter().rev().filter(|node| !known.contains_key(**node)) {
        let is_called = lines.iter().any(|line| line.to == **node);
        let callees = lines.iter().filter(|line| line.from == **node);
        let first = callees.filter_map(|line| columns.get(&line.to)).min().copied();
        if let Some(first) = first.filter(|first| !is_called && *first > 0) {
            columns.insert(node, first - 1);
        }
    }
    columns
}

/// An order with few lines that lead back: sources first, sinks last, and in a cycle the one first
/// that calls most of what it is called (Eades, Lin and Smyth). Ties are broken by name.
fn order(lines: &[Line]) -> Vec<&Node> {
    let mut left = nodes(lines);
    let (mut first, mut last) = (Vec::new(), Vec::new());
    while !left.is_empty() {
        // How many of those that are left each calls, and is called by.
        let mut degrees: BTreeMap<&Node, (usize, usize)> = left.iter().map(|node| (*node, (0, 0))).collect();
        for line in lines.iter().filter(|line| left.contains(&line.from) && left.contains(&line.to)) {
            degrees.entry(&line.from).or_default().0 += 1;
            degrees.entry(&line.to).or_default().1 += 1;
        }
        let found = |wanted: fn(&(usize, usize)) -> bool| {
            degrees.iter().find(|(_, degree)| wanted(degree)).map(|(node, _)| *node)
        };
        if let Some(sink) = found(|(calls, _)| *calls == 0) {
            left.remove(sink);
            last.push(sink);
            continue;
        }
        let most = || {
            degrees.iter().rev().max_by_key(|(_, (calls, called))| calls + lines.len() - called).map(|(node, _)| *node)
        };
        let Some(next) = found(|(_, called)| *called == 0).or_else(most) else { break };
        left.remove(next);
        first.push(next);
    }
    last.reverse();
    first.extend(last);
    first
}

/// How many pairs of lines cross, each taken as straight from box to box.
pub(super) fn crossings(lines: &[Line], places: &BTreeMap<Node, Place>) -> usize {
    let end = |node: &Node| {
        let (column, row) = places.get(node).copied().unwrap_or_default();
        (i64::try_from(column).unwrap_or(0), i64::try_from(row).unwrap_or(0))
    };
    let ends: Vec<_> = lines.iter().map(|line| (end(&line.from), end(&line.to))).collect();
    let side = |from: (i64, i64), to: (i64, i64), at: (i64, i64)| {
        ((to.0 - from.0) * (at.1 - from.1) - (to.1 - from.1) * (at.0 - from.0)).signum()
    };
    let cross = |(a, b): ((i64, i64), (i64, i64)), (c, d): ((i64, i64), (i64, i64))| {
        side(a, b, c) * side(a, b, d) < 0 && side(c, d, a) * side(c, d, b) < 0
    };
    ends.iter().enumerate().map(|(at, one)| ends.iter().skip(at + 1).filter(|other| cross(*one, **other)).count()).sum()
}
