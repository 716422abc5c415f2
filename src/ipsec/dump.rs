//! A netlink dump of the kernel's states and policies.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use netlink_packet_core::{
    DecodeError, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload, NlasIterator,
    Parseable,
};
use netlink_packet_xfrm::constants::{XFRM_MSG_NEWPOLICY, XFRM_MSG_NEWSA};
use netlink_packet_xfrm::policy::DelGetMessage as PolicyRequest;
use netlink_packet_xfrm::state::GetDumpMessage;
use netlink_packet_xfrm::{UserPolicyInfo, UserSaInfo, XFRM_USER_SA_INFO_LEN, XfrmAttrs, XfrmMessage};
use rustix::net::netlink::{SocketAddrNetlink, XFRM};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recvfrom, send, socket_with};

use super::counts::{Counting, Counts};

/// Timeout of one answer of the kernel, which is made while it is read.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The largest datagram that the kernel makes is half of it.
const BUFFER: usize = 64 << 10;

/// Types of `struct nlmsghdr`.
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// Error of a dump.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The socket cannot be opened.
    #[error("cannot open a netlink socket for IPsec: {0}")]
    Socket(io::Error),
    /// The kernel does not answer.
    #[error("cannot read the {what} of IPsec: {error}{}", hint(.error))]
    Dump {
        /// States or policies.
        what: &'static str,
        /// Error from the kernel.
        error: io::Error,
    },
    /// A message cannot be parsed.
    #[error("cannot read the {what} of IPsec: a message of the kernel is not understood: {error}")]
    Message {
        /// States or policies.
        what: &'static str,
        /// Error of the parser.
        error: DecodeError,
    },
}

fn hint(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied { "; this needs CAP_NET_ADMIN" } else { "" }
}

/// A socket for dumps.
#[derive(Debug)]
pub struct Dump {
    fd: OwnedFd,
}

impl Dump {
    /// Opens a socket; none if the kernel has no netlink interface for IPsec.
    ///
    /// # Errors
    /// If there may be no more sockets.
    pub fn open() -> Result<Option<Self>, DumpError> {
        let opened = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(XFRM));
        let fd = match opened {
            Ok(fd) => fd,
            Err(rustix::io::Errno::PROTONOSUPPORT) => return Ok(None),
            Err(error) => return Err(DumpError::Socket(error.into())),
        };
        set_socket_timeout(&fd, Timeout::Recv, Some(TIMEOUT)).map_err(|error| DumpError::Socket(error.into()))?;
        Ok(Some(Self { fd }))
    }

    /// Counts all states and policies.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn counts(&self, own: &[IpAddr]) -> Result<Counts, DumpError> {
        let mut counting = Counting::new(own);
        let states = XfrmMessage::GetDumpSa(GetDumpMessage::default());
        self.ask("states", states, &mut |type_, body| read_state(type_, body, &mut counting))?;
        let policies = XfrmMessage::GetPolicy(PolicyRequest::default());
        self.ask("policies", policies, &mut |type_, body| read_policy(type_, body, &mut counting))?;
        Ok(counting.counts())
    }

    /// Sends a request for a dump and hands on each message of the answer.
    fn ask(&self, what: &'static str, request: XfrmMessage, take: Take<'_>) -> Result<(), DumpError> {
        let failed = |error: io::Error| DumpError::Dump { what, error };
        let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(request));
        message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        send(&self.fd, &bytes, SendFlags::empty()).map_err(|error| failed(error.into()))?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let (length, _, from) = match recvfrom(&self.fd, &mut buffer[..], RecvFlags::empty()) {
                Ok(received) => received,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(failed(error.into())),
            };
            // Another process may write here, if it is privileged; only the kernel is number 0.
            let of_kernel = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
            if of_kernel.is_none_or(|from| from.pid() != 0) {
                continue;
            }
            match datagram(buffer.get(..length).unwrap_or_default(), take) {
                Ok(Progress::More) => {}
                Ok(Progress::Done) => return Ok(()),
                Ok(Progress::Failed(errno)) => return Err(failed(io::Error::from_raw_os_error(errno))),
                Err(error) => return Err(DumpError::Message { what, error }),
            }
        }
    }
}

/// Reads the body of a message of a type.
type Take<'a> = &'a mut dyn FnMut(u16, &[u8]) -> Result<(), DecodeError>;

/// Progress of a dump after a datagram.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    More,
    Done,
    Failed(i32),
}

/// Hands on each message of a datagram.
fn datagram(mut bytes: &[u8], take: Take<'_>) -> Result<Progress, DecodeError> {
    while !bytes.is_empty() {
        let message = NetlinkBuffer::new_checked(bytes)?;
        let body = message.payload();
        match message.message_type() {
            DONE => return Ok(Progress::Done),
            ERROR => {
                let number = body.first_chunk().map_or(0, |number| i32::from_ne_bytes(*number));
                return Ok(Progress::Failed(number.saturating_neg()));
            }
            type_ => take(type_, body)?,
        }
        bytes = bytes.get((message.length() as usize).next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Progress::More)
}

fn read_state(type_: u16, body: &[u8], counting: &mut Counting<'_>) -> Result<(), DecodeError> {
    if type_ != XFRM_MSG_NEWSA {
        return Ok(());
    }
    let info = UserSaInfo::parse(body)?;
    let attributes = body.get(XFRM_USER_SA_INFO_LEN..).unwrap_or_default();
    let attributes: Result<Vec<XfrmAttrs>, DecodeError> =
        NlasIterator::new(attributes).map(|attribute| XfrmAttrs::parse(&attribute?)).collect();
    counting.state(&info, &attributes?);
    Ok(())
}

fn read_policy(type_: u16, body: &[u8], counting: &mut Counting<'_>) -> Result<(), DecodeError> {
    if type_ == XFRM_MSG_NEWPOLICY {
        counting.policy(&UserPolicyInfo::parse(body)?);
    }
    Ok(())
}

/// Reads arbitrary bytes as a datagram.
pub(super) fn fuzz(bytes: &[u8]) {
    let own = [IpAddr::from([10, 0, 0, 1])];
    let mut counting = Counting::new(&own);
    let _either = datagram(bytes, &mut |type_, body| {
        read_state(type_, body, &mut counting)?;
        read_policy(type_, body, &mut counting)
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// No bytes make the parser panic; what is cut is an error or the end.
        #[test]
        fn any_bytes_are_parsed(bytes in proptest::collection::vec(any::<u8>(), 0..600), length in 0..700_u32, state: bool) {
            let mut bytes = bytes;
            if bytes.len() >= 6 {
                let type_ = if state { XFRM_MSG_NEWSA } else { XFRM_MSG_NEWPOLICY };
                bytes[..4].copy_from_slice(&length.to_ne_bytes());
                bytes[4..6].copy_from_slice(&type_.to_ne_bytes());
            }
            fuzz(&bytes);
        }
    }
}
