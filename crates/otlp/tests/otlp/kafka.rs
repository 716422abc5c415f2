//! Requests to a broker of Kafka, which misbehaves.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message as _;
use webb_otlp::{
    Encoding, Loss, Mechanism, MessageForm, Output, OutputConfig, RetryConfig, SaslConfig, Stream, TlsConfig,
};

use crate::broker::{Broker, Lie, Message, silent};
use crate::common::{Running, output, request, sized, sorted, spool, wait_for};
use crate::files::Authority;
use crate::receiver;

/// An output to a broker, with short waits.
fn config(ports: &[u16]) -> OutputConfig {
    let mut config = OutputConfig::kafka_named("events");
    config.retry = RetryConfig { min: Duration::from_millis(1), max: Duration::from_millis(50) };
    if let Some(kafka) = &mut config.kafka {
        kafka.brokers = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    }
    config
}

fn with_login(port: u16, mechanism: Mechanism, directory: &std::path::Path) -> OutputConfig {
    let mut config = config(&[port]);
    if let Some(kafka) = &mut config.kafka {
        kafka.sasl = Some(SaslConfig { mechanism, directory: directory.to_owned() });
    }
    config
}

/// The numbers of a message's records.
fn numbers(message: &Message) -> Vec<i64> {
    let request = ExportLogsServiceRequest::decode(&message.value[..]).unwrap();
    let scopes = request.resource_logs.iter().flat_map(|logs| &logs.scope_logs);
    scopes.flat_map(|scope| &scope.log_records).map(receiver::number).collect()
}

fn all_numbers(broker: &Broker) -> Vec<i64> {
    sorted(broker.rules().messages.iter().flat_map(numbers).collect())
}

