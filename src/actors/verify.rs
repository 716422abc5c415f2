//! Verifies the programs: that they are still attached in their places, that no packets reach pods
//! past them, and that none count twice.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::gaps::Reason;
use super::probes::{InterfaceState, ProbeReconciler};
use super::thread_supervisor::Failure;
use crate::bpf_loader::{Attached, HookPosition};
use crate::network::{self, Interface, Role};

/// Number of one-sided connections that is no accident of a start in their midst.
const MIN_ONE_SIDED_RECORDS: u64 = 8;

/// Time that an observation stays reported after the last one.
const REPORTED_FOR: Duration = Duration::from_mins(10);

impl ProbeReconciler {
    /// Verifies that every program is where it was attached and first there, and attaches it again
    /// where it is not.
    pub(super) async fn verify(&self, watch: &network::NetworkWatch, seen: &mut InterfaceState) -> Result<(), Failure> {
        let attached = self.probes().attachments();
        if attached.is_empty() {
            return Ok(());
        }
        let packets = watch.packets().await?;
        for attached in attached {
            let Some(interface) = seen.known.get(&attached.index).cloned() else { continue };
            let counted = packets.get(&attached.index).copied();
            let reason = match self.place(watch, &attached).await? {
                HookPosition::First => {
                    self.intact(&interface, counted, seen);
                    continue;
                }
                HookPosition::Behind => Reason::Displaced,
                HookPosition::Absent => Reason::Removed,
            };
            if seen.gaps.broken(interface.index, &interface.name, reason) {
                self.gaps.add_gap(reason);
                tracing::warn!(interface = %interface.name, "{}", reason.text());
            }
            let (mended, counted) = if seen.gaps.may_mend(interface.index, reason, Instant::now()) {
                (self.mend(&interface, attached.role, seen), watch.packets_of(interface.index).await?)
            } else {
                (false, counted)
            };
            let missed = seen.gaps.passed(interface.index, counted, mended);
            self.gaps.add_packets(reason, missed.unwrap_or(0));
        }
        Ok(())
    }

    async fn place(&self, watch: &network::NetworkWatch, attached: &Attached) -> Result<HookPosition, Failure> {
        if attached.by_filters {
            let filters = watch.filters(attached.index).await?;
            Ok(attached.place_among_filters(&filters.ingress, &filters.egress)?)
        } else {
            match attached.place_in_chains() {
                // Without CAP_NET_ADMIN the links are left to ask, which know nothing of others.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    Ok(self.probes().place_by_links(attached.index)?)
                }
                place => Ok(place?),
            }
        }
    }

    fn intact(&self, interface: &Interface, counted: Option<u64>, seen: &mut InterfaceState) {
        let Some((gap, missed)) = seen.gaps.intact(interface.index, counted, Instant::now()) else { return };
        self.gaps.add_packets(gap.reason, missed);
        let at_most = if gap.unknown { "not known".to_owned() } else { gap.packets.to_string() };
        tracing::info!(
            interface = %interface.name,
            at_most,
            "the programs are in their places again; so many packets at most were not seen"
        );
    }

    /// True if the programs are attached again.
    fn mend(&self, interface: &Interface, role: Role, seen: &mut InterfaceState) -> bool {
        let result = {
            let mut probes = self.probes();
            probes.abandon(interface.index);
            probes.attach(interface, role)
        };
        match result {
            Ok(()) => {
                // They are the plain ones, and whether they have stayed is to be known soon.
                seen.schedule.soon(Instant::now());
                seen.gaps.soon(Instant::now());
                true
            }
            Err(error) if error.is_vanished() => false,
            Err(error) => {
                self.judge(interface.index, Err(error), seen);
                false
            }
        }
    }

    /// Message about packets that reach pods past the programs; none if there are none.
    pub(super) fn past_the_hook(&self, seen: &mut InterfaceState, now: Instant) -> Option<String> {
        let count = self.one_sided.count();
        if count != seen.one_sided.0 {
            seen.one_sided = (count, now);
        }
        if count < MIN_ONE_SIDED_RECORDS || now.saturating_duration_since(seen.one_sided.1) > REPORTED_FOR {
            return None;
        }
        let names: Vec<&str> = self
            .one_sided
            .interfaces()
            .filter_map(|index| seen.known.get(&index).map(|interface| interface.name.as_str()))
            .collect();
        let text = format!(
            "of TCP connections only what the pod sends is seen ({} among others): the network plugin redirects what it \
             receives past the programs (bpf_redirect_peer, as host routing in eBPF does), which is then not counted, \
             or the pod sends segments of connections that do not exist",
            names.join(", "),
        );
        if !std::mem::replace(&mut seen.past_the_hook_said, true) {
            tracing::warn!("{text}");
        }
        Some(text)
    }

    /// Logs a warning about devices of the node that count packets twice: once plain, once
    /// encapsulated.
    pub(super) fn warn_of_doubles(&self, seen: &mut InterfaceState) {
        let node: Vec<u32> =
            self.probes().attached().filter(|(_, _, role)| *role == Role::Node).map(|(index, _, _)| index).collect();
        let devices: Vec<&Interface> = node.iter().filter_map(|index| seen.known.get(index)).collect();
        let doubles = network::selection::doubles(&devices).map(|(upper, lower)| (upper.to_owned(), lower.to_owned()));
        if doubles != seen.doubles {
            if let Some((upper, lower)) = &doubles {
                tracing::warn!(
                    "interfaces.node has both {upper} and {lower}, by which its packets leave: such a packet counts twice"
                );
            }
            seen.doubles = doubles;
        }
    }
}
