//! An object as a tree, whatever it holds. Keys that are there twice are noted.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A tree, of a parser that passes each pair of a mapping on.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) value: Value,
    /// A key that a mapping has twice; its first value is in the tree.
    pub(super) twice: Option<String>,
}

impl From<Value> for Tree {
    fn from(value: Value) -> Self {
        Self { value, twice: None }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Tree;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("anything")
    }

    fn visit_bool<E>(self, is: bool) -> Result<Tree, E> {
        Ok(Value::Bool(is).into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
        Ok(Value::from(number).into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
        Ok(Value::from(number).into())
    }

    fn visit_i128<E>(self, number: i128) -> Result<Tree, E> {
        Ok(Number::from_i128(number).map_or(Value::Null, Value::Number).into())
    }

    fn visit_u128<E>(self, number: u128) -> Result<Tree, E> {
        Ok(Number::from_u128(number).map_or(Value::Null, Value::Number).into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Tree, E> {
        Ok(Value::from(number).into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Value::from(text).into())
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Value::Null.into())
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Value::Null.into())
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Tree, D::Error> {
        from.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let (mut list, mut twice) = (Vec::new(), None);
        while let Some(item) = items.next_element::<Tree>()? {
            list.push(item.value);
            twice = twice.or(item.twice);
        }
        Ok(Tree { value: Value::Array(list), twice })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Tree, A::Error> {
        let (mut map, mut twice) = (Map::new(), None);
        while let Some(key) = pairs.next_key::<String>()? {
            let child = pairs.next_value::<Tree>()?;
            twice = twice.or_else(|| map.contains_key(&key).then(|| key.clone())).or(child.twice);
            map.entry(key).or_insert(child.value);
        }
        Ok(Tree { value: Value::Object(map), twice })
    }
}
