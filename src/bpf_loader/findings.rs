//! What this kernel and these privileges allow, for `webb probe`: cheap looks that leave nothing behind.

use std::fs;
use std::path::Path;

use aya::maps::MapType;
use aya::programs::ProgramType;
use aya::sys::{is_map_supported, is_program_supported};
use caps::{CapSet, Capability};

use super::btf::{KERNEL_BTF, Types};
use super::object::kernel_release;

/// How well something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// As it should be.
    Ok,
    /// webb works, with less.
    Degraded,
    /// webb cannot work without.
    Missing,
}

impl Standing {
    /// As `webb probe` prints it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Missing => "missing",
        }
    }
}

/// One line of `webb probe`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub subject: &'static str,
    /// How it stands.
    pub standing: Standing,
    /// Why, for a person.
    pub why: String,
}

/// The subject of the finding about capabilities.
pub const PRIVILEGES: &str = "privileges";

fn finding(subject: &'static str, standing: Standing, why: impl Into<String>) -> Finding {
    Finding { subject, standing, why: why.into() }
}

/// The capabilities that the programs need, in the order of their use.
const NEEDED: [(Capability, &str); 3] = [
    (Capability::CAP_BPF, "CAP_BPF"),
    (Capability::CAP_PERFMON, "CAP_PERFMON"),
    (Capability::CAP_NET_ADMIN, "CAP_NET_ADMIN"),
];

fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

/// The needed capabilities that this process lacks. `CAP_SYS_ADMIN` stands in for the first two, as in the kernel.
pub(super) fn missing_capabilities() -> Vec<&'static str> {
    let admin = has(Capability::CAP_SYS_ADMIN);
    let lacks = |capability: Capability| !(has(capability) || (admin && capability != Capability::CAP_NET_ADMIN));
    NEEDED.into_iter().filter(|(capability, _)| lacks(*capability)).map(|(_, name)| name).collect()
}

