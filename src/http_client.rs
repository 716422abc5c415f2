//! The HTTP client of the commands: one request, one answer, by HTTP/1.0, over TCP or TLS.
//!
//! It blocks, and each part of an exchange has a time-out and a bound.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// Time-out to connect, and of each read of an answer.
const IO_TIMEOUT: Duration = Duration::from_secs(5);

/// Time-out of an answer from its first byte to its last.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A parsed `http` or `https` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Host, a name or an address without brackets.
    pub host: String,
    /// Port; that of the scheme if none was given.
    pub port: u16,
    /// Path and query, with the slash before them.
    pub path: String,
    /// True for `https`.
    pub is_tls: bool,
}

impl Url {
    /// Parses a URL.
    ///
    /// # Errors
    /// The text says what is wrong, without the URL.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parsed: http::Uri = text.parse().map_err(|error| format!("{error}"))?;
        let host = parsed.host().filter(|host| !host.is_empty()).ok_or("there is no host")?;
        let (default, is_tls) = match parsed.scheme_str() {
            Some("http") => (80, false),
            Some("https") => (443, true),
            _ => return Err("it begins with neither http:// nor https://".to_owned()),
        };
        // A number that is no port is none for the parser, and would be taken for the default.
        let typed = parsed.authority().is_some_and(|authority| authority.as_str() != authority.host());
        let port = match parsed.port_u16() {
            Some(port) => port,
            None if typed => return Err("what stands beside the host is not a port from 1 to 65535".to_owned()),
            None => default,
        };
        let path = parsed.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        Ok(Self { host: host.trim_matches(['[', ']']).to_owned(), port, path, is_tls })
    }

    /// The addresses of the host, in order, each once; at least one.
    ///
    /// # Errors
    /// If the name has none.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        let found = (self.host.as_str(), self.port).to_socket_addrs();
        let mut addresses: Vec<_> = found.map_err(|error| format!("{}: {error}", self.host))?.collect();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() { Err(format!("{}: the name has no address", self.host)) } else { Ok(addresses) }
    }
}

/// A request without a body.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Method.
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// Value of `Host`.
    pub host: &'a str,
    /// Further headers.
    pub headers: &'a [(&'a str, &'a str)],
}

/// A client's side of TLS, and the name that the server's certificate must have.
pub type Tls = (Arc<ClientConfig>, ServerName<'static>);

/// The fault of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExchangeError {
    /// No connection: nothing was sent.
    NotConnected(String),
    /// No answer, or an incomplete one.
    NoAnswer(String),
    /// The answer is not what was asked for.
    BadAnswer(String),
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::NotConnected(why) | Self::NoAnswer(why) | Self::BadAnswer(why)) = self;
        f.write_str(why)
    }
}

impl From<io::Error> for ExchangeError {
    fn from(error: io::Error) -> Self {
        Self::NoAnswer(reason(&error))
    }
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("no answer within {}s", IO_TIMEOUT.as_secs())
        }
        _ => error.to_string(),
    }
}

/// An answer that is all here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status, such as 200.
    pub status: u16,
    head: String,
    /// Body, without the marks of its chunks.
    pub body: Vec<u8>,
}

impl Response {
    /// The first line, escaped.
    pub fn status_line(&self) -> String {
        self.head.lines().next().unwrap_or_default().escape_debug().to_string()
    }

    /// A header's value; empty without it.
    pub fn header(&self, name: &str) -> &str {
        header(&self.head, name).unwrap_or_default()
    }

    /// Parses an answer whose connection has ended.
    ///
    /// # Errors
    /// If it is not HTTP, not whole, or packed.
    pub fn parse(answer: &[u8]) -> Result<Self, ExchangeError> {
        let wrong = |what: String| ExchangeError::BadAnswer(what);
        let end =
            memchr::memmem::find(answer, b"\r\n\r\n").ok_or_else(|| wrong("the answer is not HTTP".to_owned()))?;
        let (head, rest) = answer.split_at_checked(end).unwrap_or_default();
        let (head, rest) = (String::from_utf8_lossy(head).into_owned(), rest.get(4..).unwrap_or_default());
        let line = head.lines().next().unwrap_or_default();
        let status =
            line.split(' ').nth(1).and_then(|status| status.parse().ok()).filter(|_| line.starts_with("HTTP/"));
        let status = status.ok_or_else(|| wrong(format!("the answer is {}", line.escape_debug())))?;
        if let Some(packed) = header(&head, "content-encoding") {
            return Err(wrong(format!("the answer is packed ({}), which was not asked for", packed.escape_debug())));
        }
        let body = match (header(&head, "transfer-encoding"), header(&head, "content-length").map(str::parse::<usize>))
        {
            (Some(_), _) => {
                unchunk(rest).ok_or_else(|| ExchangeError::NoAnswer("the answer ends within a chunk".to_owned()))?
            }
            (None, Some(Ok(length))) if length > rest.len() => {
                let text = format!("the answer ends after {} of {length} bytes", rest.len());
                return Err(ExchangeError::NoAnswer(text));
            }
            _ => rest.to_vec(),
        };
        Ok(Self { status, head, body })
    }
}

fn header<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name, value.trim())).find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|of| of.1)
}

