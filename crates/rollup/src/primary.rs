//! Which of the reports about one thing is the one to sum.
//!
//! Two agents, or two interfaces of one node, may see the same. They do not see the same of all: an
//! attempt that does not arrive is seen by its opener alone, a retransmission by its socket alone.
//! So which report counts depends on what is counted, and a pair may have, from one reporter, a row
//! that is primary and one that is not.

use webb_flow::{ConnectionEvent, Event, Extra, Flow, Point, Sort, Verdict};
use webb_index::Index;

use super::call::Call;
use super::key::Reporter;
use super::sums::Share;

/// The report that is primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Primary {
    /// Any, since there is no other.
    Any,
    /// The called side's; the opener's where no agent watches that.
    Called,
    /// The opener's; the called side's where no agent watches that.
    Opener,
    /// As before, but within this node: another node's agent does not see what is dropped here.
    OpenerHere,
    /// That of a socket of the node: primary where the packets of its connection are.
    NodeSocket,
}

impl Primary {
    /// That of what a flow adds.
    #[inline]
    pub(crate) fn of(flow: &Flow, extra: Option<&Extra>, share: Share) -> Self {
        match share {
            Share::Unenforced => Self::Any,
            Share::Event(event, _) => Self::of_event(event, flow),
            _ if flow.event == Event::Drop || flow.verdict == Verdict::Dropped => Self::Any,
            Share::Message if extra.is_some_and(|extra| extra.is_only_report) => Self::Any,
            Share::Message | Share::Packets => Self::Called,
        }
    }

    fn of_event(event: ConnectionEvent, flow: &Flow) -> Self {
        match event {
            ConnectionEvent::Refused | ConnectionEvent::TimedOut | ConnectionEvent::Unreachable => Self::Opener,
            ConnectionEvent::Denied | ConnectionEvent::Dropped => Self::OpenerHere,
            ConnectionEvent::RetransmitSyn | ConnectionEvent::RetransmitSynAck | ConnectionEvent::RetransmitData => {
                if flow.point == Point::ToNetwork {
                    Self::NodeSocket
                } else {
                    Self::Any
                }
            }
            _ => Self::Called,
        }
    }

    /// True if a report of a call is the primary one.
    pub(crate) fn is(self, flow: &Flow, call: Call, index: &Index) -> bool {
        let (opener, called) =
            if call.by_source { (flow.source, flow.destination) } else { (flow.destination, flow.source) };
        let by_opener = call.reporter == Reporter::Source;
        match self {
            Self::Any => true,
            Self::NodeSocket => index.is_watched(opener) || index.is_watched(called),
            // What passes a device of the node is not: an end of it has it as well.
            _ if call.reporter == Reporter::Node => false,
            Self::Called => !by_opener || !index.is_watched(called),
            Self::Opener => by_opener || !index.is_watched(opener),
            Self::OpenerHere => by_opener || opener.sort() != Sort::Local,
        }
    }
}
