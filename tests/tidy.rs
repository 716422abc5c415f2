//! House rules that the compiler and clippy do not check: the floors, file lengths, banned calls,
//! licence lines, profiles.
//!
//! Every rule is a function from text to complaints, and each is shown below to find a bad sample;
//! a rule that finds nothing by mistake would be worse than none.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/kernels.rs"]
mod kernels;
#[path = "tidy/links.rs"]
mod links;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The floors of `src`: a module may use only modules on lower floors. Below them are the crates,
/// whose floors the compiler holds.
const FLOORS: &[(u8, &[&str])] = &[
    (0, &["logging", "reloads", "startup", "records", "readings", "network", "output", "privileges", "families"]),
    (0, &["display", "http_client"]),
    (1, &["selfmetrics", "pipeline", "bpf_loader", "conntrack", "exports", "health", "ipsec", "server", "tls"]),
    (2, &["actors", "agent_metrics", "operator_metrics", "relay_metrics", "top"]),
    (3, &["http", "cli"]),
    (TOP, &["app", "main", "lib"]),
];

/// Floor of the modules that join all others and may use all.
const TOP: u8 = 4;

/// Crates below `src` at most: each one more is a place for a version, and a border to explain.
const CRATES_AT_MOST: usize = 11;

/// Lines of a crate's README at most.
const INTRODUCTION: usize = 15;

/// Lines that a source file may have, outside `tests` and `fuzz`.
const LONGEST: usize = 500;

/// Characters of a line of prose, in Markdown and in comments.
const WIDEST: usize = 100;

/// Crates that only some modules may name.
const CRATES: &[(&str, &[&str], &str)] = &[
    (
        "actix",
        &["actors", "http", "server", "app", "main"],
        "actors are a thin skin: keep the work in a module below them",
    ),
    ("aya", &["bpf_loader"], "the eBPF library changes often: all of its use stays in bpf_loader"),
    ("rtnetlink", &["network"], "what the kernel says of interfaces is worked out in one place"),
    ("netlink_packet_xfrm", &["ipsec"], "what the kernel says of IPsec is worked out in one place"),
    ("tonic", &["names", "observer"], "each API of gRPC is served in one place"),
    ("ratatui_core", &["top"], "what is drawn on a terminal is in one place"),
    ("ratatui_crossterm", &["top"], "what is drawn on a terminal is in one place"),
    ("kube", &["cluster"], "the cluster's source must be replaceable: all use of kube stays in cluster"),
    ("k8s_openapi", &["cluster"], "Kubernetes' types stay in cluster"),
    ("foldhash", &["flow"], "a table that others can feed must be seeded well: use webb_flow::hash::RandomState"),
];

/// Crates that must not ask for the time: they get it with the batch, or tests could not repeat
/// anything.
const TIMELESS: &[&str] = &["metrics", "decode", "flow", "index"];

/// Parts of these that are about time.
const CLOCKS: &[&str] = &["flow/clock.rs", "flow/fault"];

/// Words for persons, which no packet, flow, row or thread is.
const PERSONS: &[&str] =
    &["somebody", "someone", "nobody", "anybody", "anyone", "whoever", "hear", "hears", "heard", "honest", "believes"];

/// The licence of everything under `bpf`.
const BPF_LICENCE: &str = "SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause";

/// One thing that is not as it should be.
#[derive(Debug, PartialEq, Eq)]
struct Complaint {
    line: usize,
    text: String,
}

fn complain(line: usize, text: impl Into<String>) -> Complaint {
    Complaint { line, text: text.into() }
}

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(_, modules)| modules.contains(&module)).map(|(floor, _)| *floor)
}

