//! Parses netlink datagrams of connection tracking.

use webb_decode::nat::{Connection, Conversation, Peer, Translation};
use webb_flow::{Address, L4};

use super::attributes::{attributes, port_of, push, u16_of, u32_of};

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Length of `struct nfgenmsg`, which comes before the attributes.
const FAMILY: usize = 4;

/// Types of `struct nlmsghdr`; those of connection tracking are its subsystem, 1, and what
/// happened.
mod kind {
    pub(super) const ERROR: u16 = 2;
    pub(super) const DONE: u16 = 3;
    pub(super) const OVERRUN: u16 = 4;
    pub(super) const NEW: u16 = 1 << 8;
    pub(super) const GET: u16 = 1 << 8 | 1;
    pub(super) const DELETE: u16 = 1 << 8 | 2;
}

/// `enum ctattr_type` and the types nested in it.
mod attribute {
    pub(super) const ORIGINAL: u16 = 1;
    pub(super) const REPLY: u16 = 2;
    pub(super) const STATUS: u16 = 3;
    pub(super) const ADDRESSES: u16 = 1;
    pub(super) const PROTOCOL: u16 = 2;
    pub(super) const V4_SOURCE: u16 = 1;
    pub(super) const V4_DESTINATION: u16 = 2;
    pub(super) const V6_SOURCE: u16 = 3;
    pub(super) const V6_DESTINATION: u16 = 4;
    pub(super) const NUMBER: u16 = 1;
    pub(super) const SOURCE_PORT: u16 = 2;
    pub(super) const DESTINATION_PORT: u16 = 3;
}

/// One message of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// A connection is there. None if it has no ports: of such, no service is made.
    New(Option<Translation>),
    /// A connection has ended.
    Gone(Option<Translation>),
    /// The end of a dump.
    Done,
    /// The request failed with this `errno`.
    Failed(i32),
    /// Messages were dropped.
    Overrun,
    /// A message without effect here.
    Other,
    /// A message of a false format.
    Malformed,
}

/// The messages in a datagram. One that does not fit into it is malformed and the last.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message> + '_ {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let Some((kind, body, rest)) = split(bytes) else {
            bytes = &[];
            return Some(Message::Malformed);
        };
        bytes = rest;
        Some(read(kind, body))
    })
}

/// Type and body of the first message, and what follows it.
fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32_of(bytes.get(..4)?)? as usize;
    let kind = u16_of(bytes.get(4..6)?)?;
    let body = bytes.get(HEADER..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

fn read(kind: u16, body: &[u8]) -> Message {
    let translation = || body.get(FAMILY..).and_then(translation);
    match kind {
        kind::NEW => translation().map_or(Message::Malformed, Message::New),
        kind::DELETE => translation().map_or(Message::Malformed, Message::Gone),
        kind::DONE => Message::Done,
        kind::OVERRUN => Message::Overrun,
        // A zero acknowledges. The number is negative, as in the kernel.
        kind::ERROR => match body.get(..4).and_then(u32_of).map(u32::cast_signed) {
            Some(0) => Message::Other,
            Some(error) => Message::Failed(error.saturating_neg()),
            None => Message::Malformed,
        },
        // `NLMSG_NOOP`, and whatever else the kernel may come to say.
        _ => Message::Other,
    }
}

/// The type of a request for everything.
pub(super) const GET: u16 = kind::GET;

/// A connection from the answer to a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tracked {
    translation: Translation,
    /// True if packets went both ways, of UDP for more than two seconds.
    assured: bool,
}

impl Tracked {
    /// Role of a packet with these ends in the connection.
    pub(super) fn conversation(&self, packet: &Connection) -> Conversation {
        let Translation { opened, arrived } = self.translation;
        if [opened, arrived].contains(&packet.reversed()) && ![opened, arrived].contains(packet) {
            Conversation::Reply
        } else if self.assured {
            Conversation::Older
        } else {
            Conversation::New
        }
    }
}

/// Outcome of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueryOutcome {
    Found(Tracked),
    NotFound,
    /// The query failed with this `errno`.
    Failed(i32),
    /// The answer to another question, or none that can be read.
    Other,
}

