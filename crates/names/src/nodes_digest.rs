//! The digest of a table of nodes, by which a relay leaves out what an agent has.

use std::iter::Sum;

use bytes::Bytes;
use prost::Message as _;
use ring::digest::{SHA256, digest};

use crate::wire::Node;

/// Bytes of a digest.
const BYTES: usize = 16;

/// The digest of any number of nodes: the same for the same nodes at each relay, in any order. Zero
/// is that of none.
///
/// A node's part is cut from SHA-256, so that a node cannot be given addresses by which a table of
/// others has the digest of before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodesDigest(u128);

impl NodesDigest {
    /// The digest of one node, of its message as it is sent.
    pub(crate) fn of(node: &Node) -> Self {
        let hash = digest(&SHA256, &node.encode_to_vec());
        Self(hash.as_ref().first_chunk::<BYTES>().map_or(0, |bytes| u128::from_le_bytes(*bytes)))
    }

    /// The digest of a greeting; none if there is none, or one of another kind.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let digest = Self(u128::from_le_bytes(bytes.try_into().ok()?));
        (digest != Self::default()).then_some(digest)
    }

    /// Bytes for a greeting.
    pub fn to_bytes(self) -> Bytes {
        self.0.to_le_bytes().to_vec().into()
    }
}

impl Sum for NodesDigest {
    fn sum<I: Iterator<Item = Self>>(digests: I) -> Self {
        digests.fold(Self::default(), |sum, digest| Self(sum.0.wrapping_add(digest.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [u8; BYTES] =
        [0x23, 0xdc, 0xa2, 0xa7, 0x42, 0x96, 0x12, 0x37, 0x85, 0x54, 0xb0, 0xbb, 0x5b, 0x85, 0x01, 0x2d];

    fn node(name: &str) -> NodesDigest {
        NodesDigest::of(&Node { name: name.to_owned(), ..Node::default() })
    }

    /// Both sides, which may be of different versions, compute the same: here is what a message of
    /// one name has, by `printf '\n\1a' | sha256sum`.
    #[test]
    fn digests_stay_what_they_are() {
        assert_eq!(node("a").to_bytes()[..], KNOWN);
        assert_eq!(NodesDigest::read(&KNOWN), Some(node("a")));
    }

    /// The order of nodes is nothing, and each of them is something; twice the same one too.
    #[test]
    fn digests_are_sums() {
        let sum = |names: &[&str]| names.iter().map(|name| node(name)).sum::<NodesDigest>();
        assert_eq!(sum(&["a", "b", "c"]), sum(&["c", "a", "b"]));
        for other in [&["a", "b"][..], &["a", "b", "d"], &["a", "b", "c", "c"], &[]] {
            assert_ne!(sum(&["a", "b", "c"]), sum(other), "{other:?}");
        }
    }

    /// What is no digest is none: nothing, zero, and bytes of another number.
    #[test]
    fn other_bytes_are_no_digest() {
        for bytes in [&[][..], &[0; 16], &[1; 15], &[1; 17]] {
            assert_eq!(NodesDigest::read(bytes), None);
        }
    }
}
