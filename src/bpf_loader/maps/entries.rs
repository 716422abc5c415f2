//! Counts the entries of a map: a batch of them with each system call, where the kernel has that.
//!
//! Neither form of reading renews an entry of an LRU map.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Instant;

use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::OpenMap;

const BPF_MAP_GET_NEXT_KEY: libc::c_long = 4;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;

/// Bytes of keys and values that one batch has at first, and at most: a bucket with more entries
/// than a batch needs a larger one.
const BATCH_BYTES: usize = 256 << 10;
const MAX_BATCH_BYTES: usize = 16 << 20;

/// `ENOTSUPP` of the kernel, which has no name in user space.
const NOT_SUPPORTED: i32 = 524;

/// Outcome of counting a map.
#[derive(Debug)]
pub enum EntryCount {
    /// So many entries.
    Counted(u64),
    /// The map has no entries that come and go: arrays, rings, storage of other objects.
    Uncountable,
    /// It took too long, or entries came and went faster than they were counted.
    TimedOut,
    /// The kernel refuses to read it.
    Refused(io::Error),
}

/// Memory for batches, kept from one map to the next.
#[derive(Debug, Default)]
pub struct Buffer {
    keys: Vec<u8>,
    values: Vec<u8>,
}

/// Means by which a type of map is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    Batches,
    /// As batches, with a value for each possible CPU.
    BatchesPerCpu,
    Keys,
    None,
}

/// Means for a type, a number of `enum bpf_map_type`.
fn means(map_type: u32) -> Means {
    use aya::maps::MapType::{DevMapHash, Hash, HashOfMaps, LpmTrie, LruHash, LruPerCpuHash, PerCpuHash, SockHash};
    let is = |types: &[aya::maps::MapType]| types.iter().any(|known| *known as u32 == map_type);
    if is(&[Hash, LruHash, LpmTrie]) {
        Means::Batches
    } else if is(&[PerCpuHash, LruPerCpuHash]) {
        Means::BatchesPerCpu
    } else if is(&[HashOfMaps, SockHash, DevMapHash]) {
        Means::Keys
    } else {
        Means::None
    }
}

impl OpenMap {
    /// Counts the entries, until `deadline` at most.
    pub fn entries(&self, buffer: &mut Buffer, deadline: Instant) -> EntryCount {
        let value = self.value_size as usize;
        match means(self.map_type) {
            Means::None => EntryCount::Uncountable,
            Means::Keys => self.count_keys(deadline),
            Means::Batches => self.count_batches(value, buffer, deadline),
            Means::BatchesPerCpu => match aya::util::nr_cpus() {
                Ok(cpus) => self.count_batches(value.next_multiple_of(8) * cpus, buffer, deadline),
                Err((_, error)) => EntryCount::Refused(error),
            },
        }
    }

    fn count_batches(&self, value: usize, buffer: &mut Buffer, deadline: Instant) -> EntryCount {
        let key = self.key_size as usize;
        let most = self.max_entries.max(1) as usize;
        let mut batch = (BATCH_BYTES / (key + value).max(1)).clamp(16, 1 << 16).min(most.max(16));
        // A position is the number of a bucket, or a key.
        let (mut from, mut to) = (vec![0; key.max(8)], vec![0; key.max(8)]);
        let (mut total, mut first) = (0, true);
        while Instant::now() < deadline {
            buffer.keys.resize(batch * key, 0);
            buffer.values.resize(batch * value, 0);
            let start = (!first).then_some(&from[..]);
            let (count, outcome) = lookup_batch(self.fd.as_fd(), start, &mut to, buffer, batch);
            let errno = outcome.as_ref().err().and_then(io::Error::raw_os_error);
            match (outcome, errno) {
                (Ok(()), _) => total += u64::from(count),
                (Err(_), Some(libc::ENOENT)) => return EntryCount::Counted(total + u64::from(count)),
                (Err(_), Some(libc::ENOSPC)) if 2 * batch * (key + value) <= MAX_BATCH_BYTES => {
                    batch *= 2;
                    continue;
                }
                (Err(_), Some(libc::EINTR | libc::EAGAIN)) => continue,
                // Before Linux 5.6, and for types without batches.
                (Err(_), Some(libc::EINVAL | libc::ENOTSUP | NOT_SUPPORTED)) if first => {
                    return self.count_keys(deadline);
                }
                (Err(error), _) => return EntryCount::Refused(error),
            }
            first = false;
            std::mem::swap(&mut from, &mut to);
        }
        EntryCount::TimedOut
    }

