//! Supervises the thread that follows the kernel's connection tracking.
//!
//! Without it a service has its name and the pod behind it has none: the component is degraded, and
//! opening the socket is retried. That is no fault, so it does not count towards giving up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use webb_flow::fault::{Component, State, inject};

use super::keeper::ThreadKeeper;
use super::restart::Intensity;
use crate::conntrack::{ConntrackError, Follower};
use crate::pipeline::Life;

/// How long to wait before listening is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// Starts to follow.
pub fn start(follower: Follower, intensity: Intensity) -> Addr<ThreadKeeper> {
    let component = Arc::clone(intensity.component());
    let waker = follower.waker.clone();
    let body = move |life: &Life| {
        while !life.stopping() {
            if let Err(error) = follow(&follower, life, &component)
                && !life.stopping()
            {
                let why = error.to_string();
                // Said once: it is tried for as long as the agent lives.
                if component.reason() != why {
                    tracing::warn!("{why}; services are named without the pods that answer for them");
                }
                component.set_state(State::Degraded, &why);
                pause(life);
            }
        }
        Ok(())
    };
    ThreadKeeper::start(Arc::new(body), Arc::new(move || waker.wake()), intensity)
}

fn follow(follower: &Follower, life: &Life, component: &Component) -> Result<(), ConntrackError> {
    life.beat();
    let mut following = follower.listen()?;
    let alive = || {
        life.beat();
        !life.stopping()
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

fn pause(life: &Life) {
    let until = Instant::now() + RETRY_INTERVAL;
    while !life.stopping() && Instant::now() < until {
        life.wait(RETRY_INTERVAL);
    }
}
