//! The shape of messages: names, numbers and types of their fields, from the descriptors.
//!
//! JSON, field masks and files of flows are handled by these tables, so a field stands in one
//! place, its `.proto` file.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use crate::proto::DESCRIPTORS;

/// Every message and enum of the API.
#[derive(Debug, Default)]
pub struct Schema {
    messages: Vec<Message>,
    enums: Vec<Enum>,
    by_name: HashMap<String, usize>,
}

/// One type of message.
#[derive(Debug)]
pub struct Message {
    pub(crate) form: Form,
    /// In the order in which they are declared, and in which they stand in JSON.
    pub(crate) fields: Vec<Field>,
}

/// The form of a message in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// An object of its fields.
    Object,
    /// A text: a time.
    Timestamp,
    /// The value of its one field.
    Wrapper,
    /// Of no use without the types of others: left out.
    Opaque,
}

/// One field.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) number: u32,
    pub(crate) name: String,
    /// The name in lowerCamelCase, which JSON may have as well.
    pub(crate) json_name: String,
    pub(crate) kind: Kind,
    pub(crate) repeated: bool,
    /// One of several that exclude each other.
    pub(crate) is_variant: bool,
}

/// The type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Double,
    Text,
    Enum(usize),
    Message(usize),
    /// None that the API has.
    Other,
}

/// The names of an enum's numbers.
#[derive(Debug, Default)]
pub(crate) struct Enum {
    pub(crate) values: Vec<(i32, String)>,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    // The build script wrote these bytes; a test reads them.
    Schema::new(&FileDescriptorSet::decode(DESCRIPTORS).unwrap_or_default())
});

/// The schema of Hubble's API.
pub fn schema() -> &'static Schema {
    &SCHEMA
}

impl Schema {
    /// The message of this full name; an empty one for a name that the API does not have.
    pub fn message(&self, name: &str) -> &Message {
        self.by_name.get(name).map_or(&EMPTY, |&at| self.at(at))
    }

    pub(crate) fn at(&self, message: usize) -> &Message {
        self.messages.get(message).unwrap_or(&EMPTY)
    }

    pub(crate) fn enum_at(&self, at: usize) -> &Enum {
        self.enums.get(at).unwrap_or(&NO_ENUM)
    }

    fn new(files: &FileDescriptorSet) -> Self {
        let mut messages = Vec::new();
        let mut enums = Vec::new();
        for file in &files.file {
            let prefix = format!(".{}", file.package());
            file.message_type.iter().for_each(|message| collect(&prefix, message, &mut messages, &mut enums));
            enums.extend(file.enum_type.iter().map(|one| (format!("{prefix}.{}", one.name()), one)));
        }
        let positions = |names: Vec<&String>| -> HashMap<String, usize> {
            names.into_iter().enumerate().map(|(at, name)| (name.clone(), at)).collect()
        };
        let messages_at = positions(messages.iter().map(|(name, _)| name).collect());
        let enums_at = positions(enums.iter().map(|(name, _)| name).collect());
        let kind = |field: &FieldDescriptorProto| match field.r#type() {
            Type::Bool => Kind::Bool,
            Type::Int32 => Kind::Int32,
            Type::Int64 => Kind::Int64,
            Type::Uint32 => Kind::Uint32,
            Type::Uint64 => Kind::Uint64,
            Type::Double => Kind::Double,
            Type::String => Kind::Text,
            Type::Enum => enums_at.get(field.type_name()).map_or(Kind::Other, |&at| Kind::Enum(at)),
            Type::Message => messages_at.get(field.type_name()).map_or(Kind::Other, |&at| Kind::Message(at)),
            _ => Kind::Other,
        };
        let field = |field: &FieldDescriptorProto| Field {
            number: u32::try_from(field.number()).unwrap_or(0),
            name: field.name().to_owned(),
            json_name: field.json_name().to_owned(),
            kind: kind(field),
            repeated: field.label() == Label::Repeated,
            is_variant: field.oneof_index.is_some(),
        };
        let message = |(name, message): &(String, &DescriptorProto)| Message {
            form: form(name),
            fields: message.field.iter().map(field).collect(),
        };
        let values = |(_, one): &(String, &EnumDescriptorProto)| Enum {
            values: one.value.iter().map(|value| (value.number(), value.name().to_owned())).collect(),
        };
        Self {
            messages: messages.iter().map(message).collect(),
            enums: enums.iter().map(values).collect(),
            by_name: messages_at.into_iter().map(|(name, at)| (name.trim_start_matches('.').to_owned(), at)).collect(),
        }
    }
}

