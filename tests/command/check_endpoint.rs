//! `webb check-endpoint` against servers that answer well, badly, late and not at all.

#![allow(clippy::disallowed_methods, reason = "threads of a test are its own")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use clap::Parser;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use webb::app::check_endpoint;
use webb::cli::{Cli, Command, Exit};

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n# TYPE webb_build_info gauge\nwebb_build_info{version=\"1\"} 1\n";

/// A server that gives its connections these answers, one each, and then refuses.
fn serving(answers: &'static [&'static str]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (last, others) = answers.split_last().unwrap();
        for answer in others {
            let (mut stream, _) = listener.accept().unwrap();
            answered(&mut stream, answer);
        }
        let (mut stream, _) = listener.accept().unwrap();
        // Closed before the last answer: a connection after it is refused, and not reset.
        drop(listener);
        answered(&mut stream, last);
    });
    address
}

fn answered(stream: &mut (impl Read + Write), answer: &str) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    assert!(request.starts_with(b"GET /metrics HTTP/1.0\r\n"));
    stream.write_all(answer.as_bytes()).unwrap();
}

/// Exit code of the command, and its output.
fn check(arguments: &[&str]) -> (Exit, String) {
    let cli = Cli::try_parse_from(["webb", "check-endpoint"].iter().chain(arguments)).unwrap();
    let Command::CheckEndpoint(arguments) = cli.command else { panic!("another command") };
    let mut out = Vec::new();
    let exit = check_endpoint(&arguments, &mut out).unwrap();
    (exit, String::from_utf8(out).unwrap())
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}/metrics")
}

/// A good answer is counted; what it lacks is named.
#[test]
fn answers_are_judged() {
    let address = serving(&[GOOD, GOOD, "HTTP/1.1 503 Service Unavailable\r\n\r\n"]);
    let good = check(&[&url(address), "--require", "webb_build_info"]);
    assert_eq!(good, (Exit::Success, format!("{address}  ok, 1 series\n")));
    let lacking = check(&[&url(address), "--require=webb_build_info", "--require=hubble_drop_total"]);
    assert_eq!(lacking, (Exit::Data, format!("{address}  missing: hubble_drop_total\n")));
    let refused = check(&[&url(address)]);
    assert_eq!(refused, (Exit::Data, format!("{address}  the answer is HTTP/1.1 503 Service Unavailable\n")));
}

/// A server that is not there yet is asked again, for as long as was asked for and no longer.
#[test]
fn it_waits_for_the_answer() {
    let address = serving(&["HTTP/1.1 503 Starting\r\n\r\n", GOOD]);
    assert_eq!(check(&[&url(address), "--wait=1m"]), (Exit::Success, format!("{address}  ok, 1 series\n")));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (exit, said) = check(&[&url(closed)]);
    assert_eq!(exit, Exit::NoInput, "{said}");
    assert!(said.contains("refused"), "{said}");
}

/// A text that cannot be an endpoint is a mistake of the command line.
#[test]
fn wrong_addresses() {
    for wrong in
        ["localhost:9965", "ftp://localhost/", "http://", "https://localhost/metrics", "http://localhost:99999/"]
    {
        assert_eq!(check(&[wrong]), (Exit::Configuration, String::new()), "{wrong}");
    }
    let (exit, said) = check(&["http://no-such-host.invalid:1/metrics"]);
    assert_eq!(exit, Exit::NoInput);
    assert!(said.starts_with("no-such-host.invalid: "), "{said}");
}

/// By TLS the server must have a certificate of the authority, for the name that was asked for.
#[test]
fn certificates_are_checked() {
    let key = KeyPair::generate().unwrap();
    let own =
        CertificateParams::new(["default.hubble-metrics.cilium.io".to_owned()]).unwrap().self_signed(&key).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let authority: PathBuf = directory.path().join("ca.crt");
    std::fs::write(&authority, own.pem()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(own.pem().as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let connection = ServerConnection::new(Arc::new(config.clone())).unwrap();
        answered(&mut StreamOwned::new(connection, stream), GOOD);
        // The second client finds another name and says so.
        let (stream, _) = listener.accept().unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream);
        let _refused = stream.read(&mut [0]);
    });
    let url = format!("https://{address}/metrics");
    let ca = format!("--ca={}", authority.display());
    let good = check(&[&url, &ca, "--server-name=default.hubble-metrics.cilium.io"]);
    assert_eq!(good, (Exit::Success, format!("{address}  ok, 1 series\n")));
    let (exit, said) = check(&[&url, &ca, "--server-name=other.example"]);
    assert_eq!(exit, Exit::NoInput);
    assert!(said.contains("other.example"), "{said}");
}
