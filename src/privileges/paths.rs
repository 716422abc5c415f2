//! The directories in which files must stay readable so that they can be read again after they were
//! replaced.
//!
//! Landlock allows by inode. A file that is replaced is another inode: its directory is what must
//! be readable. A ConfigMap's file leads over two links, an operator's often over one, so that the
//! directory of each link and of the file count.

use std::path::{Path, PathBuf};

/// Links that are followed, as in the kernel.
const MAX_LINKS: usize = 40;

/// The directories of a file and of the links that lead to it. A directory that is missing is
/// replaced by what is there above it, and the root, which is everything, by what is in it.
pub(super) fn directories(file: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut at = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    for _ in 0..MAX_LINKS {
        let above = at.ancestors().skip(1).find_map(|above| above.canonicalize().ok());
        let Some(above) = above.filter(|above| above.parent().is_some()) else {
            // Replaced there, it could not be read again.
            found.extend(at.canonicalize());
            break;
        };
        found.push(above);
        let (Some(parent), Ok(target)) = (at.parent(), at.read_link()) else { break };
        at = parent.join(target);
    }
    // A directory that is exchanged by its link, as `current -> releases/2`, comes from beside it.
    for link in std::path::absolute(file).iter().flat_map(|path| path.ancestors().skip(1)) {
        if let (Some(parent), Ok(target)) = (link.parent(), link.read_link())
            && let Some(around) = parent.join(target).parent().and_then(|around| around.canonicalize().ok())
            && around.parent().is_some()
        {
            found.push(around);
        }
    }
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// The directory of a file, of what a link leads to, and of a directory that is exchanged by
    /// its link; a missing one is what is there above it.
    #[test]
    fn directories_of_files() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |path: &str| scratch.path().canonicalize().unwrap().join(path);
        for directory in ["etc/..one", "secret", "releases/1"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        fs::write(at("etc/..one/webb.yaml"), "").unwrap();
        symlink("..one", at("etc/..data")).unwrap();
        symlink("..data/webb.yaml", at("etc/webb.yaml")).unwrap();
        symlink(at("secret/key"), at("etc/key")).unwrap();
        symlink("releases/1", at("current")).unwrap();
        for (file, expected) in [
            ("etc/webb.yaml", &["etc", "etc/..one"][..]),
            ("etc/key", &["etc", "secret"]),
            ("current/m.yaml", &["releases", "releases/1"]),
            ("etc/later/m.yaml", &["etc"]),
        ] {
            assert_eq!(directories(&at(file)), expected.iter().map(|path| at(path)).collect::<Vec<_>>(), "{file}");
        }
        assert_eq!(directories(Path::new("/webb-that-is-not-there")), Vec::<PathBuf>::new());
        assert_eq!(directories(Path::new("/proc")), [PathBuf::from("/proc")]);
    }
}