/// The crate, or the top-level module of `src`, that a file belongs to; `path` is as [`in_rooms`]
/// has it.
fn module_of(path: &Path) -> String {
    path.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// Number of `super`s that lead from a file below `src` to the crate's root.
fn depth_of(path: &Path) -> usize {
    path.iter().count() - usize::from(path.ends_with("mod.rs"))
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// Rust code with comments and the insides of literals blanked out, byte for byte.
fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &source.as_bytes()[at..];
        let end = if rest.starts_with(b"//") {
            at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            end_of_comment(bytes, at)
        } else if rest[0] == b'"' {
            end_of_text(bytes, at + 1)
        } else if rest[0] == b'r' && !(at > 0 && is_word(char::from(bytes[at - 1])) && bytes[at - 1] != b'b') {
            end_of_raw(bytes, at)
        } else if rest[0] == b'\'' {
            end_of_char(bytes, at)
        } else {
            at
        };
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(code).unwrap()
}

fn end_of_comment(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start + 2, 1);
    while at < bytes.len() && depth > 0 {
        if bytes[at..].starts_with(b"/*") {
            (at, depth) = (at + 2, depth + 1);
        } else if bytes[at..].starts_with(b"*/") {
            (at, depth) = (at + 2, depth - 1);
        } else {
            at += 1;
        }
    }
    at
}

fn end_of_text(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// The end of `r"..."` or `r#"..."#`; `start` if there is none here.
fn end_of_raw(bytes: &[u8], start: usize) -> usize {
    let hashes = bytes[start + 1..].iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(start + 1 + hashes) != Some(&b'"') {
        return start;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let inside = start + hashes + 2;
    bytes[inside..]
        .windows(close.len())
        .position(|part| part == close)
        .map_or(bytes.len(), |at| inside + at + close.len())
}

/// The end of a character literal; `start` for a lifetime.
fn end_of_char(bytes: &[u8], start: usize) -> usize {
    if bytes.get(start + 1) == Some(&b'\\') {
        let after = start + 3;
        return bytes[after.min(bytes.len())..]
            .iter()
            .position(|byte| *byte == b'\'')
            .map_or(start, |at| after + at + 1);
    }
    let text = String::from_utf8_lossy(&bytes[start + 1..(start + 5).min(bytes.len())]).into_owned();
    let width = text.chars().next().map_or(1, char::len_utf8);
    if bytes.get(start + 1 + width) == Some(&b'\'') { start + 2 + width } else { start }
}

/// Every `crate::module` that the code names, with its place; `{a, b}` gives both.
fn used_modules(code: &str) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        if code[..at].ends_with(is_word) {
            continue;
        }
        let rest = &code[at + found.len()..];
        let name = |text: &str| text.trim().chars().take_while(|letter| is_word(*letter)).collect::<String>();
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut start = 0;
            for (here, letter) in group.char_indices() {
                if depth == 0 && matches!(letter, ',' | '}') {
                    used.push((at, name(&group[start..here])));
                    start = here + 1;
                }
                depth += i32::from(letter == '{') - i32::from(letter == '}');
                if depth < 0 {
                    break;
                }
            }
        } else {
            used.push((at, name(rest)));
        }
    }
    used.retain(|(_, name)| !name.is_empty());
    used
}

/// Imports that point up or sideways.
fn check_floors(path: &Path, source: &str) -> Vec<Complaint> {
    let (module, code) = (module_of(path), code_only(source));
    let Some(own) = floor(&module) else {
        return vec![complain(1, format!("module `{module}` has no floor: add it to FLOORS in tests/tidy.rs"))];
    };
    let mut complaints = Vec::new();
    for (at, used) in used_modules(&code) {
        if used == module || own == TOP {
            continue;
        }
        match floor(&used) {
            Some(theirs) if theirs < own => {}
            Some(theirs) => complaints.push(complain(
                line_of(&code, at),
                format!(
                    "`{module}` (floor {own}) uses `crate::{used}` (floor {theirs}); only lower floors may be used"
                ),
            )),
            None => complaints.push(complain(
                line_of(&code, at),
                format!(
                    "`crate::{used}` is on no floor: name it by its module, or add that to FLOORS in tests/tidy.rs"
                ),
            )),
        }
    }
    complaints.extend(check_supers(depth_of(path), &code));
    complaints
}

