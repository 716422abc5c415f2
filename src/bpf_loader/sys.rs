//! The system calls that no crate offers in the form we need.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use zerocopy::{FromZeros, Immutable, IntoBytes};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TEST_RUN: libc::c_long = 10;

/// `struct bpf_insn`.
#[derive(Debug, Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Instruction {
    pub(super) code: u8,
    /// The destination in the lower four bits, the source in the upper.
    pub(super) registers: u8,
    pub(super) offset: i16,
    pub(super) immediate: i32,
}

/// The beginning of the member of `union bpf_attr` that loads programs.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// Loads a classifier and lets go of it again.
///
/// aya loads programs out of objects only; a question to the verifier is a handful of instructions.
pub(super) fn try_classifier(program: &[Instruction]) -> io::Result<()> {
    const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
    let mut load = Load::new_zeroed();
    load.prog_type = BPF_PROG_TYPE_SCHED_CLS;
    load.insn_cnt = u32::try_from(program.len()).map_err(io::Error::other)?;
    load.insns = program.as_ptr() as u64;
    load.license = c"Dual BSD/GPL".as_ptr() as u64;
    // SAFETY: `load` is the beginning of the kernel's layout of the command, whose rest it takes
    // for zero, and lives through the call, as does what it points to, which the kernel only reads.
    let descriptor = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, std::ptr::from_mut(&mut load), std::mem::size_of::<Load>())
    };
    let descriptor = i32::try_from(descriptor).map_err(io::Error::other)?;
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, and it is known nowhere else.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    Ok(())
}

/// Looks something up in a map that there is not; the error says how far that comes.
pub(super) fn look_up_nothing() -> io::Error {
    const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
    // The member of `union bpf_attr` for elements: a map's descriptor, and pointers.
    let mut element = [u64::from(u32::MAX), 0, 0, 0];
    // SAFETY: the array is the kernel's layout of the command and lives through the call. What it
    // would point to is not looked at, since -1 is no descriptor.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_ELEM, element.as_mut_ptr(), std::mem::size_of_val(&element))
    };
    if result < 0 { io::Error::last_os_error() } else { io::Error::other("there is a map -1") }
}

/// The `test` member of `union bpf_attr`.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
}

/// Runs a program once, or `repeat` times, and returns what it returned.
///
/// aya can do this too, but only with the program borrowed from its object; the sweep runs on a
/// thread of its own.
pub(super) fn test_run(program: BorrowedFd<'_>, packet: &[u8], context: &[u8], repeat: u32) -> io::Result<u32> {
    let mut run = TestRun::new_zeroed();
    run.prog_fd = program.as_raw_fd().cast_unsigned();
    run.repeat = repeat;
    if !packet.is_empty() {
        run.data_in = packet.as_ptr() as u64;
        run.data_size_in = u32::try_from(packet.len()).map_err(io::Error::other)?;
    }
    if !context.is_empty() {
        run.ctx_in = context.as_ptr() as u64;
        run.ctx_size_in = u32::try_from(context.len()).map_err(io::Error::other)?;
    }
    // SAFETY: `run` is the kernel's layout of the command and lives through the call, as do the
    // slices that it points to, which the kernel only reads.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, std::ptr::from_mut(&mut run), std::mem::size_of::<TestRun>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(run.retval) }
}

/// A `struct __sk_buff` as far as a test run takes one: all zero but the interface.
pub(super) fn packet_context(interface: u32) -> [u8; 44] {
    let mut context = [0; 44];
    if let Some(index) = context.last_chunk_mut() {
        *index = interface.to_ne_bytes();
    }
    context
}

const BPF_PROG_QUERY: libc::c_long = 16;

/// `BPF_TCX_INGRESS`.
pub(super) const TCX_INGRESS: u32 = 46;

/// `BPF_TCX_EGRESS`.
pub(super) const TCX_EGRESS: u32 = 47;

/// The most programs that one chain can have: `BPF_MPROG_MAX`.
const CHAIN: u32 = 64;

/// The `query` member of `union bpf_attr`, as far as it is used.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct Query {
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    count: u32,
    pad: u32,
}

/// The ids of the programs in a TCX chain of an interface, in their order. Unlike opening the
/// programs, which aya does, this needs no more than `CAP_NET_ADMIN`.
pub(super) fn chain(index: u32, attach_type: u32) -> io::Result<Vec<u32>> {
    let mut ids = [0_u32; CHAIN as usize];
    let mut query = Query::new_zeroed();
    query.target_ifindex = index;
    query.attach_type = attach_type;
    query.prog_ids = ids.as_mut_ptr() as u64;
    query.count = CHAIN;
    // SAFETY: `query` is the beginning of the kernel's layout of the command, whose rest counts as
    // zero; it lives through the call, as does the array of ids, into which the kernel writes at
    // most `count` numbers.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, std::ptr::from_mut(&mut query), std::mem::size_of::<Query>())
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(ids.into_iter().take(query.count as usize).collect())
}

/// The `info` member of `union bpf_attr`.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct Info {
    bpf_fd: u32,
    length: u32,
    buffer: u64,
}

