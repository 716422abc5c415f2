//! TLS between the programs: `webb observe`, and an agent with a server of Hubble's API as its
//! source, against the observer's server.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use webb_flow::clock::unix_ns;
use webb_flow::fault::State;
use webb_observer::client::{Client, ServerAddress};
use webb_settings::ListenAddress;

use crate::observer_server::{
    Authority, SERVER_NAME, Served, answers, client_tls, free_port, server_files, tcp, until,
};

/// A server with TLS and client certificates, and the files of a client.
struct Encrypted {
    served: Served,
    address: SocketAddr,
    client: TempDir,
    of_server: TempDir,
    authority: Authority,
}

impl Encrypted {
    async fn start() -> Self {
        let [of_server, client] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let authority = Authority::new();
        authority.write(of_server.path(), SERVER_NAME);
        authority.write(client.path(), "client");
        let address = free_port();
        let served = Served::at(&[ListenAddress::Tcp(address)], Some(server_files(&of_server)));
        let known = tcp(address, Some(client_tls(client.path().join("ca.crt"), Some(&client))));
        until("the server answers", async || answers(&known).await).await;
        Self { served, address, client, of_server, authority }
    }

    fn at(&self, name: &str) -> String {
        self.client.path().join(name).to_str().unwrap().to_owned()
    }

