//! `webb check-endpoint`: scrapes every agent behind an address and reports missing metrics. The
//! image has no other program, so `helm test` runs this one.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::cli::{CheckEndpointArgs, Exit};

/// Time-out to connect, and of each read of an answer.
const IO_TIMEOUT: Duration = Duration::from_secs(5);

/// Time-out of an answer from its first byte to its last.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Interval between two attempts.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes of an answer that are read at most.
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// The parsed arguments.
struct Endpoint {
    host: String,
    port: u16,
    path: String,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// The fault of one agent's answer.
#[derive(Debug, PartialEq, Eq)]
enum CheckError {
    /// No answer, or an incomplete one.
    NoAnswer(String),
    /// The answer is not an exposition, or metrics are missing.
    BadAnswer(String),
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::NoAnswer(why) | Self::BadAnswer(why)) = self;
        f.write_str(why)
    }
}

impl From<io::Error> for CheckError {
    fn from(error: io::Error) -> Self {
        Self::NoAnswer(match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("no answer within {}s", IO_TIMEOUT.as_secs())
            }
            _ => error.to_string(),
        })
    }
}

/// Scrapes until all answers are good or the time is over, and prints the last outcome.
///
/// # Errors
/// When `out` cannot be written.
pub fn check_endpoint(arguments: &CheckEndpointArgs, out: &mut dyn Write) -> io::Result<Exit> {
    let endpoint = match Endpoint::new(arguments) {
        Ok(endpoint) => endpoint,
        Err(why) => {
            eprintln!("{why}");
            return Ok(Exit::Configuration);
        }
    };
    let until = Instant::now() + arguments.wait;
    loop {
        let (lines, exit) = endpoint.check(&arguments.require);
        if exit == Exit::Success || Instant::now() >= until {
            for line in lines {
                writeln!(out, "{line}")?;
            }
            return Ok(exit);
        }
        sleep(RETRY_INTERVAL.min(until.saturating_duration_since(Instant::now())));
    }
}

impl Endpoint {
    fn new(arguments: &CheckEndpointArgs) -> Result<Self, String> {
        let url = &arguments.url;
        let wrong = |what: &str| format!("{url}: {what}; expected something like http://localhost:9965/metrics");
        let parsed: http::Uri = url.parse().map_err(|error| wrong(&format!("{error}")))?;
        let host = parsed.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("there is no host"))?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let (port, tls) = match parsed.scheme_str() {
            Some("http") if arguments.ca.is_some() => return Err(wrong("--ca is for https")),
            Some("http") => (80, None),
            Some("https") => (443, Some((client(arguments)?, server_name(arguments, &host)?))),
            _ => return Err(wrong("it begins with neither http:// nor https://")),
        };
        let path = parsed.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        // A number that is no port is none for the parser, and would be taken for the default.
        let typed = parsed.authority().is_some_and(|authority| authority.as_str() != authority.host());
        let port = match parsed.port_u16() {
            Some(port) => port,
            None if typed => return Err(wrong("what stands beside the host is not a port from 1 to 65535")),
            None => port,
        };
        Ok(Self { host, port, path, tls })
    }

    /// Checks each address of the host: a line for each, and the exit code of them all.
    fn check(&self, required: &[String]) -> (Vec<String>, Exit) {
        let addresses = match (self.host.as_str(), self.port).to_socket_addrs() {
            Ok(found) => {
                let mut addresses: Vec<SocketAddr> = found.collect();
                addresses.sort_unstable();
                addresses.dedup();
                addresses
            }
            Err(error) => return (vec![format!("{}: {error}", self.host)], Exit::NoInput),
        };
        let (mut lines, mut exit) = (Vec::new(), Exit::Success);
        if addresses.is_empty() {
            return (vec![format!("{}: the name has no address", self.host)], Exit::NoInput);
        }
        for address in addresses {
            match self.fetch(address).and_then(|exposition| judge(&exposition, required)) {
                Ok(series) => lines.push(format!("{address}  ok, {series} series")),
                Err(error) => {
                    lines.push(format!("{address}  {error}"));
                    exit = match error {
                        CheckError::NoAnswer(_) => Exit::NoInput,
                        CheckError::BadAnswer(_) if exit == Exit::Success => Exit::Data,
                        CheckError::BadAnswer(_) => exit,
                    };
                }
            }
        }
        (lines, exit)
    }

    fn fetch(&self, address: SocketAddr) -> Result<String, CheckError> {
        let mut stream = TcpStream::connect_timeout(&address, IO_TIMEOUT)?;
        stream.set_read_timeout(Some(IO_TIMEOUT))?;
        stream.set_write_timeout(Some(IO_TIMEOUT))?;
        let answer = match &self.tls {
            None => self.exchange(&mut stream)?,
            Some((config, name)) => {
                let connection = ClientConnection::new(Arc::clone(config), name.clone())
                    .map_err(|error| CheckError::NoAnswer(error.to_string()))?;
                self.exchange(&mut StreamOwned::new(connection, stream))?
            }
        };
        body(&answer)
    }

    fn exchange(&self, stream: &mut (impl Read + Write)) -> io::Result<Vec<u8>> {
        // Of HTTP/1.0 the answer ends with the connection, and is not in chunks.
        write!(stream, "GET {} HTTP/1.0\r\nHost: {}\r\nAccept: text/plain\r\n\r\n", self.path, self.host)?;
        stream.flush()?;
        let (mut answer, mut piece, until) = (Vec::new(), vec![0; 64 << 10], Instant::now() + ANSWER_TIMEOUT);
        while answer.len() < MAX_ANSWER_BYTES {
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => answer.extend_from_slice(piece.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A server that closes without a TLS close_notify: the answer says itself
                // whether all is here.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !answer.is_empty() => break,
                Err(error) => return Err(error),
            }
            if Instant::now() >= until {
                let text = format!("the answer is not over after {}s", ANSWER_TIMEOUT.as_secs());
                return Err(io::Error::other(text));
            }
        }
        Ok(answer)
    }
}

