//! IP version, layer 4 and the few header bits that metrics read.

/// `flow.IPVersion`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Family {
    /// Not an IP packet.
    #[default]
    NotUsed = 0,
    /// IPv4.
    V4 = 1,
    /// IPv6.
    V6 = 2,
}

/// `flow.Layer4`: which member is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the protocols'")]
pub enum L4 {
    /// Fragments, ESP, GRE, ARP and all else that is not parsed.
    #[default]
    None = 0,
    Tcp = 1,
    Udp = 2,
    IcmpV4 = 3,
    IcmpV6 = 4,
    Sctp = 5,
    Vrrp = 6,
    Igmp = 7,
}

impl L4 {
    /// Protocol of an IP protocol number.
    pub fn of_protocol(number: u8) -> Self {
        match number {
            6 => Self::Tcp,
            17 => Self::Udp,
            1 => Self::IcmpV4,
            58 => Self::IcmpV6,
            132 => Self::Sctp,
            112 => Self::Vrrp,
            2 => Self::Igmp,
            _ => Self::None,
        }
    }

    /// True for a protocol with ports that policies name.
    #[inline]
    pub fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp | Self::Sctp)
    }
}

/// The TCP flags of one packet, and whether they are known at all (`flow.l4.TCP.flags` may be
/// absent).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TcpFlags(u16);

impl TcpFlags {
    /// FIN.
    pub const FIN: u16 = 0x01;
    /// SYN.
    pub const SYN: u16 = 0x02;
    /// RST.
    pub const RST: u16 = 0x04;
    /// PSH.
    pub const PSH: u16 = 0x08;
    /// ACK.
    pub const ACK: u16 = 0x10;
    /// URG.
    pub const URG: u16 = 0x20;
    /// ECE.
    pub const ECE: u16 = 0x40;
    /// CWR.
    pub const CWR: u16 = 0x80;
    /// NS.
    pub const NS: u16 = 0x100;
    const KNOWN: u16 = 0x8000;

    /// Known flags, as header bits.
    pub fn known(bits: u16) -> Self {
        Self((bits & 0x1ff) | Self::KNOWN)
    }

    /// False where the flow carries no flags field.
    pub fn is_known(self) -> bool {
        self.0 & Self::KNOWN != 0
    }

    /// True if the flags are known and hold all of `bits`.
    pub fn has(self, bits: u16) -> bool {
        self.is_known() && self.0 & bits == bits
    }
}

/// `flow.SCTPChunkType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the protocol's")]
pub enum SctpChunk {
    #[default]
    Unsupported = 0,
    Init = 1,
    InitAck = 2,
    Shutdown = 3,
    ShutdownAck = 4,
    ShutdownComplete = 5,
    Abort = 6,
}

impl SctpChunk {
    /// Type of a chunk number on the wire (RFC 9260, 3.2).
    pub fn of_wire(number: u8) -> Self {
        match number {
            1 => Self::Init,
            2 => Self::InitAck,
            7 => Self::Shutdown,
            8 => Self::ShutdownAck,
            14 => Self::ShutdownComplete,
            6 => Self::Abort,
            _ => Self::Unsupported,
        }
    }
}
