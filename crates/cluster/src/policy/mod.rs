//! Policies: from an object of the API to what the compiler takes, read strictly.
//!
//! `NetworkPolicy` is in [`standard`], the kinds of `policy.networking.k8s.io` in [`tier`]. Both
//! leave a part that cannot be read unknown and go on: a NetworkPolicy with an unreadable rule
//! isolates all the same.

mod part;
mod selector;
mod standard;
mod tier;

pub(super) use standard::{network_policy, protocol, unreadable as unreadable_network_policy};
pub(super) use tier::{tiered, unreadable as unreadable_tiered};
