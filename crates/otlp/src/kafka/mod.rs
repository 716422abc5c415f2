//! A producer of Kafka: a request of OTLP logs becomes a message, or each of its records one.
//!
//! ```text
//! Request ──► messages ──► batch ──► the partition's leader ──► Answer
//!             key: the node          found by one broker of the configuration
//! ```
//!
//! One batch is under way at a time, and the next one follows when all replicas in sync have it: a
//! partition has a node's messages in their order. There is no transaction and no number of a
//! producer: what is sent twice has the same `log.record.uid`.
//!
//! Five calls are all that such a producer makes. The crate `rskafka` (0.6) brings 26 more crates,
//! with second versions of some that are here, which `deny.toml` refuses. It asks for the metadata
//! of all topics, which thousands of agents should not, takes no server name for TLS, and retries
//! by itself: what became of a request, the ledger would not know.

mod batch;
pub(crate) mod cluster;
mod connection;
mod errors;
mod json;
mod login;
mod messages;
mod sasl;
mod wire;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};
use webb_flow::clock::unix_ns;

use crate::answer::Answer;
use crate::config::{MAX_MESSAGE_BYTES, MessageForm};
use crate::encoding::Encoding;
use crate::io::{CONNECTION, Failure, Fault};
use crate::protobuf::{Fields, Malformed, Value};
use crate::request::{MAX_REQUEST_BYTES, Parts, Request, Stream};
use crate::tls::TlsFiles;
use batch::{Common, batch, partition};
use cluster::Kafka;
use connection::{Connection, Refusal};
use errors::LEADER_NOT_AVAILABLE;
use login::Login;
use messages::{Broker, METADATA, PRODUCE, Topic, Unusable, metadata, produce, read_metadata, read_produce};

/// Time after which a topic is asked for again: it may have more partitions.
const TOPIC_AGE: Duration = Duration::from_mins(5);

/// Bytes of a batch before compression at most, keys and headers included: brokers take 1 MiB.
const MAX_BATCH_BYTES: usize = 1_000_000;

/// Bytes of a message beside its value, key and headers' values, at most.
const MESSAGE_BYTES: usize = 64;

/// The longest pause that a broker may ask for.
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// Time that the first byte of a broker may take, at least, before the next one is asked.
const MIN_ATTEMPT: Duration = Duration::from_secs(1);

/// The client of one cluster.
#[derive(Debug)]
pub(crate) struct KafkaClient<'a> {
    kafka: &'a Kafka,
    tls: RefCell<TlsFiles>,
    login: Option<RefCell<Login>>,
    /// Held for a whole exchange: messages stay in order.
    state: Mutex<State>,
    /// Connections are not used again.
    stale: Cell<bool>,
}

/// What is known of a cluster.
#[derive(Debug, Default)]
struct State {
    /// Connections that are idle.
    connections: BTreeMap<Broker, Connection>,
    topics: BTreeMap<Stream, (Instant, Arc<Topic>)>,
    /// The broker of the configuration that is asked first.
    first: usize,
    /// Time before which a broker that was sent much wants nothing.
    not_before: Option<Instant>,
}

/// A request as messages.
struct Messages<'a> {
    key: Vec<u8>,
    instance: Vec<u8>,
    mapping: Vec<u8>,
    values: Vec<Cow<'a, [u8]>>,
}

impl<'a> KafkaClient<'a> {
    /// A client without connections.
    pub(crate) fn new(kafka: &'a Kafka) -> Self {
        Self {
            kafka,
            tls: RefCell::new(TlsFiles::new(kafka.tls.clone(), None)),
            login: kafka.sasl.as_ref().map(|sasl| RefCell::new(Login::new(sasl.directory.clone()))),
            state: Mutex::default(),
            stale: Cell::default(),
        }
    }

    /// Reads files that have changed; other connections than those that are open have what they
    /// hold. Returns what is wrong with them. Blocks.
    pub(crate) fn poll_files(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.kafka.is_tls {
            match self.tls.borrow_mut().poll() {
                Ok(true) => self.forget_connections(),
                Ok(false) => {}
                Err(why) => problems.push(why),
            }
        }
        match self.login.as_ref().map(|login| login.borrow_mut().reload()) {
            // Those that are open are of another user.
            Some(Ok(true)) => self.forget_connections(),
            Some(Err(why)) => problems.push(why),
            None | Some(Ok(false)) => {}
        }
        problems
    }

