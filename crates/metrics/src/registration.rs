//! A plugin as data: its names, its tables, and how to build it.

use std::fmt;

use super::context::ContextSpec;
use super::engine::{Engine, engine};
use super::options::Options;
use super::plugin::{Plugin, Table};

/// A metric that can be configured.
#[derive(Clone, Copy)]
pub struct Registration {
    /// The configuration name.
    pub name: &'static str,
    /// All that it can expose, with the labels of every option.
    pub tables: &'static [Table],
    /// Its own options, beside those of the context.
    pub options: &'static [&'static str],
    /// Labels of its context, whatever is configured.
    pub context: &'static [&'static str],
    /// True if it has no other context than that.
    pub fixed_context: bool,
    /// A metric that cannot be counted beside it.
    pub conflict: Option<&'static str>,
    pub(super) configured: fn(&Options) -> &'static [Table],
    pub(super) make: fn(ContextSpec, &Options) -> Box<dyn Engine>,
}

impl Registration {
    /// The registration of a plugin.
    pub const fn of<P: Plugin>() -> Self {
        Self {
            name: P::NAME,
            tables: P::TABLES,
            options: P::OPTIONS,
            context: P::CONTEXT,
            fixed_context: P::FIXED_CONTEXT,
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
