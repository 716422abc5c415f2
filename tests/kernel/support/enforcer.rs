//! Another program at the hooks of an interface, which drops, ends the chain, or redirects.

use aya::programs::tc::{NlOptions, TcAttachOptions};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use nix::sys::signal::SigSet;

/// `enforcer.bpf.c`, compiled.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/enforcer.bpf.o"));

/// Mode of its attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// At the end of the TCX chain.
    Tcx,
    /// As a filter of clsact, which must be there.
    Filter,
    /// At the beginning of the TCX chain.
    TcxFirst,
    /// As the filter of clsact that is asked first.
    FilterFirst,
}

/// The program, at the egress of an interface until it is dropped.
#[derive(Debug)]
pub(crate) struct Enforcer(#[allow(dead_code, reason = "kept for its drop")] aya::Ebpf);

impl Enforcer {
    /// Drops what comes from an IPv4 address (0 for any) to a port of TCP or UDP (0 for any). The
    /// interface is one of the calling thread's namespace.
    pub(crate) fn attach(interface: &str, by: By, source: u32, port: u16) -> Self {
        Self::load("enforce", interface, by, TcAttachType::Egress, |loader| {
            loader.override_global("denied_source", &source, true).override_global("denied_port", &port, true);
        })
    }

    /// Lets all packets of a direction pass at once: no program behind it sees any.
    pub(crate) fn pass(interface: &str, by: By, direction: TcAttachType) -> Self {
        const TC_ACT_OK: i32 = 0;
        Self::load("enforce", interface, by, direction, |loader| {
            loader.override_global("denied_port", &1_u16, true).override_global("others", &TC_ACT_OK, true);
        })
    }

    /// Takes what enters at an interface for a pod's IPv4 address into that pod, past the pod's own
    /// interface of this index.
    #[allow(dead_code, reason = "not every binary of tests has such a plugin")]
    pub(crate) fn redirect(interface: &str, by: By, pod: u32, mac: [u8; 6], index: u32) -> Self {
        Self::load("redirect", interface, by, TcAttachType::Ingress, |loader| {
            loader.override_global("pod", &pod, true).override_global("pod_mac", &mac, true);
            loader.override_global("pod_interface", &index, true);
        })
    }

    fn load<'a>(
        name: &str,
        interface: &str,
        by: By,
        direction: TcAttachType,
        prepare: impl FnOnce(&mut aya::EbpfLoader<'a>),
    ) -> Self {
        let mut loader = aya::EbpfLoader::new();
        prepare(&mut loader);
        let mut object = loader.load(OBJECT).unwrap();
        let program: &mut SchedClassifier = object.program_mut(name).unwrap().try_into().unwrap();
        load_program(program);
        let filter = |priority| TcAttachOptions::Netlink(NlOptions { priority, ..NlOptions::default() });
        let options = match by {
            By::Tcx => TcAttachOptions::TcxOrder(LinkOrder::last()),
            By::TcxFirst => TcAttachOptions::TcxOrder(LinkOrder::first()),
            By::Filter => filter(7),
            // Of programs with one priority the kernel asks the newest first.
            By::FilterFirst => filter(1),
        };
        program.attach_with_options(interface, direction, options).unwrap();
        Self(object)
    }
}

/// Loads a program with the thread's signals blocked: the verifier gives up where its thread has a
/// signal to handle, and each child of another test that ends sends one.
pub(crate) fn load_program(program: &mut SchedClassifier) {
    let before = SigSet::thread_get_mask().unwrap();
    SigSet::all().thread_block().unwrap();
    let loaded = program.load();
    before.thread_set_mask().unwrap();
    loaded.unwrap();
}
