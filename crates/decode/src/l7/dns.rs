//! DNS messages: the question, and of an answer its codes, types and addresses (RFC 1035, 6891).
//!
//! Every length is checked against the bytes, and compression pointers lead only to the front, so a
//! name takes at most 32 steps. An answer section that ends early ends the list of records; what
//! was read before counts.

use std::fmt::Write as _;
use std::hash::BuildHasher;

use webb_flow::Address;
use webb_flow::hash::RandomState;

use super::event::Wants;
use super::ledger::Unparsed;

/// Bytes of a header.
pub(super) const HEADER: usize = 12;

/// Bytes that a name may have on the wire.
const NAME: usize = 255;

/// Compression pointers that are followed in a name.
const MAX_POINTERS: usize = 32;

/// Aliases that are followed from a question's name.
const MAX_ALIASES: usize = 16;

/// Record types by number.
mod rr {
    pub(super) const A: u16 = 1;
    pub(super) const CNAME: u16 = 5;
    pub(super) const AAAA: u16 = 28;
    pub(super) const OPT: u16 = 41;
}

/// The mnemonic of a record type, as Hubble has it.
pub fn type_name(number: u16) -> &'static str {
    match number {
        1 => "A",
        2 => "NS",
        3 => "MD",
        4 => "MF",
        5 => "CNAME",
        6 => "SOA",
        7 => "MB",
        8 => "MG",
        9 => "MR",
        10 => "NULL",
        11 => "WKS",
        12 => "PTR",
        13 => "HINFO",
        14 => "MINFO",
        15 => "MX",
        16 => "TXT",
        28 => "AAAA",
        33 => "SRV",
        35 => "NAPTR",
        41 => "OPT",
        46 => "RRSIG",
        48 => "DNSKEY",
        64 => "SVCB",
        65 => "HTTPS",
        256 => "URI",
        _ => "Unknown",
    }
}

/// Parsed header and question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) id: u16,
    pub(super) response: bool,
    pub(super) truncated: bool,
    /// EDNS bits included.
    pub(super) rcode: u16,
    pub(super) qtype: u16,
    /// Hash of the question's name in lower case.
    pub(super) name: u64,
    pub(super) ips: u32,
    pub(super) ttl: u32,
}

/// Parses messages into buffers that are used again.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// The question's name, escaped.
    pub(super) query: String,
    /// The types of the answers.
    pub(super) rrtypes: Vec<u16>,
    /// Addresses of the question's name.
    pub(super) addresses: Vec<Address>,
    /// All addresses of the answers, and the targets of their aliases.
    pub(super) answered: Vec<Address>,
    pub(super) cnames: Vec<String>,
    /// Owner and target of each alias, and owner of each address.
    aliases: Vec<(u64, u64)>,
    owned: Vec<(u64, Address)>,
    hasher: RandomState,
}

/// A cursor over a message.
#[derive(Debug, Clone, Copy)]
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// True if the bytes can be the header of a message with one question.
#[inline]
pub(super) fn plausible(bytes: &[u8]) -> bool {
    check(bytes).is_ok()
}

/// True if the bytes are a response.
#[inline]
pub(super) fn is_response(bytes: &[u8]) -> bool {
    bytes.get(2).is_some_and(|flags| flags & 0x80 != 0)
}

/// The header's fields. The opcode is QUERY or NOTIFY, and there is one question.
fn check(bytes: &[u8]) -> Result<[u16; 6], Unparsed> {
    let fields = Reader { bytes, at: 0 }.numbers::<6>().ok_or(Unparsed::Short)?;
    let [_, flags, questions, ..] = fields;
    if !matches!(flags >> 11 & 15, 0 | 4) {
        return Err(Unparsed::Opcode);
    }
    if questions == 1 { Ok(fields) } else { Err(Unparsed::Questions) }
}

