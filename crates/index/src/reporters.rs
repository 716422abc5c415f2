//! Which of two agents' observations of a packet counts.
//!
//! What two watched pods say to each other is seen at both interfaces, on two nodes perhaps. To sum
//! it over the cluster, one of the two must count, and each agent must know by itself which. It is
//! the called side's: there alone both ends have their own addresses, while at the opener's a
//! Service may stand for the backend. The opener's side counts where no agent watches the other:
//! that is no pod, or one on a node without a ready agent.

use webb_flow::{Direction, EndpointId, Flow, Reply, Sort};

use super::Index;

impl Index {
    /// True if an agent sees what a pod receives and sends: a pod of this node, or of another one
    /// with a ready agent.
    #[inline]
    pub fn is_watched(&self, id: EndpointId) -> bool {
        match id.sort() {
            Sort::Local => true,
            Sort::Remote => self.agents.has(self.endpoint(id).node),
            _ => false,
        }
    }

    /// True if the flow of delivered packets is the one to sum of the two that the cluster's agents
    /// may have of them: the called side's, or the opener's where no agent watches the called side.
    /// What passes a device of the node is not: an end of it has it as well.
    #[inline]
    pub fn is_primary(&self, flow: &Flow) -> bool {
        match flow.direction {
            Direction::Ingress => true,
            Direction::Egress => !self.is_watched(called(flow)),
            Direction::Unknown => false,
        }
    }
}

/// The side that did not open the connection.
fn called(flow: &Flow) -> EndpointId {
    if flow.reply == Reply::Yes { flow.source } else { flow.destination }
}

#[cfg(test)]
mod tests {
    use webb_flow::sym::Sym;
    use webb_flow::{Event, Point};

    use super::*;
    use crate::{AgentNodes, Draft, Endpoint, EndpointKind, EndpointSpec, PodChanges};

    /// A pod of this node, one on a node with an agent, one on a node without, another node.
    fn ends(agents: Option<AgentNodes>) -> (Index, [EndpointId; 4]) {
        let mut draft = Draft::default();
        let mut add = |sort, kind, node: &str| {
            let endpoint = Endpoint::new(kind, sort == Sort::Local, &EndpointSpec::default());
            draft.add(sort, Endpoint { node: Sym::new(node), ..endpoint })
        };
        let ids = [
            add(Sort::Local, EndpointKind::Pod, "n1"),
            add(Sort::Remote, EndpointKind::Pod, "n2"),
            add(Sort::Remote, EndpointKind::Pod, "n3"),
            add(Sort::Node, EndpointKind::RemoteNode, "n2"),
        ];
        if let Some(agents) = agents {
            draft.set_agents(agents);
        }
        (draft.publish(0, PodChanges::default()), ids)
    }

    fn opened(source: EndpointId, destination: EndpointId, direction: Direction) -> Flow {
        let point = if direction == Direction::Egress { Point::ToStack } else { Point::ToEndpoint };
        Flow { source, destination, direction, point, event: Event::Trace, reply: Reply::No, ..Flow::default() }
    }

    fn answered(flow: Flow) -> Flow {
        Flow { reply: Reply::Yes, ..flow.reversed() }
    }

    /// Both ways of a connection count at the called side, and at the opener's where that is not
    /// watched.
    #[test]
    fn each_packet_is_summed_once() {
        let (index, [here, there, alone, node]) = ends(Some(AgentNodes::new(["n1", "n2"])));
        for (called, primary) in [
            (here, false),
            (there, false),
            (alone, true),
            (node, true),
            (EndpointId::WORLD, true),
            (EndpointId::NONE, true),
        ] {
            let flow = opened(here, called, Direction::Egress);
            assert_eq!([flow, answered(flow)].map(|flow| index.is_primary(&flow)), [primary; 2], "{called:?}");
            let seen = opened(called, here, Direction::Ingress);
            assert!(index.is_primary(&seen) && index.is_primary(&answered(seen)), "{called:?}");
        }
        let passing = opened(there, alone, Direction::Unknown);
        assert!(!index.is_primary(&passing));
    }

    /// Where it is not known which nodes have an agent, all have.
    #[test]
    fn unknown_agents() {
        let (index, [here, _, alone, _]) = ends(None);
        assert!(!index.is_primary(&opened(here, alone, Direction::Egress)));
    }
}
