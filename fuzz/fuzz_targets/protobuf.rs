//! What an API server sends in protocol buffers is refused or read, in pieces of any size.
#![no_main]

use libfuzzer_sys::fuzz_target;
use webb_cluster::kubernetes::fuzz_protobuf;

fuzz_target!(|bytes: &[u8]| fuzz_protobuf(bytes));
