//! Supervises the thread that probes the other nodes.
//!
//! It has a runtime of its own, so that nothing that a peer does holds up anything else. Without
//! ICMP echo the component is degraded, and HTTP goes on.

use std::cell::Cell;
use std::sync::Arc;

use actix::Addr;
use tokio::sync::Notify;
use webb_flow::fault::{State, inject};

use super::restart::Intensity;
use super::thread_supervisor::ThreadSupervisor;
use crate::health::Prober;
use crate::pipeline::Lifecycle;

/// Starts to probe.
pub fn start(prober: Prober, intensity: Intensity) -> Addr<ThreadSupervisor> {
    let component = Arc::clone(intensity.component());
    let wake = Arc::new(Notify::new());
    let woken = Arc::clone(&wake);
    let body = move |lifecycle: &Lifecycle| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let said = Cell::new(false);
        let turn = || {
            inject::point("health");
            lifecycle.beat();
            if !said.replace(true)
                && let Some(reason) = prober.health.icmp_error()
            {
                component.set_state(State::Degraded, &reason);
            }
            !lifecycle.stopping()
        };
        runtime.block_on(prober.run(&turn, &woken));
        Ok(())
    };
    ThreadSupervisor::start(Arc::new(body), Arc::new(move || wake.notify_one()), intensity)
}
