//! Access of a client to the API server: proxies, TLS, credentials that change and expire.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use webb_cluster::kubernetes::{Reason, WatchTimings};

use crate::kube_api::agent::{Agent, timings};
use crate::kube_api::proxy::Proxy;
use crate::kube_api::store::pod;
use crate::kube_api::{Api, Ending, Handshake};

fn fill(api: &Api) {
    api.put_all((0..5).map(|at| pod("default", &format!("web-{at}"), &format!("10.100.0.{}", at + 1))));
}

/// Requests come often, as watches are short.
fn busy() -> WatchTimings {
    WatchTimings { max_watch: Duration::from_secs(1), ..timings() }
}

/// True if a request had these credentials.
fn came_with(api: &Api, credentials: &str) -> bool {
    !api.seen(|seen| seen.credentials.as_deref() == Some(credentials)).is_empty()
}

/// A kubeconfig whose user is what a plugin says, which is a script for a shell.
fn with_plugin(api: &Api, script: &str) -> PathBuf {
    let plugin = json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/sh",
        "args": ["-c", script], "interactiveMode": "Never", "provideClusterInfo": true}});
    api.kubeconfig_with(&[("user: {}", &format!("user: {plugin}"))])
}

fn answer(status: &serde_json::Value) -> String {
    json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}).to_string()
}

/// The server's name leads nowhere but at the proxy, which has the password of the URL, and sees
/// nothing but TLS.
#[test]
fn through_a_proxy() {
    let api = Api::start_tls();
    fill(&api);
    let proxy = Proxy::start(api.address());
    let url = format!("cluster: {{tls-server-name: 127.0.0.1, proxy-url: 'http://u:p%40ss@{}', server", proxy.address);
    let server = ("https://".to_owned() + &api.address().to_string(), "https://api.invalid:6443");
    let config = api.kubeconfig_with(&[("cluster: {server", &url), (&server.0, server.1)]);
    let agent = Agent::start(config, timings());
    agent.converges(&api, "the first list, through a proxy");
    let heads = proxy.heads();
    assert!(heads.iter().all(|head| head.starts_with("CONNECT api.invalid:6443 HTTP/1.1\r\n")), "{heads:?}");
    let password = |head: &String| head.to_lowercase().contains("\r\nproxy-authorization: basic dtpwqhnz\r\n");
    assert!(heads.iter().all(password), "{heads:?}");
    api.put(pod("default", "late", "10.99.0.1"));
    agent.converges(&api, "a change, through a proxy");
}

/// Without verification any certificate does; with it, this one does not.
#[test]
fn without_verification() {
    let api = Api::start_tls();
    fill(&api);
    api.set_handshake(Handshake::Stranger);
    let insecure = [(", certificate-authority: ca.crt", ", insecure-skip-tls-verify: true")];
    let agent = Agent::start(api.kubeconfig_with(&insecure), timings());
    agent.converges(&api, "a stranger's certificate that is not looked at");
    let agent = Agent::start(api.kubeconfig(None), timings());
    agent.until("a complaint", || agent.status.complaint().contains("certificate"));
}

/// A certificate is compared with the name that the kubeconfig gives instead of the address.
#[test]
fn by_another_name() {
    let api = Api::start_named("api.internal");
    fill(&api);
    let agent = Agent::start(api.kubeconfig(None), timings());
    agent.until("a complaint", || agent.status.complaint().contains("certificate"));
    let named = api.kubeconfig_with(&[("cluster: {server", "cluster: {tls-server-name: api.internal, server")]);
    let agent = Agent::start(named, timings());
    agent.converges(&api, "a certificate by the name of the kubeconfig");
}

/// A password, as a proxy before the API server may want it.
#[test]
fn with_a_password() {
    let api = Api::start();
    fill(&api);
    let agent = Agent::start(api.kubeconfig_with(&[("user: {}", "user: {username: u, password: p}")]), timings());
    agent.converges(&api, "the first list, with a password");
    assert!(api.seen(|_| true).iter().all(|seen| seen.credentials.as_deref() == Some("Basic dTpw")));
}

