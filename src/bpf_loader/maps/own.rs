//! Descriptors of webb's own maps and programs.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya::Ebpf;
use aya::maps::{Map, MapData, MapInfo};

use super::super::cost::{fdinfo, field};
use super::super::error::{LoadError, RunError};
use super::super::object::refused;

/// A map that is open for reading.
#[derive(Debug)]
pub struct OpenMap {
    /// Its name; of other programs' maps the kernel keeps 15 bytes.
    pub name: String,
    /// Number by which the kernel knows it.
    pub id: u32,
    /// Maximal number of entries; of a ring, its bytes.
    pub max_entries: u32,
    pub(super) map_type: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) fd: OwnedFd,
}

impl OpenMap {
    pub(super) fn new(name: String, info: &MapInfo, fd: OwnedFd) -> Self {
        Self {
            name,
            id: info.id(),
            max_entries: info.max_entries(),
            // What the library does not know has no entries that could be counted.
            map_type: info.map_type().map_or(0, |map_type| map_type as u32),
            key_size: info.key_size(),
            value_size: info.value_size(),
            fd,
        }
    }

    /// Bytes of memory that the map takes, as the kernel accounts for it.
    pub fn memory(&self) -> u64 {
        memory(self.fd.as_fd())
    }
}

/// The maps and programs of one process.
#[derive(Debug, Default)]
pub struct OwnObjects {
    maps: Vec<OpenMap>,
    programs: Vec<OwnedFd>,
}

impl OwnObjects {
    /// Adds those of an object. Its maps must not have been taken out of it yet.
    pub(in super::super) fn add(&mut self, object: &Ebpf) -> Result<(), LoadError> {
        for (name, map) in object.maps() {
            let Some(data) = data_of(map) else { continue };
            let failed = |error: &(dyn std::error::Error + 'static)| refused(name, error);
            let info = data.info().map_err(|error| failed(&error))?;
            let fd = data.fd().as_fd().try_clone_to_owned().map_err(|error| failed(&error))?;
            self.maps.push(OpenMap::new(name.to_owned(), &info, fd));
        }
        for (name, program) in object.programs() {
            // One that this kernel refused has no descriptor.
            let Ok(fd) = program.fd() else { continue };
            self.programs.push(fd.as_fd().try_clone_to_owned().map_err(|error| refused(name, &error))?);
        }
        Ok(())
    }

    /// The maps.
    pub fn maps(&self) -> &[OpenMap] {
        &self.maps
    }

    /// Number of programs, and the bytes of memory that they take.
    pub fn programs(&self) -> (usize, u64) {
        (self.programs.len(), self.programs.iter().map(|program| memory(program.as_fd())).sum())
    }
}

/// The data of the types of maps that webb uses.
fn data_of(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::ProgramArray(data)
        | Map::RingBuf(data) => Some(data),
        _ => None,
    }
}

/// `memlock` of a map or program, which the kernel has in no other place for both.
pub(super) fn memory(object: BorrowedFd<'_>) -> u64 {
    field(&fdinfo(object), "memlock:").unwrap_or(0)
}

/// Opens a map of another process for reading.
pub(super) fn open(info: &MapInfo) -> Result<OpenMap, RunError> {
    let failed = |error| RunError::map("opening a map", error);
    let fd = info.fd().map_err(failed)?;
    let fd = fd.as_fd().try_clone_to_owned().map_err(|error| RunError::new("opening a map", error))?;
    let name = info.name_as_str().filter(|name| !name.is_empty()).unwrap_or("unnamed");
    Ok(OpenMap::new(name.to_owned(), info, fd))
}
