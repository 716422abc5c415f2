//! Keeps the probes attached: follows the interfaces as they come and go, and attaches to those
//! that are selected.
//!
//! The state of the attachments is kept in [`ProbeReconciler`], outside the thread, so a restart of
//! this actor leaves every program where it is. A new run reads all interfaces anew and reconciles
//! the attachments.
//!
//! Other agents of a node may remove programs that they did not attach, with a qdisc that they
//! create anew for one, or place before ours a program that ends packets. So every few seconds the
//! positions of the programs are verified: present, and first.
//!
//! Blind spots are reported: pods without an interface here, and packets that reach pods past the
//! programs.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix::Addr;
use futures::FutureExt;
use tokio::sync::Notify;
use webb_cluster::PodInterface;
use webb_decode::OneSided;
use webb_flow::fault::{Component, State, inject};

use super::attempts::Attempts;
use super::figures::Figures;
use super::gaps::{GapCounters, Gaps, VERIFY_INTERVAL};
use super::network::Network;
use super::poll_schedule::PollSchedule;
use super::restart::Intensity;
use super::thread_supervisor::{Failure, ThreadSupervisor};
use crate::bpf_loader::{Arranged, AttachError, Cost, HandoverOutcome, Probes, Special, TrafficControl};
use crate::network::{self, Interface, NetworkEvent, Node, Peers, Role, Selection};
use crate::pipeline::Lifecycle;
use crate::startup::{Stage, Startup};

/// Maximal wait of the thread for a change.
const EVENT_WAIT: Duration = Duration::from_secs(1);

/// Maximal number of names in an error; the rest is given as a number.
const MAX_NAMES_SHOWN: usize = 5;

/// The probes and the interfaces they are to be on; shared by all runs of the thread.
#[derive(Debug)]
pub struct ProbeReconciler {
    probes: Mutex<Probes>,
    handover: Option<HandoverOutcome>,
    figures: Figures,
    selection: Mutex<Selection>,
    reselect: AtomicBool,
    /// The interfaces that were there at the start are known.
    is_started: AtomicBool,
    /// Ends the thread's wait.
    wake: Notify,
    network: Arc<Network>,
    pub(super) one_sided: Arc<OneSided>,
    errors: AtomicU64,
    pub(super) gaps: GapCounters,
    unread: AtomicU64,
    component: Arc<Component>,
    startup: Arc<Startup>,
}

impl ProbeReconciler {
    /// A reconciler with nothing attached yet. What is found out about this node's network goes to
    /// `network`.
    pub fn new(
        probes: Probes,
        selection: Selection,
        (network, one_sided): (Arc<Network>, Arc<OneSided>),
        (component, startup): (Arc<Component>, Arc<Startup>),
    ) -> Self {
        Self {
            handover: probes.handover(),
            probes: Mutex::new(probes),
            figures: Figures::default(),
            selection: Mutex::new(selection),
            reselect: AtomicBool::new(false),
            is_started: AtomicBool::new(false),
            wake: Notify::new(),
            network,
            one_sided,
            errors: AtomicU64::new(0),
            gaps: GapCounters::default(),
            unread: AtomicU64::new(0),
            component,
            startup,
        }
    }

    /// Watches other interfaces from now on.
    pub fn select(&self, selection: Selection) {
        *self.selection.lock().unwrap_or_else(PoisonError::into_inner) = selection;
        self.reselect.store(true, Relaxed);
        self.wake.notify_one();
    }

    /// Takes every program off its interface, unless the next process takes them over. The thread
    /// must have ended.
    pub fn detach_all(&self) {
        self.probes().detach_all();
    }

    /// Outcome of looking for what a process of before has left, if it was looked for.
    pub fn handover(&self) -> Option<HandoverOutcome> {
        self.handover
    }

