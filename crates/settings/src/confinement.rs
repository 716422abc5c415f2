//! The process's own confinement, for the texts of errors: the directories that Landlock leaves
//! readable and writable, and whether programs may be run.
//!
//! It is of the process, and so is the state here. The agent records it once, when it is in force.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Explanation of a file that Landlock refuses.
const PATH: &str = "Landlock: this path is not among those that the configuration named when webb started; restart \
                    webb, or set privileges.landlock to false";

/// Explanation of a program that is not run.
const PROGRAM: &str = "webb runs no program, as its configuration named none when it started (Landlock and seccomp); \
                       restart webb";

static CONFINEMENT: OnceLock<Confinement> = OnceLock::new();

/// A confinement in force.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Confinement {
    /// Directories and files that may be read; `None` is all.
    pub readable: Option<Vec<PathBuf>>,
    /// Directories in which files may be written, where not all may be read.
    pub writable: Vec<PathBuf>,
    /// Whether programs may be run.
    pub programs: bool,
}

impl Confinement {
    /// Explains a refusal of this path; `None` if it is not for the confinement.
    fn explain(&self, path: &Path, error: &io::Error) -> Option<&'static str> {
        if error.kind() != io::ErrorKind::PermissionDenied {
            return None;
        }
        // Landlock decides by what a path leads to, and does not hinder finding that out.
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let readable = self.readable.as_ref()?;
        (!readable.iter().any(|directory| real.starts_with(directory))).then_some(PATH)
    }

    /// Explains a refusal to write at this path; `None` if it is not for the confinement.
    fn explain_writing(&self, path: &Path, error: &io::Error) -> Option<&'static str> {
        let is_refused = self.readable.is_some() && error.kind() == io::ErrorKind::PermissionDenied;
        (is_refused && !self.writable.iter().any(|directory| path.starts_with(directory))).then_some(PATH)
    }
}

/// Records the confinement. Only the first one counts: nothing takes it back.
pub fn record(confinement: Confinement) {
    let _in_force_already = CONFINEMENT.set(confinement);
}

/// Explains why this file cannot be read, if the process's own confinement is the cause.
pub fn explain(path: &Path, error: &io::Error) -> Option<&'static str> {
    CONFINEMENT.get()?.explain(path, error)
}

/// Explains why nothing can be written at this path, as configured, if the process's own
/// confinement is the cause.
pub fn explain_writing(path: &Path, error: &io::Error) -> Option<&'static str> {
    CONFINEMENT.get()?.explain_writing(path, error)
}

/// Explains why a program cannot be run, if the process's own confinement is the cause.
pub fn explain_program(error: &io::Error) -> Option<&'static str> {
    let refused = error.kind() == io::ErrorKind::PermissionDenied;
    (refused && CONFINEMENT.get().is_some_and(|confinement| !confinement.programs)).then_some(PROGRAM)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only a refusal outside the readable directories is the confinement's; a link counts as what
    /// it leads to.
    #[test]
    fn refusals_are_told_apart() {
        let scratch = tempfile::tempdir().unwrap();
        let [inside, outside] = ["inside", "outside"].map(|name| scratch.path().canonicalize().unwrap().join(name));
        for directory in [&inside, &outside] {
            std::fs::create_dir(directory).unwrap();
            std::fs::write(directory.join("file"), "").unwrap();
        }
        std::os::unix::fs::symlink(outside.join("file"), inside.join("link")).unwrap();
        let readable = Some(vec![inside.clone(), outside.join("written")]);
        let writable = vec![outside.join("written")];
        let confinement = Confinement { readable, writable, programs: true };
        let (refused, missing) = (io::ErrorKind::PermissionDenied.into(), io::ErrorKind::NotFound.into());
        assert_eq!(confinement.explain(&outside.join("file"), &refused), Some(PATH));
        assert_eq!(confinement.explain(&inside.join("link"), &refused), Some(PATH));
        assert_eq!(confinement.explain(&inside.join("file"), &refused), None, "its mode refuses");
        assert_eq!(confinement.explain(&outside.join("file"), &missing), None);
        assert_eq!(confinement.explain_writing(&inside.join("new"), &refused), Some(PATH));
        assert_eq!(confinement.explain_writing(&inside.join("new"), &missing), None);
        assert_eq!(confinement.explain_writing(&outside.join("written/new"), &refused), None, "its mode refuses");
        let unconfined = Confinement { readable: None, writable: Vec::new(), programs: true };
        assert_eq!(unconfined.explain(&outside.join("file"), &refused), None);
        assert_eq!(unconfined.explain_writing(&outside.join("file"), &refused), None);
    }
}
