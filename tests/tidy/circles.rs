//! No circle between the files of a room, which is a crate or a module of `src`: what each file
//! imports, followed through re-exports to the file that defines it.
//!
//! A re-export (`pub use`) is no import unless the file uses the name itself: a `mod.rs` may show
//! what its children define and be used by them. Items behind `#[cfg(test)]` are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Complaint, code_only, complain, is_word, line_of};

/// A path of modules below `src`: `["metrics", "plugins", "dns"]`.
type Module = Vec<String>;

/// One `use` or path in code.
#[derive(Debug, PartialEq, Eq)]
struct Import {
    at: usize,
    segments: Vec<String>,
    /// The name it has from here on.
    name: Option<String>,
    /// True for `pub use`, of any visibility.
    exported: bool,
}

/// The files of all rooms, with what they import.
#[derive(Default)]
struct Tree {
    files: BTreeMap<Module, File>,
    /// Rooms that are crates.
    crates: BTreeSet<String>,
}

struct File {
    path: String,
    code: String,
    imports: Vec<Import>,
    /// The words of the code beside imports and declarations of modules.
    words: BTreeSet<String>,
}

impl File {
    fn new(path: &Path, source: &str) -> Self {
        let code = code_only(source);
        let code = without_tests(code);
        let mut words = BTreeSet::new();
        let mut tokens = tokens(&code).into_iter().map(|(_, token)| token);
        while let Some(token) = tokens.next() {
            match token {
                "use" => _ = tokens.find(|token| *token == ";"),
                "mod" => _ = tokens.next(),
                word => _ = words.insert(word.to_owned()),
            }
        }
        Self { path: path.display().to_string(), imports: imports(&code), code, words }
    }

    /// True if what an import brings in is used by the file itself.
    fn uses(&self, import: &Import) -> bool {
        !import.exported || import.name.as_ref().is_some_and(|name| self.words.contains(name))
    }
}

/// Code with the items behind `#[cfg(test)]` blanked out, byte for byte.
fn without_tests(mut code: String) -> String {
    const MARK: &str = "#[cfg(test)]";
    while let Some(start) = code.find(MARK) {
        let mut depth = 0;
        let end = code[start + MARK.len()..].char_indices().find(|(_, letter)| {
            depth += i32::from(matches!(letter, '{' | '(' | '[')) - i32::from(matches!(letter, '}' | ')' | ']'));
            depth == 0 && matches!(letter, '}' | ';')
        });
        let end = end.map_or(code.len(), |(at, _)| start + MARK.len() + at + 1);
        let blank: String = code[start..end].chars().map(|letter| if letter == '\n' { '\n' } else { ' ' }).collect();
        code.replace_range(start..end, &blank);
    }
    code
}

/// The module of a file below `src`.
fn module(path: &Path) -> Module {
    let mut parts: Module = path.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// The words and signs of code, each with its place.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(letter) = code[at..].chars().next() {
        let rest = &code[at..];
        let length = if is_word(letter) {
            rest.find(|letter| !is_word(letter)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            letter.len_utf8()
        };
        if !letter.is_whitespace() {
            tokens.push((at, &rest[..length]));
        }
        at += length;
    }
    tokens
}

/// The imports of a `use` from its first word on; what follows it is left.
fn use_tree(tokens: &mut &[(usize, &str)], before: &[String], exported: bool, found: &mut Vec<Import>) {
    let mut segments = before.to_vec();
    let mut place = tokens.first().map_or(0, |(at, _)| *at);
    let mut name = None;
    while let Some(&(at, token)) = tokens.first() {
        match token {
            "," | "}" | ";" => break,
            "::" => *tokens = &tokens[1..],
            "{" => {
                *tokens = &tokens[1..];
                while tokens.first().is_some_and(|(_, token)| *token != "}" && *token != ";") {
                    use_tree(tokens, &segments, exported, found);
                    if tokens.first().is_some_and(|(_, token)| *token == ",") {
                        *tokens = &tokens[1..];
                    }
                }
                *tokens = tokens.get(1..).unwrap_or_default();
                return;
            }
            "as" => {
                name = tokens.get(1).map(|(_, name)| (*name).to_owned());
                *tokens = tokens.get(2..).unwrap_or_default();
            }
            _ => {
                place = at;
                // `self` at the end of a path is the module before it.
                if token != "self" || segments.is_empty() {
                    segments.push(token.to_owned());
                }
                *tokens = &tokens[1..];
            }
        }
    }
    let name = name.or_else(|| segments.last().cloned());
    found.push(Import { at: place, segments, name, exported });
}

