//! What goes over the wire when all is well, and what goes wrong on it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use webb_otlp::{
    Attributes, BatchConfig, Encoding, Environment, Feed, Head, Output, OutputConfig, Record, Severity, Stream,
};

use crate::common::{Running, closed, config, output, quick, request, sorted, wait_for};
use crate::receiver::{Receiver, Reply};

/// All records arrive, once, by both protocols and in each encoding, and the bytes on the wire are
/// those that were made.
#[test]
fn all_records_arrive() {
    for encoding in Encoding::ALL {
        for receiver in [Receiver::grpc(), Receiver::http()] {
            let running = Running::start(output(config(&receiver)));
            let requests: Vec<_> =
                (0..10).map(|part| request(Stream::ALL[part % 2], encoding, number(part)..number(part + 1))).collect();
            let sizes: usize = requests.iter().map(|request| request.body.len()).sum();
            running.offer(requests);
            let ledger = running.settled();
            assert_eq!((ledger.offered, ledger.delivered, ledger.waiting), (1000, 1000, 0));
            assert_eq!(sorted(receiver.taken()), (0..1000).collect::<Vec<_>>());
            let came = receiver.came();
            assert_eq!(came.iter().map(|came| came.wire_bytes).sum::<usize>(), sizes);
            assert!(came.iter().all(|came| came.resource == 3));
            let path = if receiver.is_grpc() {
                "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
            } else {
                "/v1/logs"
            };
            assert!(came.iter().all(|came| came.path == path));
            let figures = running.output.figures();
            assert_eq!(figures.sent_bytes(), sizes as u64);
            assert!(figures.last_success_ns() > 0 && figures.queue_bytes() == 0 && figures.problem().is_empty());
            let code = if receiver.is_grpc() { "OK" } else { "200" };
            assert_eq!(figures.requests(), [(code.to_owned(), 10)]);
            assert_eq!(figures.request_times()[0].count, 10);
        }
    }
}

fn number(part: usize) -> i64 {
    i64::try_from(part * 100).unwrap()
}

/// A feed makes requests of the configured number of records and bytes, and knows when records
/// have waited for long enough.
#[test]
fn feeds_make_requests() {
    let receiver = Receiver::grpc();
    let mut config = config(&receiver);
    (config.batch.max_records, config.batch.max_bytes) = (50, 64 << 10);
    let running = Running::start(output(config));
    let mut resource = Attributes::new();
    resource.string("service.name", "webb");
    let mut feed = Feed::new(Arc::clone(&running.output), Stream::Flows, &resource, "webb.flows", "1");
    assert_eq!(feed.due(), None);
    let mut record = Record::new();
    let long = "x".repeat(4000);
    for number in 0..220 {
        let head = Head {
            time_ns: 1,
            observed_ns: 1,
            severity: Severity::Info,
            event_name: "webb.flow",
            trace_id: None,
            body: "",
        };
        let attributes = record.begin(&head);
        attributes.int("number", number);
        if number >= 120 {
            attributes.string("text", &long);
        }
        feed.add(record.finish());
        assert!(feed.due().is_some_and(|due| due <= Duration::from_secs(5)));
    }
    feed.flush();
    assert_eq!(feed.due(), None);
    running.settled();
    let came = receiver.came();
    assert!(came.iter().all(|came| came.records.len() <= 50 && came.plain_bytes <= 64 << 10), "{came:?}");
    assert!(came.len() >= 2 + 7 && came.len() <= 2 + 1 + 7, "{}", came.len());
    assert_eq!(sorted(receiver.taken()), (0..220).collect::<Vec<_>>());
}