    fn count_keys(&self, deadline: Instant) -> EntryCount {
        let key = self.key_size as usize;
        let (mut from, mut to) = (vec![0; key], vec![0; key]);
        // After a key that has gone the kernel begins anew, so that this may be endless.
        for total in 0..=u64::from(self.max_entries) {
            if total % 64 == 0 && Instant::now() >= deadline {
                return EntryCount::TimedOut;
            }
            match next_key(self.fd.as_fd(), (total > 0).then_some(&from[..]), &mut to) {
                Ok(()) => std::mem::swap(&mut from, &mut to),
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return EntryCount::Counted(total),
                Err(error) => return EntryCount::Refused(error),
            }
        }
        EntryCount::TimedOut
    }
}

/// The `batch` member of `union bpf_attr`.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct Batch {
    from: u64,
    to: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Reads the next entries; returns how many, and whether there may be more.
fn lookup_batch(
    map: BorrowedFd<'_>,
    from: Option<&[u8]>,
    to: &mut [u8],
    buffer: &mut Buffer,
    count: usize,
) -> (u32, io::Result<()>) {
    let mut batch = Batch::new_zeroed();
    batch.from = from.map_or(0, |from| from.as_ptr() as u64);
    batch.to = to.as_mut_ptr() as u64;
    batch.keys = buffer.keys.as_mut_ptr() as u64;
    batch.values = buffer.values.as_mut_ptr() as u64;
    batch.count = u32::try_from(count).unwrap_or(u32::MAX);
    batch.map_fd = map.as_raw_fd().cast_unsigned();
    // SAFETY: `batch` is the kernel's layout of the command and lives through the call, as does
    // what it points to: positions of a key's length and eight bytes at least, and room for `count`
    // keys and values of the map's own sizes.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_BATCH, std::ptr::from_mut(&mut batch), std::mem::size_of::<Batch>())
    };
    if result < 0 {
        let error = io::Error::last_os_error();
        // Only at the end is it a count; else what was asked for may still be there.
        let count = if error.raw_os_error() == Some(libc::ENOENT) { batch.count } else { 0 };
        return (count, Err(error));
    }
    (batch.count, Ok(()))
}

