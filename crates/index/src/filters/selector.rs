//! Label selectors in Kubernetes' language, over labels with a source: `k8s:app=foo`, `team in (a,
//! b)`, `!x`, `n>5`.
//!
//! Grammar and meaning are those of Kubernetes' `labels.Parse`: a comma is "and", a requirement
//! that excludes values is met where the key is missing. A key may begin with a source and a colon;
//! without one, or with `any:`, labels of every source count, and the first that has the key
//! decides.

use std::iter::Peekable;
use std::str::CharIndices;

/// All requirements of one string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    /// Source of the label; none is any.
    source: Option<String>,
    key: String,
    rule: Rule,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Exists,
    Missing,
    In(Vec<String>),
    NotIn(Vec<String>),
    Above(i64),
    Below(i64),
}

/// A label taken apart: source, key and value. Without a colon there is no source, without `=` no
/// value.
pub(super) fn label(text: &str) -> (&str, &str, &str) {
    let (source, rest) = text.split_once(':').unwrap_or(("", text));
    let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
    (source, key, value)
}

impl Selector {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        SelectorParser { tokens: Lexer { text, letters: text.char_indices().peekable() }.peekable() }.selector()
    }

    /// True if the labels meet every requirement. They may be walked more than once.
    #[allow(clippy::needless_pass_by_value, reason = "an iterator is handed over, as iterators are")]
    pub(super) fn selects<'a>(&self, labels: impl Iterator<Item = &'a str> + Clone) -> bool {
        self.0.iter().all(|requirement| requirement.met(labels.clone()))
    }
}

impl Requirement {
    fn met<'a>(&self, mut labels: impl Iterator<Item = &'a str>) -> bool {
        let value = labels.find_map(|text| {
            let (source, key, value) = label(text);
            let source_fits = self.source.as_ref().is_none_or(|wanted| wanted == source);
            (source_fits && key == self.key).then_some(value)
        });
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.rule {
            Rule::Exists => value.is_some(),
            Rule::Missing => value.is_none(),
            Rule::In(values) => value.is_some_and(|value| values.iter().any(|wanted| wanted == value)),
            Rule::NotIn(values) => value.is_none_or(|value| values.iter().all(|wanted| wanted != value)),
            Rule::Above(bound) => number().is_some_and(|number| number > *bound),
            Rule::Below(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

/// Words and signs. `in` and `notin` are words here; the parser knows where they are more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Sign(&'a str),
}

struct Lexer<'a> {
    text: &'a str,
    letters: Peekable<CharIndices<'a>>,
}

fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\r' | '\n')
}

fn is_sign(letter: char) -> bool {
    matches!(letter, '=' | '!' | '(' | ')' | ',' | '<' | '>')
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        while self.letters.next_if(|(_, letter)| is_space(*letter)).is_some() {}
        let (start, first) = self.letters.next()?;
        let mut end = start + first.len_utf8();
        if is_sign(first) {
            // The only signs of two letters: `==` and `!=`.
            if matches!(first, '=' | '!') && self.letters.next_if(|(_, letter)| *letter == '=').is_some() {
                end += 1;
            }
            return Some(Token::Sign(self.text.get(start..end).unwrap_or_default()));
        }
        while let Some((at, letter)) = self.letters.next_if(|(_, letter)| !is_space(*letter) && !is_sign(*letter)) {
            end = at + letter.len_utf8();
        }
        Some(Token::Word(self.text.get(start..end).unwrap_or_default()))
    }
}

struct SelectorParser<'a> {
    tokens: Peekable<Lexer<'a>>,
}

impl SelectorParser<'_> {
    fn selector(mut self) -> Result<Selector, String> {
        let mut requirements = Vec::new();
        if self.tokens.peek().is_none() {
            return Ok(Selector(requirements));
        }
        loop {
            requirements.push(self.requirement()?);
            match self.tokens.next() {
                None => return Ok(Selector(requirements)),
                Some(Token::Sign(",")) => {}
                Some(other) => return Err(format!("expected `,` or the end, found `{}`", other.text())),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let missing = self.tokens.next_if_eq(&Token::Sign("!")).is_some();
        let (source, key) = match self.tokens.next() {
            Some(Token::Word(word)) => key(word)?,
            other => return Err(format!("expected a key, found {}", found(other))),
        };
        let rule = match self.tokens.peek() {
            _ if missing => Rule::Missing,
            None | Some(Token::Sign(",")) => Rule::Exists,
            Some(_) => self.rule()?,
        };
        Ok(Requirement { source, key, rule })
    }

    fn rule(&mut self) -> Result<Rule, String> {
        match self.tokens.next() {
            Some(Token::Sign("=" | "==")) => Ok(Rule::In(vec![self.value()?])),
            Some(Token::Sign("!=")) => Ok(Rule::NotIn(vec![self.value()?])),
            Some(Token::Sign(">")) => Ok(Rule::Above(self.number()?)),
            Some(Token::Sign("<")) => Ok(Rule::Below(self.number()?)),
            Some(Token::Word("in")) => Ok(Rule::In(self.values()?)),
            Some(Token::Word("notin")) => Ok(Rule::NotIn(self.values()?)),
            other => Err(format!("expected one of =, ==, !=, >, <, in, notin; found {}", found(other))),
        }
    }

    /// Parses one value; an empty text is the empty value.
    fn value(&mut self) -> Result<String, String> {
        match self.tokens.peek() {
            None | Some(Token::Sign(",")) => Ok(String::new()),
            Some(&Token::Word(word)) => {
                self.tokens.next();
                checked_value(word)
            }
            Some(other) => Err(format!("expected a value, found `{}`", other.text())),
        }
    }

    fn number(&mut self) -> Result<i64, String> {
        let text = self.value()?;
        text.parse().map_err(|_| format!("expected a whole number, found `{text}`"))
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        if self.tokens.next() != Some(Token::Sign("(")) {
            return Err("expected values in parentheses, such as (a, b)".to_owned());
        }
        if self.tokens.next_if_eq(&Token::Sign(")")).is_some() {
            return Err("expected at least one value in the parentheses".to_owned());
        }
        let mut values = Vec::new();
        loop {
            let word = match self.tokens.peek() {
                Some(&Token::Word(word)) => {
                    self.tokens.next();
                    word
                }
                _ => "",
            };
            values.push(checked_value(word)?);
            match self.tokens.next() {
                Some(Token::Sign(",")) => {}
                Some(Token::Sign(")")) => return Ok(values),
                other => return Err(format!("expected `,` or `)`, found {}", found(other))),
            }
        }
    }
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Word(text) | Self::Sign(text) => text,
        }
    }
}

