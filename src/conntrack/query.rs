//! Questions about one conversation: opened by which end, and long ago or just now?

use std::time::Duration;

use webb_decode::nat::{Connection, Conversation};

use super::error::ConntrackError;
use super::message::{QueryOutcome, answer, question};
use super::socket::{Received, Socket};

/// Timeout of the kernel's answer. It answers while it is being asked.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(100);

/// Sends one query after the other.
#[derive(Debug)]
pub(super) struct Query {
    socket: Socket,
    sequence: u32,
}

impl Query {
    pub(super) fn new() -> Result<Self, ConntrackError> {
        Ok(Self { socket: Socket::asking(ANSWER_TIMEOUT)?, sequence: 0 })
    }

    /// Role of a packet with these ends in its conversation.
    ///
    /// A packet that has its receiver's own address is the answer's reverse, whatever its
    /// connection was opened to; one that has a service's is as it was opened. So both are
    /// looked for, the more frequent one first.
    pub(super) fn ask(&mut self, packet: &Connection) -> Result<Conversation, ConntrackError> {
        for ends in [packet.reversed(), *packet] {
            if let Some(found) = self.find(&ends)? {
                return Ok(found.conversation(packet));
            }
        }
        Ok(Conversation::New)
    }

    fn find(&mut self, ends: &Connection) -> Result<Option<super::message::Tracked>, ConntrackError> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&question(ends, self.sequence)).map_err(ConntrackError::Dump)?;
        loop {
            let failed = |why: std::io::Error| Err(ConntrackError::Dump(why));
            match self.socket.receive().map_err(ConntrackError::Dump)? {
                Received::Datagram(bytes) => match answer(bytes, self.sequence) {
                    QueryOutcome::Found(tracked) => return Ok(Some(tracked)),
                    QueryOutcome::NotFound => return Ok(None),
                    QueryOutcome::Failed(errno) => return failed(std::io::Error::from_raw_os_error(errno)),
                    QueryOutcome::Other => {}
                },
                Received::Nothing => return failed(std::io::ErrorKind::TimedOut.into()),
                Received::Overrun => return failed(std::io::Error::other("messages were dropped")),
            }
        }
    }
}
