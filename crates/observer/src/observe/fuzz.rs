//! Prints any bytes, for fuzz targets.

use prost::Message as _;

use super::lists;
use super::print::Printer;
use super::style::{Output, Style};
use super::time::TIME_FORMATS;
use crate::proto::observer::{GetNamespacesResponse, GetNodesResponse, ServerStatusResponse};
use crate::proto::peer::ChangeNotification;

/// Appends bytes that a server has sent, in the form that the bits of `form` choose. False if they
/// are no answer.
pub(crate) fn print(form: u8, bytes: &[u8], out: &mut String) -> bool {
    let has = |bit: u8| form & bit != 0;
    let output = match form & 3 {
        0 => Output::Compact,
        1 => Output::Dict,
        2 => Output::Table,
        _ => Output::Json,
    };
    let time_format = TIME_FORMATS.get(bytes.len() % TIME_FORMATS.len()).map(|(_, format)| *format).unwrap_or_default();
    let style = Style {
        output,
        time_format,
        color: has(4),
        translate: has(8),
        node_name: has(16),
        policy_names: has(32),
        debug: has(16),
    };
    let mut printer = Printer::new(style);
    let read = match form >> 6 {
        0 => printer.flows(bytes),
        1 => printer.agent(bytes),
        2 => printer.debug(bytes),
        _ => list(bytes, output, &mut printer.out),
    };
    printer.end();
    out.push_str(&printer.out);
    read.is_ok()
}

fn list(bytes: &[u8], output: Output, out: &mut String) -> Result<(), prost::DecodeError> {
    out.push_str(&lists::nodes(&GetNodesResponse::decode(bytes)?, output));
    out.push_str(&lists::namespaces(&GetNamespacesResponse::decode(bytes)?, output));
    out.push_str(&lists::status(&ServerStatusResponse::decode(bytes)?, output));
    out.push_str(&lists::peer(&ChangeNotification::decode(bytes)?));
    Ok(())
}
