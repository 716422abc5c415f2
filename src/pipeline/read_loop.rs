//! The reader's thread: drains the rings, has each record decoded and named in place, fills
//! batches, hands them on.
//!
//! Two stages share the thread, since decoding in place saves a copy, but not their faults: a panic
//! while a record is being decoded is the decoder's, and only its slot is cleared; the reader
//! waits, answers snapshots, and the ring keeps the records until the decoder is back. What must
//! outlive a run of the thread sits in the [`ReaderState`]: the half-filled batch is taken up by
//! the next run.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use crossbeam_channel::Receiver;
use webb_decode::{Decoded, Decoder, connections};
use webb_flow::Flow;
use webb_flow::abi::Record;
use webb_flow::clock::Clock;
use webb_flow::fault::{inject, panic_text};
use webb_index::Index;
use webb_names::Asks;

use super::connection_events::ConnectionEvents;
use super::counters::LookedUp;
use super::deferred_flows::{DeferredFlows, Translations};
use super::drops::Drops;
use super::first_names::FirstNames;
use super::layer7::{Inbox, Turn};
use super::pool::Pool;
use super::{BATCH, Batch, Command, Counters, Lanes, Lifecycle};
use crate::records::{RecordSource, Rings, Waker};

/// Maximal wait of a flow for others while flows come in; also the poll interval of the rings
/// without a wake-up.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Poll interval after a while without records: the first flow after a silence may wait so long,
/// unless a scrape wakes the reader.
const IDLE_POLL_INTERVAL: Duration = Duration::from_millis(160);

/// Interval of the check for the first names, and for rings too full to wait for them.
const HOLD_INTERVAL: Duration = Duration::from_millis(5);

/// Maximal wait of the last turn for a decoder that is being restarted, so that the rest in the
/// rings is decoded.
const LAST_DECODER_WAIT: Duration = Duration::from_secs(1);

/// Maximal time of reading on after the stop request, where the rings are kept for the next process
/// and programs go on writing them.
const LAST_READING: Duration = Duration::from_secs(1);

/// Slot of the decoder; empty while it is being restarted.
pub type DecoderSlot = ArcSwapOption<Decoder>;

/// Shared parts of the reader; they survive a restart of its thread.
pub struct Reader {
    /// Opens the rings.
    pub rings: Arc<dyn Rings>,
    /// Rung for commands and for the end.
    pub waker: Waker,
    /// Lanes, one for each aggregator.
    pub lanes: Arc<Lanes>,
    /// Requests.
    pub commands: Receiver<Command>,
    /// Names for addresses, replaced whole by the resolver.
    pub index: Arc<ArcSwap<Index>>,
    /// Filled by the decoder's actor.
    pub decoder: Arc<DecoderSlot>,
    /// Called when the decoder panicked.
    pub decoder_fault: Box<dyn Fn(String) + Send + Sync>,
    /// Counters of the input and the output.
    pub counters: Arc<Counters>,
    /// State that survives a run.
    pub state: ReaderState,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("lanes", &self.lanes).field("counters", &self.counters).finish_non_exhaustive()
    }
}

/// State that survives a run of the reader's thread.
#[derive(Debug, Default)]
pub struct ReaderState(Mutex<Persistent>);

impl ReaderState {
    /// The state of a reader that receives `translations`; waits are timed by `clock`.
    pub fn new(translations: Translations, clock: Clock) -> Self {
        Self(Mutex::new(Persistent { deferred: DeferredFlows::new(translations, clock), ..Persistent::default() }))
    }

    /// Takes flows of layer 7 from `inbox`.
    #[must_use]
    pub fn with_layer7(self, inbox: Inbox) -> Self {
        let mut kept = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        kept.layer7 = inbox;
        Self(Mutex::new(kept))
    }

    /// Has the drops among the flows that are handed on counted.
    #[must_use]
    pub fn counting(self, drops: Option<Arc<Drops>>) -> Self {
        let mut kept = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        kept.drops = drops;
        Self(Mutex::new(kept))
    }

    /// Takes events of connections out of the records, of which so many can be open. None: there
    /// are no such events.
    #[must_use]
    pub fn with_connections(self, most: Option<u32>) -> Self {
        let mut kept = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        kept.events = most.map(|most| ConnectionEvents::new(most as usize));
        Self(Mutex::new(kept))
    }

    /// Has the first records wait in the rings for the first names, for `most` at most, and a relay
    /// asked for names, if there is one.
    #[must_use]
    pub fn waiting_for_names(self, most: Duration, asks: Option<Asks>) -> Self {
        let mut kept = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        kept.first_names = FirstNames::within(most);
        kept.deferred.set_asks(asks);
        Self(Mutex::new(kept))
    }
}

