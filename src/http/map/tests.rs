//! Maps of pairs that are made up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::choose::{MAX_BOXES, MAX_LINES, MAX_PROBLEMS};
use super::layout::{MAX_COLUMNS, apart};
use super::route::at;
use super::*;
use crate::readings::{PairRow, State, tests::pair_row};

fn rows(pairs: &[(u8, u8, u16)]) -> Vec<PairRow> {
    let states = [State::Forwarded, State::Denied, State::Failing, State::Forwarded, State::Passed];
    let mut rows: Vec<PairRow> = pairs
        .iter()
        .map(|(from, to, bytes)| {
            let name = |of: u8| if of % 23 == 7 { "reserved:world".to_owned() } else { format!("n{}/w{of}", of % 5) };
            let state = states[usize::from(*bytes) % 29 % 5];
            pair_row(&name(*from), &name(*to), state, u64::from(*bytes) * 1000)
        })
        .collect();
    rows.sort_by(|one, other| (!one.state.is_problem(), other.bytes()).cmp(&(!other.state.is_problem(), one.bytes())));
    rows.dedup_by(|one, other| (&one.from, &one.to) == (&other.from, &other.to));
    rows
}

fn drawn(rows: &[PairRow], placements: &mut Placements, seconds: u64) -> (Choice, Map) {
    let choice = choose(&rows.iter().collect::<Vec<_>>(), None, placements);
    placements.note_below(&choice.below, Duration::from_secs(seconds));
    let map = draw(&choice.lines, placements, Duration::from_secs(seconds));
    (choice, map)
}

fn corners(map: &Map) -> BTreeMap<Node, (i64, i64)> {
    #[allow(clippy::cast_possible_truncation, reason = "whole pixels")]
    map.boxes.iter().map(|of| (of.node.clone(), (of.corner.x as i64, of.corner.y as i64))).collect()
}