/// `super::super::` that climbs to the crate's root and so hides an import from the floors.
fn check_supers(depth: usize, code: &str) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut braces = 0;
    let mut inline: Vec<i32> = Vec::new();
    let mut climbed = 0;
    let mut words = code.char_indices().peekable();
    let mut before = String::new();
    while let Some((at, letter)) = words.next() {
        match letter {
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                inline.retain(|opened| *opened <= braces);
            }
            letter if is_word(letter) => {
                let mut word = String::from(letter);
                while let Some((_, next)) = words.next_if(|(_, next)| is_word(*next)) {
                    word.push(next);
                }
                let after = code[at + word.len()..].trim_start();
                if before == "mod" && after.starts_with('{') {
                    inline.push(braces + 1);
                }
                if word == "super" && after.starts_with("::") {
                    climbed = if code[..at].ends_with("super::") { climbed + 1 } else { 1 };
                    if climbed == depth + inline.len() {
                        complaints
                            .push(complain(line_of(code, at), "`super` climbs out of the module: write `crate::`"));
                    }
                }
                before = word;
            }
            _ => {}
        }
    }
    complaints
}

/// Crates, calls and keywords outside their place.
fn check_bans(path: &Path, source: &str) -> Vec<Complaint> {
    let (module, code) = (module_of(path), code_only(source));
    let mut complaints = Vec::new();
    let mut ban = |needle: &str, fits: &dyn Fn(&str, &str) -> bool, why: &str| {
        for (at, _) in code.match_indices(needle) {
            let after = &code[at + needle.len()..];
            if !code[..at].ends_with(is_word) && fits(&code[..at], after) {
                complaints.push(complain(line_of(&code, at), format!("`{needle}` in `{module}`: {why}")));
            }
        }
    };
    for (name, allowed, why) in CRATES {
        if !allowed.contains(&module.as_str()) {
            // `actix` also stands for `actix_web` and its like.
            ban(
                name,
                &|before, after| {
                    let rest = after.trim_start_matches(is_word);
                    let whole = rest.len() == after.len() || after.starts_with('_');
                    whole && !before.ends_with("::") && (rest.starts_with("::") || before.trim_end().ends_with("use"))
                },
                why,
            );
        }
    }
    if module != "bpf_loader" {
        let keyword = |_: &str, after: &str| !after.starts_with(is_word);
        ban("unsafe", &keyword, "unsafe code stays in bpf_loader");
    }
    if TIMELESS.contains(&module.as_str()) && !CLOCKS.iter().any(|part| path.starts_with(part)) {
        for call in ["SystemTime::now", "Instant::now"] {
            ban(call, &|_, _| true, "the time comes with the batch");
        }
    }
    for call in ["todo!", "unimplemented!"] {
        ban(call, &|_, _| true, "finish it, or say in prose what is left out");
    }
    complaints
}

/// Notes to oneself.
fn check_markers(source: &str) -> Vec<Complaint> {
    let markers = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let mut complaints = Vec::new();
    for (number, line) in source.lines().enumerate() {
        for marker in markers {
            let whole = |(at, _): (usize, &str)| {
                !line[..at].ends_with(is_word) && !line[at + marker.len()..].starts_with(is_word)
            };
            if line.match_indices(marker).any(whole) {
                complaints.push(complain(number + 1, format!("{marker}: finish it, or say in prose what is left out")));
            }
        }
    }
    complaints
}

fn check_length(source: &str) -> Vec<Complaint> {
    let lines = source.lines().count();
    if lines <= LONGEST {
        return Vec::new();
    }
    vec![complain(LONGEST + 1, format!("{lines} lines; {LONGEST} at most, one subject a file"))]
}

fn check_module_doc(source: &str) -> Vec<Complaint> {
    let first = source.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if first.starts_with("//! ") {
        return Vec::new();
    }
    vec![complain(1, "a module starts with `//!`: what it is for, and why it is so")]
}

fn check_licence(source: &str) -> Vec<Complaint> {
    let first = source.lines().next().unwrap_or_default();
    if first.contains(BPF_LICENCE) {
        Vec::new()
    } else {
        vec![complain(1, format!("the first line lacks {BPF_LICENCE}"))]
    }
}