#[derive(Debug, Default)]
struct Persistent {
    pool: Pool,
    filling: Option<Arc<Batch>>,
    /// Packets of the record that is out of the ring and not yet in the batch; a non-zero count at
    /// the start of a run means that the last one panicked there.
    in_hand: Cell<Option<u32>>,
    deferred: DeferredFlows,
    first_names: FirstNames,
    layer7: Inbox,
    drops: Option<Arc<Drops>>,
    /// Events of connections, if they are captured.
    events: Option<ConnectionEvents>,
    /// The rings were left unread at the last turn.
    held: bool,
}

impl Persistent {
    /// True if no flow waits for anything.
    fn is_idle(&self) -> bool {
        let events_wait = self.events.as_ref().is_some_and(|events| !events.is_idle());
        self.deferred.is_idle() && self.layer7.is_idle() && !events_wait
    }
}

impl Reader {
    /// One run: reads until it is stopped, then empties the rings and sends the rest.
    ///
    /// # Errors
    /// If the rings cannot be opened or waited for.
    pub fn run(&self, lifecycle: &Lifecycle) -> std::io::Result<()> {
        let mut kept = self.state.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(packets) = kept.in_hand.take() {
            self.counters.read.fetch_add(1, Relaxed);
            self.counters.count_panic(packets);
        }
        let mut source = self.rings.open(&self.waker)?;
        let mut index = arc_swap::Cache::new(&*self.index);
        let (mut turn, mut last_since) = (POLL_INTERVAL, None);
        let mut last_reading = None;
        loop {
            lifecycle.beat();
            // Read before draining: records that came in before the request to stop must still be
            // drained.
            let last_turn = lifecycle.stopping();
            let decodes = self.decoder.load().is_some();
            let drained = self.drain(lifecycle, &mut kept, &mut *source, &mut index);
            self.hand_on(lifecycle, &mut kept);
            self.handle_commands(&mut kept);
            if last_turn
                && self.rings.are_kept()
                && last_reading.get_or_insert_with(Instant::now).elapsed() > LAST_READING
                && kept.is_idle()
            {
                return Ok(());
            }
            if last_turn && drained == 0 && kept.is_idle() {
                let since = *last_since.get_or_insert_with(Instant::now);
                if decodes || since.elapsed() > LAST_DECODER_WAIT {
                    return Ok(());
                }
            }
            if drained > 0 {
                last_since = None;
            }
            if kept.held {
                // What waits in the rings would end every other wait.
                self.waker.wait(HOLD_INTERVAL)?;
                self.waker.reset();
            } else if drained == 0 {
                source.wait(kept.layer7.poll_timeout(kept.deferred.poll_timeout(turn)))?;
                self.waker.reset();
                turn = (turn * 2).min(IDLE_POLL_INTERVAL);
            } else {
                turn = POLL_INTERVAL;
            }
        }
    }

