//! Exemplars: for a few values, the trace of an event that made them grow. Only OpenMetrics shows
//! them.
//!
//! They are rare, even where they are switched on: a request without a trace leaves none. So they
//! stand beside the values, in chunks that exist only where there is something in them; a snapshot
//! clones the list of chunks, and what comes later is written to a copy of its chunk, at most once
//! per snapshot.

use std::sync::Arc;

/// Values in a chunk.
const ROWS: usize = 256;

/// The one label of an exemplar.
pub const EXEMPLAR_LABEL: &str = "traceID";

/// The trace of an event that a value counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// Value of [`EXEMPLAR_LABEL`]; 32 hexadecimal digits, as a rule.
    pub trace_id: Arc<str>,
    /// Added value: 1 to a counter, the observation to a histogram.
    pub value: f64,
    /// Its time in seconds of Unix time.
    pub seconds: f64,
}

/// The latest exemplar of each value of a table, by the value's place. A clone is cheap and stays
/// as it is while the original goes on.
#[derive(Debug, Clone, Default)]
pub struct Exemplars {
    chunks: Vec<Option<Arc<Vec<Option<Exemplar>>>>>,
}

impl Exemplars {
    /// Gives the value at place `at` an exemplar, or takes it away.
    pub fn set(&mut self, at: usize, exemplar: Option<Exemplar>) {
        let chunk = at / ROWS;
        if self.chunks.len() <= chunk {
            if exemplar.is_none() {
                return;
            }
            self.chunks.resize(chunk + 1, None);
        }
        let Some(chunk) = self.chunks.get_mut(chunk) else { return };
        if chunk.is_none() && exemplar.is_none() {
            return;
        }
        let rows = Arc::make_mut(chunk.get_or_insert_with(|| Arc::new(vec![None; ROWS])));
        if let Some(row) = rows.get_mut(at % ROWS) {
            *row = exemplar;
        }
    }

    /// The exemplar of the value at place `at`.
    pub fn get(&self, at: usize) -> Option<&Exemplar> {
        self.chunks.get(at / ROWS)?.as_ref()?.get(at % ROWS)?.as_ref()
    }

    /// True while there was none yet, so that a lookup can be skipped.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exemplar(trace: &str) -> Exemplar {
        Exemplar { trace_id: trace.into(), value: 1.0, seconds: 0.0 }
    }

    /// A snapshot must not see what comes after it, values must not share exemplars, and taking one
    /// away leaves none.
    #[test]
    fn a_clone_stays_as_it_was() {
        let mut exemplars = Exemplars::default();
        exemplars.set(7, None);
        assert!(exemplars.is_empty());
        exemplars.set(ROWS + 1, Some(exemplar("a")));
        let before = exemplars.clone();
        exemplars.set(ROWS + 1, Some(exemplar("b")));
        exemplars.set(ROWS + 2, Some(exemplar("c")));
        assert_eq!(before.get(ROWS + 1), Some(&exemplar("a")));
        assert_eq!(before.get(ROWS + 2), None);
        assert_eq!(exemplars.get(ROWS + 1), Some(&exemplar("b")));
        assert_eq!((exemplars.get(1), exemplars.get(9 * ROWS)), (None, None));
        exemplars.set(ROWS + 1, None);
        assert_eq!(exemplars.get(ROWS + 1), None);
    }
}
