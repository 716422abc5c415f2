//! The directory that exporters may write in. A path is held against it behind all links and `..`,
//! so that a configuration leads to no other file of the machine.

use std::io;
use std::path::{Component, Path, PathBuf};

use super::config::InvalidPath;

/// The path behind all links of a file below `directory`, from which a relative path leads. Neither
/// needs to exist.
///
/// # Errors
/// If it leads elsewhere, or something else is there.
pub fn resolve(path: &Path, directory: &Path) -> Result<PathBuf, InvalidPath> {
    let directory = real(directory)?;
    let found = real(&directory.join(path))?;
    match found.strip_prefix(&directory) {
        Err(_) => return Err(InvalidPath::Outside(found, directory)),
        Ok(inner) if inner.as_os_str().is_empty() => return Err(InvalidPath::NoFile(path.to_owned())),
        Ok(_) => {}
    }
    match found.symlink_metadata() {
        Ok(metadata) if !metadata.is_file() => Err(InvalidPath::NotRegular(found)),
        Ok(_) => Ok(found),
        Err(error) if is_missing(&error) => Ok(found),
        Err(error) => Err(system(&found, error)),
    }
}

/// Checks a path on any machine: where `directory` does not exist, by its letters.
///
/// # Errors
/// If it can be no path of a file below `directory`.
pub fn check(path: &Path, directory: &Path) -> Result<(), InvalidPath> {
    let full = directory.join(path);
    let is_folder = path.as_os_str().as_encoded_bytes().ends_with(b"/");
    if is_folder || full.file_name().is_none() || full == directory {
        return Err(InvalidPath::NoFile(path.to_owned()));
    }
    if directory.exists() {
        return match resolve(path, directory) {
            // What may not be looked at may be written all the same.
            Ok(_) | Err(InvalidPath::System { .. }) => Ok(()),
            Err(error) => Err(error),
        };
    }
    let mut inner = PathBuf::new();
    for part in full.components() {
        if part == Component::ParentDir {
            inner.pop();
        } else {
            inner.push(part);
        }
    }
    if inner.starts_with(directory) { Ok(()) } else { Err(InvalidPath::Outside(inner, directory.to_owned())) }
}

/// The path behind all links, of which the last names need not exist.
fn real(path: &Path) -> Result<PathBuf, InvalidPath> {
    let mut missing = Vec::new();
    let mut at = path;
    loop {
        match at.canonicalize() {
            Ok(mut found) => {
                found.extend(missing.iter().rev());
                return Ok(found);
            }
            // A link that leads to nothing would make its target.
            Err(error) if is_missing(&error) && at.symlink_metadata().is_err() => {
                let (Some(name), Some(parent)) = (at.file_name(), at.parent()) else {
                    // `..` below a directory that is not there.
                    return Err(InvalidPath::NoFile(path.to_owned()));
                };
                missing.push(name);
                at = parent;
            }
            Err(error) => return Err(system(at, error)),
        }
    }
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn system(path: &Path, error: io::Error) -> InvalidPath {
    InvalidPath::System { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A path is judged by where it leads: over `..`, over links of directories and of the file
    /// itself; names that are not there yet are taken as they are.
    #[test]
    fn paths_lead_where_they_may() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().canonicalize().unwrap();
        let allowed = root.join("logs");
        fs::create_dir_all(allowed.join("inner")).unwrap();
        fs::create_dir(root.join("other")).unwrap();
        fs::write(root.join("other/secret"), "").unwrap();
        symlink(root.join("other"), allowed.join("out")).unwrap();
        symlink(root.join("other/secret"), allowed.join("link.log")).unwrap();
        symlink(root.join("other/new"), allowed.join("dangling.log")).unwrap();
        symlink(&allowed, root.join("alias")).unwrap();
        let resolved = |path: &str| resolve(&root.join(path), &root.join("alias"));
        for (path, leads_to) in [
            ("logs/a.log", "logs/a.log"),
            ("logs/new/deep/a.log", "logs/new/deep/a.log"),
            ("logs/inner/../a.log", "logs/a.log"),
            ("alias/a.log", "logs/a.log"),
            ("alias/inner/../../logs/a.log", "logs/a.log"),
        ] {
            assert_eq!(resolved(path).unwrap(), root.join(leads_to), "{path}");
        }
        assert_eq!(resolve(Path::new("a.log"), &root.join("alias")).unwrap(), allowed.join("a.log"));
        for path in ["other/a.log", "logs/../a.log", "logs/out/a.log", "logs/link.log"] {
            assert!(matches!(resolved(path), Err(InvalidPath::Outside(..))), "{path}");
        }
        assert!(matches!(resolved("logs/dangling.log"), Err(InvalidPath::System { .. })));
        assert!(matches!(resolved("logs"), Err(InvalidPath::NoFile(_))));
        assert!(matches!(resolved("logs/new/../../a.log"), Err(InvalidPath::NoFile(_))));
        assert!(matches!(resolved("logs/inner"), Err(InvalidPath::NotRegular(_))));
        assert!(resolve(&root.join("later/a.log"), &root.join("later")).is_ok());
    }

    /// On a machine without the directory, a path is judged by its letters.
    #[test]
    fn paths_by_their_letters() {
        let directory = Path::new("/not-there/logs");
        for good in ["/not-there/logs/a.log", "relative.log", "/not-there/logs/a/../x.log", "../logs/x.log"] {
            check(Path::new(good), directory).unwrap();
        }
        for bad in
            ["/", "", "/not-there/logs/a/", "/etc/passwd", "/not-there/logsx/a.log", "../x.log", "../../../../../x.log"]
        {
            check(Path::new(bad), directory).unwrap_err();
        }
    }
}
