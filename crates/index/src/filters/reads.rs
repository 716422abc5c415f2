//! What filters read of layer 7.

/// Fields of layer 7 that filters read, and that are not copied out of a message unless they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a field of its own")]
pub struct Layer7Reads {
    /// Names of DNS questions.
    pub query: bool,
    /// URLs and paths.
    pub url: bool,
    /// Headers.
    pub headers: bool,
    /// Trace ids.
    pub trace: bool,
    /// Names from DNS.
    pub names: bool,
    /// Addresses and aliases of DNS answers.
    pub answers: bool,
}

impl Layer7Reads {
    /// Adds what others read.
    pub(super) fn add(&mut self, other: Self) {
        self.query |= other.query;
        self.url |= other.url;
        self.headers |= other.headers;
        self.trace |= other.trace;
        self.names |= other.names;
        self.answers |= other.answers;
    }
}
