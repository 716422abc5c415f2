//! Which share of the CPU of a flow its rollup row takes: of all that webb does with it, from the
//! eBPF program at the interface to the request that a receiver has taken.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::agent::{Agent, sum};
use super::lab::{LOCAL, Lab, address, inside};
use super::packets::{Kind, Packet, Sender};
use super::row;

const PODS: u32 = 2000;

/// Pods that each of the node's calls.
const CALLED: u32 = 20;

/// New connections a second.
const RATES: [u32; 3] = [2000, 20_000, 100_000];

/// Two windows at each rate.
const SECONDS: u32 = 30;

/// Whether the kernel measures eBPF programs.
const MEASURED: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// The threads of a flow's path by the beginnings of their names; all others serve and watch.
const STAGES: [(&str, &str); 4] =
    [("reading", "reader"), ("counting", "aggregator/"), ("rows", "rollups"), ("sending", "output/")];

pub(crate) fn run(lab: &Lab) {
    let before = fs::read_to_string(MEASURED).unwrap();
    fs::write(MEASURED, "1").unwrap();
    let (sender, port) = (Sender::new(&lab.pods()), receiver(lab));
    let outputs = lab.file("outputs.yaml");
    let text = format!(
        "rollups: {{window: 15s, spread: 0%}}\notlp:\n- {{name: main, endpoint: 'http://127.0.0.1:{port}', protocol: \
         http/protobuf, streams: [rollups]}}\n"
    );
    fs::write(&outputs, text).unwrap();
    let config = lab.file("webb.yaml");
    fs::write(&config, format!("outputs_config: {}\n", outputs.display())).unwrap();
    for rate in RATES {
        let words = ["--config", config.to_str().unwrap(), "--cluster-manifest"];
        let manifest = lab.manifest(PODS);
        let agent = Agent::start_with(lab, &[&words[..], &[manifest.to_str().unwrap()]].concat(), &[]);
        let (threads, programs) = (agent.thread_times(), agent.program_time());
        let sent = sender.send((0..rate * SECONDS).map(connection), rate);
        let text = agent.at_rest(&["webb_rollup_flows_total"]);
        let kernel = agent.program_time().saturating_sub(programs);
        let mut times: BTreeMap<&str, Duration> = BTreeMap::new();
        for (name, time) in agent.thread_times() {
            let used = time.saturating_sub(threads.get(&name).copied().unwrap_or_default());
            let stage = STAGES.iter().find(|(_, begin)| name.starts_with(begin));
            *times.entry(stage.map_or("all else", |(stage, _)| *stage)).or_default() += used;
        }
        let all: Duration = times.values().sum::<Duration>() + kernel;
        let each = |time: Duration| format!("{:.0} ns", time.as_nanos() as f64 / sent.packets as f64);
        let shown: Vec<String> = times.iter().map(|(stage, time)| format!("{stage} {}", each(*time))).collect();
        row(
            &format!("{rate} new connections a second, of each flow"),
            format!(
                "{}: eBPF {}, {}; rows are {:.1} %; {} flows in rows",
                each(all),
                each(kernel),
                shown.join(", "),
                times.get("rows").map_or(0.0, Duration::as_secs_f64) / all.as_secs_f64() * 100.0,
                sum(&text, "webb_rollup_flows_total", &[]),
            ),
        );
    }
    fs::write(MEASURED, before).unwrap();
}

/// The datagram of one of so many connections that differ.
fn connection(number: u32) -> Packet {
    let (pod, round) = (number % LOCAL, number / LOCAL);
    let remote = LOCAL + (pod * 17 + round % CALLED * 97) % (PODS - LOCAL);
    let port = 1024 + round / CALLED % 60_000;
    Packet { kind: Kind::Udp, from: (address(pod), port as u16), to: (address(remote), 53) }
}

/// A receiver on the node that takes every request; returns its port. Its threads end with the
/// process.
fn receiver(lab: &Lab) -> u16 {
    let listener = inside(&lab.node(), || TcpListener::bind("127.0.0.1:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || drop(take(&stream)));
        }
    });
    port
}

fn take(stream: &TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        io::copy(&mut (&mut reader).take(length), &mut io::sink())?;
        let mut stream = stream;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n")?;
    }
}
