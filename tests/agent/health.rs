//! The prober against peers that do not behave: each has a name for what it does, in bounded time
//! and memory, and holds up no other.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Notify;
use webb::health::{Health, ProbeReport, Prober};
use webb_cluster::{Cache, CacheSettings, Node, NodeNetwork, Object, ObjectKey};

/// Long enough for a loaded machine; nothing waits this long unless something is wrong.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Bytes that the peer with the large answer wants to send.
const LARGE: u64 = 1 << 30;

/// Behaviour of a peer on an accepted connection.
type Peer = fn(TcpStream, &AtomicU64);

fn answer(mut stream: TcpStream, text: &str) {
    let mut request = [0; 1024];
    // A peer whose client is gone has nothing to say.
    if stream.read(&mut request).is_ok() {
        stream.write_all(text.as_bytes()).ok();
    }
}

fn nodes(names: &[String]) -> Arc<Cache> {
    let cache = Cache::new(CacheSettings { node: "own".to_owned(), ..CacheSettings::default() });
    for (at, name) in names.iter().enumerate() {
        let key = ObjectKey { namespace: String::new(), name: name.clone() };
        cache.upsert(Object::Node(key, Box::new(node(address(at)))));
    }
    Arc::new(cache)
}

/// A node with this address.
fn node(address: IpAddr) -> Node {
    let network = NodeNetwork { internal: vec![address], ..NodeNetwork::default() };
    Node { network: Arc::new(network), ..Node::default() }
}

/// The address of the peer with this number.
fn address(number: usize) -> IpAddr {
    Ipv4Addr::new(127, 8, 0, u8::try_from(number + 1).unwrap()).into()
}

/// Runs a peer's thread, which ends with the process.
#[allow(clippy::disallowed_methods, reason = "the threads of peers are no part of an agent")]
fn background(work: impl FnOnce() + Send + 'static) {
    std::thread::spawn(work);
}

/// Runs a prober until `done`.
fn probe(prober: &Prober, done: impl Fn(&Health) -> bool) {
    let health = Arc::clone(&prober.health);
    let (stopping, wake) = (AtomicBool::new(false), Notify::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(prober.run(&|| !stopping.load(Relaxed), &wake));
        });
        let began = Instant::now();
        while !done(&health) && began.elapsed() < TIMEOUT {
            std::thread::sleep(Duration::from_millis(20));
        }
        stopping.store(true, Relaxed);
        wake.notify_one();
    });
    assert!(done(&health), "{:#?}", health.report());
}

/// The HTTP side of each node's only address.
fn probes(health: &Health) -> Vec<(String, ProbeReport)> {
    health.report().nodes.into_iter().map(|node| (node.name, node.addresses[0].protocols[0].clone())).collect()
}

/// Silence, a status, a redirect, a proxy's answer, an endless body, a head without an end, bytes
/// of another protocol, and a connection that is closed at once. The good peer is reachable.
#[test]
fn strange_peers_have_names() {
    let peers: [(&str, Peer, &str); 9] = [
        ("good", |stream, _| answer(stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), ""),
        (
            "silent",
            |stream, _| std::thread::sleep(TIMEOUT * u32::from(stream.peer_addr().is_ok())),
            "connected, but the agent did not answer within",
        ),
        ("broken", |stream, _| answer(stream, "HTTP/1.1 500 Oh\r\n\r\n"), "answered with status 500, expected 200"),
        (
            "redirect",
            |stream, _| answer(stream, "HTTP/1.1 307 There\r\nlocation: http://127.8.0.1/hello\r\n\r\n"),
            "answered with status 307: a redirect, which is not followed",
        ),
        (
            "proxy",
            |stream, _| answer(stream, "HTTP/1.1 504 Gateway Timeout\r\nvia: 1.1 proxy\r\n\r\n"),
            "answered with status 504, expected 200",
        ),
        ("large", large, ""),
        ("endless", endless, "the head of the answer has more than 8192 bytes"),
        ("other", |stream, _| answer(stream, "SSH-2.0-OpenSSH_9.9\r\n"), "the answer is not HTTP/1"),
        ("closing", |stream, _| drop(stream), "the connection ended before the answer was complete"),
    ];
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let sent: Arc<[AtomicU64; 9]> = Arc::default();
    for (at, (_, peer, _)) in peers.into_iter().enumerate() {
        let listener = TcpListener::bind(SocketAddr::new(address(at), port)).unwrap();
        let sent = Arc::clone(&sent);
        background(move || {
            for stream in listener.incoming().flatten() {
                let sent = Arc::clone(&sent);
                background(move || peer(stream, &sent[at]));
            }
        });
    }
    let health = Arc::new(Health::default());
    let names = peers.map(|(name, ..)| name.to_owned());
    let interval = Some(Duration::from_secs(5));
    let prober = Prober { health: Arc::clone(&health), cache: nodes(&names), port, interval, icmp: false };
    let is_as_expected = |name: &str, probe: &ProbeReport| {
        let (_, _, expected) = peers.iter().find(|(known, ..)| *known == name).unwrap();
        match &probe.error {
            None => expected.is_empty() && probe.status == "reachable",
            Some(error) => !expected.is_empty() && error.starts_with(expected),
        }
    };
    probe(&prober, |health| {
        let probes = probes(health);
        probes.len() == peers.len() && probes.iter().all(|(name, probe)| is_as_expected(name, probe))
    });
    let silent = probes(&health).into_iter().find(|(name, _)| name == "silent").unwrap().1;
    assert_eq!(silent.outcome, Some("unanswered"));
    // The body is not read: what could be sent is what two kernels hold.
    let sent = sent[5].load(Relaxed);
    assert!(sent < LARGE / 16, "the peer could send {sent} bytes");
}

