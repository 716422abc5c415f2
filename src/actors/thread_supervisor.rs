//! Supervises one thread: spawns it, catches its panic, restarts it with backoff, detects a stall,
//! gives up after too many restarts.
//!
//! ```text
//! started() ── spawn ──► running ──┬─ ended on request ────────────► stopped
//!     ▲                            ├─ panicked / failed ──► backoff ─┐
//!     │                            └─ no heartbeat ──► stalled ──────┤ (waits until the thread has ended)
//!     └──────── actix's Supervisor restarts this actor ◄─ ctx.stop() ┘      too many ──► escalate
//! ```
//!
//! A thread that is to finish during its backoff runs once more, with the stop request set from its
//! start: what a thread does at its end, such as draining its ring, is done whenever the agent
//! stops.
//!
//! One rule makes everything below simple: **never two runs of a thread at once**. A stalled thread
//! cannot be killed, so the supervisor requests its stop and waits; state it holds (a ring's
//! consumer position, a table of counters) is never shared between two runs. A thread that does not
//! end within three times `stall_after` is given up, unless the kernel holds it: the component is
//! degraded for as long as that lasts.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use webb_flow::fault::{FaultType, State, panic_text};

use super::restart::Intensity;
use super::{Finish, Restart, Resume};
use crate::pipeline::Lifecycle;

/// The reason that a component gives while its thread is in [`Lifecycle::in_kernel`].
const IN_KERNEL: &str = "waits in the kernel, for a lock that another program holds or for a device";

/// The error of a body that cannot go on.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The code of the thread, called once a run. State that must outlive a run is behind an `Arc`.
pub type Body = Arc<dyn Fn(&Lifecycle) -> Result<(), Failure> + Send + Sync>;

/// The supervisor of one thread.
pub struct ThreadSupervisor {
    body: Body,
    wake: Arc<dyn Fn() + Send + Sync>,
    intensity: Intensity,
    generation: u64,
    lifecycle: Option<Arc<Lifecycle>>,
    stalled: bool,
    /// The thread waits in the kernel, so that its stop was not requested yet.
    in_kernel: bool,
    heartbeat_age: HeartbeatAge,
    finishing: bool,
    waiting: Vec<tokio::sync::oneshot::Sender<()>>,
}

impl std::fmt::Debug for ThreadSupervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThreadSupervisor")
            .field("component", &self.intensity.component().name())
            .finish_non_exhaustive()
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct ThreadExit {
    generation: u64,
    exit: Exit,
}

enum Exit {
    Done,
    Failed(String),
    Panicked(String),
}

impl ThreadSupervisor {
    /// Starts the supervisor on the current arbiter, itself supervised by actix. `wake` must end
    /// the body's longest wait.
    pub fn start(body: Body, wake: Arc<dyn Fn() + Send + Sync>, intensity: Intensity) -> Addr<Self> {
        Supervisor::start(|_| Self {
            body,
            wake,
            intensity,
            generation: 0,
            lifecycle: None,
            stalled: false,
            in_kernel: false,
            heartbeat_age: HeartbeatAge::new(Instant::now()),
            finishing: false,
            waiting: Vec::new(),
        })
    }

