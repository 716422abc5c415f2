//! The messages and services of Hubble's API, made from `proto` by the build script.

#![allow(
    clippy::pedantic,
    clippy::clone_on_ref_ptr,
    clippy::allow_attributes_without_reason,
    missing_docs,
    unreachable_pub,
    reason = "the build script writes it"
)]

/// `flow.proto`.
pub mod flow {
    include!(concat!(env!("OUT_DIR"), "/flow.rs"));
}

/// `observer.proto`.
pub mod observer {
    include!(concat!(env!("OUT_DIR"), "/observer.rs"));
}

/// `peer.proto`.
pub mod peer {
    include!(concat!(env!("OUT_DIR"), "/peer.rs"));
}

/// `relay.proto`.
pub mod relay {
    include!(concat!(env!("OUT_DIR"), "/relay.rs"));
}

/// The descriptors of all of them and of what they import, as a `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hubble.fds"));