    /// Runs `webb observe` with the client's certificate, unless `more` says otherwise.
    async fn observe(&self, more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_webb"));
        command.args(["observe", "--last", "10", "-o", "jsonpb", "--server"]).arg(format!("tls://{}", self.address));
        command.args(more).env_remove("HUBBLE_SERVER").stdin(Stdio::null());
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// The arguments of a client that is let in.
    fn right(&self) -> [String; 8] {
        let files = [self.at("ca.crt"), self.at("tls.crt"), self.at("tls.key")];
        let [ca, certificate, key] = files;
        let flags = ["--tls-ca-cert-files", "--tls-client-cert-file", "--tls-client-key-file", "--tls-server-name"];
        let [first, second, third, fourth] = flags.map(str::to_owned);
        [first, ca, second, certificate, third, key, fourth, SERVER_NAME.to_owned()]
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `webb observe` prints the flows of a server whose certificate has the authority and the name
/// that were asked for, and says which of them is wrong otherwise. Without a certificate of its own
/// it is refused; without a check of the server's it takes any, as Hubble's does.
#[actix::test]
async fn observe_by_tls() {
    let encrypted = Encrypted::start().await;
    encrypted.served.push(unix_ns());
    let right = encrypted.right();
    let right: Vec<&str> = right.iter().map(String::as_str).collect();
    let flows = encrypted.observe(&right).await;
    assert!(flows.status.success(), "{}", text(&flows.stderr));
    assert!(text(&flows.stdout).contains("\"flow\""), "{}", text(&flows.stdout));

    let other = tempfile::tempdir().unwrap();
    Authority::new().write(other.path(), "client");
    let strange = other.path().join("ca.crt").to_str().unwrap().to_owned();
    let changed = |at: usize, to: &str| {
        let mut all = right.clone();
        all[at] = "";
        all.into_iter().map(|one| if one.is_empty() { to.to_owned() } else { one.to_owned() }).collect::<Vec<_>>()
    };
    let mine = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
    let file = |name: &str| other.path().join(name).to_str().unwrap().to_owned();
    let mut strange_client = mine(&right);
    (strange_client[3], strange_client[5]) = (file("tls.crt"), file("tls.key"));
    for (what, arguments, said) in [
        ("another authority", changed(1, &strange), "invalid peer certificate"),
        ("another name", changed(7, "node-2.default.hubble-grpc.cilium.io"), "not valid for name"),
        ("no certificate of its own", mine(&[&right[..2], &right[6..]].concat()), "want a certificate of its client"),
        ("a certificate of another authority", strange_client, "may not accept the certificate in"),
        ("no authority", mine(&right[2..]), "TLS needs --tls-ca-cert-files"),
        ("no file", changed(1, "/nonexistent"), "cannot read the CA file /nonexistent"),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let refused = encrypted.observe(&arguments).await;
        assert!(!refused.status.success() && refused.stdout.is_empty(), "{what}: {refused:?}");
        assert!(text(&refused.stderr).contains(said), "{what}: {}", text(&refused.stderr));
    }
    let unchecked = encrypted.observe(&[&["--tls-allow-insecure"], &right[2..6]].concat()).await;
    assert!(unchecked.status.success(), "{}", text(&unchecked.stderr));
    assert!(text(&unchecked.stdout).contains("\"flow\""), "{}", text(&unchecked.stdout));
    encrypted.served.finish().await;
}

/// A certificate that has expired is said, until there is another.
#[actix::test]
async fn an_expired_certificate_is_said() {
    let encrypted = Encrypted::start().await;
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([SERVER_NAME.to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    let certificate = params.signed_by(&key, &encrypted.authority.issuer).unwrap().pem();
    fs::write(encrypted.of_server.path().join("tls.crt"), certificate).unwrap();
    fs::write(encrypted.of_server.path().join("tls.key"), key.serialize_pem()).unwrap();
    let component = &encrypted.served.component;
    until("the expiry is said", async || component.reason().contains("has expired, and clients refuse it")).await;
    assert_eq!(component.state(), State::Degraded);
    let known =
        tcp(encrypted.address, Some(client_tls(encrypted.client.path().join("ca.crt"), Some(&encrypted.client))));
    let refused = Client::connect(&known).await.unwrap_err();
    assert!(refused.to_string().contains("expired"), "{refused}");
    encrypted.authority.write(encrypted.of_server.path(), SERVER_NAME);
    until("nothing is wrong any more", async || component.state() == State::Up).await;
    assert!(answers(&known).await);
    encrypted.served.finish().await;
}

/// An agent that is stopped when the test ends.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ended = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _exit = self.0.wait();
    }
}

fn page(at: SocketAddr) -> String {
    let mut answer = String::new();
    let Ok(mut stream) = TcpStream::connect(at) else { return answer };
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    let _read = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
    answer
}

fn source(encrypted: &Encrypted, ca: &Path, listen: [SocketAddr; 2]) -> (TempDir, Agent) {
    let [metrics, admin] = listen;
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("webb.yaml");
    let text = format!(
        "metrics: flow\nmetrics_listen: {metrics}\nadmin_listen: {admin}\ncluster_source: none\nnode_name: node\n\
         scrape: {{min_interval: 0s}}\nflow_source: hubble:tls://{}\n\
         flow_source_tls: {{ca: {}, certificate: {}, key: {}, server_name: {SERVER_NAME}}}\n",
        encrypted.address,
        ca.display(),
        encrypted.at("tls.crt"),
        encrypted.at("tls.key"),
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_webb"));
    command.args(["run", "--log", "warn", "--config"]).arg(&config).stdin(Stdio::null()).stderr(Stdio::null());
    (directory, Agent(command.spawn().unwrap()))
}

/// An agent counts the flows of a server by TLS with its own certificate; one with another
/// authority counts none, and says that TLS is why.
#[actix::test]
async fn a_source_by_tls() {
    let encrypted = Encrypted::start().await;
    // Later than the agent's start: it asks for no flow from before.
    encrypted.served.push(unix_ns() + 3_600_000_000_000);
    let [metrics, admin, strange_metrics, strange_admin] = [(); 4].map(|()| free_port());
    let ca = encrypted.client.path().join("ca.crt");
    let (_files, _agent) = source(&encrypted, &ca, [metrics, admin]);
    // The value of a series; none before it is there.
    let value = async |at: SocketAddr, series: &str| {
        let page = tokio::task::spawn_blocking(move || page(at)).await.unwrap();
        page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse::<u64>().ok())
    };
    let counted = "webb_flow_source_responses_total{outcome=\"counted\"}";
    until("the flow is counted", async || value(metrics, counted).await == Some(1)).await;
    let other = tempfile::tempdir().unwrap();
    Authority::new().write(other.path(), "client");
    let (_files, _agent) = source(&encrypted, &other.path().join("ca.crt"), [strange_metrics, strange_admin]);
    let by_tls = "webb_flow_source_disconnects_total{reason=\"tls\"}";
    until("TLS is the reason", async || value(strange_metrics, by_tls).await > Some(0)).await;
    assert_eq!(value(strange_metrics, counted).await.unwrap_or(0), 0);
    encrypted.served.finish().await;
}

/// The errors of a server that is not there name it once.
#[actix::test]
async fn a_server_is_named_once() {
    let missing = ServerAddress::Unix("/nonexistent/hubble.sock".into());
    let error = Client::connect(&missing).await.unwrap_err();
    assert!(!error.to_string().contains("/nonexistent/hubble.sock"), "{error}");
    let nowhere = tcp(free_port(), None);
    let error = Client::connect(&nowhere).await.unwrap_err();
    assert!(!error.to_string().contains("127.0.0.1"), "{error}");
}
