//! The body of an answer, read in pieces: event by event for a watch, whole for what is neither
//! watch nor list. In JSON an event is a line; in protocol buffers it is behind its length.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::Response;
use http_body_util::BodyExt;
use kube::client::Body;

use super::error::{ApiError, chain};
use super::form::Form;
use crate::cutter::MAX_OBJECT_BYTES;

/// Maximal size of an answer in bytes: discovery of thousands of kinds is a few megabytes.
pub(super) const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A `v1.Status` is some hundred bytes; a proxy's page may be anything.
pub(super) const MAX_ERROR_BYTES: usize = 64 << 10;

/// Bytes of an answer that is no JSON which are shown.
const MAX_BYTES_SHOWN: usize = 40;

/// One event of a watch, or why there is none.
#[derive(Debug)]
pub(super) enum Next {
    /// Without its line end, or length.
    Event(Bytes),
    /// The answer is over, in order.
    End,
    /// Nothing came for as long as we were ready to wait.
    Silence,
}

/// Bytes of the length of an event in protocol buffers.
const LENGTH_BYTES: usize = 4;

/// The events of a watch.
#[derive(Debug)]
pub(super) struct Lines {
    body: Body,
    form: Form,
    buffer: BytesMut,
    /// Bytes of the buffer that have no line end.
    searched: usize,
}

impl Lines {
    pub(super) fn new(response: Response<Body>) -> Self {
        let form = Form::of(response.headers());
        Self { body: response.into_body(), form, buffer: BytesMut::new(), searched: 0 }
    }

    /// The form of the events.
    pub(super) fn form(&self) -> Form {
        self.form
    }

    /// The next event, waiting for each piece of it at most `timeout`.
    pub(super) async fn next(&mut self, timeout: Duration) -> Result<Next, ApiError> {
        loop {
            let found = match self.form {
                Form::Json => self.line(),
                Form::Protobuf => self.frame()?,
            };
            if let Some(event) = found {
                if self.form == Form::Json && event.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return Ok(Next::Event(event));
            }
            if self.buffer.len() > MAX_OBJECT_BYTES + LENGTH_BYTES {
                return Err(too_long());
            }
            match tokio::time::timeout(timeout, piece(&mut self.body)).await {
                Err(_) => return Ok(Next::Silence),
                Ok(piece) => match piece? {
                    Some(data) => self.buffer.extend_from_slice(&data),
                    None if self.buffer.is_empty() => return Ok(Next::End),
                    None if self.form == Form::Json && self.buffer.iter().all(u8::is_ascii_whitespace) => {
                        return Ok(Next::End);
                    }
                    None => return Err(self.broken_off()),
                },
            }
        }
    }

    /// Error for an answer that ends within a line: half an object, or a proxy's page.
    fn broken_off(&self) -> ApiError {
        let text = self.buffer.trim_ascii_start();
        if self.form == Form::Protobuf || text.starts_with(b"{") {
            return ApiError::Interrupted("in the middle of an object".to_owned());
        }
        let shown = String::from_utf8_lossy(text.get(..MAX_BYTES_SHOWN).unwrap_or(text)).into_owned();
        ApiError::Malformed(format!("an answer is no JSON: it begins with {shown:?}"))
    }

    /// A whole event in protocol buffers out of the buffer.
    fn frame(&mut self) -> Result<Option<Bytes>, ApiError> {
        let Some(length) = self.buffer.first_chunk() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_OBJECT_BYTES {
            return Err(too_long());
        }
        if self.buffer.len() - LENGTH_BYTES < length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        Ok(Some(self.buffer.split_to(length).freeze()))
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

fn too_long() -> ApiError {
    ApiError::Malformed(format!("an event is longer than {MAX_OBJECT_BYTES} bytes"))
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
        let mut lines = Lines::new(Response::new(Body::from(body.as_bytes().to_vec())));
        runtime.block_on(lines.next(Duration::from_secs(9))).unwrap_err()
    }

    /// Half an object is reported as a cut connection; a page of something else by its content.
    #[test]
    fn what_ends_within_a_line() {
        assert!(matches!(ended(r#" {"type":"ADD"#), ApiError::Interrupted(_)));
        assert!(matches!(ended("<html>sign in</html>"), ApiError::Malformed(text) if text.contains("<html>sign in")));
    }

    /// Events in protocol buffers are as long as they say; one that is cut off, or longer than any
    /// object, is an error.
    #[test]
    fn frames() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let read = |body: &[u8]| {
            let response =
                Response::builder().header("content-type", "application/vnd.kubernetes.protobuf;stream=watch");
            let mut lines = Lines::new(response.body(Body::from(body.to_vec())).unwrap());
            let mut events = Vec::new();
            runtime.block_on(async {
                loop {
                    match lines.next(Duration::from_secs(9)).await {
                        Ok(Next::Event(event)) => events.push(event),
                        Ok(Next::End) => return (events, None),
                        Ok(Next::Silence) => panic!("it has ended"),
                        Err(error) => return (events, Some(error)),
                    }
                }
            })
        };
        assert_eq!(read(b"\0\0\0\x02ab\0\0\0\0\0\0\0\x01\n"), (vec!["ab".into(), "".into(), "\n".into()], None));
        let (events, error) = read(b"\0\0\0\x01a\0\0\0\x03ab");
        assert!(events.len() == 1 && matches!(error, Some(ApiError::Interrupted(_))), "{error:?}");
        assert!(matches!(read(b"{\"ty").1, Some(ApiError::Malformed(text)) if text.contains("longer than")));
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
