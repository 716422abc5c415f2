//! A manifest that is being read: where its objects go, and its problems.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::head::{Place, Refused};
use super::problem::Problems;
use crate::passed_over::PassedOver;
use crate::{Checked, Kind, Object, OtherKinds, Raw, Reference};

/// The sink of objects, and the problems of the documents so far.
pub(super) struct Loading<'a> {
    /// Takes each good object. One that is there twice comes twice, and the later one counts.
    take: &'a mut dyn FnMut(Object),
    pub(super) listed: HashSet<Reference>,
    pub(super) problems: Problems,
    pub(super) others: OtherKinds,
    pub(super) strange: BTreeSet<(String, String)>,
}

impl<'a> Loading<'a> {
    /// A loader that has read nothing yet of this file; `others` are the other kinds of policy.
    pub(super) fn new(file: &Arc<str>, others: &OtherKinds, take: &'a mut dyn FnMut(Object)) -> Self {
        let (listed, strange) = (HashSet::new(), BTreeSet::new());
        Self { take, listed, problems: Problems::new(file), others: others.clone(), strange }
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
        if !self.listed.insert(object.reference()) {
            let text = "is here a second time; this one is used".to_owned();
            self.problems.push(place.line, place.to_string(), text);
        }
        (self.take)(object);
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
