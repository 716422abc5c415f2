//! A value of a context label before it is text.
//!
//! A name is a symbol; an address stays a number until a series shows it, so that nothing is kept
//! of the addresses that none shows.

use std::net::IpAddr;
use std::sync::Arc;

use webb_flow::sym::{Name, Sym};

use super::limit;

/// A borrowed value: valid until the index of its flow is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Value {
    /// A name; the empty one is no value.
    Name(Sym),
    /// An address.
    Ip(IpAddr),
}

impl Value {
    /// No value.
    pub const EMPTY: Self = Self::Name(Sym::EMPTY);

    /// True for no value.
    pub fn is_empty(self) -> bool {
        self == Self::EMPTY
    }

    /// An address for a name that reads like one: two values of one text would be two series of the
    /// same labels.
    pub(super) fn canonical(self) -> Self {
        let Self::Name(name) = self else { return self };
        let text = name.text();
        let parsed = text.parse::<IpAddr>().ok().filter(|ip| ip.to_string() == *text);
        parsed.map_or(self, Self::Ip)
    }
}

/// A value of a series, which owns its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OwnedValue {
    Name(Name),
    Ip(IpAddr),
}

impl OwnedValue {
    /// Owns the value as a label shows it: cut where it is too long.
    pub(super) fn shown(value: Value) -> Self {
        match value {
            Value::Ip(ip) => Self::Ip(ip),
            Value::Name(name) => {
                let text = name.text();
                let short = limit::cut(&text);
                Self::Name(if short.len() < text.len() { Name::new(short) } else { Name::of(name) })
            }
        }
    }

    /// Owns the value as it is.
    pub(super) fn of(value: Value) -> Self {
        match value {
            Value::Ip(ip) => Self::Ip(ip),
            Value::Name(name) => Self::Name(Name::of(name)),
        }
    }

    pub(super) fn value(&self) -> Value {
        match self {
            Self::Name(name) => Value::Name(name.sym()),
            Self::Ip(ip) => Value::Ip(*ip),
        }
    }

    pub(super) fn text(&self) -> Arc<str> {
        match self {
            Self::Name(name) => name.sym().text(),
            Self::Ip(ip) => ip.to_string().into(),
        }
    }
}
