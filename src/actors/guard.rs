//! A panic in a handler becomes a counted fault and a supervised restart.
//!
//! Without this a panic unwinds through actix's supervisor, tokio drops its task, and the address
//! is dead for good. `AssertUnwindSafe` is sound only because a restarted actor builds its state
//! anew in `restarting()`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use actix::prelude::*;
use webb_flow::fault::{FaultType, panic_text};

use super::restart::Intensity;

/// An actor with counted faults and limited restarts.
pub trait Guarded: Actor<Context = Context<Self>> {
    /// Its restarts.
    fn intensity(&mut self) -> &mut Intensity;

    /// True between a fault and the restart that follows it; the guard sets it and `restarting()`
    /// must clear it.
    fn restart_pending(&mut self) -> &mut bool;
}

/// Runs a handler's body. None if it panicked, or if the actor is down and waits for its restart.
pub fn guard<A: Guarded, R>(
    actor: &mut A,
    ctx: &mut Context<A>,
    body: impl FnOnce(&mut A, &mut Context<A>) -> R,
) -> Option<R> {
    if *actor.restart_pending() {
        return None;
    }
    match catch_unwind(AssertUnwindSafe(|| body(actor, ctx))) {
        Ok(answer) => Some(answer),
        Err(payload) => {
            fail(actor, ctx, FaultType::Panicked, &panic_text(&*payload));
            None
        }
    }
}

/// Records a fault and has the actor restarted after its backoff, or given up.
pub fn fail<A: Guarded>(actor: &mut A, ctx: &mut Context<A>, kind: FaultType, text: &str) {
    actor.intensity().component().fault(kind, text);
    if *actor.restart_pending() {
        return;
    }
    *actor.restart_pending() = true;
    if let Some(wait) = actor.intensity().next(text) {
        stop_after(wait, ctx);
    }
}

/// Restarts the actor at an operator's request.
pub fn restart<A: Guarded>(actor: &mut A, ctx: &mut Context<A>) {
    if !*actor.restart_pending() {
        *actor.restart_pending() = true;
        let wait = actor.intensity().asked();
        stop_after(wait, ctx);
    }
}

fn stop_after<A: Guarded>(wait: std::time::Duration, ctx: &mut Context<A>) {
    ctx.run_later(wait, |actor, ctx| {
        actor.intensity().component().restarted();
        ctx.stop();
    });
}
