//! The body of a list, decompressed while it arrives.
//!
//! A server compresses lists of more than 128 KiB for a client that says it can read them, which
//! makes pods a ninth. It never compresses a watch.

use std::io::Write;

use bytes::Bytes;
use flate2::write::GzDecoder;
use http::Response;
use http::header::CONTENT_ENCODING;
use kube::client::Body;

use super::error::ApiError;
use super::lines::piece;

/// Compressed bytes that are decompressed in one step: they become 8 MiB at most.
const STEP_BYTES: usize = 8 << 10;

/// The data of a body.
#[derive(Debug)]
pub(super) struct Data {
    body: Body,
    /// The decoder of a compressed body.
    gzip: Option<GzDecoder<Vec<u8>>>,
    /// Compressed data that is still to be read.
    pending: Bytes,
}

impl Data {
    /// The data of an answer. An error if it is compressed in a way that was not asked for.
    pub(super) fn new(response: Response<Body>) -> Result<Self, ApiError> {
        let gzip = match response.headers().get(CONTENT_ENCODING).map(http::HeaderValue::as_bytes) {
            None | Some(b"identity") => None,
            Some(b"gzip") => Some(GzDecoder::new(Vec::new())),
            Some(other) => {
                let other = String::from_utf8_lossy(other).into_owned();
                return Err(ApiError::Malformed(format!("a list is compressed as {other:?}, expected gzip")));
            }
        };
        Ok(Self { body: response.into_body(), gzip, pending: Bytes::new() })
    }

    /// The next data; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            if let Some(gzip) = &mut self.gzip
                && !self.pending.is_empty()
            {
                let step = self.pending.split_to(STEP_BYTES.min(self.pending.len()));
                gzip.write_all(&step).map_err(|error| damaged(&error))?;
                let data = std::mem::take(gzip.get_mut());
                if data.is_empty() {
                    continue;
                }
                return Ok(Some(data.into()));
            }
            match (piece(&mut self.body).await?, &mut self.gzip) {
                (Some(data), Some(_)) => self.pending = data,
                (data @ Some(_), None) => return Ok(data),
                (None, None) => return Ok(None),
                (None, Some(gzip)) => {
                    gzip.try_finish().map_err(|error| damaged(&error))?;
                    let rest = std::mem::take(gzip.get_mut());
                    self.gzip = None;
                    return Ok((!rest.is_empty()).then(|| rest.into()));
                }
            }
        }
    }
}

fn damaged(error: &std::io::Error) -> ApiError {
    ApiError::Malformed(format!("a compressed list cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn compressed(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// Reads a body to its end; the largest piece of it as well.
    fn read(encoding: Option<&str>, body: Vec<u8>) -> Result<(Vec<u8>, usize), ApiError> {
        let mut response = Response::builder();
        if let Some(encoding) = encoding {
            response = response.header(CONTENT_ENCODING, encoding);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut data = Data::new(response.body(Body::from(body)).unwrap())?;
            let (mut all, mut largest) = (Vec::new(), 0);
            while let Some(piece) = data.next().await? {
                largest = largest.max(piece.len());
                all.extend_from_slice(&piece);
            }
            Ok((all, largest))
        })
    }

    /// A compressed body is read as it was before; a plain one as it is.
    #[test]
    fn bodies_are_read() {
        let text: Vec<u8> = (0..400_000_u32).flat_map(u32::to_le_bytes).collect();
        assert_eq!(read(Some("gzip"), compressed(&text)).unwrap().0, text);
        assert_eq!(read(Some("gzip"), compressed(b"")).unwrap().0, b"");
        assert_eq!(read(None, text.clone()).unwrap().0, text);
        assert_eq!(read(Some("identity"), text.clone()).unwrap().0, text);
    }

    /// What is cut, damaged or compressed otherwise is an error that says so, not an empty list.
    #[test]
    fn damaged_bodies_are_errors() {
        let whole = compressed(&[b'x'; 9999]);
        let cut = whole[..whole.len() - 9].to_vec();
        let mut changed = whole.clone();
        let at = whole.len() / 2;
        changed[at] ^= 0xff;
        for (encoding, body, expected) in [
            ("gzip", cut, "cannot be read"),
            ("gzip", changed, "cannot be read"),
            ("gzip", b"{\"items\":[]}".to_vec(), "cannot be read"),
            ("br", whole, "compressed as \"br\", expected gzip"),
        ] {
            let error = read(Some(encoding), body).unwrap_err();
            assert!(matches!(&error, ApiError::Malformed(text) if text.contains(expected)), "{error}");
        }
    }

    /// A body that becomes a thousand times as large comes in pieces of a bounded size.
    #[test]
    fn pieces_are_bounded() {
        let (all, largest) = read(Some("gzip"), compressed(&vec![0; 64 << 20])).unwrap();
        assert_eq!(all.len(), 64 << 20);
        assert!(largest <= 1100 * STEP_BYTES, "{largest}");
    }
}
