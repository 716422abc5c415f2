//! A connection to a broker: one call after the other, and the login before the first.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::cluster::Kafka;
use super::errors::{self, SASL_AUTHENTICATION_FAILED, UNSUPPORTED_SASL_MECHANISM};
use super::login::Login;
use super::messages::{
    Broker, Call, SASL_AUTHENTICATE, SASL_HANDSHAKE, read_sasl_authenticate, read_sasl_handshake, sasl_authenticate,
    sasl_handshake,
};
use super::sasl::{Credentials, Scram, plain};
use super::wire::{Malformed, Reader, put_i32, put_string};
use crate::answer::{Answer, shown};
use crate::config::SaslConfig;
use crate::hints;
use crate::io::{Fault, Io, begin_tls};
use crate::target::is_near;
use crate::tls::TlsFiles;

/// Bytes of an answer at most: that about a topic with ten thousand partitions has half of them.
const MAX_ANSWER: i32 = 4 << 20;

/// The name of the program, in the broker's log and its quotas.
const CLIENT_ID: &str = "webb";

/// What a broker may want where it ends a connection at once.
const AT_ONCE: &str = "; if it never works: the port may want TLS (`tls: {}`), or a login (`sasl`) or none, or the \
                       broker may be older than Kafka 2.1";

/// Why there is no answer to a request, or no other than this one.
#[derive(Debug)]
pub(super) enum Refusal {
    Fault(Fault),
    Answer(Answer),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Malformed> for Refusal {
    fn from(error: Malformed) -> Self {
        Self::Fault(Fault::protocol(error.to_string()))
    }
}

/// A connection that is open.
pub(super) struct Connection {
    io: Box<dyn Io>,
    broker: Broker,
    calls: i32,
    /// Time from which the broker wants another login.
    expires: Option<Instant>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("broker", &self.broker).field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl Connection {
    /// A new connection to a broker, with TLS and a login as configured.
    pub(super) async fn open(
        kafka: &Kafka,
        broker: &Broker,
        tls: &RefCell<TlsFiles>,
        login: Option<&RefCell<Login>>,
    ) -> Result<Self, Refusal> {
        let Broker { host, port } = broker;
        // The brokers of the configuration were checked; the others are those that they name.
        if !kafka.is_tls && !kafka.insecure && !is_near(host) {
            return Err(Fault::connection(format!(
                "the cluster names the broker {host}:{port}, which would be reached without encryption: \
                 set `tls: {{}}`, or `insecure: true`"
            ))
            .into());
        }
        let failed = |error| Fault::connection(format!("cannot connect to {host}:{port}: {error}"));
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let io: Box<dyn Io> = if kafka.is_tls {
            begin_tls(tls, host, *port, stream, hints::of_broker_tls).await?
        } else {
            Box::new(stream)
        };
        let mut connection = Self { io, broker: broker.clone(), calls: 0, expires: None };
        if let (Some(sasl), Some(login)) = (&kafka.sasl, login) {
            connection.log_in(sasl, login).await?;
        }
        Ok(connection)
    }

    /// True while the broker wants no other login.
    pub(super) fn is_fresh(&self) -> bool {
        self.expires.is_none_or(|expires| Instant::now() < expires)
    }

    /// Makes a call, and returns its answer.
    pub(super) async fn call(&mut self, call: Call, body: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut head = vec![0; 4];
        head.extend_from_slice(&call.key.to_be_bytes());
        head.extend_from_slice(&call.version.to_be_bytes());
        put_i32(&mut head, self.calls);
        put_string(&mut head, CLIENT_ID);
        let length = i32::try_from(head.len() - 4 + body.len()).map_err(|_| self.wrong("the request is too large"))?;
        if let Some(place) = head.first_chunk_mut() {
            *place = length.to_be_bytes();
        }
        let exchanged = async {
            self.io.write_all(&head).await?;
            self.io.write_all(body).await?;
            self.io.flush().await?;
            let length = self.io.read_i32().await?;
            if !(4..=MAX_ANSWER).contains(&length) {
                return Ok(None);
            }
            // Memory is taken for what comes, not for what is announced.
            let mut answer = Vec::new();
            let length = u64::from(length.unsigned_abs());
            let read = (&mut self.io).take(length).read_to_end(&mut answer).await?;
            if (read as u64) < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Some(answer)) }
        };
        let exchanged: io::Result<_> = exchanged.await;
        let mut answer = match exchanged {
            Ok(Some(answer)) => answer,
            // The first bytes of TLS, of HTTP and of others would be the length of a large answer.
            Ok(None) => return Err(self.wrong(&format!("{Malformed}{}", self.hint()))),
            Err(error) => {
                // With TLS 1.3 the agent's certificate is judged after the handshake.
                let hint = match hints::of_tls(&error) {
                    "" => self.hint(),
                    of_tls => of_tls,
                };
                let text = match error.kind() {
                    io::ErrorKind::UnexpectedEof => "it has ended the connection".to_owned(),
                    _ => error.to_string(),
                };
                let Broker { host, port } = &self.broker;
                return Err(Fault::connection(format!("no answer from {host}:{port}: {text}{hint}")));
            }
        };
        if Reader(&answer).i32() != Ok(self.calls) {
            return Err(self.wrong("it answers another request"));
        }
        self.calls = self.calls.wrapping_add(1);
        answer.drain(..4);
        Ok(answer)
    }

