//! What a metric must say about itself, and how it counts.

use std::borrow::Cow;

use super::contexts::{ContextId, Contexts};
use super::series::SeriesTable;
use crate::expose::Spec;
use crate::flow::{Extra, Flow};

/// Families whose series always have the same labels: they share one table, a column each.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// In the order of the increments.
    pub families: &'static [Spec],
    /// The fixed labels, without the context's, in the order of [`Plugin::texts`].
    pub labels: &'static [&'static str],
}

/// Texts of a table's fixed labels.
pub type Texts = Vec<Cow<'static, str>>;

/// One metric of the configuration.
pub trait Plugin: Send + Sized + 'static {
    /// The configuration name.
    const NAME: &'static str;
    /// What it exposes.
    const TABLES: &'static [Table];
    /// True if it wants flows of `Event::Flush`, which are none of Hubble's.
    const FLUSHES: bool = false;

    /// A new one; may intern.
    fn new() -> Self;

    /// Counts one flow: zero or more calls of `emit`. No allocation, no lock, no text.
    fn observe(&self, flow: &Flow, emit: &mut Emit<'_, Self>);

    /// The texts behind a key that `observe` packed: called when a series is born. Different keys of a table must have
    /// different texts, or one series would be split in two.
    fn texts(table: usize, key: u64) -> Texts;
}

/// Where a plugin puts its counts: knows the flow and, once asked for, its context.
#[derive(Debug)]
pub struct Emit<'a, P> {
    pub(super) flow: &'a Flow,
    pub(super) extras: &'a [Extra],
    pub(super) contexts: &'a mut Contexts,
    pub(super) tables: &'a mut [SeriesTable],
    pub(super) context: Option<ContextId>,
    pub(super) plugin: std::marker::PhantomData<P>,
}

impl<'a, P: Plugin> Emit<'a, P> {
    /// What the flow carries beyond a [`Flow`]: layer 7, names, raw numbers. `None` for nearly all.
    #[inline]
    pub fn extra(&self) -> Option<&'a Extra> {
        self.extras.get(self.flow.extra.0 as usize)
    }

    /// Adds one to the only family of a table.
    #[inline]
    pub fn count(&mut self, table: usize, key: u64) {
        self.add(table, key, [1]);
    }

    /// Adds to every family of a table.
    #[inline]
    pub fn add<const N: usize>(&mut self, table: usize, key: u64, increments: [u64; N]) {
        let context = match self.context {
            Some(known) => known,
            None => *self.context.insert(self.contexts.of(self.flow, self.extras)),
        };
        if let Some(series) = self.tables.get_mut(table) {
            let contexts = &*self.contexts;
            series.add(context, key, increments, || (P::texts(table, key), contexts.values(context)));
        }
    }
}
