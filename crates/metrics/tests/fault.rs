//! A panic within a metric. Alone in its process, whose armed points it uses.

#![cfg(feature = "fault-injection")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may end where it is wrong")]

#[path = "metrics/common/mod.rs"]
mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::{aggregators, exposition, index};
use webb_flow::fault::inject;
use webb_flow::{Event, Flow, L4};
use webb_index::Flows;

/// A panic costs the flow it met, and the caller knows which one that is.
#[test]
fn an_injected_panic_costs_one_flow() {
    let index = index();
    let flows = [Flow { event: Event::Trace, l4: L4::IcmpV4, ..Flow::default() }; 10];
    let of = |flows| Flows { flows, extras: &[], index: &index };
    let mut aggregators = aggregators("icmp");
    let aggregator = &mut aggregators[0];
    let mut progress = 0;
    aggregator.observe(of(&flows[..3]), 0, &mut progress);
    inject::arm("aggregator/icmp", 1, 0);
    let died = catch_unwind(AssertUnwindSafe(|| aggregator.observe(of(&flows), 3, &mut progress)));
    assert!(died.is_err());
    assert_eq!(progress, 3);
    aggregator.observe(of(&flows), progress + 1, &mut progress);
    assert_eq!(progress, 10);
    assert!(exposition(&mut aggregators).contains("} 9\n"));
}