/// The beginning of `struct bpf_link_info` of a TCX link.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct TcxLink {
    link_type: u32,
    id: u32,
    prog_id: u32,
    padding: u32,
    ifindex: u32,
    attach_type: u32,
}

/// The interface that a TCX link is on; 0 if it is on none any more.
pub(super) fn linked_interface(link: BorrowedFd<'_>) -> io::Result<u32> {
    const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
    let mut found = TcxLink::new_zeroed();
    let mut info = Info::new_zeroed();
    info.bpf_fd = link.as_raw_fd().cast_unsigned();
    info.length = u32::try_from(std::mem::size_of::<TcxLink>()).map_err(io::Error::other)?;
    info.buffer = std::ptr::from_mut(&mut found) as u64;
    // SAFETY: `info` is the kernel's layout of the command and lives through the call, as does the
    // structure that it points to, into which the kernel writes at most `length` bytes.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, std::ptr::from_mut(&mut info), std::mem::size_of::<Info>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(found.ifindex) }
}

/// The name that an interface has now; none if it was removed. An error says nothing of the
/// interface: asking needs a socket, for which there may be no descriptor left.
pub(super) fn interface_name(index: u32) -> std::io::Result<Option<String>> {
    let mut name = [0_u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the size that the function asks for.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    if found.is_null() {
        let error = std::io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ENXIO | libc::ENODEV) => Ok(None),
            _ => Err(error),
        };
    }
    let text = name.split(|&byte| byte == 0).next().unwrap_or_default();
    Ok(Some(String::from_utf8_lossy(text).into_owned()))
}

/// The resolution of `CLOCK_MONOTONIC_COARSE`.
pub(super) fn coarse_resolution() -> std::time::Duration {
    let mut resolution = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is ours and lives through the call.
    let result = unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut resolution) };
    if result != 0 || resolution.tv_sec != 0 {
        return std::time::Duration::ZERO;
    }
    std::time::Duration::from_nanos(resolution.tv_nsec.unsigned_abs())
}

/// The size of a page, in bytes.
pub(super) fn page_size() -> u32 {
    // SAFETY: takes and returns integers.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u32::try_from(size).unwrap_or(4096)
}

/// The positions of a ring's two ends, in the pages that the kernel shares.
#[derive(Debug)]
pub(super) struct Positions {
    consumer: Page,
    producer: Page,
}

impl Positions {
    pub(super) fn map(ring: BorrowedFd<'_>) -> io::Result<Self> {
        let page = page_size() as usize;
        Ok(Self { consumer: Page::map(ring, 0, page)?, producer: Page::map(ring, page, page)? })
    }

    /// Positions of the consumer and of the producer, with records still being written.
    pub(super) fn ends(&self) -> (u64, u64) {
        let consumer = self.consumer.word();
        (consumer, self.producer.word())
    }

    /// Bytes between the two ends. They move while being read: the reader's end is read first, so
    /// the result may be a little too large and never wraps.
    pub(super) fn used(&self) -> u64 {
        let (consumer, producer) = self.ends();
        producer.saturating_sub(consumer)
    }
}

/// One page of a map, mapped for reading.
#[derive(Debug)]
struct Page {
    at: std::ptr::NonNull<libc::c_void>,
    length: usize,
}

// SAFETY: the page is only read, atomically, and unmapped once, by its owner.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    fn map(fd: BorrowedFd<'_>, offset: usize, length: usize) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: a new mapping of a file descriptor that is open; the kernel chooses the place.
        let at = unsafe {
            libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, fd.as_raw_fd(), offset)
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = std::ptr::NonNull::new(at).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { at, length })
    }

    fn word(&self) -> u64 {
        // SAFETY: the page is mapped as long as `self` lives, is aligned, and begins with a 64-bit
        // word that only ever is written atomically.
        let word = unsafe { self.at.cast::<std::sync::atomic::AtomicU64>().as_ref() };
        word.load(std::sync::atomic::Ordering::Acquire)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping that `map` made, and nothing refers to it any more.
        let _result = unsafe { libc::munmap(self.at.as_ptr(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::privileges::confine_this_thread;

    /// Under the agent's seccomp filter nothing is loaded, with all capabilities; what is there can
    /// be used.
    #[test]
    fn nothing_is_loaded_under_the_filter() {
        let instruction = |code| Instruction { code, registers: 0, offset: 0, immediate: 0 };
        // r0 = 0; exit
        let program = [instruction(0xb7), instruction(0x95)];
        if let Err(error) = try_classifier(&program) {
            assert!(std::env::var_os("CI").is_none(), "CI must be able to load programs: {error}");
            println!("SKIPPED: a program cannot be loaded: {error}");
            return;
        }
        let (loaded, looked_up) = thread::scope(|scope| {
            let confined = scope.spawn(|| {
                confine_this_thread(false);
                (try_classifier(&program), look_up_nothing())
            });
            confined.join().unwrap()
        });
        assert_eq!(loaded.unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(looked_up.raw_os_error(), Some(libc::EBADF));
    }
}