/// Supervision catches panics: a profile that aborts would switch it off without a word.
fn check_profiles(manifest: &str) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for profile in ["release", "dev"] {
        let header = format!("[profile.{profile}]");
        let body = manifest.split_once(&header).map_or("", |(_, rest)| rest.split("\n[").next().unwrap_or_default());
        if !body.lines().any(|line| line.split('#').next().unwrap_or_default().trim() == r#"panic = "unwind""#) {
            complaints.push(complain(1, format!(r#"{header} lacks panic = "unwind""#)));
        }
    }
    for (number, line) in manifest.lines().enumerate() {
        if line.trim_start().starts_with("panic") && line.contains("abort") {
            complaints.push(complain(number + 1, "a profile must not abort: supervision depends on unwinding"));
        }
    }
    complaints
}

/// Paths that exist on one machine only. `own` are those of the machine that runs the test.
fn check_paths(source: &str, own: &[String]) -> Vec<Complaint> {
    let homes = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];
    let mut complaints = Vec::new();
    for (number, line) in source.lines().enumerate() {
        let found = homes.into_iter().chain(own.iter().map(String::as_str)).find(|path| line.contains(path));
        if let Some(path) = found {
            complaints.push(complain(number + 1, format!("`{path}` exists on one machine only")));
        }
    }
    complaints
}

/// Paths of this machine that are long enough to be no coincidence.
fn own_paths() -> Vec<String> {
    let named = ["HOME", "CARGO_HOME", "RUSTUP_HOME", "CARGO_TARGET_DIR"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok());
    named
        .chain(std::iter::once(env!("CARGO_MANIFEST_DIR").to_owned()))
        .filter(|path| Path::new(path).components().count() > 2)
        .collect()
}

/// Comments that speak of a person.
fn check_persons(source: &str) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (number, line) in source.lines().enumerate() {
        let Some((_, comment)) = line.split_once("//") else { continue };
        let words = comment.split(|letter: char| !letter.is_alphabetic()).map(str::to_lowercase);
        for word in words.filter(|word| PERSONS.contains(&word.as_str())) {
            complaints.push(complain(number + 1, format!("`{word}`: name the thing, with a verb of the field")));
        }
    }
    complaints
}

/// Lines of prose that are too long. Tables, code, drawings and what cannot be broken are left
/// alone.
fn check_prose(path: &Path, source: &str) -> Vec<Complaint> {
    let is_markdown = path.extension().is_some_and(|end| end == "md");
    let mut complaints = Vec::new();
    let mut fenced = false;
    for (number, line) in source.lines().enumerate() {
        let line_text = line.trim_start();
        let comment = ["///", "//!", "//"].iter().find_map(|mark| line_text.strip_prefix(mark));
        let text = if is_markdown { Some(line_text) } else { comment };
        let Some(text) = text.map(str::trim) else {
            fenced = false;
            continue;
        };
        fenced ^= text.starts_with("```");
        let is_drawn = text.contains(['│', '─', '►', '▶']);
        if fenced || is_drawn || text.starts_with('|') || line.chars().count() <= WIDEST {
            continue;
        }
        // A span of code is one word.
        let item = text.trim_start_matches("- ");
        let span = item.strip_prefix('`').and_then(|rest| rest.split_once('`'));
        let rest = span.map_or(item, |(_, rest)| rest);
        if rest.trim_end().contains(' ') {
            complaints.push(complain(number + 1, format!("prose has at most {WIDEST} characters a line")));
        }
    }
    complaints
}

/// All text files of the project, relative to its root, in order.
fn files() -> Vec<(PathBuf, String)> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        let mut entries: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let name = path.file_name().unwrap().to_str().unwrap_or_default().to_owned();
            let hidden = name.starts_with('.') && name != ".ci";
            if hidden || ["target", "corpus", "artifacts", "proptest-regressions"].contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                walk(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    walk(root, &mut paths);
    paths
        .into_iter()
        // Files that are not text are left alone.
        .filter_map(|path| Some((path.strip_prefix(root).unwrap().to_owned(), fs::read_to_string(&path).ok()?)))
        .collect()
}

/// Runs one rule over all files that `wanted` picks, and fails with every complaint.
fn check(wanted: impl Fn(&Path) -> bool, rule: impl Fn(&Path, &str) -> Vec<Complaint>) {
    let mut seen = 0;
    let mut report = String::new();
    for (path, source) in files().iter().filter(|(path, _)| wanted(path)) {
        seen += 1;
        for complaint in rule(path, source) {
            let line = source.lines().nth(complaint.line - 1).unwrap_or_default().trim();
            writeln!(report, "{}:{}: {}\n    {line}", path.display(), complaint.line, complaint.text).unwrap();
        }
    }
    assert!(seen > 0, "the rule looked at no file at all");
    assert!(report.is_empty(), "\n{report}");
}

