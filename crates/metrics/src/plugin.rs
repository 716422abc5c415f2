//! The trait of a metric, and the interface through which it counts.

use webb_flow::{Extra, Flow};
use webb_index::{Endpoint, Index};

use super::batch_counter::{self, BatchCounter};
use super::options::Options;
use super::series::Trace;
use super::slot_cache::CacheKey;
use super::table::FAMILIES;
pub use super::table::{Table, Texts};
use super::tuples::{self, Tuple, Tuples};

/// One metric of the configuration.
pub trait Plugin: Send + Sized + 'static {
    /// The configuration name.
    const NAME: &'static str;
    /// All that it can expose, with the labels of every option.
    const TABLES: &'static [Table];
    /// Names of its own options, beside those of the context.
    const OPTIONS: &'static [&'static str] = &[];
    /// Labels of its context, whatever is configured; those of `labelsContext`, or
    /// [`super::context::POD_LABELS`].
    const CONTEXT: &'static [&'static str] = &[];
    /// True if it has no other context than that.
    const FIXED_CONTEXT: bool = false;
    /// A metric that cannot be counted beside it.
    const CONFLICT: Option<&'static str> = None;
    /// True if it counts flows of `Event::Flush`, which are none of Hubble's.
    const FLUSHES: bool = false;
    /// True if it counts the ends of gRPC calls and of unanswered questions, which are flows of
    /// `Event::Flush` with an extra.
    const ENDS: bool = false;
    /// True if it counts policy verdicts that stand beside the packet they are about; all others
    /// would count that packet twice. (Hubble's metrics do.) Verdicts that another program wrote
    /// down are flows like any other.
    const VERDICTS: bool = false;
    /// True if it counts flows of `Event::Connection`, and none besides.
    const CONNECTIONS: bool = false;
    /// True if only flows with an extra count, which flows from the kernel do not have.
    const NEEDS_EXTRA: bool = false;
    /// True if its context takes source for destination and the other way round (hubble-contract
    /// §2.4).
    const INVERTED: bool = false;
    /// True if its flows go from server to client and its labels from client to server: with each
    /// option about the end that it names, which Hubble's inversion does not give.
    const EXCHANGED: bool = false;

    /// A new one; may intern.
    fn new(options: &Options) -> Self;

    /// Bounds of the histogram of a table under these options, where they differ from those of
    /// [`Plugin::TABLES`].
    fn bounds(_options: &Options, _table: usize) -> Option<Vec<f64>> {
        None
    }

    /// Tables that it exposes under these options, in the order of [`Plugin::TABLES`].
    fn tables(_options: &Options) -> &'static [Table] {
        Self::TABLES
    }

    /// Counts one flow: zero or more calls of `emit`. No lock, and for a flow without extra no
    /// allocation and no text. Keys below 2^32 are found fastest.
    fn observe(&self, flow: &Flow, emit: &mut Emit<'_, Self>);

    /// Amounts that a counted flow adds to each family of its table.
    #[inline]
    fn amounts(_flow: &Flow) -> [u64; FAMILIES] {
        [1; FAMILIES]
    }

    /// The tuple behind a key, if it has one: the tuples of no series are dropped.
    fn tuple(key: u64) -> Option<u64> {
        tuples::tuple(key)
    }

    /// The texts behind a key that `observe` packed: called when a series is created. Different
    /// keys of a table must have different texts, or one series would be split in two. `tuples` are
    /// those that `observe` made.
    fn texts(table: usize, key: u64, tuples: &Tuples) -> Texts;
}

/// The counters of a plugin, for one flow.
#[derive(Debug)]
pub struct Emit<'a, P> {
    pub(super) flow: &'a Flow,
    /// The flow's place in its batch.
    pub(super) at: u32,
    pub(super) extras: &'a [Extra],
    pub(super) index: &'a Index,
    pub(super) counter: &'a mut BatchCounter,
    /// The number of the flow's ends, once it was computed.
    pub(super) ends: Option<u64>,
    pub(super) plugin: std::marker::PhantomData<P>,
}

