//! Raw values: configuration as written, before it is parsed into types.
//!
//! A YAML node, an environment variable and a flag all become a [`Value`]; the table of keys reads
//! it into a type. The place of each part is kept, so that a problem found much later still points
//! at the character that caused it.

/// A callback to the metrics' parser, which is on a higher floor: takes entries in Hubble's static
/// grammar, separated by spaces, and returns what it finds in them.
pub type CheckEntry<'a> = dyn Fn(&str) -> Remarks + 'a;

/// Findings of the metrics' parser, in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remarks {
    /// What makes the entries unusable.
    pub errors: Vec<String>,
    /// What is ignored or unusual.
    pub warnings: Vec<String>,
}

/// A stretch of one line of the file, counted in characters from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
    /// Number of characters; at least 1.
    pub width: usize,
}

/// Text for a list that is right for few keys or none.
pub(super) const NESTED_LIST: &str = "a list that holds more than plain values";

/// One element of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Text as it was typed, without quotes.
    pub text: String,
    /// Position, if it came from a file.
    pub mark: Option<Mark>,
}

/// One element of a list of groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its keys in their order, each with its scalar; none where that is null.
    pub fields: Vec<(Item, Option<Item>)>,
    /// Position.
    pub mark: Mark,
}

/// Value that was typed for one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `null`, `~` or nothing at all.
    Null,
    /// A scalar, as it was typed, without quotes.
    Text(String),
    /// A list of scalars.
    List(Vec<Item>),
    /// A list of mappings of scalars, at least one.
    Groups(Vec<Group>),
    /// A mapping, or a list that holds something other than scalars: right for no key, kept for the
    /// error text.
    Nested(&'static str),
}

impl Value {
    /// A list that did not come from a file.
    pub fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        Self::List(texts.into_iter().map(|text| Item { text: text.to_owned(), mark: None }).collect())
    }

    /// The elements, if this is a list, or the parts of a text between white space and, if
    /// `commas`, commas.
    pub(super) fn items(&self, commas: bool) -> Result<Vec<Item>, InvalidValue> {
        match self {
            Self::List(items) => Ok(items.clone()),
            Self::Text(text) => Ok(text
                .split(|letter: char| letter.is_whitespace() || (commas && letter == ','))
                .filter(|part| !part.is_empty())
                .map(|part| Item { text: part.to_owned(), mark: None })
                .collect()),
            Self::Null | Self::Groups(_) | Self::Nested(_) => Err(InvalidValue::of(self)),
        }
    }

    /// The text, if this is a scalar.
    pub(super) fn text(&self) -> Result<&str, InvalidValue> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(InvalidValue::of(self)),
        }
    }

    /// Text for an error, after the word "found".
    fn describe(&self) -> String {
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Text(text) if text.is_empty() => "an empty text".to_owned(),
            Self::Text(text) => format!("`{}`", clean(text)),
            Self::List(items) => {
                let items: Vec<_> = items.iter().take(8).map(|item| item.text.as_str()).collect();
                format!("the list `[{}]`", clean(&items.join(", ")))
            }
            Self::Groups(_) => NESTED_LIST.to_owned(),
            Self::Nested(what) => (*what).to_owned(),
        }
    }
}

/// Error of a value of the wrong type or range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InvalidValue {
    /// Found value, ready to follow the word "found".
    pub(super) found: String,
    /// More about it; may be empty.
    pub(super) why: String,
    /// Position of the faulty element of a list, if it is one.
    pub(super) mark: Option<Mark>,
    /// Errors of further elements of the list.
    pub(super) further: Vec<Self>,
}

impl InvalidValue {
    /// The value as a whole is of the wrong sort.
    pub(super) fn of(value: &Value) -> Self {
        Self { found: value.describe(), why: String::new(), mark: None, further: Vec::new() }
    }

    /// The value as a whole is wrong because of `why`.
    pub(super) fn because(value: &Value, why: impl Into<String>) -> Self {
        Self { why: why.into(), ..Self::of(value) }
    }

    /// The value is a list of `count` elements, more than there may be.
    pub(super) fn too_many(count: usize, most: usize) -> Self {
        let why = format!("it has {most} at most");
        Self { found: format!("a list of {count}"), why, mark: None, further: Vec::new() }
    }

    /// An error of one element because of `why`.
    pub(super) fn item(item: &Item, why: impl Into<String>) -> Self {
        let found = Value::Text(item.text.clone()).describe();
        Self { found, why: why.into(), mark: item.mark, further: Vec::new() }
    }

    /// The meaning of each element, or the errors of all that have none.
    pub(super) fn each<T>(items: &[Item], read: impl Fn(&Item) -> Result<T, Self>) -> Result<Vec<T>, Self> {
        let (mut meanings, mut error) = (Vec::new(), None::<Self>);
        for item in items {
            match (read(item), &mut error) {
                (Ok(meaning), _) => meanings.push(meaning),
                (Err(another), Some(first)) => first.further.push(another),
                (Err(first), None) => error = Some(first),
            }
        }
        error.map_or(Ok(meanings), Err)
    }
}

/// The value as JSON: a string, a list of strings or null.
pub(super) fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Text(text) => serde_json::Value::from(text.as_str()),
        Value::List(items) => items.iter().map(|item| item.text.as_str()).collect(),
        Value::Null | Value::Groups(_) | Value::Nested(_) => serde_json::Value::Null,
    }
}

/// True for a character that a terminal obeys: a control, or one that changes the direction of
/// writing.
pub(super) fn is_obeyed(letter: char) -> bool {
    let is_direction = matches!(letter, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}');
    letter.is_control() || is_direction
}

/// Text fit for a terminal: nothing that it obeys, at most 80 characters.
pub(super) fn clean(text: &str) -> String {
    let mut cleaned: String =
        text.chars().take(80).map(|letter| if is_obeyed(letter) { '\u{fffd}' } else { letter }).collect();
    if text.chars().nth(80).is_some() {
        cleaned.push_str("...");
    }
    cleaned
}
