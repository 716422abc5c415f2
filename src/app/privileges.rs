//! What the running agent may do, for the log and `/metrics`.

use crate::privileges::{BPF, NET_ADMIN, PERFMON, Privileges, held};
use crate::selfmetrics::{PRIVILEGES_HELD, SelfMetrics};

/// Logs what is left once the programs are loaded.
pub(super) fn say(privileges: Privileges) {
    for more in privileges.more() {
        tracing::warn!("{more}");
    }
    match held() {
        Ok(held) => tracing::info!(held = held.join(" "), "capabilities are lowered"),
        Err(error) => tracing::warn!("which capabilities are held cannot be read: {error}"),
    }
    for off in privileges.off() {
        tracing::info!("privileges.least: {off}");
    }
}

/// A row for each capability that the programs need, and for each other one that is held.
pub(super) fn metrics(metrics: &SelfMetrics) -> Result<(), prometheus::Error> {
    metrics.add(
        &[&PRIVILEGES_HELD],
        Box::new(|rows| {
            // Without /proc it is not known, and no row says that nothing is held.
            let Ok(held) = held() else { return };
            for needed in [NET_ADMIN, PERFMON, BPF] {
                rows.add(&PRIVILEGES_HELD, &[needed], u64::from(held.iter().any(|name| name == needed)));
            }
            for other in held.iter().filter(|name| ![NET_ADMIN, PERFMON, BPF].contains(&name.as_str())) {
                rows.add(&PRIVILEGES_HELD, &[other], 1);
            }
        }),
    )
}
