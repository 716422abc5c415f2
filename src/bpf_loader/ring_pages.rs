//! The pages of a BPF ring buffer, mapped once.
//!
//! The kernel maps a ring's data twice in a row, so that no record is cut in two, and a process may
//! do the same; aya does. Both copies count as the process's memory. Here the data is mapped once,
//! and the one record in tens of thousands that goes over the end is put together in a buffer.
//!
//! The format is the kernel's (`kernel/bpf/ringbuf.c`): a page with the position up to which the
//! ring was read, a page with the position up to which it is written, then the data. Each record
//! has a header of two words of 32 bits: its length with two flags, and what only the kernel reads.
//! Records begin at multiples of 8 bytes.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::sys::page_size;

/// The record is still being written.
const BUSY: u32 = 1 << 31;
/// The record is to be passed over.
const DISCARDED: u32 = 1 << 30;
/// Bytes of a record's header.
const HEADER: u64 = 8;

/// A ring that is read.
#[derive(Debug)]
pub(super) struct RingPages {
    consumer: Mapping,
    /// The page of the kernel's position, and the data behind it.
    kernel: Mapping,
    page: usize,
    size: u64,
    /// Copy of a record that wraps around the end.
    whole: Vec<u8>,
}

impl RingPages {
    /// Maps a ring of `size` bytes, a power of two.
    pub(super) fn map(ring: BorrowedFd<'_>, size: u64) -> io::Result<Self> {
        if !size.is_power_of_two() {
            return Err(io::Error::other(format!("a ring of {size} bytes, which is no power of two")));
        }
        let page = page_size() as usize;
        let data = usize::try_from(size).map_err(io::Error::other)?;
        let consumer = Mapping::new(ring, 0, page, libc::PROT_READ | libc::PROT_WRITE)?;
        let kernel = Mapping::new(ring, page, page + data, libc::PROT_READ)?;
        Ok(Self { consumer, kernel, page, size, whole: Vec::new() })
    }

    /// Passes the next record to `take` and returns its result; none if there is none, or it is
    /// still being written. The record counts as read when `take` returns or panics.
    pub(super) fn next<T>(&mut self, take: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let Self { consumer, kernel, page, size, whole } = self;
        let read = consumer.word64();
        loop {
            let position = read.load(Ordering::Relaxed);
            if position >= kernel.word64().load(Ordering::Acquire) {
                return None;
            }
            let at = *page + usize::try_from(position & (*size - 1)).ok()?;
            let header = kernel.word32(at)?.load(Ordering::Acquire);
            if header & BUSY != 0 {
                return None;
            }
            let length = header & !(BUSY | DISCARDED);
            let next = position + (HEADER + u64::from(length)).next_multiple_of(HEADER);
            let _advance = Advance { read, next };
            if header & DISCARDED != 0 {
                continue;
            }
            // The header never goes over the end, but the record may begin there.
            let begin = (at + 8 - *page) % usize::try_from(*size).ok()? + *page;
            let end = kernel.length;
            let length = length as usize;
            if begin + length <= end {
                return Some(take(kernel.bytes(begin, length)?));
            }
            whole.clear();
            whole.extend_from_slice(kernel.bytes(begin, end - begin)?);
            whole.extend_from_slice(kernel.bytes(*page, length - (end - begin))?);
            return Some(take(whole));
        }
    }
}