    fn wrong(&self, text: &str) -> Fault {
        Fault::protocol(format!("{}:{}: {text}", self.broker.host, self.broker.port))
    }

    fn hint(&self) -> &'static str {
        if self.calls == 0 { AT_ONCE } else { "" }
    }

    async fn log_in(&mut self, sasl: &SaslConfig, login: &RefCell<Login>) -> Result<(), Refusal> {
        let credentials = login.borrow_mut().current().map_err(Fault::connection)?;
        let answer = self.call(SASL_HANDSHAKE, &sasl_handshake(sasl.mechanism.label())).await?;
        let (error, mechanisms) = read_sasl_handshake(&answer)?;
        if error != 0 {
            let says = match error {
                UNSUPPORTED_SASL_MECHANISM => format!("the broker has {}", shown(mechanisms.join(", ").as_bytes())),
                _ => String::new(),
            };
            return Err(Refusal::Answer(errors::answer(error, &says)));
        }
        let refused = |why: String| Refusal::Answer(errors::answer(SASL_AUTHENTICATION_FAILED, &why));
        match Scram::new(sasl.mechanism, &credentials).map_err(Fault::connection)? {
            None => {
                self.authenticate(&plain(&credentials), &credentials).await?;
            }
            Some(scram) => {
                let answer = self.authenticate(scram.first().as_bytes(), &credentials).await?;
                let proof = scram.prove(&answer).map_err(refused)?;
                let answer = self.authenticate(proof.message.as_bytes(), &credentials).await?;
                proof.check(&answer).map_err(refused)?;
            }
        }
        Ok(())
    }

    /// Sends a message of a login; returns the broker's.
    async fn authenticate(&mut self, message: &[u8], credentials: &Credentials) -> Result<Vec<u8>, Refusal> {
        let answer = self.call(SASL_AUTHENTICATE, &sasl_authenticate(message)).await?;
        let read = read_sasl_authenticate(&answer)?;
        if read.error != 0 {
            // A broker may repeat what it was sent; what is cut off later was looked at as a whole.
            let text = shown(credentials.mask(read.text).as_bytes());
            return Err(Refusal::Answer(errors::answer(read.error, &text)));
        }
        // Some of the time is for what is under way.
        self.expires = u64::try_from(read.lifetime_ms)
            .ok()
            .filter(|lifetime| *lifetime > 0)
            .map(|lifetime| Instant::now() + Duration::from_millis(lifetime / 10 * 8));
        Ok(read.message.to_vec())
    }
}
