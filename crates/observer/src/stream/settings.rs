//! The configuration of a stream of flows.

use webb_index::filters::Filters;

use crate::mask::{InvalidMask, Mask};

/// Labels of pods that a record may have, for each end.
pub const MAX_LABELS: usize = 8;

/// The text of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Body {
    /// There is none.
    None,
    /// The line that `observe` prints, without its time.
    #[default]
    Summary,
    /// The line of JSON that an exporter writes.
    Hubble,
}

/// The flows of a stream, and what their records have.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowSettings {
    /// Flows that are sent; without any that include, problems are: drops, denials, audits, errors,
    /// answers of layer 7 that are errors, and attempts to connect that failed.
    pub filters: Filters,
    /// One in so many connections that were forwarded is sent beside them, whole; 0 is none.
    pub sample_every: u32,
    /// Flows a second at most; as many may come at once.
    pub max_per_second: u32,
    /// Whether records have an id.
    pub uid: bool,
    /// Keys of labels of pods that records have, [`MAX_LABELS`] at most.
    pub labels: Vec<String>,
    /// The text of a record, for outputs without a choice of their own.
    pub body: Body,
    /// Paths of the fields of a flow that records have; none is all of them.
    pub fields: Vec<String>,
}

impl Default for FlowSettings {
    fn default() -> Self {
        Self {
            filters: Filters::default(),
            sample_every: 0,
            max_per_second: 1000,
            uid: true,
            labels: Vec::new(),
            body: Body::default(),
            fields: Vec::new(),
        }
    }
}

impl FlowSettings {
    /// Checks the fields, and compiles the mask; none is all of a flow.
    ///
    /// # Errors
    /// If a path of a field leads nowhere.
    pub fn mask(&self) -> Result<Option<Mask>, InvalidMask> {
        let paths = &self.fields;
        if paths.is_empty() { Ok(None) } else { Mask::new(paths.iter().map(String::as_str)).map(Some) }
    }
}
