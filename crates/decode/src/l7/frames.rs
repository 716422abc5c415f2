//! HTTP/2 frames of one direction: put together from records, and header blocks from frames.
//!
//! Bodies are not captured, so records do not follow each other: what goes on says so. Of a block
//! that lacks a part, or is longer than is kept, the beginning is read, which has method and
//! status; what is known of the direction's table is lost with the rest.

use webb_flow::abi::{Message, message_flag};

use super::buffers::Buffers;
use super::ledger::Cut;
use super::place::ahead;

/// Preface that a client sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a frame's head.
const HEAD: usize = 9;

/// Bytes of a frame, and of a header block.
const MAX_BLOCK_BYTES: usize = 16 * 1024;

/// Types of frames.
mod of {
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RESET: u8 = 3;
    pub(super) const PUSH: u8 = 5;
    pub(super) const CONTINUATION: u8 = 9;
}

/// Flags of frames.
mod flag {
    pub(super) const END_STREAM: u8 = 0x01;
    pub(super) const END_HEADERS: u8 = 0x04;
    pub(super) const PADDED: u8 = 0x08;
    pub(super) const PRIORITY: u8 = 0x20;
}

/// A head.
#[derive(Debug, Clone, Copy)]
struct FrameHead {
    length: usize,
    of: u8,
    flags: u8,
    stream: u32,
}

/// A parsed unit of a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit<'a> {
    /// A header block, or the beginning of one.
    Block { stream: u32, ends: bool, pushed: bool, time_ns: u64, bytes: &'a [u8], whole: bool },
    /// A stream was reset.
    Reset { stream: u32, code: u32 },
    /// A part was not seen.
    Lost,
    /// Data that was passed over to stay within a bound.
    Cut(Cut),
}

/// A frame that waits for its rest.
#[derive(Debug, Clone, Copy)]
struct Partial {
    buffer: u32,
    /// Sequence number of what comes next.
    next: u32,
    time_ns: u64,
}

/// A header block that waits for more frames.
#[derive(Debug, Clone, Copy)]
struct Block {
    buffer: u32,
    stream: u32,
    ends: bool,
    pushed: bool,
    time_ns: u64,
}

/// Outcome of reading a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameOutcome {
    Read,
    Past,
    Torn,
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Frames {
    furthest: Option<u32>,
    partial: Option<Partial>,
    block: Option<Block>,
}

/// True if the bytes begin a connection.
pub(super) fn is_preface(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PRI * HT")
}

