//! The map of workloads: which pairs it has, and where its boxes and lines are.
//!
//! Callers are left of the callees. A workload keeps its place between refreshes, because boxes
//! that jump make a map useless: its column and row are stored by its name ([`Placements`]), and
//! only new ones are placed. Lines take the gaps between boxes.

mod choose;
mod draw;
mod grid;
mod layout;
mod line;
mod place;
mod route;

pub(super) use choose::{Choice, Hub, choose};
pub(super) use draw::{Group, Map, draw};
pub(super) use grid::{BOX_HEIGHT, BOX_WIDTH, DrawnBox};
pub(super) use line::{Line, Node, bytes_of_boxes, is_outside};
pub(super) use place::{Layouts, Placements};
pub(super) use route::Path;

#[cfg(test)]
mod tests;
