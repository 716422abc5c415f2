//! [`Mark`]: the name of a set of pins, which says what can be taken over. Two processes with one
//! mark agree on every byte of the maps.

use std::fmt;

use super::super::btf::{BtfError, Types};
use super::super::btf_maps::section;
use super::super::object::{DROP_OBJECT, ENTRY_OBJECT, FLOW_ALL_OBJECT, network_namespace};
use super::super::settings::{Constants, ProgramSettings, ring_bytes};

/// Version of the meaning of the maps' bytes. To be raised when it changes while their layouts do
/// not: the bits of a lane, the hash, the states of a slot (`bpf/include/table.h`, `hash.h`,
/// `quality.h`).
const MEANING: u32 = 3;

/// Two hashes: of the maps' layouts, and of the settings that a map cannot change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) layouts: u64,
    settings: u64,
}

impl Mark {
    /// The mark of this program with these settings.
    pub(super) fn new(settings: &ProgramSettings) -> Result<Self, BtfError> {
        let mut layouts = format!("{MEANING} {}\n", webb_flow::abi::VERSION);
        for object in [FLOW_ALL_OBJECT, DROP_OBJECT, ENTRY_OBJECT] {
            let btf = section(object).ok_or(BtfError::Truncated(0))?;
            layouts.push_str(&Types::new(btf)?.map_layouts()?);
        }
        Ok(Self { layouts: hash(&layouts), settings: hash(&of_settings(settings)) })
    }

    /// The mark with that name; none if it is no name of one.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (layouts, settings) = name.split_once('-')?;
        let number = |text: &str| {
            let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase());
            if text.len() == 16 && hexadecimal { u64::from_str_radix(text, 16).ok() } else { None }
        };
        Some(Self { layouts: number(layouts)?, settings: number(settings)? })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}", self.layouts, self.settings)
    }
}

/// What the size and the content of the maps depend on beside their layouts.
fn of_settings(settings: &ProgramSettings) -> String {
    let constants = Constants::new(settings);
    format!(
        "buckets {} flow ring {} drop ring {} layer 7 {:?} connections {} report interval {} tick {} unit {} namespace {}",
        constants.buckets,
        constants.flow_ring_bytes,
        constants.drop_ring_bytes,
        settings.layer7.map(|layer7| ring_bytes(layer7.ring_bytes)),
        // With them entries have their details from the first packet on.
        settings.connections,
        constants.report_interval,
        constants.tick_ns,
        constants.stamp_shift,
        // Interfaces are known by their numbers, which belong to a network namespace.
        network_namespace(),
    )
}

/// FNV-1a: the same in every build, which the standard library's hashes do not promise.
pub(super) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A setting that is part of a map makes another mark; one that every program brings along does
    /// not, or each change of a timeout would begin the ledger anew.
    #[test]
    fn settings_of_maps_make_another_mark() {
        let plain = ProgramSettings::default();
        let mark = |settings: ProgramSettings| Mark::new(&settings).unwrap();
        assert_eq!(mark(plain), mark(plain));
        let (drop_budget, timeouts) =
            (7, crate::bpf_loader::Timeouts { tcp: std::time::Duration::from_secs(7), ..plain.timeouts });
        assert_eq!(mark(plain), mark(ProgramSettings { drop_budget, timeouts, every_packet: true, ..plain }));
        for other in [
            ProgramSettings { table_bytes: plain.table_bytes * 2, ..plain },
            ProgramSettings { flow_ring_bytes: plain.flow_ring_bytes * 2, ..plain },
            ProgramSettings { drop_ring_bytes: plain.drop_ring_bytes * 2, ..plain },
            ProgramSettings { report_interval: plain.report_interval * 2, ..plain },
            ProgramSettings { connections: true, ..plain },
            ProgramSettings { layer7: Some(crate::bpf_loader::Layer7Settings::default()), ..plain },
        ] {
            assert_ne!(mark(other).settings, mark(plain).settings, "{other:?}");
            assert_eq!(mark(other).layouts, mark(plain).layouts, "{other:?}");
        }
    }

    /// The name is read back, and nothing else is taken for one: what has such a name is removed.
    #[test]
    fn names_of_marks() {
        let mark = Mark::new(&ProgramSettings::default()).unwrap();
        assert_eq!(Mark::parse(&mark.to_string()), Some(mark));
        for other in [
            "",
            "tc",
            "maps-links",
            "0123456789abcdef",
            "0123456789abcdeF-0123456789abcdef",
            "+123456789abcdef-0123456789abcdef",
        ] {
            assert_eq!(Mark::parse(other), None, "{other}");
        }
    }

    /// The meaning of the maps' bytes is in these headers. Where this fails: if a table that a
    /// process of before has filled is not the same to the new code, raise [`MEANING`]; then take
    /// over the new numbers.
    #[test]
    fn the_meaning_has_a_version() {
        let code = |text: &str| -> String {
            let parts = text.split("/*").map(|part| part.split_once("*/").map_or(part, |(_, after)| after));
            parts.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let text = [
            include_str!("../../../bpf/include/table.h"),
            include_str!("../../../bpf/include/hash.h"),
            include_str!("../../../bpf/include/l7_state.h"),
            include_str!("../../../bpf/include/quality.h"),
        ];
        let known = (MEANING, text.map(|text| hash(&code(text))));
        assert_eq!(
            known,
            (3, [0xffdf_c687_a6c5_eb96, 0xb5be_2eca_cfa1_5578, 0x3acb_cf6d_9674_e78d, 0x668d_084e_6927_af07])
        );
    }
}
