//! YAML as a tree with the position of each node, so that an error found late still names its line.
//!
//! Scalars are typed as Go's YAML reader types them, since the file's meaning was defined by that
//! one: `yes` and `on` are booleans here, and a number is a number even where a text is wanted.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};
use webb_settings::{Mark, Origin, Problem, yaml_words};

/// A node and its place.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Node {
    pub value: Value,
    pub mark: Mark,
}

/// Content of a node.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key and its place.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Key {
    pub text: String,
    pub mark: Mark,
}

impl Node {
    /// Reads a whole file. An empty one is null.
    ///
    /// # Errors
    /// If it is not well formed.
    pub fn read(text: &str) -> Result<Self, Problem> {
        let options = serde_saphyr::options! { with_snippet: false };
        match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
            Ok(root) => Ok(root.into()),
            Err(error) => {
                let mark = error.location().map_or(Mark { line: 1, column: 1, width: 1 }, mark);
                Err(Problem::new(Origin::File(mark), format!("cannot parse yaml: {}", yaml_words(&error))))
            }
        }
    }

    /// The node at a path of keys, such as `tls.ca_file`; as deep as there is one.
    pub fn at(&self, path: &str) -> &Self {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        let Value::Map(pairs) = &self.value else { return self };
        pairs.iter().find(|(key, _)| key.text == first).map_or(self, |(_, node)| node.at(rest))
    }

    /// A problem at this place.
    pub fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(Origin::File(self.mark), message)
    }

    /// Text for an error, after the word "found".
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => format!("the boolean {value}"),
            Value::Int(number) => format!("the number {number}"),
            Value::Float(number) => format!("the number {number}"),
            Value::Text(text) => format!("{:?}", text.chars().take(80).collect::<String>()),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "keys and values".to_owned(),
        }
    }
}

/// The tree as the parser gives it.
enum Raw {
    Scalar(Value),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl From<Spanned<Raw>> for Node {
    fn from(raw: Spanned<Raw>) -> Self {
        let mark = mark(raw.referenced);
        let value = match raw.value {
            Raw::Scalar(value) => value,
            Raw::List(list) => Value::List(list.into_iter().map(Self::from).collect()),
            Raw::Map(pairs) => Value::Map(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect()),
        };
        Self { value, mark }
    }
}

impl From<Spanned<String>> for Key {
    fn from(key: Spanned<String>) -> Self {
        let mark = mark(key.referenced);
        Self { text: key.value, mark }
    }
}

fn mark(location: Location) -> Mark {
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).max(1);
    Mark { line: number(location.line()), column: number(location.column()), width: number(location.span().len()) }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Int(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Int(value.into())))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Int(value)))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        // Far beyond what any field holds.
        Ok(Raw::Scalar(Value::Int(i128::try_from(value).unwrap_or(i128::MAX))))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Text(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = seq.next_element()? {
            list.push(node);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Raw::Map(pairs))
    }
}