/// Requests become messages of their stream's topic, in their order, with key and headers, whatever
/// the compression.
#[test]
fn requests_become_messages() {
    for (encoding, attribute) in [(Encoding::None, 0), (Encoding::Gzip, 1), (Encoding::Zstd, 4)] {
        let broker = Broker::start(0);
        let running = Running::start(output(config(&[broker.port])));
        running.offer((0..20).map(|part| request(Stream::Rollups, encoding, part * 10..part * 10 + 10)));
        running.offer([request(Stream::Flows, encoding, 200..300)]);
        let ledger = running.settled();
        assert_eq!((ledger.offered, ledger.delivered), (300, 300));
        let rules = broker.rules();
        assert_eq!(rules.compressions, [attribute; 21]);
        // As Kafka's own clients choose it for the name.
        let place = rules.messages[0].partition;
        for message in &rules.messages {
            let headers = [("webb-instance", "instance-1"), ("webb-mapping", "1")];
            assert_eq!(message.headers, headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
            assert_eq!((&message.key[..], message.partition), (&b"node-1"[..], place));
        }
        let of = |topic: &str| -> Vec<i64> {
            rules.messages.iter().filter(|message| message.topic == topic).flat_map(numbers).collect()
        };
        assert_eq!(of("webb.rollups"), (0..200).collect::<Vec<_>>(), "{encoding:?}");
        assert_eq!(of("webb.flows"), (200..300).collect::<Vec<_>>());
        let figures = running.output.figures();
        assert_eq!(figures.requests(), [("OK".to_owned(), 21)]);
        drop(rules);
    }
}

/// With JSON each record is a message of its own.
#[test]
fn records_become_objects() {
    let broker = Broker::start(0);
    let mut config = config(&[broker.port]);
    if let Some(kafka) = &mut config.kafka {
        kafka.form = MessageForm::Json;
    }
    let running = Running::start(output(config));
    running.offer([request(Stream::Flows, Encoding::Zstd, 0..50)]);
    assert_eq!(running.settled().delivered, 50);
    let rules = broker.rules();
    for (number, message) in rules.messages.iter().enumerate() {
        let object: serde_json::Value = serde_json::from_slice(&message.value).unwrap();
        assert_eq!((&object["number"], &object["k8s.node.name"]), (&number.into(), &"node-1".into()));
        assert_eq!(object["time_unix_nano"], 1_700_000_000_000_000_000_u64);
    }
    assert_eq!(rules.messages.len(), 50);
}

/// Errors that pass are waited out, that of a topic that is not there yet among them; others cost
/// the request, and are named.
#[test]
fn errors_are_waited_out_or_final() {
    let broker = Broker::start(0);
    let running = Running::start(output(config(&[broker.port])));
    {
        let mut rules = broker.rules();
        rules.metadata_errors.extend([3, 5, 3]);
        rules.produce_errors.extend([6, 7, 19, 3]);
    }
    running.offer([request(Stream::Flows, Encoding::Zstd, 0..10)]);
    let ledger = running.settled();
    assert_eq!(ledger.delivered, 10);
    assert_eq!(all_numbers(&broker), (0..10).collect::<Vec<_>>());
    let problems = running.owner.problems.lock().unwrap().join("\n");
    let at = format!("topic webb.flows at 127.0.0.1:{}", broker.port);
    assert!(problems.contains(&format!("UNKNOWN_TOPIC_OR_PARTITION: {at}; create the topic")), "{problems}");

    broker.rules().produce_errors.extend([29, 17, 4711, -1, -1, -1]);
    for number in 0..4 {
        running.offer([request(Stream::Flows, Encoding::Zstd, number..number + 1)]);
        running.settled();
    }
    let ledger = running.output.figures().ledger(Stream::Flows);
    assert_eq!((ledger.dropped(Loss::Refused), ledger.delivered), (3, 11));
    let problems = running.owner.problems.lock().unwrap().join("\n");
    assert!(problems.contains(&format!("TOPIC_AUTHORIZATION_FAILED: {at}; allow the user to Write")), "{problems}");
    let codes = running.output.figures().requests();
    assert!(codes.contains(&("KAFKA_4711".to_owned(), 1)), "{codes:?}");
}

/// An answer to another request, or about another topic or partition, says nothing of the request:
/// its connection is closed, it is counted as a failure, and the records are sent again.
#[test]
fn answers_about_others_deliver_nothing() {
    let broker = Broker::start(0);
    let running = Running::start(output(config(&[broker.port])));
    // The first request asks for the topic.
    let lies = [Lie::MetadataTopic, Lie::ProduceRequest, Lie::ProduceTopic, Lie::ProducePartition];
    for (number, lie) in (0..).zip(lies) {
        broker.rules().lie = Some(lie);
        running.offer([request(Stream::Flows, Encoding::Zstd, number * 10..number * 10 + 10)]);
        let lies = u64::try_from(number).unwrap() + 1;
        let ledger = running.settled();
        assert_eq!((ledger.delivered, broker.rules().lie), (lies * 10, None), "{lie:?}");
        assert_eq!(all_numbers(&broker), (0..number * 10 + 10).collect::<Vec<_>>(), "{lie:?}");
        let requests = running.output.figures().requests();
        assert_eq!(requests, [("OK".to_owned(), lies), ("protocol".to_owned(), lies)], "{lie:?}");
        assert_eq!(broker.rules().connections.len() as u64, lies + 1, "{lie:?}");
    }
    let problems = running.owner.problems.lock().unwrap().join("\n");
    let text = format!("127.0.0.1:{}: the answer is about another topic or partition", broker.port);
    assert!(problems.contains(&text), "{problems}");
}

/// A request that is too large for the broker, or for Kafka, is halved; a record that is too large
/// alone is lost; an encoding that a topic does not take is not sent again.
#[test]
fn what_is_too_large_is_halved() {
    let broker = Broker::start(0);
    let running = Running::start(output(config(&[broker.port])));
    // Of two million bytes, which no message has.
    running.offer([sized(Stream::Flows, Encoding::Zstd, 0..1000, 2000)]);
    assert_eq!(running.settled().delivered, 1000);
    assert!(broker.rules().messages.iter().all(|message| message.value.len() <= webb_otlp::MAX_MESSAGE_BYTES));
    assert_eq!(broker.rules().messages.len(), 4);
    assert_eq!(running.output.figures().requests(), [("OK".to_owned(), 4)]);
    broker.rules().max_bytes = Some(20_000);
    running.offer([sized(Stream::Flows, Encoding::Zstd, 1000..1100, 2000)]);
    assert_eq!(running.settled().delivered, 1100);
    assert_eq!(all_numbers(&broker), (0..1100).collect::<Vec<_>>());
    broker.rules().max_bytes = Some(1000);
    running.offer([sized(Stream::Flows, Encoding::Zstd, 0..1, 3000)]);
    let ledger = running.settled();
    assert_eq!(ledger.dropped(Loss::TooLarge), 1, "{ledger:?}");
    broker.rules().max_bytes = None;

    broker.rules().produce_errors.push_back(76);
    running.offer([request(Stream::Flows, Encoding::Zstd, 0..1)]);
    assert_eq!(running.settled().delivered, 1101);
    assert_eq!(running.output.limits().0, Encoding::Gzip);
    assert_eq!(broker.rules().compressions.last(), Some(&1));
}

/// A free port that the system gives to nothing else while it is closed.
fn lasting_port() -> u16 {
    let first = u16::try_from(std::process::id() % 10_000).unwrap();
    let ports = (0..10_000).map(|more| 20_000 + (first + more) % 10_000);
    ports.into_iter().find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).unwrap()
}