/// A request for the connection that has these ends in one of its directions.
pub(super) fn question(ends: &Connection, sequence: u32) -> Vec<u8> {
    /// `NLM_F_REQUEST`.
    const FLAGS: u16 = 1;
    /// `NLA_F_NESTED`.
    const NESTED: u16 = 0x8000;
    /// `AF_INET` and `AF_INET6`.
    const FAMILIES: (u8, u8) = (2, 10);
    let (mut addresses, mut ports, mut tuple) = (Vec::new(), Vec::new(), Vec::new());
    let v4 = [ends.source.0, ends.destination.0].map(Address::v4);
    let family = if let [Some(source), Some(destination)] = v4 {
        push(&mut addresses, attribute::V4_SOURCE, &source.to_be_bytes());
        push(&mut addresses, attribute::V4_DESTINATION, &destination.to_be_bytes());
        FAMILIES.0
    } else {
        push(&mut addresses, attribute::V6_SOURCE, &ends.source.0.0);
        push(&mut addresses, attribute::V6_DESTINATION, &ends.destination.0.0);
        FAMILIES.1
    };
    let number = match ends.protocol {
        L4::Tcp => 6,
        L4::Sctp => 132,
        _ => 17,
    };
    push(&mut ports, attribute::NUMBER, &[number]);
    push(&mut ports, attribute::SOURCE_PORT, &ends.source.1.to_be_bytes());
    push(&mut ports, attribute::DESTINATION_PORT, &ends.destination.1.to_be_bytes());
    push(&mut tuple, attribute::ADDRESSES | NESTED, &addresses);
    push(&mut tuple, attribute::PROTOCOL | NESTED, &ports);
    let mut body = vec![family, 0, 0, 0];
    push(&mut body, attribute::ORIGINAL | NESTED, &tuple);
    let length = u32::try_from(HEADER + body.len()).unwrap_or(0);
    let mut request = Vec::with_capacity(HEADER + body.len());
    request.extend(length.to_ne_bytes());
    request.extend([GET.to_ne_bytes(), FLAGS.to_ne_bytes()].concat());
    request.extend(sequence.to_ne_bytes());
    request.extend(0_u32.to_ne_bytes());
    request.extend(body);
    request
}

/// Outcome of the query with that sequence number, if the datagram holds it.
pub(super) fn answer(bytes: &[u8], sequence: u32) -> QueryOutcome {
    const NOT_FOUND: i32 = 2;
    if bytes.get(8..12).and_then(u32_of) != Some(sequence) {
        return QueryOutcome::Other;
    }
    let Some((kind, body, _)) = split(bytes) else { return QueryOutcome::Other };
    match read(kind, body) {
        Message::New(Some(translation)) => {
            let assured = body.get(FAMILY..).into_iter().flat_map(attributes).any(|(kind, value)| {
                /// `IPS_ASSURED`, in the last byte of a number in network order.
                const ASSURED: u8 = 1 << 2;
                kind == attribute::STATUS && value.get(3).is_some_and(|last| last & ASSURED != 0)
            });
            QueryOutcome::Found(Tracked { translation, assured })
        }
        Message::Failed(NOT_FOUND) => QueryOutcome::NotFound,
        Message::Failed(errno) => QueryOutcome::Failed(errno),
        _ => QueryOutcome::Other,
    }
}

/// Parses both tuples; none if one is missing or broken; some none if it has no ports.
#[allow(clippy::option_option, reason = "the outer one is about the message, the inner about the connection")]
fn translation(body: &[u8]) -> Option<Option<Translation>> {
    let (mut original, mut reply) = (None, None);
    for (kind, value) in attributes(body) {
        match kind {
            attribute::ORIGINAL => original = Some(tuple(value)?),
            attribute::REPLY => reply = Some(tuple(value)?),
            _ => {}
        }
    }
    let (Some(opened), Some(answered)) = (original?, reply?) else { return Some(None) };
    // A reply goes the other way.
    let arrived = answered.reversed();
    (opened.protocol == arrived.protocol).then_some(Some(Translation { opened, arrived }))
}

/// Parses one direction of a connection; some none if it has no ports.
#[allow(clippy::option_option, reason = "as above")]
fn tuple(value: &[u8]) -> Option<Option<Connection>> {
    let (mut ends, mut protocol) = (None, None);
    for (kind, value) in attributes(value) {
        match kind {
            attribute::ADDRESSES => ends = Some(addresses(value)?),
            attribute::PROTOCOL => protocol = Some(ports(value)?),
            _ => {}
        }
    }
    let ((source, destination), ports) = (ends?, protocol?);
    Some(ports.map(|(protocol, from, to)| Connection {
        source: peer(source, from),
        destination: peer(destination, to),
        protocol,
    }))
}

fn peer(address: Address, port: u16) -> Peer {
    (address, port)
}

fn addresses(value: &[u8]) -> Option<(Address, Address)> {
    let (mut source, mut destination) = (None, None);
    for (kind, value) in attributes(value) {
        let (end, v4) = match kind {
            attribute::V4_SOURCE => (&mut source, true),
            attribute::V4_DESTINATION => (&mut destination, true),
            attribute::V6_SOURCE => (&mut source, false),
            attribute::V6_DESTINATION => (&mut destination, false),
            _ => continue,
        };
        *end = Some(if v4 {
            let bytes: [u8; 4] = value.try_into().ok()?;
            Address::from(std::net::IpAddr::from(bytes))
        } else {
            Address(value.try_into().ok()?)
        });
    }
    Some((source?, destination?))
}

