//! Head of an object: kind, version, name. Read before the object is, and whatever else is wrong
//! with it.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::other::TIERED;
use crate::{Kind, ObjectKey, OtherKinds};

/// The head of a document.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Head {
    pub(super) kind: Text,
    pub(super) api_version: Text,
    pub(super) metadata: Lenient<Meta>,
    pub(super) items: Option<Vec<Spanned<Lenient<Item>>>>,
}

/// The head of an item of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Item {
    pub(super) kind: Text,
    pub(super) api_version: Text,
    pub(super) metadata: Lenient<Meta>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Meta {
    name: Text,
    namespace: Text,
}

/// An object as a person would look for it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) line: u64,
    pub(super) kind: String,
    key: ObjectKey,
    /// Its namespace is a text, or not there.
    certain: bool,
}

impl Place {
    pub(super) fn new(line: u64, kind: String, meta: Lenient<Meta>) -> Self {
        let Lenient(Meta { name, namespace }) = meta;
        let certain = !namespace.odd;
        Self { line, kind, key: ObjectKey { namespace: namespace.text(), name: name.text() }, certain }
    }

    /// The key that an object of a kind has here; none without a name, or with a namespace that is
    /// no text.
    pub(super) fn key_of(&self, kind: Kind) -> Option<ObjectKey> {
        let ObjectKey { namespace, name } = self.key.clone();
        (self.certain && !name.is_empty()).then(|| kind.key(Some(namespace), name))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind.is_empty() { "object" } else { &self.kind };
        if self.key.name.is_empty() { write!(to, "{kind} without a name") } else { write!(to, "{kind} {}", self.key) }
    }
}

/// Reason for which an object is not read.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) why: String,
    /// The kind that it would be, if the version were one that is known.
    pub(super) kind: Option<Kind>,
    /// Group and kind of what is a policy by its name or group, and not known.
    pub(super) strange: Option<(String, String)>,
}

/// The kind, if it is one of ours in a version that we know.
pub(super) fn known(name: &str, version: &str, others: &OtherKinds) -> Result<Kind, Refused> {
    let expected = || {
        let kinds = Kind::CORE.into_iter().chain(Kind::TIERED).map(Kind::name);
        kinds.collect::<Vec<_>>().join(", ")
    };
    let refuse = |why| Err(Refused { why, kind: None, strange: None });
    if name.is_empty() {
        return refuse(format!("kind is missing, expected one of {}, List", expected()));
    }
    let (group, number) = version.split_once('/').unwrap_or(("", version));
    if let Some(kind) = others.find_kind(group, name) {
        return Ok(Kind::Other(kind));
    }
    let kind = Kind::CORE.into_iter().chain(Kind::TIERED).find(|kind| kind.name() == name);
    let is_tiered = group == TIERED && kind.is_none_or(|kind| kind.group() != TIERED);
    if (is_tiered || kind.is_none() && name.ends_with("NetworkPolicy")) && !others.are_ignored() {
        let effect = if is_tiered { "there are no verdicts" } else { "verdicts take no notice of it" };
        let why = format!("this kind is not known, so {effect}; `policies.more_kinds` can define it");
        return Err(Refused { why, kind: None, strange: Some((group.to_owned(), name.to_owned())) });
    }
    let Some(kind) = kind else {
        return refuse(format!("this kind is not used, expected one of {}, List", expected()));
    };
    if kind.group() == group && kind.versions().contains(&number) {
        return Ok(kind);
    }
    let prefix = if kind.group().is_empty() { String::new() } else { format!("{}/", kind.group()) };
    let ours: Vec<String> = kind.versions().iter().map(|version| format!("`{prefix}{version}`")).collect();
    let found = if version.is_empty() { "is missing".to_owned() } else { format!("is `{version}`") };
    let why = format!("apiVersion {found}, expected {}", ours.join(", "));
    Err(Refused { why, kind: (kind.group() == group || version.is_empty()).then_some(kind), strange: None })
}

/// Text where there is text, empty where there is anything else: the typed reading reports the
/// error with the object's name.
#[derive(Debug, Default)]
pub(super) struct Text {
    text: String,
    /// True if there is anything but text.
    odd: bool,
}

impl Text {
    pub(super) fn text(self) -> String {
        self.text
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn text_or(self, other: &str) -> String {
        if self.text.is_empty() { other.to_owned() } else { self.text }
    }

    fn odd() -> Self {
        Self { odd: true, ..Self::default() }
    }
}

/// A mapping where there is a mapping, and its default where there is anything else.
#[derive(Debug, Default)]
pub(super) struct Lenient<T>(pub(super) T);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(AnyText)
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(AnyMap(PhantomData))
    }
}

/// Visitor methods for shapes that neither visitor reads.
macro_rules! nothing_of {
    ($null:expr, $nothing:expr) => {
        fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
            to.write_str("anything")
        }

        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($nothing)
        }

        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($nothing)
        }

        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($nothing)
        }

        fn visit_i128<E>(self, _: i128) -> Result<Self::Value, E> {
            Ok($nothing)
        }

        fn visit_u128<E>(self, _: u128) -> Result<Self::Value, E> {
            Ok($nothing)
        }

        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($nothing)
        }

        fn visit_bytes<E>(self, _: &[u8]) -> Result<Self::Value, E> {
            Ok($nothing)
        }

        fn visit_none<E>(self) -> Result<Self::Value, E> {
            Ok($null)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($null)
        }

        fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
            from.deserialize_any(self)
        }

        fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
            from.deserialize_any(self)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            Ok($nothing)
        }
    };
}

struct AnyText;

impl<'de> Visitor<'de> for AnyText {
    type Value = Text;

    nothing_of!(Text::default(), Text::odd());

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(Text { text: text.to_owned(), odd: false })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text::odd())
    }
}

struct AnyMap<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for AnyMap<T> {
    type Value = Lenient<T>;

    nothing_of!(Lenient::default(), Lenient::default());

    fn visit_str<E>(self, _: &str) -> Result<Lenient<T>, E> {
        Ok(Lenient::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Lenient<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Lenient)
    }
}
