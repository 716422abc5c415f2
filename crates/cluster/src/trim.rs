//! Gives back the memory of deleted pods.

use std::sync::atomic::Ordering::Relaxed;

use webb_flow::room::is_spacious;
use webb_flow::sym;

use super::Cache;
use super::store::lock;

impl Cache {
    /// Frees what deleted pods shared with no other, and the room of tables that were larger. To be
    /// called now and then: the index of before, which has the pods still, must be gone.
    pub fn trim(&self) {
        self.trim_at(self.store.clock.now_ns());
        sym::trim();
    }

    /// As [`Cache::trim`], at a time of `CLOCK_MONOTONIC` in nanoseconds.
    pub fn trim_at(&self, now_ns: u64) {
        let due_ns = self.trim_due_ns.load(Relaxed);
        if due_ns == 0 || now_ns < due_ns {
            return;
        }
        self.trim_due_ns.store(0, Relaxed);
        lock(&self.profiles).evict_unused();
        if is_spacious(self.store.pods.capacity(), self.store.pods.len()) {
            self.store.pods.shrink_to_fit();
        }
        self.trim_mesh();
        self.builder().shrink();
    }

    /// True if the next index would free the remains of deleted pods, though nothing else has
    /// changed.
    pub fn has_garbage(&self) -> bool {
        self.has_garbage_at(self.store.clock.now_ns())
    }

    /// As [`Cache::has_garbage`], at a time of `CLOCK_MONOTONIC` in nanoseconds.
    pub fn has_garbage_at(&self, now_ns: u64) -> bool {
        self.builder().has_garbage(now_ns)
    }
}
