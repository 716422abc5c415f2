//! Why the kernel refuses a call to a process that has the capabilities for it.
//!
//! The kernel answers with a number, and many causes have the same. What is around the process
//! distinguishes them: a seccomp filter refuses every call of `bpf`, a security module and lockdown
//! only some, and memory is the cgroup's.

use std::fs;
use std::path::{Path, PathBuf};

use super::sys;
use crate::privileges;

/// The agent does not start with less: kernel maps and the reading of BTF.
const MIN_MEMORY_BYTES: u64 = 48 << 20;

/// From here on it is how cgroups of version 1 write that there is none.
const NO_LIMIT_BYTES: u64 = 1 << 60;

/// What is around this process, as far as it can refuse eBPF.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Surroundings {
    /// The capabilities that this thread lacks.
    missing: Vec<&'static str>,
    /// A call of `bpf` that makes nothing is refused.
    refuses_all: bool,
    /// A seccomp filter is in force.
    filtered: bool,
    /// This is not the first user namespace.
    user_namespace: bool,
    /// The mode of kernel lockdown.
    lockdown: Option<String>,
    /// SELinux enforces; the process's label.
    selinux: Option<String>,
    /// The memory limit of the process's cgroups, in bytes.
    memory_limit: Option<u64>,
}

impl Surroundings {
    pub(super) fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let lockdown = text("/sys/kernel/security/lockdown");
        let enforces = text("/sys/fs/selinux/enforce").trim() == "1";
        Self {
            missing: privileges::missing(),
            refuses_all: matches!(
                sys::look_up_nothing().raw_os_error(),
                Some(libc::EPERM | libc::EACCES | libc::ENOSYS)
            ),
            filtered: text("/proc/thread-self/status")
                .lines()
                .any(|line| line.split_whitespace().eq(["Seccomp:", "2"])),
            user_namespace: is_mapped(&text("/proc/self/uid_map")),
            lockdown: chosen(&lockdown),
            selinux: enforces.then(|| text("/proc/self/attr/current").trim_end_matches(['\0', '\n']).to_owned()),
            memory_limit: memory_limit(),
        }
    }

    /// The most likely cause of an error of a call that makes or loads something; none if nothing
    /// here explains it.
    pub(super) fn cause(&self, error: Option<i32>) -> Option<String> {
        match error? {
            libc::EPERM | libc::EACCES if !self.missing.is_empty() => {
                Some(format!("this process lacks {}", self.missing.join(", ")))
            }
            libc::EPERM | libc::EACCES if self.user_namespace => Some(
                "this process is in a user namespace of its own, in which no capability is enough for eBPF \
                 (Kubernetes: hostUsers: false; rootless containers)"
                    .to_owned(),
            ),
            libc::EPERM | libc::EACCES | libc::ENOSYS if self.refuses_all && self.filtered => Some(
                "the seccomp profile of the container runtime refuses `bpf`, as profiles of before 2022 do without \
                 CAP_SYS_ADMIN (Kubernetes: another securityContext.seccompProfile, Unconfined for one; the chart: \
                 webb.seccompProfile)"
                    .to_owned(),
            ),
            libc::ENOSYS => Some("this kernel has no `bpf` (CONFIG_BPF_SYSCALL)".to_owned()),
            libc::EACCES if self.selinux.is_some() => self.selinux.as_ref().map(|label| {
                format!(
                    "SELinux enforces, and may refuse `bpf` to {label} (Kubernetes: securityContext.seLinuxOptions.type: \
                     spc_t; ausearch -m avc shows what was refused)"
                )
            }),
            libc::EPERM if self.lockdown.as_deref() == Some("confidentiality") => Some(
                "the kernel is in lockdown mode confidentiality, in which no eBPF program may read its memory \
                 (integrity is no hindrance)"
                    .to_owned(),
            ),
            libc::EPERM | libc::EACCES if self.filtered => Some(
                "`bpf` as such is allowed: a security module, or a seccomp filter that looks at its arguments".to_owned(),
            ),
            libc::EPERM | libc::EACCES => Some("a security module (BPF LSM, SELinux, AppArmor)".to_owned()),
            libc::ENOMEM => self.memory_limit.map(limit),
            _ => None,
        }
    }

    /// What is wrong with the memory limit, if it is too low to start.
    pub(super) fn little_memory(&self) -> Option<String> {
        self.memory_limit.filter(|bytes| *bytes < MIN_MEMORY_BYTES).map(limit)
    }

    /// The memory limit in words.
    pub(super) fn memory(&self) -> String {
        self.memory_limit.map_or_else(|| "none".to_owned(), mebibytes)
    }

    /// Sysctls and modes that matter, for people.
    pub(super) fn restrictions(&self) -> String {
        let lockdown = self.lockdown.as_deref().unwrap_or("not known");
        let seccomp = if self.filtered { "a filter" } else { "no filter" };
        let selinux =
            self.selinux.as_ref().map_or("does not enforce".to_owned(), |label| format!("enforces on {label}"));
        let unprivileged = fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled").unwrap_or_default();
        format!(
            "seccomp: {seccomp}; lockdown: {lockdown}; SELinux {selinux}; kernel.unprivileged_bpf_disabled: {}",
            if unprivileged.is_empty() { "not known" } else { unprivileged.trim() },
        )
    }
}

