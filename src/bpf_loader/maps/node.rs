//! All maps and programs of this machine, whichever process has made them.

use std::io;

use aya::maps::loaded_maps;
use aya::programs::{ProgramError, loaded_programs};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::own::{self, OpenMap};
use crate::bpf_loader::error::{RunError, os_error};

/// Descriptors that wait in the channel at most.
const MAX_WAITING: usize = 8;

/// Something that the kernel has an id for.
#[derive(Debug)]
pub enum NodeObject {
    /// A map.
    Map(OpenMap),
    /// A program.
    Program {
        /// Bytes of memory that it takes.
        memory: u64,
    },
}

type Answer = Sender<Result<NodeObject, RunError>>;

/// A handle to the thread that may open the maps and programs of others.
#[derive(Debug)]
pub struct NodeObjects {
    requests: Sender<Answer>,
}

impl NodeObjects {
    /// A handle, and the requests that [`serve`] answers.
    pub(in super::super) fn new() -> (Self, Receiver<Answer>) {
        let (requests, asked) = unbounded();
        (Self { requests }, asked)
    }

    /// All objects there are, one after the other; an error is the last. The channel ends with the
    /// last one, or at once if the thread has ended.
    pub fn list(&self) -> Receiver<Result<NodeObject, RunError>> {
        let (answer, objects) = bounded(MAX_WAITING);
        // Nothing is listed by a thread that has ended: the channel is closed with its only sender.
        let _ended = self.requests.send(answer);
        objects
    }
}

/// Answers requests, until there is no handle any more.
pub(in crate::bpf_loader) fn serve(requests: &Receiver<Answer>) {
    for answer in requests {
        let listed = list(&answer);
        if let Err(error) = listed {
            // The asking thread may have given up.
            let _unwanted = answer.send(Err(error));
        }
    }
}

fn list(answer: &Answer) -> Result<(), RunError> {
    for info in loaded_maps() {
        let opened = info.map_err(|error| RunError::map("listing maps", error)).and_then(|info| own::open(&info));
        if !pass(answer, opened.map(NodeObject::Map))? {
            return Ok(());
        }
    }
    for info in loaded_programs() {
        let failed = |error| RunError::new("listing programs", io::Error::other::<ProgramError>(error));
        let memory = info.and_then(|info| info.memory_locked()).map_err(failed);
        if !pass(answer, memory.map(|memory| NodeObject::Program { memory: memory.into() }))? {
            return Ok(());
        }
    }
    Ok(())
}

/// Sends an object, unless it has gone since its id was read. False if it is not wanted any more.
fn pass(answer: &Answer, object: Result<NodeObject, RunError>) -> Result<bool, RunError> {
    match object {
        Ok(object) => Ok(answer.send(Ok(object)).is_ok()),
        Err(error) if os_error(&error) == Some(libc::ENOENT) => Ok(true),
        Err(error) => Err(error),
    }
}
