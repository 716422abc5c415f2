//! Loads of short-lived names: external addresses, short jobs, and both for long. Memory must come
//! back to where it was.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::agent::Agent;
use super::curve::Curve;
use super::lab::{Lab, address};
use super::packets::{Kind, Packet, SYN, Sender};
use super::row;

/// Every metric with both names, as a cluster without addresses in its labels has it.
const BY_NAME: &str = "flow tcp icmp port-distribution drop:sourceContext=pod;destinationContext=pod \
    traffic:sourceContext=pod;destinationContext=pod";

/// The same with addresses for what has no name.
const BY_ADDRESS: &str = "flow tcp port-distribution traffic:sourceContext=ip;destinationContext=ip \
    drop:sourceContext=ip;destinationContext=ip";

/// So soon idle series make room here, so that the end need not be waited for.
pub(crate) const ROOM: (&str, &str) = ("WEBB_SERIES_ROOM_TTL", "20s");

/// Of the soak: a minute of the agent's life is some seconds.
pub(crate) const SOAK: &str = "flow:sourceContext=pod|ip;destinationContext=pod|ip tcp icmp port-distribution \
    drop:sourceContext=pod|ip;destinationContext=pod|ip traffic:sourceContext=pod|ip;destinationContext=pod|ip";

/// A number from the environment.
pub(crate) fn setting(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// An address outside of the cluster that no other number has.
fn stranger(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x1400_0000 + number)
}

/// A datagram, or a connection's first packet, from a stranger.
pub(crate) fn knock(number: u32) -> Packet {
    Packet { kind: Kind::Tcp(SYN), from: (stranger(number), 40_000), to: (address(5000), 53) }
}

/// Ten million addresses that are seen once, where contexts show addresses.
pub(crate) fn strangers(lab: &Lab) {
    let (count, rate) = (setting("STRANGERS", 10_000_000), setting("RATE", 40_000));
    let agent = Agent::start(lab, &lab.manifest(100), &[("WEBB_METRICS", BY_ADDRESS), ROOM]);
    let (sender, mut curve) = (Sender::new(&lab.pods()), Curve::new(&agent));
    let step = (rate * 10).max(1);
    for from in (0..count).step_by(step as usize) {
        sender.send((from..count.min(from + step)).map(knock), rate);
        curve.look();
    }
    cool_down(&mut curve, &sender, Duration::from_mins(1));
    row(&format!("{count} strange addresses, {rate} a second, in two contexts of addresses"), curve.summary());
}

/// Short pods: in each step so many new ones have a name, an address that others had before, labels
/// and a job of their own, and talk once.
pub(crate) struct Jobs {
    manifest: PathBuf,
    base: String,
    per_step: u32,
    generation: u32,
    /// The pods of the last generations, which are in the manifest together.
    alive: Vec<String>,
}

/// Generations that are alive at once.
const ALIVE: u32 = 8;

/// Between two generations.
pub(crate) const STEP: Duration = Duration::from_secs(3);

impl Jobs {
    pub(crate) fn new(lab: &Lab, rate: u32) -> Self {
        let base = fs::read_to_string(lab.manifest(100)).unwrap();
        let base = base.trim_end().strip_suffix("]}").unwrap().to_owned();
        let manifest = lab.file("jobs.json");
        let mut jobs =
            Self { manifest, base, per_step: rate * STEP.as_secs() as u32, generation: 0, alive: Vec::new() };
        jobs.write();
        jobs
    }

    /// The file with all pods.
    pub(crate) fn manifest(&self) -> &Path {
        &self.manifest
    }

    /// Number of generations so far.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    fn write(&mut self) {
        let new = self.manifest.with_extension("new");
        fs::write(&new, format!("{}{}]}}\n", self.base, self.alive.concat())).unwrap();
        fs::rename(new, &self.manifest).unwrap();
    }

    /// The address of a pod.
    fn address(&self, generation: u32, number: u32) -> Ipv4Addr {
        Ipv4Addr::from(0x0a80_0000 + generation % ALIVE * self.per_step + number)
    }

    /// The next generation takes the place of the oldest; a packet of each pod of the one before,
    /// whose names are known by now.
    pub(crate) fn step(&mut self) -> Vec<Packet> {
        self.generation += 1;
        let mut pods = String::new();
        for number in 0..self.per_step {
            let (generation, address) = (self.generation, self.address(self.generation, number));
            let mut labels = String::new();
            for at in 0..8 {
                write!(labels, ",\"l{at}.example.com/label\":\"value-{generation}-{number}-{at}\"").unwrap();
            }
            let job = format!("job-{generation:05}-{number:04}");
            write!(
                pods,
                ",\n{{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{{\"name\":\"{job}-x7f9c\",\
                 \"namespace\":\"namespace-{:02}\",\"labels\":{{\"app\":\"{job}\"{labels}}},\
                 \"ownerReferences\":[{{\"apiVersion\":\"batch/v1\",\"kind\":\"Job\",\"name\":\"{job}\",\
                 \"uid\":\"1\",\"controller\":true}}]}},\"spec\":{{\"nodeName\":\"bench-node-{}\"}},\
                 \"status\":{{\"phase\":\"Running\",\"podIP\":\"{address}\",\"podIPs\":[{{\"ip\":\"{address}\"}}]}}}}",
                number % 20,
                1 + number % 50,
            )
            .unwrap();
        }
        if self.alive.len() < ALIVE as usize {
            self.alive.push(pods);
        } else {
            self.alive[(self.generation % ALIVE) as usize] = pods;
        }
        self.write();
        let from = |number| (self.address(self.generation - 1, number), 5000);
        let packet = |number| Packet { kind: Kind::Udp, from: from(number), to: (address(5000), 53) };
        (0..self.per_step).map(packet).collect()
    }

    pub(crate) fn end(&mut self) {
        self.alive.clear();
        self.write();
    }
}

