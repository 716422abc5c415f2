//! Where the boxes of a place are in the drawing.

use super::layout::Place;
use super::line::Node;

/// Width of a box.
pub(crate) const BOX_WIDTH: f64 = 160.0;

/// Height of a box.
pub(crate) const BOX_HEIGHT: f64 = 26.0;

/// From one box to the one below it: room for the name of a namespace, or for some lines.
pub(super) const STEP: f64 = 46.0;

/// Room above the first row and below the last.
const MARGIN_Y: f64 = 26.0;

/// Room left and right: lines that lead back turn there.
pub(super) const MARGIN_X: f64 = 32.0;

/// Width of a map that has few columns, which are then far from each other.
const WIDTH: f64 = 1180.0;

/// Least and most room between two columns.
const GAPS: (f64, f64) = (64.0, 190.0);

/// A place in the drawing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
}

/// A box, by its upper left corner.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DrawnBox {
    pub(crate) node: Node,
    pub(crate) place: Place,
    pub(crate) corner: Point,
}

/// Where columns and rows are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    pub(super) gap: f64,
}

impl Grid {
    #[allow(clippy::cast_precision_loss, reason = "a few columns")]
    pub(super) fn new(columns: usize) -> Self {
        let (columns, gaps) = (columns as f64, columns.saturating_sub(1).max(1) as f64);
        let gap = (WIDTH - 2.0 * MARGIN_X - columns * BOX_WIDTH) / gaps;
        Self { gap: gap.clamp(GAPS.0, GAPS.1).floor() }
    }

    #[allow(clippy::cast_precision_loss, reason = "a few columns")]
    pub(super) fn left(self, column: usize) -> f64 {
        MARGIN_X + column as f64 * (BOX_WIDTH + self.gap)
    }

    #[allow(clippy::cast_precision_loss, reason = "some dozens")]
    pub(super) fn corner(self, (column, row): Place) -> Point {
        Point { x: self.left(column), y: MARGIN_Y + row as f64 * STEP }
    }
}