    /// Makes the next request open a connection.
    pub(crate) fn forget_connections(&self) {
        self.stale.set(true);
    }

    /// True if there is a login.
    pub(crate) fn has_login_files(&self) -> bool {
        self.login.is_some()
    }

    /// Reads the login. True if it has changed. Blocks.
    pub(crate) fn poll_login(&self) -> bool {
        self.login.as_ref().is_some_and(|login| login.borrow_mut().reload().unwrap_or(false))
    }

    /// A text without the password.
    pub(crate) fn mask(&self, text: &str) -> String {
        self.login.as_ref().map_or_else(|| text.to_owned(), |login| login.borrow().mask(text))
    }

    /// Sends a request, and reads the answer.
    ///
    /// # Errors
    /// If there is no answer within the timeout, or if the request cannot be sent.
    pub(crate) async fn send(&self, request: &Request) -> Result<Answer, Failure> {
        let unreadable = |why: &dyn std::fmt::Display| Failure::Unreadable(why.to_string());
        let plain = request.encoding.decompress(&request.body, MAX_REQUEST_BYTES).map_err(|why| unreadable(&why))?;
        let messages = self.messages(&plain).map_err(|why| unreadable(&why))?;
        let bytes: usize = messages.values.iter().map(|value| value.len()).sum();
        if bytes > MAX_MESSAGE_BYTES || messages.batch_bytes(bytes) > MAX_BATCH_BYTES {
            let records = request.records;
            return Err(Failure::TooLarge(format!(
                "{records} records would be {bytes} bytes at once, and {MAX_MESSAGE_BYTES} are the most for Kafka"
            )));
        }
        let not_before = self.state.lock().await.not_before.take();
        if let Some(at) = not_before {
            sleep_until(at).await;
        }
        let limit = self.kafka.timeout;
        match timeout(limit, self.exchange(request, &messages, Instant::now() + limit)).await {
            Ok(Ok(answer) | Err(Refusal::Answer(answer))) => Ok(answer),
            Ok(Err(Refusal::Fault(fault))) => Err(fault.into()),
            Err(_) => {
                self.forget_connections();
                let text = format!("no answer within {} ms", limit.as_millis());
                Err(Fault { code: "timeout", text }.into())
            }
        }
    }