/// Reads the key after `from`, or the first.
fn next_key(map: BorrowedFd<'_>, from: Option<&[u8]>, to: &mut [u8]) -> io::Result<()> {
    // The member of `union bpf_attr` for elements: a map's descriptor, and pointers.
    let mut element = [
        u64::from(map.as_raw_fd().cast_unsigned()),
        from.map_or(0, |from| from.as_ptr() as u64),
        to.as_mut_ptr() as u64,
        0,
    ];
    // SAFETY: the array is the kernel's layout of the command and lives through the call, as do
    // both keys, which have the map's size.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_GET_NEXT_KEY, element.as_mut_ptr(), std::mem::size_of_val(&element))
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::own;
    use super::*;

    /// A map for as long as the value lives; none without the privileges.
    fn made(map_type: u32, key: u32, value: u32, entries: u32, flags: u32) -> Option<OpenMap> {
        /// The beginning of the member of `union bpf_attr` that makes maps.
        #[derive(FromZeros, IntoBytes, Immutable)]
        #[repr(C)]
        struct Create {
            map_type: u32,
            key_size: u32,
            value_size: u32,
            max_entries: u32,
            map_flags: u32,
            inner_map_fd: u32,
            numa_node: u32,
            map_name: [u8; 16],
        }
        let mut create = Create::new_zeroed();
        (create.map_type, create.key_size, create.value_size) = (map_type, key, value);
        (create.max_entries, create.map_flags) = (entries, flags);
        create.map_name[..9].copy_from_slice(b"webb_test");
        // SAFETY: `create` is the beginning of the kernel's layout of the command and lives through
        // the call.
        let fd = unsafe {
            libc::syscall(libc::SYS_bpf, 0_i64, std::ptr::from_mut(&mut create), std::mem::size_of::<Create>())
        };
        if fd < 0 {
            assert!(std::env::var_os("CI").is_none(), "CI must be able to make maps: {}", io::Error::last_os_error());
            println!("SKIPPED: a map cannot be made: {}", io::Error::last_os_error());
            return None;
        }
        // SAFETY: the kernel has just made it, and it is known nowhere else.
        let fd = unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(i32::try_from(fd).unwrap()) };
        let data = aya::maps::MapData::from_fd(fd.try_clone().unwrap()).unwrap();
        Some(OpenMap::new("webb_test".to_owned(), &data.info().unwrap(), fd))
    }

    fn put(map: &OpenMap, key: &[u8], value: &[u8]) {
        let mut element =
            [u64::from(map.fd.as_raw_fd().cast_unsigned()), key.as_ptr() as u64, value.as_ptr() as u64, 0];
        // SAFETY: as above; both have the map's sizes.
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, 2_i64, element.as_mut_ptr(), std::mem::size_of_val(&element)) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }

    fn count(map: &OpenMap) -> u64 {
        match map.entries(&mut Buffer::default(), Instant::now() + Duration::from_mins(1)) {
            EntryCount::Counted(count) => count,
            other => panic!("{other:?}"),
        }
    }

    const NO_PREALLOC: u32 = 1;

    /// Every type that has entries is counted, by batches and by keys alike, empty, with entries
    /// and full.
    #[test]
    fn maps_are_counted() {
        use aya::maps::MapType::{Hash, LpmTrie, LruHash, LruPerCpuHash, PerCpuHash};
        for (map_type, flags) in [(Hash, 0), (LruHash, 0), (PerCpuHash, 0), (LruPerCpuHash, 0), (LpmTrie, NO_PREALLOC)]
        {
            let Some(map) = made(map_type as u32, 8, 12, 4096, flags) else { return };
            let values = vec![0; 16 * aya::util::nr_cpus().unwrap()];
            assert_eq!(count(&map), 0, "{map_type:?}");
            for number in 0..1500_u32 {
                let key = [32_u32.to_ne_bytes(), number.to_be_bytes()].concat();
                put(&map, &key, &values);
            }
            assert_eq!(count(&map), 1500, "{map_type:?}");
            assert!(
                matches!(map.count_keys(Instant::now() + Duration::from_mins(1)), EntryCount::Counted(1500)),
                "{map_type:?}"
            );
            assert!(map.memory() > 0 && map.max_entries == 4096, "{map:?}");
        }
    }

    /// Values so large that a batch is smaller than a bucket: the batch grows.
    #[test]
    fn buckets_larger_than_a_batch_are_counted() {
        let Some(map) = made(aya::maps::MapType::Hash as u32, 4, 64 << 10, 64, NO_PREALLOC) else { return };
        let value = vec![0; 64 << 10];
        for number in 0..50_u32 {
            put(&map, &number.to_ne_bytes(), &value);
        }
        assert_eq!(count(&map), 50);
    }

    /// Arrays have no count, and a deadline that is over ends the count.
    #[test]
    fn what_cannot_be_counted() {
        let Some(map) = made(aya::maps::MapType::Array as u32, 4, 8, 16, 0) else { return };
        let over = Instant::now();
        assert!(matches!(map.entries(&mut Buffer::default(), over), EntryCount::Uncountable));
        let Some(map) = made(aya::maps::MapType::Hash as u32, 4, 8, 16, 0) else { return };
        assert!(matches!(map.entries(&mut Buffer::default(), over), EntryCount::TimedOut));
        assert!(matches!(map.count_keys(over), EntryCount::TimedOut));
        assert!(own::memory(map.fd.as_fd()) > 0);
    }
}