/// Answers that are cut off, too slow or silent are no answers: the request is sent again, the same
/// bytes each time.
#[test]
fn half_answers_are_none() {
    for (reply, code) in [(Reply::Half, "connection"), (Reply::Slow, "timeout"), (Reply::Silence, "timeout")] {
        for receiver in [Receiver::grpc(), Receiver::http()] {
            if receiver.is_grpc() && !matches!(reply, Reply::Silence) {
                continue;
            }
            receiver.reply([reply.clone(), reply.clone()]);
            let timeout = Some(Duration::from_millis(300));
            let running = Running::start(output(OutputConfig { timeout, ..config(&receiver) }));
            running.offer([request(Stream::Flows, Encoding::Gzip, 0..10)]);
            running.settled();
            assert_eq!(receiver.taken(), (0..10).collect::<Vec<_>>());
            let came = receiver.came();
            assert!(came.len() >= 3, "{reply:?}: {}", came.len());
            assert!(came.iter().all(|each| each.records == came[0].records));
            let requests = running.output.figures().requests();
            assert!(requests.iter().any(|(known, count)| known == code && *count >= 2), "{reply:?}: {requests:?}");
        }
    }
}

/// Of a gigabyte of answer 64 KiB are read: a success by its status, or nothing that is known.
#[test]
fn long_answers_are_cut() {
    let receiver = Receiver::http();
    receiver.reply([Reply::Huge]);
    let running = Running::start(output(config(&receiver)));
    running.offer([request(Stream::Flows, Encoding::Gzip, 0..10), request(Stream::Flows, Encoding::Gzip, 10..20)]);
    let began = Instant::now();
    assert_eq!(running.settled().delivered, 20);
    assert!(began.elapsed() < Duration::from_secs(30));
    // What is long because of its text is an answer as any other.
    for receiver in [Receiver::http(), Receiver::grpc()] {
        receiver.reply([Reply::Long(0, 100_000), Reply::Long(3, 20 << 20)]);
        let running = Running::start(output(OutputConfig { in_flight: 1, ..config(&receiver) }));
        running.offer((0..3).map(|part| request(Stream::Flows, Encoding::Gzip, part * 10..part * 10 + 10)));
        let ledger = running.settled();
        assert_eq!((ledger.delivered, ledger.rejected, receiver.came().len()), (27, 3, 3));
        let said = running.logged("has taken 10 records, and says: x x x");
        assert!(said.len() == 1 && said[0].len() < 1000, "{said:?}");
    }
    // By gRPC it is the answer of another server.
    let receiver = Receiver::grpc();
    receiver.reply([Reply::Huge]);
    let running = Running::start(output(config(&receiver)));
    running.offer([request(Stream::Flows, Encoding::Gzip, 0..10)]);
    assert_eq!(running.settled().dropped.iter().sum::<u64>(), 10);
}

/// The error of an answer with a large head is not that of another protocol, and the error of a
/// path that is not there has a hint.
#[test]
fn odd_answers_have_a_remedy() {
    let receiver = Receiver::http();
    let headers = vec![("x-large", "x".repeat(1_000_000))];
    receiver.rules().always = Some(Reply::Http { status: 200, headers, body: Vec::new() });
    let running = Running::start(output(config(&receiver)));
    running.offer([request(Stream::Flows, Encoding::Gzip, 0..10)]);
    running.has_problem("more than 64 KiB");
    receiver.rules().always = Some(Reply::http(404));
    running.settled();
    let problem = running.output.figures().problem();
    assert!(problem.ends_with("answers 404"), "{problem}");
    let endpoint = Some(format!("{}/otlp", receiver.url()));
    let running = Running::start(output(OutputConfig { endpoint, ..config(&receiver) }));
    running.offer([request(Stream::Flows, Encoding::Gzip, 0..10)]);
    running.has_problem("answers 404: requests go to the path /otlp");
    running.has_problem("one that ends in /v1/logs");
}

/// A receiver of the other protocol is a failure that is said and tried again, never a delivery.
#[test]
fn other_protocols_are_failures() {
    for (receiver, other, hint) in [
        (Receiver::grpc(), Receiver::http(), "use `protocol: http/protobuf`"),
        (Receiver::http(), Receiver::grpc(), "use `protocol: grpc`"),
    ] {
        let endpoint = Some(other.url());
        let running = Running::start(output(OutputConfig { endpoint, ..config(&receiver) }));
        running.offer([request(Stream::Flows, Encoding::Gzip, 0..10)]);
        running.has_problem("no delivery to http://127.0.0.1:");
        running.has_problem(hint);
        let ledger = running.ledger();
        assert_eq!((ledger.delivered, ledger.waiting), (0, 10));
    }
}

