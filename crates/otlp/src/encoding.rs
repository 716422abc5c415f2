//! Compression of requests. A body is compressed once, and goes as it is to disk and to the wire.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// How a request is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    None,
    /// gzip, level 1: three times as fast as level 6 and a few percent larger.
    Gzip,
    /// zstd, level 1.
    Zstd,
}

impl Encoding {
    /// Every encoding.
    pub const ALL: [Self; 3] = [Self::None, Self::Gzip, Self::Zstd];

    /// Its name in the configuration.
    pub fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Its name in `content-encoding` and `grpc-encoding`; none for plain bytes.
    pub(crate) fn header(self) -> Option<&'static str> {
        (self != Self::None).then(|| self.label())
    }

    /// What is tried when a receiver refuses it.
    pub(crate) fn fallback(self) -> Option<Self> {
        match self {
            Self::Zstd => Some(Self::Gzip),
            Self::Gzip => Some(Self::None),
            Self::None => None,
        }
    }

    /// Compresses the parts as one.
    pub(crate) fn compress(self, parts: &[&[u8]]) -> io::Result<Vec<u8>> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        #[cfg(test)]
        if self != Self::None && broken::is_set() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        match self {
            Self::None => Ok(parts.concat()),
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::with_capacity(length / 8), Compression::fast());
                parts.iter().try_for_each(|part| encoder.write_all(part))?;
                shrunk(encoder.finish()?)
            }
            Self::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::with_capacity(length / 8), 1)?;
                // What is read from a disk must be known to be whole.
                encoder.include_checksum(true)?;
                parts.iter().try_for_each(|part| encoder.write_all(part))?;
                shrunk(encoder.finish()?)
            }
        }
    }

    /// Decompresses to at most `most` bytes; more is an error.
    pub(crate) fn decompress(self, body: &[u8], most: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let limit = most as u64 + 1;
        match self {
            Self::None => body.take(limit).read_to_end(&mut out)?,
            Self::Gzip => MultiGzDecoder::new(body).take(limit).read_to_end(&mut out)?,
            Self::Zstd => zstd::stream::read::Decoder::with_buffer(body)?.take(limit).read_to_end(&mut out)?,
        };
        if out.len() > most {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {most} bytes")));
        }
        Ok(out)
    }
}

#[allow(clippy::unnecessary_wraps, reason = "the last step of what may fail")]
fn shrunk(mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    // It is kept for as long as no receiver takes it.
    bytes.shrink_to_fit();
    Ok(bytes)
}

/// A compressor without memory, for tests of what calls it.
#[cfg(test)]
pub(crate) mod broken {
    use std::cell::Cell;

    thread_local! {
        static BROKEN: Cell<bool> = const { Cell::new(false) };
    }

    /// Has every compression of this thread fail, or none.
    pub(crate) fn set(is_broken: bool) {
        BROKEN.set(is_broken);
    }

    pub(super) fn is_set() -> bool {
        BROKEN.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts come back as one; damage, and what is larger than it may be, is an error.
    #[test]
    fn bytes_come_back() {
        let text: Vec<u8> = (0..5000).flat_map(|number: u32| format!("{number} ").into_bytes()).collect();
        for encoding in Encoding::ALL {
            let body = encoding.compress(&[&text, b"end"]).unwrap();
            let whole = [&text[..], b"end"].concat();
            assert_eq!(encoding.decompress(&body, whole.len()).unwrap(), whole);
            assert!(encoding.decompress(&body, whole.len() - 1).is_err(), "{encoding:?}");
            if encoding != Encoding::None {
                assert!(body.len() < whole.len() * 9 / 10, "{encoding:?}: {}", body.len());
                assert!(encoding.decompress(&body[..body.len() / 2], whole.len()).is_err());
                for at in (body.len() / 2..body.len()).step_by(501) {
                    let mut damaged = body.clone();
                    damaged[at] ^= 0x55;
                    let read = encoding.decompress(&damaged, whole.len());
                    assert!(read.is_err(), "{encoding:?}, {at} of {}", body.len());
                }
            }
        }
    }
}
