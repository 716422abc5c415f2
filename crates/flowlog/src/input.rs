//! Opens the input: a file or standard input, plain or compressed. The first bytes decide which,
//! not the name.

use std::fs::File;
use std::io::{self, BufReader, Chain, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use flate2::bufread::MultiGzDecoder;

/// Number of bytes of a file that have been read, before decompression.
#[derive(Debug, Clone, Default)]
pub struct Position(Arc<AtomicU64>);

impl Position {
    /// Bytes so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A stream that is open.
pub struct Input {
    /// The bytes, unpacked.
    pub bytes: Box<dyn Read>,
    /// Position in the file.
    pub position: Position,
    /// The file's size, where it has one.
    pub size: Option<u64>,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("size", &self.size).finish_non_exhaustive()
    }
}

struct Counted<R> {
    inner: R,
    position: Position,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.position.0.fetch_add(count as u64, Relaxed);
        Ok(count)
    }
}

/// Opens a file; `-` is standard input.
///
/// # Errors
/// If it cannot be opened, or its first bytes cannot be read.
pub fn open(path: &Path) -> io::Result<Input> {
    if path.as_os_str() == "-" {
        return of(io::stdin(), None);
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
    of(file, metadata.is_file().then_some(metadata.len()))
}

/// Packed or not, as its first bytes say.
fn of(inner: impl Read + 'static, size: Option<u64>) -> io::Result<Input> {
    let position = Position::default();
    let mut counted = Counted { inner, position: position.clone() };
    let mut magic = Vec::new();
    counted.by_ref().take(4).read_to_end(&mut magic)?;
    let packing = packing(&magic);
    let all: Chain<Cursor<Vec<u8>>, _> = Cursor::new(magic).chain(counted);
    let bytes: Box<dyn Read> = match packing {
        Packing::Plain => Box::new(all),
        Packing::Gzip => Box::new(MultiGzDecoder::new(BufReader::with_capacity(1 << 17, all))),
        Packing::Zstd => Box::new(zstd::Decoder::new(all)?),
    };
    Ok(Input { bytes, position, size })
}

#[derive(Debug, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// RFC 1952, 2.3.1; RFC 8878, 3.1.1 and, for frames to be skipped, 3.1.2.
fn packing(magic: &[u8]) -> Packing {
    match *magic {
        [0x1f, 0x8b, ..] => Packing::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Packing::Zstd,
        _ => Packing::Plain,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const TEXT: &[u8] = b"{\"flow\":{}}\n{}\n";

    fn read(bytes: Vec<u8>) -> Vec<u8> {
        let mut input = of(Cursor::new(bytes), None).unwrap();
        let mut out = Vec::new();
        input.bytes.read_to_end(&mut out).unwrap();
        out
    }

    /// The three forms are detected by content; several members in one file, as appended logs have,
    /// are all read.
    #[test]
    fn every_form_reads_the_same() {
        let gzip = || {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(TEXT).unwrap();
            encoder.finish().unwrap()
        };
        let zstd = || zstd::encode_all(TEXT, 1).unwrap();
        assert_eq!(read(TEXT.to_vec()), TEXT);
        assert_eq!(read(b"{}".to_vec()), b"{}");
        assert_eq!(read(Vec::new()), b"");
        assert_eq!(read(gzip()), TEXT);
        assert_eq!(read(zstd()), TEXT);
        assert_eq!(read([gzip(), gzip()].concat()), TEXT.repeat(2));
        assert_eq!(read([zstd(), zstd()].concat()), TEXT.repeat(2));
    }

    /// A file that ends too early is an error, not a shorter file.
    #[test]
    fn a_cut_file_is_an_error() {
        let packed = zstd::encode_all(TEXT.repeat(1000).as_slice(), 1).unwrap();
        let mut input = of(Cursor::new(packed[..packed.len() - 4].to_vec()), None).unwrap();
        assert!(input.bytes.read_to_end(&mut Vec::new()).is_err());
    }
}
