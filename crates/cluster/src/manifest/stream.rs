//! Reads a large document in YAML, as `kubectl get -o yaml` prints a cluster: one list; its items
//! are emitted as the parser reads the stream.

use std::fmt;
use std::io::Read;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

use super::ManifestError;
use super::checked::Checked;
use super::document::{line_in, options, parts_of, words};
use super::head::{Item, Lenient, Place, known};
use super::input::{Input, Whole};
use super::loading::Loading;
use super::tree::Tree;

/// Reads a document of which `head` was read before, after lines of the file.
pub(super) fn read<R: Read>(
    file: &str,
    (head, lines_before): (&[u8], u64),
    input: &mut Input<R>,
    loading: &mut Loading<'_>,
) -> Result<(), ManifestError> {
    let options = options(DuplicateKeyPolicy::PassThrough);
    let mut text = Checked::new(Whole::new(head, input), lines_before);
    let read = serde_saphyr::with_deserializer_from_reader_with_options(&mut text, options, |from| {
        from.deserialize_any(Top(lines_before, loading))
    });
    let file = file.to_owned();
    match (read, text.failure) {
        (_, Some(why)) => Err(ManifestError::Unreadable { file, why }),
        (Err(why), None) => Err(ManifestError::Yaml { file, line: line_in(lines_before, &why), why: words(&why) }),
        (Ok(()), None) => Ok(()),
    }
}

/// The document's mapping, after lines of the file.
struct Top<'a, 'b>(u64, &'a mut Loading<'b>);

impl Top<'_, '_> {
    fn refuse(self, found: &str) {
        let text = format!("found {found}, expected an object or a list of objects");
        self.1.problems.push(self.0 + 1, "object".to_owned(), text);
    }
}

impl<'de> Visitor<'de> for Top<'_, '_> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object or a list of objects")
    }

    /// A document that is no object is a bad object, as where documents are read whole.
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        self.refuse("a list");
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.refuse("a text");
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<(), A::Error> {
        let Self(lines_before, loading) = self;
        let (mut fields, mut twice, mut waiting, mut has_items) = (Map::new(), None, None, false);
        while let Some(key) = pairs.next_key::<String>()? {
            if key == "items" && !std::mem::replace(&mut has_items, true) {
                let list = of_list(&Value::Object(fields.clone()));
                waiting = pairs.next_value_seed(Items { lines_before, list, loading })?;
                continue;
            }
            let child = pairs.next_value::<Tree>()?;
            twice = twice.or_else(|| fields.contains_key(&key).then(|| key.clone())).or(child.twice);
            fields.entry(key).or_insert(child.value);
        }
        let tree = Tree { value: Value::Object(fields), twice };
        let list = of_list(&tree.value);
        let kind = list.kind.as_str();
        if kind == "List" || (kind.ends_with("List") && waiting.is_some()) {
            for (line, tree) in waiting.unwrap_or_default() {
                object(tree, line, &list, loading);
            }
        } else {
            object(tree, lines_before + 1, &Item::default(), loading);
        }
        Ok(())
    }
}

/// Item that carries the fields of a list.
fn of_list(fields: &Value) -> Item {
    Lenient::<Item>::deserialize(fields).unwrap_or_default().0
}

/// The items, and what of the list was read before them.
struct Items<'a, 'b> {
    lines_before: u64,
    list: Item,
    loading: &'a mut Loading<'b>,
}

impl Items<'_, '_> {
    fn refuse(self, found: &str) {
        let text = format!("items: found {found}, expected a list of objects");
        self.loading.problems.push(self.lines_before + 1, "object".to_owned(), text);
    }
}

impl<'de> DeserializeSeed<'de> for Items<'_, '_> {
    type Value = Option<Vec<(u64, Tree)>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items<'_, '_> {
    /// Those of which it is not known yet what they are; none if there is no list.
    type Value = Option<Vec<(u64, Tree)>>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a list of objects")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    /// Items that are no list are a bad object, too.
    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
        while pairs.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        self.refuse("a mapping");
        Ok(Some(Vec::new()))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        self.refuse("a text");
        Ok(Some(Vec::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let Self { lines_before, list, loading } = self;
        let mut waiting = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Tree>>()? {
            let line = lines_before + item.referenced.line();
            let says = item.value.value.get("kind").is_some_and(Value::is_string);
            if says || !list.kind.as_str().is_empty() {
                object(item.value, line, &list, loading);
            } else {
                waiting.push((line, item.value));
            }
        }
        Ok(Some(waiting))
    }
}

/// Reads one object; `list` is what it is in.
fn object(tree: Tree, line: u64, list: &Item, loading: &mut Loading<'_>) {
    let head = of_list(&tree.value);
    let of_list = list.kind.as_str().strip_suffix("List").unwrap_or_default();
    let place = Place::new(line, head.kind.text_or(of_list), head.metadata);
    let kind = match known(&place.kind, &head.api_version.text_or(list.api_version.as_str()), &loading.others) {
        Ok(kind) => kind,
        Err(refused) => return loading.refuse_kind(&place, refused),
    };
    match parts_of(tree, kind) {
        Ok((raw, passed_over)) => loading.add(&place, raw, passed_over, |_| line),
        Err(why) => loading.refuse(line, &place, Some(kind), why.to_string()),
    }
}
