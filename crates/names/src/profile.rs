//! What replicas share of their names: most of what a pod is.

use std::sync::Arc;

use hashbrown::HashMap;
use webb_cluster::Pod;
use webb_flow::hash::RandomState;
use webb_index::Workload;
use webb_index::policy::spec::{Labels, NamedPort};

use crate::protocol_error::ProtocolError;
use crate::wire;

/// The fields that replicas share.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs, reason = "the names are those of a pod")]
pub struct Profile {
    pub namespace: String,
    pub labels: Labels,
    pub ports: Vec<NamedPort>,
    pub service_account: String,
    pub workload: Option<Workload>,
    pub vendor: bool,
}

impl Profile {
    /// The profile of a pod. Its ports are sorted: their order means nothing.
    pub(crate) fn of(namespace: &str, pod: &Pod) -> Self {
        let mut ports = pod.ports.clone();
        ports.sort_unstable();
        Self {
            namespace: namespace.to_owned(),
            labels: pod.labels.clone(),
            ports,
            service_account: pod.service_account.clone(),
            workload: pod.workload.clone(),
            vendor: pod.vendor,
        }
    }

    /// The message with a number.
    pub(crate) fn message(&self, number: u64) -> wire::Profile {
        let port = |port: &NamedPort| wire::Port {
            name: port.name.clone(),
            protocol: port.protocol.into(),
            port: port.port.into(),
        };
        let workload =
            |workload: &Workload| wire::Workload { name: workload.name.clone(), kind: workload.kind.clone() };
        wire::Profile {
            number,
            namespace: self.namespace.clone(),
            labels: self.labels.clone().into_iter().collect(),
            ports: self.ports.iter().map(port).collect(),
            service_account: self.service_account.clone(),
            workload: self.workload.as_ref().map(workload),
            vendor: self.vendor,
        }
    }

    /// The profile of a message.
    pub(crate) fn read(message: wire::Profile) -> Result<Self, ProtocolError> {
        let port = |port: wire::Port| {
            let protocol = u8::try_from(port.protocol).map_err(|_| ProtocolError::Pod)?;
            Ok(NamedPort { name: port.name, protocol, port: u16::try_from(port.port).map_err(|_| ProtocolError::Pod)? })
        };
        if message.namespace.is_empty() {
            return Err(ProtocolError::Pod);
        }
        Ok(Self {
            namespace: message.namespace,
            labels: message.labels.into_iter().collect(),
            ports: message.ports.into_iter().map(port).collect::<Result<_, ProtocolError>>()?,
            service_account: message.service_account,
            workload: message.workload.map(|workload| Workload { name: workload.name, kind: workload.kind }),
            vendor: message.vendor,
        })
    }
}

/// Interns profiles, and numbers them. A number is never given again.
#[derive(Debug, Default)]
pub(crate) struct Profiles {
    numbers: HashMap<Arc<Profile>, u64, RandomState>,
    last: u64,
    /// The number interned since unused ones were last evicted.
    new: usize,
}

impl Profiles {
    /// The shared profile, and its number.
    pub(crate) fn intern(&mut self, profile: Profile) -> (Arc<Profile>, u64) {
        if let Some((known, number)) = self.numbers.get_key_value(&profile) {
            return (Arc::clone(known), *number);
        }
        if self.new > 1024 + self.numbers.len() / 2 {
            self.new = 0;
            self.numbers.retain(|profile, _| Arc::strong_count(profile) > 1);
            self.numbers.shrink_to(self.numbers.len() * 2);
        }
        let profile = Arc::new(profile);
        (self.last, self.new) = (self.last + 1, self.new + 1);
        self.numbers.insert(Arc::clone(&profile), self.last);
        (profile, self.last)
    }

    /// Number of profiles.
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(name: &str) -> Profile {
        Profile {
            namespace: "default".into(),
            labels: [("app".to_owned(), name.to_owned())].into(),
            ports: vec![NamedPort { name: "http".into(), protocol: 6, port: 80 }],
            service_account: name.into(),
            workload: Some(Workload { name: name.into(), kind: "Deployment".into() }),
            vendor: true,
        }
    }

    /// A profile comes back as it was; one with a port that none has is refused.
    #[test]
    fn messages_are_read() {
        let message = profile("a").message(7);
        assert_eq!(Profile::read(message.clone()), Ok(profile("a")));
        for wrong in [
            wire::Profile { namespace: String::new(), ..message.clone() },
            wire::Profile { ports: vec![wire::Port { port: 65536, ..wire::Port::default() }], ..message.clone() },
            wire::Profile { ports: vec![wire::Port { protocol: 256, ..wire::Port::default() }], ..message },
        ] {
            assert_eq!(Profile::read(wrong), Err(ProtocolError::Pod));
        }
    }

    /// Equal profiles have one number, and those that no pod has go.
    #[test]
    fn profiles_are_shared() {
        let mut profiles = Profiles::default();
        let (kept, number) = profiles.intern(profile("kept"));
        assert_eq!(profiles.intern(profile("kept")), (Arc::clone(&kept), number));
        for at in 0..5000 {
            profiles.intern(profile(&at.to_string()));
        }
        assert!(profiles.len() < 3000, "{}", profiles.len());
        assert_eq!(profiles.intern(profile("kept")).1, number);
    }
}
