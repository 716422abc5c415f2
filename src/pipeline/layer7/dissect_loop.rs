//! The dissector's thread: drains the ring of layer 7, and hands flows to the reader.
//!
//! A message that makes it panic ends this run of the thread. The next one counts that record,
//! forgets what was open, and goes on behind it; the records of packets are read by another thread.

use std::cell::Cell;
use std::mem::offset_of;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use webb_decode::l7::{Connection, Content, Dissector, Event, Gauges, Judgement, Ledger, Limits, Redact, Sink, Wants};
use webb_flow::abi::{Message, message_kind};
use webb_flow::clock::Clock;
use webb_flow::fault::inject;
use webb_index::Index;
use webb_metrics::Layer7Wishes;

use super::dns_names::{NameCounts, NamesWriter};
use super::fill;
use super::messages::{MAX_FLOWS, MAX_GIVEN_UP, Messages, Outbox};
use super::sides::Sides;
use crate::pipeline::first_names::FirstNames;
use crate::pipeline::{Lanes, Lifecycle};
use crate::records::{RecordSource, Rings, Waker};

/// Poll interval of the ring while messages come in, and its maximum while none do.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const IDLE_POLL_INTERVAL: Duration = Duration::from_millis(160);

/// Interval of the check for the first names.
const HOLD_INTERVAL: Duration = Duration::from_millis(5);

/// Offset of a record's kind in bytes.
const KIND_AT: usize = offset_of!(Message, kind);

/// Configuration of the dissector.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layer7Config {
    /// Its bounds and time-outs; only the latter change while it runs.
    pub limits: Limits,
    /// Redaction of URLs and headers.
    pub redact: Redact,
    /// Sides of a connection that report.
    pub sides: Sides,
}

/// The counts of layer 7 as of the last turn.
pub type Published = Mutex<(Ledger, Gauges, NameCounts)>;

/// Shared parts of a dissector's thread.
pub struct Parts {
    /// Opens the ring.
    pub rings: Arc<dyn Rings>,
    /// Rung for the end.
    pub waker: Waker,
    /// Names for addresses.
    pub index: Arc<ArcSwap<Index>>,
    /// Lanes with the layer 7 fields that the metrics need.
    pub lanes: Arc<Lanes>,
    /// Configuration of the dissector.
    pub config: Arc<ArcSwap<Layer7Config>>,
    /// Output of flows.
    pub outbox: Outbox,
    /// Records that found the ring full since start.
    pub lost: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Switches what the programs look for.
    pub look_for: Box<dyn Fn(u32) + Send + Sync>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The body of the dissector's thread; shared by all its runs.
#[derive(Debug)]
pub struct DissectLoop {
    parts: Parts,
    published: Arc<Published>,
    /// State that survives a run.
    state: Mutex<Persistent>,
}

#[derive(Debug)]
struct Persistent {
    dissector: Dissector,
    filling: Messages,
    /// The kind of the record that is being read: found set, the last run ended there.
    in_hand: Cell<Option<u8>>,
    first_names: FirstNames,
    names: NamesWriter,
    configured: Option<(Arc<Layer7Config>, Layer7Wishes)>,
    lost: u64,
    clock: Clock,
}

impl Persistent {
    fn sides(&self) -> Sides {
        self.configured.as_ref().map(|(config, _)| config.sides).unwrap_or_default()
    }
}

impl DissectLoop {
    /// A loop that leaves its first records in the ring until the first names, for `most` at most;
    /// `names` takes what it learns from DNS.
    pub fn new(parts: Parts, names: NamesWriter, most: Duration) -> Self {
        let limits = parts.config.load().limits;
        let state = Persistent {
            dissector: Dissector::new(limits, Wants::default(), Redact::default()),
            filling: Messages::default(),
            in_hand: Cell::new(None),
            first_names: FirstNames::quietly_within(most),
            names,
            configured: None,
            lost: 0,
            clock: Clock::default(),
        };
        Self { parts, published: Arc::default(), state: Mutex::new(state) }
    }

    /// Ends the thread's wait.
    pub fn waker(&self) -> Waker {
        self.parts.waker.clone()
    }

