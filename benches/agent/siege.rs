//! A siege: all attacks in turn beside churn, under 128 MiB and a quarter of a core. At its end the
//! agent is alive, its ledger closes, its memory is flat, and scrapes were quick.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::agent::Agent;
use super::cgroup::Cgroup;
use super::curve::Curve;
use super::dice::Dice;
use super::growth::{Jobs, ROOM, SOAK, STEP, cool_down, knock, setting};
use super::lab::{LOCAL, Lab, address, inside};
use super::packets::{Kind, Packet, Sender};
use super::{flood, row};

/// 1,024 connections.
const TABLE: (&str, &str) = ("WEBB_CONNECTIONS__TABLE_BYTES", "112KiB");

/// Memory of the cgroup in bytes, the kernel's share included.
const MEMORY: u64 = 128 << 20;

/// Hundredths of a core.
const CORE_PERCENT: u64 = 25;

/// The slowest scrape of a hundred may take so long.
const SCRAPE_LIMIT: Duration = Duration::from_millis(100);

/// Packets a second of an attack by packets: a fifth of what a quarter of a core reads.
const RATE: u32 = 20_000;

/// Pods that begin a second, all along.
const POD_RATE: u32 = 20;

/// Address of the node, for clients in pods.
const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 2);

/// An attack by its name, for a while.
type Attack = (&'static str, fn(&Siege<'_>, Duration));

const ATTACKS: [Attack; 7] = [
    ("slow heads", |siege, time| siege.clients(time, b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: ", 500)),
    ("idle connections", |siege, time| siege.clients(time, b"", 500)),
    ("greedy readers", |siege, time| siege.clients(time, &b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100), 64)),
    ("nonsense instead of HTTP", |siege, time| {
        siege.clients(time, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 500);
    }),
    ("SYN flood, scanner, datagrams", |siege, time| siege.packets(time, flood::bad)),
    ("strangers", |siege, time| siege.packets(time, |number, _| knock(number))),
    ("malformed packets", |siege, time| siege.packets(time, malformed)),
];

/// The parties of a siege.
struct Siege<'a> {
    pods: String,
    sender: &'a Sender,
    over: &'a AtomicBool,
}

impl Siege<'_> {
    /// Holds connections of one pod; those that the agent ends are made anew.
    fn clients(&self, time: Duration, bytes: &[u8], count: usize) {
        let to = SocketAddr::from((NODE_ADDRESS, 9965));
        let until = Instant::now() + time;
        while Instant::now() < until && !self.over.load(Relaxed) {
            let held: Vec<TcpStream> = inside(&self.pods, || {
                let connect = |_| TcpStream::connect_timeout(&to, Duration::from_secs(1)).ok();
                (0..count).filter_map(connect).collect()
            });
            for mut stream in &held {
                let written = stream.set_nonblocking(true).and_then(|()| stream.write_all(bytes));
                let expected = [ErrorKind::WouldBlock, ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
                assert!(written.is_ok() || written.is_err_and(|error| expected.contains(&error.kind())));
            }
            std::thread::sleep(Duration::from_secs(2).min(until.saturating_duration_since(Instant::now())));
        }
    }

    fn packets(&self, time: Duration, packet: impl Fn(u32, &mut Dice) -> Packet) {
        let (until, mut dice, mut number) = (Instant::now() + time, Dice::new(), 0_u32);
        while Instant::now() < until && !self.over.load(Relaxed) {
            self.sender.send((number..number + RATE).map(|number| packet(number, &mut dice)), RATE);
            number += RATE;
        }
    }
}

/// A packet whose header of layer 4 is cut short or lies.
fn malformed(number: u32, dice: &mut Dice) -> Packet {
    let to = (address(LOCAL + number % 1000), 80);
    Packet { kind: Kind::Malformed(dice.below(u32::MAX)), from: (address(number % LOCAL), 1024), to }
}

/// Time of a scrape each second; none for one that got no answer.
fn scrapes(agent: &Agent, over: &AtomicBool) -> Vec<Option<Duration>> {
    let (mut client, mut times, began) = (agent.client(), Vec::new(), Instant::now());
    while !over.load(Relaxed) {
        let asked = Instant::now();
        let answered = client.skim("").is_ok();
        times.push(answered.then(|| asked.elapsed()));
        if !answered {
            client = agent.client();
        }
        let due = Duration::from_secs(times.len() as u64);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }
    times
}