fn found(token: Option<Token<'_>>) -> String {
    token.map_or_else(|| "the end".to_owned(), |token| format!("`{}`", token.text()))
}

/// Source and key of `source:key`.
fn key(word: &str) -> Result<(Option<String>, String), String> {
    let (source, key) = match word.split_once(':') {
        Some((source, key)) => (Some(source), key),
        None => (None, word),
    };
    let (domain, name) = key.split_once('/').map_or((None, key), |(domain, name)| (Some(domain), name));
    let part = |text: &str| {
        !text.is_empty() && text.split('.').all(|part| is_name(part, |letter| letter.is_ascii_lowercase(), "-"))
    };
    if domain.is_some_and(|domain| domain.len() > 253 || !part(domain)) {
        return Err(format!("`{word}`: what stands before the `/` of a key must be a DNS name"));
    }
    if name.len() > 63 || !is_name(name, |letter| letter.is_ascii_alphabetic(), "-_.") {
        return Err(format!(
            "`{word}`: a key has 1 to 63 letters, digits, `-`, `_` and `.`, and begins and ends with a letter or digit"
        ));
    }
    Ok((source.filter(|source| *source != "any").map(str::to_owned), key.to_owned()))
}

fn checked_value(word: &str) -> Result<String, String> {
    if word.len() > 63 || !(word.is_empty() || is_name(word, |letter| letter.is_ascii_alphabetic(), "-_.")) {
        return Err(format!(
            "`{word}`: a value has up to 63 letters, digits, `-`, `_` and `.`, and begins and ends with a letter or digit"
        ));
    }
    Ok(word.to_owned())
}

/// True for letters, digits and `between`, of which the last cannot stand at either end.
fn is_name(text: &str, is_letter: impl Fn(char) -> bool, between: &str) -> bool {
    let outer = |letter: char| is_letter(letter) || letter.is_ascii_digit();
    text.starts_with(outer)
        && text.ends_with(outer)
        && text.chars().all(|letter| outer(letter) || between.contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str, labels: &[&str]) -> bool {
        Selector::read(selector).unwrap().selects(labels.iter().copied())
    }

    /// Contract, 2.6, source_label: every operator, and what a missing key means to it.
    #[test]
    fn operators() {
        let labels = ["k8s:app=foo", "k8s:team=7", "reserved:world", "x:app=bar"];
        for (selector, wanted) in [
            ("k8s:app=foo", true),
            ("app=foo", true),
            ("app==foo", true),
            ("any:app", true),
            ("x:app=bar", true),
            ("app=bar", false), // the first label with the key decides
            ("y:app", false),
            ("reserved:world", true),
            ("app in (a, foo)", true),
            ("app notin (a, foo)", false),
            ("nope notin (a)", true),
            ("nope != a", true),
            ("!nope", true),
            ("!app", false),
            ("team>5", true),
            ("team > 7", false),
            ("team<8,app=foo", true),
            ("app>1", false),
            ("", true),
            ("reserved:world=", true),
            ("in", false),
            ("in in (in)", false),
        ] {
            assert_eq!(selects(selector, &labels), wanted, "{selector}");
        }
    }

    /// Selectors that Kubernetes refuses are refused here too, with the expected value.
    #[test]
    fn mistakes() {
        for wrong in [
            ",",
            "a,",
            "a b",
            "a in",
            "a in ()",
            "a in (b",
            "a=b=c",
            "a>x",
            "!",
            "!a=b",
            "=a",
            "a=-b",
            "-a",
            "a:b:c",
            "a/b/c",
            "UP/a",
            "a in (b c)",
            "a=b(",
            "a=!",
            "ä",
        ] {
            assert!(Selector::read(wrong).is_err(), "{wrong}");
        }
    }
}