/// The body of an answer with status 200 that is an exposition and all here.
fn body(answer: &[u8]) -> Result<String, CheckError> {
    let wrong = |what: String| Err(CheckError::BadAnswer(what));
    let Some(end) = memchr::memmem::find(answer, b"\r\n\r\n") else {
        return wrong("the answer is not HTTP".to_owned());
    };
    let (head, rest) = answer.split_at_checked(end).unwrap_or_default();
    let (head, body) = (String::from_utf8_lossy(head), rest.get(4..).unwrap_or_default());
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return wrong(format!("the answer is {}", status.escape_debug()));
    }
    let field = |wanted: &str| {
        let fields = head.lines().filter_map(|line| line.split_once(':'));
        fields.map(|(name, value)| (name, value.trim())).find(|(name, _)| name.eq_ignore_ascii_case(wanted))
    };
    let kind = field("content-type").map_or("", |(_, kind)| kind);
    if !["text/plain", "application/openmetrics-text"].iter().any(|known| kind.starts_with(known)) {
        return wrong(format!("the answer is no exposition: its Content-Type is \"{}\"", kind.escape_debug()));
    }
    if let Some((_, packed)) = field("content-encoding") {
        return wrong(format!("the answer is packed ({}), which was not asked for", packed.escape_debug()));
    }
    let body = match (field("transfer-encoding"), field("content-length").map(|(_, length)| length.parse::<usize>())) {
        (Some(_), _) => {
            unchunk(body).ok_or_else(|| CheckError::NoAnswer("the answer ends within a chunk".to_owned()))?
        }
        (None, Some(Ok(length))) if length > body.len() => {
            return Err(CheckError::NoAnswer(format!("the answer ends after {} of {length} bytes", body.len())));
        }
        _ => body.to_vec(),
    };
    Ok(String::from_utf8_lossy(&body).into_owned())
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

/// The number of series in an exposition that has all of the families.
fn judge(exposition: &str, required: &[String]) -> Result<usize, CheckError> {
    let has = |family: &str| {
        exposition
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .any(|line| line.split(' ').next() == Some(family))
    };
    let series = exposition.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
    if series == 0 {
        return Err(CheckError::BadAnswer("the answer has no series".to_owned()));
    }
    let missing: Vec<&str> = required.iter().map(String::as_str).filter(|family| !has(family)).collect();
    if missing.is_empty() { Ok(series) } else { Err(CheckError::BadAnswer(format!("missing: {}", missing.join(", ")))) }
}

