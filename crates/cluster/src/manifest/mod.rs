//! The manifest file: Kubernetes objects in YAML, as `kubectl get -o yaml` prints them or as a
//! person writes them.
//!
//! Documents are cut apart at their `---` lines first (YAML allows these nowhere else), so that a
//! bad object costs only itself: it becomes a [`Problem`] and the rest is loaded. A syntax error in
//! YAML refuses the whole file, because the start of the next object is then not known.
//!
//! Each document is read twice: once for what it is, once as that, straight into Kubernetes' types.
//! Only where that ends at a mistake it is read a third time, as a tree, of which the bad parts are
//! left out.

mod document;
mod head;
mod loading;
mod locate;
mod problem;
mod source;
mod tree;
mod typed;

use std::collections::BTreeSet;
use std::sync::Arc;

use loading::Loading;
pub use problem::{ManifestError, Problem};
pub use source::ManifestSource;
pub(super) use typed::One;

use super::{Object, OtherKinds};

/// What a manifest held.
#[derive(Debug, Default)]
pub struct Manifest {
    /// The good objects, each once.
    pub objects: Vec<Object>,
    /// What could not be used, in the order of the file; at most [`Manifest::MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// Problems beyond these.
    pub further_problems: usize,
    /// Group and kind of what is a policy by its name or group, and not known.
    pub strange: BTreeSet<(String, String)>,
}

impl Manifest {
    /// How many problems are described; the rest is counted.
    pub const MAX_PROBLEMS: usize = problem::MAX;
}

/// Parses a manifest. `file` is only for messages.
pub fn parse(file: &str, text: &str) -> Result<Manifest, ManifestError> {
    parse_with(file, text, &OtherKinds::default())
}

/// As [`parse`], where these are the other kinds of policy.
pub fn parse_with(file: &str, text: &str, others: &OtherKinds) -> Result<Manifest, ManifestError> {
    let file: Arc<str> = Arc::from(file);
    let mut loading = Loading::new(&file, others);
    for document in document::split(text) {
        document.read(&file, &mut loading)?;
    }
    let (problems, further_problems) = loading.problems.finish();
    Ok(Manifest { objects: loading.objects, problems, further_problems, strange: loading.strange })
}
