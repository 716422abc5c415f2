//! Entry points for fuzz targets.

use prost::Message as _;
use webb_flowlog::Cursor;
use webb_index::filters::RegexBudget;

use crate::answers::Respond as _;
use crate::encode::Encoder;
use crate::history::History;
use crate::mask::Mask;
use crate::observe::fuzz::print;
use crate::proto::observer::GetFlowsRequest;
use crate::responses::Flows;
use crate::schema::schema;
use crate::service::limits;
use crate::walk::{Step, Walk};
use crate::{filter, json_read, json_write};

/// Steps of a walk at most; each answers with an event or looks at some thousand.
const STEPS: usize = 10_000;

/// Answers any bytes as a request of `GetFlows`: it is refused, or all its answers are made.
///
/// # Panics
/// If an answer cannot be read.
pub fn fuzz_request(history: &History, bytes: &[u8]) {
    let Ok(request) = GetFlowsRequest::decode(bytes) else { return };
    let limits = limits(&request);
    let paths = request.field_mask.unwrap_or_default().paths;
    let Ok(mut filters) = filter::compile(request.whitelist, request.blacklist, &RegexBudget::default()) else {
        return;
    };
    filters.set_local_node("default/here");
    let Ok(mask) = Mask::new(paths.iter().map(String::as_str)) else { return };
    let encoder = Encoder::new("here".to_owned(), "1".to_owned(), 7);
    let mask = (!paths.is_empty()).then_some(mask);
    let mut respond = Flows { mask, node_name: "here".to_owned(), encoder, _expressions: None };
    let mut walk = Walk::new(history, filters, limits, 7);
    let mut out = String::new();
    for _ in 0..STEPS {
        let answer = match walk.step(history) {
            Step::Event(segment, place) => respond.event(&segment, place),
            Step::Lost(_) | Step::Gone(_) | Step::Turn => continue,
            Step::Wait | Step::Never | Step::End => return,
        };
        assert!(print(0, &answer.encode_to_vec(), &mut out), "the answer cannot be read");
        out.clear();
    }
}

/// Prints any bytes as answers of a server, in every form: that of the first byte.
pub fn fuzz_answers(bytes: &[u8]) {
    let Some((form, answer)) = bytes.split_first() else { return };
    let _read = print(*form, answer, &mut String::new());
}

/// Writes the flows of any lines as log records, each of which is handed out. The first byte
/// chooses what records have.
pub fn fuzz_records(bytes: &[u8], each: impl FnMut(&[u8])) {
    crate::stream::fuzz_records(bytes, each);
}

/// Reads any text as a line of flows. What was read is the same once it is written and read again.
///
/// # Panics
/// If it is not.
pub fn fuzz_json(line: &str) {
    let message = schema().message("observer.ExportEvent");
    let encode = |text: &str| {
        let mut encoded = Vec::new();
        json_read::encode(&mut Cursor::new(text), message, &mut encoded).map(|()| encoded)
    };
    let Ok(encoded) = encode(line) else { return };
    let write = |encoded: &[u8]| {
        let mut text = Vec::new();
        json_write::write(encoded, message, &mut text);
        String::from_utf8(text).unwrap_or_default()
    };
    let written = write(&encoded);
    assert_eq!(encode(&written).map(|again| write(&again)), Ok(written), "another event");
}