    fn messages<'b>(&self, plain: &'b [u8]) -> Result<Messages<'b>, Malformed> {
        let parts = Parts::read(plain)?;
        let resource = json::content(parts.resource)?;
        let version = Fields(json::content(parts.scope)?).filter_map(Result::ok).find(|(number, _)| *number == 2);
        let values = match self.kafka.form {
            MessageForm::OtlpProto => vec![Cow::Borrowed(plain)],
            MessageForm::Json => json::objects(&parts)?.into_iter().map(Cow::Owned).collect(),
        };
        Ok(Messages {
            key: text(resource, b"k8s.node.name").to_vec(),
            instance: text(resource, b"service.instance.id").to_vec(),
            mapping: version.and_then(|(_, value)| value.bytes()).unwrap_or_default().to_vec(),
            values,
        })
    }

    async fn exchange(&self, request: &Request, messages: &Messages<'_>, deadline: Instant) -> Result<Answer, Refusal> {
        let mut state = self.state.lock().await;
        if self.stale.take() {
            *state = State { first: state.first, not_before: state.not_before, ..State::default() };
        }
        let topic = self.topic(&mut state, request.stream).await?;
        // What has no key is kept together too.
        let hashed = if messages.key.is_empty() { &messages.instance } else { &messages.key };
        let place = partition(hashed, topic.leaders.len());
        let number = i32::try_from(place).unwrap_or(i32::MAX);
        let name = self.kafka.topic(request.stream);
        let Some(Some(leader)) = topic.leaders.get(place) else {
            state.topics.remove(&request.stream);
            let says = format!("partition {number} of {name}");
            return Ok(errors::answer(LEADER_NOT_AVAILABLE, &says));
        };
        // The rest is for the answer's way.
        let time_left = deadline.saturating_duration_since(Instant::now()) / 4 * 3;
        let body = self.body(request, messages, number, time_left)?;
        let read = |answer: &[u8]| read_produce(answer, (name, number));
        let (error, throttled) = match self.call(&mut state, leader, PRODUCE, &body, read).await {
            Ok(read) => read,
            Err(refusal) => {
                // The partition may have another leader by now, which another broker may know.
                state.topics.remove(&request.stream);
                state.first = (state.first + 1) % self.kafka.brokers.len();
                return Err(refusal);
            }
        };
        if error != 0 {
            state.topics.remove(&request.stream);
        }
        let pause = Duration::from_millis(u64::try_from(throttled).unwrap_or(0)).min(MAX_PAUSE);
        state.not_before = (!pause.is_zero()).then(|| Instant::now() + pause);
        let Broker { host, port } = &**leader;
        let says = if error == 0 { String::new() } else { format!("topic {name} at {host}:{port}") };
        Ok(errors::throttled(errors::answer(error, &says), throttled))
    }

    fn body(
        &self,
        request: &Request,
        messages: &Messages<'_>,
        number: i32,
        time_left: Duration,
    ) -> Result<Vec<u8>, Fault> {
        let headers = [("webb-instance", &messages.instance[..]), ("webb-mapping", &messages.mapping[..])];
        let time_ms = i64::try_from(unix_ns() / 1_000_000).unwrap_or(i64::MAX);
        let common = Common { key: &messages.key, headers: &headers, time_ms };
        let compressed = |encoding| batch(messages.values.iter().map(|value| &value[..]), common, encoding);
        // Plain bytes need no compressor, for which there may be no memory.
        let batch = compressed(request.encoding)
            .or_else(|_| compressed(Encoding::None))
            .map_err(|error| Fault::protocol(format!("a batch cannot be made: {error}")))?;
        let timeout_ms = i32::try_from(time_left.as_millis()).unwrap_or(i32::MAX);
        Ok(produce(self.kafka.topic(request.stream), number, &batch, timeout_ms))
    }

    /// The topic of a stream, asked for unless it is known.
    async fn topic(&self, state: &mut State, stream: Stream) -> Result<Arc<Topic>, Refusal> {
        if let Some((read_at, topic)) = state.topics.get(&stream)
            && read_at.elapsed() < TOPIC_AGE
        {
            return Ok(Arc::clone(topic));
        }
        let name = self.kafka.topic(stream);
        let body = metadata(name);
        let count = self.kafka.brokers.len();
        let limit = (self.kafka.timeout / u32::try_from(count).unwrap_or(1)).max(MIN_ATTEMPT);
        let mut faults = Vec::new();
        for _ in 0..count {
            let Some(broker) = self.kafka.brokers.get(state.first % count) else { break };
            let read = |answer: &[u8]| read_metadata(answer, name);
            let attempt = timeout(limit, self.call(state, broker, METADATA, &body, read)).await;
            let Broker { host, port } = broker;
            let read = attempt.unwrap_or_else(|_| {
                let text = format!("{host}:{port} does not answer within {} ms", limit.as_millis());
                Err(Fault { code: "timeout", text }.into())
            });
            match read {
                Ok(topic) if topic.error == 0 && !topic.leaders.is_empty() => {
                    let topic = Arc::new(topic);
                    state.topics.insert(stream, (Instant::now(), Arc::clone(&topic)));
                    state.keep(broker);
                    return Ok(topic);
                }
                // The next attempt asks another broker: this one may be cut off from the others.
                Ok(Topic { error, .. }) => {
                    state.first = (state.first + 1) % count;
                    let error = if error == 0 { LEADER_NOT_AVAILABLE } else { error };
                    return Err(Refusal::Answer(errors::answer(error, &format!("topic {name} at {host}:{port}"))));
                }
                Err(Refusal::Answer(answer)) => {
                    state.first = (state.first + 1) % count;
                    return Err(Refusal::Answer(answer));
                }
                Err(Refusal::Fault(fault)) => faults.push(fault),
            }
            state.first = (state.first + 1) % count;
        }
        let code = faults.first().map_or(CONNECTION, |fault| fault.code);
        let text = faults.into_iter().map(|fault| fault.text).collect::<Vec<_>>().join("; ");
        Err(Fault { code, text }.into())
    }

    /// Makes a call to a broker, and reads the answer. A connection that was idle may have been
    /// ended by the broker: then there is a second attempt on a new one. A connection whose answer
    /// cannot be used is closed.
    async fn call<T>(
        &self,
        state: &mut State,
        broker: &Broker,
        call: messages::Call,
        body: &[u8],
        read: impl Fn(&[u8]) -> Result<T, Unusable>,
    ) -> Result<T, Refusal> {
        // What is not put back, is closed.
        let idle = state.connections.remove(broker).filter(Connection::is_fresh);
        let answered = match idle {
            Some(mut connection) => match connection.call(call, body).await {
                Ok(answer) => Some((connection, answer)),
                Err(fault) if fault.code == CONNECTION => None,
                Err(fault) => return Err(fault.into()),
            },
            None => None,
        };
        let (connection, answer) = if let Some(answered) = answered {
            answered
        } else {
            let mut connection = Connection::open(self.kafka, broker, &self.tls, self.login.as_ref()).await?;
            let answer = connection.call(call, body).await?;
            (connection, answer)
        };
        let Broker { host, port } = broker;
        let read = read(&answer).map_err(|error| Fault::protocol(format!("{host}:{port}: {error}")))?;
        state.connections.insert(broker.clone(), connection);
        Ok(read)
    }
}

