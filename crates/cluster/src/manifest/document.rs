//! One YAML document of a manifest: an object, or a `List` of them.

use serde::de::{DeserializeSeed, IgnoredAny};
use serde_saphyr::{DuplicateKeyPolicy, Error, Options, SnippetMode, Spanned, UserMessageFormatter};

use super::head::{Head, Item, Lenient, Place, Refused, known};
use super::typed::{Items, One};
use super::{Loading, ManifestError};

/// How many characters of a line a message repeats.
const QUOTED: usize = 80;

/// Text of a document and the lines before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Document<'a> {
    text: &'a str,
    lines_before: u64,
}

/// Cuts a file into its documents; those without content are left out.
pub(super) fn split(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut start, mut at, mut lines_before, mut lines) = (0, 0, 0, 0);
    let mut cut = |from: usize, to: usize, lines_before| {
        let text = text.get(from..to).unwrap_or_default();
        if text.lines().any(has_content) {
            documents.push(Document { text, lines_before });
        }
    };
    for line in text.split_inclusive('\n') {
        if is_marker(line, "---") {
            cut(start, at, lines_before);
            (start, lines_before) = (at, lines);
        }
        at += line.len();
        lines += 1;
        if is_marker(line, "...") {
            cut(start, at, lines_before);
            (start, lines_before) = (at, lines);
        }
    }
    cut(start, at, lines_before);
    documents
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// False for blank lines, comments, directives and bare markers.
fn has_content(line: &str) -> bool {
    let line = if is_marker(line, "---") || is_marker(line, "...") { line.get(3..).unwrap_or_default() } else { line };
    let line = line.trim_start_matches(['\u{feff}', ' ', '\t', '\r']);
    !(line.is_empty() || line.starts_with(['#', '%']))
}

impl<'a> Document<'a> {
    /// Reads it into `loading`.
    pub(super) fn read(self, file: &str, loading: &mut Loading) -> Result<(), ManifestError> {
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
        // A list without items is empty; that is said by its kind only where nothing else could be meant.
        if kind == "List" || (kind.ends_with("List") && head.items.is_some()) {
            self.read_list(&kind, &version, head.items.unwrap_or_default(), loading);
            return Ok(());
        }
        let place = Place::new(first, kind, head.metadata);
        match known(&place.kind, &version, &loading.others) {
            Err(Refused { why, kind }) => loading.refuse(place.line, &place, kind, why),
            Ok(kind) => match self.with(|from| One(kind).deserialize(from)) {
                Ok(raw) => loading.add(&place, raw),
                Err(why) => loading.refuse(self.line(&why), &place, Some(kind), self.message(&why)),
            },
        }
        Ok(())
    }

    /// Reads the items. A mistake ends the reading of YAML into types, so it starts over without the bad item, until
    /// all that remains is good or there are more problems than anyone reads.
    fn read_list(self, kind: &str, version: &str, items: Vec<Spanned<Lenient<Item>>>, loading: &mut Loading) {
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
                Err(Refused { why, kind }) => {
                    loading.refuse(place.line, &place, kind, why);
                    None
                }
            });
            places.push(place);
        }
        while !places.is_empty() {
            let mut found = Vec::new();
            let mut at = 0;
            let read = self.with(|from| Items { wanted: &wanted, found: &mut found, at: &mut at }.deserialize(from));
            let Err(why) = read else {
                for (place, raw) in places.iter().zip(found) {
                    if let Some(raw) = raw {
                        loading.add(place, raw);
                    }
                }
                return;
            };
            let (Some(place), Some(bad)) = (places.get(at), wanted.get_mut(at)) else {
                loading.problems.push(self.line(&why), kind.to_owned(), self.message(&why));
                return;
            };
            let kind = bad.take();
            loading.refuse(self.line(&why), place, kind, self.message(&why));
            if loading.problems.is_full() {
                loading.problems.skip(wanted.iter().flatten().count());
                return;
            }
        }
    }

    fn with<T>(self, read: impl FnOnce(serde_saphyr::Deserializer<'a, '_>) -> Result<T, Error>) -> Result<T, Error> {
        serde_saphyr::with_deserializer_from_str_with_options(self.text, options(DuplicateKeyPolicy::Error), read)
    }

    /// Line in the file of a mistake in this document.
    fn line(self, why: &Error) -> u64 {
        self.lines_before + why.location().map_or(1, |at| at.line().max(1))
    }

    /// The parser's words, after the line that they are about. Their own place is left out: it counts from the
    /// document's beginning.
    fn message(self, why: &Error) -> String {
        let options = serde_saphyr::render_options! { formatter: &UserMessageFormatter, snippets: SnippetMode::Off };
        let words = why.render_with_options(options);
        let words = words.strip_prefix("error: ").unwrap_or(&words);
        let words = words.get(..words.rfind(" at line ").unwrap_or(words.len())).unwrap_or(words);
        let line = why.location().and_then(|at| usize::try_from(at.line().checked_sub(1)?).ok());
        match line.and_then(|line| self.text.lines().nth(line)).map(str::trim).filter(|line| !line.is_empty()) {
            None => words.to_owned(),
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

/// Room for a whole cluster; the file's own length is the limit that counts. A key given twice is a mistake of its
/// object, so it is refused only where objects are read into their types.
fn options(duplicate_keys: DuplicateKeyPolicy) -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
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
