//! Tests of the cursor, and of its agreement with serde_json about JSON.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::Cursor;

/// Any JSON, with the strings and numbers that are hard to read.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[\"\\\\/\n\t\u{1}é😀a-z]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn passes(text: &str) -> bool {
    let mut cursor = Cursor::new(text);
    cursor.skip().and_then(|()| cursor.end()).is_ok()
}

proptest! {
    /// JSON that serde_json writes is read, plain or with white space.
    #[test]
    fn json_passes(value in any_json()) {
        prop_assert!(passes(&value.to_string()));
        prop_assert!(passes(&serde_json::to_string_pretty(&value).unwrap()));
    }

    /// A string means what serde_json means by it, whatever it holds and however long it is.
    #[test]
    fn strings_are_read_back(text in any::<String>()) {
        let quoted = Value::from(text.as_str()).to_string();
        prop_assert_eq!(Cursor::new(&quoted).string().unwrap(), text.as_str());
    }

    /// One byte changed: this reader and serde_json agree on whether it is still JSON. They differ
    /// on numbers too large for a float and on half a surrogate pair, which are JSON by its grammar
    /// and no value to serde_json.
    #[test]
    fn damage_is_seen(value in any_json(), at in any::<prop::sample::Index>(), byte in "[ -~\n\u{1}]") {
        let mut text = value.to_string();
        let at = at.index(text.len());
        prop_assume!(text.is_char_boundary(at) && text.is_char_boundary(at + 1));
        text.replace_range(at..=at, &byte);
        let theirs = serde_json::from_str::<Value>(&text);
        if let Err(error) = &theirs {
            let error = error.to_string();
            prop_assume!(!error.contains("out of range") && !error.contains("surrogate") && !error.contains("hex"));
        }
        prop_assert_eq!(passes(&text), theirs.is_ok(), "{} {:?}", text, theirs);
    }

    /// The raw text of an object is the object, whatever follows; going back reads it again.
    #[test]
    fn raw_text_ends_where_the_object_ends(value in any_json(), behind in "[ -~]{0,9}") {
        let object = Value::from(vec![value]).to_string();
        let text = format!(" {object},{behind}");
        let mut cursor = Cursor::new(&text);
        prop_assert_eq!(cursor.raw(), Some(object.as_str()));
        cursor.back(object.len());
        prop_assert!(cursor.skip().is_ok());
        prop_assert_eq!(cursor.wrong::<()>("x").unwrap_err().to_string(), format!("x (column {})", object.len() + 2));
    }

    /// Whole numbers are read exactly, in quotes or not, and never another one where they do not
    /// fit.
    #[test]
    fn whole_numbers_are_exact(number in any::<i128>()) {
        let text = number.to_string();
        prop_assert_eq!(Cursor::new(&text).whole::<u64>().ok(), u64::try_from(number).ok());
        prop_assert_eq!(Cursor::new(&text).whole::<i32>().ok(), i32::try_from(number).ok());
        let small = (number >> 64).to_string();
        prop_assert_eq!(Cursor::new(&format!("\"{small}\"")).whole::<i64>().ok(), small.parse().ok());
    }
}

/// Numbers in every spelling that JSON has, and in those it has not.
#[test]
fn spellings_of_numbers() {
    for (text, number) in [("0", 0), ("80.0", 80), ("1e3", 1000), ("12E+1", 120), ("\"7\"", 7), ("-0", 0)] {
        assert_eq!(Cursor::new(text).whole::<u32>(), Ok(number), "{text}");
    }
    for text in ["01", "1.", ".5", "-", "1e", "0.5", "-1", "4294967296", "\"7", "\"x\"", "true", "", "1e400"] {
        assert!(Cursor::new(text).whole::<u32>().is_err(), "{text}");
    }
}

/// Errors name their fields and their place.
#[test]
fn errors_name_the_place() {
    let mut cursor = Cursor::new(r#"{"a": {"b": tru}}"#);
    let wrong = cursor.object(|inside, _| inside.object(|inside, _| inside.boolean().map(|_| ()))).unwrap_err();
    assert_eq!(wrong.to_string(), "a.b: expected `true` (column 13)");
}

/// Brackets without end cost no stack.
#[test]
fn nesting_has_a_limit() {
    assert!(!passes(&"[".repeat(100_000)));
    assert!(passes(&format!("{}{}", "[".repeat(60), "]".repeat(60))));
}

/// Half a pair becomes the replacement character, as Go has it; a whole one its character.
#[test]
fn surrogates() {
    let read = |text| Cursor::new(text).string().unwrap().into_owned();
    assert_eq!(read(r#""\ud83d\ude00""#), "😀");
    assert_eq!(read(r#""\ud83dx""#), "\u{fffd}x");
    assert_eq!(read(r#""\ude00\ud83d\u0041""#), "\u{fffd}\u{fffd}A");
}
