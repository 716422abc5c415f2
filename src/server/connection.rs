//! The state of one connection: what its client has sent and read, and since when it owes
//! something.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use tokio::sync::Notify;

use super::client::Client;
use super::limits::{Limits, MIN_BLOCKED_TIME};
use super::reason::Reason;

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: Client,
    progress: Mutex<Progress>,
    cut: Notify,
}

/// Next step that the client owes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The end of the TLS handshake.
    Handshake,
    /// A request, or the close.
    Idle,
    /// The rest of a request's head.
    Head,
    /// The reading of the answer.
    Answer,
}

#[derive(Debug)]
struct Progress {
    phase: Phase,
    /// Start of the phase.
    since: Instant,
    /// Bytes read since the last request began.
    unhandled: usize,
    /// Whether an empty line is among them: a head is whole, and what follows is no part of it.
    head: HeadEnd,
    /// Requests that are being handled or answered.
    requests: u32,
    answered: bool,
    /// Whether the body of a request was not read to its end: no head follows it.
    ends_in_body: bool,
    /// Time since which the kernel takes no more of the answer.
    blocked: Option<Instant>,
    /// Start of the interval that `written` counts bytes in.
    window: Option<Instant>,
    written: u64,
    /// Wakes what reads requests, once there is room for another.
    reader: Option<Waker>,
}

/// Bytes of a request that may still be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// At most this number.
    Bytes(usize),
    /// No bytes until the request that has been read is handled, and those before it are answered.
    Later,
    /// No bytes any more: what comes is the rest of a body that was refused.
    End,
    /// No bytes: the request's head is too large. True if nothing was ever answered here.
    TooLarge(bool),
}

/// Rank of a connection for eviction when there are too many; the least is dropped first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// No request yet.
    Silent(Instant),
    /// Has been answered.
    Idle(Instant),
    /// Is not reading its answer.
    Blocked(Instant),
}

