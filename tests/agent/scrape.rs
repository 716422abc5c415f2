//! The scrape endpoint as a scraper meets it, and scrapers as the agent meets them: slow, gone, and
//! too many at once. Whatever they do, counting goes on and every answer is one moment's.

#![allow(clippy::print_stdout, reason = "figures for a person")]

use std::io::{BufReader, Read};
use std::net::TcpStream;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use webb_flow::{Flow, L4};
use webb_index::Flows;
use webb_metrics::expose::Format;
use webb_metrics::{Aggregator, grammar};

use crate::parser::{Parsed, parse};
use crate::server::{Answer, Server, ask, read, read_next, serve, until};

const OPEN_METRICS: &str = "Accept: application/openmetrics-text;version=1.0.0\r\n";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
/// Flows in a round of counting, one series each.
const ROUND: u64 = 4000;

fn aggregator() -> Aggregator {
    Aggregator::new(&grammar::parse("port-distribution").unwrap().metrics[0])
}

/// A server that counts a flow to each of [`ROUND`] ports, over and over.
fn counting(min_interval: Duration) -> Server {
    let index = crate::metrics_common::index();
    let template = crate::metrics_common::flow(&index, "10.0.0.2", "10.0.0.3");
    let to = |destination_port| Flow { l4: L4::Udp, destination_port, ..template };
    let flows: Vec<Flow> = (1..=u16::try_from(ROUND).unwrap()).map(to).collect();
    let count = move |aggregator: &mut Aggregator| {
        let flows = Flows { flows: &flows, extras: &[], index: &index };
        aggregator.observe(flows, 0, &mut 0);
    };
    serve(aggregator(), count, min_interval, None)
}

/// A server whose one aggregator has counted `flows` and rests.
fn resting() -> Server {
    let index = crate::metrics_common::index();
    let template = crate::metrics_common::flow(&index, "10.0.0.2", "10.0.0.3");
    let flows: Vec<Flow> =
        (1..600).map(|destination_port| Flow { l4: L4::Udp, destination_port, ..template }).collect();
    let mut aggregator = aggregator();
    aggregator.observe(Flows { flows: &flows, extras: &[], index: &index }, 0, &mut 0);
    serve(aggregator, |_| std::thread::sleep(Duration::from_millis(1)), Duration::ZERO, None)
}

fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address).unwrap()
}

fn get(server: &Server, target: &str, headers: &str) -> Answer {
    let mut stream = connect(server);
    ask(&mut stream, "GET", target, headers).unwrap();
    read(&mut stream, false).unwrap()
}

fn sum(families: &[Parsed], name: &str) -> u64 {
    let family = families.iter().find(|family| family.name == name).expect(name);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and whole")]
    family.samples.iter().map(|sample| sample.value as u64).sum()
}

/// An answer is one moment's: every port has been counted as often as any other.
fn one_moment(text: &str) -> u64 {
    let ports = sum(&parse(Format::Text, text), "hubble_port_distribution_total");
    assert_eq!(ports % ROUND, 0, "a cut through a round");
    ports / ROUND
}

/// Methods, paths, formats, names and compression, as Go's server has them
/// (hubble-contract §3.5 and §3.6).
#[test]
fn requests() {
    let server = resting();
    let mut stream = connect(&server);
    for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS"] {
        ask(&mut stream, method, "/metrics", "").unwrap();
        let answer = read(&mut stream, false).unwrap();
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(TEXT)), "{method}");
        assert_eq!(sum(&parse(Format::Text, answer.text()), "hubble_port_distribution_total"), 599);
    }
    ask(&mut stream, "HEAD", "/metrics", OPEN_METRICS).unwrap();
    let head = read(&mut stream, true).unwrap();
    assert_eq!((head.status, head.header("content-length"), head.header("transfer-encoding")), (200, None, None));
    assert!(head.header("content-type").unwrap().starts_with("application/openmetrics-text; version=1.0.0;"));
    for path in ["/", "/metrics/", "/metric", "/metrics/x"] {
        ask(&mut stream, "GET", path, "").unwrap();
        let answer = read(&mut stream, false).unwrap();
        assert_eq!((answer.status, answer.text()), (404, "404 page not found\n"), "{path}");
    }
    ask(&mut stream, "GET", "/metrics", OPEN_METRICS).unwrap();
    let answer = read(&mut stream, false).unwrap();
    let families = parse(Format::OpenMetrics, answer.text());
    assert_eq!(sum(&families, "hubble_port_distribution_total"), 599);
    // Five scrapes and a HEAD; paths that are not there do not count.
    assert_eq!(sum(&families, "hubble_metrics_http_handler_requests_total"), 6);
    server.scrape.set_open_metrics(false);
    assert_eq!(get(&server, "/metrics", OPEN_METRICS).header("content-type"), Some(TEXT));
}