impl Parser {
    /// Parses a message. Texts and lists are those of the last one.
    pub(super) fn parse(&mut self, bytes: &[u8], wants: Wants) -> Result<Head, Unparsed> {
        let [id, flags, _, answers, authorities, others] = check(bytes)?;
        let mut reader = Reader { bytes, at: HEADER };
        let mut name = [0; NAME];
        let length = reader.name(&mut name).ok_or(Unparsed::Name)?;
        let wire = name.get(..length).unwrap_or_default();
        let qtype = reader.number().ok_or(Unparsed::Name)?;
        reader.number().ok_or(Unparsed::Name)?;
        self.query.clear();
        if wants.query {
            escape(wire, &mut self.query);
        }
        let mut head = Head {
            id,
            response: flags & 0x8000 != 0,
            truncated: flags & 0x0200 != 0,
            rcode: flags & 15,
            qtype,
            name: self.hasher.hash_one(wire),
            ips: 0,
            ttl: u32::MAX,
        };
        self.rrtypes.clear();
        self.addresses.clear();
        self.answered.clear();
        self.cnames.clear();
        if head.response && self.answers(&mut reader, answers, wants, &mut head).is_some() {
            let extended = reader.edns(u32::from(authorities) + u32::from(others));
            head.rcode |= extended.unwrap_or(0) << 4;
        }
        Ok(head)
    }

    /// Reads the answer section. None if it ends early.
    fn answers(&mut self, reader: &mut Reader<'_>, count: u16, wants: Wants, head: &mut Head) -> Option<()> {
        self.aliases.clear();
        self.owned.clear();
        // Names are followed only where the answer can be believed.
        let follows = wants.addresses && head.rcode == 0 && !head.truncated;
        let mut whole = Some(());
        for _ in 0..count {
            whole = self.answer(reader, (follows, wants.answers), head);
            if whole.is_none() {
                break;
            }
        }
        if follows && whole.is_some() {
            self.follow(head.name);
        }
        whole
    }

    fn answer(
        &mut self,
        reader: &mut Reader<'_>,
        (follows, wants_answers): (bool, bool),
        head: &mut Head,
    ) -> Option<()> {
        let owner = *reader;
        reader.skip_name()?;
        let [of, _, ttl_high, ttl_low, length] = reader.numbers()?;
        let ttl = u32::from(ttl_high) << 16 | u32::from(ttl_low);
        let data = reader.take(usize::from(length))?;
        let address = match (of, data) {
            (rr::A, &[a, b, c, d]) => Some(Address::from(std::net::IpAddr::from([a, b, c, d]))),
            (rr::AAAA, data) => data.try_into().ok().map(Address),
            _ => None,
        };
        self.rrtypes.push(of);
        head.ips += u32::from(address.is_some());
        if matches!(of, rr::A | rr::AAAA | rr::CNAME) {
            head.ttl = head.ttl.min(ttl);
        }
        if wants_answers {
            self.answered.extend(address);
            if of == rr::CNAME {
                let mut target = Reader { at: reader.at.checked_sub(usize::from(length))?, ..*reader };
                let mut wire = [0; NAME];
                let length = target.name(&mut wire)?;
                let mut name = String::new();
                escape(wire.get(..length)?, &mut name);
                self.cnames.push(name);
            }
        }
        if !follows {
            return Some(());
        }
        if let Some(address) = address {
            let owner = self.hash(owner)?;
            self.owned.push((owner, address));
        } else if of == rr::CNAME {
            let target = Reader { at: reader.at.checked_sub(usize::from(length))?, ..*reader };
            let (owner, target) = (self.hash(owner)?, self.hash(target)?);
            self.aliases.push((owner, target));
        }
        Some(())
    }

    fn hash(&self, mut name: Reader<'_>) -> Option<u64> {
        let mut wire = [0; NAME];
        let length = name.name(&mut wire)?;
        Some(self.hasher.hash_one(wire.get(..length)?))
    }

