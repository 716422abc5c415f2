//! The admin listener as a client without a browser sees it: the list of endpoints, and refusals.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use clap::CommandFactory as _;
use webb::cli::Cli;

use crate::flow_source::Agent;

/// Head and body of an answer, from an agent that may not listen yet.
fn asked(at: SocketAddr, method: &str, path: &str) -> (String, String) {
    let began = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(at) {
            Ok(stream) => break stream,
            Err(error) => assert!(began.elapsed() < Duration::from_mins(1), "{error}"),
        }
        thread::sleep(Duration::from_millis(20));
    };
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {at}\r\nX-Webb-Admin: 1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

/// The list has what only reads first, then the commands and what they need. The help of `run`
/// names each path that only reads, and a path that is there refuses another method by its name.
#[test]
fn endpoints_are_listed() {
    let agent = Agent::start(93, &["--flow-source", "hubble:unix:///nowhere/flows.sock"]);
    let (_, list) = asked(agent.admin, "GET", "/");
    insta::assert_snapshot!("admin_list", list);
    let mut command = Cli::command();
    let help = command.find_subcommand_mut("run").unwrap().render_help().to_string();
    let paths = list.lines().filter_map(|line| line.strip_prefix("GET  /")?.split(['?', '{', ' ']).next());
    for path in paths.map(|path| path.trim_end_matches('/')).filter(|path| !path.is_empty()) {
        let name = path.rsplit('/').next().unwrap();
        assert!(help.split(['{', ',', '}']).any(|word| word == name), "{path}: {help}");
    }
    for (method, path, status, allowed) in [
        ("PUT", "/version", "405 ", "get, head"),
        ("POST", "/api/v1/pairs", "405 ", "get, head"),
        ("GET", "/actors/resolver/restart", "405 ", "post"),
        ("DELETE", "/loglevel", "405 ", "post"),
        ("GET", "/nowhere", "404 ", ""),
    ] {
        let (head, body) = asked(agent.admin, method, path);
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{method} {path}: {head}");
        let allow = head.lines().find_map(|line| line.strip_prefix("allow: ")).unwrap_or_default();
        assert_eq!(allow, allowed, "{method} {path}");
        assert!(body.contains(path) && body.ends_with('\n'), "{method} {path}: {body:?}");
    }
}