/// A panic loses nothing: the next run sends what waited, and what was under way.
#[test]
fn a_panic_loses_nothing() {
    let receiver = Receiver::grpc();
    receiver.rules().always = Some(Reply::Silence);
    let mut running = Running::start(output(config(&receiver)));
    running.offer([request(Stream::Flows, Encoding::Gzip, 0..10), request(Stream::Rollups, Encoding::Gzip, 10..30)]);
    wait_for("both are under way", || if receiver.came().len() == 2 { Ok(()) } else { Err(String::new()) });
    running.owner.panics.store(true, Relaxed);
    running.output.wake();
    wait_for("it panics", || if running.owner.panics.load(Relaxed) { Err(String::new()) } else { Ok(()) });
    assert!(!running.stop());
    assert_eq!(running.ledger().waiting, 30);
    receiver.rules().always = None;
    let running = Running::again(Arc::clone(&running.output));
    assert_eq!(running.settled().delivered, 30);
    assert_eq!(sorted(receiver.taken()), (0..30).collect::<Vec<_>>());
}

/// An output of another configuration gets what waited in memory, in order, and goes on with its
/// ledger; the first one takes nothing any more.
#[test]
fn another_output_takes_over() {
    let receiver = Receiver::http();
    let before = output(config(&receiver));
    (0..3).for_each(|part| before.offer(request(Stream::Flows, Encoding::Gzip, part * 10..part * 10 + 10)));
    let next = output(config(&receiver)).counting_in(Arc::clone(before.figures()));
    next.take_over(&before);
    before.offer(request(Stream::Flows, Encoding::Gzip, 30..35));
    assert_eq!((before.abandon(), before.close()), (0, 0));
    let ledger = closed(&next);
    assert_eq!((ledger.offered, ledger.dropped(webb_otlp::Loss::Shutdown), ledger.waiting), (35, 5, 30));
    let running = Running::start(next);
    let ledger = running.settled();
    assert_eq!((ledger.offered, ledger.delivered), (35, 30));
    assert_eq!(sorted(receiver.taken()), (0..30).collect::<Vec<_>>());
}

/// A stop sends what it can within its time; what is left is counted when the output is closed.
#[test]
fn a_stop_does_not_last() {
    let receiver = Receiver::grpc();
    let mut running = Running::start(output(config(&receiver)));
    receiver.rules().always = Some(Reply::Silence);
    running.offer([request(Stream::Flows, Encoding::Gzip, 0..10)]);
    wait_for("it is under way", || if receiver.came().len() == 1 { Ok(()) } else { Err(String::new()) });
    let began = Instant::now();
    assert!(running.stop());
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(4) && took < Duration::from_secs(30), "{took:?}");
    assert_eq!(running.ledger().waiting, 10);
    running.output.close();
    running.offer([request(Stream::Flows, Encoding::Gzip, 0..5)]);
    let ledger = running.ledger();
    assert_eq!((ledger.waiting, ledger.dropped(webb_otlp::Loss::Shutdown)), (0, 15));
    // With a receiver that answers a stop takes no time, and nothing is left.
    let receiver = Receiver::grpc();
    let output = Arc::new(output(config(&receiver)));
    output.offer(request(Stream::Flows, Encoding::Gzip, 0..10));
    let mut running = Running::again(output);
    assert!(running.stop());
    assert_eq!(running.ledger().delivered, 10);
}