    /// Collects the addresses of the question's name and of the aliases that lead on from it.
    fn follow(&mut self, question: u64) {
        let mut name = question;
        for _ in 0..=MAX_ALIASES {
            let owned = self.owned.iter().filter(|(owner, _)| *owner == name);
            self.addresses.extend(owned.map(|(_, address)| *address));
            match self.aliases.iter().find(|(owner, _)| *owner == name) {
                Some(&(_, target)) if target != question => name = target,
                _ => break,
            }
        }
    }
}

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<u16> {
        let [high, low] = *self.bytes.get(self.at..)?.first_chunk()?;
        self.at += 2;
        Some(u16::from_be_bytes([high, low]))
    }

    fn numbers<const N: usize>(&mut self) -> Option<[u16; N]> {
        let mut found = [0; N];
        for number in &mut found {
            *number = self.number()?;
        }
        Some(found)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    /// Passes over a name.
    fn skip_name(&mut self) -> Option<()> {
        // A name ends after 128 labels, as its 255 bytes do.
        for _ in 0..=NAME / 2 {
            let length = *self.bytes.get(self.at)?;
            match length {
                0 => {
                    self.at += 1;
                    return Some(());
                }
                1..=63 => self.at += 1 + usize::from(length),
                0xc0.. => {
                    self.at += 2;
                    return (self.at <= self.bytes.len()).then_some(());
                }
                _ => return None,
            }
        }
        None
    }

    /// Writes a name in lower case and without compression to `out`, and returns its length.
    fn name(&mut self, out: &mut [u8; NAME]) -> Option<usize> {
        let (mut at, mut written, mut pointers) = (self.at, 0, 0);
        loop {
            let length = usize::from(*self.bytes.get(at)?);
            match length {
                0 => {
                    *out.get_mut(written)? = 0;
                    if pointers == 0 {
                        self.at = at + 1;
                    }
                    return Some(written + 1);
                }
                1..=63 => {
                    let label = self.bytes.get(at..=at + length)?;
                    // The root's byte must find room behind it.
                    let room = out.get_mut(written..=written + length).filter(|_| written + length + 1 < NAME)?;
                    for (to, from) in room.iter_mut().zip(label) {
                        *to = from.to_ascii_lowercase();
                    }
                    at += length + 1;
                    written += length + 1;
                }
                0xc0.. => {
                    let low = usize::from(*self.bytes.get(at + 1)?);
                    if pointers == 0 {
                        self.at = at + 2;
                    }
                    pointers += 1;
                    let target = (length & 0x3f) << 8 | low;
                    if target >= at || pointers > MAX_POINTERS {
                        return None;
                    }
                    at = target;
                }
                _ => return None,
            }
        }
    }

    /// The upper bits of the code, from the OPT record among the next `count` records.
    fn edns(&mut self, count: u32) -> Option<u16> {
        for _ in 0..count {
            self.skip_name()?;
            let [of, _, extended, _, length] = self.numbers()?;
            if of == rr::OPT {
                return Some(extended >> 8);
            }
            self.take(usize::from(length))?;
        }
        None
    }
}

/// Writes a name as Hubble prints it: labels with dots, other bytes escaped.
fn escape(wire: &[u8], out: &mut String) {
    let mut rest = wire;
    while let Some((&length, behind)) = rest.split_first() {
        let Some((label, behind)) = behind.split_at_checked(usize::from(length)).filter(|_| length > 0) else { break };
        for &byte in label {
            match byte {
                b'.' | b' ' | b'\'' | b'@' | b';' | b'(' | b')' | b'"' | b'\\' => {
                    out.push('\\');
                    out.push(char::from(byte));
                }
                0x21..=0x7e => out.push(char::from(byte)),
                // Writing to a string does not fail.
                _ => _ = write!(out, "\\{byte:03}"),
            }
        }
        out.push('.');
        rest = behind;
    }
    if out.is_empty() {
        out.push('.');
    }
}