fn is_source(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind == "rs" || kind == "c" || kind == "h")
}

/// The path of a source file by room: that below `src`, or `CRATE/...` for one of
/// `crates/CRATE/src`, whose `lib.rs` is the room's `mod.rs`. None for any other file.
fn in_rooms(path: &Path) -> Option<PathBuf> {
    if !is_source(path) {
        return None;
    }
    if let Ok(below) = path.strip_prefix("src") {
        return Some(below.to_owned());
    }
    let mut parts = path.strip_prefix("crates").ok()?.iter();
    let name = parts.next()?;
    let below = parts.as_path().strip_prefix("src").ok()?;
    Some(Path::new(name).join(if below == Path::new("lib.rs") { Path::new("mod.rs") } else { below }))
}

fn is_in_room(path: &Path) -> bool {
    in_rooms(path).is_some()
}

/// A rule about rooms as one about files.
fn by_room(rule: impl Fn(&Path, &str) -> Vec<Complaint>) -> impl Fn(&Path, &str) -> Vec<Complaint> {
    move |path, source| rule(&in_rooms(path).unwrap(), source)
}

/// The architecture: pure core below, actors as a thin skin on top.
#[test]
fn modules_use_only_lower_floors() {
    check(|path| path.starts_with("src") && is_source(path), by_room(check_floors));
}

/// Crates, calls and keywords stay where they belong.
#[test]
fn nothing_is_used_out_of_place() {
    check(is_in_room, by_room(check_bans));
}

/// One subject a file.
#[test]
fn files_are_short() {
    let wanted = |path: &Path| is_source(path) && !path.iter().any(|part| part == "tests" || part == "fuzz");
    check(wanted, |_, source| check_length(source));
}

/// Nothing half-done is left behind.
#[test]
fn no_notes_to_oneself() {
    let wanted = |path: &Path| is_source(path) || path.starts_with("scripts") || path.ends_with("Makefile");
    check(wanted, |_, source| check_markers(source));
}

/// Comments name things by the field's terms.
#[test]
fn comments_name_no_persons() {
    check(is_in_room, |_, source| check_persons(source));
}

/// Prose is read in terminals and in diffs.
#[test]
fn prose_has_short_lines() {
    let wanted = |path: &Path| is_source(path) || path.extension().is_some_and(|end| end == "md");
    check(wanted, check_prose);
}

/// Every module says what it is for.
#[test]
fn modules_are_introduced() {
    check(is_in_room, |_, source| check_module_doc(source));
}

/// Each crate has an introduction of few lines with its inputs and outputs.
#[test]
fn crates_are_few_and_introduced() {
    let files = files();
    let crates: Vec<&Path> = files
        .iter()
        .filter_map(|(path, _)| path.strip_prefix("crates").ok()?.parent())
        .filter(|path| path.iter().count() == 1)
        .collect();
    let crates: std::collections::BTreeSet<&Path> = crates.into_iter().collect();
    assert!(!crates.is_empty() && crates.len() <= CRATES_AT_MOST, "{crates:?}: {CRATES_AT_MOST} at most");
    for name in crates {
        let readme = Path::new("crates").join(name).join("README.md");
        let text = files.iter().find(|(path, _)| *path == readme).map(|(_, text)| text.as_str());
        let lines = text.map_or(0, |text| text.lines().count());
        assert!((1..=INTRODUCTION).contains(&lines), "{}: {lines} lines; 1 to {INTRODUCTION}", readme.display());
    }
}

/// The kernel wants a GPL-compatible licence, and readers want to see it.
#[test]
fn bpf_sources_name_their_licence() {
    check(|path| path.starts_with("bpf") && is_source(path), |_, source| check_licence(source));
}

/// Panics unwind in every profile.
#[test]
fn panics_unwind() {
    check(|path| path == Path::new("Cargo.toml"), |_, source| check_profiles(source));
}

