//! Writes encoded messages as JSON, byte for byte as Hubble's exporter and `hubble observe -o
//! jsonpb` do: names of the proto files, in their order, nothing that is unset.

use std::io::Write as _;

use webb_flow::date::date;

use crate::schema::{Field, Form, Kind, Message, schema};
use crate::wire::{self, Value};

/// Appends an encoded message as JSON.
pub fn write(message: &[u8], shape: &Message, out: &mut Vec<u8>) {
    match shape.form {
        Form::Object => object(message, shape, out),
        Form::Timestamp => timestamp(message, out),
        Form::Wrapper => {
            let Some(field) = shape.fields.first() else { return };
            let found = wire::fields(message).find(|found| found.number == field.number);
            let empty = if field.kind == Kind::Text { Value::Bytes(&[]) } else { Value::Varint(0) };
            value(found.map_or(empty, |found| found.value), field, out);
        }
        Form::Opaque => out.extend_from_slice(b"{}"),
    }
}

fn object(message: &[u8], shape: &Message, out: &mut Vec<u8>) {
    let found = wire::fields(message).filter_map(|field| Some((shape.by_number(field.number)?, field.value)));
    let mut fields: Vec<_> = found.map(|((at, field), value)| (at, field, value)).collect();
    // Stable: values of a list keep their order.
    fields.sort_by_key(|(at, ..)| *at);
    out.push(b'{');
    let mut separator: &[u8] = b"";
    for values in fields.chunk_by(|(a, ..), (b, ..)| a == b) {
        let Some((_, field, last)) = values.last() else { continue };
        if matches!(field.kind, Kind::Message(at) if schema().at(at).form == Form::Opaque) {
            continue;
        }
        out.extend_from_slice(separator);
        separator = b",";
        text(field.name.as_bytes(), out);
        out.push(b':');
        if field.repeated {
            list(values, out);
        } else {
            value(*last, field, out);
        }
    }
    out.push(b'}');
}

fn list(values: &[(usize, &Field, Value<'_>)], out: &mut Vec<u8>) {
    out.push(b'[');
    let mut separator: &[u8] = b"";
    let mut one = |found: Value<'_>, field: &Field, out: &mut Vec<u8>| {
        out.extend_from_slice(separator);
        separator = b",";
        value(found, field, out);
    };
    for (_, field, found) in values {
        match (field.kind, found) {
            (Kind::Text | Kind::Message(_), _) | (_, Value::Varint(_)) => one(*found, field, out),
            // Numbers of a list stand together.
            (_, packed) => {
                let mut rest = packed.bytes();
                while let Some(number) = wire::take_varint(&mut rest) {
                    one(Value::Varint(number), field, out);
                }
            }
        }
    }
    out.push(b']');
}

fn value(found: Value<'_>, field: &Field, out: &mut Vec<u8>) {
    let number = found.number();
    // The low half is the number: negative ones are extended to 64 bits.
    let low = || u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0);
    match field.kind {
        Kind::Bool => out.extend_from_slice(if number == 0 { b"false" } else { b"true" }),
        Kind::Int32 => print(out, low().cast_signed()),
        Kind::Uint32 => print(out, low()),
        Kind::Int64 => print(out, format_args!("\"{}\"", number.cast_signed())),
        Kind::Uint64 => print(out, format_args!("\"{number}\"")),
        Kind::Double if f64::from_bits(number).is_finite() => print(out, f64::from_bits(number)),
        Kind::Double => print(out, format_args!("\"{}\"", f64::from_bits(number))),
        Kind::Text => text(found.bytes(), out),
        Kind::Enum(at) => match schema().enum_at(at).name(low().cast_signed()) {
            Some(name) => text(name.as_bytes(), out),
            None => print(out, low().cast_signed()),
        },
        Kind::Message(at) => write(found.bytes(), schema().at(at), out),
        Kind::Other => out.extend_from_slice(b"null"),
    }
}

fn print(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    // Writing to memory does not fail.
    let _written = write!(out, "{value}");
}

/// A text in quotes. Letters that mean something in HTML are escaped, as Go does.
fn text(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let lossy = String::from_utf8_lossy(bytes);
    for letter in lossy.chars() {
        match letter {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{0}'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                print(out, format_args!("\\u{:04x}", u32::from(letter)));
            }
            plain => out.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// A time in UTC, with as many groups of three decimals as it needs.
fn timestamp(message: &[u8], out: &mut Vec<u8>) {
    let (mut seconds, mut nanoseconds) = (0_u64, 0_u64);
    for field in wire::fields(message) {
        match field.number {
            1 => seconds = field.value.number(),
            2 => nanoseconds = field.value.number(),
            _ => {}
        }
    }
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    print(out, format_args!("\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"));
    match nanoseconds {
        0 => {}
        whole if whole % 1_000_000 == 0 => print(out, format_args!(".{:03}", whole / 1_000_000)),
        whole if whole % 1000 == 0 => print(out, format_args!(".{:06}", whole / 1000)),
        whole => print(out, format_args!(".{whole:09}")),
    }
    out.extend_from_slice(b"Z\"");
}
