//! A gzip stream put together from parts that were compressed each by itself.
//!
//! Deflate can be flushed so that what follows refers to nothing before it. Parts that end so can
//! be compressed in any order, on any thread, once for all scrapers; the stream is their
//! concatenation between a header and an empty last block, and its checksum follows from theirs.

use std::cell::RefCell;
use std::io;

use flate2::{Compress, Compression, Crc, FlushCompress};

/// Header before the first part: deflate, no name, no time, unknown system.
pub(super) const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Checksum and length of what was compressed.
#[derive(Debug, Default)]
pub(super) struct Sum(Crc);

impl Sum {
    /// Goes on with what `next` is of.
    pub(super) fn append(&mut self, next: &Self) {
        self.0.combine(&next.0);
    }

    /// Behind the last part.
    pub(super) fn trailer(&self) -> Vec<u8> {
        // An empty last block with the fixed code.
        let mut trailer = vec![3, 0];
        trailer.extend_from_slice(&self.0.sum().to_le_bytes());
        trailer.extend_from_slice(&self.0.amount().to_le_bytes());
        trailer
    }
}

/// Compresses one part, at the fastest level: it is done anew for each scrape and crosses one
/// network hop.
pub(super) fn pack(text: &[u8]) -> io::Result<(Vec<u8>, Sum)> {
    thread_local! {
        /// A quarter of a megabyte, so one for all answers of a thread.
        static DEFLATE: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
    }
    let mut packed = Vec::with_capacity(text.len() / 6 + 64);
    DEFLATE
        .with_borrow_mut(|deflate| {
            deflate.reset();
            loop {
                let read = usize::try_from(deflate.total_in()).unwrap_or(usize::MAX);
                let rest = text.get(read..).unwrap_or_default();
                deflate.compress_vec(rest, &mut packed, FlushCompress::Full).map_err(io::Error::other)?;
                // Room to spare says that the flush was complete.
                if packed.len() < packed.capacity() {
                    return Ok(());
                }
                packed.reserve(packed.capacity());
            }
        })
        .map_err(|error: io::Error| error)?;
    let mut sum = Sum::default();
    sum.0.update(text);
    Ok((packed, sum))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        // Compressing is slow in a build for tests.
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Parts packed apart, in any order, and put together are one gzip member of the whole.
        #[test]
        fn parts_make_one_stream(parts in prop::collection::vec((".{0,40}", 0_usize..300), 0..6)) {
            let parts: Vec<String> = parts.into_iter().map(|(text, times)| text.repeat(times)).collect();
            let packed: Vec<_> = parts.iter().rev().map(|part| pack(part.as_bytes()).unwrap()).collect();
            let (mut stream, mut sum) = (HEADER.to_vec(), Sum::default());
            for (bytes, part) in packed.iter().rev() {
                stream.extend_from_slice(bytes);
                sum.append(part);
            }
            stream.extend_from_slice(&sum.trailer());
            let mut text = String::new();
            let mut decoder = GzDecoder::new(stream.as_slice());
            decoder.read_to_string(&mut text).unwrap();
            prop_assert_eq!(text, parts.concat());
            prop_assert!(decoder.into_inner().is_empty(), "more than one member");
        }
    }
}
