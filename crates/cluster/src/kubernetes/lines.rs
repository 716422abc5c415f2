//! The body of an answer, read in pieces: line by line for a watch, whole for what is neither watch
//! nor list.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use kube::client::Body;

use super::error::{ApiError, chain};
use crate::cutter::MAX_OBJECT_BYTES;

/// Maximal size of an answer in bytes: discovery of thousands of kinds is a few megabytes.
pub(super) const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A `v1.Status` is some hundred bytes; a proxy's page may be anything.
pub(super) const MAX_ERROR_BYTES: usize = 64 << 10;

/// Bytes of an answer that is no JSON which are shown.
const MAX_BYTES_SHOWN: usize = 40;

/// One line of a watch, or why there is none.
#[derive(Debug)]
pub(super) enum Next {
    /// Without its line end. Never empty.
    Line(Bytes),
    /// The answer is over, in order.
    End,
    /// Nothing came for as long as we were ready to wait.
    Silence,
}

/// The lines of a body.
#[derive(Debug)]
pub(super) struct Lines {
    body: Body,
    buffer: BytesMut,
    /// Bytes of the buffer that have no line end.
    searched: usize,
}

impl Lines {
    pub(super) fn new(body: Body) -> Self {
        Self { body, buffer: BytesMut::new(), searched: 0 }
    }

    /// The next line, waiting for each piece of it at most `timeout`.
    pub(super) async fn next(&mut self, timeout: Duration) -> Result<Next, ApiError> {
        loop {
            if let Some(line) = self.line() {
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return Ok(Next::Line(line));
            }
            if self.buffer.len() > MAX_OBJECT_BYTES {
                return Err(ApiError::Malformed(format!("a line is longer than {MAX_OBJECT_BYTES} bytes")));
            }
            match tokio::time::timeout(timeout, piece(&mut self.body)).await {
                Err(_) => return Ok(Next::Silence),
                Ok(piece) => match piece? {
                    Some(data) => self.buffer.extend_from_slice(&data),
                    None if self.buffer.iter().all(u8::is_ascii_whitespace) => return Ok(Next::End),
                    None => return Err(self.broken_off()),
                },
            }
        }
    }

    /// Error for an answer that ends within a line: half an object, or a proxy's page.
    fn broken_off(&self) -> ApiError {
        let text = self.buffer.trim_ascii_start();
        if text.starts_with(b"{") {
            return ApiError::Interrupted("in the middle of an object".to_owned());
        }
        let shown = String::from_utf8_lossy(text.get(..MAX_BYTES_SHOWN).unwrap_or(text)).into_owned();
        ApiError::Malformed(format!("an answer is no JSON: it begins with {shown:?}"))
    }

    /// A whole line out of the buffer.
    fn line(&mut self) -> Option<Bytes> {
        let rest = self.buffer.get(self.searched..)?;
        let Some(at) = memchr::memchr(b'\n', rest) else {
            self.searched = self.buffer.len();
            return None;
        };
        let line = self.buffer.split_to(self.searched + at).freeze();
        self.buffer.advance(1);
        self.searched = 0;
        Some(line)
    }
}

/// The whole body, of at most `most` bytes, waiting for each piece of it at most `timeout`.
pub(super) async fn read_body(mut body: Body, most: usize, timeout: Duration) -> Result<BytesMut, ApiError> {
    let mut buffer = BytesMut::new();
    loop {
        match tokio::time::timeout(timeout, piece(&mut body)).await {
            Err(_) => return Err(ApiError::Timeout(timeout)),
            Ok(piece) => match piece? {
                None => return Ok(buffer),
                Some(data) if buffer.len() + data.len() > most => {
                    return Err(ApiError::Malformed(format!("an answer is longer than {most} bytes")));
                }
                Some(data) => buffer.extend_from_slice(&data),
            },
        }
    }
}

/// The next data of a body; none at its end.
pub(super) async fn piece(body: &mut Body) -> Result<Option<Bytes>, ApiError> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(error)) => return Err(ApiError::Interrupted(chain(&error))),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(body: &str) -> ApiError {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut lines = Lines::new(Body::from(body.as_bytes().to_vec()));
        runtime.block_on(lines.next(Duration::from_secs(9))).unwrap_err()
    }

    /// Half an object is reported as a cut connection; a page of something else by its content.
    #[test]
    fn what_ends_within_a_line() {
        assert!(matches!(ended(r#" {"type":"ADD"#), ApiError::Interrupted(_)));
        assert!(matches!(ended("<html>sign in</html>"), ApiError::Malformed(text) if text.contains("<html>sign in")));
    }

    /// An answer beyond the bound is given up.
    #[test]
    fn a_body_is_bounded() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let read = |most| runtime.block_on(read_body(Body::from(vec![b'x'; 9]), most, Duration::from_secs(9)));
        assert_eq!(read(9).unwrap().len(), 9);
        assert!(matches!(read(8), Err(ApiError::Malformed(_))));
    }
}
