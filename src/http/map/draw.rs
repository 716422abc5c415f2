//! The drawing of a map: boxes, groups of a namespace, and lines.

use std::collections::BTreeMap;
use std::time::Duration;

use super::grid::{BOX_HEIGHT, DrawnBox, Grid, MARGIN_X, Point, STEP};
use super::layout::{self, Place};
use super::line::{Line, Node};
use super::place::Placements;
use super::route::{Path, Router};

/// Boxes of one namespace below each other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    pub(crate) node: Node,
    pub(crate) corner: Point,
    pub(crate) height: f64,
}

/// A drawn map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Map {
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) columns: usize,
    pub(crate) boxes: Vec<DrawnBox>,
    pub(crate) groups: Vec<Group>,
    /// One for each line, in its order.
    pub(crate) paths: Vec<Path>,
    /// Pairs of lines that cross, each taken as straight.
    pub(crate) crossings: usize,
    /// The same if all were laid out anew.
    pub(crate) fresh_crossings: usize,
}

impl Map {
    /// True if a new layout would be much clearer.
    pub(crate) fn is_untidy(&self) -> bool {
        2 * self.crossings > 3 * self.fresh_crossings && self.crossings >= self.fresh_crossings + 3
    }
}

/// Draws these lines, and stores the places of their boxes.
pub(crate) fn draw(lines: &[Line], placements: &mut Placements, now: Duration) -> Map {
    let places = placements.of(lines, now);
    let columns = places.values().map(|(column, _)| column + 1).max().unwrap_or(0);
    let grid = Grid::new(columns);
    let boxes: Vec<DrawnBox> = places
        .iter()
        .map(|(node, place)| DrawnBox { node: node.clone(), place: *place, corner: grid.corner(*place) })
        .collect();
    let paths = Router { grid, lines, places: &places, boxes: &boxes }.paths();
    let lowest = paths.iter().flat_map(|path| path.curves.iter().flatten()).map(|point| point.y);
    let lowest = lowest.chain(boxes.iter().map(|of| of.corner.y + BOX_HEIGHT)).fold(0.0, f64::max);
    Map {
        width: grid.left(columns) - grid.gap + MARGIN_X,
        height: lowest + 10.0,
        columns,
        groups: groups(&places, grid),
        boxes,
        paths,
        crossings: layout::crossings(lines, &places),
        fresh_crossings: layout::crossings(lines, &layout::layout(lines)),
    }
}

/// The runs of boxes of one namespace.
fn groups(places: &BTreeMap<Node, Place>, grid: Grid) -> Vec<Group> {
    let by_place: BTreeMap<Place, &Node> = places.iter().map(|(node, place)| (*place, node)).collect();
    let mut groups: Vec<(Place, Group)> = Vec::new();
    for (place, node) in by_place {
        if let Some(((column, row), group)) = groups.last_mut()
            && (*column, *row + 1) == place
            && group.node.namespace() == node.namespace()
        {
            *row += 1;
            group.height += STEP;
            continue;
        }
        groups.push((place, Group { node: node.clone(), corner: grid.corner(place), height: BOX_HEIGHT }));
    }
    groups.into_iter().map(|(_, group)| group).collect()
}
