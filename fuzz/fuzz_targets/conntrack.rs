//! Any bytes on a netlink socket are read as messages or called malformed, and a connection has one
//! protocol.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| webb::conntrack::fuzz(bytes));
