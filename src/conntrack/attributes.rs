//! Netlink attributes: length, type, value, padding to four bytes; some hold attributes again.

/// Bits of the type that say how to read the value and not what it is.
const FLAGS: u16 = 0xc000;

/// The attributes in `bytes` by type, up to the first that does not fit.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind) = (u16_of(bytes.get(..2)?)?, u16_of(bytes.get(2..4)?)?);
        let length = usize::from(length);
        let value = bytes.get(4..length)?;
        // The last one may come without its padding.
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & !FLAGS, value))
    })
}

/// Appends an attribute, padded.
pub(super) fn push(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    to.extend(length.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// A number in the machine's order.
pub(super) fn u16_of(bytes: &[u8]) -> Option<u16> {
    bytes.try_into().ok().map(u16::from_ne_bytes)
}

/// A number in the machine's order.
pub(super) fn u32_of(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

/// A number in network order.
pub(super) fn port_of(bytes: &[u8]) -> Option<u16> {
    bytes.try_into().ok().map(u16::from_be_bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An attribute as the kernel writes it.
    pub(in crate::conntrack) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        push(&mut bytes, kind, value);
        bytes
    }

    /// Padding is skipped, flags are ignored, and what does not fit ends the list.
    #[test]
    fn lists_are_walked() {
        let mut bytes = attribute(1, &[7]);
        bytes.extend(attribute(2 | 0x8000, &[1, 2, 3, 4]));
        bytes.extend(attribute(3, &[]));
        let all: Vec<_> = attributes(&bytes).collect();
        assert_eq!(all, [(1, &[7][..]), (2, &[1, 2, 3, 4]), (3, &[])]);
        bytes.extend([200, 0, 4, 0, 1]);
        assert_eq!(attributes(&bytes).count(), 3, "longer than what is left");
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0, "shorter than its own head");
        assert_eq!(attributes(&[5, 0, 1, 0, 9]).collect::<Vec<_>>(), [(1, &[9][..])], "no padding at the end");
    }
}
