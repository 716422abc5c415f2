//! Addresses as rtnetlink reports them, of this network namespace and of others.

use std::io;
use std::net::IpAddr;

use futures::StreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};

use super::error::failed;

/// Maximal number of addresses read from another namespace: its pod may have the right to add any
/// number of them.
pub(super) const MAX_ADDRESSES: usize = 256;

/// The addresses of another network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Each with the index that its interface has there; sorted, without those that every namespace
    /// has.
    pub known: Vec<(u32, IpAddr)>,
    /// Number of addresses beyond [`MAX_ADDRESSES`].
    pub beyond: usize,
}

/// Reads the addresses of a namespace by its number in this one.
pub(super) async fn addresses_in(handle: &Handle, namespace: i32) -> io::Result<Addresses> {
    let mut request = handle.address().get();
    request.message_mut().attributes.push(AddressAttribute::TargetNetNsId(namespace));
    let mut answers = std::pin::pin!(request.execute());
    let mut found = Addresses::default();
    while let Some(answer) = answers.next().await {
        if let Some((index, ip)) = address(&answer.map_err(failed)?).filter(|(_, ip)| !is_everywhere(*ip)) {
            found.add(index, ip);
        }
    }
    found.known.sort_unstable();
    found.known.dedup();
    Ok(found)
}

impl Addresses {
    fn add(&mut self, index: u32, ip: IpAddr) {
        if self.known.len() < MAX_ADDRESSES {
            self.known.push((index, ip));
        } else {
            self.beyond += 1;
        }
    }
}

/// The interface's own address: for a point-to-point link the attribute `Local`, while `Address` is
/// the far end's.
pub(super) fn address(message: &AddressMessage) -> Option<(u32, IpAddr)> {
    let find = |of: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(of);
    let local = find(|attribute| match attribute {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    let address = local.or_else(|| {
        find(|attribute| match attribute {
            AddressAttribute::Address(ip) => Some(*ip),
            _ => None,
        })
    });
    Some((message.header.index, address?))
}

/// True for an address that identifies nothing, because any namespace or link has it.
fn is_everywhere(ip: IpAddr) -> bool {
    ip.is_loopback() || matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The own address of a link between two is its local one; elsewhere there is only the one.
    #[test]
    fn own_addresses() {
        let [own, other]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap());
        let mut message = AddressMessage::default();
        message.header.index = 7;
        assert_eq!(address(&message), None);
        message.attributes = vec![AddressAttribute::Address(other)];
        assert_eq!(address(&message), Some((7, other)));
        message.attributes.push(AddressAttribute::Local(own));
        assert_eq!(address(&message), Some((7, own)));
    }

    /// A pod that gives itself addresses without end takes no memory without end.
    #[test]
    fn addresses_are_bounded() {
        let mut addresses = Addresses::default();
        for last in 0..300_u32 {
            addresses.add(2, IpAddr::V4((0x0a00_0000 + last).into()));
        }
        assert_eq!((addresses.known.len(), addresses.beyond), (MAX_ADDRESSES, 300 - MAX_ADDRESSES));
    }

    /// Addresses that every namespace or link has do not identify a pod.
    #[test]
    fn addresses_that_are_everywhere() {
        for (ip, everywhere) in
            [("127.0.0.1", true), ("::1", true), ("fe80::1", true), ("10.0.0.1", false), ("fd00::1", false)]
        {
            assert_eq!(is_everywhere(ip.parse().unwrap()), everywhere, "{ip}");
        }
    }
}