impl RingPages {
    /// Passes each record that is not read to `take`, and leaves it there; false if one is still
    /// being written, which ends the walk.
    pub(super) fn peek(&self, mut take: impl FnMut(&[u8])) -> bool {
        let Self { consumer, kernel, page, size, .. } = self;
        let mut position = consumer.word64().load(Ordering::Relaxed);
        let end = kernel.word64().load(Ordering::Acquire);
        let mut whole = Vec::new();
        while position < end {
            let at = |position: u64| usize::try_from(position & (*size - 1)).ok().map(|at| *page + at);
            let Some(header) = at(position).and_then(|at| kernel.word32(at)) else { return false };
            let header = header.load(Ordering::Acquire);
            if header & BUSY != 0 {
                return false;
            }
            let length = header & !(BUSY | DISCARDED);
            if header & DISCARDED == 0 {
                let Some(begin) = at(position + HEADER) else { return false };
                let first = (length as usize).min(kernel.length - begin);
                whole.clear();
                for (from, length) in [(begin, first), (*page, length as usize - first)] {
                    whole.extend_from_slice(kernel.bytes(from, length).unwrap_or_default());
                }
                take(&whole);
            }
            position += (HEADER + u64::from(length)).next_multiple_of(HEADER);
        }
        true
    }
}

/// Moves the position up to which a ring was read, when dropped.
struct Advance<'a> {
    read: &'a AtomicU64,
    next: u64,
}

impl Drop for Advance<'_> {
    fn drop(&mut self) {
        // Sequentially consistent, or the kernel could miss that a reader waits for the next
        // record.
        self.read.store(self.next, Ordering::SeqCst);
    }
}

/// Memory that is shared with the kernel.
#[derive(Debug)]
struct Mapping {
    at: NonNull<u8>,
    length: usize,
}

