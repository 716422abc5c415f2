//! Supervises the thread that follows the kernel's connection tracking.
//!
//! Without it a service has its name and the pod behind it has none: the component is degraded, and
//! opening the socket is retried. That is no fault, so it does not count towards giving up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use webb_flow::fault::{Component, State, inject};

use super::restart::Intensity;
use super::thread_supervisor::ThreadSupervisor;
use crate::conntrack::{ConntrackError, Follower};
use crate::pipeline::Lifecycle;

/// Delay before the event socket is opened again.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// Starts to follow.
pub fn start(follower: Follower, intensity: Intensity) -> Addr<ThreadSupervisor> {
    let component = Arc::clone(intensity.component());
    let waker = follower.waker.clone();
    let body = move |lifecycle: &Lifecycle| {
        while !lifecycle.stopping() {
            if let Err(error) = follow(&follower, lifecycle, &component)
                && !lifecycle.stopping()
            {
                let why = error.to_string();
                // Said once: it is tried for as long as the agent lives.
                if component.reason() != why {
                    tracing::warn!("{why}; flows to services are named without their backend pods");
                }
                component.set_state(State::Degraded, &why);
                pause(lifecycle);
            }
        }
        Ok(())
    };
    ThreadSupervisor::start(Arc::new(body), Arc::new(move || waker.wake()), intensity)
}

fn follow(follower: &Follower, lifecycle: &Lifecycle, component: &Component) -> Result<(), ConntrackError> {
    lifecycle.beat();
    let mut following = follower.listen()?;
    let alive = || {
        lifecycle.beat();
        !lifecycle.stopping()
    };
    let mut up = false;
    while alive() {
        inject::point("conntrack");
        following.turn(&alive)?;
        if !up {
            up = true;
            component.set_state(State::Up, "");
        }
    }
    Ok(())
}

fn pause(lifecycle: &Lifecycle) {
    let until = Instant::now() + RETRY_INTERVAL;
    while !lifecycle.stopping() && Instant::now() < until {
        lifecycle.wait(RETRY_INTERVAL);
    }
}
