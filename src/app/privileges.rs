//! What the running agent may do, for the log and `/metrics`.

use std::sync::Arc;

use crate::privileges::{BPF, Confinement, NET_ADMIN, PERFMON, Privileges, held};
use crate::selfmetrics::{PRIVILEGES_HELD, PRIVILEGES_RESTRICTED, SelfMetrics};

/// Logs what is left once the programs are loaded.
pub(super) fn say(privileges: Privileges, confinement: &Confinement) {
    for more in privileges.more() {
        tracing::warn!("{more}");
    }
    match held() {
        Ok(held) => tracing::info!(held = held.join(" "), "capabilities are lowered"),
        Err(error) => tracing::warn!("which capabilities are held cannot be read: {error}"),
    }
    match confinement.landlock() {
        Ok(extent) => tracing::info!("Landlock is in force, {extent}; /readyz lists what may be read"),
        Err(reason) => tracing::info!("Landlock is not in force: {reason}"),
    }
    say_out_of_reach(confinement);
    match confinement.seccomp() {
        Some(Ok(extent)) => tracing::info!("the seccomp filter is in force: {extent}"),
        Some(Err(reason)) => tracing::info!("the seccomp filter is not in force: {reason}"),
        None => {}
    }
    for off in privileges.off() {
        tracing::info!("privileges.least: {off}");
    }
}

/// Warns of what the configuration names and Landlock refuses.
pub(super) fn say_out_of_reach(confinement: &Confinement) {
    let missing = confinement.out_of_reach().iter().map(|(path, why)| format!("{} ({why})", path.display()));
    let missing: Vec<String> = missing.collect();
    if !missing.is_empty() {
        tracing::warn!("Landlock refuses until webb is started again what could not be opened: {}", missing.join(", "));
    }
}

/// A row for each capability that the programs need, and for each other one that is held; one for
/// each restriction.
pub(super) fn metrics(metrics: &SelfMetrics, confinement: Arc<Confinement>) -> Result<(), prometheus::Error> {
    metrics.add(
        &[&PRIVILEGES_RESTRICTED],
        Box::new(move |rows| {
            let in_force = [
                ("landlock", confinement.landlock().is_ok()),
                ("seccomp", confinement.seccomp().is_some_and(Result::is_ok)),
            ];
            for (restriction, in_force) in in_force {
                rows.add(&PRIVILEGES_RESTRICTED, &[restriction], u64::from(in_force));
            }
        }),
    )?;
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
