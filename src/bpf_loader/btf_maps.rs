//! The maps of an eBPF object by its BTF: their names, and a text of their layouts.

use std::fmt::Write;

use super::btf::{BtfError, Head, Types, kind, word};

/// Section with a variable for each map.
const MAPS: &str = ".maps";

/// Deepest nesting of types that is described.
const MAX_DEPTH: usize = 24;

/// Kinds without a size of their own: the third word is the type they stand before.
mod reference {
    pub(super) const POINTER: u32 = 2;
    pub(super) const MODIFIERS: [u32; 5] = [8, 9, 10, 11, 18];
}

impl<'a> Types<'a> {
    /// The names of the object's maps, sorted, without those of the compiler (`.rodata`).
    pub fn map_names(self) -> Result<Vec<&'a str>, BtfError> {
        let heads = self.heads().collect::<Result<Vec<_>, _>>()?;
        let mut names = Vec::new();
        for variable in self.map_variables(&heads)? {
            names.push(self.name(variable.name));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// All that is laid down about the object's maps and the types of their keys and values: type,
    /// default size, and each member with its name, place and size. Equal texts are equal layouts,
    /// whatever compiler has put them into which order.
    pub fn map_layouts(self) -> Result<String, BtfError> {
        let heads = self.heads().collect::<Result<Vec<_>, _>>()?;
        let mut maps = Vec::new();
        for variable in self.map_variables(&heads)? {
            let mut text = self.name(variable.name).to_owned();
            self.describe(&heads, variable.size, MAX_DEPTH, &mut text)?;
            maps.push(text + "\n");
        }
        maps.sort_unstable();
        Ok(maps.concat())
    }

    fn map_variables(self, heads: &[Head]) -> Result<Vec<&Head>, BtfError> {
        let mut found = Vec::new();
        for section in heads.iter().filter(|head| head.kind == kind::DATASEC && self.name(head.name) == MAPS) {
            for row in 0..section.count {
                let number = word(self.rows, section.details + row * 12)?;
                found.extend(of_number(heads, number));
            }
        }
        Ok(found)
    }

    fn describe(self, heads: &[Head], number: u32, depth: usize, text: &mut String) -> Result<(), BtfError> {
        // Type 0 is `void`.
        let (Some(head), Some(depth)) = (of_number(heads, number), depth.checked_sub(1)) else {
            text.push_str(" void");
            return Ok(());
        };
        match head.kind {
            kind::ARRAY => {
                let length = word(self.rows, head.details + 8)?;
                let _infallible = write!(text, " [{length}]");
                self.describe(heads, word(self.rows, head.details)?, depth, text)
            }
            kind::STRUCT | kind::UNION => {
                let _infallible = write!(text, " {}:{} {{", head.kind, head.size);
                for row in 0..head.count {
                    let at = head.details + row * 12;
                    let (name, offset) = (self.name(word(self.rows, at)?), word(self.rows, at + 8)?);
                    let _infallible = write!(text, " {name}@{offset}");
                    self.describe(heads, word(self.rows, at + 4)?, depth, text)?;
                }
                text.push_str(" }");
                Ok(())
            }
            reference::POINTER => {
                text.push_str(" *");
                self.describe(heads, head.size, depth, text)
            }
            modifier if reference::MODIFIERS.contains(&modifier) => self.describe(heads, head.size, depth, text),
            other => {
                let _infallible = write!(text, " {other}:{}", head.size);
                Ok(())
            }
        }
    }
}

/// A type by its number; they count from 1.
fn of_number(heads: &[Head], number: u32) -> Option<&Head> {
    heads.get((number as usize).checked_sub(1)?)
}

/// The `.BTF` section of a 64-bit little-endian ELF object; none if it has none.
pub fn section(object: &[u8]) -> Option<&[u8]> {
    let number = |at: usize, size: usize| -> Option<usize> {
        let bytes = object.get(at..at.checked_add(size)?)?;
        usize::try_from(bytes.iter().rev().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte))).ok()
    };
    let (sections, size, count, names) = (number(40, 8)?, number(58, 2)?, number(60, 2)?, number(62, 2)?);
    let section = |index: usize| {
        let at = sections.checked_add(index * size)?;
        Some((number(at, 4)?, number(at.checked_add(24)?, 8)?, number(at.checked_add(32)?, 8)?))
    };
    let (_, names_at, _) = section(names)?;
    for index in 0..count {
        let (name, at, length) = section(index)?;
        if object.get(names_at.checked_add(name)?..)?.starts_with(b".BTF\0") {
            return object.get(at..at.checked_add(length)?);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf_loader::{DROP_OBJECT, FLOW_OBJECT};

    fn types(object: &[u8]) -> Types<'_> {
        Types::new(section(object).unwrap()).unwrap()
    }

    /// Every map is found, and what a member is, where it lies and how large a map is stands in the
    /// text: a change of any would be taken for the same layout otherwise.
    #[test]
    fn layouts_are_described_whole() {
        let names = types(DROP_OBJECT).map_names().unwrap();
        assert_eq!(names, ["at_device", "drop_events", "drop_scratch", "drop_shares", "drop_totals", "suppressed"]);
        let text = types(FLOW_OBJECT).map_layouts().unwrap();
        let connections = text.lines().find(|line| line.starts_with("connections ")).unwrap();
        // Type 2 is an array; a bucket of 320 bytes begins with seven words.
        assert!(connections.contains("type@0 * [2]"), "{connections}");
        assert!(connections.contains("4:320 { word@0 [7] 1:8 elsewhere@448 1:4"), "{connections}");
        assert!(connections.contains("lane@0 [2] 1:8 hash@128 1:8"), "{connections}");
    }

    /// An object without BTF, cut short, or with an offset beyond its end has no section, and none
    /// of them is a panic.
    #[test]
    fn sections_of_nonsense() {
        assert_eq!(section(b"\x7fELF"), None);
        for length in (0..FLOW_OBJECT.len()).step_by(997) {
            let _any = section(FLOW_OBJECT.get(..length).unwrap());
        }
        let mut wrong = FLOW_OBJECT.to_vec();
        wrong[40..48].fill(0xff);
        assert_eq!(section(&wrong), None);
    }
}
