//! Numbers of Hubble's enums in JSON.

use webb_flow::names;

use super::json::{Cursor, JsonError};

/// An enum's value: any name, which gets a stand-in if the table lacks it, or any number.
pub(super) fn number(cursor: &mut Cursor<'_>, table: &[(i32, &'static str)]) -> Result<i32, JsonError> {
    if !cursor.is_string() {
        return cursor.whole();
    }
    Ok(names::number_or_stand_in(table, &cursor.string()?))
}
