//! [`Features`]: what the running kernel can do, found by asking it.
//!
//! Never by its version: distributions backport (RHEL 9 calls itself 5.14 and has much of 6.x), and
//! configurations leave things out. Each question loads, creates or queries something small and
//! leaves nothing behind; drop reasons are found in BTF. What only a real program can show, its
//! loading shows.

use std::fs;

use aya::maps::MapType;
use aya::programs::{ProgramType, SchedClassifier, TcAttachType};
use aya::sys::{is_map_supported, is_program_supported};

use super::btf::{KERNEL_BTF, Types};
use super::error::{explained, os_error};
use super::sys;

/// The enum that `skb:kfree_skb` gives its reasons by.
pub(super) const DROP_REASONS: &str = "skb_drop_reason";

/// Names of the features that need drops with reasons.
pub(super) const NEEDS_DROPS: &str = "hubble_drop_total, hubble_policy_verdicts_total{action=\"dropped\"} and flows with the verdict DROPPED are not counted";

/// A feature of the kernel, or the reason for its absence or for a failed check.
pub(super) type Support = Result<(), String>;

/// Features of the running kernel.
#[derive(Debug, Clone)]
pub(super) struct Features {
    /// Programs of type `sched_cls`.
    pub(super) classifier: Support,
    /// Maps of type `ringbuf`.
    pub(super) ring: Support,
    /// Atomic instructions that return the old value.
    pub(super) atomics: Support,
    /// Attaching by TCX.
    pub(super) tcx: Support,
    /// Number of drop reasons in the kernel's BTF, or the error of reading them.
    pub(super) drop_reasons: Result<usize, String>,
}

impl Features {
    /// Checks each feature of the kernel. Takes some milliseconds.
    pub(super) fn find() -> Self {
        Self { classifier: classifier(), ring: ring(), atomics: atomics(), tcx: tcx(), drop_reasons: drop_reasons() }
    }

    /// Required features that are missing.
    pub(super) fn missing(&self) -> Vec<&str> {
        [&self.classifier, &self.ring, &self.atomics]
            .into_iter()
            .filter_map(|answer| answer.as_ref().err().map(String::as_str))
            .collect()
    }
}

fn classifier() -> Support {
    match is_program_supported(ProgramType::SchedClassifier) {
        Ok(true) => Ok(()),
        Ok(false) => Err("no programs of type sched_cls".to_owned()),
        Err(error) => Err(explained(&error)),
    }
}

fn ring() -> Support {
    match is_map_supported(MapType::RingBuf) {
        Ok(true) => Ok(()),
        Ok(false) => Err("no maps of type ringbuf (upstream since Linux 5.8)".to_owned()),
        Err(error) => Err(explained(&error)),
    }
}

fn atomics() -> Support {
    /// r0 = 0; *(u64 *)(r10 - 8) = r0; r1 = 1; r1 = atomic_fetch_add((u64 *)(r10 - 8), r1); r0 = 0;
    /// exit
    const PROGRAM: [sys::Instruction; 6] = [
        sys::Instruction { code: 0xb7, registers: 0x00, offset: 0, immediate: 0 },
        sys::Instruction { code: 0x7b, registers: 0x0a, offset: -8, immediate: 0 },
        sys::Instruction { code: 0xb7, registers: 0x01, offset: 0, immediate: 1 },
        sys::Instruction { code: 0xdb, registers: 0x1a, offset: -8, immediate: 1 },
        sys::Instruction { code: 0xb7, registers: 0x00, offset: 0, immediate: 0 },
        sys::Instruction { code: 0x95, registers: 0x00, offset: 0, immediate: 0 },
    ];
    match sys::try_classifier(&PROGRAM) {
        Ok(()) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            Err("no BPF atomics that return the old value (upstream since Linux 5.12)".to_owned())
        }
        Err(error) => Err(format!("trying BPF atomics: {}", explained(&error))),
    }
}

/// Every network namespace has `lo`.
pub(super) fn tcx() -> Support {
    match SchedClassifier::query_tcx("lo", TcAttachType::Ingress) {
        Err(error) if os_error(&error) == Some(libc::EINVAL) => Err("no TCX (upstream since Linux 6.6)".to_owned()),
        // An error about the programs that are there already comes from a kernel that knows the
        // question.
        Ok(_) | Err(_) => Ok(()),
    }
}

fn drop_reasons() -> Result<usize, String> {
    let data = fs::read(KERNEL_BTF).map_err(|error| format!("{KERNEL_BTF}: {error}"))?;
    reasons_in(&data)
}

fn reasons_in(btf: &[u8]) -> Result<usize, String> {
    let reasons = Types::new(btf).and_then(|types| types.enumerators(DROP_REASONS));
    match reasons.map(|reasons| reasons.len()) {
        Ok(0) => Err(format!(
            "no enum {DROP_REASONS} in the kernel's BTF: kfree_skb gives no reason (upstream since Linux 5.17)"
        )),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{KERNEL_BTF}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features() -> Features {
        Features {
            classifier: Ok(()),
            ring: Ok(()),
            atomics: Ok(()),
            tcx: Err("no TCX".to_owned()),
            drop_reasons: Err("none".to_owned()),
        }
    }

    /// A kernel without TCX or drop reasons is worked with; one without atomics is refused, by
    /// name.
    #[test]
    fn only_what_is_needed_is_missing() {
        let mut features = features();
        assert_eq!(features.missing(), [""; 0]);
        features.atomics = Err("no BPF atomics".to_owned());
        assert_eq!(features.missing(), ["no BPF atomics"]);
    }

    /// Damaged BTF is no reason to promise drops.
    #[test]
    fn unreadable_btf_has_no_reasons() {
        assert!(reasons_in(&[]).unwrap_err().contains("truncated"));
    }
}