/// A clone works anywhere.
#[test]
fn no_path_of_one_machine() {
    let own = own_paths();
    check(|path| !path.ends_with("Cargo.lock"), |_, source| check_paths(source, &own));
}

/// Texts that the rules must find, and texts that they must leave alone.
mod rules {
    use super::*;

    fn lines(complaints: &[Complaint]) -> Vec<usize> {
        complaints.iter().map(|complaint| complaint.line).collect()
    }

    /// Up, sideways, grouped, in the middle of an expression: all are imports.
    #[test]
    fn floors_find_every_form() {
        for bad in [
            "use crate::http::Server;",
            "fn f() { crate::actors::run() }",
            "use crate::{network::Link, actors::{Batch, BATCH}};",
            "pub(in crate::http) fn f() {}",
            "use crate::bpf_loader::Loader;",
            "use crate::nowhere::X;",
            "mod tests { use super::super::super::conntrack::X; }",
        ] {
            assert_eq!(lines(&check_floors(Path::new("pipeline/lane.rs"), bad)), [1], "{bad}");
        }
        for good in [
            "use crate::network::Link;",
            "use crate::{logging, records::{Rings, Waker}};",
            "use crate::pipeline::Other;",
            "use webb_flow::Flow;",
            "// crate::actors",
            "/// [`crate::actors::Reader`]",
            r#"const TEXT: &str = "crate::actors";"#,
            "use super::sibling;",
            "mod tests { use super::super::sibling; }",
            "let my_crate::actors = 1;",
        ] {
            assert_eq!(check_floors(Path::new("pipeline/lane.rs"), good), [], "{good}");
        }
        assert_eq!(lines(&check_floors(Path::new("records.rs"), "\nuse super::actors;")), [2]);
        assert_eq!(lines(&check_floors(Path::new("bpf_loader/ring.rs"), "\n\nuse crate::pipeline::Lane;")), [3]);
        assert_eq!(lines(&check_floors(Path::new("novelty/mod.rs"), "")), [1]);
        assert_eq!(check_floors(Path::new("app.rs"), "use crate::http::X; use crate::main;"), []);
    }

    /// A crate is a room of its own, wherever its files lie.
    #[test]
    fn rooms_are_crates_and_modules() {
        for (path, room) in [
            ("src/actors/reader.rs", Some("actors/reader.rs")),
            ("crates/index/src/lib.rs", Some("index/mod.rs")),
            ("crates/index/src/filters/re2.rs", Some("index/filters/re2.rs")),
            ("crates/index/tests/index/main.rs", None),
            ("crates/index/README.md", None),
            ("tests/tidy.rs", None),
        ] {
            assert_eq!(in_rooms(Path::new(path)).as_deref(), room.map(Path::new), "{path}");
        }
    }

    /// Crates and calls are found in code, not in comments or longer names.
    #[test]
    fn bans_find_code_only() {
        for (path, bad) in [
            ("pipeline/read.rs", "use actix::Actor;"),
            ("pipeline/read.rs", "fn f() -> actix_web::HttpResponse {}"),
            ("pipeline/read.rs", "use aya::maps::RingBuf;"),
            ("pipeline/read.rs", "use aya_obj::Object;"),
            ("index/mod.rs", "use kube::Client;"),
            ("http/mod.rs", "use k8s_openapi::api::core::v1::Pod;"),
            ("flow/sym.rs", "unsafe { f() }"),
            ("metrics/flow.rs", "let now = std::time::Instant::now();"),
            ("decode/mod.rs", "SystemTime::now()"),
            ("cli.rs", "fn f() { todo!() }"),
            ("cli.rs", "fn f() { unimplemented!(\"later\") }"),
        ] {
            assert_eq!(lines(&check_bans(Path::new(path), bad)), [1], "{bad}");
        }
        for (path, good) in [
            ("actors/reader.rs", "use actix::Actor;"),
            ("bpf_loader/ring.rs", "use aya::maps::RingBuf; unsafe { f() }"),
            ("cluster/watch.rs", "use kube::Client; use k8s_openapi::X;"),
            ("pipeline/read.rs", "Instant::now()"),
            ("flow/clock.rs", "Instant::now()"),
            ("pipeline/read.rs", "// actix::Actor, unsafe, todo!()"),
            ("pipeline/read.rs", "let text = \"unsafe todo!() aya::x\"; let c = '\"'; let kubernetes = 1;"),
            ("pipeline/read.rs", "#![forbid(unsafe_code)] let kube = 1; papaya::x();"),
        ] {
            assert_eq!(check_bans(Path::new(path), good), [], "{good}");
        }
    }

