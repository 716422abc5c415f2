//! An API server that knows pods and nothing else, for a start: it lists them, at once, in pages
//! or as the beginning of a watch, and then keeps the watch open. No object ever changes.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, json};

use super::lab::{LOCAL, Lab, NODE, address, inside};

/// Answer of a server to the first request for pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lists {
    /// As a watch that begins with all objects, the way of servers since 1.34.
    Streamed,
    /// It refuses that, as servers before 1.32 do, and lists.
    Whole,
}

const PODS: &str = "/api/v1/pods";

/// Kinds of which there is no object.
const EMPTY: [(&str, &str); 5] = [
    ("/api/v1/namespaces", "Namespace"),
    ("/api/v1/nodes", "Node"),
    ("/api/v1/services", "Service"),
    ("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", "EndpointSlice"),
    ("/apis/networking.k8s.io/v1/networkpolicies", "NetworkPolicy"),
];

/// The version of everything.
const VERSION: &str = "41000";

/// Environment variables of a pod.
const VARIABLES: u32 = 60;

/// Starts a server of so many pods on the node; returns a kubeconfig that leads there, and how many
/// bytes all pods have. Its threads end with the process.
pub(crate) fn start(lab: &Lab, pods: u32, lists: Lists) -> (PathBuf, usize) {
    let pods = Arc::new(Pods::new(pods));
    let bytes = (0..pods.there).map(|number| pods.get(number).len()).sum();
    let listener = inside(&lab.node(), || TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let pods = Arc::clone(&pods);
            // An agent that has ended takes its connections along.
            std::thread::spawn(move || drop(serve(&stream, &pods, lists)));
        }
    });
    let path = lab.file("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: it\n\
         clusters: [{{name: it, cluster: {{server: 'http://{address}'}}}}]\nusers: [{{name: it, user: {{}}}}]\n\
         contexts: [{{name: it, context: {{cluster: it, user: it}}}}]\n"
    );
    std::fs::write(&path, text).unwrap();
    (path, bytes)
}

fn serve(stream: &TcpStream, pods: &Pods, lists: Lists) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut lines, mut to) = (BufReader::new(stream).lines(), stream);
    while let Some(first) = lines.next().transpose()? {
        while lines.next().transpose()?.is_some_and(|header| !header.is_empty()) {}
        let target = first.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let (kind, there) = match EMPTY.iter().find(|(of, _)| *of == path) {
            Some((_, kind)) => (*kind, 0),
            None if path == PODS => ("Pod", pods.there),
            None if path == "/apis" => {
                whole(to, "200 OK", r#"{"kind":"APIGroupDiscoveryList","items":[]}"#)?;
                continue;
            }
            None => {
                whole(to, "404 Not Found", &status(404, "NotFound"))?;
                continue;
            }
        };
        let streamed = value("sendInitialEvents") == Some("true");
        if streamed && lists == Lists::Whole {
            whole(to, "422 Unprocessable Entity", &status(422, "Invalid"))?;
        } else if value("watch").is_some() {
            return watch(to, kind, pods, if streamed { there } else { 0 });
        } else {
            // Where any version will do, the watch cache answers, and has no pages.
            let limit = value("limit").filter(|_| value("resourceVersion") != Some("0"));
            let limit = limit.and_then(|text| text.parse().ok()).unwrap_or(u32::MAX);
            let from = value("continue").and_then(|text| text.parse().ok()).unwrap_or(0);
            // The pods of the agent's own node, which it lists first.
            let there = if value("fieldSelector").is_some() { there.min(LOCAL) } else { there };
            list(to, kind, pods, from..there.min(limit.saturating_add(from)), there)?;
        }
        to.flush()?;
    }
    Ok(())
}

fn status(code: u16, reason: &str) -> String {
    format!(
        r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"","reason":"{reason}","code":{code}}}"#
    )
}

