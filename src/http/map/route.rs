//! The ways of lines, which never pass behind a box: they pass a column in the gaps between boxes.

use std::collections::BTreeMap;

use super::grid::{BOX_HEIGHT, BOX_WIDTH, DrawnBox, Grid, MARGIN_X, Point, STEP};
use super::layout::{Place, apart};
use super::line::{Line, Node};
use crate::readings::State;

/// Room between a line and a box that it passes.
const CLEARANCE: f64 = 5.0;

/// Room between two lines that pass a column.
const LINE_STEP: f64 = 4.0;

/// Room between the lines at one side of a box, if they all fit.
const PORT_STEP: f64 = 4.0;

/// Radius of a symbol.
const SYMBOL: f64 = 9.0;

/// A cubic curve: beginning, both control points, end.
pub(super) type Curve = [Point; 4];

/// A line: its curves, and the middle of its symbol.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Path {
    pub(crate) curves: Vec<Curve>,
    pub(crate) symbol: Point,
}

/// Finds the ways of all lines.
pub(super) struct Router<'a> {
    pub(super) grid: Grid,
    pub(super) lines: &'a [Line],
    pub(super) places: &'a BTreeMap<Node, Place>,
    pub(super) boxes: &'a [DrawnBox],
}

/// A gap between two boxes of a column, with the lines that pass it and what each wants.
struct Gap {
    begin: f64,
    end: f64,
    lines: Vec<(f64, usize)>,
}

impl Gap {
    /// Room that its lines take.
    #[allow(clippy::cast_precision_loss, reason = "some dozens")]
    fn height(&self) -> f64 {
        LINE_STEP * self.lines.len() as f64
    }

    fn heights(&self) -> Vec<(usize, f64)> {
        let steps: Vec<_> =
            self.lines.iter().map(|(wanted, _)| (wanted.clamp(self.begin, self.end), LINE_STEP)).collect();
        let (mut least, mut room) = (self.begin, self.height());
        let mut heights = Vec::new();
        for ((_, line), height) in self.lines.iter().zip(apart(&steps)) {
            room -= LINE_STEP;
            heights.push((*line, height.max(least).min(self.end - room)));
            least += LINE_STEP;
        }
        heights
    }
}

