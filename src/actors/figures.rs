//! Figures of the attached programs for a scrape.
//!
//! A change of interfaces holds the programs for as long as it waits in the kernel, which is as
//! long as another program has the kernel's lock over interfaces (RTNL): half a minute while a
//! namespace with a thousand interfaces goes. A scrape does not wait for that, but shows the last
//! figures.

use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::bpf_loader::{Cost, Probes, Special};
use crate::network::Role;

/// Maximal wait of a scrape for fresh figures.
const MAX_WAIT: Duration = Duration::from_millis(50);

/// Interval between attempts to take the lock.
const RETRY_INTERVAL: Duration = Duration::from_millis(1);

/// Numbers of interfaces by a label's value.
pub(super) type ByLabel = [(&'static str, u64); 2];

/// The last figures.
#[derive(Debug, Default)]
pub(super) struct Figures {
    attached: Mutex<ByLabel>,
    special: Mutex<ByLabel>,
    cost: Mutex<Vec<Cost>>,
}

impl Figures {
    /// Watched interfaces by role.
    pub(super) fn attached(&self, probes: &Mutex<Probes>) -> ByLabel {
        now_or_last(probes, &self.attached, |probes| {
            let count = |role| probes.attached().filter(|(_, _, attached)| *attached == role).count() as u64;
            [("pod", count(Role::Pod)), ("node", count(Role::Node))]
        })
    }

    /// Watched interfaces with something special about them, by what.
    pub(super) fn special(&self, probes: &Mutex<Probes>) -> ByLabel {
        now_or_last(probes, &self.special, |probes| {
            let count =
                |wanted: fn(Special) -> bool| probes.special().filter(|(_, special)| wanted(*special)).count() as u64;
            [("at_device", count(|special| special.at_device)), ("bridged", count(|special| special.bridge.is_some()))]
        })
    }

    /// Run time and run count of each program so far.
    pub(super) fn cost(&self, probes: &Mutex<Probes>) -> Vec<Cost> {
        now_or_last(probes, &self.cost, Probes::cost)
    }
}

fn now_or_last<P, T: Clone>(held: &Mutex<P>, last: &Mutex<T>, of: impl FnOnce(&P) -> T) -> T {
    let began = Instant::now();
    loop {
        let found = match held.try_lock() {
            Ok(found) => found,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) if began.elapsed() < MAX_WAIT => {
                std::thread::sleep(RETRY_INTERVAL);
                continue;
            }
            Err(TryLockError::WouldBlock) => return last.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        let now = of(&found);
        drop(found);
        last.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&now);
        return now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// While the programs are held the last figures are shown, and afterwards those of now.
    #[test]
    fn held_programs_do_not_hold_a_scrape() {
        let (held, last) = (Mutex::new(1), Mutex::new(0));
        let look = || now_or_last(&held, &last, |now| *now);
        assert_eq!(look(), 1);
        let mut changing = held.lock().unwrap();
        *changing = 2;
        assert_eq!(std::thread::scope(|scope| scope.spawn(look).join().unwrap()), 1);
        drop(changing);
        assert_eq!(look(), 2);
    }
}
