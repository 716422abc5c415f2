//! Follows connection tracking and passes on what is translated.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendTimeoutError, Sender};
use rustix::event::Timespec;
use webb_decode::nat::{Connection, NatUpdate, Translation};

use super::counters::Counters;
use super::error::ConntrackError;
use super::message::{Message, messages};
use super::query::Query;
use super::snat::{Snat, Tracker};
use super::socket::{Received, Socket};
use crate::records::Waker;

/// Timeout of one turn's wait for an event.
const EVENT_WAIT: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Events that one turn reads at most, so that a flood of them does not keep it from its other
/// duties.
const MAX_EVENTS_PER_TURN: usize = 4096;

/// Questions that one turn answers at most, at some microseconds each.
const MAX_QUERIES_PER_TURN: usize = 256;

/// Time-out of one attempt to send a change to a reader that is behind; then the follower checks
/// whether to go on.
const SEND_TIMEOUT: Duration = Duration::from_millis(250);

/// Timeout of the kernel's answer to a request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Interval of a full conntrack dump; it removes entries whose DESTROY event was lost.
const DUMP_INTERVAL: Duration = Duration::from_mins(5);

/// Least time between two dumps after overruns, so that a busy node is not made busier.
const MIN_DUMP_INTERVAL: Duration = Duration::from_secs(1);

/// The follower's channels and counters.
#[derive(Debug, Clone)]
pub struct Follower {
    /// Channel for changes; it may make the follower wait.
    pub changes: Sender<NatUpdate>,
    /// Packets with an unknown role in their conversation; each is answered by
    /// [`NatUpdate::Answer`], in this order.
    pub queries: Receiver<Connection>,
    /// Wakes the follower to send [`NatUpdate::Flushed`] and to answer queries.
    pub waker: Waker,
    /// Set while all is known.
    pub followed: Arc<AtomicBool>,
    /// Events received.
    pub counters: Arc<Counters>,
    /// Figures of translated sources, if they are wanted.
    pub snat: Option<Arc<Snat>>,
}

/// A follower with an open socket; dropping it ends the subscription.
#[derive(Debug)]
pub struct Following<'a> {
    follower: &'a Follower,
    events: Socket,
    query: Query,
    snat: Tracker,
    next_dump: Instant,
    last_dump: Option<Instant>,
}

impl Follower {
    /// Begins to listen. What is there already is read in the first turn, so nothing is missed in
    /// between.
    ///
    /// # Errors
    /// If this kernel or these privileges do not allow it.
    pub fn listen(&self) -> Result<Following<'_>, ConntrackError> {
        let (events, query) = (listen()?, Query::new()?);
        Ok(Following {
            follower: self,
            events,
            query,
            snat: Tracker::default(),
            next_dump: Instant::now(),
            last_dump: None,
        })
    }

    fn note(&self, message: &Message) {
        let count = match message {
            Message::New(Some(translation)) if !translation.is_plain() => &self.counters.began,
            Message::Gone(Some(translation)) if !translation.is_plain() => &self.counters.ended,
            Message::Malformed => &self.counters.malformed,
            _ => return,
        };
        count.fetch_add(1, Relaxed);
    }

    /// Passes a change on. A reader that is behind is waited for as long as `alive`: what the
    /// kernel drops meanwhile is read again later.
    fn pass(&self, mut change: NatUpdate, alive: &dyn Fn() -> bool) -> Result<(), ConntrackError> {
        while let Err(error) = self.changes.send_timeout(change, SEND_TIMEOUT) {
            match error {
                SendTimeoutError::Timeout(again) if alive() => change = again,
                SendTimeoutError::Timeout(_) | SendTimeoutError::Disconnected(_) => {
                    return Err(ConntrackError::Stopped);
                }
            }
        }
        Ok(())
    }
}

