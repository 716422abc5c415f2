//! Locates captured bytes of an HTTP/1 connection within their segment and stream.

/// A stretch of bytes to be read.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "four facts about a record, each on its own")]
pub(super) struct Span<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) sequence: u32,
    /// Sequence number behind the segment, which may have more bytes than these.
    pub(super) end: u32,
    pub(super) acknowledgement: u32,
    pub(super) time_ns: u64,
    pub(super) continues: bool,
    /// It continues something of which the beginning was not kept.
    pub(super) torn: bool,
    /// The kernel sends what a partial head lacks.
    pub(super) more: bool,
    pub(super) overtaken: bool,
}

impl Span<'_> {
    /// Bytes of the segment from the first of these on.
    pub(super) fn whole(&self) -> u64 {
        u64::from(self.end.wrapping_sub(self.sequence))
    }

    pub(super) fn is_cut(&self) -> bool {
        self.whole() > self.bytes.len() as u64
    }
}
