//! Errors of the YAML parser in words for the person who wrote the file. Some of its own are for
//! programmers: they name its options and functions.

use serde_saphyr::{Error, SnippetMode, UserMessageFormatter};

use super::value::clean;

/// What is wrong with a file of YAML, without its place.
pub fn yaml_words(error: &Error) -> String {
    let error = error.without_snippet();
    match error {
        Error::MultipleDocuments { .. } => "a second document begins here, expected one".to_owned(),
        Error::NullIntoString { .. } => "a key is missing before a `:`".to_owned(),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("`{}` is set twice in the same group; remove one of them", clean(key))
        }
        Error::DuplicateMappingKey { key: None, .. } => {
            "a key is set twice in the same group; remove one of them".to_owned()
        }
        _ => {
            let options =
                serde_saphyr::render_options! { formatter: &UserMessageFormatter, snippets: SnippetMode::Off };
            let words = error.render_with_options(options);
            let words = words.strip_prefix("error: ").unwrap_or(&words);
            // The parser says the place again at the end.
            clean(words.split(" at line ").next().unwrap_or(words))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Pairs = BTreeMap<String, Vec<String>>;

    /// No text names a function or an option of the parser, or the place, which is said elsewhere.
    #[test]
    fn words_are_for_people() {
        let options = || serde_saphyr::options! { with_snippet: false };
        let text = |text: &str| {
            let read = serde_saphyr::from_str_with_options::<Pairs>;
            yaml_words(&read(text, options()).unwrap_err())
        };
        for (file, words) in [
            ("a: []\nb: []\na: []\n", "`a` is set twice in the same group; remove one of them"),
            ("a: []\n---\nb: []\n", "a second document begins here, expected one"),
            (": []\n", "a key is missing before a `:`"),
            ("a: [1\n", "unclosed bracket '['"),
            ("a: *b\n", "reference to unknown value"),
        ] {
            assert_eq!(text(file), words, "{file:?}");
        }
    }
}
