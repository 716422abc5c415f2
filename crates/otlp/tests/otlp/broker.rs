//! A broker of Kafka that misbehaves on command.

use std::collections::VecDeque;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};
use rustls::{ServerConnection, StreamOwned};

/// A thread of a test.
fn spawn(body: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().name("broker".to_owned()).spawn(body).unwrap();
}

/// What a test that has failed held is for no other thread to fail by.
fn lock(rules: &Mutex<Rules>) -> MutexGuard<'_, Rules> {
    rules.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A message that a broker has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(String, String)>,
}

/// An answer that is about something else than its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    MetadataTopic,
    ProduceRequest,
    ProduceTopic,
    ProducePartition,
}

/// What a broker does.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) messages: Vec<Message>,
    /// Compression of the batches that came.
    pub(crate) compressions: Vec<i16>,
    /// Errors of the next answers.
    pub(crate) metadata_errors: VecDeque<i16>,
    pub(crate) produce_errors: VecDeque<i16>,
    /// Batches that get no answer, but the end of the connection.
    pub(crate) hang_ups: usize,
    /// The next answer of its call; a batch that it answers is not taken.
    pub(crate) lie: Option<Lie>,
    /// Takes no batch with more bytes.
    pub(crate) max_bytes: Option<usize>,
    /// Partitions of a topic.
    pub(crate) partitions: i32,
    /// The mechanism, the name and the password of a login.
    pub(crate) login: Option<(&'static str, &'static str, String)>,
    /// Milliseconds for which a login is good.
    pub(crate) lifetime_ms: i64,
    pub(crate) connections: Vec<TcpStream>,
    pub(crate) logins: usize,
    stopped: bool,
}

impl Rules {
    /// True once if this lie is the next.
    fn lies(&mut self, lie: Lie) -> bool {
        self.lie.take_if(|next| *next == lie).is_some()
    }
}

/// A topic that nothing asks for.
const OTHER_TOPIC: &str = "other.topic";

/// A cluster of one broker.
pub(crate) struct Broker {
    pub(crate) port: u16,
    listener: TcpListener,
    rules: Arc<Mutex<Rules>>,
}

impl Broker {
    /// A broker on a port, which may be zero.
    pub(crate) fn start(port: u16) -> Self {
        Self::start_with(port, None)
    }

    /// The same, with TLS.
    pub(crate) fn start_with(port: u16, tls: Option<rustls::ServerConfig>) -> Self {
        Self::on(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap(), tls)
    }

    /// The same at a listener of an address of loopback, in any namespace.
    pub(crate) fn on(listener: TcpListener, tls: Option<rustls::ServerConfig>) -> Self {
        let tls = tls.map(Arc::new);
        let port = listener.local_addr().unwrap().port();
        let rules = Arc::new(Mutex::new(Rules { partitions: 3, ..Rules::default() }));
        let (of_thread, accepting) = (Arc::clone(&rules), listener.try_clone().unwrap());
        spawn(move || {
            for stream in accepting.incoming().map_while(Result::ok) {
                let rules = Arc::clone(&of_thread);
                let mut held = lock(&rules);
                if held.stopped {
                    break;
                }
                held.connections.push(stream.try_clone().unwrap());
                drop(held);
                let tls = tls.clone();
                spawn(move || {
                    // The list of connections holds it open.
                    let raw = stream.try_clone().unwrap();
                    if let Some(tls) = tls {
                        serve(StreamOwned::new(ServerConnection::new(tls).unwrap(), stream), port, &rules);
                    } else {
                        serve(stream, port, &rules);
                    }
                    let _may_have_ended = raw.shutdown(Shutdown::Both);
                });
            }
        });
        Self { port, listener, rules }
    }

    pub(crate) fn rules(&self) -> MutexGuard<'_, Rules> {
        lock(&self.rules)
    }
}

impl Drop for Broker {
    /// Ends all connections, and the listener: its port is free at once.
    fn drop(&mut self) {
        let mut rules = lock(&self.rules);
        rules.stopped = true;
        for connection in rules.connections.drain(..) {
            let _may_have_ended = connection.shutdown(Shutdown::Both);
        }
        drop(rules);
        // Accepting ends with an error.
        rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both).unwrap();
    }
}

/// Reads bytes of which a test knows that they are right.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }

    fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take(2).try_into().unwrap())
    }

    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    fn string(&mut self) -> &'a str {
        let length = usize::try_from(self.i16()).unwrap_or(0);
        std::str::from_utf8(self.take(length)).unwrap()
    }

    fn varint(&mut self) -> i64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
    }

    fn sized(&mut self) -> &'a [u8] {
        let length = usize::try_from(self.varint()).unwrap_or(0);
        self.take(length)
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend(i16::try_from(text.len()).unwrap().to_be_bytes());
    out.extend(text.as_bytes());
}

