//! Certificates, headers and the environment.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use webb_otlp::{Encoding, Environment, Loss, Output, OutputConfig, Protocol, Stream, TlsConfig};

use crate::common::{Running, config, output, request};
use crate::receiver::Receiver;

/// An authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// A certificate and its key, in PEM.
    pub(crate) fn issue(&self, name: &str) -> (String, String) {
        self.issue_until(name, 4096)
    }

    /// The same, up to a year.
    fn issue_until(&self, name: &str, year: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// A server of that name, which asks for certificates of its own authority if `mutual`.
    pub(crate) fn server(&self, name: &str, mutual: bool, grpc: bool) -> rustls::ServerConfig {
        self.server_with(self.issue(name), mutual, grpc)
    }

    fn server_with(&self, (certificate, key): (String, String), mutual: bool, grpc: bool) -> rustls::ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let builder = if mutual { builder.with_client_cert_verifier(verifier) } else { builder.with_no_client_auth() };
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = vec![if grpc { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        config
    }
}

fn with_ca(receiver: &Receiver, directory: &Path) -> OutputConfig {
    let tls = TlsConfig { ca_file: Some(directory.join("ca.crt")), ..TlsConfig::default() };
    OutputConfig { tls, ..config(receiver) }
}

fn ten(running: &Running) {
    running.offer([request(Stream::Flows, Encoding::Gzip, 0..10)]);
}

/// A receiver whose authority has changed is failed until the file has it; then all that waited is
/// delivered, without a restart.
#[test]
fn certificates_are_renewed() {
    for grpc in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let ca = directory.path().join("ca.crt");
        let (old, new) = (Authority::new(), Authority::new());
        let receiver = Receiver::start(grpc, Some(old.server("127.0.0.1", false, grpc)), 0);
        let running = Running::start(output(with_ca(&receiver, directory.path())));
        ten(&running);
        running.has_problem("ca.crt");
        fs::write(&ca, "no certificate").unwrap();
        running.has_problem("holds no certificate in PEM");
        fs::write(&ca, &old.certificate).unwrap();
        assert_eq!(running.settled().delivered, 10);
        let port = receiver.address.port();
        drop(receiver);
        let receiver = Receiver::start(grpc, Some(new.server("127.0.0.1", false, grpc)), port);
        ten(&running);
        running.has_problem("no TLS with 127.0.0.1");
        fs::write(&ca, &new.certificate).unwrap();
        assert_eq!(running.settled().delivered, 20);
        assert_eq!(receiver.taken().len(), 10);
    }
}

/// What is wrong with TLS is told with what to do about it.
#[test]
fn failures_of_tls_have_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let (authority, other) = (Authority::new(), Authority::new());
    fs::write(directory.path().join("ca.crt"), &authority.certificate).unwrap();
    let host = "127.0.0.1";
    for (server, remedy) in [
        (Some(other.server(host, false, true)), "set `tls.ca_file` to the certificate of the authority"),
        (Some(authority.server("other.example.org", false, true)), "set `tls.server_name`"),
        (
            Some(authority.server_with(authority.issue_until(host, 2020), false, true)),
            "renew the receiver's certificate",
        ),
        (Some(authority.server(host, true, true)), "see to `tls.cert_file` and `tls.key_file`"),
        (Some(authority.server(host, false, false)), "see to `protocol`"),
        (None, "the port does not speak TLS"),
    ] {
        let receiver = Receiver::start(true, server, 0);
        let endpoint = Some(receiver.url().replace("http://", "https://"));
        let running = Running::start(output(OutputConfig { endpoint, ..with_ca(&receiver, directory.path()) }));
        ten(&running);
        running.has_problem(remedy);
    }
}

/// An endpoint with http to a port for TLS is told from a receiver of the other protocol.
#[test]
fn plain_requests_to_tls_have_a_remedy() {
    let authority = Authority::new();
    for grpc in [true, false] {
        let receiver = Receiver::start(grpc, Some(authority.server("127.0.0.1", false, grpc)), 0);
        let endpoint = Some(receiver.url().replace("https://", "http://"));
        let running = Running::start(output(OutputConfig { endpoint, ..config(&receiver) }));
        ten(&running);
        running.has_problem("if the port speaks TLS, use an endpoint with https");
    }
}

