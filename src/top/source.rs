//! The agent that is asked: its admin listener, by HTTP.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use webb_settings::token;

use super::answer::Answer;
use crate::display::visible;
use crate::http_client::{ExchangeError, Request, Response, Url, exchange};

/// Port of the admin listener.
const PORT: u16 = 9966;

/// Bytes of an answer at most: 500 rows have some 300 kB. Parsed, one may take a hundred times
/// that.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// The header that a command needs.
const COMMAND: (&str, &str) = ("X-Webb-Admin", "1");

/// An agent's admin listener.
#[derive(Debug, Clone)]
pub struct Source {
    url: Url,
    token_file: Option<PathBuf>,
}

/// The reason why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The agent does not answer, or refuses.
    NoAnswer(String),
    /// It has too much to do now.
    Busy(String),
    /// It was not asked, since the file of the token has none.
    Token(String),
}

impl Failure {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self::NoAnswer(why.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::NoAnswer(why) | Self::Busy(why) | Self::Token(why)) = self;
        f.write_str(why)
    }
}

impl Source {
    /// The listener at `server`, an address with or without a port; `http://` may stand before it.
    ///
    /// # Errors
    /// If that is no address.
    pub fn new(server: Option<&str>, token_file: Option<&Path>) -> Result<Self, String> {
        let server = server.unwrap_or("127.0.0.1");
        let wrong = |what: &str| format!("--server {server}: {what}; expected something like localhost:{PORT}");
        let place = server.strip_prefix("http://").unwrap_or(server).trim_end_matches('/');
        let behind_brackets = place.rsplit_once(']').map_or(place, |(_, behind)| behind);
        let text =
            if behind_brackets.contains(':') { format!("http://{place}") } else { format!("http://{place}:{PORT}") };
        let url = Url::parse(&text).map_err(|why| wrong(&why))?;
        if url.path != "/" {
            return Err(wrong("behind the port there is more"));
        }
        Ok(Self { url, token_file: token_file.map(Path::to_owned) })
    }

    /// Asks for a view: `path` is that of the API, with its query.
    ///
    /// # Errors
    /// If the agent does not answer, or refuses.
    pub fn get(&self, path: &str) -> Result<Answer, Failure> {
        let response = self.exchange("GET", path)?;
        Answer::read(&response.body, response.header("date")).map_err(Failure::new)
    }

    /// Gives a command; returns what the agent says of it.
    ///
    /// # Errors
    /// Likewise.
    pub fn post(&self, path: &str) -> Result<String, Failure> {
        self.exchange("POST", path).map(|response| first_line(&response))
    }

    fn exchange(&self, method: &str, path: &str) -> Result<Response, Failure> {
        self.exchange_with(self.url.addresses().map_err(Failure::new)?, method, path)
    }

    /// An exchange with the first address that takes a connection.
    fn exchange_with(&self, addresses: Vec<SocketAddr>, method: &str, path: &str) -> Result<Response, Failure> {
        let token = self.token()?;
        let mut headers = vec![("Accept", "application/json"), COMMAND];
        let bearer = token.map(|token| format!("Bearer {token}"));
        headers.extend(bearer.as_deref().map(|bearer| ("Authorization", bearer)));
        let mut first = None;
        for address in addresses {
            // An address is a name of its own for every agent; `admin.hosts` need not list one.
            let host = address.to_string();
            let request = Request { method, path, host: &host, headers: &headers };
            match exchange(address, &request, None, MAX_ANSWER_BYTES) {
                Ok(response) if matches!(response.status, 200 | 202) => return Ok(response),
                Ok(response) => return Err(refusal(&response)),
                Err(error) => {
                    let failure = Failure::new(format!("{address}: {error}"));
                    // A command that was sent is never sent to another address too.
                    if !matches!(error, ExchangeError::NotConnected(_)) {
                        return Err(failure);
                    }
                    first.get_or_insert(failure);
                }
            }
        }
        Err(first.unwrap_or_else(|| Failure::new("the name has no address")))
    }

