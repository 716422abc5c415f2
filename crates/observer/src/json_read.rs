//! Encodes messages that are written as JSON.

use webb_flowlog::{Cursor, JsonError, nanoseconds};

use crate::schema::{Field, Form, Kind, Message, schema};
use crate::wire;

/// Appends the message of this type that comes next, encoded. Fields and enum names that are
/// unknown, those of a newer Hubble, are left out.
///
/// # Errors
/// If it is not well formed, or a value is not of its field's type.
pub fn encode(cursor: &mut Cursor<'_>, message: &Message, out: &mut Vec<u8>) -> Result<(), JsonError> {
    match message.form {
        Form::Object => cursor.object(|inside, name| match message.by_name(name) {
            Some(field) if field.repeated => inside.list(|inside| value(inside, field, out)),
            Some(field) => value(inside, field, out),
            None => inside.skip(),
        }),
        Form::Timestamp => time(cursor, out),
        Form::Wrapper => match message.fields.first() {
            Some(field) => value(cursor, field, out),
            None => cursor.skip(),
        },
        Form::Opaque => cursor.skip(),
    }
}

/// One value of a field. The value that an absent field has is not written, but in a list.
fn value(cursor: &mut Cursor<'_>, field: &Field, out: &mut Vec<u8>) -> Result<(), JsonError> {
    let number = match field.kind {
        Kind::Bool => u64::from(cursor.boolean()?),
        Kind::Int32 => i64::from(cursor.whole::<i32>()?).cast_unsigned(),
        Kind::Int64 => cursor.whole::<i64>()?.cast_unsigned(),
        Kind::Uint32 => cursor.whole::<u32>()?.into(),
        Kind::Uint64 => cursor.whole::<u64>()?,
        Kind::Enum(at) => {
            let known = if cursor.is_string() {
                schema().enum_at(at).number(&cursor.string()?)
            } else {
                Some(cursor.whole::<i32>()?)
            };
            i64::from(known.unwrap_or(0)).cast_unsigned()
        }
        Kind::Text => {
            let text = cursor.string()?;
            if field.repeated || !text.is_empty() {
                wire::put_bytes(out, field.number, text.as_bytes());
            }
            return Ok(());
        }
        Kind::Message(at) => {
            let message = schema().at(at);
            if message.form == Form::Opaque {
                return cursor.skip();
            }
            return wire::put_message(out, field.number, |out| encode(cursor, message, out));
        }
        Kind::Double | Kind::Other => return cursor.skip(),
    };
    if field.repeated || number != 0 {
        wire::put_number(out, field.number, number);
    }
    Ok(())
}

fn time(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), JsonError> {
    let text = cursor.string()?;
    let Some(unix_ns) = nanoseconds(&text) else {
        return cursor.wrong(format!("expected a time such as 2026-01-01T00:00:00Z, found {text:?}"));
    };
    put_time(out, unix_ns);
    Ok(())
}

/// Appends the fields of a timestamp.
pub(crate) fn put_time(out: &mut Vec<u8>, unix_ns: u64) {
    for (number, value) in [(1, unix_ns / 1_000_000_000), (2, unix_ns % 1_000_000_000)] {
        if value != 0 {
            wire::put_number(out, number, value);
        }
    }
}
