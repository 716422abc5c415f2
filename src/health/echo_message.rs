//! ICMP echo messages, as datagram ICMP sockets have them: without an IP header, with an identifier
//! and a checksum that the kernel fills in.

/// Bytes of a message: header and token.
pub(super) const BYTES: usize = 16;

/// Types of the message, by version of IP: request and reply.
const TYPES_V4: (u8, u8) = (8, 0);
const TYPES_V6: (u8, u8) = (128, 129);

/// An echo reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// Sequence number of the request.
    pub sequence: u16,
    /// Random number that the request had as its payload.
    pub token: u64,
}

/// Encodes a request.
pub(super) fn request(is_v4: bool, Reply { sequence, token }: Reply) -> [u8; BYTES] {
    let kind = if is_v4 { TYPES_V4.0 } else { TYPES_V6.0 };
    // Type, code, checksum, identifier, sequence number, token.
    (u128::from(kind) << 120 | u128::from(sequence) << 64 | u128::from(token)).to_be_bytes()
}

/// Parses a reply; `None` if it is none, or not one to a request of this format.
pub fn parse_reply(is_v4: bool, bytes: &[u8]) -> Option<Reply> {
    let kind = if is_v4 { TYPES_V4.1 } else { TYPES_V6.1 };
    match bytes.first_chunk::<BYTES>()? {
        [found, 0, _, _, _, _, high, low, token @ ..] if *found == kind && bytes.len() == BYTES => {
            Some(Reply { sequence: u16::from_be_bytes([*high, *low]), token: u64::from_be_bytes(*token) })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A request that comes back as a reply is the one that was sent, whatever identifier and
        /// checksum the kernels have set; a request is no reply, nor is one cut or extended.
        #[test]
        fn replies_read_back(is_v4: bool, sequence: u16, token: u64, set_by_kernels: [u8; 4], more in 1_usize..40) {
            let sent = Reply { sequence, token };
            let mut message = request(is_v4, sent);
            prop_assert_eq!(parse_reply(is_v4, &message), None);
            message[0] = if is_v4 { 0 } else { 129 };
            message[2..6].copy_from_slice(&set_by_kernels);
            prop_assert_eq!(parse_reply(is_v4, &message), Some(sent));
            prop_assert_eq!(parse_reply(!is_v4, &message), None);
            prop_assert_eq!(parse_reply(is_v4, &message[..BYTES.saturating_sub(more)]), None);
            let long = [&message[..], &vec![0; more]].concat();
            prop_assert_eq!(parse_reply(is_v4, &long), None);
        }

        /// Any bytes at all are read without a panic, and what is read encodes to the same.
        #[test]
        fn any_bytes_are_read(is_v4: bool, bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(reply) = parse_reply(is_v4, &bytes) {
                prop_assert_eq!(&request(is_v4, reply)[6..], &bytes[6..]);
            }
        }
    }
}