    /// Number of watched interfaces, by role.
    pub fn attached(&self) -> [(&'static str, u64); 2] {
        self.figures.attached(&self.probes)
    }

    /// Number of watched interfaces with special properties, by property.
    pub fn special(&self) -> [(&'static str, u64); 2] {
        self.figures.special(&self.probes)
    }

    /// Number of failed attachments, without those of interfaces that had vanished.
    pub fn errors(&self) -> u64 {
        self.errors.load(Relaxed)
    }

    /// Number of gaps in the attachments, and of packets that may have passed in them, by reason.
    pub fn gaps(&self) -> [(&'static str, u64, u64); 3] {
        self.gaps.read()
    }

    /// Number of records of packets that reached a pod past the programs.
    pub fn one_sided(&self) -> u64 {
        self.one_sided.count()
    }

    /// Number of ignored addresses of pods' network namespaces: those beyond the maximum of one.
    pub fn unread_addresses(&self) -> u64 {
        self.unread.load(Relaxed)
    }

    /// Pods of this node without a watched interface, by reason.
    pub fn unwatched_pods(&self) -> [(&'static str, u64); 2] {
        let coverage = self.network.coverage();
        [("host_network", coverage.host_network as u64), ("no_interface", coverage.unwatched.len() as u64)]
    }

    /// Run time and run count of each program so far.
    pub fn cost(&self) -> Vec<Cost> {
        self.figures.cost(&self.probes)
    }

    pub(super) fn probes(&self) -> std::sync::MutexGuard<'_, Probes> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_attached(&self, index: u32) -> bool {
        self.probes().attached().any(|(attached, _, _)| attached == index)
    }

    fn role(&self, interface: &Interface) -> Option<Role> {
        self.selection.lock().unwrap_or_else(PoisonError::into_inner).role(interface)
    }

    /// Brings one interface in line with the selection. True if it was attached to.
    fn adjust(&self, interface: &Interface) -> Result<bool, AttachError> {
        let wanted = self.role(interface);
        let mut probes = self.probes();
        let is = probes.attached().find(|(index, _, _)| *index == interface.index).map(|(_, _, role)| role);
        if is == wanted && wanted.is_none() {
            return Ok(false);
        }
        if is.is_some() && is != wanted {
            probes.detach(interface.index);
            tracing::info!(interface = %interface.name, "no longer watched");
        }
        let Some(role) = wanted else { return Ok(false) };
        match probes.attach(interface, role) {
            // Attached already: only what is known of it may have changed.
            Ok(()) if is == wanted => Ok(false),
            Ok(()) => {
                tracing::info!(interface = %interface.name, ?role, means = probes.means(), "watched");
                Ok(true)
            }
            Err(error) if error.is_vanished() => {
                tracing::debug!(interface = %interface.name, "gone before it could be watched");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn run(&self, lifecycle: &Lifecycle) -> Result<(), Failure> {
        if lifecycle.stopping() {
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.follow(lifecycle))
    }

    /// Has each interface watched by the programs that it needs, by what else is there.
    fn arrange(&self, kernel: &mut TrafficControl, seen: &mut InterfaceState) {
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
        for Arranged { index, name, outcome } in arranged {
            match outcome {
                Ok(Special { bridge, at_device }) => {
                    let bridged = bridge.is_some();
                    tracing::info!(interface = %name, bridged, at_device, "watched by what else is there");
                }
                Err(error) if error.is_vanished() => {}
                Err(error) => {
                    tracing::error!(interface = %name, "no longer watched, tried again soon");
                    self.judge(index, Err(error), seen);
                }
            }
        }
    }

    async fn follow(&self, lifecycle: &Lifecycle) -> Result<(), Failure> {
        let mut watch = network::NetworkWatch::new().await?;
        let mut kernel = TrafficControl::open()?;
        let mut seen = InterfaceState::new(Instant::now());
        // What is there already comes first, without a wait; whatever is attached beyond that has
        // gone meanwhile.
        while let Some(change) = watch.next().now_or_never() {
            self.follow_one(change?, &watch, &mut seen).await?;
        }
        self.forget_others(&seen);
        seen.appeared.clear();
        self.is_started.store(true, Relaxed);
        seen.changed = true;
        self.do_what_is_due(&watch, &mut kernel, &mut seen).await?;
        self.startup.reach(Stage::Attached);
        while !lifecycle.stopping() {
            lifecycle.beat();
            inject::point("probes");
            if self.reselect.swap(false, Relaxed) {
                seen.attempts.clear();
                seen.appeared.clear();
                for interface in seen.known.clone().values() {
                    self.try_adjust(interface, &watch, &mut seen).await?;
                }
            }
            let wait = seen.due().saturating_duration_since(Instant::now()).min(EVENT_WAIT);
            tokio::select! {
                change = watch.next() => self.follow_one(change?, &watch, &mut seen).await?,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
            let began = Instant::now();
            let done = self.do_what_is_due(&watch, &mut kernel, &mut seen).await;
            self.component.passes().count(done.is_ok(), began.elapsed());
            done?;
            self.report_state(&mut seen);
        }
        Ok(())
    }

    async fn follow_one(
        &self,
        change: NetworkEvent,
        watch: &network::NetworkWatch,
        seen: &mut InterfaceState,
    ) -> Result<(), Failure> {
        match change {
            NetworkEvent::Present(interface) => {
                // Packets from before this process are no gap.
                let is_new = self.is_started.load(Relaxed) && !seen.known.contains_key(&interface.index);
                if is_new && !self.is_attached(interface.index) {
                    seen.appeared.insert(interface.index);
                }
                self.try_adjust(&interface, watch, seen).await?;
                seen.peers.see(&interface, Instant::now());
                seen.known.insert(interface.index, interface);
            }
            NetworkEvent::Gone { index } => {
                seen.known.remove(&index);
                seen.appeared.remove(&index);
                seen.attempts.done(index);
                seen.gaps.forget(index);
                seen.peers.keep(seen.known.values());
                if self.probes().detach(index) {
                    tracing::info!(index, "a watched interface is gone");
                }
            }
            NetworkEvent::Node(node) => seen.node = node,
            // The polls that follow every change are all it asks for.
            NetworkEvent::TrafficControl => seen.gaps.soon(Instant::now()),
        }
        seen.changed = true;
        seen.schedule.soon(Instant::now());
        Ok(())
    }

    /// Drops links to interfaces that were removed between two events, and what an earlier process
    /// has left and this one does not watch.
    fn forget_others(&self, seen: &InterfaceState) {
        let mut probes = self.probes();
        let gone: Vec<u32> =
            probes.attached().map(|(index, _, _)| index).filter(|index| !seen.known.contains_key(index)).collect();
        for index in gone {
            probes.detach(index);
        }
        let (links, maps) = probes.settle();
        if links + maps > 0 {
            tracing::info!(links, maps, "removed what an earlier process had left");
        }
    }

    async fn try_adjust(
        &self,
        interface: &Interface,
        watch: &network::NetworkWatch,
        seen: &mut InterfaceState,
    ) -> Result<(), Failure> {
        let index = interface.index;
        let wanted = self.role(interface).is_some();
        if !wanted {
            seen.gaps.forget(index);
        }
        // Whatever is missed from here on is counted, also if the programs are removed before they
        // are verified once.
        let counted = if wanted && !self.is_attached(index) { watch.packets_of(index).await? } else { None };
        let by_filters = wanted && self.probes().by_filters();
        let result = if by_filters && watch.without_egress().await?.contains(&index) {
            Err(AttachError::NoEgress { name: interface.name.clone() })
        } else {
            self.adjust(interface)
        };
        if matches!(result, Ok(true)) {
            seen.gaps.attached(index, counted);
            if seen.appeared.remove(&index) {
                self.gaps.add_late(watch.packets_of(index).await?);
            }
        }
        self.judge(index, result, seen);
        Ok(())
    }

    /// Takes note of how an attempt ended. The same error is logged once.
    pub(super) fn judge(&self, index: u32, result: Result<bool, AttachError>, seen: &mut InterfaceState) {
        let error = match result {
            Ok(attached) => {
                if attached {
                    seen.gaps.soon(Instant::now());
                }
                return seen.attempts.done(index);
            }
            Err(error) => error,
        };
        self.errors.fetch_add(1, Relaxed);
        if seen.attempts.failed(index, &error, Instant::now()) {
            tracing::error!("{error}");
        }
    }

    /// Each of these has its point in time, so a stream of changes puts none of them off.
    async fn do_what_is_due(
        &self,
        watch: &network::NetworkWatch,
        kernel: &mut TrafficControl,
        seen: &mut InterfaceState,
    ) -> Result<(), Failure> {
        let now = Instant::now();
        for index in seen.attempts.due(now) {
            match seen.known.get(&index).cloned() {
                Some(interface) => self.try_adjust(&interface, watch, seen).await?,
                None => seen.attempts.done(index),
            }
        }
        if seen.schedule.next() <= now {
            seen.schedule.done(now);
            self.arrange(kernel, seen);
        }
        if seen.peers.due().is_some_and(|due| due <= now) {
            seen.changed |= seen.peers.ask(watch, now).await;
            self.unread.store(seen.peers.beyond() as u64, Relaxed);
        }
        if std::mem::take(&mut seen.changed) {
            self.publish(seen);
            self.warn_of_doubles(seen);
        }
        if seen.gaps.next <= now {
            seen.gaps.next = now + VERIFY_INTERVAL;
            self.verify(watch, seen).await?;
        }
        Ok(())
    }

    /// Passes on what is known of this node's network.
    fn publish(&self, seen: &InterfaceState) {
        let watched: Vec<u32> =
            self.probes().attached().filter(|(_, _, role)| *role == Role::Pod).map(|(index, _, _)| index).collect();
        let interfaces = watched.iter().filter_map(|index| seen.known.get(index)).map(|interface| PodInterface {
            index: interface.index,
            namespace: interface.namespace,
            watched: true,
            addresses: seen.peers.behind(interface),
        });
        self.network.set(&seen.node, Some(interfaces.collect()));
    }

    /// Publishes the state of the component.
    fn report_state(&self, seen: &mut InterfaceState) {
        let mut missing: Vec<String> = self.probes().degraded();
        let mut errors: Vec<&str> = seen.attempts.errors().collect();
        errors.sort_unstable();
        missing.extend(errors.iter().take(MAX_NAMES_SHOWN).map(|error| (*error).to_owned()));
        if errors.len() > MAX_NAMES_SHOWN {
            missing.push(format!("{} more interfaces are not watched", errors.len() - MAX_NAMES_SHOWN));
        }
        let now = Instant::now();
        missing.extend(seen.unseen.clone());
        missing.extend(seen.gaps.complaint(now));
        missing.extend(self.network.coverage().complaint());
        missing.extend(self.past_the_hook(seen, now));
        if missing.is_empty() && !self.probes().attached().any(|(_, _, role)| role == Role::Pod) {
            return self.component.set_state(State::Up, "no interface of a pod is in sight yet");
        }
        let state = if missing.is_empty() { State::Up } else { State::Degraded };
        self.component.set_state(state, &missing.join("; "));
    }
}

/// State of the interfaces, of one run of the thread.
#[derive(Debug)]
pub(super) struct InterfaceState {
    pub(super) known: HashMap<u32, Interface>,
    /// Interfaces that are new, and that nothing was attached to yet.
    appeared: HashSet<u32>,
    node: Node,
    peers: Peers,
    attempts: Attempts,
    pub(super) gaps: Gaps,
    pub(super) schedule: PollSchedule,
    /// Error that hides other programs at the interfaces, if any.
    unseen: Option<String>,
    /// True if there is a change to pass on.
    changed: bool,
    /// Number of observations of packets that reached pods past the programs, and the time of the
    /// last increase.
    pub(super) one_sided: (u64, Instant),
    pub(super) past_the_hook_said: bool,
    /// Two devices of the node that count the same packets.
    pub(super) doubles: Option<(String, String)>,
}

impl InterfaceState {
    fn new(now: Instant) -> Self {
        Self {
            known: HashMap::new(),
            appeared: HashSet::new(),
            node: Node::default(),
            peers: Peers::default(),
            attempts: Attempts::default(),
            gaps: Gaps::new(now),
            schedule: PollSchedule::new(now),
            unseen: None,
            changed: false,
            one_sided: (0, now),
            past_the_hook_said: false,
            doubles: None,
        }
    }

    /// Time of the next task, whatever happens until then.
    fn due(&self) -> Instant {
        let others = [self.attempts.next(), self.peers.due()].into_iter().flatten();
        others.fold(self.gaps.next.min(self.schedule.next()), Instant::min)
    }
}

/// Starts following the interfaces.
pub fn start(watch: Arc<ProbeReconciler>, intensity: Intensity) -> Addr<ThreadSupervisor> {
    let woken = Arc::clone(&watch);
    ThreadSupervisor::start(
        Arc::new(move |lifecycle| watch.run(lifecycle)),
        Arc::new(move || woken.wake.notify_one()),
        intensity,
    )
}
