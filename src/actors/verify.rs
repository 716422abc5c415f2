//! Whether the programs still see what they were attached for: whether they are where they were attached, and whether
//! packets reach pods past them.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::keeper::Failure;
use super::probes::{Seen, Watch};
use crate::bpf_loader::Attached;
use crate::network::{self, Interface, Role};

/// So many connections of which one side is seen are no accident of starting in their midst.
const PAST_THE_HOOK: u64 = 8;

/// How long after the last of them that is still said.
const RECENT: Duration = Duration::from_mins(10);

impl Watch {
    /// Verifies that every program is where it was attached, and attaches it again where it is not.
    pub(super) async fn verify(&self, watch: &network::Watch, seen: &mut Seen) -> Result<(), Failure> {
        let attached = self.probes().attachments();
        if attached.is_empty() {
            return Ok(());
        }
        let packets = watch.packets().await?;
        for attached in attached {
            let counted = packets.get(&attached.index).copied().unwrap_or(0);
            if self.is_intact(watch, &attached).await? {
                seen.gaps.intact(attached.index, counted);
            } else if let Some(interface) = seen.known.get(&attached.index).cloned() {
                self.mend(&interface, attached.role, counted, seen);
            }
        }
        Ok(())
    }

    async fn is_intact(&self, watch: &network::Watch, attached: &Attached) -> Result<bool, Failure> {
        if attached.by_filters {
            let filters = watch.filters(attached.index).await?;
            Ok(attached.is_in(&filters.ingress, &filters.egress))
        } else {
            Ok(attached.is_in_chain()?)
        }
    }

    fn mend(&self, interface: &Interface, role: Role, counted: u64, seen: &mut Seen) {
        let result = {
            let mut probes = self.probes();
            probes.abandon(interface.index);
            probes.attach(interface, role)
        };
        match result {
            Ok(()) => {
                let missed = seen.gaps.mended(interface.index, &interface.name, counted, Instant::now());
                self.gaps.fetch_add(1, Relaxed);
                self.gap_packets.fetch_add(missed, Relaxed);
                tracing::warn!(
                    interface = %interface.name,
                    missed,
                    "something else had removed the programs; they are attached again, and so many packets at most were not seen"
                );
            }
            Err(error) if error.is_vanished() => {}
            Err(error) => self.judge(interface.index, Err(error), seen),
        }
    }

    /// Says if packets reach pods past the programs.
    pub(super) fn past_the_hook(&self, seen: &mut Seen, now: Instant) -> Option<String> {
        let count = self.one_sided.count();
        if count != seen.one_sided.0 {
            seen.one_sided = (count, now);
        }
        if count < PAST_THE_HOOK || now.saturating_duration_since(seen.one_sided.1) > RECENT {
            return None;
        }
        let names: Vec<&str> = self
            .one_sided
            .interfaces()
            .filter_map(|index| seen.known.get(&index).map(|interface| interface.name.as_str()))
            .collect();
        let text = format!(
            "packets reach pods past the programs ({} among others): the network plugin redirects them into the pods \
             (bpf_redirect_peer, as host routing in eBPF does), so what pods receive is not counted",
            names.join(", "),
        );
        if !std::mem::replace(&mut seen.past_the_hook_said, true) {
            tracing::warn!("{text}");
        }
        Some(text)
    }
}