    /// Published counts.
    pub fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published)
    }

    /// One run: dissects records until it is stopped, then empties the ring.
    ///
    /// # Errors
    /// If the ring cannot be opened or waited for.
    pub fn run(&self, lifecycle: &Lifecycle) -> std::io::Result<()> {
        let mut kept = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kind) = kept.in_hand.take() {
            kept.dissector.panicked(kind);
            kept.names.cache().clear();
        }
        let mut source = self.parts.rings.open(&self.parts.waker)?;
        let mut turn = POLL_INTERVAL;
        loop {
            lifecycle.beat();
            let last = lifecycle.stopping();
            self.configure(&mut kept);
            let index = self.parts.index.load_full();
            if kept.first_names.holds(&index, source.is_half_full(), last) {
                self.parts.waker.wait(HOLD_INTERVAL)?;
                self.parts.waker.reset();
                continue;
            }
            let now_ns = kept.clock.now_ns();
            self.parts.outbox.closes.take().for_each(|close| kept.dissector.close(close));
            kept.names.follow(&index);
            let drained = self.drain(&mut kept, &mut *source, &index);
            let given_up = give_up(&mut kept, now_ns, drained.to_the_end, &index);
            if kept.filling.len() > 0 {
                let filled = std::mem::replace(&mut kept.filling, self.parts.outbox.take());
                self.parts.outbox.send(filled, || lifecycle.beat());
            }
            kept.names.end_turn(now_ns, drained.to_the_end);
            self.publish(&kept);
            if drained.records > 0 || given_up >= MAX_GIVEN_UP {
                turn = POLL_INTERVAL;
            } else if last {
                kept.names.end();
                return Ok(());
            } else {
                source.wait(turn)?;
                self.parts.waker.reset();
                turn = (turn * 2).min(IDLE_POLL_INTERVAL);
            }
        }
    }

    /// Applies another configuration, or other wishes of the metrics.
    fn configure(&self, kept: &mut Persistent) {
        let (config, wishes) = (self.parts.config.load(), self.parts.lanes.layer7_wanted());
        let is_known = |(known, of): &(Arc<Layer7Config>, Layer7Wishes)| Arc::ptr_eq(known, &config) && *of == wishes;
        if kept.configured.as_ref().is_some_and(is_known) {
            return;
        }
        let reads = wishes.reads;
        let wants = Wants {
            query: reads.query || reads.names,
            addresses: reads.names,
            answers: reads.answers,
            unanswered: wishes.unanswered,
            url: reads.url,
            headers: reads.headers,
            trace: reads.trace,
            grpc: wishes.grpc,
            grpc_path: wishes.grpc_path,
        };
        kept.dissector.configure(config.limits, wants, config.redact.clone());
        kept.names.want(reads.names);
        self.parts.outbox.closes.want(wishes.grpc);
        (self.parts.look_for)(config.sides.switch(wishes));
        kept.configured = Some((Arc::clone(&config), wishes));
    }

    /// Reads the ring until it is empty or a load is full.
    fn drain(&self, kept: &mut Persistent, source: &mut dyn RecordSource, index: &Index) -> Drained {
        let lost = (self.parts.lost)();
        if lost != kept.lost {
            kept.lost = lost;
            kept.dissector.records_lost();
        }
        let sides = kept.sides();
        let Persistent { dissector, filling, in_hand, names, .. } = kept;
        let mut taker = Taker { index, sides, is_dns: false, messages: filling, names };
        let records = source.drain(&mut |_signal, bytes| {
            let kind = bytes.get(KIND_AT).copied().unwrap_or(0);
            in_hand.set(Some(kind));
            taker.is_dns = [message_kind::DNS, message_kind::DNS_TCP].contains(&kind);
            inject::point("dissector");
            dissector.read(bytes, &mut taker);
            in_hand.set(None);
            if taker.messages.len() >= MAX_FLOWS { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        Drained { records, to_the_end: taker.messages.len() < MAX_FLOWS }
    }

    fn publish(&self, kept: &Persistent) {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        published.0.clone_from(kept.dissector.ledger());
        published.1 = kept.dissector.gauges();
        published.2 = kept.names.counts();
    }
}

/// Gives up what waited too long, or if all records until then were read (`is_read`) whose
/// connection has ended; returns how many flows that made.
fn give_up(kept: &mut Persistent, now_ns: u64, is_read: bool, index: &Index) -> usize {
    let sides = kept.sides();
    let Persistent { dissector, filling, names, .. } = kept;
    let mut taker = Taker { index, sides, is_dns: true, messages: filling, names };
    let expired = dissector.expire(now_ns, MAX_GIVEN_UP, &mut taker);
    let room = if is_read { MAX_GIVEN_UP.saturating_sub(expired) } else { 0 };
    expired + dissector.end_closed(now_ns, room, &mut taker)
}

/// How far a turn has read the ring.
struct Drained {
    records: usize,
    /// Nothing was left.
    to_the_end: bool,
}

/// Makes flows of events.
struct Taker<'a> {
    index: &'a Index,
    sides: Sides,
    /// Whether the record is one of DNS.
    is_dns: bool,
    messages: &'a mut Messages,
    names: &'a mut NamesWriter,
}

impl Sink for Taker<'_> {
    fn judge(&mut self, connection: &Connection) -> Judgement {
        self.sides.judge(connection, self.is_dns, self.index)
    }

    fn emit(&mut self, event: &Event<'_>) {
        if let Content::Dns(answer) = &event.content
            && !answer.addresses.is_empty()
        {
            self.names.learn(&event.connection, answer, event.time_ns, self.index);
        }
        if let Some((flow, extra)) = self.messages.next() {
            fill::flow(flow, event);
            fill::extra(extra, event, self.sides.report_once(&event.content));
        }
    }
}
