//! The token of the admin listener, as its file has it.

use std::path::Path;

use super::file::{self, FileError};

/// Bytes that a file with a token may have.
const MAX_BYTES: u64 = 4096;

/// Error of a file that has no usable token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read as text.
    #[error(transparent)]
    File(#[from] FileError),
    /// Nothing but white space.
    #[error("it has no token")]
    Empty,
    /// More than one line, or no text.
    #[error("expected one line with a token; it has more lines, or control characters")]
    Control,
}

/// Reads the token in a file: one line of text, without the white space around it and without a
/// byte order mark before it.
///
/// # Errors
/// If no request could have what is in the file.
pub fn read(path: &Path) -> Result<String, TokenError> {
    let text = file::read_text(path, MAX_BYTES)?;
    let token = text.trim_start_matches('\u{feff}').trim();
    match token {
        "" => Err(TokenError::Empty),
        _ if token.contains(char::is_control) => Err(TokenError::Control),
        _ => Ok(token.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file has a token, or a reason for which it has none.
    #[test]
    fn files_have_a_token_or_a_reason() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let reads = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            read(&path).map_err(|error| error.to_string())
        };
        for content in [&b"secret"[..], b" secret\r\n", b"\xef\xbb\xbfsecret\n"] {
            assert_eq!(reads(content), Ok("secret".to_owned()));
        }
        for (content, expected) in [
            (&b""[..], "it has no token"),
            (b"\xef\xbb\xbf \n", "it has no token"),
            (b"one\ntwo\n", "one line"),
            (b"a\0b", "control characters"),
            (b"\x7fELF", "control characters"),
            (b"\xff\xfes\0", "line 1 is not UTF-8"),
            (&[b'a'; 4097], "more than 4096 bytes"),
        ] {
            let why = reads(content).unwrap_err();
            assert!(why.contains(expected), "{content:?}: {why}");
        }
        assert!(read(directory.path()).unwrap_err().to_string().contains("directory"));
    }
}
