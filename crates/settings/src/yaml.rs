//! The configuration file: YAML text to one raw value for each key that it sets.
//!
//! The text is parsed into a tree with the place of every node and only then compared with the
//! table of keys. A derived `Deserialize` would be shorter, but it stops at the first problem and
//! forgets where the good values stood.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Location, Spanned};

use super::keys::{KEYS, Key, find, replacement};
use super::problem::{Origin, Problem, SourceFile, did_you_mean};
use super::value::{Group, Item, Mark, NESTED_LIST, Value, clean};
use super::yaml_words::yaml_words;

/// One key that the file sets.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: &'static Key,
    pub(super) value: Value,
    pub(super) mark: Mark,
}

/// Reads the file: what it sets, and everything that is wrong with its form.
pub(super) fn read(file: &SourceFile) -> (Vec<Entry>, Vec<Problem>) {
    let mut reading = DocumentReader { text: &file.text, entries: Vec::new(), problems: Vec::new() };
    let options = serde_saphyr::options! {
        // Repeated keys are reported below, with both places, beside the other problems.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        // `off` is a log level, not `false`.
        strict_booleans: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Node>>(&file.text, options) {
        Ok(root) => reading.group("", &root),
        Err(error) => reading.problems.push(syntax(&error)),
    }
    (reading.entries, reading.problems)
}

/// The text is not YAML at all.
fn syntax(error: &serde_saphyr::Error) -> Problem {
    let mark = error.location().map_or(Mark { line: 1, column: 1, width: 1 }, mark_of);
    Problem::new(Origin::File(mark), format!("not valid YAML: {}", yaml_words(error)))
}

/// A node of the tree.
#[derive(Debug)]
enum Node {
    Null,
    /// A quoted text, or a plain one that YAML takes for text.
    Text(String),
    /// A plain scalar that YAML takes for a number or a boolean: its text is read from the source,
    /// as it was typed.
    Plain(String),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = seq.next_element()? {
            list.push(node);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Node::Map(pairs))
    }
}

struct DocumentReader<'a> {
    text: &'a str,
    entries: Vec<Entry>,
    problems: Vec<Problem>,
}

