//! Election of one leader among replicas, by a Lease of `coordination.k8s.io/v1`.
//!
//! [`Election`] is a state machine without a clock and without I/O: it is given times and the
//! server's answers, and says what to request next. [`Leadership`] is its outcome, shared with what
//! may be done by the leader alone. `kubernetes::elect` runs it against an API server.
//!
//! The rules are those of Kubernetes' own leader election: the holder renews the Lease every
//! `retry`, and leads for `renew` from the moment at which its last successful write was *sent*;
//! another replica takes the Lease over when its record has not changed for the Lease's duration,
//! from the moment at which the change was *seen*. As `renew` is less than the duration, two terms
//! never meet, whatever the network does. Each replica measures times by its own `CLOCK_BOOTTIME`,
//! and times in the Lease are never compared with a clock, so skewed clocks do no harm.
//!
//! Three rules go further, since a Lease can also be changed by hand:
//!
//! - The replica that creates the Lease leads only after a whole duration: the Lease may have been
//!   deleted, and its former holder has not noticed yet.
//! - An empty holder is free at once only in the form that a holder leaves when it is stopped
//!   (a duration of one second); after another change, the duration is waited for.
//! - A record counts as a replica's own only if that replica has sent it.

mod election;
mod leadership;
mod record;

pub use election::{Answer, Election, ElectionTimings, Request, Step, Term};
pub use leadership::{Leadership, Outcome};
pub use record::{Lease, LeaseRecord};

#[cfg(test)]
mod simulation;
