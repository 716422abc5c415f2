//! MD5 (RFC 1321): Hubble shows a hash of its file of exporters, which is to be the same here.

/// Rotations of each round's steps.
const ROTATIONS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// The first eight bytes of the MD5 of `bytes`, as a little-endian number.
pub(crate) fn first_half(bytes: &[u8]) -> u64 {
    let [a, b, _, _] = state(bytes);
    u64::from(b) << 32 | u64::from(a)
}

fn state(bytes: &[u8]) -> [u32; 4] {
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let constants = constants();
    let mut padded = bytes.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((bytes.len() as u64).wrapping_mul(8).to_le_bytes());
    for block in padded.chunks_exact(64) {
        let mut words = [0_u32; 16];
        for (word, bytes) in words.iter_mut().zip(block.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        step(&mut state, &words, &constants);
    }
    state
}

fn step(state: &mut [u32; 4], words: &[u32; 16], constants: &[u32; 64]) {
    let [mut a, mut b, mut c, mut d] = *state;
    for (at, constant) in constants.iter().enumerate() {
        let (round, of_round) = (at / 16, at % 4);
        let (mixed, word) = match round {
            0 => ((b & c) | (!b & d), at),
            1 => ((d & b) | (!d & c), (5 * at + 1) % 16),
            2 => (b ^ c ^ d, (3 * at + 5) % 16),
            _ => (c ^ (b | !d), (7 * at) % 16),
        };
        let word = words.get(word).copied().unwrap_or_default();
        let rotation = ROTATIONS.get(round).and_then(|round| round.get(of_round)).copied().unwrap_or_default();
        let sum = a.wrapping_add(mixed).wrapping_add(*constant).wrapping_add(word);
        (a, d, c, b) = (d, c, b, b.wrapping_add(sum.rotate_left(rotation)));
    }
    for (state, with) in state.iter_mut().zip([a, b, c, d]) {
        *state = state.wrapping_add(with);
    }
}

/// The integer part of 2^32 times the sine of 1 to 64.
fn constants() -> [u32; 64] {
    let mut angle = 0.0_f64;
    std::array::from_fn(|_| {
        angle += 1.0;
        let sine = angle.sin().abs();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to 2^32")]
        let constant = (sine * 4_294_967_296.0) as u32;
        constant
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The RFC's own examples.
    #[test]
    fn known_hashes() {
        for (text, hash) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ] {
            let bytes = state(text.as_bytes()).map(u32::to_le_bytes).concat();
            let wanted = u128::from_str_radix(hash, 16).unwrap().to_be_bytes();
            assert_eq!(bytes, wanted, "{text}");
            assert_eq!(first_half(text.as_bytes()).to_le_bytes(), bytes[..8]);
        }
    }
}
