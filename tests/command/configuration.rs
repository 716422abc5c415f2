//! docs/configuration.md: every key, from the table of keys and the comments of `config/webb.yaml`.

use std::fmt::Write as _;

use serde_json::Value;
use webb_settings::{Environment, KEYS, Reload, resolve};

use crate::inventory::{between, golden};

const BEGIN: &str = "<!-- keys: written by tests/command/configuration.rs -->\n";
const END: &str = "<!-- end of keys -->\n";
const DOCUMENTED: &str = include_str!("../../config/webb.yaml");

/// Characters of a line of prose.
const WIDEST: usize = 100;

/// The comment right above the line of a key or a group, without its marks.
fn comment(name: &str) -> Vec<&'static str> {
    let (group, key) = name.split_once('.').map_or((None, name), |(group, key)| (Some(group), key));
    let lines: Vec<&str> = DOCUMENTED.lines().collect();
    let start = group.map_or(0, |group| lines.iter().position(|line| *line == format!("{group}:")).unwrap());
    let indent = if group.is_some() { "  " } else { "" };
    let is_key = |line: &&str| line.strip_prefix(indent).is_some_and(|line| line.starts_with(&format!("{key}:")));
    let at = start + lines[start..].iter().position(is_key).unwrap_or_else(|| panic!("{name} is not there"));
    let above = lines[..at].iter().rev().take_while(|line| line.trim_start().starts_with('#'));
    let mut found: Vec<&str> = above.map(|line| line.trim_start().trim_start_matches('#')).collect();
    found.reverse();
    found.into_iter().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect()
}

/// Marks of Markdown outside of code, escaped.
fn escaped(text: &str) -> String {
    let mut code = false;
    let mut out = String::new();
    for letter in text.chars() {
        code ^= letter == '`';
        if !code && matches!(letter, '*' | '<' | '~' | '[' | ']') {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

/// Names of other pages, as links.
fn linked(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let Some((before, rest)) = word.split_once("docs/") else { return word.to_owned() };
        let Some((page, after)) = rest.split_once(".md") else { return word.to_owned() };
        format!("{before}[{page}.md]({page}.md){after}")
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Prose in lines that are not too long; `rest` stands before all but the first.
fn wrapped(text: &str, rest: &str) -> String {
    let mut out = String::new();
    let mut width = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > WIDEST {
            write!(out, "\n{rest}{word}").unwrap();
            width = rest.len() + length;
        } else {
            let gap = if width > 0 { " " } else { "" };
            write!(out, "{gap}{word}").unwrap();
            width += gap.len() + length;
        }
    }
    out
}

/// A comment as Markdown: indented lines are an example.
fn prose(lines: &[&str]) -> String {
    let mut out = String::new();
    for part in lines.chunk_by(|one, other| one.starts_with(' ') == other.starts_with(' ')) {
        if part[0].starts_with(' ') {
            writeln!(out, "```yaml\n{}\n```\n", part.iter().map(|line| &line[2..]).collect::<Vec<_>>().join("\n"))
                .unwrap();
        } else {
            let text = part.join(" ").replace(" (live)", "").replace("(live; ", "(");
            writeln!(out, "{}\n", wrapped(&linked(&escaped(&text)), "")).unwrap();
        }
    }
    out
}

fn default(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// All keys, group by group, in the order of the file.
fn keys() -> String {
    let host = "HOST".to_owned();
    let defaults = resolve(None, &Environment { hostname: host.clone(), ..Environment::default() }, &[]).unwrap();
    let (mut out, mut last) = ("\n".to_owned(), "");
    for (key, entry) in KEYS.iter().zip(defaults.entries()) {
        assert_eq!(key.name, entry.key);
        let group = key.name.split_once('.').map_or("", |(group, _)| group);
        if !group.is_empty() && group != last {
            write!(out, "## {group}\n\n{}", prose(&comment(group))).unwrap();
        }
        let level = if group.is_empty() { "##" } else { "###" };
        write!(out, "{level} {}\n\n{}", key.name, prose(&comment(key.name))).unwrap();
        let value = default(&entry.value);
        let value = if value == host { "null".to_owned() } else { value };
        let default = if value.is_empty() { "empty".to_owned() } else { format!("`{value}`") };
        let when = match key.reload {
            Reload::Live => "at a reload",
            Reload::Restart => "at the next start",
        };
        let flag = key.flag.map(|flag| format!(", flag `{flag}`")).unwrap_or_default();
        let rows = [
            format!("Default: {default}"),
            format!("Expected: {}", escaped(key.expected)),
            format!("A change takes effect {when}"),
            format!("Variable `{}`{flag}", key.variable()),
        ];
        for row in rows {
            writeln!(out, "{}", wrapped(&format!("- {row}."), "  ")).unwrap();
        }
        out.push('\n');
        last = group;
    }
    out
}

/// The page has every key as the code has it.
#[test]
fn the_page_has_every_key() {
    golden("docs/configuration.md", |page| between(page, BEGIN, END, &keys()));
}

/// Marks are escaped outside of code only, and lines are broken between words.
#[test]
fn comments_become_markdown() {
    assert_eq!(escaped("a * `b*` [c]"), "a \\* `b*` \\[c\\]");
    assert_eq!(linked("in docs/a-b.md, (docs/c.md)."), "in [a-b.md](a-b.md), ([c.md](c.md)).");
    let words = "word ".repeat(30);
    let broken = wrapped(words.trim(), "  ");
    assert!(broken.lines().all(|line| line.chars().count() <= WIDEST) && broken.lines().count() == 2, "{broken}");
    assert_eq!(broken.split_whitespace().count(), 30);
    assert_eq!(prose(&["An example (live):", "  a: 1"]), "An example:\n\n```yaml\na: 1\n```\n\n");
}