/// A receiver is checked by its name, or by the one that is configured, or not at all if that is
/// configured; one that asks for a certificate gets it.
#[test]
fn receivers_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("ca.crt"), &authority.certificate).unwrap();
    let (certificate, key) = authority.issue("client");
    fs::write(path("tls.crt"), certificate).unwrap();
    fs::write(path("tls.key"), key).unwrap();
    let name = "receiver.example.org";
    let receiver = Receiver::start(true, Some(authority.server(name, false, true)), 0);
    let base = with_ca(&receiver, directory.path());
    let run = |tls: TlsConfig| Running::start(output(OutputConfig { tls, ..base.clone() }));
    let by_host = run(base.tls.clone());
    ten(&by_host);
    by_host.has_problem("no TLS with 127.0.0.1");
    let by_name = run(TlsConfig { server_name: Some(name.to_owned()), ..base.tls.clone() });
    ten(&by_name);
    assert_eq!(by_name.settled().delivered, 10);
    let unchecked = run(TlsConfig { insecure_skip_verify: true, ..TlsConfig::default() });
    ten(&unchecked);
    assert_eq!(unchecked.settled().delivered, 10);
    assert_eq!(by_host.ledger().delivered, 0);

    let receiver = Receiver::start(true, Some(authority.server("127.0.0.1", true, true)), 0);
    let base = with_ca(&receiver, directory.path());
    let run = |tls: TlsConfig| Running::start(output(OutputConfig { tls, ..base.clone() }));
    let without = run(base.tls.clone());
    ten(&without);
    without.has_problem("no delivery to https://127.0.0.1");
    let (cert_file, key_file) = (Some(path("tls.crt")), Some(path("tls.key")));
    let with = run(TlsConfig { cert_file, key_file, ..base.tls.clone() });
    ten(&with);
    assert_eq!(with.settled().delivered, 10);
    assert_eq!(without.ledger().delivered, 0);
}

/// Headers are those of the files; when a receiver does not know the login, the files are read
/// again, and what has changed is sent at once. No text has a value.
#[test]
fn headers_are_renewed() {
    for receiver in [Receiver::grpc(), Receiver::http()] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("authorization");
        fs::write(&file, "Bearer secret-1\n").unwrap();
        fs::write(directory.path().join("x-scope-orgid"), "team").unwrap();
        receiver.rules().login = Some("Bearer secret-1".to_owned());
        let headers_directory = Some(directory.path().to_owned());
        let running = Running::start(output(OutputConfig { headers_directory, ..config(&receiver) }));
        ten(&running);
        assert_eq!(running.settled().delivered, 10);
        assert_eq!(receiver.came()[0].headers["x-scope-orgid"], "team");
        receiver.rules().login = Some("Bearer secret-2".to_owned());
        fs::write(&file, "Bearer secret-2\n").unwrap();
        ten(&running);
        assert_eq!(running.settled().delivered, 20);
        assert_eq!(receiver.came().len(), 3);
        // Without a change it waits for one.
        receiver.rules().login = Some("Bearer secret-3".to_owned());
        ten(&running);
        running.has_problem(if receiver.came()[0].path == "/v1/logs" { "401" } else { "UNAUTHENTICATED" });
        fs::write(&file, "Bearer secret-3\n").unwrap();
        let ledger = running.settled();
        assert_eq!((ledger.delivered, ledger.dropped(Loss::Refused)), (30, 0));
        let shown = format!("{:?} {:?}", running.output, running.owner.problems.lock().unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }
}

/// A directory of headers that is not there is no reason to be refused for good.
#[test]
fn headers_are_waited_for() {
    let receiver = Receiver::grpc();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("headers");
    let running = Running::start(output(OutputConfig { headers_directory: Some(path.clone()), ..config(&receiver) }));
    ten(&running);
    running.has_problem("cannot read the headers in");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("api-key"), "k").unwrap();
    assert_eq!(running.settled().delivered, 10);
    assert_eq!(receiver.came()[0].headers["api-key"], "k");
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment::new(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
}

/// The variables of OpenTelemetry apply where the configuration says nothing, those of logs before
/// those of all signals.
#[test]
fn the_environment_completes() {
    let receiver = Receiver::http();
    let of_all = format!("{}/base/", receiver.url());
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", of_all.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret, x-a=b=c"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "5000"),
    ];
    let made = Output::new(OutputConfig::named("main"), &environment(&variables), "one").unwrap();
    assert_eq!(made.limits().0, Encoding::Zstd);
    assert!(!format!("{made:?}").contains("secret"));
    let running = Running::start(made);
    running.offer([request(Stream::Flows, Encoding::Zstd, 0..10)]);
    running.settled();
    let came = &receiver.came()[0];
    assert_eq!((came.path.as_str(), &came.headers["x-a"]), ("/base/v1/logs", &"b=c".parse().unwrap()));
    assert_eq!(came.headers["authorization"], "Bearer secret");
    assert_eq!(came.headers["content-encoding"], "zstd");
    // What is configured is before all of them; the variable of logs is a whole URL.
    let whole = format!("{}/own/path", receiver.url());
    let more = [variables[1], variables[0], ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", whole.as_str())];
    let configured = OutputConfig { compression: Some(Encoding::None), ..OutputConfig::named("main") };
    let running = Running::start(Output::new(configured, &environment(&more), "one").unwrap());
    running.offer([request(Stream::Flows, Encoding::None, 0..10)]);
    running.settled();
    assert_eq!(receiver.came()[1].path, "/own/path");
}

