//! Values by protobuf's JSON rules: texts are texts, 64-bit numbers may be texts too, enums go by
//! name or number.

use webb_flow::TcpFlags;
use webb_flow::names::number_of;
use webb_index::filters::{EventTypeSpec, HeaderSpec, InterfaceSpec, WorkloadSpec};
use webb_settings::{Origin, Problem, did_you_mean};

use super::tree::{Node, Value};

/// An enum's names.
type Names = [(i32, &'static str)];

/// The values of a repeated field.
pub(super) struct Items<'a> {
    pub(super) field: &'static str,
    pub(super) nodes: &'a [Node],
    pub(super) problems: &'a mut Vec<Problem>,
}

/// The members of a message by their name in flow.proto, each of them known and given once. Those
/// that are null are as if they were not there.
pub(super) fn members<'n>(
    node: &'n Node,
    what: &str,
    known: &[&'static str],
    problems: &mut Vec<Problem>,
) -> Vec<(&'static str, &'n Node)> {
    let Value::Map(pairs) = &node.value else {
        problems.push(node.problem(format!("{what}: expected keys and values, found {}", node.describe())));
        return Vec::new();
    };
    let mut members: Vec<(&'static str, &Node)> = Vec::new();
    for (key, value) in pairs {
        let problem = |message: String| Problem::new(Origin::File(key.mark), message);
        let typed: String = key.text.chars().take(80).collect();
        match known.iter().copied().find(|name| *name == key.text || camel(name) == key.text) {
            None => {
                let help = did_you_mean(&typed, known.iter().copied());
                problems.push(problem(format!("{what}: unknown field {typed:?}")).with_help(help));
            }
            Some(name) if members.iter().any(|(other, _)| *other == name) => {
                problems.push(problem(format!("{what}: duplicate field {typed:?}")));
            }
            Some(_) if matches!(value.value, Value::Null) => {}
            Some(name) => members.push((name, value)),
        }
    }
    members
}

/// `source_ip` as `sourceIp`.
fn camel(snake: &str) -> String {
    let mut parts = snake.split('_');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (first, rest) = part.split_at_checked(1).unwrap_or((part, ""));
        name.push_str(&first.to_ascii_uppercase());
        name.push_str(rest);
    }
    name
}

impl Items<'_> {
    pub(super) fn texts(&mut self) -> Vec<String> {
        self.each(text)
    }

    pub(super) fn bools(&mut self) -> Vec<bool> {
        self.each(boolean)
    }

    pub(super) fn numbers<T: TryFrom<i128>>(&mut self) -> Vec<T> {
        self.each(number)
    }

    pub(super) fn enums(&mut self, names: &Names) -> Vec<i32> {
        self.each(|node| enumerator(node, names))
    }

    pub(super) fn workloads(&mut self) -> Vec<WorkloadSpec> {
        self.messages(&["name", "kind"], |message: &mut WorkloadSpec, name, value| {
            let text = text(value)?;
            if name == "name" {
                message.name = text;
            } else {
                message.kind = text;
            }
            Ok(())
        })
    }

    pub(super) fn interfaces(&mut self) -> Vec<InterfaceSpec> {
        self.messages(&["index", "name"], |message: &mut InterfaceSpec, name, value| {
            if name == "index" {
                message.index = number(value)?;
            } else {
                message.name = text(value)?;
            }
            Ok(())
        })
    }

    pub(super) fn event_types(&mut self) -> Vec<EventTypeSpec> {
        self.messages(&["type", "match_sub_type", "sub_type"], |message: &mut EventTypeSpec, name, value| {
            match name {
                "type" => message.kind = number(value)?,
                "sub_type" => message.sub_type = number(value)?,
                _ => message.match_sub_type = boolean(value)?,
            }
            Ok(())
        })
    }

    pub(super) fn headers(&mut self) -> Vec<HeaderSpec> {
        self.messages(&["key", "value"], |message: &mut HeaderSpec, name, value| {
            let text = text(value)?;
            if name == "key" {
                message.key = text;
            } else {
                message.value = text;
            }
            Ok(())
        })
    }

    pub(super) fn tcp_flags(&mut self) -> Vec<u16> {
        const NAMES: [&str; 9] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "NS"];
        const BITS: [u16; 9] = [
            TcpFlags::FIN,
            TcpFlags::SYN,
            TcpFlags::RST,
            TcpFlags::PSH,
            TcpFlags::ACK,
            TcpFlags::URG,
            TcpFlags::ECE,
            TcpFlags::CWR,
            TcpFlags::NS,
        ];
        self.messages(&NAMES, |bits: &mut u16, name, value| {
            let bit = NAMES.iter().zip(BITS).find(|(known, _)| **known == name).map_or(0, |(_, bit)| bit);
            if boolean(value)? {
                *bits |= bit;
            }
            Ok(())
        })
    }

    /// Reads each value; those that are wrong become problems.
    fn each<T>(&mut self, read: impl Fn(&Node) -> Result<T, String>) -> Vec<T> {
        let mut values = Vec::with_capacity(self.nodes.len());
        for node in self.nodes {
            match read(node) {
                Ok(value) => values.push(value),
                Err(expected) => self.problems.push(node.problem(format!("{}: {expected}", self.field))),
            }
        }
        values
    }

    /// Reads each value as a message; `set` gets its members one by one.
    fn messages<T: Default>(
        &mut self,
        names: &[&'static str],
        set: impl Fn(&mut T, &'static str, &Node) -> Result<(), String>,
    ) -> Vec<T> {
        let mut values = Vec::with_capacity(self.nodes.len());
        for node in self.nodes {
            let mut message = T::default();
            for (name, value) in members(node, self.field, names, self.problems) {
                if let Err(expected) = set(&mut message, name, value) {
                    self.problems.push(value.problem(format!("{}.{name}: {expected}", self.field)));
                }
            }
            values.push(message);
        }
        values
    }
}

fn text(node: &Node) -> Result<String, String> {
    match &node.value {
        Value::Text(text) => Ok(text.clone()),
        Value::Int(_) | Value::Float(_) | Value::Bool(_) => {
            Err(format!("expected a text, found {}; put it in quotes", node.describe()))
        }
        _ => Err(format!("expected a text, found {}", node.describe())),
    }
}

fn boolean(node: &Node) -> Result<bool, String> {
    match node.value {
        Value::Bool(value) => Ok(value),
        _ => Err(format!("expected true or false, found {}", node.describe())),
    }
}

fn number<T: TryFrom<i128>>(node: &Node) -> Result<T, String> {
    let whole = match &node.value {
        Value::Int(number) => Some(*number),
        Value::Float(number) => whole(*number),
        Value::Text(text) if !text.starts_with('+') => {
            text.parse().ok().or_else(|| text.parse::<f64>().ok().and_then(whole))
        }
        _ => None,
    };
    let number = whole.ok_or_else(|| format!("expected a whole number, found {}", node.describe()))?;
    T::try_from(number).map_err(|_| format!("the number {number} is out of range"))
}

/// `80.0` and `8e1` are 80.
fn whole(number: f64) -> Option<i128> {
    // Beyond 2^64 no field holds it anyway, and within the conversion is exact.
    #[allow(clippy::cast_possible_truncation, reason = "the number is whole and within 2^64")]
    let exact = (number.fract() == 0.0 && number.abs() < 18_446_744_073_709_551_616.0).then_some(number as i128);
    exact
}

fn enumerator(node: &Node, names: &Names) -> Result<i32, String> {
    match &node.value {
        Value::Text(text) => number_of(names, text).ok_or_else(|| {
            let help = did_you_mean(text, names.iter().map(|(_, name)| *name));
            let help = if help.is_empty() { help } else { format!("; {help}") };
            format!("unknown name {}{help}", node.describe())
        }),
        Value::Int(_) | Value::Float(_) => number(node),
        _ => Err(format!("expected a name or a number, found {}", node.describe())),
    }
}