fn pairs() -> impl Strategy<Value = Vec<(u8, u8, u16)>> {
    prop::collection::vec((0_u8..60, 0_u8..60, any::<u16>()), 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever talks to whatever: no box lies over another, no line passes behind a box, no two
    /// symbols are in one place, and all of it is within the drawing and the bounds.
    #[test]
    fn nothing_is_hidden(before in pairs(), after in pairs()) {
        let mut placements = Placements::default();
        drawn(&rows(&before), &mut placements, 0);
        let (choice, map) = drawn(&rows(&after), &mut placements, 5);
        prop_assert!(choice.lines.len() <= MAX_LINES && map.boxes.len() <= MAX_BOXES && map.columns <= MAX_COLUMNS);
        prop_assert!(choice.lines.iter().filter(|line| line.state.is_problem()).count() <= MAX_PROBLEMS);
        prop_assert_eq!(map.paths.len(), choice.lines.len());
        let places: BTreeSet<_> = map.boxes.iter().map(|of| of.place).collect();
        prop_assert_eq!(places.len(), map.boxes.len());
        for path in &map.paths {
            for curve in &path.curves {
                for step in 0..=24 {
                    let point = at(curve, f64::from(step) / 24.0);
                    let inside = |of: &&DrawnBox| {
                        let (x, y) = (point.x - of.corner.x, point.y - of.corner.y);
                        x > 0.5 && x < BOX_WIDTH - 0.5 && y > 0.5 && y < BOX_HEIGHT - 0.5
                    };
                    let hit = map.boxes.iter().find(inside);
                    prop_assert!(hit.is_none(), "{:?} is behind {:?}", point, hit);
                    prop_assert!(point.x >= 0.0 && point.x <= map.width && point.y >= 0.0 && point.y <= map.height);
                }
            }
        }
    }

    /// The same pairs make the same map.
    #[test]
    fn maps_are_deterministic(pairs in pairs()) {
        let rows = rows(&pairs);
        let (one, other) = (drawn(&rows, &mut Placements::default(), 0), drawn(&rows, &mut Placements::default(), 0));
        prop_assert_eq!(one.1, other.1);
    }

    /// A box that is shown again is where it was, whatever came or went meanwhile.
    #[test]
    fn boxes_stay(before in pairs(), more in pairs()) {
        let mut placements = Placements::default();
        let first = drawn(&rows(&before), &mut placements, 0).1;
        let more: Vec<_> = before.iter().skip(before.len() / 4).chain(more.iter().take(5)).copied().collect();
        let places: BTreeMap<_, _> = first.boxes.iter().map(|of| (of.node.clone(), of.place)).collect();
        let shared = |map: &Map| map.boxes.iter().any(|of| places.contains_key(&of.node));
        for seconds in [5, 10] {
            let second = drawn(&rows(&more), &mut placements, seconds).1;
            if !shared(&second) {
                return Ok(());
            }
            for of in &second.boxes {
                prop_assert!(places.get(&of.node).is_none_or(|before| *before == of.place), "{:?} has moved", of.node);
            }
        }
    }

    /// Intervals that are pushed apart keep their order and do not overlap.
    #[test]
    fn intervals_are_apart(wanted in prop::collection::vec((-50_i32..50, 1_i32..5), 1..20)) {
        let wanted: Vec<_> = wanted.iter().map(|(at, size)| (f64::from(*at), f64::from(*size))).collect();
        let starts = apart(&wanted);
        prop_assert_eq!(starts.len(), wanted.len());
        for (at, pair) in starts.windows(2).enumerate() {
            prop_assert!(pair[0] + wanted[at].1 <= pair[1] + 1e-9, "{:?}", starts);
        }
    }
}

/// Callers are left of callees, and what is no workload has a box on either side.
#[test]
fn callers_are_left() {
    let pairs =
        [("reserved:world", "a/front"), ("a/front", "a/cart"), ("a/cart", "b/db"), ("a/front", "reserved:world")];
    let rows: Vec<_> = pairs.iter().map(|(from, to)| pair_row(from, to, State::Forwarded, 1000)).collect();
    let (choice, map) = drawn(&rows, &mut Placements::default(), 0);
    let corners = corners(&map);
    assert_eq!((choice.lines.len(), corners.len()), (4, 5));
    for line in &choice.lines {
        assert!(corners[&line.from].0 < corners[&line.to].0, "{line:?}: {corners:?}");
    }
    assert_eq!((choice.hidden, map.crossings), (0, 0));
}

/// Cycles and calls of itself end; a line that leads back goes around the boxes.
#[test]
fn cycles_are_drawn() {
    let pairs = [("a/a", "a/b"), ("a/b", "a/c"), ("a/c", "a/a"), ("a/a", "a/a")];
    let rows: Vec<_> = pairs.iter().map(|(from, to)| pair_row(from, to, State::Forwarded, 1000)).collect();
    let (choice, map) = drawn(&rows, &mut Placements::default(), 0);
    assert_eq!((map.paths.len(), map.boxes.len(), choice.hidden), (3, 3, 1));
    assert_eq!(draw(&[], &mut Placements::default(), Duration::ZERO).boxes, []);
}

/// A workload that all talk to has no lines but those with a problem, and its pairs are not hidden.
#[test]
fn hubs_have_no_lines() {
    let mut rows: Vec<_> =
        (0..30).map(|of| pair_row(&format!("a/{of}"), "kube-system/dns", State::Forwarded, 100)).collect();
    rows.push(pair_row("a/x", "a/y", State::Forwarded, 100));
    rows.insert(0, pair_row("a/bad", "kube-system/dns", State::Failing, 100));
    let (choice, _) = drawn(&rows, &mut Placements::default(), 0);
    let [hub] = &choice.hubs[..] else { panic!("{:?}", choice.hubs) };
    assert_eq!((&*hub.end, hub.calls, hub.partners, hub.bytes), ("kube-system/dns", false, 31, 3100));
    let lines: Vec<_> = choice.lines.iter().map(|line| (&*line.from.end, &*line.to.end)).collect();
    assert_eq!(lines, [("a/bad", "kube-system/dns"), ("a/x", "a/y")]);
    assert_eq!((choice.hidden, choice.bytes), (0, 3200));
}

/// A map of one workload has what leads to it and what it leads to, two steps each way.
#[test]
fn focus_is_two_steps() {
    let chain = [("a/1", "a/2"), ("a/2", "a/3"), ("a/3", "a/4"), ("a/4", "a/5"), ("a/5", "a/6"), ("a/7", "a/5")];
    let rows: Vec<_> = chain.iter().map(|(from, to)| pair_row(from, to, State::Forwarded, 1000)).collect();
    let choice = choose(&rows.iter().collect::<Vec<_>>(), Some("a/4"), &Placements::default());
    let lines: Vec<_> = choice.lines.iter().map(|line| (&*line.from.end, &*line.to.end)).collect();
    assert_eq!(lines, [("a/3", "a/4"), ("a/4", "a/5"), ("a/2", "a/3"), ("a/5", "a/6")]);
    assert_eq!(choose(&rows.iter().collect::<Vec<_>>(), Some("a/none"), &Placements::default()).lines, []);
}

/// A pair that was not on the map must exceed the last one by a fifth, for three refreshes.
#[test]
fn lines_stay_while_they_are_near_the_cut() {
    let mut rows: Vec<_> = (0..60)
        .map(|of| pair_row(&format!("a/{}", of % 9), &format!("b/{of}"), State::Forwarded, 1_000_000 - of))
        .collect();
    let mut placements = Placements::default();
    let had = |choice: &Choice, of: u64| choice.lines.iter().any(|line| *line.to.end == *format!("b/{of}"));
    let before = drawn(&rows, &mut placements, 0).0;
    let last = (0..60).filter(|of| had(&before, *of)).max().unwrap();
    let mut with = |bytes: u64, seconds: u64| {
        rows.retain(|row| *row.to != *"b/59");
        rows.insert(0, pair_row("a/5", "b/59", State::Forwarded, bytes));
        let choice = drawn(&rows, &mut placements, seconds).0;
        (had(&choice, 59), had(&choice, last))
    };
    assert_eq!(with(1_100_000, 5), (false, true));
    // The one that is shown stays until it was below the cut three times; two requests at once are
    // one refresh.
    for (seconds, is_shown) in [(10, false), (11, false), (15, false), (20, true), (25, true)] {
        assert_eq!(with(1_300_000, seconds), (is_shown, !is_shown), "{seconds}");
    }
}

/// Places are forgotten a quarter of an hour after their boxes were shown, and their number has a
/// bound however many maps are looked at.
#[test]
fn places_are_bounded() {
    let mut placements = Placements::default();
    for of in 0..100_u64 {
        let rows = [pair_row("a/always", &format!("b/{of}"), State::Forwarded, 1000)];
        drawn(&rows, &mut placements, of);
    }
    let many: Vec<_> =
        (0..400).map(|of| pair_row(&format!("a/{of}"), &format!("c/{of}"), State::Forwarded, 1000)).collect();
    for rows in many.chunks(19) {
        drawn(rows, &mut placements, 101);
    }
    assert!(placements.len() <= 160, "{}", placements.len());
    drawn(&[pair_row("x/y", "x/z", State::Forwarded, 1000)], &mut placements, 3600);
    assert_eq!(placements.len(), 2);
    let mut layouts = Layouts::default();
    for of in 0..100_u64 {
        drawn(&[pair_row("x/y", "x/z", State::Forwarded, 1000)], layouts.of(&of.to_string()), of);
    }
    assert!(layouts.len() <= 8);
}

/// With 100,000 pairs the map is as small, and says what it hides.
#[test]
fn many_pairs_are_bounded() {
    let rows: Vec<PairRow> = (0..100_000_u64)
        .map(|of| {
            pair_row(
                &format!("n{}/w{}", of % 40, of % 800),
                &format!("m{}/v{}", of % 30, of / 125),
                State::Forwarded,
                100_000 - of,
            )
        })
        .collect();
    let (choice, map) = drawn(&rows, &mut Placements::default(), 0);
    assert!(choice.lines.len() > 10 && choice.lines.len() <= MAX_LINES && map.boxes.len() <= MAX_BOXES);
    let of_hubs: usize = choice.hubs.iter().map(|hub| hub.partners).sum();
    assert!(choice.hidden + choice.lines.len() + of_hubs >= rows.len());
    assert!(choice.hidden_bytes < choice.bytes && choice.hidden_bytes > 0);
}

/// Names of ends that are no workload.
#[test]
fn outside_is_no_workload() {
    for (end, outside) in [
        ("shop/cart", false),
        ("cart", false),
        ("reserved:world", true),
        ("10.0.0.1", true),
        ("fd00::1", true),
        ("api.example.com", true),
        ("shop/cart.v2", false),
        ("~other", true),
        ("", true),
    ] {
        assert_eq!(is_outside(end), outside, "{end:?}");
    }
    assert_eq!(Node { end: Arc::from("shop/cart"), is_sink: false }.namespace(), "shop");
}
