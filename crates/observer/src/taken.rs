//! Which flows of a batch a history takes.

use webb_flow::extra::L7Record;
use webb_flow::{Event, Extra, Flow, Ruling, Verdict};

/// The flows that a history takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Taken {
    /// Those that Hubble's API has.
    #[default]
    Shown,
    /// Attempts to connect that failed.
    FailedConnections,
}

impl Taken {
    /// True for a flow that the history takes. `extras` are those of its batch.
    #[inline]
    pub fn has(self, flow: &Flow, extras: &[Extra]) -> bool {
        match self {
            Self::Shown => is_shown(flow, extras),
            Self::FailedConnections => flow.connection_event().is_some_and(|(event, _)| event.is_failure()),
        }
    }

    /// Number of a batch's flows that the history takes.
    pub fn count(self, flows: &[Flow], extras: &[Extra]) -> u64 {
        flows.iter().filter(|flow| self.has(flow, extras)).count() as u64
    }
}

/// True for a flow that the API has; others are webb's own.
fn is_shown(flow: &Flow, extras: &[Extra]) -> bool {
    match flow.event {
        Event::Flush | Event::Connection => false,
        Event::L7 => {
            let extra = usize::try_from(flow.extra.0).ok().and_then(|row| extras.get(row));
            let record = extra.and_then(|extra| extra.l7.as_ref()).map(|l7| &l7.record);
            !matches!(record, Some(L7Record::Grpc(_) | L7Record::Unanswered(_)))
        }
        _ => true,
    }
}

/// The flow of an attempt without the verdict of the packet that settled it: a RST is forwarded,
/// and the drop of a SYN is a flow of its own. The policy that denied a SYN is in the verdict's
/// flow: a drop names none, and so does no attempt.
pub(crate) fn without_verdict(flow: &Flow) -> Flow {
    Flow { verdict: Verdict::Unknown, ruling: Ruling::default(), ..*flow }
}

#[cfg(test)]
mod tests {
    use webb_flow::ConnectionEvent;

    use super::*;

    /// Attempts that failed are taken by the history of them alone, other events of connections by
    /// none.
    #[test]
    fn failures_are_apart() {
        let packet = Flow { event: Event::Trace, verdict: Verdict::Forwarded, ..Flow::default() };
        let taken = |flow: &Flow| [Taken::Shown, Taken::FailedConnections].map(|taken| taken.has(flow, &[]));
        assert_eq!(taken(&packet), [true, false]);
        for event in ConnectionEvent::ALL {
            assert_eq!(taken(&packet.connection(event, 0)), [false, event.is_failure()], "{event:?}");
        }
        let refused = packet.connection(ConnectionEvent::Refused, 0);
        assert_eq!(Taken::FailedConnections.count(&[packet, refused, refused], &[]), 2);
    }

    /// An attempt has neither the verdict nor the policy of a packet, whatever its outcome.
    #[test]
    fn attempts_have_no_verdict() {
        let packet = Flow { verdict: Verdict::Forwarded, ruling: Ruling::new(2, Some(0)), ..Flow::default() };
        for event in ConnectionEvent::ALL.into_iter().filter(|event| event.is_failure()) {
            let attempt = without_verdict(&packet.connection(event, 0));
            assert_eq!((attempt.verdict, attempt.ruling.is_given()), (Verdict::Unknown, false), "{event:?}");
        }
    }
}