/// 90,000 short pods in 15 minutes.
pub(crate) fn jobs(lab: &Lab) {
    let (seconds, rate) = (setting("JOB_SECONDS", 900), setting("RATE", 100));
    let mut jobs = Jobs::new(lab, rate);
    let agent = Agent::start(lab, &jobs.manifest, &[("WEBB_METRICS", BY_NAME), ROOM]);
    let (sender, mut curve) = (Sender::new(&lab.pods()), Curve::new(&agent));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(seconds.into()) {
        let due = STEP * jobs.generation;
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        sender.send(jobs.step(), rate * 4);
        if jobs.generation.is_multiple_of(10) {
            curve.look();
        }
    }
    let pods = jobs.generation * jobs.per_step;
    jobs.end();
    cool_down(&mut curve, &sender, Duration::from_mins(3));
    row(&format!("{pods} short pods, {rate} a second"), curve.summary());
}

/// Samples every ten seconds for so long: series of pods are removed a minute after these, idle
/// ones sooner. The node's usual traffic goes on meanwhile, which reuses batches of flows: old ones
/// would hold old names.
pub(crate) fn cool_down(curve: &mut Curve<'_>, sender: &Sender, time: Duration) {
    const USUAL_RATE: u32 = 50;
    let (began, mut port) = (Instant::now(), 1024);
    while began.elapsed() < time {
        let usual = (port..port + 10 * USUAL_RATE).map(|port| Packet {
            kind: Kind::Udp,
            from: (address(port % 10), port as u16),
            to: (address(5000), 53),
        });
        port += 10 * USUAL_RATE;
        sender.send(usual, USUAL_RATE);
        curve.look();
    }
}

/// Interfaces that come and go with each step of the soak.
fn interfaces(lab: &Lab, generation: u32) {
    let node = lab.node();
    let ip = |arguments: String| {
        // One that is there still, or gone already, is no matter here.
        let _done = Command::new("ip").args(arguments.split(' ')).output();
    };
    for number in 0..4 {
        ip(format!("-n {node} link del lxc-s{}-{number}", generation.wrapping_sub(2)));
        let name = format!("lxc-s{generation}-{number}");
        ip(format!("-n {node} link add {name} type veth peer name e{generation}-{number} netns {}", lab.pods()));
        ip(format!("-n {node} link set {name} up"));
    }
}

/// An hour of churn in twenty minutes: 200 pods and 1,000 strangers a second, and interfaces that
/// come and go. Fails if anything grows.
pub(crate) fn soak(lab: &Lab) {
    let (seconds, rate, strangers) = (setting("SOAK_SECONDS", 1200), 200, 1000);
    let mut jobs = Jobs::new(lab, rate);
    let limits = [("WEBB_METRICS", SOAK), ROOM, ("WEBB_MAX_SERIES", "20000")];
    let agent = Agent::start(lab, &jobs.manifest, &limits);
    let (sender, mut curve) = (Sender::new(&lab.pods()), Curve::new(&agent));
    let began = Instant::now();
    let mut number = 0;
    while began.elapsed() < Duration::from_secs(seconds.into()) {
        let due = STEP * jobs.generation;
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        let mut packets = jobs.step();
        interfaces(lab, jobs.generation);
        let more = strangers * STEP.as_secs() as u32;
        packets.extend((number..number + more).map(knock));
        number += more;
        sender.send(packets, 4 * strangers);
        if jobs.generation.is_multiple_of(5) {
            curve.look();
        }
    }
    let pods = jobs.generation * jobs.per_step;
    // Series of pods go a minute after them and rows of names a minute after their last index: the
    // load is steady for the memory from then on.
    let steady = (180 / (5 * STEP.as_secs())) as usize;
    let mut grown = curve.slope(steady);
    jobs.end();
    for generation in jobs.generation + 1..jobs.generation + 3 {
        interfaces(lab, generation);
    }
    for generation in jobs.generation + 1..jobs.generation + 3 {
        (0..4).for_each(|number| {
            let name = format!("lxc-s{generation}-{number}");
            let _done = Command::new("ip").args(["-n", &lab.node(), "link", "del", &name]).output();
        });
    }
    cool_down(&mut curve, &sender, Duration::from_mins(3));
    grown.extend(curve.grown());
    row(&format!("{pods} short pods and {number} strangers in {seconds} s"), curve.summary());
    assert!(grown.is_empty(), "not flat: {grown:?}");
    println!("flat");
}