fn numbers(out: &mut Vec<u8>, numbers: &[i32]) {
    for number in numbers {
        out.extend(number.to_be_bytes());
    }
}

fn serve(mut stream: impl io::Read + io::Write, port: u16, rules: &Mutex<Rules>) {
    let (mut is_known, mut scram) = (lock(rules).login.is_none(), None);
    loop {
        let mut length = [0; 4];
        if stream.read_exact(&mut length).is_err() {
            return;
        }
        // The first bytes of TLS are the length of a large request.
        if length[0] != 0 {
            return;
        }
        let mut request = vec![0; u32::from_be_bytes(length) as usize];
        if stream.read_exact(&mut request).is_err() {
            return;
        }
        let mut input = Input(&request);
        let (key, version, mut correlation, client) = (input.i16(), input.i16(), input.i32(), input.string());
        assert_eq!(client, "webb");
        let mut rules = lock(rules);
        let answer = match (key, version) {
            (17, 1) => Some(handshake(&mut input, &rules)),
            (36, 1) => Some(authenticate(&mut input, &mut rules, &mut is_known, &mut scram)),
            // As a broker does that wants a login.
            _ if !is_known => None,
            (3, 4) => Some(metadata(&mut input, &mut rules, port)),
            (0, 7) if rules.lies(Lie::ProduceRequest) => {
                correlation += 1;
                Some(Vec::new())
            }
            (0, 7) => produce(&mut input, &mut rules),
            other => panic!("{other:?}"),
        };
        drop(rules);
        let Some(answer) = answer else { return };
        let mut whole = Vec::new();
        numbers(&mut whole, &[i32::try_from(answer.len() + 4).unwrap(), correlation]);
        whole.extend(answer);
        if stream.write_all(&whole).is_err() {
            return;
        }
    }
}

fn metadata(input: &mut Input<'_>, rules: &mut Rules, port: u16) -> Vec<u8> {
    assert_eq!(input.i32(), 1);
    let topic = input.string();
    assert_eq!(input.0, [1], "the cluster may make the topic");
    let error = rules.metadata_errors.pop_front().unwrap_or(0);
    let mut out = Vec::new();
    numbers(&mut out, &[0, 1, 7]);
    string(&mut out, "127.0.0.1");
    numbers(&mut out, &[i32::from(port)]);
    out.extend((-1_i16).to_be_bytes());
    string(&mut out, "cluster");
    numbers(&mut out, &[7, 1]);
    out.extend(error.to_be_bytes());
    string(&mut out, if rules.lies(Lie::MetadataTopic) { OTHER_TOPIC } else { topic });
    out.push(0);
    let partitions = if error == 0 { rules.partitions } else { 0 };
    numbers(&mut out, &[partitions]);
    for partition in (0..partitions).rev() {
        out.extend([0, 0]);
        numbers(&mut out, &[partition, 7, 1, 7, 1, 7]);
    }
    out
}

fn produce(input: &mut Input<'_>, rules: &mut Rules) -> Option<Vec<u8>> {
    assert_eq!((input.i16(), input.i16()), (-1, -1), "no transaction, and all replicas");
    let (_timeout, topics) = (input.i32(), input.i32());
    let (topic, partitions, partition, length) = (input.string(), input.i32(), input.i32(), input.i32());
    assert_eq!((topics, partitions, usize::try_from(length).unwrap()), (1, 1, input.0.len()));
    let too_large = rules.max_bytes.is_some_and(|most| input.0.len() > most);
    let error = if too_large { 10 } else { rules.produce_errors.pop_front().unwrap_or(0) };
    let (mut of_topic, mut of_partition, mut is_lie) = (topic, partition, true);
    if rules.lies(Lie::ProduceTopic) {
        of_topic = OTHER_TOPIC;
    } else if rules.lies(Lie::ProducePartition) {
        of_partition += 1;
    } else {
        is_lie = false;
    }
    if error == 0 && !is_lie {
        take(input, topic, partition, rules);
    }
    if rules.hang_ups > 0 {
        rules.hang_ups -= 1;
        return None;
    }
    let mut out = Vec::new();
    numbers(&mut out, &[1]);
    string(&mut out, of_topic);
    numbers(&mut out, &[1, of_partition]);
    out.extend(error.to_be_bytes());
    out.extend([0; 24]);
    numbers(&mut out, &[0]);
    Some(out)
}

