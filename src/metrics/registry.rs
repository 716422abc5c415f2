//! All metrics by name. A new one is one line here.

use std::fmt;

use super::aggregator::{Engine, engine};
use super::context::ContextSpec;
use super::hubble::{Dns, Drops, Flows, Http, HttpV2, Icmp, Policy, Ports, Sctp, Tcp, World};
use super::options::Options;
use super::plugin::{Plugin, Table};
use super::traffic::Traffic;

static PLUGINS: [Registration; 12] = [
    Registration::of::<Dns>(),
    Registration::of::<Drops>(),
    Registration::of::<Flows>(),
    Registration::of::<World>(),
    Registration::of::<Http>(),
    Registration::of::<HttpV2>(),
    Registration::of::<Icmp>(),
    Registration::of::<Policy>(),
    Registration::of::<Ports>(),
    Registration::of::<Sctp>(),
    Registration::of::<Tcp>(),
    Registration::of::<Traffic>(),
];

/// How to build a metric.
#[derive(Clone, Copy)]
pub struct Registration {
    /// The configuration name.
    pub name: &'static str,
    /// All that it can expose, with the labels of every option.
    pub tables: &'static [Table],
    /// Its own options, beside those of the context.
    pub options: &'static [&'static str],
    /// A metric that cannot be counted beside it.
    pub conflict: Option<&'static str>,
    pub(super) configured: fn(&Options) -> &'static [Table],
    pub(super) make: fn(ContextSpec, &Options) -> Box<dyn Engine>,
}

impl Registration {
    const fn of<P: Plugin>() -> Self {
        Self {
            name: P::NAME,
            tables: P::TABLES,
            options: P::OPTIONS,
            conflict: P::CONFLICT,
            configured: P::tables,
            make: engine::<P>,
        }
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
