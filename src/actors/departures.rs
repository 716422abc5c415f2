//! Which pods are gone for good: their series are removed a minute after they went (contract, section 3.4).
//!
//! Hubble goes by a pod's name alone and removes what a pod of the same name has counted since, such as a StatefulSet's
//! that was only replaced. Here a pod that is back within the minute has never been away.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::index::{Index, Kind};
use crate::metrics::Gone;
use crate::sym::Sym;

/// How long the series of a deleted pod stay.
pub const GRACE: Duration = Duration::from_mins(1);

type Pod = (Sym, Sym);

/// The pods that are there, and since when others are not.
#[derive(Debug, Default)]
pub struct Departures {
    here: HashSet<Pod>,
    away: HashMap<Pod, Instant>,
}

impl Departures {
    /// Takes in an index that is published at `now`.
    pub fn see(&mut self, index: &Index, now: Instant) {
        let pods =
            index.endpoints().filter(|(_, endpoint)| endpoint.kind == Kind::Pod && !endpoint.pod_name.is_empty());
        let here: HashSet<Pod> = pods.map(|(_, endpoint)| (endpoint.namespace, endpoint.pod_name)).collect();
        self.away.retain(|pod, _| !here.contains(pod));
        for &pod in self.here.difference(&here) {
            self.away.entry(pod).or_insert(now);
        }
        self.here = here;
    }

    /// The pods whose time is up at `now`; none if there is nobody. They stay due until [`Departures::forget`].
    pub fn due(&self, now: Instant) -> Option<Gone> {
        let due = self.away.iter().filter(|(_, since)| now.duration_since(**since) >= GRACE).map(|(pod, _)| *pod);
        let gone = Gone::new(due);
        (!gone.is_empty()).then_some(gone)
    }

    /// Forgets the pods that were due at `now`: somebody has removed their series.
    pub fn forget(&mut self, now: Instant) {
        self.away.retain(|_, since| now.duration_since(*since) < GRACE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{Endpoint, EndpointSpec, Policies};

    fn index(pods: &[&str]) -> Index {
        let pod = |name: &&str| {
            let spec = EndpointSpec { namespace: "a".into(), pod_name: (*name).into(), ..EndpointSpec::default() };
            (Endpoint::new(Kind::Pod, false, &spec), Vec::new())
        };
        Index::new(pods.iter().map(pod), Policies::default())
    }

    fn gone(pods: &[&str]) -> Gone {
        Gone::new(pods.iter().map(|name| (Sym::new("a"), Sym::new(name))))
    }

    /// A pod's series go a minute after it, not before, and not at all if it comes back.
    #[test]
    fn a_minute_of_grace() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut departures = Departures::default();
        departures.see(&index(&["stays", "goes", "returns"]), at(0));
        departures.see(&index(&["stays"]), at(10));
        departures.see(&index(&["stays", "returns"]), at(40));
        assert_eq!(departures.due(at(69)), None);
        assert_eq!(departures.due(at(70)), Some(gone(&["goes"])));
        assert_eq!(departures.due(at(80)), Some(gone(&["goes"])), "still due: nobody has heard of it");
        departures.forget(at(80));
        assert_eq!(departures.due(at(500)), None);
        departures.see(&index(&[]), at(501));
        assert_eq!(departures.due(at(561)), Some(gone(&["stays", "returns"])));
    }
}
