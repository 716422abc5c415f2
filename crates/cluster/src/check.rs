//! Checks an object and strips it to what is used.
//!
//! A cluster's pods are mostly text that no metric reads. Whatever source an object comes from, it
//! is checked and cut down here, once, before anything is stored; the rest of the crate never sees
//! the API's own shapes.

use std::sync::Arc;

use webb_index::ObjectKey;
use webb_index::policy::spec::PolicyKind;

use super::object::{Kind, Object, Raw};
use super::passed_over::{Invalid, PassedOver};
use super::types::ObjectMeta;
use super::{policy, strip};

/// An object that was read, and the parts of it that could not be.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Checked {
    pub object: Object,
    pub passed_over: PassedOver,
}

impl Object {
    /// Checks an object. A part that cannot be read is passed over; an error means that nothing of
    /// it can be used.
    pub fn check(raw: Raw) -> Result<Checked, Invalid> {
        Self::check_rest(raw, PassedOver::default())
    }

    /// As [`Object::check`], of an object that some parts were taken out of already.
    pub(super) fn check_rest(raw: Raw, mut odd: PassedOver) -> Result<Checked, Invalid> {
        let object = match raw {
            Raw::Pod(pod) => Self::Pod(namespaced(&pod.metadata)?, Box::new(strip::pod(*pod, &mut odd))),
            Raw::Namespace(namespace) => {
                Self::Namespace(named(&namespace.metadata)?, strip::labels(namespace.metadata, &mut odd))
            }
            Raw::Node(node) => Self::Node(named(&node.metadata)?, Box::new(strip::node(*node, &mut odd))),
            Raw::Service(service) => Self::Service(namespaced(&service.metadata)?, strip::service(*service, &mut odd)),
            Raw::EndpointSlice(slice) => {
                Self::EndpointSlice(namespaced(&slice.metadata)?, strip::slice(*slice, &mut odd))
            }
            Raw::NetworkPolicy(policy) => {
                let key = namespaced(&policy.metadata)?;
                let spec = policy::network_policy(&key, policy.spec.as_ref(), &mut odd);
                Self::NetworkPolicy(key, Arc::new(spec))
            }
            Raw::Tiered(kind, policy) => {
                let key = named(&policy.metadata)?;
                let spec = policy::tiered(kind, &key, policy.spec.as_ref(), &mut odd);
                Self::Tiered(key, Arc::new(spec))
            }
            Raw::OtherPolicy(kind, object) => {
                let ObjectKey { name, .. } = named(&object.metadata)?;
                Self::OtherPolicy(kind, kind.key(object.metadata.namespace, name))
            }
        };
        Ok(Checked { object, passed_over: odd })
    }

    /// Placeholder for an object with a readable kind and name only: an unreadable policy may do
    /// anything. None for kinds that are simply missed.
    pub fn unreadable(kind: Kind, key: &ObjectKey) -> Option<Self> {
        let tiered = |kind| Self::Tiered(key.clone(), Arc::new(policy::unreadable_tiered(kind, key)));
        match kind {
            Kind::NetworkPolicy => {
                Some(Self::NetworkPolicy(key.clone(), Arc::new(policy::unreadable_network_policy(key))))
            }
            Kind::AdminNetworkPolicy => Some(tiered(PolicyKind::AdminNetworkPolicy)),
            Kind::BaselineAdminNetworkPolicy => Some(tiered(PolicyKind::BaselineAdminNetworkPolicy)),
            Kind::ClusterNetworkPolicy => Some(tiered(PolicyKind::ClusterNetworkPolicy)),
            Kind::Other(kind) => Some(Self::OtherPolicy(kind, key.clone())),
            Kind::Pod | Kind::Namespace | Kind::Node | Kind::Service | Kind::EndpointSlice => None,
        }
    }
}

impl TryFrom<Raw> for Object {
    type Error = Invalid;

    /// As [`Object::check`], without what was passed over.
    fn try_from(raw: Raw) -> Result<Self, Invalid> {
        Self::check(raw).map(|checked| checked.object)
    }
}

/// As `kubectl` has it: no namespace means `default`.
fn namespaced(meta: &ObjectMeta) -> Result<ObjectKey, Invalid> {
    let namespace = meta.namespace.clone().filter(|namespace| !namespace.is_empty());
    Ok(ObjectKey { namespace: namespace.unwrap_or_else(|| "default".to_owned()), ..named(meta)? })
}

fn named(meta: &ObjectMeta) -> Result<ObjectKey, Invalid> {
    match &meta.name {
        Some(name) if !name.is_empty() => Ok(ObjectKey { namespace: String::new(), name: name.clone() }),
        _ => Err(Invalid("metadata.name is missing".to_owned())),
    }
}
