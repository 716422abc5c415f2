//! The layer-7 record: a header of 72 bytes, and behind it the payload that was captured of one
//! segment.

use std::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::VERSION;

/// Types of layer-7 records: values of [`Message::kind`].
pub mod message_kind {
    /// A segment of an HTTP/1 connection that looks like a head, or continues one.
    pub const HTTP1: u8 = 2;
    /// A frame of an HTTP/2 connection, or what follows of one.
    pub const HTTP2: u8 = 3;
    /// A DNS message over UDP.
    pub const DNS: u8 = 4;
    /// Bytes of a DNS connection over TCP.
    pub const DNS_TCP: u8 = 5;
}

/// Bits of [`Message::flags`].
pub mod message_flag {
    /// The bytes follow those of the sender's record before.
    pub const CONTINUES: u8 = 0x01;
    /// The segment has more bytes than were captured.
    pub const CUT: u8 = 0x02;
    /// The connection's first record.
    pub const FIRST: u8 = 0x04;
    /// Bytes before these were not seen.
    pub const GAP: u8 = 0x08;
}

/// The header of a layer-7 record: `struct webb_message`, 72 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Message {
    /// [`VERSION`].
    pub version: u8,
    /// Type of the record, one of [`message_kind`].
    pub kind: u8,
    /// Bytes of payload behind the header.
    pub captured: u16,
    /// The interface of the pod.
    pub ifindex: u32,
    /// `CLOCK_MONOTONIC`, exact.
    pub time_ns: u64,
    /// IPv4 as `::ffff:a.b.c.d`.
    pub source: [u8; 16],
    /// Destination address, like `source`.
    pub destination: [u8; 16],
    /// The sender's port.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
    /// TCP: of the first captured byte.
    pub sequence: u32,
    /// TCP: of the segment.
    pub acknowledgement: u32,
    /// Bytes from the first captured one to the segment's end.
    pub payload: u32,
    /// Sequence of the stream's first byte in the sender's first record, if its SYN was seen; else
    /// `sequence`.
    pub begin: u32,
    /// 4 or 6.
    pub family: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// `enum webb_hook`.
    pub hook: u8,
    /// Bits of [`message_flag`].
    pub flags: u8,
}

impl Message {
    /// The header and the payload of a record; none if its version or a length is wrong.
    #[inline]
    pub fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (message, payload) = Self::read_from_prefix(bytes).ok()?;
        let whole = message.version == VERSION
            && usize::from(message.captured) == payload.len()
            && u32::from(message.captured) <= message.payload;
        whole.then_some((message, payload))
    }

    /// True if this bit of [`message_flag`] is set.
    #[inline]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

const _: () = assert!(size_of::<Message>() == 72);
const _: () = assert!(offset_of!(Message, time_ns) == 8);
const _: () = assert!(offset_of!(Message, source) == 16);
const _: () = assert!(offset_of!(Message, destination) == 32);
const _: () = assert!(offset_of!(Message, source_port) == 48);
const _: () = assert!(offset_of!(Message, sequence) == 52);
const _: () = assert!(offset_of!(Message, begin) == 64);
const _: () = assert!(offset_of!(Message, flags) == 71);

#[cfg(test)]
mod tests {
    use super::*;

    /// A length that lies would let a parser read another record's bytes.
    #[test]
    fn only_whole_records_are_split() {
        let message = Message { version: VERSION, captured: 3, payload: 3, ..Message::default() };
        let bytes = [message.as_bytes(), b"abc"].concat();
        assert_eq!(Message::split(&bytes), Some((message, b"abc".as_slice())));
        assert_eq!(Message::split(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Message::split(&bytes[..71]), None);
        assert_eq!(Message::split(&[&bytes[..], b"d"].concat()), None);
        for wrong in [Message { version: VERSION + 1, ..message }, Message { payload: 2, ..message }] {
            assert_eq!(Message::split(&[wrong.as_bytes(), b"abc"].concat()), None);
        }
    }
}
