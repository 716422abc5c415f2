//! Values of an expression while it is evaluated.

use std::cmp::Ordering;
use std::sync::Arc;

use super::op::{Arithmetic, Target};

/// Bytes of a text, and elements of a list, that an expression may make.
const MAX_MADE: usize = 1 << 16;

/// An evaluation that has no result: an overflow, an index out of range, too many steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failed;

/// A text, borrowed where it can be.
#[derive(Debug, Clone)]
pub(super) enum Text<'a> {
    Borrowed(&'a str),
    Shared(Arc<str>),
    Owned(String),
}

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
            Self::Owned(text) => text,
        }
    }

    fn into_owned(self) -> Text<'static> {
        match self {
            Self::Borrowed(text) => Text::Owned(text.to_owned()),
            Self::Shared(text) => Text::Shared(text),
            Self::Owned(text) => Text::Owned(text),
        }
    }
}

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Text<'a>),
    /// A workload or a header.
    Pair(Text<'a>, Text<'a>),
    List(Vec<Value<'a>>),
    /// Only ever compared with null.
    Message,
}

impl<'a> Value<'a> {
    pub(super) fn text(text: &'a str) -> Self {
        Self::Text(Text::Borrowed(text))
    }

    pub(super) fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(is) => Value::Bool(is),
            Self::Int(number) => Value::Int(number),
            Self::Uint(number) => Value::Uint(number),
            Self::Double(number) => Value::Double(number),
            Self::Text(text) => Value::Text(text.into_owned()),
            Self::Pair(one, other) => Value::Pair(one.into_owned(), other.into_owned()),
            Self::List(values) => Value::List(values.into_iter().map(Value::into_owned).collect()),
            Self::Message => Value::Message,
        }
    }

    pub(super) fn boolean(&self) -> Result<bool, Failed> {
        if let Self::Bool(is) = self { Ok(*is) } else { Err(Failed) }
    }

    /// True if it is not the value that an absent field has.
    pub(super) fn is_set(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(is) => *is,
            Self::Int(number) => *number != 0,
            Self::Uint(number) => *number != 0,
            Self::Double(number) => *number != 0.0,
            Self::Text(text) => !text.as_str().is_empty(),
            Self::List(values) => !values.is_empty(),
            Self::Pair(..) | Self::Message => true,
        }
    }

    /// What a comparison costs, in steps.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Text(text) => 1 + text.as_str().len() / 64,
            Self::List(values) => 1 + values.len(),
            _ => 1,
        }
    }

    pub(super) fn equals(&self, other: &Value<'_>) -> bool {
        match (self, other) {
            (Self::Null, Value::Null) => true,
            (Self::Pair(one, two), Value::Pair(other, another)) => {
                one.as_str() == other.as_str() && two.as_str() == another.as_str()
            }
            (Self::List(one), Value::List(other)) => {
                one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.equals(other))
            }
            _ => self.order(other) == Some(Ordering::Equal),
        }
    }

    /// The order of two values of one type that has one.
    pub(super) fn order(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
            (Self::Int(one), Value::Int(other)) => Some(one.cmp(other)),
            (Self::Uint(one), Value::Uint(other)) => Some(one.cmp(other)),
            (Self::Double(one), Value::Double(other)) => one.partial_cmp(other),
            (Self::Text(one), Value::Text(other)) => Some(one.as_str().cmp(other.as_str())),
            _ => None,
        }
    }

    pub(super) fn size(&self) -> Result<i64, Failed> {
        let size = match self {
            Self::Text(text) => text.as_str().chars().count(),
            Self::List(values) => values.len(),
            _ => return Err(Failed),
        };
        i64::try_from(size).map_err(|_| Failed)
    }

    pub(super) fn negated(&self) -> Result<Self, Failed> {
        match self {
            Self::Int(number) => number.checked_neg().map(Self::Int).ok_or(Failed),
            Self::Double(number) => Ok(Self::Double(-number)),
            _ => Err(Failed),
        }
    }

    pub(super) fn calculated(self, arithmetic: Arithmetic, other: Self) -> Result<Self, Failed> {
        let found = match (self, other) {
            (Self::Int(one), Self::Int(other)) => match arithmetic {
                Arithmetic::Add => one.checked_add(other),
                Arithmetic::Subtract => one.checked_sub(other),
                Arithmetic::Multiply => one.checked_mul(other),
                Arithmetic::Divide => one.checked_div(other),
                Arithmetic::Modulo => one.checked_rem(other),
            }
            .map(Self::Int),
            (Self::Uint(one), Self::Uint(other)) => match arithmetic {
                Arithmetic::Add => one.checked_add(other),
                Arithmetic::Subtract => one.checked_sub(other),
                Arithmetic::Multiply => one.checked_mul(other),
                Arithmetic::Divide => one.checked_div(other),
                Arithmetic::Modulo => one.checked_rem(other),
            }
            .map(Self::Uint),
            (Self::Double(one), Self::Double(other)) => match arithmetic {
                Arithmetic::Add => Some(one + other),
                Arithmetic::Subtract => Some(one - other),
                Arithmetic::Multiply => Some(one * other),
                Arithmetic::Divide => Some(one / other),
                Arithmetic::Modulo => None,
            }
            .map(Self::Double),
            (Self::Text(one), Self::Text(other)) if one.as_str().len() + other.as_str().len() <= MAX_MADE => {
                Some(Self::Text(Text::Owned([one.as_str(), other.as_str()].concat())))
            }
            (Self::List(mut one), Self::List(mut other)) if one.len() + other.len() <= MAX_MADE => {
                one.append(&mut other);
                Some(Self::List(one))
            }
            _ => None,
        };
        found.ok_or(Failed)
    }

    pub(super) fn converted(self, target: Target) -> Result<Self, Failed> {
        let found = match (target, &self) {
            (Target::Int, Self::Int(_))
            | (Target::Uint, Self::Uint(_))
            | (Target::Double, Self::Double(_))
            | (Target::Text, Self::Text(_))
            | (Target::Bool, Self::Bool(_)) => return Ok(self),
            (Target::Int, Self::Uint(number)) => i64::try_from(*number).ok().map(Self::Int),
            (Target::Int, Self::Double(number)) => {
                whole(*number).and_then(|number| i64::try_from(number).ok()).map(Self::Int)
            }
            (Target::Int, Self::Text(text)) => text.as_str().parse().ok().map(Self::Int),
            (Target::Uint, Self::Int(number)) => u64::try_from(*number).ok().map(Self::Uint),
            (Target::Uint, Self::Double(number)) => {
                whole(*number).and_then(|number| u64::try_from(number).ok()).map(Self::Uint)
            }
            (Target::Uint, Self::Text(text)) => text.as_str().parse().ok().map(Self::Uint),
            #[allow(clippy::cast_precision_loss, reason = "a double is asked for")]
            (Target::Double, Self::Int(number)) => Some(Self::Double(*number as f64)),
            #[allow(clippy::cast_precision_loss, reason = "a double is asked for")]
            (Target::Double, Self::Uint(number)) => Some(Self::Double(*number as f64)),
            (Target::Double, Self::Text(text)) => text.as_str().parse().ok().map(Self::Double),
            (Target::Text, Self::Int(number)) => Some(Self::Text(Text::Owned(number.to_string()))),
            (Target::Text, Self::Uint(number)) => Some(Self::Text(Text::Owned(number.to_string()))),
            (Target::Text, Self::Double(number)) => Some(Self::Text(Text::Owned(number.to_string()))),
            (Target::Text, Self::Bool(is)) => Some(Self::text(if *is { "true" } else { "false" })),
            (Target::Bool, Self::Text(text)) => match text.as_str() {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(Self::Bool(true)),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(Self::Bool(false)),
                _ => None,
            },
            _ => None,
        };
        found.ok_or(Failed)
    }
}

/// The number without its fraction; none beyond all integers.
fn whole(number: f64) -> Option<i128> {
    const BEYOND: f64 = 1e30;
    #[allow(clippy::cast_possible_truncation, reason = "that is what is asked for")]
    (number.abs() < BEYOND).then_some(number as i128)
}
