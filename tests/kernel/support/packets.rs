//! Packets for the tests, built by an independent hand (etherparse).

#![allow(dead_code, reason = "each test file uses its part")]

use etherparse::PacketBuilder;

pub(crate) const A: [u8; 4] = [10, 0, 0, 1];
pub(crate) const B: [u8; 4] = [10, 0, 0, 2];
pub(crate) const A6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub(crate) const B6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
pub(crate) const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 2];

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;

/// The sixteen bytes in which records carry an IPv4 address.
pub(crate) fn mapped(address: [u8; 4]) -> [u8; 16] {
    std::net::Ipv4Addr::from(address).to_ipv6_mapped().octets()
}

pub(crate) fn write(builder: etherparse::PacketBuilderStep<impl Written>, payload: &[u8]) -> Vec<u8> {
    Written::write(builder, payload)
}

/// The steps of etherparse's builder that can be written, under one name.
pub(crate) trait Written: Sized {
    fn write(step: etherparse::PacketBuilderStep<Self>, payload: &[u8]) -> Vec<u8>;
}

macro_rules! written {
    ($($step:ty),*) => {$(
        impl Written for $step {
            fn write(step: etherparse::PacketBuilderStep<Self>, payload: &[u8]) -> Vec<u8> {
                let mut packet = Vec::new();
                step.write(&mut packet, payload).expect("memory takes it");
                packet
            }
        }
    )*};
}
written!(etherparse::UdpHeader, etherparse::TcpHeader, etherparse::Icmpv4Header, etherparse::Icmpv6Header);

/// TCP over IPv4; `flags` are set in the bytes, so any combination goes.
pub(crate) fn tcp(from: ([u8; 4], u16), to: ([u8; 4], u16), flags: u8, payload: &[u8]) -> Vec<u8> {
    let step = PacketBuilder::ethernet2(MAC_A, MAC_B).ipv4(from.0, to.0, 64).tcp(from.1, to.1, 1, 1000);
    let mut packet = write(step, payload);
    packet[14 + 20 + 13] = flags;
    packet
}

pub(crate) fn udp(from: ([u8; 4], u16), to: ([u8; 4], u16), payload: &[u8]) -> Vec<u8> {
    write(PacketBuilder::ethernet2(MAC_A, MAC_B).ipv4(from.0, to.0, 64).udp(from.1, to.1), payload)
}

pub(crate) fn udp6(from: ([u8; 16], u16), to: ([u8; 16], u16), payload: &[u8]) -> Vec<u8> {
    write(PacketBuilder::ethernet2(MAC_A, MAC_B).ipv6(from.0, to.0, 64).udp(from.1, to.1), payload)
}

pub(crate) fn tcp6(from: ([u8; 16], u16), to: ([u8; 16], u16), flags: u8) -> Vec<u8> {
    let mut frame = udp6(from, to, &[0; 12]);
    // The header of TCP in the place of that of UDP with twelve bytes; sums are not looked at.
    frame[20] = 6;
    frame[66] = 5 << 4;
    frame[67] = flags;
    frame
}

pub(crate) fn ping(from: [u8; 4], to: [u8; 4], id: u16, reply: bool) -> Vec<u8> {
    let step = PacketBuilder::ethernet2(MAC_A, MAC_B).ipv4(from, to, 64);
    let step = if reply { step.icmpv4_echo_reply(id, 1) } else { step.icmpv4_echo_request(id, 1) };
    write(step, b"abcdefgh")
}

pub(crate) fn ping6(from: [u8; 16], to: [u8; 16], id: u16, reply: bool) -> Vec<u8> {
    let step = PacketBuilder::ethernet2(MAC_A, MAC_B).ipv6(from, to, 64);
    let step = if reply { step.icmpv6_echo_reply(id, 1) } else { step.icmpv6_echo_request(id, 1) };
    write(step, b"abcdefgh")
}

/// An Ethernet frame with IPv4 around `payload`.
pub(crate) fn ipv4(protocol: u8, fragment: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut packet = [MAC_A, MAC_B].concat();
    packet.extend([0x08, 0x00]);
    let words = u8::try_from(5 + options.len() / 4).unwrap();
    let total = u16::try_from(20 + options.len() + payload.len()).unwrap();
    packet.extend([0x40 | words, 0]);
    packet.extend(total.to_be_bytes());
    packet.extend([0, 7]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(A);
    packet.extend(B);
    packet.extend(options);
    packet.extend(payload);
    packet
}

/// An Ethernet frame with IPv6 around `payload`.
pub(crate) fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = [MAC_A, MAC_B].concat();
    packet.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    packet.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    packet.extend([next_header, 64]);
    packet.extend(A6);
    packet.extend(B6);
    packet.extend(payload);
    packet
}

/// The eight bytes of a UDP header.
pub(crate) fn udp_header(from: u16, to: u16) -> Vec<u8> {
    [from.to_be_bytes(), to.to_be_bytes(), 8_u16.to_be_bytes(), [0, 0]].concat()
}

/// The twelve bytes of SCTP's common header and the four of a chunk's.
pub(crate) fn sctp(from: u16, to: u16, chunk: u8) -> Vec<u8> {
    let mut bytes = [from.to_be_bytes(), to.to_be_bytes()].concat();
    bytes.extend([0; 8]);
    bytes.extend([chunk, 0, 0, 4]);
    bytes
}

/// Puts VLAN tags (by their type, outermost first) into a frame.
pub(crate) fn tagged(frame: &[u8], tags: &[u16]) -> Vec<u8> {
    let mut packet = frame[..12].to_vec();
    for tag in tags {
        packet.extend(tag.to_be_bytes());
        packet.extend([0, 42]);
    }
    packet.extend(&frame[12..]);
    packet
}
