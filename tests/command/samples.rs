//! Code samples of the documents, and the commands in them.

use std::fs;
use std::path::{Path, PathBuf};

/// A fenced block: its file and line, its language, its lines.
pub(crate) struct Block {
    pub(crate) place: String,
    pub(crate) language: String,
    pub(crate) text: String,
}

/// All fenced blocks of the project's pages.
pub(crate) fn blocks() -> Vec<Block> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "charts/webb/README.md"].map(PathBuf::from).into();
    for entry in fs::read_dir(root.join("docs")).unwrap() {
        let name = entry.unwrap().file_name();
        if Path::new(&name).extension().is_some_and(|end| end == "md") {
            pages.push(Path::new("docs").join(name));
        }
    }
    pages.sort();
    let mut blocks = Vec::new();
    for page in pages {
        let text = fs::read_to_string(root.join(&page)).unwrap();
        let mut open: Option<Block> = None;
        // Of a block in a list; its lines are indented as its fence is.
        let mut indent = 0;
        for (number, line) in text.lines().enumerate() {
            match (line.trim_start().strip_prefix("```"), &mut open) {
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(language), None) => {
                    let place = format!("{}:{}", page.display(), number + 1);
                    indent = line.len() - line.trim_start().len();
                    open = Some(Block { place, language: language.to_owned(), text: String::new() });
                }
                (None, Some(block)) => {
                    let within = line.get(..indent).is_some_and(|start| start.trim().is_empty());
                    block.text += &format!("{}\n", if within { &line[indent..] } else { line });
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block without an end", page.display());
    }
    blocks
}

/// The commands of all `console` blocks, with their places.
pub(crate) fn commands() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for block in blocks().into_iter().filter(|block| block.language == "console") {
        let joined = block.text.replace("\\\n", " ");
        for line in joined.lines().filter_map(|line| line.strip_prefix("$ ").or_else(|| line.strip_prefix("# "))) {
            found.push((block.place.clone(), line.to_owned()));
        }
    }
    found
}

/// The words of a command as a shell reads them, up to a pipe, a redirection, a list or a comment.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in line.chars() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '|' | '>' | '<' | '&' | ';') => break,
            (None, '#') if word.is_none() => break,
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// The arguments of webb in a command, which may stand behind `sudo` or `kubectl exec ... --`.
pub(crate) fn of_webb(line: &str) -> Option<Vec<String>> {
    let mut words = words(line);
    if let Some(at) = words.iter().position(|word| word == "--").filter(|_| words[0] == "kubectl") {
        words.drain(..=at);
    }
    if words.first().is_some_and(|word| word == "sudo") {
        words.remove(0);
    }
    let named = words.first().is_some_and(|word| word == "webb" || word.ends_with("/webb"));
    named.then_some(words)
}