/// Answers well, with a body of a gigabyte. Counts what it could send.
fn large(mut stream: TcpStream, sent: &AtomicU64) {
    answer(stream.try_clone().unwrap(), &format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n"));
    let part = vec![b'x'; 64 << 10];
    while sent.load(Relaxed) < LARGE && stream.write_all(&part).is_ok() {
        sent.fetch_add(part.len() as u64, Relaxed);
    }
}

/// Answers with headers that never end.
fn endless(mut stream: TcpStream, _: &AtomicU64) {
    answer(stream.try_clone().unwrap(), "HTTP/1.1 200 OK\r\nx: ");
    while stream.write_all(&[b'y'; 1024]).is_ok() {}
}

/// Fills the queue of connections that a listener has not accepted: its kernel drops what comes
/// then, as a host that is gone does.
fn silence(address: SocketAddr) -> (TcpListener, TcpStream) {
    let listener = TcpListener::bind(address).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    (listener, TcpStream::connect(address).unwrap())
}

/// Hundreds of nodes that are silent hold up none that answers, and all are found out.
#[test]
fn silent_nodes_hold_up_no_other() {
    const SILENT: usize = 300;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let good = TcpListener::bind("127.9.255.1:0").unwrap();
    let port = good.local_addr().unwrap().port();
    background(move || {
        for stream in good.incoming().flatten() {
            answer(stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let cache = Cache::new(CacheSettings { node: "own".to_owned(), ..CacheSettings::default() });
    let mut kept = Vec::new();
    for at in 0..=SILENT {
        let last = u16::try_from(at).unwrap().to_be_bytes();
        let address =
            if at == SILENT { Ipv4Addr::new(127, 9, 255, 1) } else { Ipv4Addr::new(127, 9, last[0], last[1]) };
        if at < SILENT {
            kept.push(silence((address, port).into()));
        }
        let key = ObjectKey { namespace: String::new(), name: format!("n{at:04}") };
        cache.upsert(Object::Node(key, Box::new(node(address.into()))));
    }
    let health = Arc::new(Health::default());
    let interval = Some(Duration::from_secs(5));
    let prober = Prober { health: Arc::clone(&health), cache: Arc::new(cache), port, interval, icmp: false };
    probe(&prober, |health| {
        let counts = health.counts();
        let [reachable, unreachable, _] = counts.addresses;
        reachable == 1 && unreachable == SILENT as u64
    });
    assert_eq!(health.counts().unreachable_nodes, SILENT as u64);
    assert!(health.probes().any(|(_, outcome, count)| outcome == "timeout" && count >= 2 * SILENT as u64));
}

/// Agents that are stopped, so that their kernels accept and nothing answers, are no broken path:
/// probes that fail one after the other do not make them unreachable within the grace.
#[test]
fn stopped_agents_have_a_grace() {
    const GRACE: Duration = Duration::from_secs(30);
    let names: Vec<String> = (0..3).map(|at| format!("n{at}")).collect();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let bind = |at| TcpListener::bind(SocketAddr::new(address(at), port)).unwrap();
    let _stopped: Vec<TcpListener> = (0..names.len()).map(bind).collect();
    let health = Arc::new(Health::default());
    let interval = Some(Duration::from_secs(1));
    let prober = Prober { health: Arc::clone(&health), cache: nodes(&names), port, interval, icmp: false };
    let (began, early) = (Instant::now(), AtomicBool::new(false));
    probe(&prober, |health| {
        let is_early = health.counts().unreachable_nodes > 0 && began.elapsed() < GRACE;
        early.fetch_or(is_early, Relaxed);
        // Some peer has failed twice and more.
        health.probes().any(|(_, outcome, count)| outcome == "unanswered" && count > 2 * names.len() as u64)
    });
    assert!(!early.load(Relaxed), "unreachable within the grace: {:#?}", health.report());
}
