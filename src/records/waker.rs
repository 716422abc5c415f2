//! Ends a reader's wait from another thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// An eventfd that sources put into their epoll set. Clones share it.
#[derive(Debug, Clone)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// A new eventfd.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Ends the current wait, or the next one if there is none.
    pub fn wake(&self) {
        // Full (2^64 - 2 unread wake-ups) or interrupted: it is readable already.
        let _written = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Waits for a wake-up, for `time` at most, whatever the rings hold.
    ///
    /// # Errors
    /// If the kernel refuses the wait.
    pub fn wait(&self, time: Duration) -> io::Result<()> {
        let time =
            Timespec { tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: time.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&time)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads all wake-ups, so that the next wait waits.
    pub fn reset(&self) {
        let mut count = [0; 8];
        // Would block: there was none.
        let _count = rustix::io::read(&self.0, &mut count);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
