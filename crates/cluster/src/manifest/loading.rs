//! A manifest that is being read: its objects so far, each once, and its problems.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::head::{Place, Refused};
use super::problem::Problems;
use crate::passed_over::PassedOver;
use crate::{Checked, Kind, Object, OtherKinds, Raw, Reference};

/// The objects and problems of the documents so far.
#[derive(Debug, Default)]
pub(super) struct Loading {
    pub(super) objects: Vec<Object>,
    /// Where in `objects` each is.
    known: HashMap<Reference, usize>,
    pub(super) problems: Problems,
    pub(super) others: OtherKinds,
    pub(super) strange: BTreeSet<(String, String)>,
}

impl Loading {
    /// Nothing read yet of this file, where these are the other kinds of policy.
    pub(super) fn new(file: &Arc<str>, others: &OtherKinds) -> Self {
        Self { problems: Problems::new(file), others: others.clone(), ..Self::default() }
    }

    /// Checks an object and keeps it, or notes why not. `line_of` finds the line of a part that a
    /// text is about.
    pub(super) fn add(&mut self, place: &Place, raw: Raw, passed_over: PassedOver, line_of: impl Fn(&str) -> u64) {
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
    pub(super) fn refuse_kind(&mut self, place: &Place, Refused { why, kind, strange }: Refused) {
        self.strange.extend(strange);
        self.refuse(place.line, place, kind, why);
    }

    /// Notes that an object cannot be read. A policy counts all the same: what it says is unknown.
    pub(super) fn refuse(&mut self, line: u64, place: &Place, kind: Option<Kind>, why: String) {
        self.problems.push(line, place.to_string(), why);
        let named = |kind: Kind| Some((kind, place.key_of(kind)?));
        if let Some(object) = kind.and_then(named).and_then(|(kind, key)| Object::unreadable(kind, &key)) {
            self.keep(place, object);
        }
    }
}
