//! Counts terminating endpoints.

use std::sync::atomic::Ordering::Relaxed;

use super::Cache;

impl Cache {
    /// Number of terminating endpoints in all EndpointSlices that were applied: each counts as
    /// often as its slice comes, as in Cilium.
    pub fn terminating_endpoints(&self) -> u64 {
        self.store.terminating.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CacheSettings, parse};

    /// Every terminating endpoint counts with each event of its slice; one without conditions, or
    /// with the condition not set, is none.
    #[test]
    fn terminating_endpoints_count_with_each_event() {
        let cache = Cache::new(CacheSettings::default());
        let slice = |conditions: &str| {
            let text = format!(
                "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: s}}, addressType: IPv4, \
                 endpoints: [{{addresses: [10.0.0.1], conditions: {conditions}}}, {{addresses: [10.0.0.2]}}, \
                 {{addresses: [10.0.0.3], conditions: {{ready: false, terminating: true}}}}]}}"
            );
            for object in parse("test", &text).unwrap().objects {
                cache.upsert(object);
            }
            cache.terminating_endpoints()
        };
        assert_eq!(slice("{ready: true, terminating: false}"), 1);
        assert_eq!(slice("{terminating: true}"), 3);
        assert_eq!(slice("{terminating: true}"), 5);
        assert_eq!(slice("{}"), 6);
    }
}
