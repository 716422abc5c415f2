//! A batch of flows as its readers borrow it.

use std::sync::Arc;

use webb_flow::{Extra, Flow};

use super::Index;

/// Flows with all that is needed to read them.
#[derive(Debug, Clone, Copy)]
pub struct Flows<'a> {
    /// The flows, oldest first.
    pub flows: &'a [Flow],
    /// The table that the flows' [`webb_flow::ExtraId`]s point into; empty where no flow has one.
    pub extras: &'a [Extra],
    /// The index that the flows' endpoint ids belong to.
    pub index: &'a Arc<Index>,
}