/// True from that kernel version on.
pub(super) fn kernel_at_least(major: u32, minor: u32) -> bool {
    version(&kernel_release()).is_some_and(|version| version >= (major, minor))
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Everything that decides whether and how well webb works here.
pub fn findings() -> Vec<Finding> {
    vec![
        capabilities(),
        kernel(),
        btf(),
        jit(),
        ring(),
        classifier(),
        attachment(),
        drops(),
        sweep(),
        membarrier(),
        memlock(),
        bpffs(),
        statistics(),
    ]
}

fn capabilities() -> Finding {
    let missing = missing_capabilities();
    if missing.is_empty() {
        finding(PRIVILEGES, Standing::Ok, "CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, or root")
    } else {
        finding(PRIVILEGES, Standing::Missing, format!("this process lacks {}", missing.join(", ")))
    }
}

fn kernel() -> Finding {
    let release = kernel_release();
    if kernel_at_least(5, 13) {
        finding("kernel", Standing::Ok, release)
    } else {
        finding("kernel", Standing::Missing, format!("{release}; Linux 5.13 or later is needed"))
    }
}

fn btf() -> Finding {
    match fs::metadata(KERNEL_BTF) {
        Ok(file) => finding("kernel types (BTF)", Standing::Ok, format!("{KERNEL_BTF}, {} KiB", file.len() / 1024)),
        Err(error) => finding(
            "kernel types (BTF)",
            Standing::Missing,
            format!("{KERNEL_BTF}: {error}; the kernel needs CONFIG_DEBUG_INFO_BTF, a container needs /sys mounted"),
        ),
    }
}

fn sysctl(path: &str) -> Option<String> {
    fs::read_to_string(Path::new("/proc/sys").join(path)).ok().map(|text| text.trim().to_owned())
}

fn jit() -> Finding {
    match sysctl("net/core/bpf_jit_enable").as_deref() {
        Some("0") => finding(
            "JIT compiler",
            Standing::Degraded,
            "net.core.bpf_jit_enable is 0: programs are interpreted, several times slower",
        ),
        Some(_) => finding("JIT compiler", Standing::Ok, "on"),
        // The sysctl belongs to the first network namespace, or the kernel has the JIT always on.
        None => finding("JIT compiler", Standing::Ok, "net.core.bpf_jit_enable is not visible here; on by default"),
    }
}

fn ring() -> Finding {
    match is_map_supported(MapType::RingBuf) {
        Ok(true) => finding("ring buffer", Standing::Ok, "map type ringbuf"),
        Ok(false) => finding("ring buffer", Standing::Missing, "no map type ringbuf (Linux 5.8)"),
        Err(error) => finding("ring buffer", Standing::Missing, super::error::chain(&error)),
    }
}

fn classifier() -> Finding {
    match is_program_supported(ProgramType::SchedClassifier) {
        Ok(true) => finding("packet programs", Standing::Ok, "program type sched_cls"),
        Ok(false) => finding("packet programs", Standing::Missing, "no program type sched_cls"),
        Err(error) => finding("packet programs", Standing::Missing, super::error::chain(&error)),
    }
}

fn attachment() -> Finding {
    if kernel_at_least(6, 6) {
        finding("attachment", Standing::Ok, "TCX, first in the chain")
    } else {
        finding(
            "attachment",
            Standing::Degraded,
            "no TCX before Linux 6.6; clsact filters, which a killed agent leaves behind",
        )
    }
}

fn drops() -> Finding {
    let subject = "drop reasons";
    let reasons = fs::read(KERNEL_BTF).ok().and_then(|data| {
        let types = Types::new(&data).ok()?;
        types.enumerators("skb_drop_reason").ok().map(|reasons| reasons.len())
    });
    super::sys::release_memory();
    match reasons {
        Some(0) => {
            finding(subject, Standing::Degraded, "kfree_skb gives no reason before Linux 5.17; drops are not seen")
        }
        Some(count) => finding(subject, Standing::Ok, format!("tp_btf/kfree_skb, {count} reasons in BTF")),
        None => finding(subject, Standing::Degraded, "not readable; drops are not seen"),
    }
}

fn sweep() -> Finding {
    // bpf_for_each_map_elem; asking the verifier for a helper needs a program per helper, the version says the same.
    if kernel_at_least(5, 13) {
        finding("table sweep", Standing::Ok, "bpf_for_each_map_elem")
    } else {
        finding("table sweep", Standing::Missing, "no bpf_for_each_map_elem before Linux 5.13")
    }
}

fn membarrier() -> Finding {
    if super::sys::has_global_membarrier() {
        finding("grace periods", Standing::Ok, "membarrier")
    } else {
        finding(
            "grace periods",
            Standing::Degraded,
            "membarrier is refused (nohz_full, or a seccomp profile): a pause of 100 ms stands in for it",
        )
    }
}

fn memlock() -> Finding {
    if kernel_at_least(5, 11) {
        return finding("locked memory", Standing::Ok, "map memory is charged to the cgroup");
    }
    match super::sys::locked_memory_limit() {
        None => finding("locked memory", Standing::Ok, "unlimited"),
        Some(bytes) => finding(
            "locked memory",
            Standing::Degraded,
            format!(
                "RLIMIT_MEMLOCK is {bytes} bytes; before Linux 5.11 maps count against it (systemd: LimitMEMLOCK=infinity)"
            ),
        ),
    }
}

fn bpffs() -> Finding {
    let mounted = fs::read_to_string("/proc/self/mounts")
        .unwrap_or_default()
        .lines()
        .any(|line| line.split(' ').nth(2) == Some("bpf"));
    let why =
        if mounted { "mounted, not needed: nothing is pinned" } else { "not mounted, not needed: nothing is pinned" };
    finding("bpffs", Standing::Ok, why)
}

fn statistics() -> Finding {
    match sysctl("kernel/bpf_stats_enabled").as_deref() {
        Some("1") => finding(
            "run statistics",
            Standing::Ok,
            "kernel.bpf_stats_enabled is 1: time per run is counted, at some 20 ns a run",
        ),
        _ => finding("run statistics", Standing::Ok, "off; kernel.bpf_stats_enabled=1 shows what the programs cost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distributions append what they like to the version.
    #[test]
    fn releases_are_read() {
        assert_eq!(version("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(version("5.15.0-1050-aws"), Some((5, 15)));
        assert_eq!(version("6.6"), Some((6, 6)));
        assert_eq!(version("odd"), None);
    }

    /// `webb probe` must answer on any machine, with or without privileges.
    #[test]
    fn every_finding_says_why() {
        for finding in findings() {
            assert!(!finding.why.is_empty(), "{finding:?}");
        }
    }
}
