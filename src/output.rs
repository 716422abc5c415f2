//! Standard output of the commands that come to a verdict.

use std::io::{self, ErrorKind, Write};

/// A writer whose reader may have seen enough: what is written after it closed the pipe is dropped,
/// so that the command still comes to its verdict. Other errors are passed on.
#[derive(Debug)]
pub struct UntilClosed<W>(pub W);

impl<W: Write> Write for UntilClosed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        open(self.0.write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        open(self.0.flush(), ())
    }
}

/// The result, or `closed` if the reader is gone.
fn open<R>(result: io::Result<R>, closed: R) -> io::Result<R> {
    match result {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(closed),
        result => result,
    }
}
