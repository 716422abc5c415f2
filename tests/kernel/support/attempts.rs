//! Tests that a virtual machine may disturb.

/// Runs `test` up to five times, until it holds. Only for what counts in tracing programs while
/// softirqs of timers send: some virtual machines run no tracing program while a thread of their
/// own first process is current, so a softirq that interrupts one goes uncounted there, once in
/// some thousand packets. A fault of ours holds every time.
pub(crate) fn in_one_of_five(test: impl Fn() + Copy) {
    for attempt in 1..=5 {
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(test)) {
            Ok(()) => return,
            Err(panic) if attempt == 5 => std::panic::resume_unwind(panic),
            Err(_) => eprintln!("attempt {attempt} of 5 failed"),
        }
    }
}