fn server_name(arguments: &CheckEndpointArgs, host: &str) -> Result<ServerName<'static>, String> {
    let name = arguments.server_name.as_deref().unwrap_or(host);
    ServerName::try_from(name.to_owned()).map_err(|error| format!("{name}: {error}"))
}

/// A client that trusts the given authority, and no other.
fn client(arguments: &CheckEndpointArgs) -> Result<Arc<ClientConfig>, String> {
    let authority = arguments.ca.as_deref().ok_or("https needs --ca, the authority of the server's certificate")?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authority)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", authority.display()))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let config = match (&arguments.certificate, &arguments.key) {
        (Some(certificate), Some(key)) => {
            let private = PrivateKeyDer::from_pem_slice(&content(key)?)
                .map_err(|error| format!("{}: no private key in PEM: {error}", key.display()))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, private)
                .map_err(|error| format!("{} with {}: {error}", certificate.display(), key.display()))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn content(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content(path)?).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(format!("{}: no certificate in PEM", path.display())),
        Err(error) => Err(format!("{}: no certificate in PEM: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPOSITION: &str = "# HELP a_total A\n# TYPE a_total counter\na_total 1\n# TYPE b gauge\nb{c=\"d\"} 2\n";

    fn answer(head: &str) -> Vec<u8> {
        format!("{head}\r\nContent-Type: text/plain; version=0.0.4\r\n\r\n{EXPOSITION}").into_bytes()
    }

    /// An answer counts only if it is whole, and if it is one of success.
    #[test]
    fn answers_are_whole() {
        assert_eq!(body(&answer("HTTP/1.0 200 OK")).unwrap(), EXPOSITION);
        let length = EXPOSITION.len();
        assert_eq!(body(&answer(&format!("HTTP/1.0 200 OK\r\ncontent-length: {length}"))).unwrap(), EXPOSITION);
        let cut = body(&answer("HTTP/1.0 200 OK\r\nContent-Length: 5000"));
        assert_eq!(cut, Err(CheckError::NoAnswer(format!("the answer ends after {length} of 5000 bytes"))));
        let gone = body(&answer("HTTP/1.0 404 Not Found"));
        assert_eq!(gone, Err(CheckError::BadAnswer("the answer is HTTP/1.0 404 Not Found".to_owned())));
        assert_eq!(body(b"SSH-2.0-x\r\n"), Err(CheckError::BadAnswer("the answer is not HTTP".to_owned())));
    }

    /// Chunks are put together; without the last one the answer is not whole.
    #[test]
    fn chunks_are_put_together() {
        let head = "HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
        let whole = format!("{head}4\r\na 1\n\r\nA;x=y\r\nb{{c=\"d\"}} 2\r\n0\r\n\r\n");
        assert_eq!(body(whole.as_bytes()), Ok("a 1\nb{c=\"d\"} 2".to_owned()));
        let cut = whole.split_at(whole.len() - 5).0;
        assert_eq!(body(cut.as_bytes()), Err(CheckError::NoAnswer("the answer ends within a chunk".to_owned())));
    }

    /// An answer that is no exposition is refused, and its text does not reach the terminal raw.
    #[test]
    fn other_answers_are_refused() {
        for (answer, why) in [
            ("HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\nhello world\n", "no exposition"),
            ("HTTP/1.0 200 OK\r\n\r\nhello world\n", "no exposition"),
            ("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\n\r\nx", "packed (gzip)"),
            ("HTTP/1.0 500 \u{1b}[31m\r\n\r\n", "\\u{1b}"),
        ] {
            let said = body(answer.as_bytes()).unwrap_err().to_string();
            assert!(said.contains(why), "{said}");
        }
    }

    /// A family is one by its whole name.
    #[test]
    fn missing_families_are_named() {
        let judged =
            |required: &[&str]| judge(EXPOSITION, &required.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(judged(&["a_total", "b"]), Ok(2));
        assert_eq!(judged(&["a", "b", "c"]), Err(CheckError::BadAnswer("missing: a, c".to_owned())));
        assert_eq!(judge("# nothing\n", &[]), Err(CheckError::BadAnswer("the answer has no series".to_owned())));
    }
}
