//! Reading into Kubernetes' types, each object as what its head says it is.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use webb_index::policy::spec::PolicyKind;

use crate::{Kind, Raw};

/// Reads an object of a kind.
#[derive(Clone, Copy)]
pub(crate) struct One(pub(crate) Kind);

impl<'de> DeserializeSeed<'de> for One {
    type Value = Raw;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Raw, D::Error> {
        Ok(match self.0 {
            Kind::Pod => Raw::Pod(Deserialize::deserialize(from)?),
            Kind::Namespace => Raw::Namespace(Deserialize::deserialize(from)?),
            Kind::Node => Raw::Node(Deserialize::deserialize(from)?),
            Kind::Service => Raw::Service(Deserialize::deserialize(from)?),
            Kind::EndpointSlice => Raw::EndpointSlice(Deserialize::deserialize(from)?),
            Kind::NetworkPolicy => Raw::NetworkPolicy(Deserialize::deserialize(from)?),
            Kind::AdminNetworkPolicy => Raw::Tiered(PolicyKind::AdminNetworkPolicy, Deserialize::deserialize(from)?),
            Kind::BaselineAdminNetworkPolicy => {
                Raw::Tiered(PolicyKind::BaselineAdminNetworkPolicy, Deserialize::deserialize(from)?)
            }
            Kind::ClusterNetworkPolicy => {
                Raw::Tiered(PolicyKind::ClusterNetworkPolicy, Deserialize::deserialize(from)?)
            }
            Kind::Other(kind) => Raw::OtherPolicy(kind, Deserialize::deserialize(from)?),
        })
    }
}

/// Reads the items of a list, each as what it is wanted as; `at` tells which one is being read.
pub(super) struct Items<'a> {
    pub(super) wanted: &'a [Option<Kind>],
    pub(super) found: &'a mut Vec<Option<Raw>>,
    pub(super) at: &'a mut usize,
}

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "items" {
                map.next_value_seed(Sequence(&mut self))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct Sequence<'a, 'b>(&'a mut Items<'b>);

impl<'de> DeserializeSeed<'de> for Sequence<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Sequence<'_, '_> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self(list) = self;
        for (at, wanted) in list.wanted.iter().enumerate() {
            *list.at = at;
            let missing = || A::Error::custom("the list has become shorter");
            let found = match wanted {
                Some(kind) => Some(items.next_element_seed(One(*kind))?.ok_or_else(missing)?),
                None => items.next_element::<IgnoredAny>()?.map(|_| None).ok_or_else(missing)?,
            };
            list.found.push(found);
        }
        Ok(())
    }
}