impl Connection {
    pub(super) fn new(client: Client, now: Instant, tls: bool) -> Self {
        let progress = Progress {
            phase: if tls { Phase::Handshake } else { Phase::Idle },
            since: now,
            unhandled: 0,
            head: HeadEnd::default(),
            requests: 0,
            answered: false,
            ends_in_body: false,
            blocked: None,
            window: None,
            written: 0,
            reader: None,
        };
        Self { client, progress: Mutex::new(progress), cut: Notify::new() }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The TLS handshake has ended.
    pub(super) fn shook_hands(&self, now: Instant) {
        self.progress().enter(Phase::Idle, now);
    }

    pub(super) fn room(&self, limits: &Limits) -> Room {
        let progress = self.progress();
        match limits.head_bytes.saturating_sub(progress.unhandled) {
            0 if progress.requests > 0 || progress.head.found => Room::Later,
            _ if progress.ends_in_body && progress.requests == 0 => Room::End,
            0 => Room::TooLarge(!progress.answered),
            bytes => Room::Bytes(bytes),
        }
    }

    /// Wakes `waker` once a request has begun, or been answered.
    pub(super) fn wake_later(&self, waker: &Waker) {
        self.progress().reader = Some(waker.clone());
    }

    pub(super) fn has_read(&self, bytes: &[u8], now: Instant) {
        let mut progress = self.progress();
        progress.unhandled += bytes.len();
        progress.head.read(bytes);
        if progress.phase == Phase::Idle && !bytes.is_empty() {
            progress.enter(Phase::Head, now);
        }
    }

    pub(super) fn has_written(&self, bytes: usize, now: Instant) {
        let mut progress = self.progress();
        progress.blocked = None;
        progress.written += bytes as u64;
        progress.window.get_or_insert(now);
    }

    pub(super) fn is_blocked(&self, now: Instant) {
        let mut progress = self.progress();
        progress.blocked.get_or_insert(now);
        progress.window.get_or_insert(now);
    }

    pub(super) fn request_begins(&self, now: Instant) {
        let mut progress = self.progress();
        progress.requests += 1;
        progress.unhandled = 0;
        progress.head = HeadEnd::default();
        progress.answered = true;
        (progress.window, progress.written) = (None, 0);
        progress.enter(Phase::Answer, now);
        let reader = progress.reader.take();
        drop(progress);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// The body of the request is not read to its end.
    pub(super) fn refuses_body(&self) {
        self.progress().ends_in_body = true;
    }

    pub(super) fn request_ends(&self, now: Instant) {
        let mut progress = self.progress();
        progress.requests = progress.requests.saturating_sub(1);
        if progress.requests == 0 {
            let next = if progress.unhandled > 0 { Phase::Head } else { Phase::Idle };
            progress.enter(next, now);
        }
        let reader = progress.reader.take();
        drop(progress);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Reason to drop the connection now, if there is one.
    pub(super) fn overdue(&self, limits: &Limits, now: Instant) -> Option<Reason> {
        let mut progress = self.progress();
        if progress.blocked.is_some()
            && progress.window.is_some_and(|since| now.saturating_duration_since(since) >= limits.stalled)
        {
            if progress.written < limits.progress_bytes {
                return Some(Reason::SlowReader);
            }
            (progress.window, progress.written) = (Some(now), 0);
        }
        let since = now.saturating_duration_since(progress.since);
        // The server's own timer has as long for the first head, and answers with 408.
        let head = limits.head + MIN_BLOCKED_TIME;
        match progress.phase {
            Phase::Handshake => (since >= limits.handshake + MIN_BLOCKED_TIME).then_some(Reason::Handshake),
            Phase::Idle => (since >= head && !progress.answered).then_some(Reason::SlowHead),
            Phase::Head => (since >= head).then_some(Reason::SlowHead),
            Phase::Answer => None,
        }
    }

    /// Rank of the connection; none for one that works.
    pub(super) fn rank(&self, now: Instant) -> Option<Rank> {
        let progress = self.progress();
        match (progress.phase, progress.blocked) {
            (Phase::Answer, Some(since)) if now.saturating_duration_since(since) >= MIN_BLOCKED_TIME => {
                Some(Rank::Blocked(since))
            }
            (Phase::Answer, _) => None,
            _ if progress.answered => Some(Rank::Idle(progress.since)),
            _ => Some(Rank::Silent(progress.since)),
        }
    }

    /// Ends the connection, wherever it is.
    pub(super) fn cut(&self) {
        self.cut.notify_one();
    }

    /// Waits until it is cut.
    pub(super) async fn is_cut(&self) {
        self.cut.notified().await;
    }
}

impl Progress {
    fn enter(&mut self, phase: Phase, now: Instant) {
        (self.phase, self.since) = (phase, now);
    }
}

/// Finds the empty line at the end of a head, in whatever pieces it comes.
#[derive(Debug, Default)]
struct HeadEnd {
    /// Nothing has come since the last line's end; before the first line there is none.
    line_is_empty: bool,
    found: bool,
}

impl HeadEnd {
    fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                _ if self.found => return,
                b'\n' if self.line_is_empty => self.found = true,
                b'\n' => self.line_is_empty = true,
                b'\r' => {}
                _ => self.line_is_empty = false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    fn connection(tls: bool) -> (Connection, Instant, Limits) {
        let now = Instant::now();
        (Connection::new(Client::from(Ipv4Addr::LOCALHOST), now, tls), now, Limits::default())
    }

    /// Each step that a client owes has its own timeout, and a finished one is not required again.
    #[test]
    fn every_phase_ends() {
        let (slow, began, limits) = connection(true);
        let after = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(slow.overdue(&limits, after(3)), None);
        assert_eq!(slow.overdue(&limits, after(4)), Some(Reason::Handshake));
        slow.shook_hands(after(2));
        assert_eq!(slow.overdue(&limits, after(7)), None);
        assert_eq!(slow.overdue(&limits, after(8)), Some(Reason::SlowHead));
        slow.has_read(&[b'x'; 10], after(7));
        assert_eq!(slow.overdue(&limits, after(12)), None);
        slow.has_read(&[b'x'; 10], after(12));
        assert_eq!(slow.overdue(&limits, after(13)), Some(Reason::SlowHead), "a byte now and then is not enough");
        slow.request_begins(after(12));
        assert_eq!(slow.overdue(&limits, after(1000)), None, "it is the handler's turn");
        slow.request_ends(after(20));
        assert_eq!(slow.overdue(&limits, after(1000)), None, "keep-alive is the server's");
        slow.has_read(b"x", after(20));
        assert_eq!(slow.overdue(&limits, after(26)), Some(Reason::SlowHead), "a second head has its time, too");
    }

    /// Reading is judged by what was read: a client with a slow line stays, one that reads nothing
    /// or a byte a second goes.
    #[test]
    fn a_client_must_read() {
        let (client, began, limits) = connection(false);
        let after = |seconds| began + Duration::from_secs(seconds);
        client.request_begins(began);
        client.is_blocked(after(1));
        assert_eq!(client.overdue(&limits, after(10)), None);
        client.has_written(64 << 10, after(10));
        client.is_blocked(after(10));
        assert_eq!(client.overdue(&limits, after(11)), None);
        for second in 12..21 {
            client.has_written(1, after(second));
            client.is_blocked(after(second));
        }
        assert_eq!(client.overdue(&limits, after(20)), None);
        assert_eq!(client.overdue(&limits, after(21)), Some(Reason::SlowReader));
    }

    /// A handler that takes its time is not the client's fault.
    #[test]
    fn the_time_of_the_handler_does_not_count() {
        let (client, began, limits) = connection(false);
        let after = |seconds| began + Duration::from_secs(seconds);
        client.request_begins(began);
        client.has_written(100, after(60));
        client.is_blocked(after(60));
        assert_eq!(client.overdue(&limits, after(69)), None);
        assert_eq!(client.overdue(&limits, after(70)), Some(Reason::SlowReader));
    }

    /// A head has a bound; what comes while an answer is under way waits for it.
    #[test]
    fn requests_are_bounded() {
        let (client, now, limits) = connection(false);
        client.has_read(&vec![b'x'; limits.head_bytes - 1], now);
        assert_eq!(client.room(&limits), Room::Bytes(1));
        client.has_read(b"x", now);
        assert_eq!(client.room(&limits), Room::TooLarge(true));
        client.request_begins(now);
        assert_eq!(client.room(&limits), Room::Bytes(limits.head_bytes));
        client.has_read(&vec![b'x'; limits.head_bytes], now);
        assert_eq!(client.room(&limits), Room::Later);
        client.request_ends(now);
        assert_eq!(client.room(&limits), Room::TooLarge(false));
    }

    /// What follows a whole head is no part of it: it waits until the request has begun.
    #[test]
    fn a_body_is_no_head() {
        for (head, is_whole) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], true),
            (b"GET / HTTP/1.1\nHost: x\n\n", true),
            (b"GET / HTTP/1.1\r\nHost: x\r\n", false),
            (b"\r\nGET / HTTP/1.1\r\n", false),
        ] {
            let (client, now, limits) = connection(false);
            for byte in head {
                client.has_read(&[*byte], now);
            }
            client.has_read(&vec![b'x'; limits.head_bytes], now);
            let full = if is_whole { Room::Later } else { Room::TooLarge(true) };
            assert_eq!(client.room(&limits), full, "{}", head.escape_ascii());
            client.request_begins(now);
            assert_eq!(client.room(&limits), Room::Bytes(limits.head_bytes));
        }
    }
}
