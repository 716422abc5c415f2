//! Batches of messages (format 2), their checksum, and the partition of a key.

use std::io;

use super::wire::put_i32;
use crate::encoding::Encoding;
use crate::protobuf::put_varint;

/// Bytes of a batch before its length ends, and before what its checksum is of.
const BEFORE_LENGTH: usize = 8 + 4;
const BEFORE_SUMMED: usize = BEFORE_LENGTH + 4 + 1 + 4;

/// What all messages of a batch have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Common<'a> {
    /// None if it is empty.
    pub(super) key: &'a [u8],
    pub(super) headers: &'a [(&'a str, &'a [u8])],
    /// Milliseconds since 1970.
    pub(super) time_ms: i64,
}

/// A batch with these values as messages.
///
/// # Errors
/// If the compressor fails, for want of memory.
pub(super) fn batch<'a>(
    values: impl ExactSizeIterator<Item = &'a [u8]>,
    common: Common<'_>,
    encoding: Encoding,
) -> io::Result<Vec<u8>> {
    let count = i32::try_from(values.len()).unwrap_or(i32::MAX);
    let (mut messages, mut message) = (Vec::new(), Vec::new());
    for (number, value) in (0..).zip(values) {
        message.clear();
        // No attributes, and the time of the batch.
        message.extend_from_slice(&[0, 0]);
        put_signed(&mut message, number);
        if common.key.is_empty() {
            put_signed(&mut message, -1);
        } else {
            put_sized(&mut message, common.key);
        }
        put_sized(&mut message, value);
        put_length(&mut message, common.headers.len());
        for (name, value) in common.headers {
            put_sized(&mut message, name.as_bytes());
            put_sized(&mut message, value);
        }
        put_sized(&mut messages, &message);
    }
    let messages = encoding.compress(&[&messages])?;
    let compression: i16 = match encoding {
        Encoding::None => 0,
        Encoding::Gzip => 1,
        Encoding::Zstd => 4,
    };
    let mut summed = Vec::with_capacity(messages.len() + 40);
    summed.extend_from_slice(&compression.to_be_bytes());
    put_i32(&mut summed, count - 1);
    summed.extend_from_slice(&common.time_ms.to_be_bytes());
    summed.extend_from_slice(&common.time_ms.to_be_bytes());
    // No producer that the cluster knows, nor an epoch and a sequence of it.
    summed.extend_from_slice(&[0xff; 8 + 2 + 4]);
    put_i32(&mut summed, count);
    summed.extend_from_slice(&messages);

    let mut batch = Vec::with_capacity(BEFORE_SUMMED + summed.len());
    batch.extend_from_slice(&[0; 8]);
    put_i32(&mut batch, i32::try_from(BEFORE_SUMMED - BEFORE_LENGTH + summed.len()).unwrap_or(i32::MAX));
    put_i32(&mut batch, -1);
    batch.push(2);
    batch.extend_from_slice(&crc32c(&summed).to_be_bytes());
    batch.extend_from_slice(&summed);
    Ok(batch)
}

/// Appends a number in zigzag, whose sign is its lowest bit.
fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_varint(out, (number << 1 ^ number >> 63).cast_unsigned());
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    put_signed(out, i64::try_from(length).unwrap_or(i64::MAX));
}

fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// The partition that Kafka's own clients choose for a key, of so many.
pub(super) fn partition(key: &[u8], count: usize) -> usize {
    (murmur2(key) & 0x7fff_ffff) as usize % count.max(1)
}

/// The hash of Kafka's clients: Murmur2 with a seed of theirs.
fn murmur2(key: &[u8]) -> u32 {
    const FACTOR: u32 = 0x5bd1_e995;
    let (words, rest) = key.as_chunks::<4>();
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let mut hash = words.iter().fold(0x9747_b28c ^ length, |hash, word| {
        let word = u32::from_le_bytes(*word).wrapping_mul(FACTOR);
        hash.wrapping_mul(FACTOR) ^ (word ^ word >> 24).wrapping_mul(FACTOR)
    });
    if !rest.is_empty() {
        let last = rest.iter().rev().fold(0, |last, byte| last << 8 | u32::from(*byte));
        hash = (hash ^ last).wrapping_mul(FACTOR);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(FACTOR);
    hash ^ hash >> 15
}

/// CRC-32C of each byte.
static CRC32C: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "it is below 256")]
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
            bit += 1;
        }
        #[allow(clippy::indexing_slicing, reason = "both end at 256, as the compiler has checked")]
        {
            table[byte] = sum;
        }
        byte += 1;
    }
    table
};

/// The checksum of a batch.
fn crc32c(bytes: &[u8]) -> u32 {
    let sum = bytes.iter().fold(u32::MAX, |sum, byte| {
        let [low, ..] = (sum ^ u32::from(*byte)).to_le_bytes();
        #[allow(clippy::indexing_slicing, reason = "a byte is a place in the table")]
        let of_byte = CRC32C[usize::from(low)];
        sum >> 8 ^ of_byte
    });
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksum's own check value, and that of nothing.
    #[test]
    fn the_checksum_is_castagnoli() {
        assert_eq!((crc32c(b"123456789"), crc32c(b"")), (0xe306_9283, 0));
    }

    /// Keys have the hashes that Kafka's tests have for them.
    #[test]
    fn keys_have_the_hashes_of_kafka() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
            assert!(partition(key.as_bytes(), 7) < 7);
        }
        assert_eq!(partition(b"any", 0), 0);
    }

    /// The bytes of a small batch, by the format's description.
    #[test]
    fn a_batch_is_laid_out_as_described() {
        let common = Common { key: b"n", headers: &[("h", b"v")], time_ms: 1 };
        let batch = batch([&b"x"[..], b""].into_iter(), common, Encoding::None).unwrap();
        assert_eq!(batch[..8], [0; 8]);
        assert_eq!(batch[8..12], i32::try_from(batch.len() - 12).unwrap().to_be_bytes());
        assert_eq!(batch[12..17], [0xff, 0xff, 0xff, 0xff, 2]);
        assert_eq!(batch[17..21], crc32c(&batch[21..]).to_be_bytes());
        assert_eq!(batch[21..27], [0, 0, 0, 0, 0, 1]);
        assert_eq!(batch[27..43], [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(batch[43..57], [0xff; 14]);
        assert_eq!(batch[57..61], [0, 0, 0, 2]);
        let first = [12 << 1, 0, 0, 0, 2, b'n', 2, b'x', 2, 2, b'h', 2, b'v'];
        let second = [11 << 1, 0, 0, 2, 2, b'n', 0, 2, 2, b'h', 2, b'v'];
        assert_eq!(batch[61..], [&first[..], &second[..]].concat());
        let without_key = super::batch([&b"x"[..]].into_iter(), Common { key: b"", ..common }, Encoding::None).unwrap();
        assert_eq!(without_key[65], 1);
    }
}
