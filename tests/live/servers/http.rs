//! HTTP of nginx and of Python's server, asked by curl and h2load: each method, status, protocol
//! and path as often as their access logs have it.

use std::fs;
use std::path::Path;

use super::{Server, client, counts, equal, load, program, script, series};
use crate::harness::{Agent, Lab};
use crate::layer7::adds_up;
use crate::scrape::Scrape;

const METRICS: &str = "httpV2:path flow";

const IPV4: &str = "10.244.1.11";
const IPV6: &str = "[fd00:10:244:1::11]";

/// Counted requests, in the words of the log.
pub(super) fn counted(scrape: &Scrape) -> super::Counts {
    series(scrape, "hubble_http_requests_total", &[], &["method", "status", "protocol", "path"])
}

/// A line of a log, with the protocol as Hubble has it.
pub(super) fn line(line: &str) -> String {
    line.replace(" HTTP/2.0 ", " HTTP/2 ").replace(" HTTP/1.0 ", " HTTP/1 ")
}

/// Holds the agent's counts against the log's.
fn compare(agent: &mut Agent, lines: &[String]) {
    equal(agent, &counts(lines.iter().map(|text| line(text))), counted);
}

/// A configuration of curl: each item is one request, its options by `;`, all on one connection.
fn requests(base: &str, rounds: usize, items: &[&str]) -> String {
    let one = |item: &&str| {
        let mut words = item.split(';');
        let path = words.next().unwrap();
        let options = words.collect::<Vec<_>>().join("\n");
        format!("url = \"http://{base}{path}\"\noutput = /dev/null\nsilent\nmax-time = 30\n{options}\n")
    };
    let round = items.iter().map(one).collect::<Vec<_>>().join("next\n");
    vec![round; rounds].join("next\n")
}

fn curl(lab: &Lab, base: &str, rounds: usize, items: &[&str]) {
    let file = lab.file("curl.conf", &requests(base, rounds, items));
    lab.run("tiefighter", &format!("curl --config {}", file.display()));
}

