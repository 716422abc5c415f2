//! A borrowed batch of flows.

use std::sync::Arc;

use webb_flow::{Extra, Flow};

use super::Index;

/// Flows with the tables that their ids point into.
#[derive(Debug, Clone, Copy)]
pub struct Flows<'a> {
    /// The flows, oldest first.
    pub flows: &'a [Flow],
    /// The table that the flows' [`webb_flow::ExtraId`]s point into; empty where no flow has one.
    pub extras: &'a [Extra],
    /// The index that the flows' endpoint ids belong to.
    pub index: &'a Arc<Index>,
}
