//! Signals and the verifier: it gives up with `EAGAIN` when its thread has a signal to handle.

use nix::sys::signal::SigSet;

/// Blocks the thread's signals while `work` runs; the process's other threads handle them.
///
/// The end of a child process of any thread is enough to interrupt the verifier, and where many end
/// it never comes through.
pub(super) fn without_signals<R>(work: impl FnOnce() -> R) -> R {
    let _restored = Blocked::all();
    work()
}

/// A thread with blocked signals, and its former mask.
struct Blocked(Option<SigSet>);

impl Blocked {
    fn all() -> Self {
        let before = SigSet::thread_get_mask().ok();
        // It fails for no set that the system made itself; the verifier is then only less certain.
        let _refused = SigSet::all().thread_block();
        Self(before)
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        if let Some(before) = self.0 {
            let _refused = before.thread_set_mask();
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{SigSet, Signal};

    use super::without_signals;

    #[test]
    fn the_mask_is_as_before() {
        let before = SigSet::thread_get_mask().unwrap();
        assert!(!before.contains(Signal::SIGCHLD));
        without_signals(|| assert!(SigSet::thread_get_mask().unwrap().contains(Signal::SIGCHLD)));
        assert_eq!(SigSet::thread_get_mask().unwrap(), before);
    }

    #[test]
    fn a_panic_restores_the_mask() {
        let panic = std::panic::catch_unwind(|| without_signals(|| panic!("on purpose")));
        assert!(panic.is_err());
        assert!(!SigSet::thread_get_mask().unwrap().contains(Signal::SIGCHLD));
    }
}
