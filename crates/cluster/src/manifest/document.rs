//! One YAML document of a manifest: an object, or a `List` of them.

use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeSeed, IgnoredAny};
use serde_saphyr::{DuplicateKeyPolicy, Error, Options, SnippetMode, Spanned, UserMessageFormatter};

use super::head::{Head, Item, Lenient, Place, known};
use super::input::is_marker;
use super::loading::Loading;
use super::locate::{Locate, line_of};
use super::problem::ManifestError;
use super::tree::Tree;
use super::typed::{Items, One};
use crate::{Invalid, Kind, PassedOver, Raw, partly};

/// Maximal number of characters of a line that a message repeats.
const QUOTED: usize = 80;

/// The longest document, in bytes, that is read whole. Of such the line of each part is told that
/// is passed over; of others, that of the object. For each part the document is read once more.
pub(super) const LOCATED: usize = 64 << 10;

/// Text of a document and the lines before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Document<'a> {
    pub(super) text: &'a str,
    pub(super) lines_before: u64,
}

/// False for blank lines, comments, directives and bare markers.
fn has_content(line: &str) -> bool {
    let is_marker = |marker: &[u8]| is_marker(line.as_bytes(), marker);
    let line = if is_marker(b"---") || is_marker(b"...") { line.get(3..).unwrap_or_default() } else { line };
    let line = line.trim_start_matches(['\u{feff}', ' ', '\t', '\r']);
    !(line.is_empty() || line.starts_with(['#', '%']))
}

impl<'a> Document<'a> {
    /// Reads it into `loading`, if there is anything in it.
    pub(super) fn read(self, file: &str, loading: &mut Loading<'_>) -> Result<(), ManifestError> {
        if !self.text.lines().any(has_content) {
            return Ok(());
        }
        let head: Head = match serde_saphyr::from_str_with_options(self.text, options(DuplicateKeyPolicy::FirstWins)) {
            Ok(head) => head,
            Err(why) => {
                // A document that is YAML but no object is only a bad object.
                let any: Result<IgnoredAny, Error> =
                    serde_saphyr::from_str_with_options(self.text, options(DuplicateKeyPolicy::FirstWins));
                let Err(broken) = any else {
                    loading.problems.push(self.line(&why), "object".to_owned(), self.message(&why));
                    return Ok(());
                };
                return Err(ManifestError::Yaml {
                    file: file.to_owned(),
                    line: self.line(&broken),
                    why: self.message(&broken),
                });
            }
        };
        let first = self.lines_before + self.first_line();
        let (kind, version) = (head.kind.text(), head.api_version.text());
        // A list without items is empty; that is said by its kind only where nothing else could be
        // meant.
        if kind == "List" || (kind.ends_with("List") && head.items.is_some()) {
            self.read_list(&kind, &version, head.items.unwrap_or_default(), loading);
            return Ok(());
        }
        let place = Place::new(first, kind, head.metadata);
        match known(&place.kind, &version, &loading.others) {
            Err(refused) => loading.refuse_kind(&place, refused),
            Ok(kind) => match self.with(DuplicateKeyPolicy::PassThrough, |from| Tree::deserialize(from)) {
                Ok(tree) if tree.twice.is_none() => self.read_tree(tree, kind, None, &place, loading),
                // The parser names the line of the second key.
                _ => match self.with(DuplicateKeyPolicy::Error, |from| One(kind).deserialize(from)) {
                    Ok(_) => loading.refuse(first, &place, Some(kind), "a key is there twice".to_owned()),
                    Err(why) => loading.refuse(self.line(&why), &place, Some(kind), self.message(&why)),
                },
            },
        }
        Ok(())
    }

    /// Reads an object, without the parts that do not fit its type. `item` is its place in a list.
    pub(super) fn read_tree(
        self,
        tree: Tree,
        kind: Kind,
        item: Option<usize>,
        place: &Place,
        loading: &mut Loading<'_>,
    ) {
        match parts_of(tree, kind) {
            Ok((raw, passed_over)) => self.add(raw, passed_over, item, place, loading),
            Err(why) => loading.refuse(place.line, place, Some(kind), why.to_string()),
        }
    }

    pub(super) fn add(
        self,
        raw: Raw,
        passed_over: PassedOver,
        item: Option<usize>,
        place: &Place,
        loading: &mut Loading<'_>,
    ) {
        let read = |seed: Locate<'_>| self.with(DuplicateKeyPolicy::PassThrough, |from| seed.deserialize(from));
        loading.add(place, raw, passed_over, |part| {
            let found = if self.text.len() <= LOCATED { line_of(part, item, read) } else { None };
            found.map_or(place.line, |line| self.lines_before + line)
        });
    }