/// `name[]` restricts the answer to families by their full name; others are as if they were not
/// there.
#[test]
fn names() {
    let server = resting();
    let names = |target: &str, headers: &str| {
        let format = if headers.is_empty() { Format::Text } else { Format::OpenMetrics };
        let families = parse(format, get(&server, target, headers).text());
        families.into_iter().map(|family| family.name).collect::<Vec<_>>()
    };
    let both = "/metrics?name%5B%5D=hubble_port_distribution_total&name[]=hubble_lost_events_total&x=y";
    assert_eq!(names(both, ""), ["hubble_lost_events_total", "hubble_port_distribution_total"]);
    assert_eq!(names(both, OPEN_METRICS).len(), 2);
    assert_eq!(names("/metrics?name[]=hubble_lost_events", OPEN_METRICS), [""; 0]);
    assert!(names("/metrics?name=hubble_lost_events_total", "").len() > 2);
}

/// Compressed it is the same, in one gzip member, for scrapers alone and together.
#[test]
fn gzip() {
    let server = resting();
    let target = "/metrics?name[]=hubble_port_distribution_total";
    let plain = get(&server, target, "").body;
    let mut together: Vec<TcpStream> = (0..4).map(|_| connect(&server)).collect();
    for stream in &mut together {
        ask(stream, "GET", target, "Accept-Encoding: gzip\r\n").unwrap();
    }
    for mut stream in together {
        let answer = read(&mut stream, false).unwrap();
        assert_eq!(answer.header("content-encoding"), Some("gzip"));
        let mut decoder = GzDecoder::new(answer.body.as_slice());
        let mut body = Vec::new();
        decoder.read_to_end(&mut body).unwrap();
        assert_eq!(body, plain);
        assert!(decoder.into_inner().is_empty(), "more than one member");
        assert!(answer.body.len() * 4 < plain.len());
    }
}

/// A scraper that stops reading holds up neither counting nor others, and when it goes on, it gets
/// the rest of its own moment.
#[test]
fn a_slow_scraper() {
    let server = counting(Duration::ZERO);
    let _warm = get(&server, "/metrics", "");
    let mut slow = connect(&server);
    // More answers than all buffers hold.
    for _ in 0..40 {
        ask(&mut slow, "GET", "/metrics", "").unwrap();
    }
    let mut first = [0; 1];
    slow.read_exact(&mut first).unwrap();
    let (rounds, mut last) = (server.road.rounds.load(Relaxed), 0);
    for _ in 0..20 {
        let now = one_moment(get(&server, "/metrics", "").text());
        assert!(now >= last);
        last = now;
    }
    until("counting goes on", || server.road.rounds.load(Relaxed) > rounds + 100);
    let mut rest = BufReader::new((&first[..]).chain(&mut slow));
    let mut moments = Vec::new();
    for _ in 0..40 {
        moments.push(one_moment(read_next(&mut rest, false).unwrap().text()));
    }
    assert!(moments.is_sorted(), "{moments:?}");
    println!(
        "40 answers left unread, 20 scrapes served and {} rounds of counting done meanwhile; then read whole",
        last - moments[0]
    );
}

/// Scrapers that hang up early leave nothing behind: their answers end, are counted, and the next
/// scraper is served.
#[test]
fn scrapers_that_hang_up() {
    let server = counting(Duration::ZERO);
    for number in 0..60 {
        let mut stream = connect(&server);
        ask(&mut stream, "GET", "/metrics", if number % 2 == 0 { "" } else { "Accept-Encoding: gzip\r\n" }).unwrap();
        if number % 3 > 0 {
            let mut some = [0; 1000];
            stream.read_exact(&mut some[..number * 10]).unwrap();
        }
    }
    let handled = || {
        let answer = get(&server, "/metrics?name[]=hubble_metrics_http_handler_requests_total", "");
        parse(Format::Text, answer.text()).first().map_or(0, |family| sum(std::slice::from_ref(family), &family.name))
    };
    // Those that left before they were asked for anything are not served and not counted.
    until("the answers have ended", || handled() >= 40);
    println!("60 scrapers hung up, all answers ended");
    let rounds = server.road.rounds.load(Relaxed);
    until("counting goes on", || server.road.rounds.load(Relaxed) > rounds + 100);
    assert!(one_moment(get(&server, "/metrics", "").text()) > 0);
}

/// 200 scrapers at once all get a whole answer of one moment; they share cuts, so counting is asked
/// for few.
#[test]
fn two_hundred_scrapers() {
    let server = counting(Duration::from_hours(1));
    let mut streams: Vec<TcpStream> = (0..200).map(|_| connect(&server)).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        ask(stream, "GET", "/metrics", if number % 4 == 0 { "Accept-Encoding: gzip\r\n" } else { "" }).unwrap();
    }
    let (rounds, asked) = (server.road.rounds.load(Relaxed), Instant::now());
    let mut moments = Vec::new();
    for mut stream in streams {
        let answer = read(&mut stream, false).unwrap();
        let mut text = String::new();
        match answer.header("content-encoding") {
            Some(_) => GzDecoder::new(answer.body.as_slice()).read_to_string(&mut text).unwrap(),
            None => answer.body.as_slice().read_to_string(&mut text).unwrap(),
        };
        moments.push(one_moment(&text));
    }
    assert!(moments.iter().all(|moment| *moment == moments[0]), "{moments:?}");
    assert_eq!(server.road.cuts.load(Relaxed), 1);
    println!("200 scrapers, one cut, all answered {:.0?} after the last had asked", asked.elapsed());
    until("counting goes on", || server.road.rounds.load(Relaxed) > rounds + 100);
}
