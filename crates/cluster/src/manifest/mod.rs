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
mod locate;
mod problem;
mod source;
mod tree;
mod typed;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use head::{Place, Refused};
use problem::Problems;
pub use problem::{ManifestError, Problem};
pub use source::ManifestSource;
pub(super) use typed::One;

use super::passed_over::PassedOver;
use super::{Checked, Kind, Object, OtherKinds, Raw, Reference};

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
    pub const MAX_PROBLEMS: usize = 100;
}

/// Parses a manifest. `file` is only for messages.
pub fn parse(file: &str, text: &str) -> Result<Manifest, ManifestError> {
    parse_with(file, text, &OtherKinds::default())
}

/// As [`parse`], where these are the other kinds of policy.
pub fn parse_with(file: &str, text: &str, others: &OtherKinds) -> Result<Manifest, ManifestError> {
    let file: Arc<str> = Arc::from(file);
    let mut loading = Loading { problems: Problems::new(&file), others: others.clone(), ..Loading::default() };
    for document in document::split(text) {
        document.read(&file, &mut loading)?;
    }
    let (problems, further_problems) = loading.problems.finish();
    Ok(Manifest { objects: loading.objects, problems, further_problems, strange: loading.strange })
}

#[derive(Debug, Default)]
struct Loading {
    objects: Vec<Object>,
    /// Where in `objects` each is.
    known: HashMap<Reference, usize>,
    problems: Problems,
    others: OtherKinds,
    strange: BTreeSet<(String, String)>,
}

impl Loading {
    /// Checks an object and keeps it, or notes why not. `line_of` finds the line of a part that a
    /// text is about.
    fn add(&mut self, place: &Place, raw: Raw, passed_over: PassedOver, line_of: impl Fn(&str) -> u64) {
        match Object::check_rest(raw, passed_over) {
            Err(why) => self.problems.push(place.line, place.to_string(), why.to_string()),
            Ok(Checked { object, passed_over }) => {
                for why in passed_over.described {
                    let line = if self.problems.is_full() { place.line } else { line_of(&why.0) };
                    self.problems.push(line, place.to_string(), why.to_string());
                }
                self.problems.skip(passed_over.further);
                self.keep(place, object);
            }
        }
    }

    fn keep(&mut self, place: &Place, object: Object) {
        let reference = object.reference();
        if let Some(earlier) = self.known.get(&reference).and_then(|&at| self.objects.get_mut(at)) {
            *earlier = object;
            let text = "is here a second time; this one is used".to_owned();
            self.problems.push(place.line, place.to_string(), text);
        } else {
            self.known.insert(reference, self.objects.len());
            self.objects.push(object);
        }
    }

    /// Notes that an object is of no kind that is read.
    fn refuse_kind(&mut self, place: &Place, Refused { why, kind, strange }: Refused) {
        self.strange.extend(strange);
        self.refuse(place.line, place, kind, why);
    }

    /// Notes that an object cannot be read. A policy counts all the same: what it says is unknown.
    fn refuse(&mut self, line: u64, place: &Place, kind: Option<Kind>, why: String) {
        self.problems.push(line, place.to_string(), why);
        let named = |kind: Kind| Some((kind, place.key_of(kind)?));
        if let Some(object) = kind.and_then(named).and_then(|(kind, key)| Object::unreadable(kind, &key)) {
            self.keep(place, object);
        }
    }
}