impl Following<'_> {
    /// Receives events for up to a second. `alive` is called whenever a step takes longer.
    ///
    /// # Errors
    /// If the socket breaks or `alive` says no; then listen anew.
    pub fn turn(&mut self, alive: &dyn Fn() -> bool) -> Result<(), ConntrackError> {
        if Instant::now() >= self.next_dump {
            self.read_all(alive)?;
        }
        let follower = self.follower;
        if let Some(snat) = &follower.snat {
            self.snat.publish(snat);
        }
        let woken = self.events.wait(&follower.waker, EVENT_WAIT).map_err(ConntrackError::Receive)?.woken;
        if woken {
            // Reset first: a wake-up from here on is handled in the next turn.
            follower.waker.reset();
        }
        let mut left = MAX_EVENTS_PER_TURN;
        while self.receive_events(alive)? {
            left -= 1;
            if left == 0 && !woken {
                return Ok(());
            }
            left = left.max(1);
        }
        if !woken {
            return Ok(());
        }
        for asked in follower.queries.try_iter().take(MAX_QUERIES_PER_TURN) {
            let conversation = self.query.ask(&asked)?;
            follower.counters.queries.fetch_add(1, Relaxed);
            follower.pass(NatUpdate::Answer(asked, conversation), alive)?;
        }
        if !follower.queries.is_empty() {
            follower.waker.wake();
        }
        follower.pass(NatUpdate::Flushed, alive)
    }

    /// Forwards the events of the next datagram; false if there is none.
    fn receive_events(&mut self, alive: &dyn Fn() -> bool) -> Result<bool, ConntrackError> {
        let follower = self.follower;
        let mut overrun = false;
        match self.events.receive().map_err(ConntrackError::Receive)? {
            Received::Nothing => return Ok(false),
            Received::Overrun => overrun = true,
            Received::Datagram(bytes) => {
                for message in messages(bytes) {
                    follower.note(&message);
                    match &message {
                        Message::New(Some(translation)) if follower.snat.is_some() => self.snat.add(translation),
                        Message::Gone(Some(translation)) if follower.snat.is_some() => self.snat.remove(translation),
                        _ => {}
                    }
                    match message {
                        Message::New(Some(translation)) => follower.report(NatUpdate::Add, translation, alive)?,
                        Message::Gone(Some(translation)) => follower.report(NatUpdate::Remove, translation, alive)?,
                        Message::Overrun => overrun = true,
                        _ => {}
                    }
                }
            }
        }
        if overrun {
            self.overrun();
        }
        Ok(true)
    }

    fn overrun(&mut self) {
        self.follower.counters.overruns.fetch_add(1, Relaxed);
        let rested = self.last_dump.map_or_else(Instant::now, |last| last + MIN_DUMP_INTERVAL);
        self.next_dump = self.next_dump.min(rested);
    }

    fn read_all(&mut self, alive: &dyn Fn() -> bool) -> Result<(), ConntrackError> {
        let follower = self.follower;
        follower.pass(NatUpdate::BeginDump, alive)?;
        let snat = &mut self.snat;
        snat.begin();
        dump(|message| match message {
            Message::New(Some(translation)) => {
                if follower.snat.is_some() {
                    snat.add(&translation);
                }
                follower.report(NatUpdate::Add, translation, alive)
            }
            Message::Malformed => {
                follower.note(&message);
                Ok(())
            }
            _ => Ok(()),
        })?;
        follower.pass(NatUpdate::EndDump, alive)?;
        follower.counters.dumps.fetch_add(1, Relaxed);
        follower.followed.store(true, Relaxed);
        let now = Instant::now();
        (self.last_dump, self.next_dump) = (Some(now), now + DUMP_INTERVAL);
        Ok(())
    }
}

impl Follower {
    fn report(
        &self,
        change: fn(Translation) -> NatUpdate,
        translation: Translation,
        alive: &dyn Fn() -> bool,
    ) -> Result<(), ConntrackError> {
        if translation.is_plain() { Ok(()) } else { self.pass(change(translation), alive) }
    }
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        self.follower.followed.store(false, Relaxed);
        if let Some(snat) = &self.follower.snat {
            snat.publish(None);
        }
    }
}

fn listen() -> Result<Socket, ConntrackError> {
    let events = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_events");
    if events.is_ok_and(|value| value.trim() == "0") {
        return Err(ConntrackError::NoEvents);
    }
    Socket::listening()
}

/// Checks that the follower can run here.
pub(super) fn check() -> Result<(), ConntrackError> {
    listen()?;
    dump(|_| Ok(()))
}

/// Reads every connection there is, on a socket of its own: events that happen meanwhile wait in
/// theirs and come after.
pub(super) fn dump(mut take: impl FnMut(Message) -> Result<(), ConntrackError>) -> Result<(), ConntrackError> {
    let mut socket = Socket::asking(ANSWER_TIMEOUT)?;
    socket.ask_for_all().map_err(ConntrackError::Dump)?;
    loop {
        let bytes = match socket.receive().map_err(ConntrackError::Dump)? {
            Received::Datagram(bytes) => bytes,
            Received::Nothing => return Err(ConntrackError::Dump(io::ErrorKind::TimedOut.into())),
            Received::Overrun => return Err(ConntrackError::Dump(io::Error::other("messages were dropped"))),
        };
        for message in messages(bytes) {
            match message {
                Message::Done => return Ok(()),
                Message::Failed(errno) => {
                    return Err(ConntrackError::Dump(io::Error::from_raw_os_error(errno)));
                }
                other => take(other)?,
            }
        }
    }
}