/// Takes a batch, whose checksum others check.
fn take(input: &mut Input<'_>, topic: &str, partition: i32, rules: &mut Rules) {
    let _offset_to_checksum = input.take(8 + 4 + 4 + 1 + 4);
    let compression = input.i16();
    let _deltas_and_producer = input.take(4 + 8 + 8 + 14);
    let count = input.i32();
    let mut plain = Vec::new();
    match compression {
        0 => plain.extend(input.0),
        1 => _ = flate2::read::GzDecoder::new(input.0).read_to_end(&mut plain).unwrap(),
        4 => plain = zstd::decode_all(input.0).unwrap(),
        other => panic!("{other}"),
    }
    rules.compressions.push(compression);
    let mut messages = Input(&plain);
    for number in 0..count {
        let mut message = Input(messages.sized());
        assert_eq!(message.take(2), [0, 0]);
        assert_eq!(message.varint(), i64::from(number));
        let (key, value) = (message.sized().to_vec(), message.sized().to_vec());
        let pairs = message.varint();
        let mut text = || String::from_utf8(message.sized().to_vec()).unwrap();
        let headers = (0..pairs).map(|_| (text(), text())).collect();
        rules.messages.push(Message { topic: topic.to_owned(), partition, key, value, headers });
    }
    assert!(messages.0.is_empty());
}

fn handshake(input: &mut Input<'_>, rules: &Rules) -> Vec<u8> {
    let Some((mechanism, ..)) = &rules.login else { return [&34_i16.to_be_bytes()[..], &[0; 4]].concat() };
    let error: i16 = if input.string() == *mechanism { 0 } else { 33 };
    let mut out = error.to_be_bytes().to_vec();
    numbers(&mut out, &[1]);
    string(&mut out, mechanism);
    out
}

/// A conversation of SCRAM after the first message: the texts that both sign.
type Conversation = Option<String>;

fn authenticate(input: &mut Input<'_>, rules: &mut Rules, is_known: &mut bool, scram: &mut Conversation) -> Vec<u8> {
    let length = usize::try_from(input.i32()).unwrap();
    let message = String::from_utf8(input.take(length).to_vec()).unwrap();
    let (mechanism, name, password) = rules.login.clone().unwrap();
    let outcome = match (mechanism, scram.take()) {
        ("PLAIN", _) => (message == format!("\0{name}\0{password}")).then(String::new),
        (_, None) => {
            let bare = message.strip_prefix("n,,").unwrap();
            let nonce = bare.strip_prefix(&format!("n={name},r=")).unwrap();
            let first = format!("r={nonce}server,s={},i=4096", STANDARD.encode("salt"));
            *scram = Some(format!("{bare},{first}"));
            Some(first)
        }
        (_, Some(texts)) => verify(&texts, &message, &password),
    };
    let is_last = scram.is_none();
    let mut out = Vec::new();
    if let Some(answer) = outcome {
        *is_known = is_last;
        rules.logins += usize::from(is_last);
        out.extend([0, 0, 0xff, 0xff]);
        numbers(&mut out, &[i32::try_from(answer.len()).unwrap()]);
        out.extend(answer.as_bytes());
        out.extend(rules.lifetime_ms.to_be_bytes());
    } else {
        out.extend(58_i16.to_be_bytes());
        string(&mut out, &format!("no user {name} with this password"));
        out.extend([0; 12]);
    }
    out
}

/// Checks a proof of SCRAM-SHA-256, and returns the server's.
fn verify(texts: &str, last: &str, password: &str) -> Option<String> {
    let (without_proof, proof) = last.split_once(",p=").unwrap();
    let mut salted = [0; 32];
    let iterations = NonZeroU32::new(4096).unwrap();
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, b"salt", password.as_bytes(), &mut salted);
    let sign = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    let transcript = format!("{texts},{without_proof}");
    let stored = digest::digest(&digest::SHA256, sign(&salted, "Client Key").as_ref());
    let signature = sign(stored.as_ref(), &transcript);
    let proof = STANDARD.decode(proof).unwrap();
    let key: Vec<u8> = proof.iter().zip(signature.as_ref()).map(|(proof, sign)| proof ^ sign).collect();
    let is_right = digest::digest(&digest::SHA256, &key).as_ref() == stored.as_ref();
    let of_server = sign(sign(&salted, "Server Key").as_ref(), &transcript);
    is_right.then(|| format!("v={}", STANDARD.encode(of_server)))
}

/// A listener that reads what comes, and answers nothing.
pub(crate) fn silent() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    spawn(move || {
        let mut held = Vec::new();
        held.extend(listener.incoming());
    });
    Ok(port)
}
