//! A reader for BTF, the type description of the kernel and of eBPF objects: names of enumerators
//! and offsets of struct members, which aya keeps to itself. Input is untrusted like any other:
//! every offset is checked.

const MAGIC: u16 = 0xeb9f;

/// Kinds of types (Documentation/bpf/btf.rst).
pub(super) mod kind {
    pub(in super::super) const INT: u32 = 1;
    pub(in super::super) const ARRAY: u32 = 3;
    pub(in super::super) const STRUCT: u32 = 4;
    pub(in super::super) const UNION: u32 = 5;
    pub(in super::super) const ENUM: u32 = 6;
    pub(in super::super) const FUNC_PROTO: u32 = 13;
    pub(in super::super) const VAR: u32 = 14;
    pub(in super::super) const DATASEC: u32 = 15;
    pub(in super::super) const DECL_TAG: u32 = 17;
    pub(in super::super) const ENUM64: u32 = 19;
}

/// BTF that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BtfError {
    /// Not BTF, or of the other byte order.
    #[error("no BTF: it begins with {0:#06x} instead of 0xeb9f")]
    Magic(u16),
    /// A length or an offset points outside.
    #[error("BTF is truncated, or a length in it is wrong, at byte {0}")]
    Truncated(usize),
    /// A kind of type that this reader does not know the size of.
    #[error("BTF has a type of unknown kind {0} at byte {1}")]
    Kind(u32, usize),
}

/// One member of a struct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Bytes from the start of the struct.
    pub offset: u32,
}

/// A struct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Its size in bytes.
    pub size: u32,
    /// Its members in order.
    pub members: Vec<Member>,
}

/// BTF, not copied.
#[derive(Debug, Clone, Copy)]
pub struct Types<'a> {
    pub(super) rows: &'a [u8],
    strings: &'a [u8],
    /// The strings that come before: those of the kernel's own BTF, which a module's builds on.
    base: &'a [u8],
}

/// One type's head: the offset of its details and their number.
pub(super) struct Head {
    pub(super) name: u32,
    pub(super) kind: u32,
    pub(super) count: usize,
    pub(super) size: u32,
    pub(super) details: usize,
}

impl<'a> Types<'a> {
    /// Reads the header.
    pub fn new(data: &'a [u8]) -> Result<Self, BtfError> {
        let magic = u16::from_ne_bytes(array(data, 0)?);
        if magic != MAGIC {
            return Err(BtfError::Magic(magic));
        }
        let header = word(data, 4)?;
        let section = |offset_at, length_at| {
            let start = header.saturating_add(word(data, offset_at)?);
            let end = start.saturating_add(word(data, length_at)?);
            data.get(start as usize..end as usize).ok_or(BtfError::Truncated(start as usize))
        };
        Ok(Self { rows: section(8, 12)?, strings: section(16, 20)?, base: &[] })
    }

    /// The types of a module; their string offsets continue after those of `base`.
    pub fn of_module(data: &'a [u8], base: Self) -> Result<Self, BtfError> {
        Ok(Self { base: base.strings, ..Self::new(data)? })
    }

    pub(super) fn heads(self) -> impl Iterator<Item = Result<Head, BtfError>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            if at >= self.rows.len() {
                return None;
            }
            let head = self.head(at);
            at = match &head {
                Ok((_, next)) => *next,
                Err(_) => self.rows.len(),
            };
            Some(head.map(|(head, _)| head))
        })
    }

    fn head(self, at: usize) -> Result<(Head, usize), BtfError> {
        let (name, info, size) = (word(self.rows, at)?, word(self.rows, at + 4)?, word(self.rows, at + 8)?);
        let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        let details = at + 12;
        let length = match kind {
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::ARRAY => 12,
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * count,
            kind::ENUM | kind::FUNC_PROTO => 8 * count,
            2 | 7..=12 | 16 | 18 => 0,
            unknown => return Err(BtfError::Kind(unknown, at)),
        };
        let next = details + length;
        if next > self.rows.len() {
            return Err(BtfError::Truncated(at));
        }
        Ok((Head { name, kind, count, size, details }, next))
    }

    pub(super) fn name(self, at: u32) -> &'a str {
        let at = at as usize;
        let bytes = match at.checked_sub(self.base.len()) {
            Some(own) => self.strings.get(own..),
            None => self.base.get(at..),
        };
        let bytes = bytes.unwrap_or_default();
        let bytes = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// The enumerators of the enum of that name, with their values; none if there is no such enum.
    pub fn enumerators(self, name: &str) -> Result<Vec<(u32, &'a str)>, BtfError> {
        Ok(self.enums(|known| known == name)?.into_iter().next().unwrap_or_default())
    }

    /// The enumerators of each enum with a wanted name, with their values.
    pub fn enums(self, wanted: impl Fn(&str) -> bool) -> Result<Vec<Vec<(u32, &'a str)>>, BtfError> {
        let mut found = Vec::new();
        for head in self.heads() {
            let head = head?;
            if head.kind != kind::ENUM || !wanted(self.name(head.name)) {
                continue;
            }
            let rows = (0..head.count).map(|row| {
                let at = head.details + row * 8;
                Ok((word(self.rows, at + 4)?, self.name(word(self.rows, at)?)))
            });
            found.push(rows.collect::<Result<_, BtfError>>()?);
        }
        Ok(found)
    }

    /// The struct of that name.
    pub fn layout(self, name: &str) -> Result<Option<Layout>, BtfError> {
        for head in self.heads() {
            let head = head?;
            if head.kind != kind::STRUCT || self.name(head.name) != name {
                continue;
            }
            let members = (0..head.count)
                .map(|row| {
                    let at = head.details + row * 12;
                    let name = self.name(word(self.rows, at)?).to_owned();
                    // The upper byte is the size of a bit field where the struct has any.
                    Ok(Member { name, offset: (word(self.rows, at + 8)? & 0x00ff_ffff) / 8 })
                })
                .collect::<Result<_, BtfError>>()?;
            return Ok(Some(Layout { size: head.size, members }));
        }
        Ok(None)
    }
}

