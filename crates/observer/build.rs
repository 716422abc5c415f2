//! Compiles `proto` to Rust and to a set of descriptors, without a `protoc`.
//!
//! The descriptors are what the server's reflection answers with and what `src/schema.rs` reads.
//! The Rust types differ from them in one point: what a response carries (a flow, an event) is a
//! field of bytes. On the wire an embedded message is its bytes, so a flow that is encoded already
//! is not taken apart to be sent.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

use prost::Message;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};

const FILES: [&str; 4] = ["flow/flow.proto", "observer/observer.proto", "peer/peer.proto", "relay/relay.proto"];

/// The fields that carry an encoded message.
const ENCODED: [(&str, &str); 4] = [
    ("ExportEvent", "flow"),
    ("GetFlowsResponse", "flow"),
    ("GetAgentEventsResponse", "agent_event"),
    ("GetDebugEventsResponse", "debug_event"),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut files = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run this through cargo")?);
    for file in &mut files.file {
        // Positions and comments of the sources: half of the bytes.
        file.source_code_info = None;
    }
    fs::write(out.join("hubble.fds"), files.encode_to_vec())?;
    for (message, field) in ENCODED {
        make_bytes(&mut files, message, field)?;
    }
    tonic_prost_build::configure().bytes(".").compile_fds(files)?;
    Ok(())
}

fn make_bytes(files: &mut FileDescriptorSet, message: &str, field: &str) -> Result<(), String> {
    let mut messages = files.file.iter_mut().flat_map(|file| &mut file.message_type);
    let found = messages.find(|found: &&mut DescriptorProto| found.name() == message);
    let mut fields = found.into_iter().flat_map(|message| &mut message.field);
    let found = fields.find(|found| found.name() == field).ok_or_else(|| format!("{message} has no field {field}"))?;
    found.set_type(Type::Bytes);
    found.type_name = None;
    Ok(())
}
