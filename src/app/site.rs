//! Examines the surroundings for `webb probe`: interfaces of pods, the source of names, and the
//! readiness of an agent that already runs here.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use futures::FutureExt;
use serde_json::Value;
use webb_settings::Settings;

use crate::actors::cluster_source::{ChosenSource, Sources};
use crate::bpf_loader::{Finding, FindingState};
use crate::network::{Interface, NetworkEvent, NetworkWatch, Role, Selection};

/// Timeout of netlink requests.
const NETLINK_TIMEOUT: Duration = Duration::from_secs(3);

/// Names that are listed; the rest as a number.
const MAX_NAMES_SHOWN: usize = 8;

/// Findings for a configuration without settings.
pub(super) fn findings() -> Vec<Finding> {
    let settings = Settings::default();
    vec![interfaces(), names(&settings), agent(&settings)]
}

fn interfaces() -> Finding {
    let subject = "interfaces of pods";
    let found = match look() {
        Ok(found) => found,
        Err(error) => return Finding { subject, state: FindingState::Missing, why: format!("netlink: {error}") },
    };
    let (state, why) = describe(&found);
    Finding { subject, state, why }
}

fn look() -> io::Result<Vec<Interface>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut watch = NetworkWatch::new().await?;
        let mut found = Vec::new();
        while let Some(change) = watch.next().now_or_never() {
            if let NetworkEvent::Present(interface) = change? {
                found.push(interface);
            }
        }
        Ok(found)
    })
}

fn describe(interfaces: &[Interface]) -> (FindingState, String) {
    let selection = Selection::default();
    let pods = interfaces.iter().filter(|interface| selection.role(interface) == Some(Role::Pod));
    let names: Vec<&str> = pods.map(|interface| interface.name.as_str()).collect();
    if names.is_empty() {
        let why = "none in sight: there are no pods yet, or this is not the node's network namespace (a pod needs \
                   hostNetwork: true), or the network plugin makes none (macvlan, ipvlan, SR-IOV)";
        return (FindingState::Degraded, why.to_owned());
    }
    let more = if names.len() > MAX_NAMES_SHOWN { ", ..." } else { "" };
    let shown: Vec<&str> = names.iter().copied().take(MAX_NAMES_SHOWN).collect();
    (FindingState::Ok, format!("{}: {}{more}", names.len(), shown.join(", ")))
}

fn names(settings: &Settings) -> Finding {
    let (chosen, why) = Sources::from(settings).choose();
    let (state, why) = match chosen {
        ChosenSource::Missing(what) => (FindingState::Degraded, what.to_owned()),
        ChosenSource::Nothing => (FindingState::Degraded, format!("addresses would have no names: {why}")),
        other => (FindingState::Ok, format!("{other}: {why}")),
    };
    Finding { subject: "names", state, why }
}

/// Pods without a watched interface, a node's name that is wrong and the like are known to an agent
/// that runs.
fn agent(settings: &Settings) -> Finding {
    let (state, why) = match ask(settings) {
        Ok(answer) => complaints(&answer),
        Err(error) => (FindingState::Ok, format!("none answers at {} ({error})", settings.admin_listen)),
    };
    Finding { subject: "running agent", state, why }
}

fn ask(settings: &Settings) -> io::Result<Value> {
    let mut stream = TcpStream::connect_timeout(&settings.admin_listen, NETLINK_TIMEOUT)?;
    stream.set_read_timeout(Some(NETLINK_TIMEOUT))?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    // More than any agent says.
    stream.take(1 << 20).read_to_string(&mut text)?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).map_err(io::Error::other)
}

fn complaints(answer: &Value) -> (FindingState, String) {
    let components = answer["components"].as_array().map_or(&[][..], Vec::as_slice);
    let text = |component: &Value, field: &str| component[field].as_str().unwrap_or_default().to_owned();
    let amiss = components.iter().filter(|component| component["state"] != "up");
    let said: Vec<String> = amiss.map(|one| format!("{}: {}", text(one, "name"), text(one, "reason"))).collect();
    if said.is_empty() {
        (FindingState::Ok, "it runs, and nothing is amiss".to_owned())
    } else {
        (FindingState::Degraded, said.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::network::Driver;

    fn veth(name: &str) -> Interface {
        Interface {
            index: 7,
            name: name.to_owned(),
            kind: Driver::Veth,
            uplink: false,
            peer_in_other_namespace: true,
            namespace: Some(0),
            link: Some(2),
            controller: None,
            bridged: false,
            ethernet: true,
            up: true,
        }
    }

    /// A namespace with nothing but its uplink is most likely a pod's own, and the finding names
    /// that.
    #[test]
    fn no_interface_in_sight() {
        let (state, why) = describe(&[Interface { uplink: true, ..veth("eth0") }]);
        assert_eq!(state, FindingState::Degraded);
        assert!(why.contains("hostNetwork: true"), "{why}");
        let many: Vec<Interface> = (0..20).map(|number| veth(&format!("veth{number}"))).collect();
        let (state, why) = describe(&many);
        assert_eq!(state, FindingState::Ok);
        assert!(why.starts_with("20: veth0, ") && why.ends_with("veth7, ..."), "{why}");
    }

    /// A running agent's complaints are shown.
    #[test]
    fn an_agents_complaints() {
        let probes = json!({"name": "probes", "state": "degraded", "reason": "no interface leads to 1 pod"});
        let reader = json!({"name": "reader", "state": "up", "reason": ""});
        assert_eq!(complaints(&json!({"components": [reader]})).0, FindingState::Ok);
        let (state, why) = complaints(&json!({"components": [reader, probes]}));
        assert_eq!((state, why.as_str()), (FindingState::Degraded, "probes: no interface leads to 1 pod"));
    }
}
