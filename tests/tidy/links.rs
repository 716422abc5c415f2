//! Links of the documents: each leads to a file that is there and to a heading in it, and each page
//! of `docs` is in the book's table of contents.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::{Complaint, complain, files};

/// Lines that README.md may have: it is read on one screen or two.
const README: usize = 130;

/// Lines outside of fenced blocks, with their numbers from 1.
fn unfenced(page: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    page.lines().enumerate().filter_map(move |(number, line)| {
        let mark = line.trim_start().starts_with("```");
        fenced ^= mark;
        (!fenced && !mark).then_some((number + 1, line))
    })
}

/// The anchor that GitHub and mdBook give a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn anchors(page: &str) -> Vec<String> {
    let headings = unfenced(page).filter_map(|(_, line)| {
        let text = line.trim_start_matches('#');
        (text.len() < line.len() && text.starts_with(' ')).then_some(text)
    });
    headings.map(anchor).collect()
}

/// Targets of the links of a page, with their lines. A code span has none.
fn links(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    // A span of code may go on in the next line of its paragraph.
    let mut code = false;
    for (number, line) in unfenced(page) {
        code &= !line.trim().is_empty();
        let mut text = String::new();
        for letter in line.chars() {
            code ^= letter == '`';
            text.push(if code { 'x' } else { letter });
        }
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap_or_default();
            found.push((number, target.to_owned()));
        }
    }
    found
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            out.pop();
        } else {
            out.push(part);
        }
    }
    out
}

fn check_links(path: &Path, page: &str, pages: &BTreeMap<PathBuf, String>) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (line, link) in links(page) {
        if link.contains("://") || link.starts_with("mailto:") {
            continue;
        }
        let (file, heading) = link.split_once('#').map_or((link.as_str(), None), |(file, anchor)| (file, Some(anchor)));
        let target =
            if file.is_empty() { path.to_owned() } else { plain(&path.parent().unwrap_or(Path::new("")).join(file)) };
        let is_folder = file.ends_with('/') && pages.keys().any(|page| page.starts_with(&target));
        let is_picture = target.extension().is_some_and(|end| end == "png")
            && Path::new(env!("CARGO_MANIFEST_DIR")).join(&target).exists();
        match pages.get(&target) {
            None if is_folder || is_picture => {}
            None => complaints.push(complain(line, format!("`{link}` leads nowhere"))),
            Some(text) => {
                if heading.is_some_and(|heading| !anchors(text).iter().any(|anchor| anchor == heading)) {
                    complaints.push(complain(line, format!("`{link}`: no such heading")));
                }
            }
        }
        if path.starts_with("docs") && !target.starts_with("docs") {
            complaints.push(complain(line, format!("`{link}` leads out of the book: name the file in backticks")));
        }
    }
    complaints
}

/// Pages that the table of contents lacks, and entries without a page.
fn check_contents(contents: &str, pages: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let listed: Vec<PathBuf> = links(contents).iter().map(|(_, link)| Path::new("docs").join(link)).collect();
    let is_page = |path: &&PathBuf| {
        path.parent() == Some(Path::new("docs"))
            && path.extension().is_some_and(|end| end == "md")
            && !path.ends_with("SUMMARY.md")
    };
    pages.keys().filter(is_page).filter(|path| !listed.contains(path)).map(|path| path.display().to_string()).collect()
}

fn all() -> BTreeMap<PathBuf, String> {
    files().into_iter().collect()
}

#[test]
fn links_lead_somewhere() {
    let pages = all();
    let mut wrong = Vec::new();
    for (path, page) in pages.iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "md")) {
        let complaints = check_links(path, page, &pages).into_iter();
        wrong.extend(complaints.map(|complaint| format!("{}:{}: {}", path.display(), complaint.line, complaint.text)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_book_has_every_page() {
    let pages = all();
    let missing = check_contents(&pages[Path::new("docs/SUMMARY.md")], &pages);
    assert!(missing.is_empty(), "not in docs/SUMMARY.md: {missing:?}");
}

#[test]
fn the_readme_is_short() {
    let lines = all()[Path::new("README.md")].lines().count();
    assert!(lines <= README, "{lines} lines; {README} at most, the rest has its page in docs");
}

/// Each kind of dead link is found, and a live one is left alone.
#[test]
fn dead_links_are_found() {
    let pages: BTreeMap<PathBuf, String> = [
        ("README.md", "# A b's `c.d_e`\n"),
        ("docs/SUMMARY.md", "- [a](a.md)\n"),
        ("docs/a.md", "# A\n\n## Two words\n```\n# none\n```\n"),
        ("docs/b.md", "# B\n"),
    ]
    .map(|(path, text)| (PathBuf::from(path), text.to_owned()))
    .into();
    assert_eq!(anchors(&pages[Path::new("README.md")]), ["a-bs-cd_e"]);
    let found = |path: &str, page: &str| check_links(Path::new(path), page, &pages).len();
    for good in ["[x](a.md#two-words)", "[x](#b) `[y](z.md)`\n# B", "[x](https://a.b)", "```\n[x](none.md)\n```"] {
        let text = good.to_owned();
        let mut pages = pages.clone();
        pages.insert("docs/b.md".into(), text.clone());
        assert_eq!(check_links(Path::new("docs/b.md"), &text, &pages), [], "{good}");
    }
    assert_eq!(found("README.md", "[x](docs/a.md), [y](docs/)"), 0);
    assert_eq!(found("docs/b.md", "[x](none.md)"), 1);
    assert_eq!(found("docs/b.md", "[x](a.md#none)"), 1);
    assert_eq!(found("docs/b.md", "[x](../README.md)"), 1);
    assert_eq!(check_contents(&pages[Path::new("docs/SUMMARY.md")], &pages), ["docs/b.md"]);
}
