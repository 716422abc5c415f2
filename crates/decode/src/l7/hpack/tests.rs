//! HPACK by the examples of the RFC, against another implementation, and by any bytes.

use fluke_hpack::Encoder;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

type Text = (String, String);

/// Fields of a block as text; an unknown one is `?`.
fn decode(table: &mut Table, block: &[u8], all: bool) -> Result<Vec<String>, Broken> {
    let mut fields = Vec::new();
    table.decode(block, all, &mut Scratch::default(), &mut |seen| {
        fields.push(match seen {
            Seen::Field(name, value) => {
                format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
            }
            Seen::Unknown => "?".to_owned(),
        });
    })?;
    Ok(fields)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

/// RFC 7541, appendix C.4 and C.6: three requests, three responses with evictions at 256 bytes.
#[test]
fn examples() {
    let mut table = Table::default();
    for (block, last, size) in [
        ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", ":authority: www.example.com", 57),
        ("8286 84be 5886 a8eb 1064 9cbf", "cache-control: no-cache", 110),
        ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", "custom-key: custom-value", 164),
    ] {
        assert_eq!(decode(&mut table, &hex(block), true).unwrap().last().unwrap(), last);
        assert_eq!(table.size(), size);
    }
    let mut table = Table::default();
    table.resize(256);
    let first = "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3";
    let wanted = [
        ":status: 302",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "location: https://www.example.com",
    ];
    assert_eq!(decode(&mut table, &hex(first), true).unwrap(), wanted);
    assert_eq!(decode(&mut table, &hex("4883 640e ffc1 c0bf"), true).unwrap()[0], ":status: 307");
    assert_eq!(table.size(), 222);
}

/// Data that is no HPACK is refused, and the table cleared.
#[test]
fn broken_blocks() {
    for block in ["80", "be", "ff ff ff ff ff ff", "40", "41 05 61", "40 81 06 00", "3f ff ff ff ff ff", "7f"] {
        let mut table = Table::default();
        assert_eq!(decode(&mut table, &hex(block), false), Err(Broken), "{block}");
        assert_eq!(decode(&mut table, &hex("be"), false), Ok(vec!["?".to_owned()]), "{block}");
    }
}

/// Case 80: an encoder that was allowed more is followed as far as the bound, and what is older
/// is unknown, not wrong.
#[test]
fn large_tables_are_bounded() {
    let mut table = Table::default();
    decode(&mut table, &hex("3f e1 ff ff 04"), true).unwrap();
    assert!(table.oversized);
    for number in 0..20_000_u32 {
        let value = format!("{number:050}");
        let block = [&hex("40 01 78")[..], &[50], value.as_bytes()].concat();
        decode(&mut table, &block, true).unwrap();
    }
    assert!(table.size() <= TABLE_MOST && table.footprint() < 3 * TABLE_MOST, "{}", table.footprint());
    assert_eq!(decode(&mut table, &hex("be"), true).unwrap(), [format!("x: {:050}", 19_999)]);
    assert_eq!(decode(&mut table, &hex("ff e1 7f"), true).unwrap(), ["?"]);
}

fn field() -> impl Strategy<Value = Text> {
    let name = prop::sample::select(vec![
        ":method",
        ":path",
        ":status",
        "grpc-status",
        "traceparent",
        "accept",
        "x-a",
        "x-b",
        "cookie",
    ]);
    let value = prop_oneof![Just("GET".to_owned()), "[a-z0-9]{0,12}", "[ -~]{0,300}"];
    (name.prop_map(str::to_owned), value)
}

fn lines(fields: &[Text]) -> Vec<String> {
    fields.iter().map(|(name, value)| format!("{name}: {value}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Against another implementation: all blocks are as they were encoded; with only some
    /// fields kept the same of those; joined late a field is right or unknown.
    #[test]
    fn as_the_reference_encodes(blocks in vec(vec(field(), 1..12), 1..40), late in 0_usize..20) {
        let mut encoder = Encoder::new();
        let (mut whole, mut some, mut joined) = (Table::default(), Table::default(), Table::default());
        joined.forget();
        for (number, fields) in blocks.iter().enumerate() {
            let block = encoder.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
            let all = decode(&mut whole, &block, true).unwrap();
            prop_assert_eq!(&all, &lines(fields));
            let kept: Vec<_> =
                fields.iter().filter(|(name, _)| NAMES.contains(&name.as_bytes())).cloned().collect();
            let seen = decode(&mut some, &block, false).unwrap();
            prop_assert!(lines(&kept).iter().all(|line| seen.contains(line)), "{seen:?} {kept:?}");
            if number >= late {
                for (line, right) in decode(&mut joined, &block, true).unwrap().iter().zip(&all) {
                    prop_assert!(line == "?" || line == right, "{line} {right}");
                }
            }
        }
    }

    /// Any bytes: no panic, and no growth.
    #[test]
    fn any_bytes(blocks in vec(vec(any::<u8>(), 0..200), 1..20), late in any::<bool>(), all in any::<bool>()) {
        let mut table = Table::default();
        if late {
            table.forget();
        }
        for block in blocks {
            let _outcome = decode(&mut table, &block, all);
            prop_assert!(table.size() <= TABLE_MOST);
        }
    }
}
