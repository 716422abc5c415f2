//! The settings in the loader's terms.

use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::bpf_loader::{self, Selection, Timeouts};
use crate::settings;

/// What the eBPF programs are made with.
pub(super) fn settings(settings: &settings::Settings) -> bpf_loader::Settings {
    let connections = &settings.connections;
    bpf_loader::Settings {
        every_packet: settings.aggregation == settings::Aggregation::None,
        report_interval: settings.report_interval,
        table_entries: connections.entries,
        flow_ring_bytes: settings.rings.flow_bytes,
        drop_ring_bytes: settings.rings.drop_bytes,
        drop_budget: settings.drop_budget,
        timeouts: Timeouts {
            tcp: connections.tcp_idle,
            closed: connections.closing_idle,
            half_open: connections.half_open_idle,
            other: connections.other_idle,
            ..Timeouts::default()
        },
        attach: match settings.interfaces.attach {
            settings::Attach::Auto => bpf_loader::Attach::Auto,
            settings::Attach::Tcx => bpf_loader::Attach::Tcx,
            settings::Attach::Clsact => bpf_loader::Attach::Clsact,
        },
    }
}

/// Which interfaces are watched, and as what.
pub(super) fn selection(interfaces: &settings::Interfaces) -> Selection {
    Selection {
        pods: match &interfaces.pods {
            settings::Pods::Auto => bpf_loader::Pods::Veths,
            settings::Pods::Globs(list) => bpf_loader::Pods::Globs(globs(list)),
        },
        node_devices: globs(&interfaces.node),
    }
}

/// The settings have checked each glob; one that passed there and fails here would match nothing, and be logged.
fn globs(list: &[String]) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for glob in list {
        match Glob::new(glob) {
            Ok(glob) => drop(set.add(glob)),
            Err(error) => tracing::error!("{error}; this glob matches nothing"),
        }
    }
    set.build().unwrap_or_else(|error| {
        tracing::error!("{error}; these globs match nothing");
        GlobSet::empty()
    })
}
