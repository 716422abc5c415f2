//! Field masks: the parts of a flow that a client asks for, copied from the encoded flow.
//!
//! Each flow is masked by itself. (The reference server uses one masked flow for all answers, in
//! which parts of earlier flows stay.)

use crate::schema::{Kind, Message, schema};
use crate::wire;

/// Fields of a message, some of them in part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mask {
    children: Vec<Child>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Child {
    number: u32,
    /// Parts of the field, which is a message; none is all of it.
    part: Option<Mask>,
    /// A message of which parts are asked for is there, empty, where the flow lacks it; a variant
    /// is not.
    is_variant: bool,
}

/// A path that no flow has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid fieldmask")]
pub struct InvalidMask;

impl Mask {
    /// Compiles a mask of `flow.Flow`.
    ///
    /// # Errors
    /// If one of the paths leads to no field, or through a list.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidMask> {
        let mut mask = Self::default();
        for path in paths {
            mask.add(schema().message("flow.Flow"), path)?;
        }
        Ok(mask)
    }

    fn add(&mut self, message: &Message, path: &str) -> Result<(), InvalidMask> {
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let field = message.fields.iter().find(|field| field.name == name).ok_or(InvalidMask)?;
        let inner = match (field.kind, rest) {
            (_, None) => None,
            (Kind::Message(at), Some(rest)) if !field.repeated => Some((schema().at(at), rest)),
            _ => return Err(InvalidMask),
        };
        let at = self.children.iter().position(|child| child.number == field.number).unwrap_or_else(|| {
            let part = inner.map(|_| Self::default());
            self.children.push(Child { number: field.number, part, is_variant: field.is_variant });
            self.children.len() - 1
        });
        let Some(child) = self.children.get_mut(at) else { return Err(InvalidMask) };
        match (inner, &mut child.part) {
            (None, part) => *part = None,
            (Some((message, rest)), Some(part)) => part.add(message, rest)?,
            // All of the field is asked for already; the path must lead somewhere all the same.
            (Some((message, rest)), None) => Self::default().add(message, rest)?,
        }
        Ok(())
    }

    /// True if it leaves a field of `flow.Flow`, or a part of it.
    pub fn has(&self, path: &str) -> bool {
        let (mut mask, mut message) = (self, schema().message("flow.Flow"));
        for name in path.split('.') {
            let Some(field) = message.by_name(name) else { return false };
            let Some(child) = mask.children.iter().find(|child| child.number == field.number) else { return false };
            let (Some(part), Kind::Message(at)) = (&child.part, field.kind) else { return true };
            (mask, message) = (part, schema().at(at));
        }
        true
    }

    /// Appends the parts of an encoded message.
    pub fn apply(&self, message: &[u8], out: &mut Vec<u8>) {
        // Fields that were met, by their place; a message has fewer than 64 fields.
        let mut met = 0_u64;
        for field in wire::fields(message) {
            let Some((at, child)) = self.children.iter().enumerate().find(|(_, child)| child.number == field.number)
            else {
                continue;
            };
            met |= 1 << (at % 64);
            match &child.part {
                None => out.extend_from_slice(field.encoded),
                Some(part) => wire::put_message(out, field.number, |out| part.apply(field.value.bytes(), out)),
            }
        }
        for (at, child) in self.children.iter().enumerate() {
            if child.part.is_some() && !child.is_variant && met >> (at % 64) & 1 == 0 {
                self::put_absent(child, out);
            }
        }
    }
}

/// Appends the message of a field that the flow lacks, with the messages within it.
fn put_absent(child: &Child, out: &mut Vec<u8>) {
    if let Some(part) = &child.part {
        wire::put_message(out, child.number, |out| part.apply(&[], out));
    }
}
