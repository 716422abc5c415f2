//! Sends `GET /hello` to one address, over a connection of its own.
//!
//! The client is written out here, since a general one does what must not be done: it takes the
//! proxies of the environment, follows redirects, reads bodies. Memory of a probe is bounded by
//! [`MAX_HEAD_BYTES`] and the socket's buffer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::head::parse_status;
use super::{MAX_HEAD_BYTES, ProbeError};

/// Bytes that the kernel keeps of an answer.
const RECEIVE_BUFFER_BYTES: u32 = 8 << 10;

/// First size of the buffer for the head; an agent's answer fits.
const USUAL_HEAD_BYTES: usize = 256;

/// Time from the first packet of the handshake to the end of the answer's head. The peer's kernel
/// has `limit` to accept, and its agent as long again to answer: one that runs late is told apart
/// from a path that is cut.
pub(super) async fn hello(to: SocketAddr, limit: Duration) -> Result<Duration, ProbeError> {
    let began = Instant::now();
    let stream = timeout(limit, connect(to)).await.map_err(|_| ProbeError::Timeout(limit))??;
    timeout(limit, ask(stream, to)).await.map_err(|_| ProbeError::Unanswered(limit))??;
    Ok(began.elapsed())
}

async fn connect(to: SocketAddr) -> Result<TcpStream, ProbeError> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    Ok(socket.connect(to).await?)
}

async fn ask(mut stream: TcpStream, to: SocketAddr) -> Result<(), ProbeError> {
    let request = format!(
        "GET /hello HTTP/1.1\r\nHost: {to}\r\nUser-Agent: webb/{}\r\nConnection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::with_capacity(USUAL_HEAD_BYTES);
    loop {
        let room = MAX_HEAD_BYTES - head.len();
        let read = (&mut stream).take(room as u64).read_buf(&mut head).await?;
        if let Some(_ok) = parse_status(&head)? {
            return Ok(());
        }
        if read == 0 {
            return Err(ProbeError::Reset);
        }
    }
}
