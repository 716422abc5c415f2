//! An agent that names 20,000 pods and holds 100,000 series with six labels each.

use std::collections::HashSet;

use super::agent::{Agent, SIX_LABELS, sum};
use super::dice::Dice;
use super::lab::{LOCAL, Lab, address};
use super::packets::{Kind, Packet, Sender};

/// Pods of the cluster.
pub(crate) const PODS: u32 = 20_000;

/// Pairs of a pod of this node and one of another; each is a series.
pub(crate) const SERIES: usize = 100_000;

/// New connections a second, so slow that each has a record.
const RATE: u32 = 20_000;

/// A datagram for each pair, in random order.
pub(crate) fn pairs() -> Vec<Packet> {
    let (mut dice, mut met, mut packets) = (Dice::new(), HashSet::new(), Vec::new());
    while packets.len() < SERIES {
        let pair = (dice.below(LOCAL), LOCAL + dice.below(PODS - LOCAL));
        if met.insert(pair) {
            let from = (address(pair.0), 1024 + dice.below(60_000) as u16);
            packets.push(Packet { kind: Kind::Udp, from, to: (address(pair.1), 53) });
        }
    }
    packets
}

/// The agent with all of its series, and what sends its traffic.
pub(crate) fn agent(lab: &Lab) -> (Agent, Sender, Vec<Packet>) {
    let metrics = format!("{SIX_LABELS} tcp icmp port-distribution drop");
    // All pods of the node are behind one interface here, which gets four fifths.
    let variables = [("WEBB_METRICS", metrics.as_str()), ("WEBB_MAX_SERIES", "130000")];
    let agent = Agent::start(lab, &lab.manifest(PODS), &variables);
    let (sender, packets) = (Sender::new(&lab.pods()), pairs());
    sender.send(packets.iter().copied(), RATE);
    let text = agent.at_rest(&["webb_aggregator_series", "webb_series_folded_total"]);
    let series = sum(&text, "webb_aggregator_series", &["\"flow\""]);
    assert_eq!(series, SERIES as u64, "each pair is a series:\n{text}");
    (agent, sender, packets)
}