/// A broker that goes away, with an answer that is lost, and comes back on its port: every record
/// arrives, and what a directory held meanwhile does so in its order.
#[test]
fn an_outage_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let port = lasting_port();
    let broker = Broker::start(port);
    let running = Running::start(output(OutputConfig { spool: Some(spool(directory.path())), ..config(&[port]) }));
    running.offer([request(Stream::Rollups, Encoding::Zstd, 0..10)]);
    running.settled();
    // A connection that was idle is tried again at once, on a new one; then the wait begins.
    broker.rules().hang_ups = 2;
    running.offer([request(Stream::Rollups, Encoding::Zstd, 10..20)]);
    running.settled();
    let taken = all_numbers(&broker);
    assert_eq!(taken.iter().filter(|number| **number == 10).count(), 3, "sent again without an answer");
    drop(broker);
    running.offer((2..30).map(|part| request(Stream::Rollups, Encoding::Zstd, part * 10..part * 10 + 10)));
    running.has_problem("cannot connect to 127.0.0.1");
    let broker = Broker::start(port);
    let ledger = running.settled();
    assert_eq!((ledger.offered, ledger.delivered), (300, 300));
    let arrived: Vec<i64> = broker.rules().messages.iter().flat_map(numbers).collect();
    assert_eq!(arrived, (20..300).collect::<Vec<_>>());
    wait_for("no problem", || match running.output.figures().problem() {
        problem if problem.is_empty() => Ok(()),
        problem => Err(problem),
    });
}

/// A broker of several that is dead or says nothing costs a moment, not the output; without any the
/// queue drops what it has no room for, and offering does not wait.
#[test]
fn other_brokers_are_asked() {
    // Nothing listens at the port of tcpmux, and an HTTP server is no broker.
    let (dead, broker) = (1, Broker::start(0));
    let http = receiver::Receiver::http();
    let other = http.url().rsplit(':').next().unwrap().parse().unwrap();
    let ports = [silent().unwrap(), dead, other, broker.port];
    let running = Running::start(output(OutputConfig { timeout: Some(Duration::from_secs(4)), ..config(&ports) }));
    running.offer([request(Stream::Flows, Encoding::Zstd, 0..10)]);
    assert_eq!(running.settled().delivered, 10);
    drop(running);

    let nothing = OutputConfig { queue_bytes: 1 << 20, ..config(&[dead]) };
    let running = Running::start(output(nothing));
    let started = Instant::now();
    running.offer((0..40).map(|part| sized(Stream::Flows, Encoding::None, part * 20..part * 20 + 20, 2000)));
    let (took, ledger) = (started.elapsed(), running.output.figures().ledger(Stream::Flows));
    assert!(took < Duration::from_secs(20) && ledger.dropped(Loss::QueueFull) > 0, "{took:?}, {ledger:?}");
    running.has_problem("cannot connect to 127.0.0.1");
}

