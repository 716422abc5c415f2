//! A cgroup with a limit of memory and of CPU, of version 2 or, where controllers are there, 1.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where cgroups are mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// The period of the CPU limit in microseconds.
const PERIOD_US: u64 = 100_000;

/// A cgroup; removed when dropped, by when nothing may be in it.
#[derive(Debug)]
pub(crate) struct Cgroup {
    memory: PathBuf,
    cpu: PathBuf,
    second: bool,
}

fn write(directory: &Path, name: &str, value: &str) {
    let file = directory.join(name);
    fs::write(&file, value).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

impl Cgroup {
    /// Makes it, with so many bytes and hundredths of a core.
    pub(crate) fn new(name: &str, bytes: u64, percent: u64) -> Self {
        let controllers = fs::read_to_string(Path::new(ROOT).join("cgroup.controllers")).unwrap_or_default();
        let second = controllers.contains("memory") && controllers.contains("cpu");
        let place = |controller: &str| Path::new(ROOT).join(if second { "" } else { controller }).join(name);
        let cgroup = Self { memory: place("memory"), cpu: place("cpu"), second };
        if second {
            write(Path::new(ROOT), "cgroup.subtree_control", "+memory +cpu");
        }
        for directory in [&cgroup.memory, &cgroup.cpu] {
            fs::create_dir_all(directory).unwrap();
        }
        let quota = percent * PERIOD_US / 100;
        if second {
            write(&cgroup.memory, "memory.max", &bytes.to_string());
            write(&cgroup.cpu, "cpu.max", &format!("{quota} {PERIOD_US}"));
        } else {
            write(&cgroup.memory, "memory.limit_in_bytes", &bytes.to_string());
            write(&cgroup.cpu, "cpu.cfs_period_us", &PERIOD_US.to_string());
            write(&cgroup.cpu, "cpu.cfs_quota_us", &quota.to_string());
        }
        cgroup
    }

    /// Shell words by which a process enters it before it becomes the program behind them.
    pub(crate) fn enter(&self) -> [String; 4] {
        let enter = |directory: &Path| format!("echo $$ >{}/cgroup.procs; ", directory.display());
        let script = format!("{}{}exec \"$@\"", enter(&self.memory), enter(&self.cpu));
        ["sh".to_owned(), "-c".to_owned(), script, "sh".to_owned()]
    }

    /// The most memory that it had, in megabytes.
    pub(crate) fn peak_megabytes(&self) -> f64 {
        let name = if self.second { "memory.peak" } else { "memory.max_usage_in_bytes" };
        let bytes = fs::read_to_string(self.memory.join(name)).unwrap_or_default();
        bytes.trim().parse::<f64>().unwrap_or(0.0) / f64::from(1 << 20)
    }

    /// Processes that the kernel has killed in it for want of memory.
    pub(crate) fn kills(&self) -> u64 {
        let name = if self.second { "memory.events" } else { "memory.oom_control" };
        let text = fs::read_to_string(self.memory.join(name)).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What was in it may take a moment to be gone.
        for directory in [&self.memory, &self.cpu] {
            for _ in 0..50 {
                if fs::remove_dir(directory).is_ok() || !directory.exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}