impl DocumentReader<'_> {
    /// Reads the mapping of a group; `""` is the whole file.
    fn group(&mut self, group: &str, node: &Spanned<Node>) {
        let pairs = match &node.value {
            Node::Map(pairs) => pairs,
            // An empty file sets nothing.
            Node::Null if group.is_empty() => return,
            other => {
                let what = if group.is_empty() { "the file".to_owned() } else { format!("`{group}`") };
                let message = format!(
                    "{what}: expected keys and values ({}); found {}",
                    members(group).join(", "),
                    match other {
                        Node::Null => "nothing",
                        Node::List(_) => "a list",
                        _ => "a single value",
                    }
                );
                self.problems.push(Problem::new(Origin::File(self.mark(node.referenced)), message));
                return;
            }
        };
        let mut seen: Vec<(&str, Mark)> = Vec::new();
        for (name, node) in pairs {
            let mark = self.mark(name.referenced);
            if let Some((_, first)) = seen.iter().find(|(known, _)| *known == name.value) {
                let message = format!("`{}` is set twice; the first time in line {}", clean(&name.value), first.line);
                self.problems.push(Problem::new(Origin::File(mark), message));
                continue;
            }
            seen.push((&name.value, mark));
            let full = if group.is_empty() { name.value.clone() } else { format!("{group}.{}", name.value) };
            if let Some(key) = find(&full).filter(|_| members(group).contains(&name.value.as_str())) {
                let value = self.value(node);
                self.entries.push(Entry { key, value, mark: self.mark(node.referenced) });
            } else if group.is_empty() && !members(&full).is_empty() {
                self.group(&full, node);
            } else {
                self.problems.push(unknown(group, &name.value, mark));
            }
        }
    }

    fn value(&self, node: &Spanned<Node>) -> Value {
        match &node.value {
            Node::Null => Value::Null,
            Node::Text(_) | Node::Plain(_) => Value::Text(self.scalar(node)),
            Node::Map(_) => Value::Nested("keys and values"),
            Node::List(list) => {
                if let Some(groups) = self.groups(list) {
                    return Value::Groups(groups);
                }
                let mut items = Vec::new();
                for node in list {
                    if matches!(node.value, Node::List(_) | Node::Map(_)) {
                        return Value::Nested(NESTED_LIST);
                    }
                    items.push(Item { text: self.scalar(node), mark: Some(self.mark(node.referenced)) });
                }
                Value::List(items)
            }
        }
    }

    /// The elements of a list of groups; none if it holds anything else, or nothing.
    fn groups(&self, list: &[Spanned<Node>]) -> Option<Vec<Group>> {
        let item = |node: &Spanned<Node>| match node.value {
            Node::Null => Some(None),
            Node::Text(_) | Node::Plain(_) => {
                Some(Some(Item { text: self.scalar(node), mark: Some(self.mark(node.referenced)) }))
            }
            Node::List(_) | Node::Map(_) => None,
        };
        let groups = list.iter().map(|node| {
            let Node::Map(pairs) = &node.value else { return None };
            let field = |(key, node): &(Spanned<String>, Spanned<Node>)| {
                Some((Item { text: key.value.clone(), mark: Some(self.mark(key.referenced)) }, item(node)?))
            };
            let fields = pairs.iter().map(field).collect::<Option<Vec<_>>>()?;
            Some(Group { fields, mark: self.mark(node.referenced) })
        });
        groups.collect::<Option<Vec<_>>>().filter(|groups| !groups.is_empty())
    }

    /// The text of a scalar. A number is taken as typed: the `1.10` of a cluster's name must not
    /// become `1.1`.
    fn scalar(&self, node: &Spanned<Node>) -> String {
        match &node.value {
            Node::Text(text) => text.clone(),
            Node::Plain(parsed) => self.source(node.defined).unwrap_or(parsed).to_owned(),
            _ => String::new(),
        }
    }

    /// Source text at a place of the file.
    fn source(&self, location: Location) -> Option<&str> {
        let span = location.span();
        let start = usize::try_from(span.byte_offset()?).ok()?;
        let length = usize::try_from(span.byte_len()?).ok()?;
        self.text.get(start..start.checked_add(length)?).map(str::trim).filter(|text| !text.is_empty())
    }

    /// The place of a node, cut to its first line.
    fn mark(&self, location: Location) -> Mark {
        let mark = mark_of(location);
        let first_line = self.source(location).and_then(|text| text.lines().next());
        first_line.map_or(mark, |line| Mark { width: line.chars().count().max(1), ..mark })
    }
}

fn mark_of(location: Location) -> Mark {
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).max(1);
    Mark { line: number(location.line()), column: number(location.column()), width: number(location.span().len()) }
}

/// Names that a group may hold: of keys, and of groups in the file itself.
fn members(group: &str) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for key in &KEYS {
        let name = match key.name.split_once('.') {
            Some((prefix, name)) if prefix == group => name,
            Some((prefix, _)) if group.is_empty() => prefix,
            None if group.is_empty() => key.name,
            _ => continue,
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// A key that the table does not have. The advice is the likeliest of: another spelling, another
/// group, all there are.
fn unknown(group: &str, name: &str, mark: Mark) -> Problem {
    let known = members(group);
    let full = if group.is_empty() { name.to_owned() } else { format!("{group}.{name}") };
    let mut help = match replacement(&full) {
        Some(help) => help.to_owned(),
        None => did_you_mean(name, known.iter().copied()),
    };
    if help.is_empty() {
        let elsewhere = KEYS.iter().find(|key| key.name.rsplit('.').next() == Some(name));
        help = match elsewhere.map(|key| key.name.split_once('.')) {
            Some(Some((group, name))) => format!("`{name}` belongs under `{group}:`"),
            Some(None) => format!("`{name}` belongs to the top of the file"),
            None => format!("expected one of {}", known.join(", ")),
        };
    }
    let place = if group.is_empty() { String::new() } else { format!(" in `{group}`") };
    Problem::new(Origin::File(mark), format!("unknown key `{}`{place}", clean(name))).with_help(help)
}
