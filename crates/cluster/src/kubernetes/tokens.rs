//! The tokens by which the pages of a list follow each other.

use std::collections::HashSet;

use super::error::ApiError;
use super::resource::Resource;

/// The tokens of one list so far: one that comes again would make it a list without an end.
#[derive(Debug)]
pub(super) struct Tokens<'a> {
    resource: &'a Resource,
    seen: HashSet<String>,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(resource: &'a Resource) -> Self {
        Self { resource, seen: HashSet::new() }
    }

    /// The token of the next page, unless it was there before.
    pub(super) fn next(&mut self, token: String) -> Result<String, ApiError> {
        if self.seen.insert(token.clone()) {
            return Ok(token);
        }
        let plural = self.resource.plural;
        Err(ApiError::Malformed(format!("a list of {plural} does not end: a page has the token of one before it")))
    }
}
