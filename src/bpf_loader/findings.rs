//! Findings about this kernel and these privileges for `webb probe`: the trials leave nothing
//! behind.

use std::fs;
use std::path::Path;

use super::btf::KERNEL_BTF;
use super::cause::Surroundings;
use super::features::{Features, NEEDS_DROPS, Support};
use super::object::{CONNECTIONS, DROP, LAYER_7, RETRANSMITS, SENDING, SENT, Trial, kernel_release, try_programs};
use super::settings::ProgramSettings;
use crate::privileges;

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingState {
    /// Fine.
    Ok,
    /// webb works, with less.
    Degraded,
    /// webb cannot work without.
    Missing,
    /// Not tried: this process lacks a capability for that.
    Untried,
}

impl FindingState {
    /// Word in the output of `webb probe`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Missing => "missing",
            Self::Untried => "untried",
        }
    }
}

/// One line of `webb probe`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Subject of the check.
    pub subject: &'static str,
    /// Severity of the finding.
    pub state: FindingState,
    /// Readable explanation.
    pub why: String,
}

/// The subject of the finding about capabilities.
pub const PRIVILEGES: &str = "privileges";

fn finding(subject: &'static str, state: FindingState, why: impl Into<String>) -> Finding {
    Finding { subject, state, why: why.into() }
}

/// Ways to get the capabilities that this process lacks, `missing`.
///
/// A container that is granted capabilities and runs as a user other than root has them in its
/// bounding set only: a program gets them by its file's capabilities, or by the ambient set, which
/// Kubernetes cannot fill.
pub(super) fn advice(missing: &[&str]) -> String {
    advice_for(missing, privileges::granted(), rustix::process::geteuid().as_raw())
}

fn advice_for(missing: &[&str], granted: bool, user: u32) -> String {
    if granted && user != 0 {
        return format!(
            "they may be granted to this container or service, but user {user} gets none of them: run as user 0, or give \
             the binary file capabilities (setcap cap_bpf,cap_perfmon,cap_net_admin+p; systemd: AmbientCapabilities)"
        );
    }
    let short: Vec<&str> = missing.iter().map(|name| name.strip_prefix("CAP_").unwrap_or(name)).collect();
    format!(
        "run as root, or grant {} (systemd: AmbientCapabilities={}; Kubernetes: securityContext.capabilities.add: [{}])",
        listed(missing),
        missing.join(" "),
        short.join(", "),
    )
}

/// `a`, `a and b`, `a, b and c`.
fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [others @ .., last] => format!("{} and {last}", others.join(", ")),
    }
}

/// Everything that decides whether and how well webb works here. Each program is loaded for it, and
/// unloaded.
pub fn findings() -> Vec<Finding> {
    let features = Features::find();
    let missing = privileges::missing();
    let mut findings =
        vec![capabilities(&missing), finding("kernel", FindingState::Ok, kernel_release()), btf(), jit()];
    findings.extend(asked(&features, &missing));
    findings.extend(around(&Surroundings::read()));
    findings.extend([bpffs(), statistics()]);
    // Where something is missing already, the verifier would say it again, and less clearly.
    if findings.iter().all(|finding| finding.state != FindingState::Missing) {
        findings.extend(programs(&features));
    }
    findings
}

/// Findings that need a trial on the kernel. The outcome for a process without the capability for
/// it proves nothing.
fn asked(features: &Features, missing: &[&str]) -> Vec<Finding> {
    const LOADING: &[&str] = &["CAP_BPF", "CAP_NET_ADMIN"];
    let ask = |subject, needs: &[&str], answered: Finding| {
        let lacking: Vec<&str> = needs.iter().copied().filter(|name| missing.contains(name)).collect();
        if lacking.is_empty() {
            return answered;
        }
        let names = listed(&lacking);
        finding(
            subject,
            FindingState::Untried,
            format!("this process lacks {names}; grant {names}, and run the probe again"),
        )
    };
    let needed = |subject, needs: &[&str], answer: &Support, has| {
        let answered = match answer {
            Ok(()) => finding(subject, FindingState::Ok, has),
            Err(why) => finding(subject, FindingState::Missing, why.as_str()),
        };
        ask(subject, needs, answered)
    };
    vec![
        needed("ring buffer", &["CAP_BPF"], &features.ring, "map type ringbuf"),
        needed("packet programs", LOADING, &features.classifier, "program type sched_cls"),
        needed("atomics", LOADING, &features.atomics, "BPF atomics that return the old value"),
        ask("attachment", &["CAP_NET_ADMIN"], attachment(features)),
        drops(features),
    ]
}

