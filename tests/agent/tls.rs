//! TLS on the metrics listener: version, client certificates, and files that come late and change
//! under load.

#![allow(clippy::print_stdout, reason = "figures for a person")]

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use webb::server::Limits;
use webb::tls::{Paths, TlsFiles};
use webb_flow::fault::State;
use webb_metrics::{Aggregator, grammar};

use crate::server::{Answer, Server, ask, read, serve, serve_within, until};

/// An authority that signs for this machine.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// Certificate and key, PEM.
type Pair = (String, String);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn sign(&self) -> Pair {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// TLS configuration of a scraper.
fn client(
    authority: &Authority,
    own: Option<&Pair>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let builder = builder.with_root_certificates(roots);
    Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    })
}

const TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn connect(server: &Server, config: &Arc<ClientConfig>) -> Stream {
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    StreamOwned::new(connection, TcpStream::connect(server.address).unwrap())
}

fn scrape(stream: &mut Stream) -> std::io::Result<Answer> {
    ask(stream, "GET", "/metrics", "")?;
    read(stream, false)
}

fn get(server: &Server, config: &Arc<ClientConfig>) -> std::io::Result<Answer> {
    scrape(&mut connect(server, config))
}

/// The files of a listener.
struct Files {
    paths: Paths,
    _directory: tempfile::TempDir,
}

impl Files {
    fn new(client_ca: Option<&Authority>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let ca_path = client_ca.map(|authority| {
            write(&path("ca.crt"), &authority.certificate);
            path("ca.crt")
        });
        let paths = Paths { certificate: path("tls.crt"), key: path("tls.key"), client_ca: ca_path };
        Self { paths, _directory: directory }
    }

    fn put(&self, (certificate, key): &Pair) {
        write(&self.paths.certificate, certificate);
        write(&self.paths.key, key);
    }
}

/// As a mounted Secret does it: the new content is there at once.
fn write(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, path).unwrap();
}

fn start(files: &Arc<TlsFiles>) -> Server {
    let aggregator = Aggregator::new(&grammar::parse("flow").unwrap().metrics[0]);
    let rest = |_: &mut Aggregator| std::thread::sleep(Duration::from_millis(1));
    serve(aggregator, rest, Duration::ZERO, Some(Arc::clone(files)))
}

/// Until the files are there the listener refuses and says why; once they are, it answers without a
/// restart.
#[test]
fn files_that_come_late() {
    let (authority, files) = (Authority::new(), Files::new(None));
    let tls = Arc::new(TlsFiles::new(files.paths.clone()));
    let server = start(&tls);
    until("degraded", || server.component.state() == State::Degraded);
    let why = server.component.reason();
    assert!(
        why.starts_with("waiting for TLS certificates to become available: cannot read the certificate file"),
        "{why}"
    );
    let config = client(&authority, None, TLS13);
    assert!(get(&server, &config).is_err());
    write(&files.paths.certificate, "no certificate");
    write(&files.paths.key, "no key");
    let error = tls.poll().unwrap_err().to_string();
    assert!(error.contains("tls.crt does not hold a certificate in PEM"), "{error}");
    assert!(get(&server, &config).is_err());
    files.put(&authority.sign());
    until("answered", || get(&server, &config).is_ok_and(|answer| answer.status == 200));
    until("up", || server.component.state() == State::Up);
    assert_eq!(tls.reloads().counts(), [("applied", 1), ("rejected", 1)]);
}

/// A certificate that has expired is said, until there is another.
#[test]
fn an_expired_certificate_is_said() {
    let (authority, files) = (Authority::new(), Files::new(None));
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    files.put(&(params.signed_by(&key, &authority.issuer).unwrap().pem(), key.serialize_pem()));
    let server = start(&Arc::new(TlsFiles::new(files.paths.clone())));
    until("the expiry is said", || server.component.reason().contains("has expired, and clients refuse it"));
    assert_eq!(server.component.state(), State::Degraded);
    assert!(get(&server, &client(&authority, None, TLS13)).is_err());
    files.put(&authority.sign());
    until("up", || server.component.state() == State::Up);
    assert_eq!(get(&server, &client(&authority, None, TLS13)).unwrap().status, 200);
}

