//! The windows that rows belong to.

use std::time::Duration;

/// A window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its start, in seconds of Unix time; a multiple of `seconds`.
    pub start: u64,
    /// Its length.
    pub seconds: u64,
}

impl Window {
    /// Its start, in nanoseconds of Unix time.
    pub fn start_ns(&self) -> u64 {
        self.start.saturating_mul(1_000_000_000)
    }

    /// Its end, in nanoseconds of Unix time.
    pub fn end_ns(&self) -> u64 {
        (self.start + self.seconds).saturating_mul(1_000_000_000)
    }
}

/// A window that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closing {
    /// The window.
    pub window: Window,
    /// The clock went back: windows from here on may have the start of one before, and belong to
    /// another instance.
    pub is_last_of_instance: bool,
}

/// Windows of equal length, one behind the other.
#[derive(Debug)]
pub struct Windows {
    length: Duration,
    open: Window,
}

impl Windows {
    /// Windows of this length, in whole seconds and one at least; the first holds the time
    /// `unix_ns`.
    pub fn new(length: Duration, unix_ns: u64) -> Self {
        let length = Duration::from_secs(length.as_secs().max(1));
        Self { length, open: window(length, unix_ns) }
    }

    /// The window that is open.
    pub fn open(&self) -> Window {
        self.open
    }

    /// The time until the window ends, by the clock `unix_ns`.
    pub fn remaining(&self, unix_ns: u64) -> Duration {
        // After a step back of the clock the window ends at once.
        let start_ns = self.open.start_ns();
        if unix_ns < start_ns {
            Duration::ZERO
        } else {
            Duration::from_nanos(self.open.end_ns().saturating_sub(unix_ns))
        }
    }

    /// Ends the window if its time is over.
    pub fn advance(&mut self, unix_ns: u64) -> Option<Closing> {
        if !self.remaining(unix_ns).is_zero() {
            return None;
        }
        let closed = std::mem::replace(&mut self.open, window(self.length, unix_ns));
        Some(Closing { window: closed, is_last_of_instance: self.open.start <= closed.start })
    }
}

fn window(length: Duration, unix_ns: u64) -> Window {
    let seconds = length.as_secs();
    let now = unix_ns / 1_000_000_000;
    Window { start: now - now % seconds, seconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    /// Windows are aligned to the clock, and end when it says so.
    #[test]
    fn windows_are_aligned() {
        let mut windows = Windows::new(Duration::from_mins(1), 90 * S);
        assert_eq!(windows.open(), Window { start: 60, seconds: 60 });
        assert_eq!(windows.remaining(90 * S), Duration::from_secs(30));
        assert_eq!(windows.advance(119 * S), None);
        let closing = windows.advance(120 * S).unwrap();
        assert_eq!(closing, Closing { window: Window { start: 60, seconds: 60 }, is_last_of_instance: false });
        assert_eq!(windows.open().start, 120);
    }

    /// After a suspend the windows between are left out: nothing is known of them.
    #[test]
    fn a_step_forward_leaves_windows_out() {
        let mut windows = Windows::new(Duration::from_secs(10), 5 * S);
        assert_eq!(windows.advance(3605 * S).map(|closing| closing.window.start), Some(0));
        assert_eq!(windows.open().start, 3600);
    }

    /// After a step back a start may come again, which must not make two rows one.
    #[test]
    fn a_step_back_ends_the_instance() {
        let mut windows = Windows::new(Duration::from_secs(10), 105 * S);
        let closing = windows.advance(95 * S).unwrap();
        assert_eq!((closing.window.start, closing.is_last_of_instance), (100, true));
        assert_eq!(windows.open().start, 90);
        // Within the window it changes nothing.
        assert_eq!(windows.advance(91 * S), None);
    }
}