/// Each mechanism logs in. A password that is wrong is waited out until its file changes, and is in
/// no text; a login that ends is done again.
#[test]
fn logins_are_done_and_followed() {
    for (mechanism, name) in [(Mechanism::Plain, "PLAIN"), (Mechanism::ScramSha256, "SCRAM-SHA-256")] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("username"), "webb\n").unwrap();
        fs::write(directory.path().join("password"), "not-the-secret\n").unwrap();
        let broker = Broker::start(0);
        broker.rules().login = Some((name, "webb", "correct-secret".to_owned()));
        let running = Running::start(output(with_login(broker.port, mechanism, directory.path())));
        running.offer([request(Stream::Flows, Encoding::Zstd, 0..10)]);
        running.has_problem("SASL_AUTHENTICATION_FAILED: no user webb with this password; see to the files");
        assert_eq!(running.ledger().waiting, 10);
        fs::write(directory.path().join("password"), "correct-secret\n").unwrap();
        assert_eq!(running.settled().delivered, 10);
        let problems = running.owner.problems.lock().unwrap().join("\n");
        assert!(!problems.contains("-secret"), "{problems}");

        broker.rules().lifetime_ms = 1;
        for connection in broker.rules().connections.drain(..) {
            let _may_have_ended = connection.shutdown(std::net::Shutdown::Both);
        }
        let logins = broker.rules().logins;
        for number in 0..3 {
            running.offer([request(Stream::Flows, Encoding::Zstd, number..number + 1)]);
            running.settled();
        }
        assert_eq!(broker.rules().logins, logins + 3);
    }
}

/// Another login is used although the connection of the one before is open.
#[test]
fn a_new_login_ends_open_connections() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("username"), "webb").unwrap();
    fs::write(directory.path().join("password"), "secret-one").unwrap();
    let broker = Broker::start(0);
    broker.rules().login = Some(("PLAIN", "webb", "secret-one".to_owned()));
    let running = Running::start(output(with_login(broker.port, Mechanism::Plain, directory.path())));
    running.offer([request(Stream::Flows, Encoding::Zstd, 0..1)]);
    running.settled();
    assert_eq!(broker.rules().logins, 1);
    broker.rules().login = Some(("PLAIN", "webb", "secret-two".to_owned()));
    fs::write(directory.path().join("password"), "secret-two").unwrap();
    wait_for("another login", || {
        running.offer([request(Stream::Flows, Encoding::Zstd, 0..1)]);
        running.settled();
        match broker.rules().logins {
            2 => Ok(()),
            logins => Err(format!("{logins} logins")),
        }
    });
}

/// What stands in the way of a login is named.
#[test]
fn logins_that_cannot_be_done_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start(0);
    broker.rules().login = Some(("PLAIN", "webb", "secret".to_owned()));
    let once = |output: Output| output.send_once(&request(Stream::Rollups, Encoding::Zstd, 0..1)).unwrap_err();
    let login = |mechanism| output(with_login(broker.port, mechanism, directory.path()));
    assert!(once(login(Mechanism::Plain)).contains("username cannot be used"));
    fs::write(directory.path().join("username"), "webb").unwrap();
    fs::write(directory.path().join("password"), "secret").unwrap();
    let why = once(login(Mechanism::ScramSha512));
    assert!(why.contains("UNSUPPORTED_SASL_MECHANISM: the broker has PLAIN; see to `sasl.mechanism`"), "{why}");
    let why = once(output(config(&[broker.port])));
    assert!(why.contains("it has ended the connection; if it never works") && why.contains("`sasl`"), "{why}");
    broker.rules().login = None;
    let why = once(login(Mechanism::Plain));
    assert!(why.contains("ILLEGAL_SASL_STATE"), "{why}");
    let answer = output(config(&[broker.port])).send_once(&request(Stream::Rollups, Encoding::Zstd, 0..1));
    assert_eq!(answer, Ok(format!("kafka://127.0.0.1:{} answers OK", broker.port)));
}

