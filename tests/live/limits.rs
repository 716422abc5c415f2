//! Limits of the machine and of the configuration: too few threads, a filesystem that does not
//! answer, no room for series. Each is said, and none is a panic.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::Value;

use crate::harness::{Agent, Lab};

fn readyz(agent: &Agent) -> String {
    agent.get("/readyz").map(|answer| answer.body).unwrap_or_default()
}

/// The state of a component in `/readyz`, and its reason.
fn component(agent: &Agent, name: &str) -> (String, String) {
    let json: Value = serde_json::from_str(&readyz(agent)).unwrap_or_default();
    let all = json["components"].as_array().cloned().unwrap_or_default();
    let one = all.into_iter().find(|one| one["name"] == name).unwrap_or_default();
    let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
    (text("state"), text("reason"))
}

/// `/readyz` names a metric whose series are refused and the limit that refuses them, stays 200,
/// and takes it back once none was refused for a while.
#[test]
fn readyz_says_that_series_are_refused() {
    let Some(lab) = Lab::up() else { return };
    let config = lab.file("webb.yaml", "max_series_total: 2\nseries_room_ttl: 1s\nreport_interval: 200ms\n");
    let metrics = "traffic:sourceContext=pod;destinationContext=pod";
    let mut agent = Agent::start_at(&lab, "node", metrics, &["--config", config.to_str().unwrap()]);
    assert_eq!(component(&agent, "aggregator/traffic"), ("up".to_owned(), String::new()));
    agent.wait_until("series are refused, and that is said", |agent| {
        lab.run("tiefighter", "pod land 10.244.1.11:80");
        let (state, reason) = component(agent, "aggregator/traffic");
        state == "degraded" && reason.contains("max_series_total")
    });
    assert_eq!(agent.get("/readyz").unwrap().status, 200);
    agent.wait_until("none was refused for a while", |agent| {
        component(agent, "aggregator/traffic") == ("up".to_owned(), String::new())
    });
}

/// A FUSE filesystem whose server never answers, as a network filesystem whose server is gone.
#[derive(Debug)]
struct HungMount {
    path: PathBuf,
    /// The end of the server, which reads no request.
    _server: File,
}

impl HungMount {
    /// None, said loudly, where this kernel has no FUSE.
    fn mount(lab: &Lab) -> Option<Self> {
        let Ok(server) = OpenOptions::new().read(true).write(true).open("/dev/fuse") else {
            eprintln!(
                "SKIPPED: there is no /dev/fuse; FIFOs in the place of files are tried in attacks::files_that_hang"
            );
            return None;
        };
        let path = lab.dir.path().join("hung");
        fs::create_dir(&path).unwrap();
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0\0", server.as_raw_fd());
        let target = format!("{}\0", path.display());
        // SAFETY: all texts end with a zero byte and live through the call, which only reads them.
        let result = unsafe {
            libc::mount(
                c"webb-test".as_ptr(),
                target.as_ptr().cast(),
                c"fuse".as_ptr(),
                libc::MS_NODEV | libc::MS_NOSUID,
                options.as_ptr().cast(),
            )
        };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        Some(Self { path, _server: server })
    }
}

impl Drop for HungMount {
    fn drop(&mut self) {
        let target = format!("{}\0", self.path.display());
        // SAFETY: the path ends with a zero byte and lives through the call.
        unsafe { libc::umount2(target.as_ptr().cast(), libc::MNT_FORCE | libc::MNT_DETACH) };
    }
}

/// Each followed file comes to lie on a mount that hangs: it is named in `/readyz`, what was read
/// before goes on, signals are heard, and the agent ends when it is asked to.
#[test]
fn files_on_a_hung_mount() {
    let Some(lab) = Lab::up() else { return };
    let Some(hung) = HungMount::mount(&lab) else { return };
    let config = lab.file("webb.yaml", "report_interval: 200ms\nshutdown: { budget: 3s }\n");
    let manifest = lab.file("manifest.yaml", &fs::read_to_string(Lab::manifest()).unwrap());
    let metrics = lab.file("metrics.yaml", "metrics:\n- name: flow\n");
    let [config_path, manifest_path, metrics_path] = [&config, &manifest, &metrics].map(|path| path.to_str().unwrap());
    let mut words = vec!["--node-name", "webb-node-1", "--config", config_path];
    words.extend(["--cluster-manifest", manifest_path, "--metrics-config", metrics_path]);
    let mut agent = Agent::spawn(&lab, "", &words);
    agent.wait_until("it is ready", |agent| agent.get("/readyz").is_some_and(|answer| answer.status == 200));
    for file in [&config, &manifest, &metrics] {
        let name = file.file_name().unwrap().to_str().unwrap();
        let fresh = file.with_extension("link");
        symlink(hung.path.join(name), &fresh).unwrap();
        fs::rename(fresh, file).unwrap();
        agent.signal("HUP");
        agent.wait_until(&format!("{name} is named"), |agent| {
            // The manifest is read by a thread of its own, and the kernel does not let it go.
            let held = file == &manifest && component(agent, "resolver").1.contains("waits in the kernel");
            held || readyz(agent).contains(&format!("{name} does not answer: it could not be read in 5 s"))
        });
    }
    agent.scrape();
    assert_eq!(agent.get("/healthz").unwrap().status, 200);
    agent.signal("TERM");
    assert!(agent.ended().success(), "{}", agent.log());
}

/// A user who may have no more threads: an error that says so, with the exit code for the machine,
/// and no backtrace.
#[test]
fn too_few_threads() {
    let Some(lab) = Lab::up() else { return };
    // The limit counts all processes of a user, and root is exempt: a user of its own.
    let user = 40_000 + std::process::id() % 20_000;
    let caps = "+bpf,+perfmon,+net_admin";
    for threads in [1, 4, 12] {
        let before = format!(
            "setpriv --reuid={user} --regid={user} --clear-groups --inh-caps=-all,{caps} --ambient-caps=-all,{caps} \
             prlimit --nproc={threads}"
        );
        let mut agent = Agent::spawn(&lab, &before, &["--node-name", "webb-node-1"]);
        assert_eq!(agent.ended().code(), Some(69), "{threads}: {}", agent.log());
        let log = agent.log();
        assert!(log.contains("this user may have too few threads") && log.contains("RLIMIT_NPROC"), "{log}");
        assert!(!log.contains("panicked") && log.lines().count() == 1, "{log}");
    }
}
