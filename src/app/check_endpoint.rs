//! `webb check-endpoint`: scrapes every agent behind an address and reports missing metrics. The
//! image has no other program, so `helm test` runs this one.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use crate::cli::{CheckEndpointArgs, Exit};
use crate::http_client::{ExchangeError, Request, Response, Tls, Url, exchange};

/// Interval between two attempts.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes of an answer that are read at most.
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// The parsed arguments.
struct Endpoint {
    url: Url,
    tls: Option<Tls>,
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
        let text = &arguments.url;
        let wrong = |what: String| format!("{text}: {what}; expected something like http://localhost:9965/metrics");
        let url = Url::parse(text).map_err(wrong)?;
        let tls = match (url.is_tls, &arguments.ca) {
            (false, Some(_)) => return Err(wrong("--ca is for https".to_owned())),
            (false, None) => None,
            (true, _) => Some((client(arguments)?, server_name(arguments, &url.host)?)),
        };
        Ok(Self { url, tls })
    }

    /// Checks each address of the host: a line for each, and the exit code of them all.
    fn check(&self, required: &[String]) -> (Vec<String>, Exit) {
        let addresses = match self.url.addresses() {
            Ok(addresses) => addresses,
            Err(error) => return (vec![error], Exit::NoInput),
        };
        let (mut lines, mut exit) = (Vec::new(), Exit::Success);
        for address in addresses {
            match self.fetch(address).and_then(|exposition| judge(&exposition, required)) {
                Ok(series) => lines.push(format!("{address}  ok, {series} series")),
                Err(error) => {
                    lines.push(format!("{address}  {error}"));
                    exit = match error {
                        ExchangeError::NotConnected(_) | ExchangeError::NoAnswer(_) => Exit::NoInput,
                        ExchangeError::BadAnswer(_) if exit == Exit::Success => Exit::Data,
                        ExchangeError::BadAnswer(_) => exit,
                    };
                }
            }
        }
        (lines, exit)
    }

    fn fetch(&self, address: SocketAddr) -> Result<String, ExchangeError> {
        let headers = [("Accept", "text/plain")];
        let request = Request { method: "GET", path: &self.url.path, host: &self.url.host, headers: &headers };
        body(&exchange(address, &request, self.tls.as_ref(), MAX_ANSWER_BYTES)?)
    }
}

/// The body of an answer with status 200 that is an exposition.
fn body(answer: &Response) -> Result<String, ExchangeError> {
    if answer.status != 200 {
        return Err(ExchangeError::BadAnswer(format!("the answer is {}", answer.status_line())));
    }
    let kind = answer.header("content-type");
    if !["text/plain", "application/openmetrics-text"].iter().any(|known| kind.starts_with(known)) {
        let text = format!("the answer is no exposition: its Content-Type is \"{}\"", kind.escape_debug());
        return Err(ExchangeError::BadAnswer(text));
    }
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}

/// The number of series in an exposition that has all of the families.
fn judge(exposition: &str, required: &[String]) -> Result<usize, ExchangeError> {
    let has = |family: &str| {
        exposition
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .any(|line| line.split(' ').next() == Some(family))
    };
    let series = exposition.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
    if series == 0 {
        return Err(ExchangeError::BadAnswer("the answer has no series".to_owned()));
    }
    let missing: Vec<&str> = required.iter().map(String::as_str).filter(|family| !has(family)).collect();
    if missing.is_empty() {
        Ok(series)
    } else {
        Err(ExchangeError::BadAnswer(format!("missing: {}", missing.join(", "))))
    }
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

    fn body_of(answer: &str) -> Result<String, ExchangeError> {
        body(&Response::parse(answer.as_bytes())?)
    }

    /// An answer that is no exposition is refused, and its text does not reach the terminal raw.
    #[test]
    fn other_answers_are_refused() {
        let good = format!("HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\r\n{EXPOSITION}");
        assert_eq!(body_of(&good).unwrap(), EXPOSITION);
        for (answer, why) in [
            ("HTTP/1.0 404 Not Found\r\n\r\n", "the answer is HTTP/1.0 404 Not Found"),
            ("HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\nhello world\n", "no exposition"),
            ("HTTP/1.0 200 OK\r\n\r\nhello world\n", "no exposition"),
            ("HTTP/1.0 500 \u{1b}[31m\r\n\r\n", "\\u{1b}"),
        ] {
            let said = body_of(answer).unwrap_err().to_string();
            assert!(said.contains(why), "{said}");
        }
    }

    /// A family is one by its whole name.
    #[test]
    fn missing_families_are_named() {
        let judged =
            |required: &[&str]| judge(EXPOSITION, &required.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(judged(&["a_total", "b"]), Ok(2));
        assert_eq!(judged(&["a", "b", "c"]), Err(ExchangeError::BadAnswer("missing: a, c".to_owned())));
        assert_eq!(judge("# nothing\n", &[]), Err(ExchangeError::BadAnswer("the answer has no series".to_owned())));
    }
}