/// A login is done over TLS to a broker whose certificate is that of the file's authority; without
/// the file, or with another name, the remedy is named.
#[test]
fn brokers_are_reached_by_tls() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    for (file, content) in [("username", "webb"), ("password", "secret"), ("ca.crt", &authority.certificate)] {
        fs::write(directory.path().join(file), content).unwrap();
    }
    let broker = Broker::start_with(0, Some(authority.server("kafka.example", false, true)));
    broker.rules().login = Some(("SCRAM-SHA-256", "webb", "secret".to_owned()));
    let with = |ca_file, name: Option<&str>| {
        let mut config = with_login(broker.port, Mechanism::ScramSha256, directory.path());
        config.tls = TlsConfig { ca_file, server_name: name.map(str::to_owned), ..TlsConfig::default() };
        if let Some(kafka) = &mut config.kafka {
            kafka.tls = true;
        }
        output(config)
    };
    let one = || request(Stream::Rollups, Encoding::Zstd, 0..1);
    let why = with(None, Some("kafka.example")).send_once(&one()).unwrap_err();
    assert!(why.contains("set `tls.ca_file` to the certificate of the authority"), "{why}");
    let ca = Some(directory.path().join("ca.crt"));
    let why = with(ca.clone(), None).send_once(&one()).unwrap_err();
    assert!(why.contains("or set `tls.server_name` to one"), "{why}");
    let running = Running::start(with(ca, Some("kafka.example")));
    running.offer([request(Stream::Rollups, Encoding::Zstd, 0..10)]);
    assert_eq!(running.settled().delivered, 10);
    assert_eq!((all_numbers(&broker), broker.rules().logins), ((0..10).collect(), 1));
}

/// A broker that asks for a certificate takes the one of the files. Without one, and with one of
/// another authority, the files are named; once they hold the right one, what waited is delivered.
/// Renewed files end open connections.
#[test]
fn certificates_of_the_agent_are_followed() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new(), Authority::new());
    let path = |name: &str| directory.path().join(name);
    let write = |authority: &Authority| {
        let (certificate, key) = authority.issue("webb");
        fs::write(path("tls.crt"), certificate).unwrap();
        fs::write(path("tls.key"), key).unwrap();
    };
    fs::write(path("ca.crt"), format!("{}{}", old.certificate, new.certificate)).unwrap();
    let mutual = |authority: &Authority| Some(authority.server("127.0.0.1", true, true));
    let port = lasting_port();
    let broker = Broker::start_with(port, mutual(&old));
    let with = |tls: TlsConfig| {
        let mut config = OutputConfig { tls, ..config(&[port]) };
        if let Some(kafka) = &mut config.kafka {
            kafka.tls = true;
        }
        Running::start(output(config))
    };
    let offer = |running: &Running, first| running.offer([request(Stream::Flows, Encoding::Zstd, first..first + 10)]);
    let remedy = "see to `tls.cert_file` and `tls.key_file`";
    let authorities = TlsConfig { ca_file: Some(path("ca.crt")), ..TlsConfig::default() };
    let without = with(authorities.clone());
    offer(&without, 1000);
    without.has_problem(remedy);

    write(&old);
    let running = with(TlsConfig { cert_file: Some(path("tls.crt")), key_file: Some(path("tls.key")), ..authorities });
    offer(&running, 0);
    assert_eq!(running.settled().delivered, 10);
    drop(broker);
    let broker = Broker::start_with(port, mutual(&new));
    offer(&running, 10);
    running.has_problem(remedy);
    assert_eq!((without.ledger().delivered, all_numbers(&broker)), (0, Vec::new()));
    drop(without);
    write(&new);
    assert_eq!(running.settled().delivered, 20);
    assert_eq!(all_numbers(&broker), (10..20).collect::<Vec<_>>());

    let before = broker.rules().connections.len();
    write(&new);
    wait_for("another connection", || {
        offer(&running, 20);
        running.settled();
        let now = broker.rules().connections.len();
        if now > before { Ok(()) } else { Err(format!("{now} connections")) }
    });
}

/// A port of another protocol is named in the error.
#[test]
fn other_protocols_are_named() {
    let http = receiver::Receiver::http();
    let port = http.url().rsplit(':').next().unwrap().parse().unwrap();
    let once = |config| output(config).send_once(&request(Stream::Rollups, Encoding::Zstd, 0..1)).unwrap_err();
    let why = once(config(&[port]));
    assert!(why.contains("is the port a broker's?") || why.contains("ended the connection"), "{why}");
    let broker = Broker::start(0);
    let mut with_tls = config(&[broker.port]);
    if let Some(kafka) = &mut with_tls.kafka {
        kafka.tls = true;
    }
    let why = once(with_tls);
    assert!(why.contains("the port may not speak TLS"), "{why}");
    let with_tls = Broker::start_with(0, Some(Authority::new().server("127.0.0.1", false, true)));
    let why = once(config(&[with_tls.port]));
    assert!(why.contains("the port may want TLS (`tls: {}`)"), "{why}");
}