/// A receiver that stands still, as one that was sent SIGSTOP: offering takes no time, memory stays
/// within its bound, and every record is counted.
#[test]
fn nothing_waits_for_a_receiver() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
    let batch = BatchConfig { max_bytes: 1 << 20, ..BatchConfig::default() };
    let config = OutputConfig { endpoint, queue_bytes: 1 << 20, batch, in_flight: 2, ..quick() };
    let running = Running::start(output(config));
    let body = request(Stream::Flows, Encoding::Gzip, 0..1000);
    let rollups = request(Stream::Rollups, Encoding::Gzip, 0..10);
    let (mut longest, mut most) = (Duration::ZERO, 0);
    for turn in 0..1000 {
        let began = Instant::now();
        running.output.offer(body.clone());
        if turn % 100 == 0 {
            running.output.offer(rollups.clone());
        }
        longest = longest.max(began.elapsed());
        most = most.max(running.output.figures().queue_bytes());
    }
    assert!(most <= 1 << 20 && most > 900_000, "{most}");
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    let ledger = running.ledger();
    assert_eq!(ledger.offered, 1_000_100);
    assert_eq!(ledger.waiting + ledger.dropped(webb_otlp::Loss::QueueFull), 1_000_100);
    assert_eq!(running.output.figures().ledger(Stream::Rollups).waiting, 100);
}

/// Reads a request of a proxy up to its empty line.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// A proxy of the environment is asked for a tunnel, with its user; what it refuses is said,
/// without the password.
#[test]
fn proxies_are_tunnels() {
    let receiver = Receiver::grpc();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let proxy = format!("http://user:secret@{}", listener.local_addr().unwrap());
    let environment = Environment::new(|name| (name == "HTTP_PROXY").then(|| proxy.clone()));
    let config = OutputConfig {
        endpoint: Some("http://receiver.example.org:4317".to_owned()),
        insecure: Some(true),
        ..config(&receiver)
    };
    let output = Output::new(config, &environment, "one").unwrap();
    assert!(!format!("{output:?}").contains("secret"));
    let running = Running::start(output);
    running.offer([request(Stream::Flows, Encoding::Gzip, 0..10)]);
    let (mut first, _) = listener.accept().unwrap();
    let asked = head(&mut first);
    assert!(asked.starts_with("CONNECT receiver.example.org:4317 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.to_lowercase().contains("proxy-authorization: basic dxnlcjpzzwnyzxq="), "{asked}");
    first.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").unwrap();
    running.has_problem("refuses the connection to receiver.example.org:4317: HTTP/1.1 407");
    let (mut second, _) = listener.accept().unwrap();
    head(&mut second);
    let mut behind = TcpStream::connect(receiver.address).unwrap();
    second.write_all(b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\n").unwrap();
    let (mut from, mut to) = (second.try_clone().unwrap(), behind.try_clone().unwrap());
    let there = std::thread::Builder::new().spawn(move || std::io::copy(&mut from, &mut to)).unwrap();
    let back = std::thread::Builder::new().spawn(move || std::io::copy(&mut behind, &mut second)).unwrap();
    assert_eq!(running.settled().delivered, 10);
    assert!(!format!("{:?}", running.output.figures()).contains("secret"));
    drop(running);
    drop(receiver);
    for copy in [there, back] {
        let _either_end_closed = copy.join().unwrap();
    }
}

/// A command sends one record and is told the answer.
#[test]
fn one_request_is_sent_for_a_command() {
    let receiver = Receiver::http();
    let output = output(config(&receiver));
    let one = request(Stream::Rollups, Encoding::Gzip, 0..1);
    assert_eq!(output.send_once(&one), Ok(format!("http://{} answers 200", receiver.address)));
    receiver.reply([Reply::http(404), Reply::Partly(i64::from(u32::MAX), "no room")]);
    assert_eq!(output.send_once(&one), Err(format!("http://{} answers 404", receiver.address)));
    assert!(output.send_once(&one).unwrap_err().ends_with("no room; 1 of 1 records rejected"));
    drop(receiver);
    assert!(output.send_once(&one).unwrap_err().contains("cannot connect to 127.0.0.1"));
    assert_eq!(output.figures().ledger(Stream::Rollups).offered, 0);
}