/// A line for each program, which is loaded and unloaded.
fn programs(features: &Features) -> Vec<Finding> {
    let trials = match try_programs(&ProgramSettings::default(), features) {
        Ok(trials) => trials,
        Err(error) => return vec![finding("programs", FindingState::Missing, error.to_string())],
    };
    let line = |(name, result): Trial| {
        let (state, why) = match result {
            Ok(Some(count)) => (FindingState::Ok, format!("loads; the verifier went through {count} instructions")),
            Ok(None) => (FindingState::Ok, "loads".to_owned()),
            Err(error) if [SENDING, SENT].contains(&name) => {
                (FindingState::Degraded, format!("{error}; what is dropped on the way out of a device counts as sent"))
            }
            Err(error) if name == LAYER_7 => (FindingState::Degraded, format!("{error}; DNS and HTTP are not seen")),
            Err(error) if name == CONNECTIONS => {
                (FindingState::Degraded, format!("{error}; connections are not measured"))
            }
            Err(error) if name == RETRANSMITS => {
                (FindingState::Degraded, format!("{error}; webb_tcp_retransmitted_segments_total is absent"))
            }
            Err(error) if name == DROP => (FindingState::Degraded, format!("{error}; {NEEDS_DROPS}")),
            Err(error) => (FindingState::Missing, error.to_string()),
        };
        finding(name, state, why)
    };
    trials.into_iter().map(line).collect()
}

/// What can refuse eBPF to a process that has the capabilities for it.
fn around(surroundings: &Surroundings) -> [Finding; 2] {
    let memory = match surroundings.little_memory() {
        Some(why) => finding("memory limit", FindingState::Degraded, why),
        None => finding("memory limit", FindingState::Ok, surroundings.memory()),
    };
    [finding("restrictions", FindingState::Ok, surroundings.restrictions()), memory]
}

fn capabilities(missing: &[&str]) -> Finding {
    if missing.is_empty() {
        finding(PRIVILEGES, FindingState::Ok, "CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, or root")
    } else {
        let why = format!("this process lacks {}; {}", listed(missing), advice(missing));
        finding(PRIVILEGES, FindingState::Missing, why)
    }
}

fn btf() -> Finding {
    match fs::metadata(KERNEL_BTF) {
        Ok(file) => finding("kernel types (BTF)", FindingState::Ok, format!("{KERNEL_BTF}, {} KiB", file.len() / 1024)),
        Err(error) => finding(
            "kernel types (BTF)",
            FindingState::Missing,
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
            FindingState::Degraded,
            "net.core.bpf_jit_enable is 0: programs are interpreted, several times slower",
        ),
        Some(_) => finding("JIT compiler", FindingState::Ok, "on"),
        // The sysctl belongs to the first network namespace, or the kernel has the JIT always on.
        None => finding("JIT compiler", FindingState::Ok, "net.core.bpf_jit_enable is not visible here; on by default"),
    }
}

fn attachment(features: &Features) -> Finding {
    match &features.tcx {
        Ok(()) => finding("attachment", FindingState::Ok, "TCX, first in the chain"),
        Err(why) => finding(
            "attachment",
            FindingState::Degraded,
            format!("{why}; clsact filters instead, which a killed agent leaves behind"),
        ),
    }
}