/// A token file that is replaced while its old token is still good is used from the next request
/// on; the end of its line is no part of it. A file that is gone changes nothing.
#[test]
fn a_token_that_is_replaced() {
    let api = Api::start();
    fill(&api);
    api.set_tokens(&["first", "second"]);
    let agent = Agent::start(api.kubeconfig(Some("first\n")), busy());
    agent.converges(&api, "the first list, with a token");
    api.write_token("second\n");
    agent.until("a request with the new token", || came_with(&api, "Bearer second"));
    std::fs::remove_file(api.scratch().join("token")).unwrap();
    let before = api.seen(|_| true).len();
    agent.until("further requests", || api.seen(|_| true).len() >= before + 3);
    assert!(api.seen(|_| true)[before + 1..].iter().all(|seen| seen.credentials.as_deref() == Some("Bearer second")));
    assert_eq!((agent.restarts(Reason::Unauthorized), agent.restarts(Reason::Unconfigured)), (0, 0));
}

/// An exec plugin gives the token; when that is no longer good the plugin is asked for another.
#[test]
fn credential_plugin() {
    let api = Api::start();
    fill(&api);
    api.set_tokens(&["one"]);
    let (token, info) = (api.scratch().join("plugin-token"), api.scratch().join("info"));
    std::fs::write(&token, answer(&json!({"token": "one"}))).unwrap();
    let script = format!("printf '%s' \"$KUBERNETES_EXEC_INFO\" > {}; cat {}", info.display(), token.display());
    let agent = Agent::start(with_plugin(&api, &script), timings());
    agent.converges(&api, "the first list, with a token from a plugin");
    let info: serde_json::Value = serde_json::from_slice(&std::fs::read(info).unwrap()).unwrap();
    assert_eq!(info["spec"]["cluster"]["server"], format!("http://{}", api.address()));
    std::fs::write(&token, answer(&json!({"token": "two"}))).unwrap();
    api.set_tokens(&["two"]);
    api.end_watches(None, Ending::InOrder);
    api.put(pod("default", "late", "10.99.0.1"));
    agent.converges(&api, "a new token from the plugin");
}

/// A plugin's certificate, without an end of line.
#[test]
fn credential_plugin_with_a_certificate() {
    let api = Api::start_mutual();
    fill(&api);
    let (certificate, key) = api.client();
    let file = api.scratch().join("plugin-answer");
    let status = json!({"clientCertificateData": certificate.trim(), "clientKeyData": key.trim()});
    std::fs::write(&file, answer(&status)).unwrap();
    let agent = Agent::start(with_plugin(&api, &format!("cat {}", file.display())), timings());
    agent.converges(&api, "the first list, with a certificate from a plugin");
}

/// A client key of the kubeconfig need not end its last line, be it a file or in place.
#[test]
fn a_key_without_an_end_of_line() {
    let api = Api::start_mutual();
    fill(&api);
    let (certificate, key) = api.client();
    std::fs::write(api.scratch().join("client.crt"), certificate.trim()).unwrap();
    std::fs::write(api.scratch().join("client.key"), key.trim()).unwrap();
    let agent = Agent::start(api.kubeconfig(None), timings());
    agent.converges(&api, "the first list, with a key file");
    let encoded = format!("client-key-data: {}", BASE64_STANDARD.encode(key.trim()));
    let agent = Agent::start(api.kubeconfig_with(&[("client-key: client.key", &encoded)]), timings());
    agent.converges(&api, "the first list, with a key in place");
}

