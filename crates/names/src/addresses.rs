//! Addresses as messages carry them, and blocks of addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use webb_cluster::address_block;

use crate::protocol_error::ProtocolError;
use crate::wire::Addresses;

/// Bytes of an address of IPv6.
const V6_BYTES: usize = 16;

impl FromIterator<IpAddr> for Addresses {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for address in addresses {
            match address {
                IpAddr::V4(address) => v4.push(address.to_bits()),
                IpAddr::V6(address) => v6.extend(address.octets()),
            }
        }
        Self { v4, v6: v6.into() }
    }
}

impl Addresses {
    /// The addresses, those of IPv4 first.
    ///
    /// # Errors
    /// If the bytes of IPv6 are not a multiple of 16.
    pub fn read(&self) -> Result<impl Iterator<Item = IpAddr>, ProtocolError> {
        let (v6, rest) = self.v6.as_chunks::<V6_BYTES>();
        if !rest.is_empty() {
            return Err(ProtocolError::Address);
        }
        let v4 = self.v4.iter().map(|bits| IpAddr::V4(Ipv4Addr::from_bits(*bits)));
        Ok(v4.chain(v6.iter().map(|octets| IpAddr::V6(Ipv6Addr::from(*octets)).to_canonical())))
    }

    /// The address, where exactly one is expected.
    ///
    /// # Errors
    /// If there is not exactly one.
    pub(crate) fn read_one(&self) -> Result<IpAddr, ProtocolError> {
        let one = self.read()?.next();
        one.filter(|_| self.len() == 1).ok_or(ProtocolError::Address)
    }

    /// The number of addresses.
    pub(crate) fn len(&self) -> usize {
        self.v4.len() + self.v6.len() / V6_BYTES
    }
}

/// The first address of the block that an address is in.
pub(crate) fn block(address: IpAddr) -> IpAddr {
    address_block(address).network()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Addresses of both families come back; half an address is refused.
    #[test]
    fn addresses_are_read() {
        let all = ips(&["10.0.0.1", "255.255.255.255", "fd00::1"]);
        let mut message: Addresses = all.iter().copied().collect();
        assert_eq!(message.read().unwrap().collect::<Vec<_>>(), all);
        assert_eq!((message.v4[0], message.len()), (0x0a00_0001, 3));
        message.v6 = message.v6.slice(1..);
        assert_eq!(message.read().err(), Some(ProtocolError::Address));
    }

    /// A block has 64 addresses.
    #[test]
    fn blocks() {
        let found: Vec<IpAddr> =
            ips(&["10.0.0.63", "10.0.0.64", "fd00::3f", "fd00::40"]).into_iter().map(block).collect();
        assert_eq!(found, ips(&["10.0.0.0", "10.0.0.64", "fd00::", "fd00::40"]));
    }
}