    fn spawn(&mut self, ctx: &mut Context<Self>) {
        self.generation += 1;
        let generation = self.generation;
        let component = Arc::clone(self.intensity.component());
        let lifecycle = Arc::new(Lifecycle::new(Arc::clone(&component)));
        if self.finishing {
            lifecycle.stop();
        }
        self.lifecycle = Some(Arc::clone(&lifecycle));
        self.stalled = false;
        self.in_kernel = false;
        self.heartbeat_age = HeartbeatAge::new(Instant::now());
        let body = Arc::clone(&self.body);
        let supervisor = ctx.address();
        let spawned = std::thread::Builder::new()
            .name(component.name().chars().take(15).collect())
            // Twice what the deepest expression of a filter takes (`webb_index::filters`).
            .stack_size(1 << 20)
            .spawn(move || {
                lifecycle.enter_thread();
                let exit = match catch_unwind(AssertUnwindSafe(|| body(&lifecycle))) {
                    Ok(Ok(())) => Exit::Done,
                    Ok(Err(failure)) => Exit::Failed(failure.to_string()),
                    Err(payload) => Exit::Panicked(panic_text(&*payload)),
                };
                supervisor.do_send(ThreadExit { generation, exit });
            });
        // The component is up with the first beat of its thread (`Lifecycle::beat`).
        match (spawned, &self.lifecycle) {
            (Ok(thread), Some(lifecycle)) => lifecycle.bind_thread(thread.thread().clone()),
            (Ok(_), None) => {}
            (Err(error), _) => {
                self.lifecycle = None;
                self.fault(FaultType::Failed, &format!("cannot start its thread: {error}"), ctx);
            }
        }
    }

    fn fault(&mut self, kind: FaultType, text: &str, ctx: &mut Context<Self>) {
        self.intensity.component().fault(kind, text);
        self.restart_after_backoff(text, ctx);
    }

    fn restart_after_backoff(&mut self, why: &str, ctx: &mut Context<Self>) {
        if self.finishing {
            self.finished();
        } else if let Some(wait) = self.intensity.next(why) {
            stop_after(wait, ctx);
        } else {
            self.finished();
        }
    }

    fn finished(&mut self) {
        for waiting in self.waiting.drain(..) {
            // The caller may have timed out.
            let _gone = waiting.send(());
        }
    }

    /// Checks that the heartbeat advances. A stalled thread is stopped and waited for, never
    /// doubled.
    fn watch(&mut self) {
        let Some(lifecycle) = &self.lifecycle else { return };
        let stall_after = self.intensity.policy().stall_after;
        let beats = self.intensity.component().beats();
        let age = self.heartbeat_age.check(
            beats,
            lifecycle.is_idle() && !self.stalled,
            Instant::now(),
            check_every(stall_after),
        );
        if self.in_kernel && age <= stall_after {
            self.in_kernel = false;
            self.intensity.component().set_state(State::Up, "");
        }
        if age > stall_after && lifecycle.in_kernel() {
            // Only the kernel can end this wait, and not even the end of the process would.
            if !self.stalled && !self.in_kernel {
                self.in_kernel = true;
                self.intensity.component().set_state(State::Degraded, IN_KERNEL);
            }
        } else if self.stalled {
            if age > stall_after * 3 {
                self.stalled = false;
                self.intensity.give_up("stalled and did not come back");
            }
        } else if age > stall_after {
            self.in_kernel = false;
            self.stalled = true;
            self.heartbeat_age.restart();
            lifecycle.stop();
            (self.wake)();
            let component = self.intensity.component();
            component.fault(FaultType::Stalled, &format!("no beat for {} s", stall_after.as_secs()));
            component.set_state(State::Restarting, "stalled: waiting for its thread to come back");
        }
    }
}

/// Interval of the heartbeat check.
fn check_every(stall_after: Duration) -> Duration {
    (stall_after / 4).min(Duration::from_secs(1))
}

/// Time since a heartbeat advanced, in time that its supervisor was awake for: a process that was
/// stopped (SIGSTOP, a paused machine) has no stalled threads when it goes on.
#[derive(Debug)]
struct HeartbeatAge {
    beats: u64,
    checked: Instant,
    age: Duration,
}

impl HeartbeatAge {
    fn new(now: Instant) -> Self {
        Self { beats: u64::MAX, checked: now, age: Duration::ZERO }
    }

    /// Checks again, after `every` as a rule.
    fn check(&mut self, beats: u64, idle: bool, now: Instant, every: Duration) -> Duration {
        let passed = now.saturating_duration_since(std::mem::replace(&mut self.checked, now));
        let advanced = std::mem::replace(&mut self.beats, beats) != beats;
        self.age = if advanced || idle { Duration::ZERO } else { self.age + passed.min(every * 2) };
        self.age
    }