    /// Blanking must not swallow code, or rules would go blind.
    #[test]
    fn blanking_keeps_code() {
        let source = "let a = r#\"x \" y\"#; b('\\'', 'é', b'x', \"\\\"\") /* c /* d */ e */ + f::<'static>(); // g";
        let code = code_only(source);
        assert_eq!(code.len(), source.len());
        for kept in ["let a", "b(", "f::<'static>()"] {
            assert!(code.contains(kept), "{kept}: {code}");
        }
        for gone in ["x", "y", "é", "c", "d", "e", "g"] {
            assert!(!code.split(|letter| !is_word(letter)).any(|word| word == gone), "{gone}: {code}");
        }
    }

    /// The small rules.
    #[test]
    fn small_rules_find_their_mistake() {
        assert_eq!(lines(&check_markers(&format!("a\n// {}: later\n", concat!("TO", "DO")))), [2]);
        assert_eq!(check_markers(&format!("{}S_LEFT = 1", concat!("TO", "DO"))), []);
        assert_eq!(lines(&check_persons("let nobody = 1;\n/// Nobody\'s row.\nf(); // for whoever asks")), [2, 3]);
        assert_eq!(check_persons("/// Body of the response; no one-way link.\nnobody();"), []);
        let long = "a word ".repeat(15);
        for (path, bad) in [
            ("README.md", format!("short\n{long}")),
            ("README.md", format!("```\n```{long}\n{long}")),
            ("README.md", format!("\n- `code` and {long}")),
            ("src/a.rs", format!("f();\n    // {long}")),
            ("src/a.rs", format!("//! ```text\n//! ``` {long}\n//! {long}")),
        ] {
            let found = check_prose(Path::new(path), &bad);
            assert_eq!(lines(&found).last(), Some(&bad.lines().count()), "{path}: {bad}");
        }
        for (path, good) in [
            ("README.md", format!("| {long} |\n```\n{long}\n```\nshort")),
            ("README.md", format!("  - `{long}`.\nhttps://{}", "a".repeat(WIDEST))),
            ("src/a.rs", format!("f(\"{long}\");\n//! │ {long}\n/// | {long}\n/// ```\n/// {long}\n/// ```\n// short")),
        ] {
            assert_eq!(check_prose(Path::new(path), &good), [], "{path}: {good}");
        }
        assert_eq!(check_length(&"\n".repeat(LONGEST)), []);
        assert_eq!(check_length(&"\n".repeat(LONGEST + 1)).len(), 1);
        assert_eq!(check_module_doc("use std::fmt;\n//! late").len(), 1);
        assert_eq!(check_module_doc("//! Early.\n"), []);
        assert_eq!(check_licence("/* SPDX-License-Identifier: Apache-2.0 */").len(), 1);
        assert_eq!(check_licence(&format!("// {BPF_LICENCE}\n")), []);
        let both = "[profile.release]\npanic = \"unwind\"\n[profile.dev]\npanic = \"unwind\"\n";
        assert_eq!(check_profiles(both), []);
        assert_eq!(check_profiles("[profile.release]\nlto = true\n[profile.dev]\npanic = \"unwind\"\n").len(), 1);
        assert_eq!(check_profiles(&both.replace("panic", "# panic")).len(), 2);
        assert_eq!(check_profiles(&format!("{both}[profile.small]\npanic = \"abort\"\n")).len(), 1);
        assert_eq!(lines(&check_paths(&format!("\ncd {}me/x", "/ho"), &[])), [2]);
        assert_eq!(check_paths("cd /checkout/of/webb", &["/checkout/of".to_owned()]).len(), 1);
        assert_eq!(check_paths("/usr/lib /etc/webb/webb.yaml", &[]), []);
    }
}
