//! Matches addresses with an `ipBlock`.

use ipnet::IpNet;
use webb_flow::Address;

/// A network as a prefix of the 16 bytes that [`Address`] has for both families.
#[derive(Debug, Clone, Copy)]
struct Prefix {
    bits: u128,
    mask: u128,
    /// Whether it is of IPv4. `::/0` holds every IPv6 address and no IPv4 one, though these are
    /// mapped into it.
    v4: bool,
}

impl Prefix {
    fn new(net: IpNet) -> Self {
        let (v4, length) = match net {
            IpNet::V4(v4) => (true, 96 + u32::from(v4.prefix_len())),
            IpNet::V6(v6) => (false, u32::from(v6.prefix_len())),
        };
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        let Address(bytes) = Address::from(net.network());
        Self { bits: u128::from_be_bytes(bytes) & mask, mask, v4 }
    }

    fn contains(self, address: u128, v4: bool) -> bool {
        self.v4 == v4 && address & self.mask == self.bits
    }
}

/// A network and the parts of it that are left out.
#[derive(Debug)]
pub(super) struct Block {
    net: Prefix,
    except: Box<[Prefix]>,
}

impl Block {
    pub(super) fn new(net: IpNet, except: &[IpNet]) -> Self {
        Self { net: Prefix::new(net), except: except.iter().copied().map(Prefix::new).collect() }
    }

    pub(super) fn contains(&self, address: Address) -> bool {
        let bits = u128::from_be_bytes(address.0);
        let v4 = bits >> 32 == 0xffff;
        self.net.contains(bits, v4) && !self.except.iter().any(|except| except.contains(bits, v4))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn holds(net: &str, except: &[&str], address: &str) -> bool {
        let except: Vec<IpNet> = except.iter().map(|net| net.parse().unwrap()).collect();
        let address: IpAddr = address.parse().unwrap();
        Block::new(net.parse().unwrap(), &except).contains(address.into())
    }

    /// The families share one key type; a block of one must never hold an address of the other.
    #[test]
    fn families_stay_apart() {
        assert!(holds("0.0.0.0/0", &[], "10.1.2.3"));
        assert!(!holds("0.0.0.0/0", &[], "fd00::1"));
        assert!(holds("::/0", &[], "fd00::1"));
        assert!(!holds("::/0", &[], "10.1.2.3"));
    }

    /// Prefix lengths at their edges, host bits in the network, and exceptions.
    #[test]
    fn prefixes_and_exceptions() {
        assert!(holds("10.1.2.3/32", &[], "10.1.2.3"));
        assert!(!holds("10.1.2.3/32", &[], "10.1.2.4"));
        assert!(holds("10.1.2.3/8", &[], "10.200.0.1"), "host bits are ignored");
        assert!(!holds("10.0.0.0/8", &["10.1.0.0/16"], "10.1.2.3"));
        assert!(holds("10.0.0.0/8", &["10.1.0.0/16"], "10.2.2.3"));
        assert!(holds("fd00::/8", &["fd00:1::/32"], "fd00:2::1"));
        assert!(!holds("fd00::/8", &["fd00:1::/32"], "fd00:1::1"));
        assert!(holds("fd00::1/128", &[], "fd00::1"));
    }
}