/// All attacks in turn, twice, beside churn.
pub(crate) fn run(lab: &Lab) {
    let seconds = setting("SIEGE_SECONDS", 1200);
    let cgroup = Cgroup::new("webb-siege", MEMORY, CORE_PERCENT);
    let (node, own) = (lab.node(), format!("{NODE_ADDRESS}/32"));
    let words = [node.as_str(), "addr", "add", &own, "dev", "lo"];
    assert!(Command::new("ip").arg("-n").args(words).status().unwrap().success());
    let mut jobs = Jobs::new(lab, POD_RATE);
    let settings = [("WEBB_METRICS", SOAK), ROOM, TABLE, ("WEBB_MAX_SERIES", "20000")];
    let manifest = jobs.manifest().to_owned();
    let agent = Agent::start_in(lab, Some(&cgroup), &["--cluster-manifest", path(&manifest)], &settings);
    let (sender, churn) = (Sender::new(&lab.pods()), Sender::new(&lab.pods()));
    let mut curve = Curve::new(&agent);
    let (over, began, time) = (AtomicBool::new(false), Instant::now(), Duration::from_secs(seconds.into()));
    let siege = Siege { pods: lab.pods(), sender: &sender, over: &over };
    let times = std::thread::scope(|scope| {
        let scraped = scope.spawn(|| scrapes(&agent, &over));
        scope.spawn(|| {
            let turn = time / (2 * ATTACKS.len() as u32);
            for (name, attack) in ATTACKS.iter().cycle().take(2 * ATTACKS.len()) {
                println!("{:>9.0} {name}", began.elapsed().as_secs_f64());
                attack(&siege, turn);
            }
        });
        while began.elapsed() < time {
            std::thread::sleep((STEP * jobs.generation()).saturating_sub(began.elapsed()));
            churn.send(jobs.step(), 4 * POD_RATE);
            if jobs.generation().is_multiple_of(5) {
                curve.look();
            }
        }
        over.store(true, Relaxed);
        scraped.join().unwrap()
    });
    // The first minute and a half fills tables and caches, and each kind of attack is in each half.
    let mut broken = curve.slope((90 / (5 * STEP.as_secs())) as usize);
    jobs.end();
    cool_down(&mut curve, &churn, Duration::from_mins(2));
    broken.extend(curve.grown());
    // It ends with an error if the ledger does not close.
    agent.at_rest(&["webb_traffic_packets_total"]);
    broken.extend(report(&times));
    row("memory", curve.summary());
    row("peak of the cgroup", format!("{:.1} of {} MB", cgroup.peak_megabytes(), MEMORY >> 20));
    row("killed for want of memory", cgroup.kills());
    if cgroup.kills() > 0 {
        broken.push("the kernel had to kill for want of memory".to_owned());
    }
    assert!(broken.is_empty(), "not held: {broken:?}");
    println!("held: alive, ledger closed, memory flat");
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Prints the times of the scrapes; what is beyond the limit comes back.
fn report(times: &[Option<Duration>]) -> Vec<String> {
    let mut answered: Vec<Duration> = times.iter().filter_map(|time| *time).collect();
    answered.sort_unstable();
    let failed = times.len() - answered.len();
    let part = |hundredths: usize| answered.get(answered.len() * hundredths / 100).copied().unwrap_or_default();
    let most = answered.last().copied().unwrap_or_default();
    let (half, almost_all) = (part(50), part(99));
    row("scrapes, one a second", format!("{}, {failed} without an answer", times.len()));
    row("a scrape: p50, p99, most", format!("{half:.1?}, {almost_all:.1?}, {most:.1?} (limit {SCRAPE_LIMIT:.0?})"));
    let mut broken = Vec::new();
    if almost_all > SCRAPE_LIMIT {
        broken.push(format!("one scrape in a hundred took {almost_all:.0?} and more"));
    }
    if failed > 0 {
        broken.push(format!("{failed} scrapes got no answer"));
    }
    broken
}
