//! Headers of requests, from the files of a directory, such as a mounted Secret.
//!
//! A file's name is the header's, its content the value. Values are never shown.

use std::fmt;
use std::path::{Path, PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue};
use webb_settings::file;

/// Headers at most.
const MAX_HEADERS: usize = 64;

/// Bytes of a value at most.
const MAX_VALUE_BYTES: u64 = 16 << 10;

/// Headers that requests have by themselves.
const OWN: [&str; 7] =
    ["connection", "content-encoding", "content-length", "content-type", "host", "te", "transfer-encoding"];

/// Bytes of a value that is masked, at least: a shorter one is in many words.
const SHORTEST_SECRET: usize = 4;

/// The headers in use.
pub(crate) struct Headers {
    directory: Option<PathBuf>,
    values: Vec<(HeaderName, HeaderValue)>,
    /// The directory has been read.
    ready: bool,
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.values.iter().map(|(name, _)| (name.as_str(), "***"))).finish()
    }
}

impl Headers {
    /// Fixed headers, or those of a directory, which is not read yet.
    pub(crate) fn new(fixed: Vec<(HeaderName, HeaderValue)>, directory: Option<PathBuf>) -> Self {
        Self { ready: directory.is_none(), directory, values: fixed }
    }

    /// Reads the directory. True if the headers have changed. Blocks.
    ///
    /// # Errors
    /// The file that cannot be used; the headers stay as they were.
    pub(crate) fn reload(&mut self) -> Result<bool, String> {
        let Some(directory) = &self.directory else { return Ok(false) };
        let values = read(directory)?;
        let is_same = self.ready && values == self.values;
        (self.values, self.ready) = (values, true);
        Ok(!is_same)
    }

    /// A text with `***` in the place of each value, and of the last word of each: that of
    /// `Bearer TOKEN` is the secret.
    pub(crate) fn mask(&self, text: &str) -> String {
        let values = self.values.iter().filter_map(|(_, value)| value.to_str().ok());
        let parts = values.flat_map(|value| [Some(value), value.split_whitespace().next_back()]).flatten();
        parts.filter(|part| part.len() >= SHORTEST_SECRET).fold(text.to_owned(), |text, part| text.replace(part, "***"))
    }

    /// Puts the headers into those of a request.
    ///
    /// # Errors
    /// While the directory could not be read: a receiver would refuse for good what has no login.
    pub(crate) fn apply(&mut self, headers: &mut HeaderMap) -> Result<(), String> {
        if !self.ready {
            self.reload()?;
        }
        headers.extend(self.values.iter().cloned());
        Ok(())
    }
}

fn read(directory: &Path) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let unreadable = |error| format!("cannot read the headers in {}: {error}", directory.display());
    let mut paths = Vec::new();
    for entry in directory.read_dir().map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        // Those of a mounted Secret that are hidden are not its keys.
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && !path.is_dir() {
            paths.push(path);
        }
        if paths.len() > MAX_HEADERS {
            return Err(format!("{} has more than {MAX_HEADERS} headers", directory.display()));
        }
    }
    if paths.is_empty() {
        // A Secret that is not there yet is an empty directory.
        return Err(format!("{} has no headers", directory.display()));
    }
    paths.sort();
    paths.iter().map(|path| header(path)).collect()
}

fn header(path: &Path) -> Result<(HeaderName, HeaderValue), String> {
    let unusable = |why: String| format!("the header file {} cannot be used: {why}", path.display());
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let name = HeaderName::from_bytes(name).map_err(|_| unusable("its name is not that of a header".to_owned()))?;
    if OWN.contains(&name.as_str()) || name.as_str().starts_with("grpc-") {
        return Err(unusable("requests have a header of that name".to_owned()));
    }
    let content = file::read(path, MAX_VALUE_BYTES).map_err(|error| unusable(error.to_string()))?;
    let content = content.trim_ascii();
    if content.is_empty() {
        return Err(unusable("it is empty".to_owned()));
    }
    let mut value = HeaderValue::from_bytes(content)
        .map_err(|_| unusable("it has characters that a header cannot have".to_owned()))?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn applied(headers: &mut Headers) -> Result<Vec<String>, String> {
        let mut map = HeaderMap::new();
        headers.apply(&mut map)?;
        Ok(map.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect())
    }

    /// Files are headers, a change is seen, a mistake keeps what was, and no text has a value.
    #[test]
    fn a_directory_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let mut headers = Headers::new(Vec::new(), Some(path("none")));
        assert!(applied(&mut headers).unwrap_err().contains("cannot read the headers"));
        let mut headers = Headers::new(Vec::new(), Some(directory.path().to_owned()));
        assert!(applied(&mut headers).unwrap_err().contains("has no headers"));
        fs::write(path("Authorization"), "Bearer secret\n").unwrap();
        fs::write(path(".hidden"), "x").unwrap();
        fs::create_dir(path("..data")).unwrap();
        assert_eq!(headers.reload(), Ok(true));
        assert_eq!(headers.reload(), Ok(false));
        assert_eq!(applied(&mut headers), Ok(vec!["authorization=Bearer secret".to_owned()]));
        let masked = headers.mask("refused: {\"authorization\": \"Bearer secret\"}, secret of nobody");
        assert_eq!(masked, "refused: {\"authorization\": \"***\"}, *** of nobody");
        let shown = format!("{headers:?}");
        assert!(shown.contains("***") && !shown.contains("secret"), "{shown}");
        for (name, content) in [("te", "x"), ("grpc-timeout", "x"), ("a b", "x"), ("empty", ""), ("x", "sec\0ret")] {
            fs::write(path(name), content).unwrap();
            let why = headers.reload().unwrap_err();
            assert!(why.contains(name) && !why.contains("ret"), "{why}");
            fs::remove_file(path(name)).unwrap();
        }
        assert_eq!(applied(&mut headers), Ok(vec!["authorization=Bearer secret".to_owned()]));
        fs::remove_file(path("Authorization")).unwrap();
        assert!(headers.reload().unwrap_err().contains("has no headers"));
        assert_eq!(applied(&mut headers), Ok(vec!["authorization=Bearer secret".to_owned()]));
    }
}
