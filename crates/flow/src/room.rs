//! The room of tables: a table that was large once gives its room back.

/// Entries that a table may have room for, beside four for each that is in it.
const SPARE: usize = 4096;

/// True for a table that has room for far more than is in it, so that shrinking it is worth moving
/// its content.
#[must_use]
pub fn is_spacious(capacity: usize, length: usize) -> bool {
    capacity > 4 * length + SPARE
}