/// Every import of a file: `use`, and paths in the code itself.
fn imports(code: &str) -> Vec<Import> {
    let all = tokens(code);
    let mut rest = &all[..];
    let mut before = [""; 2];
    let mut found = Vec::new();
    while let Some(&(at, token)) = rest.first() {
        if token == "use" {
            rest = &rest[1..];
            // `pub use`, `pub(crate) use`.
            use_tree(&mut rest, &[], before[1] == "pub" || before[1] == ")", &mut found);
        } else if is_word(token.chars().next().unwrap()) && rest.get(1).is_some_and(|(_, next)| *next == "::") {
            let mut segments = vec![token.to_owned()];
            rest = &rest[1..];
            while let [(_, "::"), (_, next), ..] = rest {
                if !is_word(next.chars().next().unwrap()) {
                    break;
                }
                segments.push((*next).to_owned());
                rest = &rest[2..];
            }
            if before[1] != "::" {
                found.push(Import { at, segments, name: None, exported: false });
            }
            before = ["", ""];
            continue;
        } else {
            rest = &rest[1..];
        }
        before = [before[1], token];
    }
    found
}

impl Tree {
    fn new<'a>(sources: impl IntoIterator<Item = (&'a Path, &'a str)>, crates: BTreeSet<String>) -> Self {
        let mut tree = Self { crates, ..Self::default() };
        for (path, source) in sources {
            let is_test = path.iter().any(|part| part == "tests" || part == "tests.rs");
            if is_test {
                continue;
            }
            tree.files.insert(module(path), File::new(path, source));
        }
        tree
    }

    /// The file that defines what a path in `from` names; none if that is not of this crate.
    fn target(&self, from: &Module, segments: &[String], depth: usize) -> Option<Module> {
        let (first, rest) = segments.split_first()?;
        let (mut at, mut rest) = match first.as_str() {
            "crate" => (from.iter().take(1).filter(|room| self.crates.contains(*room)).cloned().collect(), rest),
            "self" => (from.clone(), rest),
            "super" => (from[..from.len() - 1].to_vec(), rest),
            child => {
                let mut below = from.clone();
                below.push(child.to_owned());
                if !self.files.contains_key(&below) {
                    return None;
                }
                (below, rest)
            }
        };
        while let Some((next, behind)) = rest.split_first() {
            if next == "super" {
                at.pop();
                rest = behind;
                continue;
            }
            let mut below = at.clone();
            below.push(next.clone());
            if self.files.contains_key(&below) {
                (at, rest) = (below, behind);
                continue;
            }
            let file = self.files.get(&at)?;
            let exported = file.imports.iter().find(|import| import.exported && import.name.as_ref() == Some(next));
            return match exported {
                // A re-export leads on; the depth ends what leads to itself.
                Some(import) if depth < 9 => self.target(&at, &import.segments, depth + 1),
                _ => Some(at),
            };
        }
        Some(at)
    }

    /// Imports between the files of a room, with the place of the first one.
    fn edges(&self, room: &str) -> BTreeMap<&Module, BTreeMap<Module, usize>> {
        let mut edges = BTreeMap::new();
        for (module, file) in self.files.iter().filter(|(module, _)| module.first().is_some_and(|top| top == room)) {
            let mut used = BTreeMap::new();
            for import in file.imports.iter().filter(|import| file.uses(import)) {
                if let Some(target) = self.target(module, &import.segments, 0)
                    && target != *module
                    && target.first().is_some_and(|top| top == room)
                {
                    used.entry(target).or_insert(import.at);
                }
            }
            edges.insert(module, used);
        }
        edges
    }

    /// The imports that are part of a circle within a room.
    fn circles(&self, room: &str) -> Vec<(&str, Complaint)> {
        let edges = self.edges(room);
        let reached = |from: &Module| {
            let mut reached = BTreeSet::new();
            let mut open = vec![from];
            while let Some(module) = open.pop() {
                for next in edges.get(module).into_iter().flat_map(BTreeMap::keys) {
                    if reached.insert(next) {
                        open.push(next);
                    }
                }
            }
            reached
        };
        let all: BTreeMap<&Module, BTreeSet<&Module>> = edges.keys().map(|module| (*module, reached(module))).collect();
        let mut circles = Vec::new();
        for (module, used) in &edges {
            for (target, at) in
                used.iter().filter(|(target, _)| all.get(target).is_some_and(|back| back.contains(module)))
            {
                let file = &self.files[*module];
                let text =
                    format!("circle in `{room}`: `{}` is used here, and uses this file in turn", target.join("::"));
                circles.push((file.path.as_str(), complain(line_of(&file.code, *at), text)));
            }
        }
        circles
    }
}

