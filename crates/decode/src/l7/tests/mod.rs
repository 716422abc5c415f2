//! The specification's cases, as crafted records: what comes out, and that the ledger adds up.

mod dns;
mod http1;
mod http2;
mod model;
mod model_http2;

use webb_flow::Address;
use webb_flow::abi::{Message, VERSION, message_kind};
use webb_flow::extra::L7Kind;
use zerocopy::IntoBytes;

use super::*;

const CLIENT: (&str, u16) = ("10.244.1.21", 40_000);
const MILLISECOND: u64 = 1_000_000;

fn port((address, port): (&str, u16)) -> Port {
    Port { address: Address::from(address.parse::<std::net::IpAddr>().unwrap()), port }
}

/// Keeps events as text, one line each.
#[derive(Debug)]
struct Kept {
    lines: Vec<String>,
    addresses: Vec<String>,
    judgement: Judgement,
}

impl Sink for Kept {
    fn judge(&mut self, _: &Connection) -> Judgement {
        self.judgement
    }

    fn emit(&mut self, event: &Event<'_>) {
        let kind = if event.kind == L7Kind::Request { ">" } else { "<" };
        self.lines.push(match event.content {
            Content::Dns(dns) => {
                self.addresses.extend(dns.addresses.iter().map(|address| address.ip().to_string()));
                let types: Vec<_> = dns.rrtypes.iter().map(|number| type_name(*number)).collect();
                let latency = dns.latency_ns.map_or("-".to_owned(), |ns| format!("{}ms", ns / MILLISECOND));
                if event.kind == L7Kind::Request {
                    format!("{kind} {} {}", dns.query, type_name(dns.qtype))
                } else {
                    format!(
                        "{kind} {} {} rcode={} ips={} [{}] {latency}",
                        dns.query,
                        type_name(dns.qtype),
                        dns.rcode,
                        dns.ips,
                        types.join(",")
                    )
                }
            }
            Content::Http(http) => {
                let latency = http.latency_ns / MILLISECOND;
                let mut line = if event.kind == L7Kind::Request {
                    format!("{kind} {} {}", http.method, http.protocol)
                } else {
                    format!("{kind} {} {} {} {latency}ms", http.method, http.code, http.protocol)
                };
                let headers = http.headers.iter().map(|(name, value)| format!("{name}={value}"));
                for text in [http.url.to_owned()].into_iter().chain(headers).chain([http.trace_id.to_owned()]) {
                    if !text.is_empty() {
                        line += &format!(" {text}");
                    }
                }
                line
            }
            Content::Grpc(grpc) => {
                format!("{kind} grpc {:?} {} {}ms", grpc.status, grpc.path, grpc.duration_ns / MILLISECOND)
            }
            Content::Unanswered(question) => {
                format!("{kind} unanswered {} {} x{}", question.query, type_name(question.qtype), question.askings)
            }
        });
    }
}

/// A dissector that is fed with records of one connection.
struct Bench {
    dissector: Dissector,
    kept: Kept,
    now_ns: u64,
    server: (&'static str, u16),
    client_port: u16,
    kind: u8,
    flags: u8,
    /// Records that were read.
    read: u64,
}

impl Bench {
    fn new(kind: u8, server: (&'static str, u16)) -> Self {
        let wants = Wants { query: true, addresses: true, ..Wants::default() };
        Self::with(kind, server, Limits::default(), wants)
    }

    fn with(kind: u8, server: (&'static str, u16), limits: Limits, wants: Wants) -> Self {
        Self {
            dissector: Dissector::new(limits, wants, Redact::default()),
            kept: Kept { lines: Vec::new(), addresses: Vec::new(), judgement: Judgement::Emit },
            now_ns: 1_000 * MILLISECOND,
            server,
            client_port: CLIENT.1,
            kind,
            flags: 0,
            read: 0,
        }
    }

    /// A record as the client's interface sees it.
    fn record(&self, from_client: bool) -> Message {
        let (client, server) = (port((CLIENT.0, self.client_port)), port(self.server));
        let (source, destination) = if from_client { (client, server) } else { (server, client) };
        Message {
            version: VERSION,
            kind: self.kind,
            ifindex: 7,
            time_ns: self.now_ns,
            source: source.address.0,
            destination: destination.address.0,
            source_port: source.port,
            destination_port: destination.port,
            family: 4,
            protocol: if self.kind == message_kind::DNS { 17 } else { 6 },
            hook: u8::from(!from_client),
            flags: self.flags,
            ..Message::default()
        }
    }

    fn read(&mut self, record: Message, payload: &[u8]) {
        let captured = u16::try_from(payload.len()).unwrap();
        let record = Message { captured, payload: record.payload.max(u32::from(captured)), ..record };
        self.dissector.read(&[record.as_bytes(), payload].concat(), &mut self.kept);
        self.read += 1;
        self.balance();
    }

    /// The ledger adds up, after every record.
    fn balance(&self) {
        let gauges = self.dissector.gauges();
        let ledger = self.dissector.ledger();
        assert!(ledger.adds_up(self.read, gauges.requests + gauges.queries), "{ledger:?} {gauges:?}");
    }

    fn later(&mut self, milliseconds: u64) {
        self.now_ns += milliseconds * MILLISECOND;
        self.dissector.expire(self.now_ns, usize::MAX, &mut self.kept);
        self.balance();
    }

    fn lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.kept.lines)
    }

    fn outcome(&self, protocol: MessageProtocol, outcome: RecordOutcome) -> u64 {
        self.dissector.ledger().records(protocol, outcome)
    }
}
