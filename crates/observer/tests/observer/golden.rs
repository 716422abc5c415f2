//! Requests of Hubble's command line: our answers, held against the reference server's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use webb_observer::json_write;
use webb_observer::schema::schema;

use crate::server::{Server, call, history, recorded};

/// Cases whose recorded answer is a fault of the reference server, or of which ours differs on
/// purpose.
const DIFFERENT: [(&str, &str); 6] = [
    ("mask-nested", "the reference server mixes parts of several flows"),
    ("mask-oneof-mixed", "the reference server mixes parts of several flows"),
    ("ev-agent-last", "the reference server counts events of all kinds for the last agent events"),
    ("ev-agent-table", "the reference server counts events of all kinds for the last agent events"),
    ("ev-all-jsonpb", "the reference server counts agent and debug events for the last flows"),
    ("list-nodes", "a node answers for itself here"),
];

/// Texts of refusals end in what a library of the reference server says; ours need not.
const ONLY_BEGINNINGS: [(&str, &str); 1] =
    [("label-bad", "invalid source label filter: unable to parse requirement: ")];

/// Every request is answered with the same status, text and responses.
#[tokio::test]
async fn answers_are_the_reference_servers() {
    let mut differences = Vec::new();
    let mut compared = 0;
    for flows in ["flows-a.jsonl", "flows-ev.jsonl"] {
        let lines = recorded(&format!("{flows}.zst"));
        let written: Vec<Value> =
            lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        let server = Server::start(history(&lines, 4095)).await;
        let channel = server.connect().await;
        for line in recorded("cases.jsonl.zst").split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let case: Value = serde_json::from_slice(line).unwrap();
            let name = case["name"].as_str().unwrap();
            if case["flows"] != flows || DIFFERENT.iter().any(|(known, _)| *known == name) {
                continue;
            }
            let method = case["method"].as_str().unwrap();
            let request = STANDARD.decode(case["request"].as_str().unwrap()).unwrap();
            let (responses, status) = call(&channel, method, request).await;
            compared += 1;
            let shape = schema().message(&format!("observer.{}Response", method.rsplit('/').next().unwrap()));
            let ours: Vec<Value> = responses
                .iter()
                .map(|response| {
                    let mut json = Vec::new();
                    json_write::write(response, shape, &mut json);
                    scrubbed(serde_json::from_slice(&json).unwrap())
                })
                .collect();
            let whole = |response: &Value| response.as_u64().map(|at| written[usize::try_from(at).unwrap()].clone());
            let theirs = case["responses"].as_array().unwrap().iter();
            let theirs: Vec<Value> =
                theirs.map(|response| scrubbed(whole(response).unwrap_or_else(|| response.clone()))).collect();
            let (code, text) =
                status.map_or((0, String::new()), |status| (status.code() as u64, status.message().into()));
            if code != case["code"] || !is_text(name, &text, case["message"].as_str().unwrap()) {
                differences
                    .push(format!("{name}: status {code} {text:?}, recorded {} {}", case["code"], case["message"]));
            }
            if let Some(at) = (0..ours.len().max(theirs.len())).find(|&at| ours.get(at) != theirs.get(at)) {
                let (ours, theirs) = (ours.get(at), theirs.get(at));
                differences.push(format!("{name}: response {at} is\n  {ours:?}, recorded\n  {theirs:?}"));
            }
        }
    }
    assert!(differences.is_empty(), "{} of {compared}:\n{}", differences.len(), differences.join("\n"));
    assert_eq!(compared, 164 - DIFFERENT.len());
}

fn is_text(name: &str, ours: &str, recorded: &str) -> bool {
    match ONLY_BEGINNINGS.iter().find(|(known, _)| *known == name) {
        Some((_, beginning)) => ours.starts_with(beginning) && recorded.starts_with(beginning),
        None => ours == recorded,
    }
}

/// A response without what differs from run to run.
fn scrubbed(mut response: Value) -> Value {
    if let Some(status) = response.as_object_mut().filter(|fields| fields.contains_key("seen_flows")) {
        for field in ["uptime_ns", "flows_rate", "version", "num_flows"] {
            status.remove(field);
        }
    }
    response
}