impl Router<'_> {
    /// One way for each line, in its order.
    pub(super) fn paths(&self) -> Vec<Path> {
        let passed = self.passed();
        // Heights that each line goes to from its first box, and comes from to its last.
        let beside: Vec<(f64, f64)> = self
            .lines
            .iter()
            .zip(&passed)
            .map(|(line, passed)| {
                let (first, last) = (passed.first(), passed.last());
                let next = first.map_or_else(|| self.middle(&line.to), |(_, height)| *height);
                (next, last.map_or_else(|| self.middle(&line.from), |(_, height)| *height))
            })
            .collect();
        let beside = |at: usize| beside.get(at).copied().unwrap_or_default();
        let leave = self.ports(|at, line| (&line.from, beside(at).0));
        let reach = self.ports(|at, line| (&line.to, beside(at).1));
        let mut paths: Vec<Path> = Vec::new();
        let mut symbols: Vec<Point> = Vec::new();
        for ((line, passed), (leave, reach)) in self.lines.iter().zip(&passed).zip(leave.into_iter().zip(reach)) {
            let curves = self.curves(line, passed, leave, reach);
            let symbol = curves.last().map_or(Point { x: 0.0, y: 0.0 }, |curve| free_spot(curve, &symbols));
            if line.state.is_problem() {
                symbols.push(symbol);
            }
            paths.push(Path { curves, symbol });
        }
        paths
    }

    fn column(&self, node: &Node) -> usize {
        self.places.get(node).map_or(0, |(column, _)| *column)
    }

    /// Height of the middle of a box.
    fn middle(&self, node: &Node) -> f64 {
        self.places.get(node).map_or(0.0, |place| self.grid.corner(*place).y + BOX_HEIGHT / 2.0)
    }

    /// The columns that each line passes, with the height at which it does.
    #[allow(clippy::cast_precision_loss, reason = "a few columns")]
    fn passed(&self) -> Vec<Vec<(usize, f64)>> {
        let mut passed: Vec<Vec<(usize, f64)>> = Vec::new();
        let mut by_column: BTreeMap<usize, Vec<(f64, usize)>> = BTreeMap::new();
        for (at, line) in self.lines.iter().enumerate() {
            let (from, to) = (self.column(&line.from), self.column(&line.to));
            let (start, end) = (self.middle(&line.from), self.middle(&line.to));
            let columns: Vec<usize> = if from < to { (from + 1..to).collect() } else { (to..=from).rev().collect() };
            for column in &columns {
                let wanted = if from < to {
                    start + (end - start) * (column - from) as f64 / (to - from) as f64
                } else {
                    start.max(end) + STEP / 2.0
                };
                by_column.entry(*column).or_default().push((wanted, at));
            }
            passed.push(columns.into_iter().map(|column| (column, 0.0)).collect());
        }
        for (column, mut wanted) in by_column {
            wanted.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
            for (at, height) in self.heights(column, &wanted) {
                let columns = passed.get_mut(at).into_iter().flatten();
                for place in columns.filter(|(of, _)| *of == column) {
                    place.1 = height;
                }
            }
        }
        passed
    }

    /// Heights of the lines that pass a column, each in the gap between two boxes that is nearest
    /// to the one that it wants and has room.
    fn heights(&self, column: usize, wanted: &[(f64, usize)]) -> Vec<(usize, f64)> {
        let mut tops: Vec<f64> = self.boxes.iter().filter(|of| of.place.0 == column).map(|of| of.corner.y).collect();
        tops.sort_by(f64::total_cmp);
        let begins = std::iter::once(4.0).chain(tops.iter().map(|top| top + BOX_HEIGHT + CLEARANCE));
        let ends = tops.iter().map(|top| top - CLEARANCE).chain([f64::INFINITY]);
        let mut gaps: Vec<Gap> = begins.zip(ends).map(|(begin, end)| Gap { begin, end, lines: Vec::new() }).collect();
        for (wanted, line) in wanted {
            let distance = |gap: &Gap| (wanted - wanted.clamp(gap.begin, gap.end)).abs();
            let with_room = gaps.iter_mut().filter(|gap| gap.begin + gap.height() <= gap.end);
            if let Some(gap) = with_room.min_by(|one, other| distance(one).total_cmp(&distance(other))) {
                gap.lines.push((*wanted, *line));
            }
        }
        gaps.iter().flat_map(Gap::heights).collect()
    }

    /// Heights at which the lines touch the boxes that `of` names, ordered by the height beside
    /// the box.
    #[allow(clippy::cast_precision_loss, reason = "some dozens")]
    fn ports<'b>(&self, of: impl Fn(usize, &'b Line) -> (&'b Node, f64)) -> Vec<f64>
    where
        Self: 'b,
    {
        let mut by_box: BTreeMap<&Node, Vec<(f64, usize)>> = BTreeMap::new();
        for (at, line) in self.lines.iter().enumerate() {
            let (node, beside) = of(at, line);
            by_box.entry(node).or_default().push((beside, at));
        }
        let mut ports = vec![0.0; self.lines.len()];
        for (node, mut lines) in by_box {
            lines.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
            let gaps = lines.len().saturating_sub(1) as f64;
            let step = PORT_STEP.min((BOX_HEIGHT - 8.0) / gaps.max(1.0));
            for (place, (_, at)) in lines.iter().enumerate() {
                let port = self.middle(node) + (place as f64 - gaps / 2.0) * step;
                if let Some(of) = ports.get_mut(*at) {
                    *of = port;
                }
            }
        }
        ports
    }

    /// The curves of a line. They bend between the columns, and pass these straight.
    fn curves(&self, line: &Line, passed: &[(usize, f64)], leave: f64, reach: f64) -> Vec<Curve> {
        let (from, to) = (self.column(&line.from), self.column(&line.to));
        let is_forward = from < to;
        let left = |column: usize| self.grid.left(column);
        let right = |column: usize| self.grid.left(column) + BOX_WIDTH;
        let room = (self.grid.gap / 2.0).min(MARGIN_X - 4.0);
        // A denied line does not arrive.
        let end = Point { x: left(to) - if line.state == State::Denied { 8.0 } else { 0.0 }, y: reach };
        let mut here = Point { x: right(from), y: leave };
        let mut curves = Vec::new();
        for (at, (column, height)) in passed.iter().enumerate() {
            let (near, far) =
                if is_forward { (left(*column), right(*column)) } else { (right(*column), left(*column)) };
            let (enter, exit) = (Point { x: near, y: *height }, Point { x: far, y: *height });
            let turns = !is_forward && at == 0;
            curves.push(bent(here, enter, if turns { near + room } else { f64::midpoint(here.x, near) }));
            curves.push([enter, enter, exit, exit]);
            here = exit;
        }
        curves.push(bent(here, end, if is_forward { f64::midpoint(here.x, end.x) } else { end.x - room }));
        curves
    }
}

/// A curve that is level at both ends, with its control points at `x`.
fn bent(from: Point, to: Point, x: f64) -> Curve {
    [from, Point { x, ..from }, Point { x, ..to }, to]
}

/// A place for a symbol near the end of a curve, where no other symbol is.
fn free_spot(curve: &Curve, taken: &[Point]) -> Point {
    let spots = (0..9).map(|step| at(curve, 0.86 - 0.08 * f64::from(step)));
    let is_free = |spot: &Point| taken.iter().all(|of| (of.x - spot.x).hypot(of.y - spot.y) >= 2.0 * SYMBOL);
    spots.clone().find(is_free).unwrap_or_else(|| at(curve, 0.86))
}

/// The point of a curve at a share of its way.
pub(super) fn at([start, first, second, end]: &Curve, share: f64) -> Point {
    let rest = 1.0 - share;
    let of = |coordinate: fn(&Point) -> f64| {
        rest.powi(3) * coordinate(start)
            + 3.0 * rest * rest * share * coordinate(first)
            + 3.0 * rest * share * share * coordinate(second)
            + share.powi(3) * coordinate(end)
    };
    Point { x: of(|point| point.x), y: of(|point| point.y) }
}
