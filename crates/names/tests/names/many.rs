//! Many clients on loopback: few as a check, thousands by hand for figures.
//!
//! `CLIENTS=5000 EACH=100 PODS=150000 cargo test -p webb-names --test names -- --nocapture many::`;
//! every `BLOCKS`th new pod is in a block of its own, of which all clients are told.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;
use webb_names::wire::Answer;
use webb_names::{Directory, Following, asks, follow};

use crate::relays::{Relay, channel, key, pod};

/// Number from the environment.
fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn address(number: usize) -> IpAddr {
    std::net::Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(number).unwrap()).into()
}

/// Resident bytes of this process.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap() * 4096
}

fn fill(directory: &Directory, pods: usize) {
    for at in 0..pods {
        let mut pod = pod(&address(at).to_string());
        pod.labels.insert("app".to_owned(), format!("app-{}", at % (pods / 10).max(1)));
        pod.node = format!("node-{}", at / 30);
        directory.upsert(key(&format!("deployment-of-a-usual-length-5d4f8c7b9-{at}")), &pod);
    }
}

/// The times from an ask to its name of an agent that asks for a thousand addresses in turn.
fn ask_one_by_one(relay: SocketAddr, pods: usize) -> Vec<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let following = Arc::new(Following::new("east".to_owned(), "node-of-its-own".to_owned()));
        let (asks, mut asked) = asks();
        let (channel, followed) = (channel(relay).await, Arc::clone(&following));
        let follower = tokio::spawn(async move { follow(channel, &followed, &mut asked, |_, _| {}).await.to_string() });
        let mut times = Vec::new();
        for round in 0..1000 {
            let address = address((round * 101 + 77) % pods);
            let is_answered = || following.held().at(address).is_some();
            if is_answered() {
                continue;
            }
            let began = Instant::now();
            asks.ask(address);
            while !is_answered() {
                sleep(Duration::from_micros(200)).await;
            }
            // The first one includes the beginning of the stream.
            if round > 0 {
                times.push(began.elapsed());
            }
        }
        assert!(!follower.is_finished(), "the stream has ended");
        times
    })
}

/// The time from an ask to its name for one agent while many others are connected and pods change,
/// the bytes of both sides, and the time until all have what they asked for.
#[test]
fn many_clients() {
    let (clients, each, pods) = (number("CLIENTS", 50), number("EACH", 20), number("PODS", 2000));
    let blocks = number("BLOCKS", 40);
    let empty = resident();
    let (relayed, relay) = std::sync::mpsc::channel();
    let serve = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let relay = Relay::start("east").await;
            relayed.send((relay.at, Arc::clone(&relay.directory))).unwrap();
            std::future::pending::<()>().await;
        });
    };
    std::thread::Builder::new().spawn(serve).unwrap();
    let (at_relay, directory) = relay.recv().unwrap();
    fill(&directory, pods);
    println!("{pods} pods: {} MB", (resident() - empty) / 1_000_000);
    let agents = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    agents.block_on(async {
        let (before, began) = (resident(), Instant::now());
        let mut tasks = JoinSet::new();
        let mut all = Vec::new();
        for client in 0..clients {
            let following = Arc::new(Following::new("east".to_owned(), format!("node-{client}")));
            let (asks, mut asked) = asks();
            for at in 0..each {
                asks.ask(address((client * 31 + at * 7919) % pods));
            }
            all.push((Arc::clone(&following), asks));
            let channel = channel(at_relay).await;
            tasks.spawn(async move { follow(channel, &following, &mut asked, |_, _| {}).await.to_string() });
        }
        println!("{clients} clients connected after {:.1?}", began.elapsed());
        let is_answered = |following: &Following| {
            let counts = following.counts();
            counts.named > 0 && counts.unanswered == 0
        };
        while !all.iter().all(|(following, _)| is_answered(following)) {
            sleep(Duration::from_millis(20)).await;
        }
        let sent = directory.sent();
        println!(
            "{each} names each after {:.1?}: {} MB resident for both sides of all, {} MB sent, {} entries, {} profiles",
            began.elapsed(),
            (resident() - before) / 1_000_000,
            sent.bytes.load(Relaxed) / 1_000_000,
            sent.entries.load(Relaxed),
            sent.profiles.load(Relaxed),
        );
        // A pod goes 20 times a second, and another comes.
        let churning = Arc::clone(&directory);
        let churn = tokio::spawn(async move {
            for at in 0.. {
                churning.upsert(key(&format!("churn-{at}")), &pod(&address(at % pods).to_string()));
                if at % blocks == 0 {
                    // In a block that had none, of which all agents are told.
                    churning.upsert(key(&format!("first-{at}")), &pod(&address(pods + at * 64).to_string()));
                }
                if at > 200 {
                    churning.delete(&key(&format!("churn-{}", at - 200)));
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
        // An agent on a thread of its own: it does not wait for the other clients' work here.
        let (probed, probe) = tokio::sync::oneshot::channel();
        std::thread::Builder::new().spawn(move || probed.send(ask_one_by_one(at_relay, pods))).unwrap();
        let mut times = probe.await.unwrap();
        churn.abort();
        times.sort_unstable();
        let at = |part: usize| times[(times.len() - 1) * part / 100];
        println!(
            "ask to name, {} times: median {:.1?}, 99th {:.1?}, worst {:.1?}; {} invalidations",
            times.len(),
            at(50),
            at(99),
            at(100),
            sent.invalidations.load(Relaxed),
        );
        assert_eq!(tasks.len(), clients, "none has ended");
    });
}

/// Addresses of pods that an agent holds at most.
const MOST: usize = 24_576;

/// The bytes of one agent that holds as much as it may, and has released as many before.
#[test]
fn one_agent_that_holds_all_it_may() {
    let pods = number("PODS", 2000);
    let directory = Arc::new(Directory::default());
    fill(&directory, pods);
    let lease = directory.connect();
    lease.ask((0..pods).map(address)).unwrap();
    let answers: Vec<Answer> = std::iter::from_fn(|| lease.next()).collect();
    let before = resident();
    let following = Following::new("east".to_owned(), "here".to_owned());
    for answer in &answers {
        // In steps, as an agent meets them.
        let addresses = answer.entries.iter().filter_map(|entry| entry.address.as_ref());
        for address in addresses.flat_map(|some| some.read().unwrap()) {
            following.held().ask(address);
        }
        while following.held().next_request().is_some() {}
        following.held().take(answer.clone()).1.unwrap();
    }
    let (counts, held) = (following.counts(), pods.min(MOST));
    println!("{counts:?}: {} MB", (resident() - before) / 1_000_000);
    assert_eq!((counts.named, counts.evicted), (held, (pods - held) as u64));
    assert_eq!((0..pods).filter(|at| following.held().at(address(*at)).is_some()).count(), held);
}
