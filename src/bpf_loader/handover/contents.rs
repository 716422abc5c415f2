//! The contents of a set of pins: every map of the objects must be there, and be one of theirs. A
//! set is named by the layouts of its maps, but its pins can be removed or replaced one by one.

use std::path::Path;

use aya::maps::MapInfo;
use aya_obj::{EbpfSectionKind, Object};

use super::super::error::chain;
use super::super::object::{DROP_OBJECT, ENTRY_OBJECT, flow_object, map_sizes};
use super::super::settings::ProgramSettings;

/// Type, size of a key, size of a value, and maximal number of entries of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

/// Verifies that all maps of the objects are pinned in a directory. `drops`: with those of the drop
/// object. The error names the map.
pub(super) fn verify(maps: &Path, settings: &ProgramSettings, drops: bool) -> Result<(), String> {
    for (name, expected) in expected(settings, drops)? {
        let info = MapInfo::from_pin(maps.join(&name))
            .map_err(|error| format!("map {name} cannot be opened: {}", chain(&error)))?;
        let map_type = info.map_type().map_err(|error| format!("the pin of map {name} is no map: {error}"))?;
        let found = Shape {
            map_type: map_type as u32,
            key_size: info.key_size(),
            value_size: info.value_size(),
            max_entries: info.max_entries(),
        };
        if found != expected {
            return Err(format!("map {name} is another one: {found:?} instead of {expected:?}"));
        }
    }
    Ok(())
}

/// The maps of the objects as they are made with these settings.
fn expected(settings: &ProgramSettings, drops: bool) -> Result<Vec<(String, Shape)>, String> {
    let flow = flow_object(settings.layer7.is_some(), settings.connections);
    let sizes = map_sizes(settings);
    let mut maps = Vec::new();
    for object in [Some(flow), drops.then_some(DROP_OBJECT), Some(ENTRY_OBJECT)].into_iter().flatten() {
        let object = Object::parse(object).map_err(|error| format!("an object cannot be read: {error}"))?;
        for (name, map) in object.maps {
            // The others are the constants of the programs, which are not pinned.
            if map.section_kind() != EbpfSectionKind::BtfMaps {
                continue;
            }
            let size = sizes.iter().find(|(sized, _)| *sized == name).map(|(_, size)| *size);
            let shape = Shape {
                map_type: map.map_type(),
                key_size: map.key_size(),
                value_size: map.value_size(),
                max_entries: size.unwrap_or(map.max_entries()),
            };
            maps.push((name, shape));
        }
    }
    // The error is about the same map each time.
    maps.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(maps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf_loader::Layer7Settings;

    /// The maps are those of the objects that are loaded, with the sizes of the settings.
    #[test]
    fn expected_maps() {
        let plain = ProgramSettings { flow_ring_bytes: 70_000, ..ProgramSettings::default() };
        let layer7 = ProgramSettings { layer7: Some(Layer7Settings::default()), ..plain };
        let of = |settings: &ProgramSettings, drops, name: &str| {
            expected(settings, drops).unwrap().into_iter().find(|(found, _)| found == name).map(|(_, shape)| shape)
        };
        // Type 27 is a ring.
        let ring = Shape { map_type: 27, key_size: 0, value_size: 0, max_entries: 131_072 };
        assert_eq!(of(&plain, false, "flow_events"), Some(ring));
        for (drops, settings, name) in [(true, &plain, "drop_totals"), (false, &layer7, "l7_events")] {
            assert!(of(settings, drops, name).is_some(), "{name}");
            assert_eq!(of(&plain, false, name), None);
        }
        for name in ["totals", "connections", "drop_slot"] {
            assert!(of(&plain, false, name).is_some(), "{name}");
        }
        assert!(expected(&layer7, true).unwrap().iter().all(|(name, _)| !name.contains('.')));
    }
}
