//! Buffers for what waits for its rest, a bounded number of them, used again.

/// The buffers.
#[derive(Debug)]
pub(super) struct Buffers {
    all: Vec<Vec<u8>>,
    free: Vec<u32>,
    most: usize,
}

impl Buffers {
    pub(super) fn new(most: usize) -> Self {
        Self { all: Vec::new(), free: Vec::new(), most }
    }

    /// An empty buffer, if one is free.
    pub(super) fn take(&mut self) -> Option<u32> {
        if let Some(id) = self.free.pop() {
            self.get_mut(id)?.clear();
            return Some(id);
        }
        if self.all.len() >= self.most {
            return None;
        }
        self.all.push(Vec::new());
        u32::try_from(self.all.len() - 1).ok()
    }

    pub(super) fn free(&mut self, id: u32) {
        self.free.push(id);
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Vec<u8>> {
        self.all.get_mut(id as usize)
    }

    /// Buffers in use.
    pub(super) fn used(&self) -> usize {
        self.all.len() - self.free.len()
    }
}
