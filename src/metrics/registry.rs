//! All metrics by name. A new one is one line here.

use std::fmt;

use super::aggregator::{Engine, engine};
use super::context::ContextSpec;
use super::hubble::{Drops, Flows, Icmp, Ports, Tcp};
use super::plugin::{Plugin, Table};
use super::traffic::Traffic;

static PLUGINS: [Registration; 6] = [
    Registration::of::<Drops>(),
    Registration::of::<Flows>(),
    Registration::of::<Icmp>(),
    Registration::of::<Ports>(),
    Registration::of::<Tcp>(),
    Registration::of::<Traffic>(),
];

/// How to build a metric.
#[derive(Clone, Copy)]
pub struct Registration {
    /// The configuration name.
    pub name: &'static str,
    /// What it exposes.
    pub tables: &'static [Table],
    pub(super) make: fn(ContextSpec) -> Box<dyn Engine>,
}

impl Registration {
    const fn of<P: Plugin>() -> Self {
        Self { name: P::NAME, tables: P::TABLES, make: engine::<P> }
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registration").field(&self.name).finish()
    }
}

/// All metrics, sorted by name: the inventory of what can be exposed.
pub fn all() -> &'static [Registration] {
    &PLUGINS
}

/// The metric of that name. Names are case-sensitive.
pub fn find(name: &str) -> Option<&'static Registration> {
    PLUGINS.iter().find(|known| known.name == name)
}

/// All names, for messages.
pub(super) fn names() -> String {
    PLUGINS.each_ref().map(|known| known.name).join(", ")
}
