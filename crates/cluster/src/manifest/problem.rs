//! Errors of a manifest.

use std::fmt;
use std::sync::Arc;

use webb_settings::file::FileError;

/// Problems that are described; the rest is counted.
pub(super) const MAX: usize = 100;

/// Something in a manifest that can't be used; the rest is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// Line of the mistake, or of the object's beginning where the mistake has no line.
    pub line: u64,
    /// Name of the object, as far as it is known: `Pod default/xwing`.
    pub object: String,
    /// Found value and expected value.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}:{}: {}: {}", self.file, self.line, self.object, self.text)
    }
}

/// Error that makes a manifest unusable.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file can't be read.
    #[error("cannot read the manifest {file}: {why}")]
    Unreadable {
        /// The file.
        file: String,
        /// Error of reading the file.
        why: FileError,
    },
    /// The file has nothing in it, as one that is about to be written.
    #[error("the manifest {file} is empty: expected Kubernetes objects; what was read before stays")]
    Empty {
        /// The file.
        file: String,
    },
    /// The file has no usable object: it is of another shape.
    #[error("the manifest {file} has no object that can be used; what was read before stays. First: {first}")]
    Useless {
        /// The file.
        file: String,
        /// Problem at its beginning.
        first: Problem,
    },
    /// A large document begins as JSON, and isn't.
    #[error("{file}:{line}: not valid JSON: {why}")]
    Json {
        /// The file.
        file: String,
        /// Line at which reading ended.
        line: u64,
        /// Error from the parser.
        why: String,
    },
    /// The file isn't YAML.
    #[error("{file}:{line}: not valid YAML: {why}")]
    Yaml {
        /// The file.
        file: String,
        /// Line at which reading ended.
        line: u64,
        /// Error from the parser.
        why: String,
    },
}

/// Problems so far, at most as many as are worth reading.
#[derive(Debug, Default)]
pub(super) struct Problems {
    file: Arc<str>,
    list: Vec<Problem>,
    further: usize,
}

impl Problems {
    pub(super) fn new(file: &Arc<str>) -> Self {
        Self { file: Arc::clone(file), ..Self::default() }
    }

    pub(super) fn push(&mut self, line: u64, object: String, text: String) {
        if self.is_full() {
            self.further += 1;
        } else {
            self.list.push(Problem { file: Arc::clone(&self.file), line, object, text });
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= MAX
    }

    /// Counts skipped objects.
    pub(super) fn skip(&mut self, objects: usize) {
        self.further += objects;
    }

    pub(super) fn finish(mut self) -> (Vec<Problem>, usize) {
        self.list.sort_by_key(|problem| problem.line);
        (self.list, self.further)
    }
}