// SAFETY: shared words are only used atomically, and the owner unmaps once.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, offset: usize, length: usize, protection: libc::c_int) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: a new mapping of a file descriptor that is open; the kernel chooses the place.
        let at =
            unsafe { libc::mmap(std::ptr::null_mut(), length, protection, libc::MAP_SHARED, fd.as_raw_fd(), offset) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { at, length })
    }

    /// The word at the beginning.
    fn word64(&self) -> &AtomicU64 {
        // SAFETY: a mapping is a page at least, aligned, lives as long as `self`, and its first
        // word is only used atomically.
        unsafe { self.at.cast::<AtomicU64>().as_ref() }
    }

    /// The word at `offset`; none outside, or where a word cannot begin.
    fn word32(&self, offset: usize) -> Option<&AtomicU32> {
        if !offset.is_multiple_of(4) || offset.checked_add(4)? > self.length {
            return None;
        }
        // SAFETY: `offset` lies inside of the mapping.
        let at = unsafe { self.at.add(offset) };
        // SAFETY: aligned and inside, checked above; headers are only used atomically.
        Some(unsafe { at.cast::<AtomicU32>().as_ref() })
    }

    /// Bytes of a record that is written; none outside. The kernel does not touch them before the
    /// position of reading has passed them.
    fn bytes(&self, offset: usize, length: usize) -> Option<&[u8]> {
        if offset.checked_add(length)? > self.length {
            return None;
        }
        // SAFETY: `offset` lies inside of the mapping.
        let at = unsafe { self.at.add(offset) };
        // SAFETY: all bytes lie inside, and are not written while the slice lives, as said above.
        Some(unsafe { std::slice::from_raw_parts(at.as_ptr(), length) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping that `new` made, and nothing refers to it any more.
        let _result = unsafe { libc::munmap(self.at.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    const SIZE: u64 = 4096;

    /// A ring as the kernel leaves it, in a file of memory.
    struct Kernel(File, u64);

    impl Kernel {
        fn new() -> Self {
            let file = File::from(memfd_create("ring", MemfdFlags::CLOEXEC).unwrap());
            file.set_len(2 * u64::from(page_size()) + SIZE).unwrap();
            Self(file, 0)
        }

        fn put(&self, position: u64, bytes: &[u8]) {
            for (at, byte) in (position..).zip(bytes) {
                self.0.write_all_at(&[*byte], 2 * u64::from(page_size()) + at % SIZE).unwrap();
            }
        }

        /// Writes a record; returns where it begins.
        fn record(&mut self, flags: u32, bytes: &[u8]) -> u64 {
            let begin = self.1;
            self.put(begin, &(u32::try_from(bytes.len()).unwrap() | flags).to_ne_bytes());
            self.put(begin + HEADER, bytes);
            self.1 = begin + (HEADER + bytes.len() as u64).next_multiple_of(HEADER);
            self.0.write_all_at(&self.1.to_ne_bytes(), page_size().into()).unwrap();
            begin
        }

        fn read(&self) -> u64 {
            let mut bytes = [0; 8];
            self.0.read_exact_at(&mut bytes, 0).unwrap();
            u64::from_ne_bytes(bytes)
        }
    }

    /// Records come in order and whole, over the end of the data too, for many rounds.
    #[test]
    fn records_are_whole_over_the_end() {
        let mut kernel = Kernel::new();
        let mut ring = RingPages::map(kernel.0.as_fd(), SIZE).unwrap();
        for number in 0..2000_u32 {
            let bytes: Vec<u8> = (0..40 + number % 9).map(|at| (number + at).to_le_bytes()[0]).collect();
            kernel.record(0, &bytes);
            assert_eq!(ring.next(<[u8]>::to_vec), Some(bytes), "record {number}");
            assert_eq!(ring.next(<[u8]>::len), None);
            assert_eq!(kernel.read(), kernel.1);
        }
        assert!(kernel.1 > 20 * SIZE);
    }

    /// What is not read can be looked at, over the end of the data too, and is read afterwards;
    /// what is discarded is left out, and what is being written ends the look.
    #[test]
    fn records_are_peeked_at() {
        let mut kernel = Kernel::new();
        let mut ring = RingPages::map(kernel.0.as_fd(), SIZE).unwrap();
        let peeked = |ring: &RingPages| {
            let mut seen = Vec::new();
            (ring.peek(|record| seen.push(record.to_vec())), seen)
        };
        for number in 0..500_u32 {
            let bytes: Vec<Vec<u8>> = (1..4).map(|at| vec![number.to_le_bytes()[0] ^ at; 30]).collect();
            kernel.record(0, &bytes[0]);
            kernel.record(DISCARDED, &bytes[1]);
            kernel.record(0, &bytes[2]);
            let unread = vec![bytes[0].clone(), bytes[2].clone()];
            assert_eq!(peeked(&ring), (true, unread.clone()), "{number}");
            assert_eq!(
                [ring.next(<[u8]>::to_vec), ring.next(<[u8]>::to_vec)],
                [0, 1].map(|at| Some(unread[at].clone()))
            );
            assert_eq!(peeked(&ring), (true, Vec::new()));
        }
        kernel.record(0, b"first");
        kernel.record(BUSY, b"second");
        assert_eq!(peeked(&ring), (false, vec![b"first".to_vec()]));
    }

    /// A record that is being written holds up those behind it; one that was discarded is passed
    /// over.
    #[test]
    fn flags_are_obeyed() {
        let mut kernel = Kernel::new();
        let mut ring = RingPages::map(kernel.0.as_fd(), SIZE).unwrap();
        kernel.record(DISCARDED, b"nothing");
        let begin = kernel.record(BUSY, b"first");
        kernel.record(0, b"second");
        assert_eq!(ring.next(<[u8]>::to_vec), None);
        kernel.put(begin, &5_u32.to_ne_bytes());
        assert_eq!(ring.next(<[u8]>::to_vec).as_deref(), Some(&b"first"[..]));
        assert_eq!(ring.next(<[u8]>::to_vec).as_deref(), Some(&b"second"[..]));
        assert_eq!(ring.next(<[u8]>::to_vec), None);
    }

    /// A record consumed by a panicking reader counts as read: the next reader goes on behind it.
    #[test]
    fn a_panic_consumes_its_record() {
        let mut kernel = Kernel::new();
        kernel.record(0, b"bad");
        kernel.record(0, b"good");
        let mut ring = RingPages::map(kernel.0.as_fd(), SIZE).unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| ring.next(|_| panic!("bad")))).is_err());
        let mut next = RingPages::map(kernel.0.as_fd(), SIZE).unwrap();
        assert_eq!(next.next(<[u8]>::to_vec).as_deref(), Some(&b"good"[..]));
    }
}
