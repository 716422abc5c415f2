//! Keeps the probes attached: follows the interfaces as they come and go, and attaches to those that are selected.
//!
//! What is attached lives in [`Watch`], outside the thread, so a restart of this actor leaves every program where it
//! is. A new life reads all interfaces anew and brings what is attached in line.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::Addr;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::keeper::{Failure, ThreadKeeper};
use super::restart::Intensity;
use crate::bpf_loader::{self, Change, Cost, Interface, Probes, Role, Selection, Special, TrafficControl};
use crate::fault::{Component, State, inject};
use crate::pipeline::Life;

/// How long the thread waits for a change at most.
const TURN: Duration = Duration::from_secs(1);

/// How often the way out of pods' interfaces is looked at, for what no message tells of: programs of TCX.
const LOOK: Duration = Duration::from_secs(2);

/// How soon it is looked at after a message, so that many messages are one look.
const SOON: Duration = Duration::from_millis(20);

/// How often an interface that could not be attached to is tried again.
const RETRY: u32 = 10; // quiet turns: ten seconds

/// The probes and the interfaces they are to be on; shared by all lives of the thread.
#[derive(Debug)]
pub struct Watch {
    probes: Mutex<Probes>,
    selection: Mutex<Selection>,
    reselect: AtomicBool,
    /// Ends the thread's wait.
    wake: Notify,
    errors: AtomicU64,
    component: Arc<Component>,
}

impl Watch {
    /// Nothing attached yet.
    pub fn new(probes: Probes, selection: Selection, component: Arc<Component>) -> Self {
        Self {
            probes: Mutex::new(probes),
            selection: Mutex::new(selection),
            reselect: AtomicBool::new(false),
            wake: Notify::new(),
            errors: AtomicU64::new(0),
            component,
        }
    }

    /// Watches other interfaces from now on.
    pub fn select(&self, selection: Selection) {
        *self.selection.lock().unwrap_or_else(PoisonError::into_inner) = selection;
        self.reselect.store(true, Relaxed);
        self.wake.notify_one();
    }

    /// Takes every program off its interface. The thread must have ended.
    pub fn detach_all(&self) {
        self.probes().detach_all();
    }