type Take<'a> = &'a mut dyn FnMut(Unit<'_>);

impl Frames {
    /// Forgets what waits.
    pub(super) fn drop_parts(&mut self, buffers: &mut Buffers) {
        let parts = [self.partial.take().map(|partial| partial.buffer), self.block.take().map(|block| block.buffer)];
        for buffer in parts.into_iter().flatten() {
            buffers.free(buffer);
        }
    }

    /// Reads a record.
    pub(super) fn read(
        &mut self,
        record: &Message,
        bytes: &[u8],
        buffers: &mut Buffers,
        take: Take<'_>,
    ) -> FrameOutcome {
        if self.furthest.is_some_and(|furthest| ahead(furthest, record.sequence) > 0) {
            return FrameOutcome::Past;
        }
        self.furthest = Some(record.sequence.wrapping_add(u32::from(record.captured)));
        let mut rest = if is_preface(bytes) { bytes.get(PREFACE.len()..).unwrap_or_default() } else { bytes };
        let continues = record.has(message_flag::CONTINUES);
        if record.has(message_flag::GAP) {
            self.give_up(buffers, take);
        }
        match self.partial.take() {
            Some(partial) if continues && partial.next == record.sequence => {
                rest = self.resume(partial, rest, buffers, take);
            }
            Some(partial) => {
                self.partial = Some(partial);
                self.give_up(buffers, take);
                if continues {
                    return FrameOutcome::Torn;
                }
            }
            None if continues => {
                take(Unit::Lost);
                return FrameOutcome::Torn;
            }
            None => {}
        }
        while !rest.is_empty() {
            let Some((head, payload, behind)) = split(rest) else {
                self.keep(rest, record, buffers, take);
                break;
            };
            self.frame(head, payload, record.time_ns, buffers, take);
            rest = behind;
        }
        FrameOutcome::Read
    }

    /// Adds bytes to the frame that waits for them. Returns what is behind it.
    fn resume<'a>(&mut self, partial: Partial, bytes: &'a [u8], buffers: &mut Buffers, take: Take<'_>) -> &'a [u8] {
        let Some(buffer) = buffers.get_mut(partial.buffer) else { return bytes };
        let mut frame = std::mem::take(buffer);
        let (head, more) = bytes.split_at_checked(HEAD.saturating_sub(frame.len())).unwrap_or((bytes, &[]));
        frame.extend_from_slice(head);
        let whole = head_of(&frame).map_or(HEAD, |head| HEAD + head.length);
        let (payload, behind) = more.split_at_checked(whole.saturating_sub(frame.len())).unwrap_or((more, &[]));
        frame.extend_from_slice(payload);
        let whole = split(&frame);
        if let Some((head, payload, _)) = whole {
            self.frame(head, payload, partial.time_ns, buffers, take);
        }
        let waits = whole.is_none();
        let oversize = head_of(&frame).is_some_and(|head| head.length > MAX_BLOCK_BYTES);
        if let Some(buffer) = buffers.get_mut(partial.buffer) {
            *buffer = frame;
        }
        if waits {
            let added = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            self.partial = Some(Partial { next: partial.next.wrapping_add(added), ..partial });
            if oversize {
                self.oversize(buffers, take);
            }
        } else {
            buffers.free(partial.buffer);
        }
        behind
    }

    /// Keeps the beginning of a frame, unless nothing of it is read.
    fn keep(&mut self, rest: &[u8], record: &Message, buffers: &mut Buffers, take: Take<'_>) {
        let head = head_of(rest);
        if head.is_some_and(|head| !matches!(head.of, of::HEADERS | of::RESET | of::PUSH | of::CONTINUATION)) {
            return;
        }
        let Some(buffer) = buffers.take() else {
            take(Unit::Cut(Cut::Buffers));
            return self.give_up(buffers, take);
        };
        if let Some(bytes) = buffers.get_mut(buffer) {
            bytes.extend_from_slice(rest);
        }
        let next = record.sequence.wrapping_add(u32::from(record.captured));
        self.partial = Some(Partial { buffer, next, time_ns: record.time_ns });
        if head.is_some_and(|head| head.length > MAX_BLOCK_BYTES) {
            self.oversize(buffers, take);
        }
    }

    fn oversize(&mut self, buffers: &mut Buffers, take: Take<'_>) {
        take(Unit::Cut(Cut::Block));
        self.give_up(buffers, take);
    }

    /// Takes the beginning of the block that waits as it is.
    fn give_up(&mut self, buffers: &mut Buffers, take: Take<'_>) {
        if let Some(Block { buffer, stream, ends, pushed, time_ns }) = self.block
            && let Some(bytes) = buffers.get_mut(buffer)
        {
            take(Unit::Block { stream, ends, pushed, time_ns, bytes, whole: false });
        } else if let Some(Partial { buffer, time_ns, .. }) = self.partial
            && let Some(frame) = buffers.get_mut(buffer)
            && let Some(head) = head_of(frame).filter(|head| matches!(head.of, of::HEADERS | of::PUSH))
        {
            let bytes = frame.get(HEAD..).and_then(|payload| beginning(head, payload)).unwrap_or_default();
            let (pushed, stream) = (head.of == of::PUSH, head.stream);
            let ends = head.flags & flag::END_STREAM != 0 && !pushed;
            take(Unit::Block { stream, ends, pushed, time_ns, bytes, whole: false });
        }
        self.drop_parts(buffers);
        take(Unit::Lost);
    }

    /// Takes a whole frame.
    fn frame(&mut self, head: FrameHead, payload: &[u8], time_ns: u64, buffers: &mut Buffers, take: Take<'_>) {
        let pushed = head.of == of::PUSH;
        match head.of {
            of::RESET => {
                if let Some(code) = payload.first_chunk() {
                    take(Unit::Reset { stream: head.stream, code: u32::from_be_bytes(*code) });
                }
            }
            of::HEADERS | of::PUSH => {
                if self.block.is_some() {
                    self.give_up(buffers, take);
                }
                let Some(bytes) = fragment(head, payload) else { return take(Unit::Lost) };
                let (stream, ends) = (head.stream, head.flags & flag::END_STREAM != 0 && !pushed);
                if head.flags & flag::END_HEADERS != 0 {
                    return take(Unit::Block { stream, ends, pushed, time_ns, bytes, whole: true });
                }
                let Some(buffer) = buffers.take() else {
                    take(Unit::Cut(Cut::Buffers));
                    take(Unit::Block { stream, ends, pushed, time_ns, bytes, whole: false });
                    return take(Unit::Lost);
                };
                if let Some(block) = buffers.get_mut(buffer) {
                    block.extend_from_slice(bytes);
                }
                self.block = Some(Block { buffer, stream, ends, pushed, time_ns });
            }
            of::CONTINUATION => self.more(head, payload, buffers, take),
            _ => {}
        }
    }

    /// Adds a frame to the block that waits for it.
    fn more(&mut self, head: FrameHead, payload: &[u8], buffers: &mut Buffers, take: Take<'_>) {
        let Some(block) = self.block.filter(|block| block.stream == head.stream) else {
            return self.give_up(buffers, take);
        };
        let Some(bytes) = buffers.get_mut(block.buffer) else { return };
        if bytes.len() + payload.len() > MAX_BLOCK_BYTES {
            return self.oversize(buffers, take);
        }
        bytes.extend_from_slice(payload);
        if head.flags & flag::END_HEADERS != 0 {
            let whole = std::mem::take(bytes);
            let Block { stream, ends, pushed, time_ns, buffer } = block;
            take(Unit::Block { stream, ends, pushed, time_ns, bytes: &whole, whole: true });
            if let Some(bytes) = buffers.get_mut(buffer) {
                *bytes = whole;
            }
            buffers.free(buffer);
            self.block = None;
        }
    }
}

fn head_of(bytes: &[u8]) -> Option<FrameHead> {
    let (length, rest) = bytes.split_first_chunk::<3>()?;
    let &[of, flags] = rest.first_chunk()?;
    let stream = u32::from_be_bytes(*rest.get(2..)?.first_chunk()?) & (u32::MAX >> 1);
    let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    Some(FrameHead { length, of, flags, stream })
}

/// The first frame, if it is whole, and what is behind it.
fn split(bytes: &[u8]) -> Option<(FrameHead, &[u8], &[u8])> {
    let head = head_of(bytes)?;
    let (payload, behind) = bytes.get(HEAD..)?.split_at_checked(head.length)?;
    Some((head, payload, behind))
}

/// The part of a block in a frame: without padding, priority, and the promised stream.
fn fragment(head: FrameHead, payload: &[u8]) -> Option<&[u8]> {
    if head.flags & flag::PADDED != 0 {
        let padding = usize::from(*payload.first()?);
        return beginning(head, payload.get(..payload.len().checked_sub(padding)?)?);
    }
    beginning(head, payload)
}

/// The same of a frame that may go on.
fn beginning(head: FrameHead, payload: &[u8]) -> Option<&[u8]> {
    let rest = if head.flags & flag::PADDED != 0 { payload.get(1..)? } else { payload };
    if head.of == of::PUSH {
        return rest.get(4..);
    }
    if head.flags & flag::PRIORITY != 0 { rest.get(5..) } else { Some(rest) }
}
