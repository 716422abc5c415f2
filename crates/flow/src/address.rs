//! An IP address of either family.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};

/// An address as 16 bytes, IPv4 as `::ffff:a.b.c.d`: one key type for both families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Address(pub [u8; 16]);

/// Hashes the address as one number: hashing a list of bytes costs several times as much, and every
/// flow has two addresses.
impl Hash for Address {
    #[inline]
    fn hash<H: Hasher>(&self, to: &mut H) {
        to.write_u128(self.bits());
    }
}

impl Address {
    /// The address as a number, its first byte the highest.
    #[inline]
    pub fn bits(self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    /// The address as a number if it is IPv4's.
    #[inline]
    pub fn v4(self) -> Option<u32> {
        let bits = self.bits();
        if bits >> 32 == 0xffff { u32::try_from(bits & u128::from(u32::MAX)).ok() } else { None }
    }

    /// The address as the standard library's type, IPv4 unmapped.
    pub fn ip(self) -> IpAddr {
        Ipv6Addr::from(self.0).to_canonical()
    }

    /// False for addresses that a pod may use and no pod is known by: of a link alone, of the
    /// loopback, or none at all.
    pub fn may_be_a_pods(self) -> bool {
        match self.ip() {
            IpAddr::V4(v4) => {
                !(v4.is_unspecified()
                    || v4.is_link_local()
                    || v4.is_loopback()
                    || v4.is_multicast()
                    || v4.is_broadcast())
            }
            IpAddr::V6(v6) => {
                !(v6.is_unspecified() || v6.is_unicast_link_local() || v6.is_loopback() || v6.is_multicast())
            }
        }
    }
}

impl Address {
    /// True for an address of the internet: neither of a private network, nor of a link, a host, a
    /// group or no use at all.
    pub fn is_public(self) -> bool {
        match self.ip() {
            IpAddr::V4(v4) => {
                let [first, second, ..] = v4.octets();
                // 100.64.0.0/10 is between a provider and its customers, as clouds have it too.
                let shared = first == 100 && second & 0xc0 == 64;
                !(matches!(first, 0 | 127 | 224..) || v4.is_private() || v4.is_link_local() || shared)
            }
            // All unicast addresses that are given out so far.
            IpAddr::V6(v6) => {
                matches!(v6.segments(), [0x2000..=0x3fff, ..] | [0x64, 0xff9b, 0, ..])
            }
        }
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a packet cannot be sent to over the internet is not of it.
    #[test]
    fn public_addresses() {
        for (text, public) in [
            ("8.8.8.8", true),
            ("203.0.113.10", true),
            ("100.63.255.255", true),
            ("100.64.0.1", false),
            ("100.127.0.1", false),
            ("100.128.0.1", true),
            ("10.0.0.1", false),
            ("172.16.0.1", false),
            ("192.168.0.1", false),
            ("169.254.169.254", false),
            ("127.0.0.1", false),
            ("0.0.0.0", false),
            ("224.0.0.251", false),
            ("255.255.255.255", false),
            ("2001:db8::1", true),
            ("64:ff9b::8.8.8.8", true),
            ("fd00::1", false),
            ("fe80::1", false),
            ("ff02::1", false),
            ("::1", false),
            ("::", false),
        ] {
            assert_eq!(Address::from(text.parse::<IpAddr>().unwrap()).is_public(), public, "{text}");
        }
    }
}