/// Sends a request and reads the answer, which has less than `limit` bytes.
///
/// # Errors
/// If the server does not answer in time, or with something else, or with more.
pub fn exchange(
    address: SocketAddr,
    request: &Request<'_>,
    tls: Option<&Tls>,
    limit: usize,
) -> Result<Response, ExchangeError> {
    let mut stream = TcpStream::connect_timeout(&address, IO_TIMEOUT)
        .map_err(|error| ExchangeError::NotConnected(reason(&error)))?;
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    stream.set_write_timeout(Some(IO_TIMEOUT))?;
    let answer = match tls {
        None => send(&mut stream, request, limit)?,
        Some((config, name)) => {
            let connection = ClientConnection::new(Arc::clone(config), name.clone())
                .map_err(|error| ExchangeError::NoAnswer(error.to_string()))?;
            send(&mut StreamOwned::new(connection, stream), request, limit)?
        }
    };
    Response::parse(&answer)
}

fn send(stream: &mut (impl Read + Write), request: &Request<'_>, limit: usize) -> io::Result<Vec<u8>> {
    // Of HTTP/1.0 the answer ends with the connection, and is not in chunks.
    let mut head = format!("{} {} HTTP/1.0\r\nHost: {}\r\n", request.method, request.path, request.host);
    for (name, value) in request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.flush()?;
    let (mut answer, mut piece, until) = (Vec::new(), vec![0; 64 << 10], Instant::now() + ANSWER_TIMEOUT);
    while answer.len() < limit {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(piece.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A server that closes without a TLS close_notify: the answer says itself whether all
            // is here.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !answer.is_empty() => break,
            Err(error) => return Err(error),
        }
        if Instant::now() >= until {
            let text = format!("the answer is not over after {}s", ANSWER_TIMEOUT.as_secs());
            return Err(io::Error::other(text));
        }
    }
    if answer.len() >= limit {
        return Err(io::Error::other(format!("the answer has {limit} bytes or more, which is too much")));
    }
    Ok(answer)
}

/// A body without the marks of its chunks, which servers send to clients of HTTP/1.0 too; none if
/// its last one is missing.
fn unchunk(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((begin, size))) = httparse::parse_chunk_size(body) else { return None };
        let end = begin.checked_add(usize::try_from(size).ok()?)?;
        whole.extend_from_slice(body.get(begin..end)?);
        if size == 0 {
            return Some(whole);
        }
        // Each chunk has an end of line behind it.
        body = body.get(end.checked_add(2)?..)?;
    }
}

/// Appends a text as a part of a URL.
pub fn encode(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:*".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                out.push(char::from_digit(digit.into(), 16).unwrap_or('0').to_ascii_uppercase());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "a 1\nb{c=\"d\"} 2\n";

    fn body(answer: &str) -> Result<String, ExchangeError> {
        Response::parse(answer.as_bytes()).map(|of| String::from_utf8(of.body).unwrap())
    }

    /// An answer counts only if it is whole.
    #[test]
    fn answers_are_whole() {
        assert_eq!(body(&format!("HTTP/1.0 200 OK\r\n\r\n{BODY}")).unwrap(), BODY);
        let length = BODY.len();
        assert_eq!(body(&format!("HTTP/1.0 200 OK\r\ncontent-length: {length}\r\n\r\n{BODY}")).unwrap(), BODY);
        let cut = body(&format!("HTTP/1.0 200 OK\r\nContent-Length: 5000\r\n\r\n{BODY}"));
        assert_eq!(cut, Err(ExchangeError::NoAnswer(format!("the answer ends after {length} of 5000 bytes"))));
        let other = Err(ExchangeError::BadAnswer("the answer is not HTTP".to_owned()));
        assert_eq!(body("SSH-2.0-x\r\n"), other);
        assert_eq!(body("SSH 200\r\n\r\n"), Err(ExchangeError::BadAnswer("the answer is SSH 200".to_owned())));
        let refused = Response::parse(b"HTTP/1.1 403 \x1b[31m\r\nDate: today\r\n\r\n").unwrap();
        assert_eq!((refused.status, refused.header("date")), (403, "today"));
        assert_eq!(refused.status_line(), "HTTP/1.1 403 \\u{1b}[31m");
        assert!(body("HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\n\r\nx").unwrap_err().to_string().contains("(gzip)"));
    }

    /// Chunks are put together; without the last one the answer is not whole.
    #[test]
    fn chunks_are_put_together() {
        let head = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let whole = format!("{head}4\r\na 1\n\r\nA;x=y\r\nb{{c=\"d\"}} 2\r\n0\r\n\r\n");
        assert_eq!(body(&whole), Ok("a 1\nb{c=\"d\"} 2".to_owned()));
        let cut = whole.split_at(whole.len() - 5).0;
        assert_eq!(body(cut), Err(ExchangeError::NoAnswer("the answer ends within a chunk".to_owned())));
    }

    /// Hosts, ports and paths as they are written.
    #[test]
    fn urls_are_parsed() {
        let of =
            |host: &str, port, path: &str, is_tls| Url { host: host.to_owned(), port, path: path.to_owned(), is_tls };
        assert_eq!(Url::parse("http://localhost:9965/metrics?x=1"), Ok(of("localhost", 9965, "/metrics?x=1", false)));
        assert_eq!(Url::parse("https://[::1]"), Ok(of("::1", 443, "/", true)));
        for wrong in ["localhost:9965", "ftp://localhost/", "http://", "http://localhost:99999/", "", "http://a:b/"] {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
    }
}
