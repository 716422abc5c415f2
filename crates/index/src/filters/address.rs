//! Addresses and networks, compared as Hubble compares them: an address by its text, a network by
//! its bits.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use webb_flow::Address;

/// One value of `source_ip` and its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressMatch {
    /// The text of this address.
    Exact(FlowAddress),
    /// Valid, but written as no flow writes it (`FD00::1`): matches nothing.
    Never,
    /// The network of this many leading bits; `v4` is true for an IPv4 network.
    Network { v4: bool, bits: u128, mask: u128 },
}

/// An address on a flow. `v4` is false for an IPv4-mapped IPv6 address, which is none of IPv4's
/// networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FlowAddress {
    pub(super) address: Address,
    pub(super) v4: bool,
}

impl FlowAddress {
    fn of(ip: IpAddr) -> Self {
        Self { address: ip.into(), v4: ip.is_ipv4() }
    }
}

/// The text that the flow has.
impl fmt::Display for FlowAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.v4 { self.address.ip().fmt(f) } else { Ipv6Addr::from_bits(bits(self.address)).fmt(f) }
    }
}

fn bits(address: Address) -> u128 {
    u128::from_be_bytes(address.0)
}

impl AddressMatch {
    /// Reads an address, or a network if there is a `/`.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let Some((address, length)) = text.rsplit_once('/') else {
            let ip: IpAddr = text.parse().map_err(|_| "expected an IP address or a network (CIDR)".to_owned())?;
            return Ok(if ip.to_string() == text { Self::Exact(FlowAddress::of(ip)) } else { Self::Never });
        };
        let ip: IpAddr = address.parse().map_err(|_| "expected an IP address before the `/`".to_owned())?;
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        let plain =
            length.bytes().all(|digit| digit.is_ascii_digit()) && (length.len() == 1 || !length.starts_with('0'));
        let length: u32 = length
            .parse()
            .ok()
            .filter(|length| plain && *length <= longest)
            .ok_or_else(|| format!("expected a number from 0 to {longest} after the `/`"))?;
        let free = longest - length;
        let mask = u128::MAX.checked_shl(free).unwrap_or(0);
        Ok(Self::Network { v4: ip.is_ipv4(), bits: bits(ip.into()) & mask, mask })
    }

    /// True if the address is this one, or in this network.
    pub(super) fn holds(&self, address: FlowAddress) -> bool {
        match *self {
            Self::Exact(wanted) => wanted == address,
            Self::Never => false,
            Self::Network { v4, bits: network, mask } => v4 == address.v4 && bits(address.address) & mask == network,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(value: &str, address: &str) -> bool {
        AddressMatch::read(value).unwrap().holds(FlowAddress::of(address.parse().unwrap()))
    }

    /// Contract, 2.6, source_ip: text equality, CIDR with host bits, families kept apart.
    #[test]
    fn places() {
        assert!(holds("10.0.0.1", "10.0.0.1"));
        assert!(holds("10.0.0.77/8", "10.255.0.1"));
        assert!(!holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("0.0.0.0/0", "11.0.0.1"));
        assert!(!holds("0.0.0.0/0", "::1"));
        assert!(!holds("::/0", "11.0.0.1"));
        assert!(holds("::/0", "fd00::1"));
        assert!(holds("fd00::1/128", "fd00::1"));
        assert!(!holds("FD00::1", "fd00::1"), "compared as written");
        assert!(!holds("::ffff:10.0.0.1", "10.0.0.1"));
        for wrong in ["", "x", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/08", "10.0.0.0/+8", "/8", "::/129", "1.2.3.4/8/8"]
        {
            assert!(AddressMatch::read(wrong).is_err(), "{wrong}");
        }
    }
}
