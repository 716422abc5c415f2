//! A node with one interface behind which so many pods are, in network namespaces of its own, and a
//! manifest that names them and all others of the cluster.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

/// Pods on the node, all behind one interface.
pub(crate) const LOCAL: u32 = 110;

/// The node's name in the manifest.
pub(crate) const NODE: &str = "bench-node-0";

/// The namespaces; gone when dropped.
#[derive(Debug)]
pub(crate) struct Lab {
    name: String,
    dir: TempDir,
}

/// The address of a pod.
pub(crate) fn address(pod: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a40_0001 + pod)
}

/// Does what `make` does in a network namespace: sockets stay where they were made.
pub(crate) fn inside<T: Send>(namespace: &str, make: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let there = scope.spawn(|| {
            let file = File::open(Path::new("/run/netns").join(namespace)).unwrap();
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            make()
        });
        there.join().unwrap()
    })
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(done.success(), "ip {arguments}");
}

/// Many commands of `ip` at once, in a namespace.
fn batch(namespace: &str, commands: &str) {
    let mut child = Command::new("ip").args(["-n", namespace, "-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{commands}");
}

fn set(namespace: &str, key: &str, value: &str) {
    inside(namespace, || fs::write(Path::new("/proc/sys/net").join(key), value).unwrap());
}

fn mac(namespace: &str, device: &str) -> String {
    let path = format!("/sys/class/net/{device}/address");
    let shown = Command::new("ip").args(["netns", "exec", namespace, "cat", &path]).output().unwrap();
    String::from_utf8(shown.stdout).unwrap().trim().to_owned()
}

impl Lab {
    pub(crate) fn up() -> Self {
        let name = std::env::var("LAB").unwrap_or_else(|_| "webb-bench".to_owned());
        let lab = Self { name, dir: tempfile::tempdir().unwrap() };
        let (node, pods) = (lab.node(), lab.pods());
        for namespace in [&node, &pods, &lab.world()] {
            ip(&format!("netns add {namespace}"));
            // No router solicitation, no neighbour discovery: only what is sent is on the wire.
            set(namespace, "ipv6/conf/default/disable_ipv6", "1");
            ip(&format!("-n {namespace} link set lo up"));
        }
        set(&node, "ipv4/ip_forward", "1");
        set(&node, "ipv4/conf/all/rp_filter", "0");
        ip(&format!("-n {node} link add lxc-pods type veth peer name eth0 netns {pods}"));
        // What leaves the node is for a MAC that the other side does not have.
        ip(&format!("-n {node} link add uplink type veth peer name eth0 netns {}", lab.world()));
        batch(&lab.world(), "link set eth0 up\n");
        let mut commands = "link set lxc-pods up\nlink set uplink up\nroute add 169.254.1.1 dev uplink scope link\n\
            neigh add 169.254.1.1 lladdr 02:00:00:00:00:01 dev uplink nud permanent\n\
            route add default via 169.254.1.1 dev uplink\n"
            .to_owned();
        let near = mac(&pods, "eth0");
        for pod in (0..LOCAL).map(address) {
            writeln!(commands, "neigh add {pod} lladdr {near} dev lxc-pods nud permanent").unwrap();
            writeln!(commands, "route add {pod} dev lxc-pods scope link").unwrap();
        }
        batch(&node, &commands);
        let far = mac(&node, "lxc-pods");
        let mut commands = format!(
            "link set eth0 up\nneigh add 169.254.1.1 lladdr {far} dev eth0 nud permanent\n\
             route add 169.254.1.1 dev eth0 scope link\nroute add default via 169.254.1.1 dev eth0\n"
        );
        for pod in (0..LOCAL).map(address) {
            writeln!(commands, "addr add {pod}/32 dev eth0").unwrap();
        }
        batch(&pods, &commands);
        lab
    }

    /// The node's namespace.
    pub(crate) fn node(&self) -> String {
        format!("{}-node", self.name)
    }

    /// The namespace that all pods of the node share.
    pub(crate) fn pods(&self) -> String {
        format!("{}-pods", self.name)
    }

    /// The namespace behind the node.
    fn world(&self) -> String {
        format!("{}-world", self.name)
    }

    /// A place for files.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes what `kubectl get pods -o json` would show of a cluster with so many pods: 20
    /// namespaces, 100 pods a workload, [`LOCAL`] pods on this node.
    pub(crate) fn manifest(&self, pods: u32) -> PathBuf {
        let path = self.file(&format!("{pods}-pods.json"));
        if path.exists() {
            return path;
        }
        let mut file = BufWriter::new(File::create(&path).unwrap());
        writeln!(file, "{{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[").unwrap();
        for namespace in 0..20 {
            let name = format!("namespace-{namespace:02}");
            writeln!(
                file,
                "{{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{{\"name\":\"{name}\",\
                 \"labels\":{{\"kubernetes.io/metadata.name\":\"{name}\"}}}}}},"
            )
            .unwrap();
        }
        for pod in 0..pods {
            let end = if pod + 1 == pods { "" } else { "," };
            writeln!(file, "{}{end}", object(pod)).unwrap();
        }
        writeln!(file, "]}}").unwrap();
        file.flush().unwrap();
        path
    }
}

fn object(pod: u32) -> String {
    let (namespace, workload, address) = (pod % 20, pod % 200, address(pod));
    let node = if pod < LOCAL { NODE.to_owned() } else { format!("bench-node-{}", pod / LOCAL) };
    format!(
        "{{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{{\"name\":\"workload-{workload:03}-6c94dcc57b-{pod:05}\",\
         \"generateName\":\"workload-{workload:03}-6c94dcc57b-\",\"namespace\":\"namespace-{namespace:02}\",\
         \"uid\":\"6b1c0e52-0d1c-4c0e-9a55-{pod:012}\",\"creationTimestamp\":\"2026-01-14T09:00:01Z\",\
         \"labels\":{{\"app.kubernetes.io/name\":\"workload-{workload:03}\",\"app.kubernetes.io/part-of\":\"shop\",\
         \"pod-template-hash\":\"6c94dcc57b\"}},\
         \"ownerReferences\":[{{\"apiVersion\":\"apps/v1\",\"kind\":\"ReplicaSet\",\
         \"name\":\"workload-{workload:03}-6c94dcc57b\",\"uid\":\"6b1c0e52-0d1c-4c0e-9a56-{workload:012}\",\
         \"controller\":true,\"blockOwnerDeletion\":true}}]}},\
         \"spec\":{{\"nodeName\":\"{node}\",\"containers\":[{{\"name\":\"main\",\"image\":\"registry.example.com/shop:1\",\
         \"ports\":[{{\"name\":\"http\",\"containerPort\":8080,\"protocol\":\"TCP\"}}]}}]}},\
         \"status\":{{\"phase\":\"Running\",\"conditions\":[{{\"type\":\"Ready\",\"status\":\"True\"}}],\
         \"hostIP\":\"172.18.0.2\",\"podIP\":\"{address}\",\"podIPs\":[{{\"ip\":\"{address}\"}}]}}}}"
    )
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [self.node(), self.pods(), self.world()] {
            let _gone = Command::new("ip").args(["netns", "del", &namespace]).status();
        }
    }
}
