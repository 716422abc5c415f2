//! As much of HTTP/1.1 as an API server needs, by hand: only so can an answer be broken at any
//! byte.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use rustls::{ServerConnection, StreamOwned};

/// A connection with or without TLS.
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Stream {
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl Stream {
    /// Whether the client has hung up. It has nothing else to say while it waits for an answer.
    pub fn is_left(&self) -> bool {
        let socket = self.socket();
        socket.set_nonblocking(true).unwrap();
        let left = match socket.peek(&mut [0]) {
            Ok(_) => true,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        };
        socket.set_nonblocking(false).unwrap();
        left
    }
}

impl Read for Stream {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(to),
            Self::Tls(stream) => stream.read(to),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// A request to the server.
pub struct Asked {
    pub method: String,
    pub body: Vec<u8>,
    pub path: String,
    pub query: BTreeMap<String, String>,
    /// The `Authorization` header.
    pub credentials: Option<String>,
    pub accept: String,
    /// Whether the answer may be compressed by gzip.
    pub gzip: bool,
    /// The ETag that is known.
    pub known: Option<String>,
}

impl Asked {
    pub fn token(&self) -> Option<&str> {
        self.credentials.as_deref()?.strip_prefix("Bearer ")
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// Whether only metadata is asked for.
    pub fn is_for_metadata(&self) -> bool {
        self.accept.contains("as=PartialObjectMetadata")
    }

    /// Whether an object has the label, and is on the node, that are asked for.
    pub fn selects(&self, object: &serde_json::Value) -> bool {
        let pair = |name: &str| self.get(name).map(|selector| selector.split_once('=').unwrap());
        let has_label = pair("labelSelector").is_none_or(|(key, value)| object["metadata"]["labels"][key] == value);
        has_label
            && pair("fieldSelector").is_none_or(|(field, value)| {
                assert_eq!(field, "spec.nodeName", "the only one that is known here");
                object["spec"]["nodeName"] == value
            })
    }

    /// Whether protocol buffers are asked for.
    pub fn is_for_protobuf(&self) -> bool {
        self.accept.contains("application/vnd.kubernetes.protobuf")
    }

    pub fn is(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value == "true" || value == "1")
    }
}

/// Reads the head of a request; none when the client has gone.
pub fn read(from: &mut BufReader<Stream>) -> Option<Asked> {
    let mut line = String::new();
    if from.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let method = line.split(' ').next()?.to_owned();
    let target = line.split(' ').nth(1)?.to_owned();
    let (mut credentials, mut accept, mut gzip, mut known, mut length) = (None, String::new(), false, None, 0);
    loop {
        line.clear();
        from.read_line(&mut line).ok()?;
        let header = line.trim_end();
        if header.is_empty() {
            break;
        }
        let Some((name, value)) = header.split_once(':') else { continue };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => credentials = Some(value.trim().to_owned()),
            "accept" => value.trim().clone_into(&mut accept),
            "accept-encoding" => gzip = value.contains("gzip"),
            "content-length" => length = value.trim().parse().ok()?,
            "if-none-match" => known = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect();
    Some(Asked { method, body, path: path.to_owned(), query, credentials, accept, gzip, known })
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&after[..2]).unwrap(), 16).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// An answer that is no JSON, as a server gives it for an unknown path.
pub fn not_found(to: &mut Stream) -> io::Result<()> {
    let body = "404 page not found\n";
    write!(to, "HTTP/1.1 404 X\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
    to.flush()
}

/// The forms of answers.
pub const JSON: &str = "application/json";
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
pub const PROTOBUF_WATCH: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// A whole answer in JSON.
pub fn answer(to: &mut Stream, status: u16, headers: &str, body: &[u8]) -> io::Result<()> {
    answer_in(to, status, (JSON, headers), body)
}

/// A whole answer of a form, with further headers.
fn answer_in(to: &mut Stream, status: u16, (form, headers): (&str, &str), body: &[u8]) -> io::Result<()> {
    let length = body.len();
    write!(to, "HTTP/1.1 {status} X\r\ncontent-type: {form}\r\n{headers}content-length: {length}\r\n\r\n")?;
    to.write_all(body)?;
    to.flush()
}

/// A list: a long one compressed for who asks for that, as the real one does.
pub fn list(to: &mut Stream, asked: &Asked, form: &str, body: &[u8]) -> io::Result<()> {
    if !asked.gzip || body.len() <= 128 << 10 {
        return answer_in(to, 200, (form, ""), body);
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body)?;
    answer_in(to, 200, (form, "content-encoding: gzip\r\n"), &encoder.finish()?)
}

/// The head of an answer whose body comes in chunks.
pub fn begin(to: &mut Stream) -> io::Result<()> {
    begin_in(to, JSON)
}

/// The same in a form.
pub fn begin_in(to: &mut Stream, form: &str) -> io::Result<()> {
    write!(to, "HTTP/1.1 200 OK\r\ncontent-type: {form}\r\ntransfer-encoding: chunked\r\n\r\n")?;
    to.flush()
}

/// A chunk; an empty one ends the answer.
pub fn chunk(to: &mut Stream, data: &[u8]) -> io::Result<()> {
    write!(to, "{:x}\r\n", data.len())?;
    to.write_all(data)?;
    to.write_all(b"\r\n")?;
    to.flush()
}
