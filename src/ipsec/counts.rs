//! Counts states and policies by direction, and distinct keys.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::net::IpAddr;

use netlink_packet_xfrm::constants::AF_INET6;
use netlink_packet_xfrm::{Address, UserPolicyInfo, UserSaInfo, XfrmAttrs};
use webb_flow::hash::RandomState;

/// `XFRMA_SA_DIR`, which the library does not know: the direction of a state, since Linux 6.10.
const STATE_DIRECTION: u16 = 33;

/// Values of `XFRMA_SA_DIR`.
const STATE_IN: u8 = 1;
const STATE_OUT: u8 = 2;

/// Numbers of states and policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Distinct keys of the states.
    pub keys: u64,
    /// States of packets that come in and that leave. One that is between two others is in neither.
    pub states: [u64; 2],
    /// Policies for packets that come in, that leave, and that are forwarded.
    pub policies: [u64; 3],
}

/// What is known of the states and policies that were read so far.
#[derive(Debug)]
pub(super) struct Counting<'a> {
    own: &'a [IpAddr],
    hashes: RandomState,
    keys: HashSet<u64>,
    counts: Counts,
}

impl<'a> Counting<'a> {
    pub(super) fn new(own: &'a [IpAddr]) -> Self {
        Self { own, hashes: RandomState::default(), keys: HashSet::new(), counts: Counts::default() }
    }

    /// Counts a state. Keys are compared by a keyed hash, and not kept.
    pub(super) fn state(&mut self, info: &UserSaInfo, attributes: &[XfrmAttrs]) {
        let key = attributes.iter().find_map(|attribute| match attribute {
            XfrmAttrs::EncryptionAlgAead(algorithm) => Some(&algorithm.alg_key),
            XfrmAttrs::EncryptionAlg(algorithm) => Some(&algorithm.alg_key),
            _ => None,
        });
        let only_authenticated = || {
            attributes.iter().find_map(|attribute| match attribute {
                XfrmAttrs::AuthenticationAlgTrunc(algorithm) => Some(&algorithm.alg_key),
                XfrmAttrs::AuthenticationAlg(algorithm) => Some(&algorithm.alg_key),
                _ => None,
            })
        };
        if let Some(key) = key.or_else(only_authenticated) {
            self.keys.insert(self.hashes.hash_one(key));
        }
        let said = attributes.iter().find_map(|attribute| match attribute {
            XfrmAttrs::Other(other) => {
                use netlink_packet_core::Nla;
                let mut value = [0];
                let fits = other.kind() == STATE_DIRECTION && other.value_len() == value.len();
                fits.then(|| other.emit_value(&mut value)).map(|()| value[0])
            }
            _ => None,
        });
        let is_own = |address: &Address| {
            let ip: IpAddr = if info.family == AF_INET6 { address.to_ipv6().into() } else { address.to_ipv4().into() };
            self.own.contains(&ip)
        };
        let [coming_in, leaving] = &mut self.counts.states;
        match said {
            Some(STATE_IN) => *coming_in += 1,
            Some(STATE_OUT) => *leaving += 1,
            _ if is_own(&info.saddr) => *leaving += 1,
            _ if is_own(&info.id.daddr) => *coming_in += 1,
            _ => {}
        }
    }

    /// Counts a policy. Those of sockets have directions of their own and are not counted.
    pub(super) fn policy(&mut self, info: &UserPolicyInfo) {
        if let Some(count) = self.counts.policies.get_mut(usize::from(info.direction)) {
            *count += 1;
        }
    }

    pub(super) fn counts(self) -> Counts {
        Counts { keys: self.keys.len() as u64, ..self.counts }
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::DefaultNla;
    use netlink_packet_xfrm::{AlgAead, AlgAuth};

    use super::*;

    fn state(from: &str, to: &str) -> UserSaInfo {
        let mut info = UserSaInfo::default();
        info.source(&from.parse().unwrap());
        info.destination(&to.parse().unwrap());
        info
    }

    fn aead(key: &[u8]) -> XfrmAttrs {
        XfrmAttrs::EncryptionAlgAead(AlgAead {
            alg_name: [0; 64],
            alg_key_len: 8 * u32::try_from(key.len()).unwrap(),
            alg_icv_len: 128,
            alg_key: key.to_vec(),
        })
    }

    /// A state is one of packets that leave if its source is this node, and the kernel's own word
    /// goes before that; a key counts once, and that of a state without encryption too.
    #[test]
    fn states_have_directions_and_keys() {
        let own = ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let mut counting = Counting::new(&own);
        counting.state(&state("10.0.0.1", "10.0.0.2"), &[aead(b"one")]);
        counting.state(&state("10.0.0.2", "10.0.0.1"), &[aead(b"one")]);
        counting.state(&state("fd00::2", "fd00::1"), &[aead(b"two")]);
        counting.state(&state("10.0.0.8", "10.0.0.9"), &[]);
        let direction = XfrmAttrs::Other(DefaultNla::new(STATE_DIRECTION, vec![STATE_IN]));
        counting.state(&state("10.0.0.1", "10.0.0.2"), &[direction]);
        let authentication = XfrmAttrs::AuthenticationAlgTrunc(AlgAuth {
            alg_name: [0; 64],
            alg_key_len: 24,
            alg_trunc_len: 96,
            alg_key: b"ah!".to_vec(),
        });
        counting.state(&state("10.0.0.1", "10.0.0.3"), &[authentication]);
        for direction in [0, 0, 1, 2, 3, 4, 200] {
            counting.policy(&UserPolicyInfo { direction, ..UserPolicyInfo::default() });
        }
        assert_eq!(counting.counts(), Counts { keys: 3, states: [3, 2], policies: [2, 1, 1] });
    }
}
