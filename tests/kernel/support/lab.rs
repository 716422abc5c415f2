//! Network namespaces for tests with real packets: a host's, in which the test runs, and a pod's.

use std::collections::HashMap;
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use webb::bpf_loader::ProgramSettings;
use webb::network::{Interface, NetworkEvent, NetworkWatch};

use super::load;

pub(crate) fn run(line: &str) -> String {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().expect(line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A host namespace, in which the test's thread lives, and a pod's; both are deleted when it is
/// dropped.
pub(crate) struct Lab {
    pub(crate) host: String,
    pub(crate) pod: String,
}

impl Lab {
    /// `name` keeps tests that run at once apart.
    pub(crate) fn run(name: &str, test: impl FnOnce(&Lab) + Send) {
        // Skips, or fails in CI, before anything is made.
        if load(&ProgramSettings::default()).is_none() {
            return;
        }
        let id = std::process::id();
        let lab = Lab { host: format!("webb-{id}-{name}-h"), pod: format!("webb-{id}-{name}-p") };
        run(&format!("ip netns add {}", lab.host));
        run(&format!("ip netns add {}", lab.pod));
        let lab = &lab;
        // A thread of its own: entering a namespace is for life.
        std::thread::scope(|scope| {
            let done = scope.spawn(move || {
                let path = format!("/var/run/netns/{}", lab.host);
                let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
                move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network)).unwrap();
                for setting in ["net/ipv6/conf/all/disable_ipv6", "net/ipv6/conf/default/disable_ipv6"] {
                    std::fs::write(format!("/proc/sys/{setting}"), "1").unwrap();
                }
                run("ip link set lo up");
                test(lab);
            });
            if let Err(panic) = done.join() {
                std::panic::resume_unwind(panic);
            }
        });
    }

    /// A veth to the pod, with 10.9.1.1 on the host's side and 10.9.1.2 on the pod's.
    pub(crate) fn connect(&self, name: &str) -> Interface {
        let pod = &self.pod;
        run(&format!(
            "ip netns exec {pod} sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1"
        ));
        run(&format!("ip link add {name} type veth peer name eth0 netns {pod}"));
        run(&format!("ip addr add 10.9.1.1/24 dev {name}"));
        run(&format!("ip link set {name} up"));
        run(&format!("ip -n {pod} addr add 10.9.1.2/24 dev eth0"));
        run(&format!("ip -n {pod} link set eth0 up"));
        interfaces().remove(name).expect("it was just made")
    }

    pub(crate) fn in_pod(&self, line: &str) -> String {
        run(&format!("ip netns exec {} {line}", self.pod))
    }
}

impl Lab {
    /// A script of bash's.
    pub(crate) fn in_pod_bash(&self, script: &str) {
        let output = Command::new("ip").args(["netns", "exec", &self.pod, "bash", "-c", script]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [&self.host, &self.pod] {
            let _gone = Command::new("ip").args(["netns", "del", namespace]).output();
        }
    }
}

/// The interfaces of this thread's namespace, by name, as the watch tells them.
pub(crate) fn interfaces() -> HashMap<String, Interface> {
    runtime().block_on(async {
        let mut watch = NetworkWatch::new().await.unwrap();
        let mut found = HashMap::new();
        // Everything that is there comes first; `lo` always is.
        while let Ok(change) = tokio::time::timeout(std::time::Duration::from_millis(100), watch.next()).await {
            if let NetworkEvent::Present(interface) = change.unwrap() {
                found.insert(interface.name.clone(), interface);
            }
        }
        found
    })
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Counters of the interface itself: packets and bytes received and sent.
pub(crate) fn counters(name: &str) -> [u64; 4] {
    let text = run(&format!("ip -j -s link show {name}"));
    let link: serde_json::Value = serde_json::from_str(&text).unwrap();
    let count = |way: &str, what: &str| link[0]["stats64"][way][what].as_u64().unwrap();
    [count("rx", "packets"), count("rx", "bytes"), count("tx", "packets"), count("tx", "bytes")]
}
