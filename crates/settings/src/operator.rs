//! Settings of the operator.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

/// The operator: metrics of the whole cluster, from one elected replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Whether this agent takes part in the election, in the place of a Deployment.
    pub election: bool,
    /// Address of its `/metrics`.
    pub listen: SocketAddr,
    /// Namespace of the Lease; empty for that of the pod's service account.
    pub lease_namespace: String,
    /// Name of the Lease.
    pub lease_name: String,
    /// Time without a renewal after which another replica takes the Lease over.
    pub lease_duration: Duration,
    /// Time that the leader goes on for after a renewal.
    pub renew_deadline: Duration,
    /// Interval of the requests about the Lease.
    pub retry_period: Duration,
    /// Labels, `name=value`, that the agents' pods have and others have not; empty: pods without an
    /// agent are not counted.
    pub agent_labels: Vec<String>,
}

impl Default for Operator {
    fn default() -> Self {
        Self {
            election: false,
            listen: (Ipv6Addr::UNSPECIFIED, 9963).into(),
            lease_namespace: String::new(),
            lease_name: "webb-operator".to_owned(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            agent_labels: vec!["app.kubernetes.io/name=webb".to_owned()],
        }
    }
}
