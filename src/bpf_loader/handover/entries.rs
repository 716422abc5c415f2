//! [`Entries`]: programs at tracepoints that call the agent's own (`bpf/entry.bpf.c`).

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::{fmt, fs};

use aya::maps::{MapData, ProgramArray};
use aya::programs::links::FdLink;
use aya::programs::{BtfTracePoint, ProgramFd};
use aya::{Btf, Ebpf, EbpfLoader};

use super::super::Cost;
use super::super::error::LoadError;
use super::super::maps::OwnObjects;
use super::super::object::{DROP, ENTRY_OBJECT, program, refused, take_map};
use super::pin;
use super::pins::Pins;

/// An entry: its program, the map with the slot, and its tracepoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in super::super) struct Entry {
    name: &'static str,
    slot: &'static str,
    point: &'static str,
}

/// The entry of the drop program.
pub(in super::super) const AT_DROP: Entry = Entry { name: "webb_at_drop", slot: "drop_slot", point: "kfree_skb" };
/// Those of the programs at the two points of a device.
pub(in super::super) const AT_SENDING: Entry =
    Entry { name: "webb_at_sending", slot: "sending_slot", point: "net_dev_start_xmit" };
pub(in super::super) const AT_SENT: Entry = Entry { name: "webb_at_sent", slot: "sent_slot", point: "net_dev_xmit" };

const ALL: [Entry; 3] = [AT_DROP, AT_SENDING, AT_SENT];

/// The entries of this process.
pub(in super::super) struct Entries {
    object: Ebpf,
    slots: HashMap<Entry, ProgramArray<MapData>>,
    objects: OwnObjects,
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries").field("loaded", &self.slots.keys()).finish_non_exhaustive()
    }
}

impl Entries {
    /// Loads the entries that this kernel has tracepoints for.
    pub(in super::super) fn load(
        loader: &mut EbpfLoader<'_>,
        btf: &Btf,
        (drops, device): (bool, bool),
    ) -> Result<Self, LoadError> {
        let mut object = loader.load(ENTRY_OBJECT).map_err(|error| refused("entry.bpf.o", &error))?;
        let (mut slots, mut objects) = (HashMap::new(), OwnObjects::default());
        let loaded = ALL.into_iter().filter(|entry| if *entry == AT_DROP { drops } else { device });
        for entry in loaded.clone() {
            let tracepoint: &mut BtfTracePoint = program(&mut object, entry.name)?;
            tracepoint.load(entry.point, btf).map_err(|error| refused(entry.name, &error))?;
        }
        objects.add(&object)?;
        for entry in loaded {
            slots.insert(entry, take_map(&mut object, entry.slot)?);
        }
        Ok(Self { object, slots, objects })
    }

    /// Descriptors of the entries' maps and programs.
    pub(in super::super) fn take_objects(&mut self) -> OwnObjects {
        std::mem::take(&mut self.objects)
    }

    /// Has the entry call `next` from now on, and attaches it unless it is attached.
    pub(in super::super) fn enter(&mut self, pins: &Pins, entry: Entry, next: &ProgramFd) -> Result<(), LoadError> {
        let slot = self
            .slots
            .get_mut(&entry)
            .ok_or_else(|| LoadError::Refused { object: entry.name.to_owned(), why: "it is not loaded".to_owned() })?;
        slot.set(0, next, 0).map_err(|error| refused(entry.slot, &error))?;
        if Self::is_attached(pins, entry) {
            return Ok(());
        }
        let failed = |error: &(dyn std::error::Error + 'static)| refused(entry.name, error);
        let tracepoint: &mut BtfTracePoint = program(&mut self.object, entry.name)?;
        let id = tracepoint.attach().map_err(|error| failed(&error))?;
        let link = tracepoint.take_link(id).map_err(|error| failed(&error))?;
        let link: FdLink = link.into();
        // Its pin keeps it from here on.
        link.pin(pins.entry(entry.name)).map_err(|error| failed(&error))?;
        let _absent = fs::remove_file(pins.program(entry.name));
        tracepoint.pin(pins.program(entry.name)).map_err(|error| failed(&error))
    }

    /// Has the drop tracepoint call this program from now on.
    pub(in super::super) fn enter_drop(&mut self, pins: &Pins, drop: &mut Ebpf) -> Result<(), LoadError> {
        let tracepoint: &mut BtfTracePoint = program(drop, DROP)?;
        self.enter(pins, AT_DROP, tracepoint.fd().map_err(|error| refused(DROP, &error))?)
    }

    /// Takes the entry off its tracepoint.
    pub(in super::super) fn leave(pins: &Pins, entry: Entry) {
        for path in [pins.entry(entry.name), pins.program(entry.name)] {
            let _absent = fs::remove_file(path);
        }
    }

    /// True if the entry was attached, by this process or one of before.
    pub(in super::super) fn is_attached(pins: &Pins, entry: Entry) -> bool {
        pins.entry(entry.name).exists()
    }

    /// Run time and run count of those that are attached. The kernel counts what it leaves out, a
    /// drop inside of a drop, at the entry.
    pub(in super::super) fn cost(pins: &Pins) -> Vec<Cost> {
        let of = |entry: Entry| Cost::of_pinned(entry.name, pin::open(&pins.program(entry.name)).ok()?.as_fd());
        ALL.into_iter().filter_map(of).collect()
    }
}
