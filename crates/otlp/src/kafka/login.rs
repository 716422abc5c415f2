//! The name and the password of a login, from the files of a directory, such as a mounted Secret.

use std::path::{Path, PathBuf};

use webb_settings::file;

use super::sasl::Credentials;

/// Bytes of a file at most.
const MAX_BYTES: u64 = 16 << 10;

/// Bytes of a password that is masked, at least: a shorter one is in many words.
const SHORTEST_SECRET: usize = 4;

/// A login in files, which are read again when a connection is made.
#[derive(Debug)]
pub(super) struct Login {
    directory: PathBuf,
    credentials: Option<Credentials>,
}

impl Login {
    /// A login that is not read yet.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, credentials: None }
    }

    /// Reads the files. True if they have changed. Blocks.
    ///
    /// # Errors
    /// The file that cannot be used; the login stays as it was.
    pub(super) fn reload(&mut self) -> Result<bool, String> {
        let read = Credentials {
            username: read(&self.directory.join("username"))?,
            password: read(&self.directory.join("password"))?,
        };
        let has_changed = self.credentials.as_ref() != Some(&read);
        self.credentials = Some(read);
        Ok(has_changed)
    }

    /// The login for a new connection, with what the files hold now. Blocks.
    ///
    /// # Errors
    /// The file that cannot be used, if none could be used before.
    pub(super) fn current(&mut self) -> Result<Credentials, String> {
        let reloaded = self.reload();
        match (&self.credentials, reloaded) {
            (Some(credentials), _) => Ok(credentials.clone()),
            (None, Err(why)) => Err(why),
            (None, Ok(_)) => Err("the login was not read".to_owned()),
        }
    }

    /// A text with `***` in the place of the password.
    pub(super) fn mask(&self, text: &str) -> String {
        self.credentials.as_ref().map_or_else(|| text.to_owned(), |credentials| credentials.mask(text))
    }
}

impl Credentials {
    /// A text with `***` in the place of the password.
    pub(super) fn mask(&self, text: &str) -> String {
        let password = &self.password;
        if password.len() < SHORTEST_SECRET { text.to_owned() } else { text.replace(password, "***") }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let unusable = |why: &dyn std::fmt::Display| format!("the login file {} cannot be used: {why}", path.display());
    let content = file::read(path, MAX_BYTES).map_err(|error| unusable(&error))?;
    let text = String::from_utf8(content).map_err(|_| unusable(&"it is not a text in UTF-8"))?;
    // An editor's last line has an end; spaces may be a password's.
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err(unusable(&"it is empty"));
    }
    if text.contains('\0') {
        return Err(unusable(&"it has a byte of zero"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A login is read again; a file that cannot be used is named, and what it holds is not shown.
    #[test]
    fn a_login_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let mut login = Login::new(directory.path().to_owned());
        assert!(login.current().unwrap_err().contains("/username cannot be used"));
        fs::write(directory.path().join("username"), "webb\n").unwrap();
        fs::write(directory.path().join("password"), "\n").unwrap();
        assert!(login.current().unwrap_err().contains("/password cannot be used: it is empty"));
        fs::write(directory.path().join("password"), " secret 1\r\n").unwrap();
        assert_eq!(login.current().unwrap().password, " secret 1");
        assert_eq!(login.reload(), Ok(false));
        fs::write(directory.path().join("password"), "other").unwrap();
        assert_eq!(login.reload(), Ok(true));
        fs::remove_file(directory.path().join("password")).unwrap();
        assert!(login.reload().is_err());
        assert_eq!(login.current().unwrap().password, "other");
        assert_eq!(login.mask("no user webb with other"), "no user webb with ***");
        assert!(!format!("{login:?}").contains("other"));
    }
}
