//! `webb names` as a process, with TLS for agents that have a certificate.

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::sync::Notify;
use webb::actors::relay::{RelayClient, RelaySettings};
use webb_cluster::{Cache, CacheSettings};
use webb_names::{Following, asks, follow};
use webb_observer::client::{Client, ClientTls, ServerAddress};

use crate::kube_api::Api;
use crate::kube_api::store::pod;
use crate::replica::{STUCK, fetch, free};

/// Name in the relay's certificate.
const NAME: &str = "webb-names.default.svc";

struct Relay {
    child: Child,
    listen: SocketAddr,
    metrics: SocketAddr,
    admin: SocketAddr,
    files: TempDir,
}

/// Writes a certificate of a new authority, with its key and the authority, once for the relay and
/// once for an agent.
fn write_certificates(to: &Path) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    std::fs::write(to.join("ca.crt"), authority.pem()).unwrap();
    for (of, name) in [("server", NAME), ("client", "*.webb-names-clients")] {
        let key = KeyPair::generate().unwrap();
        let signed = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        std::fs::write(to.join(format!("{of}.crt")), signed.pem()).unwrap();
        std::fs::write(to.join(format!("{of}.key")), key.serialize_pem()).unwrap();
    }
}

impl Relay {
    fn start(kubeconfig: &Path) -> Self {
        let (listen, metrics, admin, files) = (free(), free(), free(), tempfile::tempdir().unwrap());
        write_certificates(files.path());
        let file = |name: &str| files.path().join(name);
        let child = Command::new(env!("CARGO_BIN_EXE_webb"))
            .args(["names", "--kubeconfig"])
            .arg(kubeconfig)
            .env("WEBB_NAMES__LISTEN", listen.to_string())
            .env("WEBB_NAMES_TLS__CERTIFICATE", file("server.crt"))
            .env("WEBB_NAMES_TLS__KEY", file("server.key"))
            .env("WEBB_NAMES_TLS__CLIENT_CA", file("ca.crt"))
            .env("WEBB_METRICS_LISTEN", metrics.to_string())
            .env("WEBB_ADMIN_LISTEN", admin.to_string())
            .stdout(Stdio::null())
            .stderr(File::create(file("log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, listen, metrics, admin, files }
    }

    fn get(&self, path: &str) -> Option<(u16, String)> {
        fetch(self.metrics, path)
    }

    fn until_ready(&self) {
        let began = Instant::now();
        while self.get("/readyz").is_none_or(|(status, _)| status != 200) {
            assert!(began.elapsed() < STUCK, "never ready: {:?}", self.get("/readyz"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn address(&self, with_certificate: bool) -> ServerAddress {
        self.address_with(with_certificate.then(|| self.files.path()))
    }

    /// Its address for an agent whose certificate is in this directory.
    fn address_with(&self, own: Option<&Path>) -> ServerAddress {
        let own = own.map(|own| (own.join("client.crt"), own.join("client.key")));
        let tls = ClientTls { ca: Some(self.files.path().join("ca.crt")), own, server_name: Some(NAME.to_owned()) };
        self.at(Some(tls))
    }

    fn at(&self, tls: Option<ClientTls>) -> ServerAddress {
        ServerAddress::Tcp { host: self.listen.ip().to_string(), port: self.listen.port(), tls }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.files.path().join("log")).unwrap()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// The pods that the relay names to an agent at an address.
async fn ask(relay: &Relay, address: &str) -> Vec<String> {
    let (asks, mut asked) = asks();
    let following = Following::new("default".to_owned(), "node-9".to_owned());
    let address: IpAddr = address.parse().unwrap();
    asks.ask(address);
    let client = Client::connect(&relay.address(true)).await.unwrap();
    let met = async {
        loop {
            if let Some(pods) = following.held().at(address) {
                return pods.iter().map(ToString::to_string).collect();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        error = follow(client.channel(), &following, &mut asked, |_, _| {}) => panic!("{error}"),
        pods = tokio::time::timeout(STUCK, met) => pods.unwrap(),
    }
}

/// A relay tells an agent with a certificate of pods, and no client without one; it is ready once
/// its pods are listed, exposes what docs/relay.md lists, and ends when it is asked to.
#[tokio::test]
async fn a_relay_serves_agents() {
    let api = Api::start_tls();
    api.put(pod("default", "web", "10.1.0.1"));
    let mut relay = Relay::start(&api.kubeconfig(None));
    relay.until_ready();
    assert_eq!(ask(&relay, "10.1.0.1").await, ["default/web"]);
    assert!(ask(&relay, "10.1.0.2").await.is_empty());
    let refused = match Client::connect(&relay.address(false)).await {
        Ok(client) => {
            let following = Following::new("default".to_owned(), "node-9".to_owned());
            let (_asks, mut asked) = asks();
            tokio::time::timeout(STUCK, follow(client.channel(), &following, &mut asked, |_, _| {})).await.is_ok()
                && following.answers() == 0
        }
        Err(_) => true,
    };
    assert!(refused, "an agent without a certificate was served");

    let (_, list) = fetch(relay.admin, "/").unwrap();
    let paths = list.lines().filter_map(|line| line.strip_prefix("GET ")?.split_whitespace().next());
    for path in paths {
        assert_eq!(fetch(relay.admin, path).unwrap().0, 200, "{path} of\n{list}");
    }
    assert!(list.contains("/actors") && !list.contains("/pods"), "{list}");

    let (status, text) = relay.get("/metrics").unwrap();
    assert_eq!(status, 200);
    for line in
        ["webb_names_pods 1\n", "webb_names_asks_total 2\n", "webb_names_component_up{component=\"names/pods\"} 1\n"]
    {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let page = include_str!("../../docs/relay.md");
    for family in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = family.split(' ').next().unwrap();
        let is_listed = page.contains(&format!("`{name}`")) || name.starts_with("webb_names_process_");
        assert!(is_listed, "docs/relay.md does not list {name}");
    }
    kill_process(Pid::from_child(&relay.child), Signal::TERM).unwrap();
    assert_eq!(relay.child.wait().unwrap().code(), Some(0));
}

/// Waits until an agent says this of its relay.
async fn says(server: ServerAddress, text: &str) {
    let client = RelayClient::new(RelaySettings { server, cluster: "default".to_owned(), node: "node-9".to_owned() });
    let (cache, changed) = (Cache::new(CacheSettings::default()), Notify::new());
    let said = async {
        while !client.complaint().contains(text) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        never = client.run(&cache, &changed) => match never {},
        said = tokio::time::timeout(STUCK, said) => assert!(said.is_ok(), "{text}: {}", client.complaint()),
    }
}

/// An agent whose TLS does not fit the relay's says what may be the reason, and the relay logs the
/// address that it refused, and why.
#[tokio::test]
async fn refused_agents_are_told_why() {
    let api = Api::start_tls();
    let relay = Relay::start(&api.kubeconfig(None));
    relay.until_ready();
    let other = tempfile::tempdir().unwrap();
    write_certificates(other.path());
    let its_certificate = other.path().join("client.crt").display().to_string();
    says(relay.address_with(Some(other.path())), &format!("it may not accept the certificate in {its_certificate}"))
        .await;
    says(relay.address(false), "it may want a certificate of its client").await;
    says(relay.at(None), "if the relay has TLS, `cluster_relay` is to begin with https://").await;
    let not_trusted =
        ClientTls { ca: Some(other.path().join("ca.crt")), own: None, server_name: Some(NAME.to_owned()) };
    says(relay.at(Some(not_trusted)), "the CA file must have the authority that has signed").await;
    let log = relay.log();
    let lines: Vec<_> =
        log.lines().filter(|line| line.contains("the TLS handshake with 127.0.0.1 was refused")).collect();
    assert!(lines.len() == 1 && lines[0].contains("of the CA that is configured here"), "{log}");
}