/// Protocol and both ports; some none for a protocol without.
#[allow(clippy::option_option, reason = "as above")]
fn ports(value: &[u8]) -> Option<Option<(L4, u16, u16)>> {
    let (mut number, mut source, mut destination) = (None, None, None);
    for (kind, value) in attributes(value) {
        match kind {
            attribute::NUMBER => number = value.first().copied(),
            attribute::SOURCE_PORT => source = Some(port_of(value)?),
            attribute::DESTINATION_PORT => destination = Some(port_of(value)?),
            _ => {}
        }
    }
    match L4::of_protocol(number?) {
        protocol @ (L4::Tcp | L4::Udp | L4::Sctp) => Some(Some((protocol, source?, destination?))),
        _ => Some(None),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::super::attributes::tests::attribute;
    use super::*;

    fn octets(text: &str) -> Vec<u8> {
        match text.parse().unwrap() {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        }
    }

    fn direction(kind: u16, protocol: u8, source: (&str, u16), destination: (&str, u16)) -> Vec<u8> {
        let (from, to) = if source.0.contains(':') { (3, 4) } else { (1, 2) };
        let addresses = [attribute(from, &octets(source.0)), attribute(to, &octets(destination.0))].concat();
        let ports = [
            attribute(1, &[protocol]),
            attribute(2, &source.1.to_be_bytes()),
            attribute(3, &destination.1.to_be_bytes()),
        ];
        attribute(kind, &[attribute(1, &addresses), attribute(2, &ports.concat())].concat())
    }

    fn message(kind: u16, attributes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + FAMILY + attributes.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10 + FAMILY]);
        bytes.extend(attributes);
        bytes
    }

    fn service(protocol: u8) -> Vec<u8> {
        let mut attributes = direction(1, protocol, ("10.244.1.21", 4000), ("10.96.0.1", 80));
        attributes.extend(direction(2, protocol, ("10.244.2.11", 8080), ("172.18.0.2", 5000)));
        // What else the kernel says: status, time-out.
        attributes.extend(attribute(3, &[0, 0, 1, 0x8e]));
        attributes.extend(attribute(7, &[0, 0, 0, 120]));
        attributes
    }

    fn peer(address: &str, port: u16) -> Peer {
        (address.parse::<IpAddr>().unwrap().into(), port)
    }

    /// Both tuples are read, and the reply's is turned round: one direction for both.
    #[test]
    fn a_translation_is_read() {
        let translation = Translation {
            opened: Connection {
                source: peer("10.244.1.21", 4000),
                destination: peer("10.96.0.1", 80),
                protocol: L4::Tcp,
            },
            arrived: Connection {
                source: peer("172.18.0.2", 5000),
                destination: peer("10.244.2.11", 8080),
                protocol: L4::Tcp,
            },
        };
        let mut bytes = message(0x100, &service(6));
        bytes.extend(message(0x102, &service(6)));
        let both: Vec<_> = messages(&bytes).collect();
        assert_eq!(both, [Message::New(Some(translation)), Message::Gone(Some(translation))]);
        assert!(!translation.is_plain());

        let mut plain = direction(1, 17, ("fd00::1", 4000), ("fd00::2", 53));
        plain.extend(direction(2, 17, ("fd00::2", 53), ("fd00::1", 4000)));
        let found: Vec<_> = messages(&message(0x100, &plain)).collect();
        let [Message::New(Some(translation))] = found[..] else { panic!("{found:?}") };
        assert!(translation.is_plain());
        assert_eq!((translation.opened.protocol, translation.opened.source), (L4::Udp, peer("fd00::1", 4000)));
    }

    /// Control messages, protocols without ports, and what is broken.
    #[test]
    fn everything_else_is_told_apart() {
        let all = |bytes: &[u8]| messages(bytes).collect::<Vec<_>>();
        let mut error = message(2, &[]);
        error[HEADER..].copy_from_slice(&(-22_i32).to_ne_bytes());
        assert_eq!(all(&error), [Message::Failed(22)]);
        assert_eq!(all(&message(2, &[])), [Message::Other], "an acknowledgement");
        assert_eq!(all(&message(3, &[])), [Message::Done]);
        assert_eq!(all(&message(4, &[])), [Message::Overrun]);
        assert_eq!(all(&message(0x100, &service(47))), [Message::New(None)]);
        assert_eq!(all(&message(0x100, &[])), [Message::Malformed]);
        assert_eq!(all(&message(0x100, &direction(1, 6, ("10.0.0.1", 1), ("10.0.0.2", 2)))), [Message::Malformed]);
        assert_eq!(all(&message(0x900, &[])), [Message::Other]);
        assert_eq!(all(&[1, 2, 3]), [Message::Malformed]);
        assert_eq!(all(&[0; 16]), [Message::Malformed], "shorter than its own header");
        assert_eq!(all(&[]), []);
    }

    proptest! {
        /// No bytes do more than be malformed, and a datagram always ends.
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(messages(&bytes).count() <= bytes.len() / HEADER + 1);
            super::super::fuzz(&bytes);
        }

        /// A good message with a few bytes changed or cut off is read as something, never with a
        /// panic.
        #[test]
        fn damage_is_survived(
            damage in prop::collection::vec((0_usize..300, any::<u8>()), 0..6),
            length in 0_usize..300,
        ) {
            let mut bytes = message(0x100, &service(6));
            for (at, byte) in damage {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            bytes.truncate(length);
            super::super::fuzz(&bytes);
        }
    }
}