impl State {
    /// Closes connections to brokers that lead nothing here, beside this one.
    fn keep(&mut self, asked: &Broker) {
        let Self { connections, topics, .. } = self;
        let leads = |broker: &Broker| {
            topics.values().any(|(_, topic)| topic.leaders.iter().flatten().any(|leader| **leader == *broker))
        };
        connections.retain(|broker, _| broker == asked || leads(broker));
    }
}

impl Messages<'_> {
    /// Bytes of a batch with these values, or some more.
    fn batch_bytes(&self, values: usize) -> usize {
        values + self.values.len() * (self.key.len() + self.instance.len() + self.mapping.len() + MESSAGE_BYTES)
    }
}

/// The string that a resource has for a key; empty without one.
fn text<'a>(resource: &'a [u8], key: &[u8]) -> &'a [u8] {
    let bytes = |fields: &'a [u8], wanted: u64| {
        Fields(fields).filter_map(Result::ok).find(|(number, _)| *number == wanted).and_then(|(_, value)| value.bytes())
    };
    let mut attributes = Fields(resource).filter_map(Result::ok).filter_map(|(number, value)| match (number, value) {
        (1, Value::Bytes(attribute)) => Some(attribute),
        _ => None,
    });
    let found = attributes.find(|attribute| bytes(attribute, 1) == Some(key));
    found.and_then(|attribute| bytes(bytes(attribute, 2)?, 1)).unwrap_or_default()
}

/// Reads any bytes as each answer of a broker.
pub(crate) fn fuzz_answer(bytes: &[u8]) {
    let _any = read_metadata(bytes, "webb.flows");
    let _any = read_produce(bytes, ("webb.flows", 0));
    let _any = messages::read_sasl_handshake(bytes);
    let _any = messages::read_sasl_authenticate(bytes);
}

/// Makes objects of a request, which are JSON.
///
/// # Panics
/// If one is not.
pub(crate) fn fuzz_objects(encoding: Encoding, body: &[u8]) {
    let Ok(plain) = encoding.decompress(body, MAX_REQUEST_BYTES) else { return };
    let Ok(objects) = Parts::read(&plain).and_then(|parts| json::objects(&parts)) else { return };
    for object in objects {
        let is_json = serde_json::from_slice::<serde_json::Value>(&object).is_ok();
        assert!(is_json, "{}", String::from_utf8_lossy(&object));
    }
}
