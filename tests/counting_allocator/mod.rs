//! An allocator that counts, for tests and benches that must not allocate or that tell how much
//! they hold. It is the whole process': such a test is alone in its binary.

#![allow(dead_code, reason = "each uses its part of it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static HERE: Cell<u64> = const { Cell::new(0) };
}

/// Allocations of all threads so far.
pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.load(SeqCst)
}

/// Allocations of this thread so far.
pub(crate) fn allocations_here() -> u64 {
    HERE.with(Cell::get)
}

/// Bytes that all threads hold now, as they asked for them.
pub(crate) fn bytes() -> u64 {
    BYTES.load(SeqCst)
}

fn count(grown: usize, shrunk: usize) {
    ALLOCATIONS.fetch_add(1, SeqCst);
    HERE.with(|count| count.set(count.get() + 1));
    BYTES.fetch_add(grown as u64, SeqCst);
    BYTES.fetch_sub(shrunk as u64, SeqCst);
}

struct Counting;

// SAFETY: every call is handed on unchanged to the system's allocator, which keeps the contract;
// counting touches only numbers, and the thread's own needs neither allocation nor destruction.
#[allow(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size() as u64, SeqCst);
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: the caller keeps `realloc`'s contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
