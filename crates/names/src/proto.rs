//! The messages of the protocol, made from `proto` by the build script.

/// `names.proto`.
#[allow(
    clippy::pedantic,
    clippy::clone_on_ref_ptr,
    clippy::allow_attributes_without_reason,
    missing_docs,
    unreachable_pub,
    reason = "the build script writes it"
)]
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/webb.names.rs"));
}
