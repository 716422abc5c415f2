//! Reads a large document in JSON, as `kubectl get -o json` prints a cluster: one list; its items
//! are cut out and parsed one by one.

use std::io::Read;

use serde::Deserialize;
use serde::de::DeserializeSeed;
use webb_settings::file::{FileError, not_text};

use super::ManifestError;
use super::document::Document;
use super::head::{Item, Lenient, Place, Text, known};
use super::input::Input;
use super::loading::Loading;
use super::tree::Tree;
use super::typed::One;
use crate::cutter::{Cut, Cutter};
use crate::passed_over::PassedOver;

/// Fields of a list that describe its items.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct List {
    kind: Text,
    api_version: Text,
    /// All of it has been read, and not only what stands before the items.
    #[serde(skip)]
    is_whole: bool,
}

/// Offset at which a JSON document begins; none for other documents.
pub(super) fn begins(head: &[u8]) -> Option<usize> {
    let mut rest = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    rest = rest.strip_prefix(b"---").unwrap_or(rest).trim_ascii_start();
    let is_json = rest.strip_prefix(b"{").is_some_and(|inside| inside.trim_ascii_start().starts_with(b"\""));
    is_json.then(|| head.len() - rest.len())
}

/// Reads a document of which `head` was read before; it begins there at a byte, after lines of the
/// file.
pub(super) fn read<R: Read>(
    file: &str,
    (head, begin, lines_before): (&[u8], usize, u64),
    input: &mut Input<R>,
    loading: &mut Loading<'_>,
) -> Result<(), ManifestError> {
    let (skipped, head) = head.split_at_checked(begin).unwrap_or_default();
    let lines_before = lines_before + memchr::memchr_iter(b'\n', skipped).count() as u64;
    let broken = |line: u64, why: String| ManifestError::Json { file: file.to_owned(), line: line.max(1), why };
    let unreadable = |why: FileError| ManifestError::Unreadable { file: file.to_owned(), why };
    // As where documents are read whole, one letter that is none refuses the file.
    let readable = |bytes: &[u8], lines_before: u64| match str::from_utf8(bytes) {
        Ok(_) => Ok(()),
        Err(error) => Err(unreadable(not_text(bytes, error, lines_before))),
    };
    let mut cutter = Cutter::of_objects();
    cutter.push(head);
    let (mut list, mut waiting): (Option<List>, Vec<Cut>) = (None, Vec::new());
    loop {
        while let Some(cut) = cutter.next().map_err(|error| broken(input.lines(), error.to_string()))? {
            let list = list.get_or_insert_with(|| serde_json::from_slice(&cutter.beginning()).unwrap_or_default());
            readable(&cut.item, lines_before + cut.lines_before)?;
            waiting.extend(item(cut, lines_before, list, loading));
        }
        match input.piece() {
            Ok(Some(piece)) => cutter.push(piece),
            Ok(None) => break,
            Err(error) => return Err(unreadable(error.into())),
        }
    }
    if cutter.is_open() {
        return Err(broken(input.lines(), "it ends in the middle of an object or a list".to_owned()));
    }
    let (before, of_items) = cutter.lines();
    let rest = cutter.into_rest();
    let mut list: List = serde_json::from_slice(&rest).map_err(|error| {
        let line = error.line() as u64;
        let behind = if line > before + 1 { of_items } else { 0 };
        broken(lines_before + behind + line, words(&error))
    })?;
    // Says what is wrong with what is no list; a list has no items any more.
    readable(&rest, lines_before)?;
    let text = str::from_utf8(&rest).unwrap_or_default();
    Document { text, lines_before }.read(file, loading)?;
    list.is_whole = true;
    for cut in waiting {
        let _read = item(cut, lines_before, &list, loading);
    }
    Ok(())
}

/// Reads an item. Gives it back if neither it nor the list says yet of which kind and version it
/// is.
fn item(Cut { item, lines_before }: Cut, before: u64, list: &List, loading: &mut Loading<'_>) -> Option<Cut> {
    let lines_of_file = before + lines_before;
    let text = str::from_utf8(&item).map_err(|error| (1, error.to_string()));
    let head = text.clone().and_then(|text| {
        let head = serde_json::from_str::<Lenient<Item>>(text);
        head.map_err(|error| (error.line() as u64, words(&error)))
    });
    let (text, Lenient(head)) = match (text, head) {
        (Ok(text), Ok(head)) => (text, head),
        (Err((line, why)), _) | (_, Err((line, why))) => {
            loading.problems.push(lines_of_file + line, "object".to_owned(), format!("not valid JSON: {why}"));
            return None;
        }
    };
    let of_list = list.kind.as_str();
    let is_unsaid = |of_item: &Text, of_list: &Text| of_item.as_str().is_empty() && of_list.as_str().is_empty();
    if !list.is_whole && (is_unsaid(&head.kind, &list.kind) || is_unsaid(&head.api_version, &list.api_version)) {
        return Some(Cut { item, lines_before });
    }
    let line = lines_of_file + 1;
    let place = Place::new(line, head.kind.text_or(of_list.strip_suffix("List").unwrap_or_default()), head.metadata);
    let kind = match known(&place.kind, &head.api_version.text_or(list.api_version.as_str()), &loading.others) {
        Ok(kind) => kind,
        Err(refused) => {
            loading.refuse_kind(&place, refused);
            return None;
        }
    };
    let document = Document { text, lines_before: lines_of_file };
    if let Ok(raw) = One(kind).deserialize(&mut serde_json::Deserializer::from_str(text)) {
        document.add(raw, PassedOver::default(), None, &place, loading);
        return None;
    }
    match serde_json::from_str::<Tree>(text) {
        Ok(tree) => document.read_tree(tree, kind, None, &place, loading),
        Err(error) => {
            let (line, why) = (lines_of_file + error.line() as u64, words(&error));
            loading.refuse(line, &place, Some(kind), format!("not valid JSON: {why}"));
        }
    }
    None
}

/// The parser's words without their place, which counts from the beginning of the item.
fn words(error: &serde_json::Error) -> String {
    let words = error.to_string();
    words.get(..words.rfind(" at line ").unwrap_or(words.len())).unwrap_or_default().to_owned()
}
