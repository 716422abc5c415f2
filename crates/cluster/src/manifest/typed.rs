//! Parses each object into the Kubernetes type that its head names.

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

/// Reads the items of a list that are wanted, each with a seed for its kind, and hands them to
/// `take` with their places.
pub(super) struct Items<'a, R, T> {
    pub(super) wanted: &'a [Option<Kind>],
    pub(super) read: R,
    pub(super) take: T,
}

impl<'de, R, S, T> DeserializeSeed<'de> for Items<'_, R, T>
where
    R: FnMut(Kind) -> S,
    S: DeserializeSeed<'de>,
    T: FnMut(usize, S::Value),
{
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de, R, S, T> Visitor<'de> for Items<'_, R, T>
where
    R: FnMut(Kind) -> S,
    S: DeserializeSeed<'de>,
    T: FnMut(usize, S::Value),
{
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

struct Sequence<'a, 'b, R, T>(&'a mut Items<'b, R, T>);

impl<'de, R, S, T> DeserializeSeed<'de> for Sequence<'_, '_, R, T>
where
    R: FnMut(Kind) -> S,
    S: DeserializeSeed<'de>,
    T: FnMut(usize, S::Value),
{
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de, R, S, T> Visitor<'de> for Sequence<'_, '_, R, T>
where
    R: FnMut(Kind) -> S,
    S: DeserializeSeed<'de>,
    T: FnMut(usize, S::Value),
{
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self(Items { wanted, read, take }) = self;
        for (at, wanted) in wanted.iter().enumerate() {
            let missing = || A::Error::custom("the list has become shorter");
            match wanted {
                Some(kind) => take(at, items.next_element_seed(read(*kind))?.ok_or_else(missing)?),
                None => _ = items.next_element::<IgnoredAny>()?.ok_or_else(missing)?,
            }
        }
        Ok(())
    }
}
