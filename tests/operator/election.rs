//! Two operators under all that may happen to one of them: at no time are there two leaders in what
//! is scraped.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::kube_api::Api;
use crate::kube_api::gate::Gate;
use crate::replica::{MARGIN, Replica, STUCK, answer, leads};

/// Two replicas, each with a network of its own, which are scraped by turns.
struct Pair {
    api: Api,
    gates: [Gate; 2],
    replicas: [Replica; 2],
    /// One that is stopped is not scraped.
    stopped: [bool; 2],
    /// The last scrape of a leader: which it was, and when it began.
    last: Option<(usize, Instant)>,
    /// The last leader gave the Lease up.
    released: bool,
    /// Scrapes of a leader so far.
    led: u64,
}

impl Pair {
    fn start() -> Self {
        let api = Api::start();
        let gates = [Gate::before(&api), Gate::before(&api)];
        // The wall clocks differ by two hours.
        let replicas = [Replica::start(&gates[0].kubeconfig(), 0), Replica::start(&gates[1].kubeconfig(), 7200)];
        replicas.iter().for_each(Replica::until_ready);
        Self { api, gates, replicas, stopped: [false; 2], last: None, released: false, led: 0 }
    }

    /// Scrapes both. Two scrapes of two leaders are further apart than the two of them can have led
    /// at one time, unless the first gave the Lease up: its term ends `MARGIN` before the Lease.
    fn look(&mut self) -> [Option<bool>; 2] {
        let mut seen = [None; 2];
        for (at, seen) in seen.iter_mut().enumerate() {
            if self.stopped[at] {
                continue;
            }
            let began = Instant::now();
            *seen = self.replicas[at].leads();
            if *seen == Some(true) {
                if let Some((before, then)) = self.last
                    && before != at
                {
                    let apart = then.elapsed();
                    assert!(self.released || apart >= MARGIN, "two leaders within {apart:?}");
                }
                (self.last, self.released) = (Some((at, began)), false);
                self.led += 1;
            }
        }
        seen
    }

    fn until(&mut self, what: &str, is: impl Fn([Option<bool>; 2]) -> bool) -> Duration {
        let began = Instant::now();
        loop {
            let seen = self.look();
            if is(seen) {
                return began.elapsed();
            }
            assert!(began.elapsed() < STUCK, "never came true: {what}: {seen:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn leader(&mut self) -> usize {
        self.until("one leads", |seen| seen.contains(&Some(true)));
        self.last.unwrap().0
    }

    fn hands_over(&mut self, from: usize, what: &str) -> usize {
        let to = 1 - from;
        let took = self.until(what, |seen| seen[to] == Some(true));
        println!("handed over {:>5.1} s after: {what}", took.as_secs_f64());
        to
    }

    /// Ends the leader, has the other take over, and starts another in its place.
    fn replace(&mut self, signal: Signal, what: &str) {
        let from = self.leader();
        let releases = signal == Signal::TERM;
        self.replicas[from].signal(signal);
        self.stopped[from] = true;
        if releases {
            self.released = true;
            assert_eq!(self.replicas[from].end(), Some(0));
        }
        self.hands_over(from, what);
        let next = Replica::start(&self.gates[from].kubeconfig(), if from == 0 { 0 } else { 7200 });
        next.until_ready();
        self.replicas[from] = next;
        self.stopped[from] = false;
    }
}

/// SIGTERM, SIGKILL, SIGSTOP, a cut network, two hours between the clocks, and no server at all.
#[test]
fn never_two_leaders_in_what_is_scraped() {
    let mut pair = Pair::start();
    pair.replace(Signal::TERM, "SIGTERM");
    let history = pair.api.lease_history();
    assert!(history.iter().any(|record| record["holderIdentity"] == ""), "the Lease was not given up");
    pair.replace(Signal::KILL, "SIGKILL");

    // A scrape that was sent while the leader was stopped is answered when it goes on.
    let sleeper = pair.leader();
    pair.replicas[sleeper].stop();
    pair.stopped[sleeper] = true;
    let waiting = pair.replicas[sleeper].ask("/metrics").unwrap();
    let next = pair.hands_over(sleeper, "SIGSTOP");
    pair.replicas[sleeper].signal(Signal::CONT);
    // The connection may be too old by then, and closed.
    let woken = answer(waiting).filter(|(status, _)| *status == 200);
    assert!(!woken.as_ref().is_some_and(|(_, text)| leads(text)), "one that slept leads when it wakes");
    println!("asleep while it was asked: {}", if woken.is_some() { "answered" } else { "no answer" });
    pair.stopped[sleeper] = false;
    pair.until("the new leader goes on", |seen| seen[next] == Some(true) && seen[sleeper] == Some(false));

    let cut = pair.leader();
    pair.gates[cut].set_cut(true);
    let took = pair.until("it steps down", |seen| seen[cut] == Some(false));
    println!("stepped down {:>4.1} s after its network was cut", took.as_secs_f64());
    pair.hands_over(cut, "a cut network");
    pair.gates[cut].set_cut(false);

    pair.leader();
    pair.api.go_away();
    let took = pair.until("none leads without a server", |seen| seen == [Some(false); 2]);
    println!("stepped down {:>4.1} s after the server went", took.as_secs_f64());
    pair.api.come_back(Duration::ZERO);
    pair.leader();
    println!("{} scrapes of a leader", pair.led);
}

/// What a configuration cannot mean is said before anything starts.
#[test]
fn configurations_that_cannot_be() {
    let api = Api::start();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_webb"))
        .arg("operator")
        .arg("--kubeconfig")
        .arg(api.kubeconfig(None))
        .env("WEBB_OPERATOR__RENEW_DEADLINE", "20s")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{text}");
    assert!(text.contains("`operator.renew_deadline` must be less than `operator.lease_duration`"), "{text}");
}
