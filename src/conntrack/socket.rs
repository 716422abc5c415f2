//! A netlink socket of the netfilter family.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size_force, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recvfrom, send, socket_with};

use super::error::ConntrackError;
use super::message::GET;
use crate::records::Waker;

/// Groups of `enum nfnetlink_groups`, a bit each: new connections and those that are destroyed.
/// Changes in between, such as of a TCP state, change no address.
const NEW_AND_DESTROY: u32 = 1 << 0 | 1 << 2;

/// Room for events while the follower is busy: some ten thousand.
const RECEIVE_BYTES: usize = 4 << 20;

/// The largest datagram that the kernel makes is half of it.
const BUFFER: usize = 64 << 10;

/// Reasons for which a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Woken {
    /// The waker was used.
    pub(super) woken: bool,
}

/// Received data.
#[derive(Debug)]
pub(super) enum Received<'a> {
    /// A datagram.
    Datagram(&'a [u8]),
    /// No datagram in time.
    Nothing,
    /// Events were dropped.
    Overrun,
}

#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    buffer: Box<[u8]>,
}

impl Socket {
    /// A non-blocking socket that receives new and destroyed connections.
    pub(super) fn listening() -> Result<Self, ConntrackError> {
        let socket = Self::open(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        // A default buffer does as well, with more overruns.
        if let Err(error) = set_socket_recv_buffer_size_force(&socket.fd, RECEIVE_BYTES) {
            tracing::debug!("connection tracking has a small receive buffer: {error}");
        }
        bind(&socket.fd, &SocketAddrNetlink::new(0, NEW_AND_DESTROY))
            .map_err(|error| ConntrackError::Listen(error.into()))?;
        Ok(socket)
    }

    /// A socket for queries only, with this timeout for each answer.
    pub(super) fn asking(wait: Duration) -> Result<Self, ConntrackError> {
        let socket = Self::open(SocketFlags::CLOEXEC)?;
        set_socket_timeout(&socket.fd, Timeout::Recv, Some(wait))
            .map_err(|error| ConntrackError::Socket(error.into()))?;
        Ok(socket)
    }

    fn open(flags: SocketFlags) -> Result<Self, ConntrackError> {
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(NETFILTER))
            .map_err(|error| ConntrackError::Socket(error.into()))?;
        Ok(Self { fd, buffer: vec![0; BUFFER].into_boxed_slice() })
    }

    /// Requests every connection of both families.
    pub(super) fn ask_for_all(&self) -> io::Result<()> {
        /// `NLM_F_REQUEST | NLM_F_DUMP`.
        const FLAGS: u16 = 0x301;
        let mut request = [0; 20];
        let parts: [&[u8]; 4] = [&20_u32.to_ne_bytes(), &GET.to_ne_bytes(), &FLAGS.to_ne_bytes(), &1_u32.to_ne_bytes()];
        for (place, byte) in request.iter_mut().zip(parts.concat()) {
            *place = byte;
        }
        self.send(&request)
    }

    /// Sends a request.
    pub(super) fn send(&self, request: &[u8]) -> io::Result<()> {
        send(&self.fd, request, SendFlags::empty())?;
        Ok(())
    }

    /// Waits for a datagram or a wake-up.
    pub(super) fn wait(&self, waker: &Waker, timeout: Timespec) -> io::Result<Woken> {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN), PollFd::new(waker, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [_, woken] = fds;
        Ok(Woken { woken: woken.revents().contains(PollFlags::IN) })
    }

    /// The next datagram of the kernel's.
    pub(super) fn receive(&mut self) -> io::Result<Received<'_>> {
        use rustix::io::Errno;
        let (length, from) = match recvfrom(&self.fd, &mut *self.buffer, RecvFlags::empty()) {
            Ok((length, _, from)) => (length, from),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Received::Nothing),
            Err(Errno::NOBUFS) => return Ok(Received::Overrun),
            Err(error) => return Err(error.into()),
        };
        // Another process may write here, if it is privileged; only the kernel is number 0.
        let kernel = from.and_then(|from| SocketAddrNetlink::try_from(from).ok()).is_some_and(|from| from.pid() == 0);
        Ok(match self.buffer.get(..length) {
            Some(datagram) if kernel => Received::Datagram(datagram),
            _ => Received::Nothing,
        })
    }
}
