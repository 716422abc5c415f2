//! Another program at the hooks of an interface, which drops.

use aya::programs::tc::{NlOptions, TcAttachOptions};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};

/// `enforcer.bpf.c`, compiled.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/enforcer.bpf.o"));

/// How it is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// At the end of the TCX chain.
    Tcx,
    /// As a filter of clsact, which must be there.
    Filter,
}

/// The program, at the egress of an interface until it is dropped.
#[derive(Debug)]
pub(crate) struct Enforcer(#[allow(dead_code, reason = "kept for its drop")] aya::Ebpf);

impl Enforcer {
    /// Drops what comes from an IPv4 address (0 for any) to a port of TCP or UDP (0 for any). The interface is one of
    /// the calling thread's namespace.
    pub(crate) fn attach(interface: &str, by: By, source: u32, port: u16) -> Self {
        let mut loader = aya::EbpfLoader::new();
        loader.override_global("denied_source", &source, true).override_global("denied_port", &port, true);
        let mut object = loader.load(OBJECT).unwrap();
        let program: &mut SchedClassifier = object.program_mut("enforce").unwrap().try_into().unwrap();
        program.load().unwrap();
        let options = match by {
            By::Tcx => TcAttachOptions::TcxOrder(LinkOrder::last()),
            By::Filter => TcAttachOptions::Netlink(NlOptions { priority: 7, ..NlOptions::default() }),
        };
        program.attach_with_options(interface, TcAttachType::Egress, options).unwrap();
        Self(object)
    }
}