/// Has h2load make so many requests; all must be answered.
pub(super) fn ask(lab: &Lab, h2load: &Path, count: usize, words: &str) {
    let said = client(lab, "tiefighter", h2load, &format!("-n {count} {words}"));
    assert!(said.contains(&format!("{count} succeeded")), "{said}");
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Requests that nginx answers in all its ways: a fixed text, a file of 64 KiB, chunks, a part of a
/// file, none of it, redirections and errors, a body that is stored after a 100.
const OF_NGINX: &[&str] = &[
    "/a",
    "/big",
    "/a;head",
    "/chunked.html",
    "/big;range = 100-199",
    "/big;range = 99999999-",
    "/big;header = \"If-Modified-Since: Tue, 19 Jan 2038 00:00:00 GMT\"",
    "/big;head",
    "/status/301",
    "/status/404",
    "/status/503",
    "/status/204",
    "/a;data = \"GET /no HTTP/1.1\"",
    "/put/file;upload-file = UPLOAD;header = \"Expect: 100-continue\"",
    "/put/file;upload-file = UPLOAD;header = \"Transfer-Encoding: chunked\"",
    "/put/file;request = DELETE",
    "/missing",
    "/a;request = PROPFIND",
    "/a;user-agent = \"\"",
];

/// Streams of one connection, the same ones several times: with dependencies and without, header
/// blocks in several frames and padded, a small window.
const OF_NGHTTP: &[(&str, &[&str])] = &[
    ("", &["/a", "/big", "/status/404", "/chunked.html"]),
    ("--continuation -b 16", &["/a", "/status/503"]),
    ("-H:method:PROPFIND", &["/a"]),
    ("-H:method:HEAD", &["/big", "/missing"]),
    ("--no-dep -W 20", &["/big"]),
];

/// HTTP/1.0, each on a connection of its own: curl would ask a second time where the server has
/// ended one without a word.
const OLD: &[&str] = &["/a;http1.0", "/big/1;http1.0", "/status/404;http1.0"];

/// nginx: one connection with everything, many connections, pipelining, HTTP/1.0, and HTTP/2 by
/// prior knowledge with many streams; IPv4 and IPv6.
#[test]
fn nginx() {
    let Some(lab) = Lab::up() else { return };
    let (Some(nginx), Some(h2load), Some(nghttp)) = (program("nginx"), program("h2load"), program("nghttp")) else {
        return;
    };
    lab.enforce_nothing();
    let mut agent = Agent::start_at(&lab, "node", METRICS, &[]);
    let server = start_nginx(&lab, "deathstar-a", &nginx);
    let upload = lab.dir.path().join("upload");
    write(&upload, &"GET /body HTTP/1.1\r\n\r\n".repeat(3000));
    let items: Vec<String> =
        OF_NGINX.iter().map(|item| item.replace("UPLOAD", &format!("\"{}\"", upload.display()))).collect();
    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    let rounds = load(10);
    let mut sent = 0;
    for address in [IPV4, IPV6] {
        curl(&lab, &format!("{address}:8080"), rounds, &items);
        // HTTP/2 has no chunks, and nginx resets the stream of a body that it does not read. Some
        // curls cannot use such a connection twice; nghttp can.
        let two = items.iter().filter(|item| !item.contains("chunked\"") && !item.contains(";data"));
        for item in two {
            curl(&lab, &format!("{address}:8082"), 1, &[&format!("{item};http2-prior-knowledge")]);
            sent += 1;
        }
        for (options, paths) in OF_NGHTTP {
            let all = paths.iter().map(|path| format!("http://{address}:8082{path}")).collect::<Vec<_>>().join(" ");
            client(&lab, "tiefighter", &nghttp, &format!("-n -m {rounds} {options} {all}"));
            sent += rounds * paths.len();
        }
        for item in OLD.iter().cycle().take(rounds * OLD.len()) {
            curl(&lab, &format!("{address}:8080"), 1, &[item]);
        }
        sent += rounds * (items.len() + OLD.len());
        for (words, count) in [
            ("--h1 -c 50", 1000),
            ("--h1 -c 4 -m 1 /big", 100),
            ("--h1 -c 4 -m 4", 1000),
            ("-c 5 -m 10", 1000),
            ("-c 5 -m 10 /big", 200),
        ] {
            let (options, path) = words.split_once(" /").unwrap_or((words, "a"));
            let port = if words.starts_with("--h1") { 8080 } else { 8082 };
            let count = load(count);
            ask(&lab, &h2load, count, &format!("{options} http://{address}:{port}/{path}"));
            sent += count;
        }
    }
    let lines = server.lines(sent);
    assert_eq!(lines.len(), sent, "responses in the log, and requests of the clients");
    compare(&mut agent, &lines);
}

/// Starts nginx in a pod: HTTP/1 on port 8080, HTTP/2 by prior knowledge on 8082.
pub(super) fn start_nginx(lab: &Lab, pod: &str, nginx: &Path) -> Server {
    let directory = lab.dir.path().join("nginx");
    write(&directory.join("www/big"), &"HTTP/1.1 500 no head\r\n\r\n1234".repeat(2341));
    write(&directory.join("www/chunked.html"), &"<p>GET / HTTP/1.1\r\n\r\n".repeat(200));
    fs::create_dir_all(directory.join("www/put")).unwrap();
    let log = lab.dir.path().join("nginx.log");
    let conf = NGINX.replace("DIRECTORY", &directory.display().to_string()).replace("LOG", &log.display().to_string());
    let conf = lab.file("nginx.conf", &conf);
    let words = format!("{} -e stderr -p {} -c {}", nginx.display(), directory.display(), conf.display());
    Server::start(lab, pod, &words, "nginx.log", &["tcp:8080", "tcp:8082"])
}

const NGINX: &str = r#"
daemon off;
master_process off;
pid DIRECTORY/pid;
error_log stderr crit;
events { worker_connections 1000; }
http {
    log_format line '$request_method $status $server_protocol $uri';
    access_log LOG line;
    keepalive_requests 10000000;
    client_body_temp_path DIRECTORY/body;
    proxy_temp_path DIRECTORY/proxy;
    fastcgi_temp_path DIRECTORY/fastcgi;
    uwsgi_temp_path DIRECTORY/uwsgi;
    scgi_temp_path DIRECTORY/scgi;
    types { text/html html; }
    server {
        listen [::]:8080 ipv6only=off;
        listen [::]:8082 ipv6only=off http2;
        root DIRECTORY/www;
        if_modified_since before;
        location = /a { return 200 "landed\n"; }
        location = /status/204 { return 204; }
        location = /status/301 { return 301 /a; }
        location = /status/404 { return 404; }
        location = /status/503 { return 503; }
        location = /chunked.html { ssi on; }
        location /put/ { dav_methods PUT DELETE; }
    }
}
"#;

/// Loads under loss: number, options of h2load, port, path.
pub(super) const OF_IMPAIRED: &[(usize, &str, u16, &str)] = &[
    (300, "--h1 -c 6", 8080, "/a"),
    (60, "--h1 -c 3", 8080, "/big"),
    (200, "-c 3 -m 5", 8082, "/a"),
    (40, "-c 2 -m 3", 8082, "/big"),
];

/// Requests that Python's server answers.
const OF_PYTHON: &[&str] = &[
    "/a",
    "/hints/103",
    "/chunked/1",
    "/big/1",
    "/fields/1",
    "/a;head",
    "/status/204",
    "/status/304",
    "/status/404",
    "/status/500",
    "/a;data = \"GET /no HTTP/1.1\"",
    "/a;data = \"{}\";header = \"Expect: 100-continue\"",
    "/a;data = \"HTTP/1.1 200 OK\";header = \"Transfer-Encoding: chunked\"",
    "/a;request = PUT;data = \"x\"",
    "/a;request = DELETE",
    "/a;request = PATCH;data = \"y\"",
    "/a;request = PROPFIND",
    "/close/1",
];

/// Python's server: keep-alive with interim responses, chunks, heads of 6 KB, bodies that look like
/// heads, connections that the server ends, HTTP/1.0, and many at once. Pipelined, its heads come
/// behind bodies in one segment, where they are not read: what is missing is counted as `doubt`,
/// and nothing is counted that was not asked for.
#[test]
fn python() {
    let Some(lab) = Lab::up() else { return };
    let (Some(script), Some(h2load)) = (script("http_server.py"), program("h2load")) else { return };
    lab.enforce_nothing();
    let mut agent = Agent::start_at(&lab, "node", METRICS, &[]);
    let log = lab.dir.path().join("python.log");
    let server =
        Server::start(&lab, "deathstar-a", &format!("{script} {} 8080", log.display()), "python.log", &["tcp:8080"]);
    let rounds = load(5);
    let mut sent = 0;
    for address in [IPV4, IPV6] {
        curl(&lab, &format!("{address}:8080"), rounds, OF_PYTHON);
        for item in OLD.iter().cycle().take(rounds * OLD.len()) {
            curl(&lab, &format!("{address}:8080"), 1, &[item]);
        }
        sent += rounds * (OF_PYTHON.len() + OLD.len());
        let count = load(400);
        ask(&lab, &h2load, count, &format!("--h1 -c 20 http://{address}:8080/a"));
        sent += count;
    }
    let lines = server.lines(sent);
    assert_eq!(lines.len(), sent, "responses in the log, and requests of the clients");
    compare(&mut agent, &lines);
    let before = agent.scrape();
    let count = load(200);
    ask(&lab, &h2load, count, &format!("--h1 -c 2 -m 3 http://{IPV4}:8080/a"));
    agent.settles(|scrape| {
        let more = |family, labels: &[(&str, &str)]| scrape.sum(family, labels) - before.sum(family, labels);
        let asked = more("webb_l7_messages_total", &[("type", "request"), ("outcome", "emitted")]);
        let counted = more("hubble_http_requests_total", &[]);
        let doubted = more("webb_l7_unanswered_total", &[("reason", "doubt")]);
        if (asked, counted + doubted) == (count as u64, count as u64) {
            return adds_up(scrape);
        }
        Err(format!("{count} requests, {asked} seen, {counted} counted, {doubted} in doubt"))
    });
}