    fn restart(&mut self) {
        self.age = Duration::ZERO;
    }
}

fn stop_after(wait: Duration, ctx: &mut Context<ThreadSupervisor>) {
    ctx.run_later(wait, |supervisor, ctx| {
        if supervisor.lifecycle.is_some() || supervisor.finishing {
            return;
        }
        supervisor.intensity.component().restarted();
        ctx.stop();
    });
}

impl Actor for ThreadSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.finishing {
            return;
        }
        ctx.run_interval(check_every(self.intensity.policy().stall_after), |supervisor, _| supervisor.watch());
        self.spawn(ctx);
    }
}

impl Supervised for ThreadSupervisor {}

impl Handler<ThreadExit> for ThreadSupervisor {
    type Result = ();

    fn handle(&mut self, message: ThreadExit, ctx: &mut Self::Context) {
        if message.generation != self.generation {
            return;
        }
        self.lifecycle = None;
        let stalled = std::mem::take(&mut self.stalled);
        if self.finishing {
            let component = self.intensity.component();
            match message.exit {
                Exit::Done => {}
                Exit::Failed(text) => component.fault(FaultType::Failed, &text),
                Exit::Panicked(text) => component.fault(FaultType::Panicked, &text),
            }
            component.set_state(State::Stopped, "");
            self.finished();
            return;
        }
        match message.exit {
            Exit::Done if stalled => self.restart_after_backoff("stalled", ctx),
            Exit::Done => {
                let wait = self.intensity.asked();
                stop_after(wait, ctx);
            }
            Exit::Failed(text) => self.fault(FaultType::Failed, &text, ctx),
            Exit::Panicked(text) => self.fault(FaultType::Panicked, &text, ctx),
        }
    }
}

impl Handler<Restart> for ThreadSupervisor {
    type Result = ();

    fn handle(&mut self, _: Restart, _: &mut Self::Context) {
        if let Some(lifecycle) = &self.lifecycle {
            lifecycle.stop();
            (self.wake)();
        }
    }
}

impl Handler<Resume> for ThreadSupervisor {
    type Result = ();

    fn handle(&mut self, _: Resume, ctx: &mut Self::Context) {
        if self.lifecycle.is_none() && self.intensity.component().state() == State::Restarting {
            self.intensity.component().restarted();
            self.spawn(ctx);
        }
    }
}

impl Handler<Finish> for ThreadSupervisor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Finish, ctx: &mut Self::Context) -> Self::Result {
        let first = !std::mem::replace(&mut self.finishing, true);
        let component = self.intensity.component();
        if self.lifecycle.is_none() && first && component.state() == State::Restarting {
            self.spawn(ctx);
        } else if let Some(lifecycle) = &self.lifecycle {
            lifecycle.stop();
            (self.wake)();
        }
        if self.lifecycle.is_none() {
            self.intensity.component().set_state(State::Stopped, "");
            return Box::pin(std::future::ready(()));
        }
        let (ended, end) = tokio::sync::oneshot::channel();
        self.waiting.push(ended);
        Box::pin(async move {
            // A dropped sender means that the supervisor has ended, and its thread with it.
            let _ended = end.await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only what passes between two checks counts, and of a long gap no more than two: twenty
    /// seconds in which nothing ran are no stall.
    #[test]
    fn a_stopped_process_is_not_stalled() {
        let began = Instant::now();
        let (mut heartbeat_age, second) = (HeartbeatAge::new(began), Duration::from_secs(1));
        let mut check = |beats, idle, at| heartbeat_age.check(beats, idle, began + second * at, second).as_secs();
        assert_eq!(check(7, false, 1), 0);
        assert_eq!(check(7, false, 2), 1);
        assert_eq!(check(7, false, 22), 3, "the process was stopped");
        assert_eq!(check(7, false, 23), 4);
        assert_eq!(check(7, true, 24), 0);
        assert_eq!(check(7, false, 25), 1);
        assert_eq!(check(8, false, 26), 0);
    }
}
