//! Listening sockets, for addresses of either family.
//!
//! `[::]` is every address of the machine, IPv4 included: the socket takes both families whatever
//! `net.ipv6.bindv6only` says. A kernel without IPv6 (`ipv6.disable=1`) refuses such a socket, and
//! then `0.0.0.0` stands in for it, which is every address that such a machine has.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// A listener on `address`.
///
/// # Errors
/// If the port is taken, the address is not this machine's, or the system refuses.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    with_fallback(address, open)
}

fn with_fallback<T>(address: SocketAddr, open: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    let error = match open(address) {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() => error,
        other => return other,
    };
    let no_ipv6 = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL].map(Errno::raw_os_error);
    if !error.raw_os_error().is_some_and(|number| no_ipv6.contains(&number)) {
        return Err(error);
    }
    let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    tracing::info!("this kernel has no IPv6 ({error}): listening on {v4} in the place of {address}");
    open(v4)
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Connections of an agent that ended just now may still linger in TIME_WAIT.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    net::bind(&socket, &address)?;
    net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[::]` becomes `0.0.0.0` with the same port if the kernel has no IPv6; no other address is
    /// replaced, and no other error leads to another address.
    #[test]
    fn ipv4_stands_in_for_a_missing_ipv6() {
        let any = SocketAddr::from(([0_u16; 8], 9965));
        let refusing = |errno: Errno| {
            move |address: SocketAddr| if address.is_ipv6() { Err(io::Error::from(errno)) } else { Ok(address) }
        };
        for errno in [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL] {
            assert_eq!(with_fallback(any, refusing(errno)).unwrap().to_string(), "0.0.0.0:9965");
        }
        let taken = with_fallback(any, refusing(Errno::ADDRINUSE)).unwrap_err();
        assert_eq!(taken.raw_os_error(), Some(Errno::ADDRINUSE.raw_os_error()));
        let one: SocketAddr = "[::1]:9965".parse().unwrap();
        assert!(with_fallback(one, refusing(Errno::ADDRNOTAVAIL)).is_err());
        let v4: SocketAddr = "127.0.0.1:9965".parse().unwrap();
        assert_eq!(with_fallback(v4, refusing(Errno::AFNOSUPPORT)).unwrap(), v4);
    }

    /// One socket answers to both families, and says no if the port is taken.
    #[test]
    fn one_socket_for_both_families() {
        let listener = open(SocketAddr::from(([0_u16; 8], 0))).unwrap();
        let port = listener.local_addr().unwrap().port();
        for ip in ["127.0.0.1", "::1"] {
            let address = SocketAddr::new(ip.parse().unwrap(), port);
            std::net::TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        }
        let taken = open(SocketAddr::from(([0_u16; 8], port))).unwrap_err();
        assert_eq!(taken.raw_os_error(), Some(Errno::ADDRINUSE.raw_os_error()));
    }
}
