//! Keeps the flow decoder, which works in place on the reader's thread.
//!
//! The actor owns the slot that the reader takes its decoder from. When a record makes the decoder
//! panic, the reader clears the slot and reports that; the actor counts the fault, waits out the
//! backoff, and its restart fills the slot. Meanwhile records wait in the ring. While the agent
//! stops there is no time for a backoff: what the reader drains at last must be decoded, so a fresh
//! decoder is installed at once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use webb_decode::{Decoder, OneSided};
use webb_flow::Reasons;
use webb_flow::fault::{FaultType, State};

use super::guard::{Guarded, fail, guard, restart};
use super::restart::Intensity;
use super::{Finish, Restart};
use crate::pipeline::DecoderSlot;

/// The reader's word that the decoder panicked.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct DecoderFault(pub String);

/// Reads the drop reasons anew if there may be others by now.
pub type Reread = Box<dyn FnMut() -> Option<Reasons> + Send>;

/// Interval of the check for missing drop reasons: a module may be loaded after the agent has
/// started.
const REASONS_POLL_INTERVAL: Duration = Duration::from_secs(10);

/// Keeps the decoder.
pub struct DecoderActor {
    reasons: Reasons,
    reread: Reread,
    one_sided: Arc<OneSided>,
    slot: Arc<DecoderSlot>,
    intensity: Intensity,
    down: bool,
    finishing: bool,
}

impl DecoderActor {
    /// Starts the decoder for a kernel with these drop reasons. What is seen of one side only goes
    /// to `one_sided`.
    pub fn start(
        reasons: Reasons,
        reread: Reread,
        one_sided: Arc<OneSided>,
        slot: Arc<DecoderSlot>,
        intensity: Intensity,
    ) -> Addr<Self> {
        Supervisor::start(move |_| Self { reasons, reread, one_sided, slot, intensity, down: false, finishing: false })
    }

    fn install(&self) {
        let decoder = Decoder::with_one_sided(self.reasons.clone(), Arc::clone(&self.one_sided));
        self.slot.store(Some(Arc::new(decoder)));
    }

    /// Installs a decoder with more reasons, if one was missing and there are more.
    fn poll(&mut self) {
        if self.down || self.finishing || !self.reasons.take_missed() {
            return;
        }
        if let Some(reasons) = (self.reread)() {
            self.reasons = reasons;
            self.install();
        }
    }
}

impl fmt::Debug for DecoderActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecoderActor").field("down", &self.down).finish_non_exhaustive()
    }
}

impl Guarded for DecoderActor {
    fn intensity(&mut self) -> &mut Intensity {
        &mut self.intensity
    }

    fn restart_pending(&mut self) -> &mut bool {
        &mut self.down
    }
}

impl Actor for DecoderActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        guard(self, ctx, |actor, ctx| {
            ctx.run_interval(REASONS_POLL_INTERVAL, |actor, ctx| {
                guard(actor, ctx, |actor, _| actor.poll());
            });
            actor.install();
            actor.intensity.component().set_state(State::Up, "");
        });
    }
}

impl Supervised for DecoderActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.down = false;
    }
}

impl Handler<DecoderFault> for DecoderActor {
    type Result = ();

    fn handle(&mut self, DecoderFault(text): DecoderFault, ctx: &mut Self::Context) {
        if !self.finishing {
            return fail(self, ctx, FaultType::Panicked, &text);
        }
        self.intensity.component().fault(FaultType::Panicked, &text);
        if self.intensity.next(&text).is_some() {
            self.install();
        }
    }
}

impl Handler<Restart> for DecoderActor {
    type Result = ();

    fn handle(&mut self, _: Restart, ctx: &mut Self::Context) {
        restart(self, ctx);
    }
}

impl Handler<Finish> for DecoderActor {
    type Result = ();

    /// Finishes: the reader drains the rest with the last decoder.
    fn handle(&mut self, _: Finish, _: &mut Self::Context) {
        self.finishing = true;
        let component = Arc::clone(self.intensity.component());
        if component.state() == State::Restarting {
            self.install();
        }
        component.set_state(State::Stopped, "");
    }
}

#[cfg(test)]
mod tests {
    use arc_swap::{ArcSwap, ArcSwapOption};
    use tokio::sync::mpsc;
    use webb_flow::fault::Components;

    use super::*;
    use crate::actors::restart::RestartPolicy;

    const LAST_ACTION: u32 = 2 << 16 | 1;

    /// Reasons are read again once one of a subsystem was missing, and a new decoder is installed.
    #[test]
    fn a_module_comes_later() {
        let second = Duration::from_secs(1);
        let policy = RestartPolicy {
            max_restarts: 1,
            window: second,
            backoff_min: second,
            backoff_max: second,
            stall_after: second,
        };
        let component = Components::default().component("decoder");
        let mut more = vec![Some(Reasons::new([(LAST_ACTION, "OVS_DROP_LAST_ACTION")])), None];
        let mut actor = DecoderActor {
            reasons: Reasons::new([(2, "NOT_SPECIFIED")]),
            reread: Box::new(move || more.pop().unwrap()),
            one_sided: Arc::default(),
            slot: Arc::new(ArcSwapOption::empty()),
            intensity: Intensity::new(component, Arc::new(ArcSwap::from_pointee(policy)), mpsc::unbounded_channel().0),
            down: false,
            finishing: false,
        };
        actor.install();
        let installed = |actor: &DecoderActor| actor.slot.load_full().unwrap();
        let first = installed(&actor);
        let name = |actor: &DecoderActor| actor.reasons.get(LAST_ACTION).0.text().to_string();
        actor.poll();
        assert_eq!(name(&actor), "DROP_REASON_UNKNOWN");
        actor.poll();
        assert!(Arc::ptr_eq(&first, &installed(&actor)), "no module has come");
        assert_eq!(name(&actor), "DROP_REASON_UNKNOWN");
        actor.poll();
        assert!(!Arc::ptr_eq(&first, &installed(&actor)));
        assert_eq!(name(&actor), "OVS_DROP_LAST_ACTION");
        actor.poll();
    }
}
