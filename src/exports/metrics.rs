//! The metrics of exporters that Hubble has, under its names. Webb's own are in `selfmetrics`.

use webb_metrics::expose::FamilyType;

use crate::families::Def;

/// Exporters of the file by whether they write.
pub const EXPORTERS: Def = Def {
    name: "hubble_dynamic_exporter_exporters_total",
    help: "Exporters of export.config: active, or inactive since their end time has come",
    kind: FamilyType::Gauge,
    labels: &["status"],
};

/// Each exporter of the file.
pub const UP: Def = Def {
    name: "hubble_dynamic_exporter_up",
    help: "1 while an exporter of export.config is active, 0 once its end time has come",
    kind: FamilyType::Gauge,
    labels: &["name"],
};

/// Changes of exporters.
pub const RECONFIGURATIONS: Def = Def {
    name: "hubble_dynamic_exporter_reconfigurations_total",
    help: "Changes of exporters by export.config: add, update, remove, or failure",
    kind: FamilyType::Counter,
    labels: &["op"],
};

/// The file's content.
pub const CONFIG_HASH: Def = Def {
    name: "hubble_dynamic_exporter_config_hash",
    help: "Hash of the content of export.config that was last applied",
    kind: FamilyType::Gauge,
    labels: &[],
};

/// The time of the last change.
pub const CONFIG_LAST_APPLIED: Def = Def {
    name: "hubble_dynamic_exporter_config_last_applied",
    help: "When export.config was last applied, in seconds since 1970",
    kind: FamilyType::Gauge,
    labels: &[],
};

/// All of them.
pub const ALL: [&Def; 5] = [&EXPORTERS, &UP, &RECONFIGURATIONS, &CONFIG_HASH, &CONFIG_LAST_APPLIED];