    /// The token, read anew each time: another one takes effect at once.
    fn token(&self) -> Result<Option<String>, Failure> {
        let Some(file) = &self.token_file else { return Ok(None) };
        let read = token::read(file);
        read.map(Some).map_err(|why| Failure::Token(format!("--token-file {}: {why}", file.display())))
    }
}

fn refusal(response: &Response) -> Failure {
    let said = first_line(response);
    let hint = if response.status == 401 { " (--token-file)" } else { "" };
    let said = if said.is_empty() { response.status_line() } else { said };
    let why = format!("{} is the answer: {said}{hint}", response.status);
    if response.status == 503 { Failure::Busy(why) } else { Failure::NoAnswer(why) }
}

/// The first line of a body, at most 200 characters of it, of which nothing is obeyed.
fn first_line(response: &Response) -> String {
    let text = String::from_utf8_lossy(&response.body);
    visible(&text.lines().next().unwrap_or_default().chars().take(200).collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// What takes no connection is passed over, and its failure is the one that is told; what was
    /// sent is not sent again.
    #[test]
    fn commands_are_sent_once() {
        let bound = || TcpListener::bind("127.0.0.1:0").unwrap();
        let refusing: [SocketAddr; 2] = ["127.0.0.1:1", "127.0.0.1:2"].map(|address| address.parse().unwrap());
        let source = Source::new(None, None).unwrap();
        let said = source.exchange_with(refusing.to_vec(), "GET", "/").unwrap_err().to_string();
        assert!(said.starts_with(&refusing[0].to_string()), "{said}");
        let (silent, idle) = (bound(), bound());
        let addresses = vec![refusing[0], silent.local_addr().unwrap(), idle.local_addr().unwrap()];
        let said = std::thread::scope(|scope| {
            let asked = scope.spawn(|| source.exchange_with(addresses.clone(), "POST", "/").unwrap_err().to_string());
            drop(silent.accept().unwrap());
            asked.join().unwrap()
        });
        assert!(said.starts_with(&addresses[1].to_string()), "{said}");
        idle.set_nonblocking(true).unwrap();
        assert!(idle.accept().is_err(), "it was sent again");
    }

    /// Addresses with and without scheme and port; what is none is named with what was expected.
    #[test]
    fn servers_are_read() {
        for (text, host, port) in [
            (None, "127.0.0.1", 9966),
            (Some("worker-7"), "worker-7", 9966),
            (Some("http://worker-7:80/"), "worker-7", 80),
            (Some("[::1]"), "::1", 9966),
            (Some("[::1]:1"), "::1", 1),
        ] {
            let url = Source::new(text, None).unwrap().url;
            assert_eq!((url.host.as_str(), url.port), (host, port));
        }
        for wrong in ["", "https://a", "a:b", "::1", "a:0x1", "a/b", "http://"] {
            let said = Source::new(Some(wrong), None).unwrap_err();
            assert!(said.contains("expected something like localhost:9966"), "{wrong}: {said}");
        }
    }

    /// A token is one line: it can neither be missing nor end the header that it stands in.
    #[test]
    fn tokens_are_lines() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        let source = Source::new(None, Some(&file)).unwrap();
        assert!(source.token().unwrap_err().to_string().contains("token: "));
        let directory_itself = Source::new(None, Some(directory.path())).unwrap();
        assert!(directory_itself.token().unwrap_err().to_string().contains("it is a directory"));
        for wrong in ["", " \n", "a\r\nX: y", "a\0b"] {
            std::fs::write(&file, wrong).unwrap();
            assert!(source.token().is_err(), "{wrong:?}");
        }
        std::fs::write(&file, "secret-1\n").unwrap();
        assert_eq!(source.token().unwrap().as_deref(), Some("secret-1"));
    }
}