/// The warning about a memory limit that is too low to start, if there is one.
pub fn little_memory() -> Option<String> {
    Surroundings::read().little_memory()
}

fn limit(bytes: u64) -> String {
    format!(
        "the memory limit of this container or service is {}, which counts kernel maps, and webb needs {} at least",
        mebibytes(bytes),
        mebibytes(MIN_MEMORY_BYTES)
    )
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// True if users of this namespace are others outside of it.
fn is_mapped(uid_map: &str) -> bool {
    !uid_map.is_empty() && !uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// `integrity` in `none [integrity] confidentiality`.
fn chosen(modes: &str) -> Option<String> {
    modes.split_whitespace().find_map(|mode| Some(mode.strip_prefix('[')?.strip_suffix(']')?.to_owned()))
}

/// The lowest limit of the cgroups that this process is in.
fn memory_limit() -> Option<u64> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let read = |file| fs::read_to_string(file).ok()?.trim().parse().ok();
    limits(&cgroups).into_iter().filter_map(read).filter(|bytes| *bytes < NO_LIMIT_BYTES).min()
}

/// The files of both versions of cgroups that may have a limit, in the process's group and those
/// around it. `max` is no number, and so no limit.
fn limits(cgroups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in cgroups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|one| one == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let group = Path::new(path.trim_start_matches('/'));
        files.extend(group.ancestors().map(|group| Path::new(root).join(group).join(file)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around() -> Surroundings {
        Surroundings { lockdown: Some("none".to_owned()), ..Surroundings::default() }
    }

    /// One number of the kernel has many causes: each is named by what is around the process.
    #[test]
    fn each_cause_has_its_name() {
        let seccomp = Surroundings { refuses_all: true, filtered: true, ..around() };
        let lockdown = Surroundings { lockdown: Some("confidentiality".to_owned()), ..around() };
        let integrity = Surroundings { lockdown: Some("integrity".to_owned()), ..around() };
        let selinux = Surroundings { selinux: Some("container_t".to_owned()), ..around() };
        let little = Surroundings { memory_limit: Some(24 << 20), ..around() };
        let lacking = Surroundings { missing: vec!["CAP_BPF"], ..seccomp.clone() };
        for (surroundings, error, named) in [
            (&lacking, libc::EPERM, "this process lacks CAP_BPF"),
            (&Surroundings { user_namespace: true, ..around() }, libc::EPERM, "hostUsers"),
            (&seccomp, libc::EPERM, "the seccomp profile of the container runtime refuses `bpf`"),
            (&seccomp, libc::ENOSYS, "the seccomp profile of the container runtime refuses `bpf`"),
            (&around(), libc::ENOSYS, "CONFIG_BPF_SYSCALL"),
            (&Surroundings { filtered: true, ..around() }, libc::EPERM, "looks at its arguments"),
            (&lockdown, libc::EPERM, "lockdown mode confidentiality"),
            (&integrity, libc::EPERM, "a security module"),
            (&selinux, libc::EACCES, "to container_t"),
            (&little, libc::ENOMEM, "is 24 MiB"),
        ] {
            let cause = surroundings.cause(Some(error)).unwrap();
            assert!(cause.contains(named), "{surroundings:?} {error}: {cause}");
        }
        assert_eq!(around().cause(Some(libc::ENOMEM)), None, "no limit explains it");
        assert_eq!(around().cause(Some(libc::EINVAL)), None);
        assert_eq!(around().cause(None), None);
    }

    /// A limit under which the agent cannot start is said before it tries.
    #[test]
    fn a_low_limit_is_said() {
        let with = |mebibytes: u64| Surroundings { memory_limit: Some(mebibytes << 20), ..around() };
        assert!(with(24).little_memory().unwrap().contains("24 MiB"));
        assert_eq!(with(48).little_memory(), None);
        assert_eq!(around().little_memory(), None);
    }

    /// The files of limits are those of both versions, in the group and around it.
    #[test]
    fn limits_are_looked_for() {
        let cgroups = "12:cpu,memory:/kubepods/pod1\n3:pids:/x\n0::/kubepods\n";
        assert_eq!(
            limits(cgroups),
            [
                "/sys/fs/cgroup/memory/kubepods/pod1/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/kubepods/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/kubepods/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
            .map(PathBuf::from)
        );
    }

    /// Modes and maps as the kernel writes them.
    #[test]
    fn files_of_the_kernel() {
        assert_eq!(chosen("none [integrity] confidentiality\n").as_deref(), Some("integrity"));
        assert_eq!(chosen(""), None);
        assert!(is_mapped("         0     100000      65536\n"));
        assert!(!is_mapped("         0          0 4294967295\n") && !is_mapped(""));
    }
}