/// The circles of all rooms.
fn check_circles<'a>(sources: impl IntoIterator<Item = (&'a Path, &'a str)>, crates: BTreeSet<String>) -> Vec<String> {
    let tree = Tree::new(sources, crates);
    let rooms: BTreeSet<&String> = tree.files.keys().filter_map(|module| module.first()).collect();
    let circles = rooms.into_iter().flat_map(|room| tree.circles(room));
    circles.map(|(path, found)| format!("{path}:{}: {}", found.line, found.text)).collect()
}

/// A room can become a crate, and a file can be read, only where nothing leads back.
#[test]
fn no_file_uses_itself_by_way_of_others() {
    let files = super::files();
    let rooms: Vec<(PathBuf, &str)> = files
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|end| end == "rs"))
        .filter_map(|(path, source)| Some((super::in_rooms(path)?, source.as_str())))
        .collect();
    let crates = files.iter().filter(|(path, _)| path.starts_with("crates") && super::is_in_room(path));
    let crates = crates.filter_map(|(path, _)| Some(path.iter().nth(1)?.to_str()?.to_owned())).collect();
    let complaints = check_circles(rooms.iter().map(|(path, source)| (path.as_path(), *source)), crates);
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// The rule finds circles of every form, and leaves alone what only looks like one.
#[test]
fn circles_are_found() {
    fn found(parent: &str, files: &[(&str, &str)]) -> usize {
        let files = [&[("a/mod.rs", parent), ("b.rs", "use crate::a::A;")], files].concat();
        let sources = files.iter().map(|(path, source)| (Path::new(*path), *source));
        check_circles(sources, BTreeSet::new()).len()
    }
    let forth = ("a/b.rs", "use super::c::C;");
    // Two files; a third between them; a path in the code.
    assert_eq!(found("", &[forth, ("a/c.rs", "use crate::a::{x, b::{self, B}};")]), 2);
    assert_eq!(found("", &[forth, ("a/c.rs", "use super::d;"), ("a/d.rs", "use super::b as other;")]), 3);
    assert_eq!(found("", &[("a/b.rs", "fn f() { super::c::f() }"), ("a/c.rs", "fn f() { crate::a::b::f() }")]), 2);
    // A parent and its child: imported, in a list, in a path, exported and used.
    for parent in ["use b::B;", "use {b::{B}};", "list! { b::B }", "fn f() { b::f() }", "pub use b::B; fn f() -> B {}"]
    {
        assert_eq!(found(parent, &[("a/b.rs", "use super::A;")]), 2, "{parent}");
    }
    // By way of a re-export, under another name too.
    let parent = "pub use b::{B, X as Y}; pub(crate) use c::C;";
    assert_eq!(found(parent, &[("a/b.rs", "use super::C;"), ("a/c.rs", "use crate::a::{B, other};")]), 2);
    assert_eq!(found(parent, &[("a/b.rs", "use super::C;"), ("a/c.rs", "use super::Y;")]), 2);
    // One direction; a re-export alone; tests; comments; another room; a crate with the name of a
    // module.
    assert_eq!(found("", &[forth, ("a/c.rs", "use super::d::D;"), ("a/d.rs", "")]), 0);
    assert_eq!(found(parent, &[("a/b.rs", "use super::A;")]), 0);
    assert_eq!(found("", &[forth, ("a/c.rs", "#[cfg(test)]\nmod tests { use super::super::b; }")]), 0);
    // Behind a test there may be code again.
    assert_eq!(found("", &[forth, ("a/c.rs", "#[cfg(test)]\nmod tests { fn f() {} }\nuse super::b;")]), 2);
    assert_eq!(found("", &[forth, ("a/c.rs", "#[cfg(test)]\nmod tests;\nuse super::b;")]), 2);
    assert_eq!(found("", &[forth, ("a/c.rs", "// use super::b;\nconst X: &str = \"super::b\";")]), 0);
    assert_eq!(found("use crate::b::B;", &[]), 0);
    assert_eq!(found("", &[forth, ("a/c.rs", "use b::B;")]), 0);
    // In a crate, `crate` is the room itself.
    let in_crate = [forth, ("a/c.rs", "use crate::b::B;")].map(|(path, source)| (Path::new(path), source));
    assert_eq!(check_circles(in_crate, BTreeSet::from(["a".to_owned()])).len(), 2);
    assert_eq!(check_circles(in_crate, BTreeSet::new()).len(), 0);
}
