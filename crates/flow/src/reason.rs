//! Drop reasons: the running kernel's reason, under Hubble's name where an equivalent one exists.
//!
//! The kernel's `enum skb_drop_reason` moves between versions, so numbers are resolved by *name*,
//! read from the running kernel's BTF. Only a few names have an equivalent in Hubble's `DropReason`
//! (see the mapping in [`hubble_name`]); every other keeps the kernel's own name. `POLICY_DENIED`
//! is given by the decoder alone, and only where a NetworkPolicy forbids the flow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use hashbrown::HashMap;

use crate::hash::RandomState;
use crate::sym::Sym;

/// The `reason` label of a drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Reason(pub Sym);

impl Reason {
    /// No reason: the packet was not dropped.
    pub const NONE: Self = Self(Sym::EMPTY);
}

/// One row of [`Reasons`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    reason: Reason,
    may_be_policy: bool,
}

/// The running kernel's drop reasons by number, plus the reasons that webb itself gives.
#[derive(Debug, Clone)]
pub struct Reasons {
    by_number: Vec<Row>,
    /// Those of subsystems, which have the subsystem's number in their upper half.
    of_subsystems: HashMap<u32, Row, RandomState>,
    /// Set by a reason of a subsystem that is not named.
    missed: Arc<AtomicBool>,
    unknown: Reason,
    policy_denied: Reason,
    policy_deny: Reason,
}

/// Hubble's name for a kernel reason, where it means the same; the kernel's own otherwise.
fn hubble_name(kernel: &str) -> &str {
    match kernel {
        "IP_OUTNOROUTES" | "IP_INNOROUTES" => "FIB_LOOKUP_FAILED",
        "IP_INHDR" | "IP_CSUM" | "TCP_CSUM" | "UDP_CSUM" | "ICMP_CSUM" | "SKB_CSUM" | "PKT_TOO_SMALL" => {
            "INVALID_PACKET_DROPPED"
        }
        "UNHANDLED_PROTO" => "UNSUPPORTED_L3_PROTOCOL",
        "IP_NOPROTO" => "UNKNOWN_L4_PROTOCOL",
        own => own,
    }
}

/// True for the reasons that an enforcer of NetworkPolicies gives: nftables and iptables, tc, XDP
/// and cgroup programs, and Open vSwitch, where a rule that drops has no action at all or, since
/// 3.3, the action to drop.
fn may_be_policy(kernel: &str) -> bool {
    matches!(
        kernel,
        "NETFILTER_DROP"
            | "BPF_CGROUP_EGRESS"
            | "TC_INGRESS"
            | "TC_EGRESS"
            | "XDP"
            | "SOCKET_FILTER"
            | "OVS_DROP_LAST_ACTION"
            | "OVS_DROP_EXPLICIT"
    )
}

impl Reasons {
    /// Table of reasons from the enumerators of the kernel's `enum skb_drop_reason`, without their
    /// `SKB_DROP_REASON_` (or older `SKB_`) prefix, and of its subsystems' enums, as they are.
    pub fn new<'a>(enumerators: impl IntoIterator<Item = (u32, &'a str)>) -> Self {
        let unknown = Reason(Sym::new("DROP_REASON_UNKNOWN"));
        let (mut by_number, mut of_subsystems) = (Vec::new(), HashMap::default());
        for (number, name) in enumerators {
            let row = Row { reason: Reason(Sym::new(hubble_name(name))), may_be_policy: may_be_policy(name) };
            let at = number as usize;
            if number >> 16 != 0 {
                of_subsystems.insert(number, row);
            }
            if at >= 4096 {
                continue;
            }
            if by_number.len() <= at {
                by_number.resize(at + 1, Row { reason: unknown, may_be_policy: false });
            }
            if let Some(place) = by_number.get_mut(at) {
                *place = row;
            }
        }
        let [policy_denied, policy_deny] = ["POLICY_DENIED", "POLICY_DENY"].map(|name| Reason(Sym::new(name)));
        Self { by_number, of_subsystems, missed: Arc::default(), unknown, policy_denied, policy_deny }
    }

    fn row(&self, number: u32) -> Option<&Row> {
        if number >> 16 == 0 { self.by_number.get(number as usize) } else { self.of_subsystems.get(&number) }
    }

    /// The reason of a kernel number; `DROP_REASON_UNKNOWN` for one that BTF did not name.
    pub fn get(&self, number: u32) -> Reason {
        if let Some(row) = self.row(number) {
            return row.reason;
        }
        if number >> 16 != 0 {
            self.missed.store(true, Relaxed);
        }
        self.unknown
    }

    /// True once after reasons of a subsystem that are not named, of this or of a clone: its module
    /// may have been loaded since they were read.
    pub fn take_missed(&self) -> bool {
        self.missed.swap(false, Relaxed)
    }

    /// True if an enforcer of NetworkPolicies drops packets under this number.
    pub fn may_be_policy(&self, number: u32) -> bool {
        self.row(number).is_some_and(|row| row.may_be_policy)
    }

    /// `POLICY_DENIED`: no rule allows it.
    pub fn policy_denied(&self) -> Reason {
        self.policy_denied
    }

    /// `POLICY_DENY`: a rule forbids it.
    pub fn policy_deny(&self) -> Reason {
        self.policy_deny
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Subsystems number their reasons above 65,535 and name them by enums of their own; one that
    /// is not named is missed, once.
    #[test]
    fn subsystems_have_their_own() {
        let (last, meter) = (2 << 16 | 1, 2 << 16 | 5);
        let reasons = Reasons::new([(2, "NOT_SPECIFIED"), (last, "OVS_DROP_LAST_ACTION"), (meter, "OVS_DROP_METER")]);
        assert_eq!(&*reasons.get(last).0.text(), "OVS_DROP_LAST_ACTION");
        assert_eq!((reasons.may_be_policy(last), reasons.may_be_policy(meter)), (true, false));
        assert_eq!(&*reasons.get(500).0.text(), "DROP_REASON_UNKNOWN");
        assert!(!reasons.take_missed(), "no subsystem's");
        assert_eq!(&*reasons.clone().get(1 << 16 | 1).0.text(), "DROP_REASON_UNKNOWN");
        assert_eq!([reasons.take_missed(), reasons.take_missed()], [true, false]);
    }

    /// A kernel name without an equivalent must show through unchanged, and numbers must not be
    /// assumed.
    #[test]
    fn names_come_from_the_kernel() {
        let reasons = Reasons::new([(2, "NOT_SPECIFIED"), (8, "NETFILTER_DROP"), (30, "IP_OUTNOROUTES")]);
        assert_eq!(&*reasons.get(2).0.text(), "NOT_SPECIFIED");
        assert_eq!(&*reasons.get(30).0.text(), "FIB_LOOKUP_FAILED");
        assert_eq!(&*reasons.get(3).0.text(), "DROP_REASON_UNKNOWN");
        assert_eq!(&*reasons.get(70_000).0.text(), "DROP_REASON_UNKNOWN");
        assert!(reasons.may_be_policy(8));
        assert!(!reasons.may_be_policy(2));
    }
}
