//! Any text is read as `xfrm_stat`, and any bytes as netlink messages of IPsec; no count comes out
//! twice.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| webb::ipsec::fuzz(bytes));
