//! NetworkPolicies, compiled: may this flow pass?

use super::Index;
use crate::flow::{Direction, Flow};

/// The compiled policies of the cluster. Empty allows everything.
#[derive(Debug, Default)]
pub struct Policies {}

impl Policies {
    /// Which side's policies forbid `flow` (its source, destination and ports as sent by the side that started it):
    /// `Egress` for the source's, `Ingress` for the destination's, none if it may pass.
    pub fn forbids(&self, _index: &Index, _flow: &Flow) -> Option<Direction> {
        None
    }
}
