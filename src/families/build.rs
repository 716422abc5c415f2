//! The row of the running build, which both endpoints have.

use super::{Family, SelectedRows};

/// Adds the row of a family with the labels `version`, `revision` and `arch`.
pub fn build_row(rows: &mut SelectedRows<'_>, family: &Family) {
    let revision = option_env!("BUILD_REVISION").unwrap_or("unknown");
    rows.add(family, &[env!("CARGO_PKG_VERSION"), revision, architecture()], 0);
}

/// Architecture by the name that Go has for it, as Cilium's images.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
