//! A client, as connections are counted by.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 address, or an IPv6 network of 64 bits: a host has as many of its addresses as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Client(IpAddr);

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => Self(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into()),
            v4 @ IpAddr::V4(_) => Self(v4),
        }
    }
}

impl From<Ipv4Addr> for Client {
    fn from(address: Ipv4Addr) -> Self {
        Self(address.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One IPv4 address is one client whatever socket it comes by; of IPv6 a network is.
    #[test]
    fn addresses_of_one_client() {
        let client = |text: &str| Client::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(client("10.0.0.1"), client("::ffff:10.0.0.1"));
        assert_ne!(client("10.0.0.1"), client("10.0.0.2"));
        assert_eq!(client("fd00::1"), client("fd00::ffff:1:2"));
        assert_ne!(client("fd00::1"), client("fd00:0:0:1::1"));
    }
}
