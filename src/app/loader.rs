//! The settings in the loader's terms.

use globset::{Glob, GlobSet, GlobSetBuilder};
use webb_settings as settings;

use crate::network::{Pods, Selection};

/// Selection of the interfaces to watch, with their roles.
pub(super) fn selection(interfaces: &settings::Interfaces) -> Selection {
    Selection {
        pods: match &interfaces.pods {
            settings::Pods::Auto => Pods::Auto,
            settings::Pods::Globs(list) => Pods::Globs(globs(list)),
        },
        node_devices: globs(&interfaces.node),
    }
}

/// The settings have checked each glob; one that passed there and fails here would match nothing,
/// and be logged.
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
