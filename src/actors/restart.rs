//! Restart policy: backoff and restart intensity, which actix leaves to us.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use webb_flow::fault::{Component, State};

/// Limits and backoff of restarts.
#[derive(Debug, Clone, Copy)]
pub struct RestartPolicy {
    /// Restarts within `window` after which it is given up.
    pub max_restarts: u32,
    /// The window.
    pub window: Duration,
    /// First wait; doubles with each restart in the window.
    pub backoff_min: Duration,
    /// Longest wait.
    pub backoff_max: Duration,
    /// A beat that stands still for so long while work waits is a stall.
    pub stall_after: Duration,
}

/// The rules as they are now: a reload replaces them.
pub type SharedRestartPolicy = Arc<ArcSwap<RestartPolicy>>;

/// Channel that reports a component beyond its restart limit; the receiver ends the agent with exit
/// code 70.
pub type Escalations = mpsc::UnboundedSender<String>;

/// The restarts of one component.
#[derive(Debug)]
pub struct Intensity {
    policy: SharedRestartPolicy,
    recent: VecDeque<Instant>,
    component: Arc<Component>,
    escalations: Escalations,
}

impl Intensity {
    /// A policy's state without restarts.
    pub fn new(component: Arc<Component>, policy: SharedRestartPolicy, escalations: Escalations) -> Self {
        Self { policy, recent: VecDeque::new(), component, escalations }
    }

    /// Component that these restarts belong to.
    pub fn component(&self) -> &Arc<Component> {
        &self.component
    }

    /// The rules.
    pub fn policy(&self) -> RestartPolicy {
        **self.policy.load()
    }

    /// Delay before the restart that is now due; none beyond the limit, which is escalated here.
    pub fn next(&mut self, why: &str) -> Option<Duration> {
        let (now, policy) = (Instant::now(), self.policy());
        while self.recent.front().is_some_and(|first| now.duration_since(*first) > policy.window) {
            self.recent.pop_front();
        }
        if self.recent.len() >= policy.max_restarts as usize {
            self.give_up(why);
            return None;
        }
        let doublings = u32::try_from(self.recent.len()).unwrap_or(16).min(16);
        self.recent.push_back(now);
        self.component.set_state(State::Restarting, why);
        Some(policy.backoff_min.saturating_mul(1 << doublings).min(policy.backoff_max))
    }

    /// Backoff of a restart by request: no fault, so it does not count towards giving up.
    pub fn asked(&self) -> Duration {
        self.component.set_state(State::Restarting, "restart requested");
        self.policy().backoff_min
    }

    /// Marks the component as given up: its restart limit is exceeded.
    pub fn give_up(&self, why: &str) {
        self.component.set_state(State::GaveUp, why);
        // The receiver is gone only when the agent is stopping already.
        let _stopping = self.escalations.send(self.component.name().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use webb_flow::fault::Components;

    use super::*;

    fn policy() -> RestartPolicy {
        RestartPolicy {
            max_restarts: 3,
            window: Duration::from_mins(1),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_millis(300),
            stall_after: Duration::from_secs(10),
        }
    }

    /// A component that fails again and again must wait longer each time, and be given up at the
    /// limit, once.
    #[test]
    fn backs_off_then_escalates() {
        let components = Components::default();
        let (escalations, mut escalated) = mpsc::unbounded_channel();
        let mut intensity =
            Intensity::new(components.component("x"), Arc::new(ArcSwap::from_pointee(policy())), escalations);
        let waits: Vec<_> = (0..3).map(|_| intensity.next("test").unwrap().as_millis()).collect();
        assert_eq!(waits, [100, 200, 300]);
        assert!(escalated.try_recv().is_err());
        assert!(intensity.next("test").is_none());
        assert_eq!(escalated.try_recv().unwrap(), "x");
        assert_eq!(components.component("x").state(), State::GaveUp);
    }
}