fn drops(features: &Features) -> Finding {
    match &features.drop_reasons {
        Ok(count) => finding("drop reasons", FindingState::Ok, format!("tp_btf/kfree_skb, {count} reasons in BTF")),
        Err(why) => finding("drop reasons", FindingState::Degraded, format!("{why}; {NEEDS_DROPS}")),
    }
}

fn bpffs() -> Finding {
    let mounted = fs::read_to_string("/proc/self/mounts")
        .unwrap_or_default()
        .lines()
        .any(|line| line.split(' ').nth(2) == Some("bpf"));
    let why = if mounted { "mounted" } else { "not mounted" };
    finding("bpffs", FindingState::Ok, format!("{why}; needed for `handover` only"))
}

fn statistics() -> Finding {
    match sysctl("kernel/bpf_stats_enabled").as_deref() {
        Some("1") => finding(
            "run statistics",
            FindingState::Ok,
            "kernel.bpf_stats_enabled is 1: time per run is counted, at some 20 ns a run",
        ),
        _ => {
            finding("run statistics", FindingState::Ok, "off; kernel.bpf_stats_enabled=1 shows what the programs cost")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The advice does not ask for capabilities that are granted already; else it names the missing
    /// ones, spelled as in a grant.
    #[test]
    fn advice_fits_the_case() {
        let all = ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"];
        let granted = advice_for(&all, true, 65532);
        assert!(granted.contains("user 65532") && granted.contains("setcap"));
        for (granted, user) in [(false, 65532), (false, 0), (true, 0)] {
            assert_eq!(
                advice_for(&all, granted, user),
                "run as root, or grant CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN \
                 (systemd: AmbientCapabilities=CAP_BPF CAP_PERFMON CAP_NET_ADMIN; \
                 Kubernetes: securityContext.capabilities.add: [BPF, PERFMON, NET_ADMIN])"
            );
        }
        assert!(advice_for(&all[..1], false, 0).contains("grant CAP_BPF (systemd: AmbientCapabilities=CAP_BPF;"));
    }

    /// A check that lacks privileges is reported neither as missing nor as fine: the line names the
    /// missing capability and the grant.
    #[test]
    fn what_cannot_be_tried_says_what_to_grant() {
        let refused = || Err("Operation not permitted".to_owned());
        let features = Features {
            classifier: refused(),
            ring: refused(),
            atomics: refused(),
            // An error is taken for a kernel that knows the question.
            tcx: Ok(()),
            drop_reasons: Ok(99),
        };
        let lines = |missing: &[&str]| -> Vec<(&'static str, &'static str, String)> {
            asked(&features, missing)
                .into_iter()
                .map(|finding| (finding.subject, finding.state.label(), finding.why))
                .collect()
        };
        let both =
            "this process lacks CAP_BPF and CAP_NET_ADMIN; grant CAP_BPF and CAP_NET_ADMIN, and run the probe again";
        let admin = "this process lacks CAP_NET_ADMIN; grant CAP_NET_ADMIN, and run the probe again";
        let bpf = "this process lacks CAP_BPF; grant CAP_BPF, and run the probe again";
        let expected = [
            ("ring buffer", "untried", bpf),
            ("packet programs", "untried", both),
            ("atomics", "untried", both),
            ("attachment", "untried", admin),
            ("drop reasons", "ok", "tp_btf/kfree_skb, 99 reasons in BTF"),
        ];
        assert_eq!(
            lines(&["CAP_BPF", "CAP_NET_ADMIN"]),
            expected.map(|(name, state, why)| (name, state, why.to_owned()))
        );
        let found = lines(&["CAP_PERFMON"]);
        assert_eq!(found[0], ("ring buffer", "missing", "Operation not permitted".to_owned()), "nothing lacks for it");
        assert_eq!(found[3].1, "ok");
    }

    /// `webb probe` must answer on any machine, with or without privileges.
    #[test]
    fn every_finding_says_why() {
        for finding in findings() {
            assert!(!finding.why.is_empty(), "{finding:?}");
        }
    }
}