fn whole(mut to: impl Write, status: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    write!(to, "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn begin(mut to: impl Write) -> io::Result<()> {
    to.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
}

fn chunk(mut to: impl Write, data: &str) -> io::Result<()> {
    write!(to, "{:x}\r\n{data}\r\n", data.len())
}

fn list(mut to: impl Write, kind: &str, pods: &Pods, page: Range<u32>, there: u32) -> io::Result<()> {
    begin(&mut to)?;
    let next = if page.end < there { format!(r#","continue":"{}""#, page.end) } else { String::new() };
    let version = format!(r#""resourceVersion":"{VERSION}"{next}"#);
    chunk(&mut to, &format!(r#"{{"kind":"{kind}List","apiVersion":"v1","metadata":{{{version}}},"items":["#))?;
    for number in page.clone() {
        let comma = if number > page.start { "," } else { "" };
        chunk(&mut to, &format!("{comma}{{{}", pods.get(number)))?;
    }
    chunk(&mut to, "]}\n")?;
    chunk(&mut to, "")
}

/// All objects, the word that these were all, and then nothing until the agent goes.
fn watch(stream: &TcpStream, kind: &str, pods: &Pods, first: u32) -> io::Result<()> {
    let mut to = stream;
    begin(to)?;
    let own = r#"{"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1","#;
    for number in 0..first {
        chunk(to, &format!("{own}{}}}\n", pods.get(number)))?;
    }
    let metadata = format!(
        r#"{{"resourceVersion":"{VERSION}","creationTimestamp":null,"annotations":{{"k8s.io/initial-events-end":"true"}}}}"#
    );
    let object = format!(r#"{{"kind":"{kind}","apiVersion":"v1","metadata":{metadata}}}"#);
    chunk(to, &format!("{{\"type\":\"BOOKMARK\",\"object\":{object}}}\n"))?;
    to.flush()?;
    io::copy(&mut &*stream, &mut io::sink()).map(drop)
}

/// Pods as the API server has them, most of each what no reader needs: managed fields, variables,
/// mounts and conditions.
#[derive(Debug)]
struct Pods {
    /// Text between the braces of a pod, with words in capitals where pods differ.
    template: String,
    there: u32,
}

impl Pods {
    fn new(there: u32) -> Self {
        let fields: Map<_, _> = (1..=VARIABLES)
            .map(|number| {
                (format!("k:{{\"name\":\"SETTING_{number}\"}}"), json!({".": {}, "f:name": {}, "f:value": {}}))
            })
            .collect();
        let variables: Vec<_> = (1..=VARIABLES)
            .map(|number| json!({"name": format!("SETTING_{number}"), "value": format!("value of {number}")}))
            .collect();
        let pod = json!({
            "metadata": {
                "name": "workload-WORKLOAD-6c94dcc57b-NUMBER",
                "generateName": "workload-WORKLOAD-6c94dcc57b-",
                "namespace": "namespace-SPACE",
                "uid": "6b1c0e52-0d1c-4c0e-9a55-0000000NUMBER",
                "resourceVersion": VERSION,
                "creationTimestamp": "2026-01-14T09:00:01Z",
                "labels": {"app.kubernetes.io/name": "workload-WORKLOAD", "app.kubernetes.io/part-of": "shop",
                    "pod-template-hash": "6c94dcc57b"},
                "annotations": {"kubectl.kubernetes.io/restartedAt": "2026-01-14T09:00:00Z"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true,
                    "name": "workload-WORKLOAD-6c94dcc57b", "uid": "6b1c0e52-0d1c-4c0e-9a56-000000000WORKLOAD"}],
                "managedFields": [{"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
                    "time": "2026-01-14T09:00:01Z", "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:spec": {"f:containers": {"k:{\"name\":\"main\"}": {"f:env": fields}}}}}],
            },
            "spec": {
                "containers": [{"name": "main", "image": "registry.example.com/shop:1", "env": variables,
                    "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                    "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}}, "volumeMounts": [{"name": "token",
                        "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}],
                "volumes": [{"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}],
                "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "serviceAccountName": "shop", "nodeName": "NODE",
            },
            "status": {
                "phase": "Running", "hostIP": "172.18.0.2", "podIP": "ADDRESS", "podIPs": [{"ip": "ADDRESS"}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-14T09:00:03Z"}],
                "containerStatuses": [{"name": "main", "ready": true, "restartCount": 0, "started": true}],
            },
        });
        let pod = pod.to_string();
        Self { template: pod[1..pod.len() - 1].to_owned(), there }
    }

    /// A pod from its metadata on, and the brace that ends it.
    fn get(&self, number: u32) -> String {
        let node = if number < LOCAL { NODE.to_owned() } else { format!("bench-node-{}", number / LOCAL) };
        let values = [
            ("WORKLOAD", format!("{:03}", number % 200)),
            ("NUMBER", format!("{number:05}")),
            ("SPACE", format!("{:02}", number % 20)),
            ("NODE", node),
            ("ADDRESS", address(number).to_string()),
        ];
        let filled = values.iter().fold(self.template.clone(), |text, (name, value)| text.replace(name, value));
        filled + "}"
    }
}