    /// Reads the items, each first as a tree: a mistake would end the reading of YAML into types.
    fn read_list(self, kind: &str, version: &str, items: Vec<Spanned<Lenient<Item>>>, loading: &mut Loading<'_>) {
        // Items of a PodList and its like don't repeat what they are.
        let of_items = kind.strip_suffix("List").unwrap_or_default();
        let mut places = Vec::new();
        let mut wanted = Vec::new();
        for item in items {
            let line = self.lines_before + item.referenced.line();
            let Lenient(item) = item.value;
            let place = Place::new(line, item.kind.text_or(of_items), item.metadata);
            let version = item.api_version.text_or(version);
            wanted.push(match known(&place.kind, &version, &loading.others) {
                Ok(kind) => Some(kind),
                Err(refused) => {
                    loading.refuse_kind(&place, refused);
                    None
                }
            });
            places.push(place);
        }
        if places.is_empty() {
            return;
        }
        let read = self.with(DuplicateKeyPolicy::PassThrough, |from| {
            let take = |at: usize, tree: Tree| {
                if let (Some(place), Some(Some(kind))) = (places.get(at), wanted.get(at)) {
                    self.read_tree(tree, *kind, Some(at), place, loading);
                }
            };
            Items { wanted: &wanted, read: |_| PhantomData, take }.deserialize(from)
        });
        if let Err(why) = read {
            loading.problems.push(self.line(&why), kind.to_owned(), self.message(&why));
        }
    }

    fn with<T>(
        self,
        duplicate_keys: DuplicateKeyPolicy,
        read: impl FnOnce(serde_saphyr::Deserializer<'a, '_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        serde_saphyr::with_deserializer_from_str_with_options(self.text, options(duplicate_keys), read)
    }

    /// Line in the file of a mistake in this document.
    fn line(self, why: &Error) -> u64 {
        line_in(self.lines_before, why)
    }

    /// The parser's words, after the line that they are about.
    fn message(self, why: &Error) -> String {
        let words = words(why);
        let line = why.location().and_then(|at| usize::try_from(at.line().checked_sub(1)?).ok());
        match line.and_then(|line| self.text.lines().nth(line)).map(str::trim).filter(|line| !line.is_empty()) {
            None => words,
            Some(line) => {
                let quoted: String = line.chars().take(QUOTED).collect();
                let cut = if quoted.len() < line.len() { "..." } else { "" };
                format!("`{quoted}{cut}`: {words}")
            }
        }
    }

    fn first_line(self) -> u64 {
        self.text.lines().position(has_content).and_then(|at| u64::try_from(at + 1).ok()).unwrap_or(1)
    }
}

/// An object without the parts that do not fit its type, and what they are.
pub(super) fn parts_of(tree: Tree, kind: Kind) -> Result<(Raw, PassedOver), Invalid> {
    if let Some(key) = tree.twice {
        return Err(Invalid(format!("the key `{}` is there twice", key.escape_debug())));
    }
    match One(kind).deserialize(&tree.value) {
        Ok(raw) => Ok((raw, PassedOver::default())),
        Err(_) => partly::read(kind, tree.value),
    }
}

/// Line in the file of a mistake in a document that begins behind so many lines.
pub(super) fn line_in(lines_before: u64, why: &Error) -> u64 {
    lines_before + why.location().map_or(1, |at| at.line().max(1))
}

/// The parser's words. Their own place is left out: it counts from the document's beginning.
pub(super) fn words(why: &Error) -> String {
    let options = serde_saphyr::render_options! { formatter: &UserMessageFormatter, snippets: SnippetMode::Off };
    let words = why.render_with_options(options);
    let words = words.strip_prefix("error: ").unwrap_or(&words);
    words.get(..words.rfind(" at line ").unwrap_or(words.len())).unwrap_or(words).to_owned()
}

/// Room for a whole cluster; the file's own length is the limit that counts. A key given twice is a
/// mistake of its object, so it is refused only where objects are read.
pub(super) fn options(duplicate_keys: DuplicateKeyPolicy) -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: None,
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_total_scalar_bytes: usize::MAX,
            max_total_comment_bytes: usize::MAX,
        },
        with_snippet: false,
        // A label `app: y` is a text, wherever the type does not say so.
        strict_booleans: true,
        duplicate_keys: duplicate_keys,
    }
}