    /// Fills the current batch from the rings until it is full or they are empty; returns how many
    /// records were read.
    fn drain(
        &self,
        lifecycle: &Lifecycle,
        kept: &mut Persistent,
        source: &mut dyn RecordSource,
        index: &mut arc_swap::Cache<&ArcSwap<Index>, Arc<Index>>,
    ) -> usize {
        let decoder = self.decoder.load_full();
        if decoder.is_none() {
            // No decoder: leave the records in the ring, where they are safe, but do not spin: they
            // end every wait.
            std::thread::sleep(Duration::from_millis(1));
            if kept.deferred.is_idle() {
                return 0;
            }
        }
        let Persistent { pool, filling, in_hand, deferred, first_names, layer7, held, events, .. } = kept;
        let names = index.load();
        let now = Instant::now();
        let mut batch = filling.take().unwrap_or_else(|| pool.take(names));
        let mut counts = ReadCounts::default();
        let no_packet_yet = self.counters.first_packet_ns.load(Relaxed) == 0;
        let decoding = Cell::new(false);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            // A batch that is being filled has one reference, so this is always some.
            let Some(room) = Arc::get_mut(&mut batch) else { return };
            // A batch that is still empty may have waited through a change of names.
            if room.flows.is_empty() && !Arc::ptr_eq(&room.index, names) {
                room.index = Arc::clone(names);
            }
            deferred.turn(room, now, self.lanes.verdicts_wanted(), lifecycle.stopping());
            let Some(decoder) = &decoder else { return };
            *held = first_names.holds(&room.index, source.is_half_full(), lifecycle.stopping());
            if *held || room.flows.len() >= BATCH {
                return;
            }
            let spare = &mut pool.spare;
            layer7.turn(room, Turn { deferred, counters: &self.counters, spare, now, last: lifecycle.stopping() });
            if room.flows.len() >= BATCH {
                return;
            }
            if let Some(events) = events {
                events.turn(self.lanes.connections_wanted(), (room, deferred), now, lifecycle.stopping());
            }
            let mut flow = Flow::default();
            source.drain(&mut |_signal, bytes| {
                in_hand.set(Some(Record::packets_of(bytes)));
                counts.read += 1;
                inject::point("reader");
                decoding.set(true);
                inject::point("decoder");
                let decoded = decoder.decode(bytes, &room.index, &mut flow);
                if no_packet_yet && decoded.is_ok() {
                    let _first = self.counters.first_packet_ns.compare_exchange(0, flow.time_ns, Relaxed, Relaxed);
                }
                let event = if decoded.is_ok() { connections::carried(bytes) } else { None };
                match decoded {
                    Ok(_) if event.is_some_and(|event| event.is_alone) => {
                        counts.decoded += 1;
                        counts.events += 1;
                    }
                    Ok(Decoded::Flow) => {
                        counts.looked_up.note(&flow);
                        layer7.see(&flow);
                        room.flows.push(flow);
                        counts.decoded += 1;
                        if deferred.awaits(&flow) {
                            deferred.answered(&flow, room);
                        }
                    }
                    Ok(Decoded::NeedsLookup(why)) => {
                        counts.looked_up.note(&flow);
                        layer7.see(&flow);
                        counts.decoded += 1;
                        deferred.take(flow, why, room, now);
                    }
                    Ok(Decoded::Foreign) => counts.foreign += 1,
                    Err(error) => self.counters.reject(error, bytes),
                }
                if let (Some(event), Some(events)) = (event, &mut *events) {
                    events.take(event.flow(&flow), (room, deferred), now);
                }
                decoding.set(false);
                in_hand.set(None);
                if room.flows.len() >= BATCH || counts.read >= 4 * BATCH {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
        }));
        deferred.ask(now);
        deferred.publish(&self.counters);
        counts.publish(&self.counters, batch.index.is_ready());
        *filling = Some(batch);
        match outcome {
            Ok(()) => self.counters.read.fetch_add(counts.read as u64, Relaxed),
            Err(payload) if decoding.get() => {
                self.counters.count_panic(in_hand.take().unwrap_or_default());
                self.decoder.store(None);
                (self.decoder_fault)(panic_text(&*payload));
                self.counters.read.fetch_add(counts.read as u64, Relaxed)
            }
            Err(payload) => {
                // The record in hand is counted by the next run.
                let before = counts.read.saturating_sub(usize::from(in_hand.get().is_some()));
                self.counters.read.fetch_add(before as u64, Relaxed);
                std::panic::resume_unwind(payload)
            }
        };
        counts.read
    }

    /// Sends the batch to every lane if it holds anything, once the names of its time are known.
    fn hand_on(&self, lifecycle: &Lifecycle, kept: &mut Persistent) {
        let Persistent { pool, filling, layer7, drops, events, .. } = kept;
        if let (Some(events), Some(batch)) = (events, filling.as_mut().and_then(Arc::get_mut)) {
            events.settle(&mut batch.flows, &self.counters);
        }
        if let Some(batch) = filling.take_if(|batch| !batch.flows.is_empty()) {
            layer7.names.take(batch);
        }
        while let Some(batch) = layer7.names.next() {
            self.counters.flows.fetch_add(batch.flows.len() as u64, Relaxed);
            self.counters.batches.fetch_add(1, Relaxed);
            if let Some(drops) = drops {
                drops.note(&batch.flows);
            }
            self.counters.allocated.store(pool.allocated(), Relaxed);
            self.lanes.each(|lane| lane.send(&batch, || lifecycle.beat()));
            pool.keep(batch);
        }
    }

    /// Handles commands, between two batches.
    fn handle_commands(&self, kept: &mut Persistent) {
        while let Ok(command) = self.commands.try_recv() {
            if let (Command::List(step, _), Some(events)) = (&command, &mut kept.events) {
                events.list(*step);
            }
            command.carry_out(&self.lanes);
        }
        self.lanes.flush();
    }
}

#[derive(Debug, Default)]
struct ReadCounts {
    read: usize,
    decoded: usize,
    foreign: usize,
    /// Records of an event alone.
    events: usize,
    looked_up: LookedUp,
}

impl ReadCounts {
    /// Makes the counts public, but for what was read; `ready`: names are complete.
    fn publish(&self, counters: &Counters, ready: bool) {
        counters.look_up(&self.looked_up, ready);
        counters.decoded.fetch_add(self.decoded as u64, Relaxed);
        counters.foreign.fetch_add(self.foreign as u64, Relaxed);
        if self.events > 0 {
            counters.event_records.fetch_add(self.events as u64, Relaxed);
        }
    }
}