/// Each mistake names its field and what was expected, and shows no password.
#[test]
fn mistakes_are_named() {
    let check = |change: &dyn Fn(&mut OutputConfig), variables: &[(&str, &str)]| {
        let mut config = OutputConfig { endpoint: Some("https://host:4317".to_owned()), ..OutputConfig::named("main") };
        change(&mut config);
        config.check(&environment(variables)).map_or_else(|error| error.to_string(), |()| "fine".to_owned())
    };
    let url = |url: &'static str| check(&move |config| config.endpoint = Some(url.to_owned()), &[]);
    assert_eq!(url("https://host"), "fine");
    assert_eq!(url("http://127.0.0.1:4317"), "fine");
    assert_eq!(url("http://[fe80::1]:4317"), "fine");
    assert_eq!(url("http://localhost"), "fine");
    for (bad, problem) in [
        ("host:4317", "begins with https:// or http://"),
        ("ftp://host", "begins with https:// or http://"),
        ("https://user:secret@host", "without a user"),
        ("https://host/path", "no path"),
        ("https://host?x=y", "without a query"),
        ("https://host#part", "without a fragment"),
        ("https://host:4317/#", "without a fragment"),
        ("http://host:4317", "`insecure: true`"),
        ("http://10.0.0.1", "`insecure: true`"),
        ("https://", "expected a URL"),
        ("", "expected a URL"),
    ] {
        let why = url(bad);
        assert!(why.starts_with("endpoint: ") && why.contains(problem) && !why.contains("secret"), "{bad}: {why}");
    }
    let insecure = |config: &mut OutputConfig| {
        (config.endpoint, config.insecure) = (Some("http://host".to_owned()), Some(true));
    };
    assert_eq!(check(&insecure, &[]), "fine");
    // What the environment allows, the configuration may forbid, and the variable of logs too.
    let allowed = ("OTEL_EXPORTER_OTLP_INSECURE", "True");
    let plain = |insecure| {
        move |config: &mut OutputConfig| (config.endpoint, config.insecure) = (Some("http://host".to_owned()), insecure)
    };
    assert_eq!(check(&plain(None), &[allowed]), "fine");
    for why in [
        check(&plain(Some(false)), &[allowed]),
        check(&plain(None), &[allowed, ("OTEL_EXPORTER_OTLP_LOGS_INSECURE", "false")]),
    ] {
        assert!(why.contains("`insecure: true`"), "{why}");
    }
    let path = |config: &mut OutputConfig| {
        (config.endpoint, config.protocol) =
            (Some("https://host/api/default/v1/logs".to_owned()), Some(Protocol::HttpProtobuf));
    };
    assert_eq!(check(&path, &[]), "fine");
    assert!(check(&|config| config.endpoint = None, &[]).starts_with("endpoint: expected the receiver's URL"));
    assert!(check(&|config| config.name = "a/b".to_owned(), &[]).starts_with("name: "));
    assert!(check(&|config| config.in_flight = 0, &[]).starts_with("in_flight: "));
    assert!(check(&|config| config.batch.max_bytes = 1, &[]).starts_with("batch.max_bytes: "));
    assert!(check(&|config| config.tls.cert_file = Some("/x".into()), &[]).starts_with("tls.key_file: "));
    for name in ["a b", "", "a/b", "host:4317"] {
        let why = check(&|config| config.tls.server_name = Some(name.to_owned()), &[]);
        assert_eq!(why, "tls.server_name: expected the name of a host");
    }
    let beside_http = |config: &mut OutputConfig| {
        config.endpoint = Some("http://127.0.0.1".to_owned());
        config.tls.ca_file = Some("/ca.crt".into());
    };
    assert!(check(&beside_http, &[]).starts_with("tls: expected an endpoint with https, or no `tls`"));
    let of_environment =
        [("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.crt"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::1]")];
    assert_eq!(check(&|config| config.endpoint = None, &of_environment), "fine");
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "brotli"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "1"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x=y,secret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x=sec%0Aret"),
    ] {
        let why = check(&|_| {}, &[(name, value)]);
        assert!(why.starts_with(&format!("{name}: expected")) && !why.contains("secret"), "{why}");
    }
    let instance = Output::new(
        OutputConfig { endpoint: Some("https://h".to_owned()), ..OutputConfig::named("main") },
        &Environment::default(),
        "a/b",
    );
    assert!(instance.unwrap_err().to_string().starts_with("instance: "));
}