static EMPTY: Message = Message { form: Form::Object, fields: Vec::new() };
static NO_ENUM: Enum = Enum { values: Vec::new() };

fn collect<'a>(
    prefix: &str,
    message: &'a DescriptorProto,
    messages: &mut Vec<(String, &'a DescriptorProto)>,
    enums: &mut Vec<(String, &'a EnumDescriptorProto)>,
) {
    let name = format!("{prefix}.{}", message.name());
    enums.extend(message.enum_type.iter().map(|one| (format!("{name}.{}", one.name()), one)));
    message.nested_type.iter().for_each(|inner| collect(&name, inner, messages, enums));
    messages.push((name, message));
}

fn form(name: &str) -> Form {
    match name {
        ".google.protobuf.Timestamp" => Form::Timestamp,
        ".google.protobuf.Any" => Form::Opaque,
        _ if name.starts_with(".google.protobuf.") && name.ends_with("Value") => Form::Wrapper,
        _ => Form::Object,
    }
}

impl Message {
    /// The field of this number, with its place in the declaration.
    pub(crate) fn by_number(&self, number: u32) -> Option<(usize, &Field)> {
        self.fields.iter().enumerate().find(|(_, field)| field.number == number)
    }

    /// The field of this name, as proto or JSON has it.
    pub(crate) fn by_name(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name || field.json_name == name)
    }
}

impl Enum {
    /// The name of a number.
    pub(crate) fn name(&self, number: i32) -> Option<&str> {
        self.values.iter().find(|(known, _)| *known == number).map(|(_, name)| name.as_str())
    }

    /// The number of a name.
    pub(crate) fn number(&self, name: &str) -> Option<i32> {
        self.values.iter().find(|(_, known)| known == name).map(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use webb_flow::names;

    use super::*;

    /// The descriptors can be read, and no field of the API has a type that is not handled.
    #[test]
    fn every_field_has_a_type() {
        let flow = schema().message("flow.Flow");
        assert_eq!(flow.fields.len(), 45);
        assert_eq!(flow.by_name("Summary").map(|field| field.number), Some(100_000));
        for name in ["flow.FlowFilter", "observer.ExportEvent", "observer.GetFlowsRequest", "peer.ChangeNotification"] {
            assert!(!schema().message(name).fields.is_empty(), "{name}");
        }
        let own = schema().by_name.iter().filter(|(name, _)| !name.starts_with("google."));
        for (name, &at) in own {
            for field in &schema().at(at).fields {
                assert_ne!(field.kind, Kind::Other, "{name}.{}", field.name);
            }
        }
    }

    /// The names that filters and metrics know are the API's.
    #[test]
    fn enums_agree_with_the_flows() {
        let known = |message: &str, field: &str| match schema().message(message).by_name(field).map(|field| field.kind)
        {
            Some(Kind::Enum(at)) => schema().enum_at(at).values.clone(),
            _ => Vec::new(),
        };
        let table = |table: &[(i32, &str)]| table.iter().map(|(n, name)| (*n, (*name).to_owned())).collect::<Vec<_>>();
        assert_eq!(known("flow.Flow", "verdict"), table(&names::VERDICTS));
        assert_eq!(known("flow.Flow", "drop_reason_desc"), table(&names::DROP_REASONS));
        assert_eq!(known("flow.Flow", "traffic_direction"), table(&names::DIRECTIONS));
        assert_eq!(known("flow.IP", "ipVersion"), table(&names::IP_VERSIONS));
        assert_eq!(known("flow.SCTP", "chunk_type"), table(&names::SCTP_CHUNKS));
        assert_eq!(known("flow.LostEvent", "source"), table(&names::LOST_EVENT_SOURCES));
    }

    /// Expressions of filters know every field of a flow: they read it, or refuse it by name.
    #[test]
    fn expressions_know_every_field() {
        fn check(message: &Message, path: &str, read: &mut usize) {
            for field in &message.fields {
                let path = format!("{path}.{}", field.name);
                match webb_index::filters::expression_error(&format!("has({path})")) {
                    None => *read += 1,
                    Some(error) => {
                        assert!(error.to_string().contains("is not among those"), "{path}: {error}");
                        continue;
                    }
                }
                if let (Kind::Message(at), false) = (field.kind, field.repeated)
                    && schema().at(at).form == Form::Object
                {
                    check(schema().at(at), &path, read);
                }
            }
        }
        let mut read = 0;
        check(schema().message("flow.Flow"), "_flow", &mut read);
        assert!(read > 80, "{read}");
        assert!(webb_index::filters::expression_error("has(_flow.l7.http.nothing)").is_some());
    }
}