impl<'a, P: Plugin> Emit<'a, P> {
    /// Fields of the flow beyond a [`Flow`]: layer 7, names, raw numbers. `None` for nearly all.
    #[inline]
    pub fn extra(&self) -> Option<&'a Extra> {
        batch_counter::extra(self.flow, self.extras)
    }

    /// The sender of the packet.
    #[inline]
    pub fn source(&self) -> &'a Endpoint {
        self.index.endpoint(self.flow.source)
    }

    /// The receiver of the packet.
    #[inline]
    pub fn destination(&self) -> &'a Endpoint {
        self.index.endpoint(self.flow.destination)
    }

    /// The trace that the flow is part of, for exemplars.
    #[allow(clippy::cast_precision_loss, reason = "the time of an exemplar is a float")]
    pub fn trace(&self) -> Option<Trace<'a>> {
        self.extra().map(|extra| Trace { id: &extra.trace_id, seconds: self.flow.time_ns as f64 / 1e9 })
    }

    /// Begins a tuple of texts, for labels that no number holds.
    #[inline]
    pub fn tuple(&mut self) -> Tuple<'_> {
        self.counter.tuples.tuple()
    }

    /// The flow counts in the series of this key: [`Plugin::amounts`] is added once its batch is
    /// through.
    #[inline]
    pub fn count(&mut self, table: usize, key: u64) {
        let extra = self.extra();
        let ends = *self.ends.get_or_insert_with(|| self.counter.contexts.ends(self.flow, extra));
        self.counter.hit(CacheKey::new(table, ends, key), self.at);
    }

    /// The same in a table whose context is about the receiver.
    pub fn count_receiver(&mut self, table: usize, key: u64) {
        let ends = self.counter.contexts.ends(&self.flow.reversed(), self.extra());
        self.counter.hit(CacheKey::new(table, ends, key), self.at);
    }

    /// The flow counts in the series of this key with other amounts than [`Plugin::amounts`].
    pub fn add(&mut self, table: usize, key: u64, amounts: [u64; FAMILIES]) {
        let slot = self.slot(table, key);
        if let Some(series) = self.counter.tables.get_mut(table) {
            series.add(slot, amounts);
        }
    }

    /// Adds one to the only family of a table, with the trace of the flow for an exemplar.
    pub fn count_traced(&mut self, table: usize, key: u64, trace: Option<Trace<'_>>) {
        let slot = self.slot(table, key);
        if let Some(series) = self.counter.tables.get_mut(table) {
            series.count_traced(slot, trace);
        }
    }

    /// Adds an observation to the histogram of a table, with the trace of the flow for an exemplar.
    pub fn observe(&mut self, table: usize, key: u64, value: f64, trace: Option<Trace<'_>>) {
        let slot = self.slot(table, key);
        if let Some(series) = self.counter.tables.get_mut(table) {
            series.observe(slot, value, trace);
        }
    }

    /// The connection of the flow is open from now on: it is counted in the gauge of a table until
    /// [`Emit::close`]. `listed` says that a listing found it.
    pub fn open(&mut self, table: usize, key: u64, listed: bool) {
        if self.counter.open.holds(self.flow) {
            return;
        }
        let slot = self.slot(table, key);
        if let Some(series) = self.counter.tables.get_mut(table) {
            series.raise(slot);
            self.counter.open.insert(self.flow, slot, listed);
        }
    }

    /// The connection of the flow has ended.
    pub fn close(&mut self, table: usize) {
        if let (Some(slot), Some(series)) = (self.counter.open.remove(self.flow), self.counter.tables.get_mut(table)) {
            series.lower(slot);
        }
    }

    fn slot(&mut self, table: usize, key: u64) -> u32 {
        let extra = self.extra();
        self.counter.slot(table, key, self.flow, extra)
    }
}
