//! Layer 7 policy: Cilium's proxies enforce it, and webb enforces nothing.

use crate::families::{Absent, Category};

/// The category, which has no families.
pub static CATEGORY: Category = Category {
    title: "L7 policy",
    families: &[],
    absent: &[
        Absent { name: "cilium_proxy_redirects", reason: "webb redirects no connection to a proxy" },
        Absent {
            name: "cilium_proxy_upstream_reply_seconds",
            reason: "the time in Cilium's proxy; the metrics `httpV2` and `dnsLatency` have what packets say",
        },
        Absent { name: "cilium_proxy_datapath_update_timeout_total", reason: "there is no proxy" },
        Absent { name: "cilium_policy_l7_total", reason: "there is no proxy that could forward or deny a request" },
        Absent { name: "cilium_xds_events_count", reason: "there is no Envoy" },
        Absent { name: "cilium_ciliumenvoyconfig_controller_duration_seconds", reason: "there is no Envoy" },
    ],
};
