//! An agent that is a replica of the operator too, for those that run no Deployment.

use serde_json::json;

use crate::api_server::ApiServer;
use crate::harness::{Agent, Lab, request};
use crate::kube_api::leases::lease;
use crate::scrape::Scrape;

/// The port of the operator's endpoint.
const PORT: u16 = 9963;

/// An agent with `--operator-election` takes the Lease, serves the leader's families beside its own
/// metrics, and gives the Lease up when it is stopped, so that the next replica leads at once. One
/// without the flag does none of it.
#[test]
fn an_agent_is_a_replica() {
    let Some(lab) = Lab::up() else { return };
    let api = ApiServer::start(&lab);
    // As another replica leaves it: the next one need not wait.
    api.put(lease("kube-system", "webb-operator", &json!({"holderIdentity": "", "leaseDurationSeconds": 1})));
    let kubeconfig = api.kubeconfig_text();
    let words = ["--cluster-source", "kubernetes", "--kubeconfig", &kubeconfig, "--node-name", "node-1"];
    let namespace = lab.namespace("node");
    let holder = || api.lease("kube-system", "webb-operator")["holderIdentity"].clone();

    let mut plain = Agent::spawn(&lab, "", &words);
    plain.wait_until("the agent is ready", |agent| agent.get("/readyz").is_some_and(|answer| answer.status == 200));
    assert!(request(&namespace, PORT, "GET", "/metrics").is_none(), "nothing asked for an operator");
    assert_eq!(holder(), "");
    plain.signal("TERM");
    assert!(plain.ended().success(), "{}", plain.log());

    let mut agent = Agent::spawn(&lab, "", &[&words[..], &["--operator-election"]].concat());
    let scrape = |_: &Agent| Some(Scrape::parse(&request(&namespace, PORT, "GET", "/metrics")?.body));
    agent.wait_until("it leads", |agent| {
        // The node of the server has a network of 254 addresses, of which none is used.
        let available = ("cilium_operator_ipam_available_ips", [("target_node", "node-1")]);
        scrape(agent).is_some_and(|scrape| {
            scrape.sum("webb_operator_leader", &[]) == 1 && scrape.sum(available.0, &available.1) == 254
        })
    });
    let held = holder();
    assert!(held.as_str().is_some_and(|holder| !holder.is_empty()), "{held}");
    agent.wait_until("both endpoints know the elector", |agent| {
        let is_ready = request(&namespace, PORT, "GET", "/readyz").is_some_and(|answer| answer.status == 200);
        is_ready && agent.scrape().sum("webb_component_up", &[("component", "elector")]) == 1
    });
    agent.signal("TERM");
    assert!(agent.ended().success(), "{}", agent.log());
    assert_eq!(holder(), "", "the Lease was not given up");
}