fn array<const N: usize>(data: &[u8], at: usize) -> Result<[u8; N], BtfError> {
    data.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).ok_or(BtfError::Truncated(at))
}

pub(super) fn word(data: &[u8], at: usize) -> Result<u32, BtfError> {
    array(data, at).map(u32::from_ne_bytes)
}

/// The running kernel's BTF.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// enum colour { RED = 1, BLUE = 7 }; struct pair { int a; int b; };
    fn sample() -> Vec<u8> {
        let strings = b"\0colour\0RED\0BLUE\0pair\0a\0b\0";
        let words: [u32; 19] = [
            // enum: name, kind 6 with 2 rows, size, rows
            1,
            6 << 24 | 2,
            4,
            8,
            1,
            12,
            7, //
            // struct: name, kind 4 with 2 rows, size, rows of name, type, bit offset
            17,
            4 << 24 | 2,
            8,
            22,
            3,
            0,
            24,
            3,
            32, //
            // int, named like the first member
            22,
            1 << 24,
            4,
        ];
        let mut types: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        types.extend(32_u32.to_ne_bytes());
        let mut data = MAGIC.to_ne_bytes().to_vec();
        data.extend([1, 0]);
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
        for word in [24, 0, length(&types), length(&types), length(strings)] {
            data.extend(word.to_ne_bytes());
        }
        data.extend(types);
        data.extend(strings);
        data
    }

    /// Drop reasons are named by what this reads: a wrong row would name every drop wrongly.
    #[test]
    fn reads_enums_and_structs() {
        let data = sample();
        let types = Types::new(&data).unwrap();
        assert_eq!(types.enumerators("colour").unwrap(), [(1, "RED"), (7, "BLUE")]);
        assert_eq!(types.enumerators("pair").unwrap(), []);
        let layout = types.layout("pair").unwrap().unwrap();
        assert_eq!(layout.size, 8);
        assert_eq!(
            layout.members.iter().map(|m| (m.name.as_str(), m.offset)).collect::<Vec<_>>(),
            [("a", 0), ("b", 4)]
        );
        assert_eq!(types.layout("colour").unwrap(), None);
    }

    /// enum ovs_drop_reason { A = 2 << 16 | 1, RED = 2 << 16 | 2 }, the last name from the base's
    /// strings.
    fn module(base: &[u8]) -> Vec<u8> {
        let before = u32::from_ne_bytes(base[20..24].try_into().unwrap());
        let strings = b"\0ovs_drop_reason\0A\0";
        let words = [before + 1, 6 << 24 | 2, 4, before + 17, 2 << 16 | 1, 8, 2 << 16 | 2];
        let types: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
        let mut data = MAGIC.to_ne_bytes().to_vec();
        data.extend([1, 0]);
        for length in [24, 0, types.len(), types.len(), strings.len()] {
            data.extend(u32::try_from(length).unwrap().to_ne_bytes());
        }
        data.extend(types);
        data.extend(strings);
        data
    }

    /// A module's names lie partly in the kernel's strings: an offset is of both, one after the
    /// other.
    #[test]
    fn a_module_builds_on_the_kernel() {
        let base = sample();
        let module = module(&base);
        let types = Types::of_module(&module, Types::new(&base).unwrap()).unwrap();
        let reasons = types.enums(|name| name.ends_with("_drop_reason")).unwrap();
        assert_eq!(reasons, [vec![(0x2_0001, "A"), (0x2_0002, "RED")]]);
    }

    /// Data that is no BTF is refused with an error that names the fault.
    #[test]
    fn refuses_what_is_no_btf() {
        assert_eq!(Types::new(&[0; 64]).unwrap_err(), BtfError::Magic(0));
        assert_eq!(Types::new(&[]).unwrap_err(), BtfError::Truncated(0));
    }

    proptest! {
        /// BTF comes from files that can be damaged: no byte in it may make the reader panic or run
        /// on.
        #[test]
        fn damaged_btf_never_panics(at in 0_usize..200, byte: u8, cut in 0_usize..200) {
            let mut data = sample();
            if let Some(place) = data.get_mut(at) {
                *place = byte;
            }
            data.truncate(data.len().saturating_sub(cut));
            if let Ok(types) = Types::new(&data) {
                let _found = types.enumerators("colour");
                let _found = types.layout("pair");
            }
        }
    }
}