    /// How many interfaces are watched, by role.
    pub fn attached(&self) -> [(&'static str, u64); 2] {
        let probes = self.probes();
        let count = |role| probes.attached().filter(|(_, _, attached)| *attached == role).count() as u64;
        [("pod", count(Role::Pod)), ("node", count(Role::Node))]
    }

    /// How many watched interfaces there are with something special about them, by what.
    pub fn special(&self) -> [(&'static str, u64); 2] {
        let probes = self.probes();
        let count =
            |wanted: fn(Special) -> bool| probes.special().filter(|(_, special)| wanted(*special)).count() as u64;
        [("at_device", count(|special| special.at_device)), ("bridged", count(|special| special.bridged))]
    }

    /// How many times attaching failed, but for interfaces that had vanished.
    pub fn errors(&self) -> u64 {
        self.errors.load(Relaxed)
    }

    /// What the programs have cost so far.
    pub fn cost(&self) -> Vec<Cost> {
        self.probes().cost()
    }

    fn probes(&self) -> std::sync::MutexGuard<'_, Probes> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings one interface in line with the selection. False if it should be tried again later.
    fn adjust(&self, interface: &Interface) -> bool {
        let wanted = self.selection.lock().unwrap_or_else(PoisonError::into_inner).role(interface);
        let mut probes = self.probes();
        let is = probes.attached().find(|(index, _, _)| *index == interface.index).map(|(_, _, role)| role);
        if is == wanted && wanted.is_none() {
            return true;
        }
        if is.is_some() && is != wanted {
            probes.detach(interface.index);
            tracing::info!(interface = %interface.name, "no longer watched");
        }
        let Some(role) = wanted else { return true };
        match probes.attach(interface, role) {
            // Attached already: only what is known of it may have changed.
            Ok(()) if is == wanted => true,
            Ok(()) => {
                tracing::info!(interface = %interface.name, ?role, means = probes.means(), "watched");
                true
            }
            Err(error) if error.is_vanished() => {
                tracing::debug!(interface = %interface.name, "gone before it could be watched");
                true
            }
            Err(error) => {
                self.errors.fetch_add(1, Relaxed);
                tracing::error!(interface = %interface.name, "cannot watch it: {error}");
                false
            }
        }
    }

    fn run(&self, life: &Life) -> Result<(), Failure> {
        if life.stopping() {
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.follow(life))
    }

    /// Has each interface watched by the programs that it needs, by what else is there.
    fn arrange(&self, kernel: &mut TrafficControl, seen: &mut Seen) {
        let outcome = self.probes().arrange(kernel);
        let arranged = match outcome {
            Ok(arranged) => arranged,
            Err(error) => {
                seen.unseen.get_or_insert_with(|| {
                    tracing::warn!("queues and filters of interfaces cannot be looked at: {error}");
                    format!("queues and filters of interfaces cannot be looked at: {error}")
                });
                return;
            }
        };
        seen.unseen = None;
        for bpf_loader::Arranged { index, name, outcome } in arranged {
            match outcome {
                Ok(Special { bridged, at_device }) => {
                    tracing::info!(interface = %name, bridged, at_device, "watched by what else is there");
                }
                Err(error) if error.is_vanished() => {}
                Err(error) => {
                    self.errors.fetch_add(1, Relaxed);
                    tracing::error!(interface = %name, "no longer watched, tried again soon: {error}");
                    seen.failed.insert(index, RETRY);
                }
            }
        }
    }

    async fn follow(&self, life: &Life) -> Result<(), Failure> {
        let mut interfaces = bpf_loader::Watch::new().await?;
        let mut kernel = TrafficControl::open()?;
        let mut look = Instant::now();
        let mut seen = Seen::default();
        // What is there already comes first, without a wait; whatever is attached beyond that has gone meanwhile.
        while let Ok(change) = tokio::time::timeout(Duration::ZERO, interfaces.next()).await {
            self.follow_one(change?, &mut seen);
        }
        self.forget_others(&seen);
        while !life.stopping() {
            life.beat();
            inject::point("probes");
            if self.reselect.swap(false, Relaxed) {
                seen.failed.clear();
                for interface in seen.known.clone().values() {
                    self.try_adjust(interface, &mut seen);
                }
            }
            tokio::select! {
                change = interfaces.next() => {
                    self.follow_one(change?, &mut seen);
                    look = look.min(Instant::now() + SOON);
                }
                () = tokio::time::sleep_until(look) => {
                    self.arrange(&mut kernel, &mut seen);
                    look = Instant::now() + LOOK;
                }
                () = self.wake.notified() => {}
                () = tokio::time::sleep(TURN) => self.retry(&mut seen),
            }
            self.say(&seen);
        }
        Ok(())
    }

    fn follow_one(&self, change: Change, seen: &mut Seen) {
        match change {
            Change::Present(interface) => {
                self.try_adjust(&interface, seen);
                seen.known.insert(interface.index, interface);
            }
            Change::Gone { index } => {
                seen.known.remove(&index);
                seen.failed.remove(&index);
                if self.probes().detach(index) {
                    tracing::info!(index, "a watched interface is gone");
                }
            }
            // The look that follows every change is all it asks for.
            Change::TrafficControl => {}
        }
    }

    /// Drops links to interfaces that went while nobody looked.
    fn forget_others(&self, seen: &Seen) {
        let mut probes = self.probes();
        let gone: Vec<u32> =
            probes.attached().map(|(index, _, _)| index).filter(|index| !seen.known.contains_key(index)).collect();
        for index in gone {
            probes.detach(index);
        }
    }

    fn try_adjust(&self, interface: &Interface, seen: &mut Seen) {
        if self.adjust(interface) {
            seen.failed.remove(&interface.index);
        } else {
            seen.failed.insert(interface.index, RETRY);
        }
    }

    fn retry(&self, seen: &mut Seen) {
        for turns in seen.failed.values_mut() {
            *turns = turns.saturating_sub(1);
        }
        let due = seen.failed.iter().filter(|(_, turns)| **turns == 0);
        let due: Vec<Interface> = due.filter_map(|(index, _)| seen.known.get(index).cloned()).collect();
        for interface in due {
            self.try_adjust(&interface, seen);
        }
    }

    /// What the component says of itself.
    fn say(&self, seen: &Seen) {
        let mut missing: Vec<String> = self.probes().degraded();
        let names: Vec<_> = seen.failed.keys().filter_map(|index| seen.known.get(index)).collect();
        let names: Vec<_> = names.iter().map(|interface| interface.name.as_str()).collect();
        if !names.is_empty() {
            missing.push(format!("not watched: {}", names.join(", ")));
        }
        missing.extend(seen.unseen.clone());
        let state = if missing.is_empty() { State::Up } else { State::Degraded };
        self.component.set_state(state, &missing.join("; "));
    }
}

/// What one life of the thread knows of the interfaces.
#[derive(Debug, Default)]
struct Seen {
    known: HashMap<u32, Interface>,
    /// Could not be attached to: turns until the next try.
    failed: HashMap<u32, u32>,
    /// Why it is not known what else is on the way out of interfaces, if so.
    unseen: Option<String>,
}

/// Starts following the interfaces.
pub fn start(watch: Arc<Watch>, intensity: Intensity) -> Addr<ThreadKeeper> {
    let woken = Arc::clone(&watch);
    ThreadKeeper::start(Arc::new(move |life| watch.run(life)), Arc::new(move || woken.wake.notify_one()), intensity)
}
