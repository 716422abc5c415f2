//! The rings, as the pipeline reads them.
//!
//! A reader that dies is replaced by one that opens the rings anew. The position up to which a ring
//! has been read lies in a page that is shared with the kernel and survives both, so the new reader
//! goes on behind the record that killed the old one (`ring_pages.rs`).
//!
//! Waiting is a level-triggered epoll: it asks the kernel again at each turn, so no wake-up can be
//! lost. The programs wake the reader only when a quarter of a ring is filled; the reader looks by
//! itself at least every 20 ms.

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use rustix::event::{Timespec, epoll};
use webb_flow::abi::Record;

use super::error::LoadError;
use super::object::refused;
use super::ring_pages::RingPages;
use super::rounds::{Queue, Rounds};
use super::sys::Positions;
use crate::records::{RecordSource, Rings, Signal, Waker};

/// A ring as aya has it.
pub(super) type Ring = RingBuf<MapData>;

/// Fill level of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingFill {
    /// Signal of the ring.
    pub signal: Signal,
    /// Bytes that are written and not read.
    pub used: u64,
    /// Its size in bytes.
    pub size: u64,
}

/// One ring and how to open it.
#[derive(Debug)]
pub(super) struct RingSource {
    signal: Signal,
    fd: OwnedFd,
    positions: Arc<Positions>,
    size: u64,
}

impl RingSource {
    pub(super) fn new(signal: Signal, ring: &Ring) -> Result<Self, LoadError> {
        let fail = |error: io::Error| refused("a ring", &error);
        let fd = ring.as_fd().try_clone_to_owned().map_err(fail)?;
        let data = MapData::from_fd(fd.try_clone().map_err(fail)?).map_err(|error| refused("a ring", &error))?;
        let size = data.info().map_err(|error| refused("a ring", &error))?.max_entries();
        let positions = Arc::new(Positions::map(fd.as_fd()).map_err(fail)?);
        Ok(Self { signal, fd, positions, size: size.into() })
    }
}

/// All rings of the loaded programs. Clones are handles to the same rings; only one reader may be
/// open at a time.
#[derive(Debug, Clone)]
pub struct KernelRings {
    sources: Arc<Vec<RingSource>>,
    kept: bool,
}

impl KernelRings {
    /// Rings that are `kept` outlive the process.
    pub(super) fn new(sources: Vec<RingSource>, kept: bool) -> Self {
        Self { sources: Arc::new(sources), kept }
    }

    /// Fill level of each ring. Reads two words of shared memory each.
    pub fn fill(&self) -> Vec<RingFill> {
        let fill = |ring: &RingSource| RingFill { signal: ring.signal, used: ring.positions.used(), size: ring.size };
        self.sources.iter().map(fill).collect()
    }
}

impl KernelRings {
    /// Ends of each ring: what was read, what was written.
    pub(super) fn ends(&self) -> Vec<(u64, u64)> {
        self.sources.iter().map(|ring| ring.positions.ends()).collect()
    }

    /// Packets of the records that are not read, up to those still being written; true if none was.
    pub(super) fn unread_packets(&self) -> io::Result<(u64, bool)> {
        let (mut packets, mut are_written) = (0, true);
        for source in self.sources.iter() {
            let ring = RingPages::map(source.fd.as_fd(), source.size)?;
            are_written &= ring.peek(|record| packets += u64::from(Record::packets_of(record)));
        }
        Ok((packets, are_written))
    }
}

impl Rings for KernelRings {
    fn open(&self, waker: &Waker) -> io::Result<Box<dyn RecordSource>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut rings = Vec::with_capacity(self.sources.len());
        for source in self.sources.iter() {
            let ring = RingPages::map(source.fd.as_fd(), source.size)?;
            epoll::add(&epoll, source.fd.as_fd(), epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
            let positions = Arc::clone(&source.positions);
            rings.push(Opened { signal: source.signal, ring, positions, size: source.size });
        }
        epoll::add(&epoll, waker.as_fd(), epoll::EventData::new_u64(1), epoll::EventFlags::IN)?;
        Ok(Box::new(Reader { epoll, rings: Rounds::new(rings), waker: waker.clone() }))
    }

    fn are_kept(&self) -> bool {
        self.kept
    }
}

struct Opened {
    signal: Signal,
    ring: RingPages,
    positions: Arc<Positions>,
    size: u64,
}

impl Queue for Opened {
    fn ends(&self) -> (u64, u64) {
        self.positions.ends()
    }

    fn pop(&mut self, take: &mut dyn FnMut(Signal, &[u8]) -> ControlFlow<()>) -> Option<ControlFlow<()>> {
        let Self { signal, ring, .. } = self;
        ring.next(|record| take(*signal, record))
    }
}

struct Reader {
    epoll: OwnedFd,
    rings: Rounds<Opened>,
    waker: Waker,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("rings", &self.rings).finish_non_exhaustive()
    }
}

impl RecordSource for Reader {
    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let timeout = Timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 4];
        let count = match epoll::wait(&self.epoll, &mut events, Some(&timeout)) {
            Ok(count) => count,
            // A signal: the caller looks at its stop flag and comes again.
            Err(rustix::io::Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        if events.iter().take(count).any(|event| event.data.u64() == 1) {
            self.waker.reset();
        }
        Ok(())
    }

    fn is_half_full(&self) -> bool {
        self.rings.queues().any(|ring| ring.positions.used() >= ring.size / 2)
    }

    fn drain(&mut self, take: &mut dyn FnMut(Signal, &[u8]) -> ControlFlow<()>) -> usize {
        self.rings.drain(take)
    }
}