/// A plugin runs again before its token expires, so that no request is refused. If it fails then,
/// the old token serves.
#[test]
fn a_token_that_expires() {
    let api = Api::start();
    fill(&api);
    let [runs, broken, failed] = ["runs", "broken", "failed"].map(|name| api.scratch().join(name));
    let token = answer(&json!({"token": "run-%s", "expirationTimestamp": "%s"}));
    let script = format!(
        "echo >> {runs}; test -e {broken} && touch {failed} && exit 1; printf '{token}' \"$(date -u -d '+4 seconds' +%Y-%m-%dT%H:%M:%SZ)\" \
         \"$(wc -l < {runs})\"",
        runs = runs.display(),
        broken = broken.display(),
        failed = failed.display()
    );
    let agent = Agent::start(with_plugin(&api, &script), busy());
    agent.converges(&api, "the first list, with a token that expires");
    assert!(came_with(&api, "Bearer run-1"));
    agent.until("a second and a third token", || came_with(&api, "Bearer run-2") && came_with(&api, "Bearer run-3"));
    std::fs::write(&broken, "").unwrap();
    agent.until("the plugin fails", || failed.exists());
    api.put(pod("default", "late", "10.99.0.1"));
    agent.converges(&api, "a plugin that fails while its last token is good");
    assert_eq!((agent.restarts(Reason::Unauthorized), agent.restarts(Reason::Unconfigured)), (0, 0));
    assert_eq!(agent.status.complaint(), "");
}

/// Names the kubeconfig for an agent in a process of its own, and what it must complain of.
const KUBECONFIG: &str = "WEBB_TEST_KUBECONFIG";
const COMPLAINT: &str = "WEBB_TEST_COMPLAINT";

/// Settings from the environment, for which each agent has a process of its own: the system's
/// authorities, which serve where the kubeconfig names none, and are not needed where nothing is
/// verified; and the proxy.
#[test]
fn by_the_environment() {
    if let Some(kubeconfig) = std::env::var_os(KUBECONFIG) {
        let agent = Agent::start(kubeconfig.into(), timings());
        let complaint = std::env::var(COMPLAINT).unwrap_or_default();
        agent.until("what the environment makes of it", || {
            if complaint.is_empty() { agent.status.synced() } else { agent.status.complaint().contains(&complaint) }
        });
        return;
    }
    let (api, other) = (Api::start_named("api.internal"), Api::start_named("api.internal"));
    let _files = (api.kubeconfig(None), other.kubeconfig(None));
    let (ours, others) = (api.scratch().join("ca.crt"), other.scratch().join("ca.crt"));
    let empty = api.scratch().join("empty.crt");
    std::fs::write(&empty, "").unwrap();
    let proxy = Proxy::start(api.address());
    let agent = |kubeconfig: PathBuf, authorities: &Path, complaint: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "login::by_the_environment", "--nocapture"]);
        command.env("SSL_CERT_FILE", authorities).env_remove("SSL_CERT_DIR");
        command.env("HTTPS_PROXY", proxy.address.to_string()).env("NO_PROXY", "127.0.0.0/8,internal.invalid");
        let output = command.env(KUBECONFIG, kubeconfig).env(COMPLAINT, complaint).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let remote = ("https://".to_owned() + &api.address().to_string(), "https://api.internal:6443");
    let no_authority = (", certificate-authority: ca.crt", "");
    let through = || api.kubeconfig_with(&[(&remote.0, remote.1), no_authority]);
    agent(through(), &ours, "");
    assert!(proxy.heads()[0].starts_with("CONNECT api.internal:6443 "), "{:?}", proxy.heads());
    agent(through(), &others, "certificate");
    let insecure = (", certificate-authority: ca.crt", ", insecure-skip-tls-verify: true");
    agent(api.kubeconfig_with(&[insecure]), &empty, "");
    // A request of the agent before may come as late as it likes.
    let heads = proxy.heads();
    let all_remote = heads.iter().all(|head| head.starts_with("CONNECT api.internal:6443 "));
    assert!(all_remote, "a local server is not behind a proxy: {heads:?}");
    agent(api.kubeconfig_with(&[no_authority]), &empty, "certificates");
}