/// TLS 1.3 or nothing (hubble-contract §3.7).
#[test]
fn older_versions_are_refused() {
    let (authority, files) = (Authority::new(), Files::new(None));
    files.put(&authority.sign());
    let server = start(&Arc::new(TlsFiles::new(files.paths.clone())));
    let both: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12, &rustls::version::TLS13];
    assert_eq!(get(&server, &client(&authority, None, both)).unwrap().status, 200);
    assert!(get(&server, &client(&authority, None, &[&rustls::version::TLS12])).is_err());
    assert!(get(&server, &client(&Authority::new(), None, TLS13)).is_err(), "the client checks the server");
}

/// With an authority for clients, only those come in whom it has signed for; when it is replaced,
/// so are they.
#[test]
fn clients_need_a_certificate() {
    let (authority, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let files = Files::new(Some(&clients));
    files.put(&authority.sign());
    let tls = Arc::new(TlsFiles::new(files.paths.clone()));
    let server = start(&tls);
    let ours = client(&authority, Some(&clients.sign()), TLS13);
    let theirs = client(&authority, Some(&others.sign()), TLS13);
    let unnamed = client(&authority, None, TLS13);
    let mut open = connect(&server, &ours);
    assert_eq!(scrape(&mut open).unwrap().status, 200);
    assert!(get(&server, &theirs).is_err());
    assert!(get(&server, &unnamed).is_err());
    write(files.paths.client_ca.as_ref().unwrap(), &others.certificate);
    assert!(tls.poll().unwrap());
    assert_eq!(get(&server, &theirs).unwrap().status, 200);
    assert!(get(&server, &ours).is_err(), "also a client that was here before");
    assert_eq!(scrape(&mut open).unwrap().status, 200, "an open connection stays");
}

/// Files that vanish leave what is in use, and are not complained of any more when they come back
/// as they were; a set that is no file of some length is refused like any other.
#[test]
fn files_that_vanish_for_a_while() {
    let (authority, files) = (Authority::new(), Files::new(None));
    let pair = authority.sign();
    files.put(&pair);
    let tls = TlsFiles::new(files.paths.clone());
    assert!(tls.poll().unwrap());
    fs::remove_file(&files.paths.key).unwrap();
    for _ in 0..2 {
        let error = tls.poll().unwrap_err().to_string();
        assert!(error.starts_with("cannot read the key file"), "{error}");
    }
    write(&files.paths.key, &"x".repeat((1 << 20) + 1));
    assert!(tls.poll().unwrap_err().to_string().ends_with("it has more than 1048576 bytes"));
    assert!(tls.is_ready() && !tls.reloads().succeeded());
    files.put(&pair);
    assert!(!tls.poll().unwrap(), "it is what is in use");
    assert!(tls.reloads().succeeded());
    assert_eq!(tls.reloads().counts(), [("applied", 1), ("rejected", 0)]);
}

/// A certificate of X.509's first version, as `openssl x509 -req` makes them without extensions.
const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBFzCBvwIUAVp/CX3ynsLCQGtVU4z/TVd5xFYwCgYIKoZIzj0EAwIwDjEMMAoG\n\
A1UEAwwDb2xkMCAXDTI2MTEyNzEzMDgyNloYDzIxMjYxMTAzMTMwODI2WjAOMQww\n\
CgYDVQQDDANvbGQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQ47ITCQt3yGPrq\n\
peSabAwBFuiWC7U0UVS3/uPwdiPJ88AHmDw4kfTRyjLhyJGOhFIo8Ocmx1Z1Hk3C\n\
ZznAMhjFMAoGCCqGSM49BAMCA0cAMEQCIBO87nbStRCFwSQMfMUKShfVmR608g/B\n\
OUnRbu2C/sbHAiAXq/dT7LlZt6fnLvZFAgQ5KjhanBfsRlx+sBy+iZDQ/A==\n\
-----END CERTIFICATE-----\n";

/// Files that cannot be used degrade the listener for as long as they are there, and the old ones
/// serve.
#[test]
fn unusable_files_show() {
    let (authority, files) = (Authority::new(), Files::new(None));
    let pair = authority.sign();
    files.put(&pair);
    let server = start(&Arc::new(TlsFiles::new(files.paths.clone())));
    until("up", || server.component.state() == State::Up);
    write(&files.paths.certificate, "no certificate");
    until("degraded", || server.component.state() == State::Degraded);
    let why = server.component.reason();
    assert!(why.starts_with("the TLS certificates stay as they were:") && why.contains("tls.crt"), "{why}");
    assert_eq!(get(&server, &client(&authority, None, TLS13)).unwrap().status, 200);
    // It is the certificate, whatever the key is.
    write(&files.paths.certificate, VERSION_1);
    until("the version is said", || server.component.reason().contains("it is of X.509 version 1"));
    let why = server.component.reason();
    assert!(why.contains("the certificate file") && !why.contains("the key file"), "{why}");
    files.put(&pair);
    until("up again", || server.component.state() == State::Up);
}

/// Connections that never shake hands, and those that send junk, keep no scraper out.
#[test]
fn handshakes_that_come_to_nothing() {
    let (authority, files) = (Authority::new(), Files::new(None));
    files.put(&authority.sign());
    let limits = Limits { connections: 24, per_client: 8, ..Limits::default() };
    let aggregator = Aggregator::new(&grammar::parse("flow").unwrap().metrics[0]);
    let rest = |_: &mut Aggregator| std::thread::sleep(Duration::from_millis(1));
    let tls = Some(Arc::new(TlsFiles::new(files.paths.clone())));
    let server = serve_within(limits, aggregator, rest, Duration::ZERO, tls);
    let config = client(&authority, None, TLS13);
    let silent: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    let began = Instant::now();
    assert_eq!(get(&server, &config).unwrap().status, 200);
    println!("a scrape beside 300 silent handshakes: {:.1?}", began.elapsed());
    assert!(server.connections.count() <= 8);
    drop(silent);
    let dropped = |reason| server.connections.dropped().find(|(known, _)| *known == reason).unwrap().1;
    let before = dropped("handshake");
    TcpStream::connect(server.address).unwrap().write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    until("it is counted", || dropped("handshake") > before);
}

/// Certificates are replaced under load, with moments between in which certificate and key do not
/// fit: no scrape fails, on old connections or new ones, and at the end the last certificate is in
/// use.
#[test]
fn rotation_loses_no_request() {
    let (authority, files) = (Authority::new(), Files::new(None));
    files.put(&authority.sign());
    let tls = Arc::new(TlsFiles::new(files.paths.clone()));
    let server = start(&tls);
    let config = client(&authority, None, TLS13);
    until("first answer", || get(&server, &config).is_ok());
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let count = |answer: std::io::Result<Answer>| {
        assert_eq!(answer.expect("no scrape fails").status, 200);
        answered.fetch_add(1, Relaxed);
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    count(get(&server, &config));
                }
            });
            scope.spawn(|| {
                let mut stream = connect(&server, &config);
                while !stop.load(Relaxed) {
                    count(scrape(&mut stream));
                }
            });
        }
        let mut refused = 0;
        for _ in 0..30 {
            let (certificate, key) = authority.sign();
            let before = answered.load(Relaxed);
            write(&files.paths.certificate, &certificate);
            refused += u64::from(tls.poll().is_err());
            until("scrapes go on", || answered.load(Relaxed) > before + 2 || stop.load(Relaxed));
            write(&files.paths.key, &key);
            let _changed_now_or_by_the_listener = tls.poll().unwrap();
        }
        assert_eq!(refused, 30, "a certificate without its key is not used");
        stop.store(true, Relaxed);
    });
    assert_eq!(tls.reloads().counts(), [("applied", 31), ("rejected", 30)]);
    println!("30 rotations, {} scrapes answered meanwhile, none failed", answered.load(Relaxed));
    let last = CertificateDer::from_pem_slice(&fs::read(&files.paths.certificate).unwrap()).unwrap();
    let mut stream = connect(&server, &config);
    assert_eq!(scrape(&mut stream).unwrap().status, 200);
    assert_eq!(stream.conn.peer_certificates().unwrap()[0], last);
}
