//! The body of an answer, read in pieces: line by line for a watch, whole for what is neither watch
//! nor list.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use kube::client::Body;

use super::trouble::{Trouble, chain};

/// Objects are at most a few megabytes; what is beyond this is no object.
pub(super) const LONGEST_OBJECT: usize = 32 << 20;

/// What a server with thousands of kinds says of them is a few megabytes.
const LARGEST_ANSWER: usize = 64 << 20;

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

    /// The next line, waiting for each piece of it at most `patience`.
    pub(super) async fn next(&mut self, patience: Duration) -> Result<Next, Trouble> {
        loop {
            if let Some(line) = self.line() {
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return Ok(Next::Line(line));
            }
            if self.buffer.len() > LONGEST_OBJECT {
                return Err(Trouble::Garbage(format!("a line is longer than {LONGEST_OBJECT} bytes")));
            }
            match tokio::time::timeout(patience, piece(&mut self.body)).await {
                Err(_) => return Ok(Next::Silence),
                Ok(piece) => match piece? {
                    Some(data) => self.buffer.extend_from_slice(&data),
                    None if self.buffer.iter().all(u8::is_ascii_whitespace) => return Ok(Next::End),
                    None => return Err(Trouble::Cut("in the middle of an object".to_owned())),
                },
            }
        }
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

/// The whole body, waiting for each piece of it at most `patience`.
pub(super) async fn whole(mut body: Body, patience: Duration) -> Result<BytesMut, Trouble> {
    let mut buffer = BytesMut::new();
    loop {
        match tokio::time::timeout(patience, piece(&mut body)).await {
            Err(_) => return Err(Trouble::Late(patience)),
            Ok(piece) => match piece? {
                None => return Ok(buffer),
                Some(data) if buffer.len() + data.len() > LARGEST_ANSWER => {
                    return Err(Trouble::Garbage(format!("an answer is longer than {LARGEST_ANSWER} bytes")));
                }
                Some(data) => buffer.extend_from_slice(&data),
            },
        }
    }
}

/// The next data of a body; none at its end.
pub(super) async fn piece(body: &mut Body) -> Result<Option<Bytes>, Trouble> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(error)) => return Err(Trouble::Cut(chain(&error))),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}
