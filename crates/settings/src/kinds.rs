//! The kinds of values that keys take: one module each, with `read` (raw to meaning) and `show`
//! (meaning to raw).
//!
//! `show` gives back what could have been typed, so `/config` speaks the language of the file, and
//! a reload can carry a value over by showing and reading it.

#![allow(
    clippy::trivially_copy_pass_by_ref,
    clippy::ref_option,
    reason = "`show` takes a reference in every kind, so that one form of row fits all"
)]

use super::value::{InvalidValue, Item, Value, clean};

/// A socket address.
pub(super) mod address {
    use std::net::SocketAddr;

    use super::{InvalidValue, Value};

    pub(crate) fn read(value: &Value) -> Result<SocketAddr, InvalidValue> {
        value.text()?.parse().map_err(|_| InvalidValue::of(value))
    }

    pub(crate) fn show(address: &SocketAddr) -> Value {
        Value::Text(address.to_string())
    }
}

/// A socket address, or none.
pub(super) mod open_address {
    use std::net::SocketAddr;

    use super::{InvalidValue, Value, address};

    pub(crate) fn read(value: &Value) -> Result<Option<SocketAddr>, InvalidValue> {
        if *value == Value::Null { Ok(None) } else { address::read(value).map(Some) }
    }

    pub(crate) fn show(address: &Option<SocketAddr>) -> Value {
        address.as_ref().map_or(Value::Null, address::show)
    }
}

/// A time.
pub(super) mod duration {
    use std::time::Duration;

    use super::super::units::{parse_duration, show_duration};
    use super::{InvalidValue, Value};

    pub(crate) fn read(value: &Value) -> Result<Duration, InvalidValue> {
        parse_duration(value.text()?).map_err(|why| InvalidValue::because(value, why))
    }

    pub(crate) fn show(time: &Duration) -> Value {
        Value::Text(show_duration(*time))
    }
}

/// `auto`, or a time.
pub(super) mod auto_duration {
    use std::time::Duration;

    use super::{InvalidValue, Value};

    pub(crate) fn read(value: &Value) -> Result<Option<Duration>, InvalidValue> {
        if value.text()? == "auto" { Ok(None) } else { super::duration::read(value).map(Some) }
    }

    pub(crate) fn show(time: &Option<Duration>) -> Value {
        time.as_ref().map_or_else(|| Value::Text("auto".to_owned()), super::duration::show)
    }
}

/// A size in bytes below 4 GiB.
pub(super) mod bytes {
    use super::super::units::{parse_bytes, show_bytes};
    use super::{InvalidValue, Value};

    pub(crate) fn read(value: &Value) -> Result<u32, InvalidValue> {
        let bytes = parse_bytes(value.text()?).map_err(|why| InvalidValue::because(value, why))?;
        u32::try_from(bytes).map_err(|_| InvalidValue::because(value, "it is 4GiB or more"))
    }

    pub(crate) fn show(bytes: &u32) -> Value {
        Value::Text(show_bytes(u64::from(*bytes)))
    }
}

/// A size in bytes below 4 GiB, or null.
pub(super) mod memory {
    use super::{InvalidValue, Value, bytes};

    pub(crate) fn read(value: &Value) -> Result<Option<u32>, InvalidValue> {
        match value {
            Value::Null => Ok(None),
            value => bytes::read(value).map(Some),
        }
    }

    pub(crate) fn show(size: &Option<u32>) -> Value {
        size.as_ref().map_or(Value::Null, bytes::show)
    }
}

/// A count.
pub(super) mod number {
    use super::{InvalidValue, Value};

    pub(crate) fn read(value: &Value) -> Result<u32, InvalidValue> {
        value.text()?.parse().map_err(|_| InvalidValue::of(value))
    }

    pub(crate) fn show(number: &u32) -> Value {
        Value::Text(number.to_string())
    }
}

/// Yes or no.
pub(super) mod boolean {
    use super::{InvalidValue, Value};

    pub(crate) fn read(value: &Value) -> Result<bool, InvalidValue> {
        match value.text()? {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(InvalidValue::of(value)),
        }
    }

    pub(crate) fn show(on: &bool) -> Value {
        Value::Text(on.to_string())
    }
}

/// A plain name.
pub(super) mod name {
    use super::{InvalidValue, Value};

    pub(crate) fn read(value: &Value) -> Result<String, InvalidValue> {
        value.text().map(str::to_owned)
    }

    pub(crate) fn show(name: &str) -> Value {
        Value::Text(name.to_owned())
    }
}

/// A name that is worked out if it is left open: `null` reads as empty.
pub(super) mod open_name {
    use super::{InvalidValue, Value};

    pub(crate) fn read(value: &Value) -> Result<String, InvalidValue> {
        if *value == Value::Null { Ok(String::new()) } else { super::name::read(value) }
    }

    pub(crate) fn show(name: &str) -> Value {
        if name.is_empty() { Value::Null } else { super::name::show(name) }
    }
}

/// A file, or none.
pub(super) mod file {
    use std::path::PathBuf;

    use super::{InvalidValue, Value};

    pub(crate) fn read(value: &Value) -> Result<Option<PathBuf>, InvalidValue> {
        match value {
            Value::Null => Ok(None),
            Value::Text(text) if !text.is_empty() => Ok(Some(PathBuf::from(text))),
            _ => Err(InvalidValue::of(value)),
        }
    }

    pub(crate) fn show(path: &Option<PathBuf>) -> Value {
        path.as_ref().map_or(Value::Null, |path| Value::Text(path.display().to_string()))
    }
}

/// A list of metrics; a text is split at white space, as Hubble splits its flag.
pub(super) mod metrics {
    use super::{InvalidValue, Value};

    pub(crate) fn read(value: &Value) -> Result<Vec<String>, InvalidValue> {
        let items = value.items(false)?;
        if let Some(empty) = items.iter().find(|item| item.text.trim().is_empty()) {
            return Err(InvalidValue::item(empty, "an entry is empty"));
        }
        Ok(items.iter().flat_map(|item| item.text.split_whitespace()).map(str::to_owned).collect())
    }

    pub(crate) fn show(metrics: &[String]) -> Value {
        Value::list(metrics.iter().map(String::as_str))
    }
}

/// A list of globs for interface names; a text is split at commas and white space.
pub(super) mod globs {
    use super::{InvalidValue, Item, Value, clean};

    pub(crate) fn read(value: &Value) -> Result<Vec<String>, InvalidValue> {
        InvalidValue::each(&value.items(true)?, glob)
    }

    fn glob(item: &Item) -> Result<String, InvalidValue> {
        if item.text.trim().is_empty() {
            return Err(InvalidValue::item(item, "a glob is empty"));
        }
        match globset::Glob::new(&item.text) {
            Ok(_) => Ok(item.text.clone()),
            Err(error) => Err(InvalidValue::item(item, clean(&error.kind().to_string()))),
        }
    }

    pub(crate) fn show(globs: &[String]) -> Value {
        Value::list(globs.iter().map(String::as_str))
    }
}

/// Networks.
pub(super) mod networks {
    use ipnet::IpNet;

    use super::{InvalidValue, Item, Value};

    pub(crate) fn read(value: &Value) -> Result<Vec<IpNet>, InvalidValue> {
        InvalidValue::each(&value.items(true)?, network)
    }

    fn network(item: &Item) -> Result<IpNet, InvalidValue> {
        refuse_zeros(item)?;
        item.text.parse().map_err(|_| InvalidValue::item(item, "it is not a network such as 10.244.0.0/16"))
    }

    /// Refuses numbers with a zero before them.
    pub(crate) fn refuse_zeros(item: &Item) -> Result<(), InvalidValue> {
        let has_zero = |part: &str| part.len() > 1 && part.starts_with('0');
        if item.text.contains(':') || !item.text.split(['.', '/']).any(has_zero) {
            return Ok(());
        }
        Err(InvalidValue::item(item, "a number has a zero before it, which some read as octal: 010 is 10, or 8"))
    }

    pub(crate) fn show(networks: &[IpNet]) -> Value {
        let texts: Vec<String> = networks.iter().map(IpNet::to_string).collect();
        Value::list(texts.iter().map(String::as_str))
    }
}

/// `auto`, or globs.
pub(super) mod pods {
    use super::super::model::Pods;
    use super::{InvalidValue, Value};

    pub(crate) fn read(value: &Value) -> Result<Pods, InvalidValue> {
        if *value == Value::Text("auto".to_owned()) {
            return Ok(Pods::Auto);
        }
        let globs = super::globs::read(value)?;
        if globs.is_empty() {
            return Err(InvalidValue::because(value, "without any pod interface there is nothing to watch"));
        }
        // From a flag or a variable, `auto` arrives as a list of one.
        if globs.as_slice() == ["auto"] { Ok(Pods::Auto) } else { Ok(Pods::Globs(globs)) }
    }

    pub(crate) fn show(pods: &Pods) -> Value {
        match pods {
            Pods::Auto => Value::Text("auto".to_owned()),
            Pods::Globs(globs) => super::globs::show(globs),
        }
    }
}

/// Families that are switched on or off, `+name` or `-name`; a text is split at commas and white
/// space. What Cilium's agent passes over is no error here: the check of the families warns of it.
pub(super) mod toggles {
    use super::super::toggle::Toggle;
    use super::{InvalidValue, Value};

    pub(crate) fn read(value: &Value) -> Result<Vec<Toggle>, InvalidValue> {
        // One element of a list may hold several, as one of Cilium's lines may.
        let mut toggles = Vec::new();
        for item in value.items(true)? {
            let before = toggles.len();
            let parts = item.text.split([',', ' ', '\t', '\n']).filter(|part| !part.is_empty());
            toggles.extend(parts.map(Toggle::new));
            if toggles.len() == before {
                toggles.push(Toggle::new(""));
            }
        }
        Ok(toggles)
    }

    pub(crate) fn show(toggles: &[Toggle]) -> Value {
        Value::list(toggles.iter().map(Toggle::text))
    }
}

/// Kinds of policy with their effects: `group/plural=effect`.
pub(super) mod policy_kinds {
    use super::super::policies::{KindEffect, MoreKind};
    use super::{InvalidValue, Item, Value};

    const EFFECTS: [(&str, KindEffect); 4] = [
        ("none", KindEffect::None),
        ("ingress", KindEffect::Ingress),
        ("egress", KindEffect::Egress),
        ("both", KindEffect::Both),
    ];

    pub(crate) fn read(value: &Value) -> Result<Vec<MoreKind>, InvalidValue> {
        InvalidValue::each(&value.items(true)?, kind)
    }

    fn kind(item: &Item) -> Result<MoreKind, InvalidValue> {
        let parts = item.text.split_once('=').and_then(|(resource, effect)| {
            let (group, plural) = resource.split_once('/')?;
            Some((group, plural, effect))
        });
        let is_name = |text: &str| {
            let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
            !text.is_empty() && text.len() <= 253 && text.bytes().all(fits)
        };
        let Some((group, plural, effect)) = parts.filter(|(group, plural, _)| is_name(group) && is_name(plural)) else {
            return Err(InvalidValue::item(item, "it is not of the form group/plural=effect"));
        };
        let Some((_, effect)) = EFFECTS.into_iter().find(|(word, _)| *word == effect) else {
            return Err(InvalidValue::item(item, "its effect is not one of none, ingress, egress and both"));
        };
        Ok(MoreKind { group: group.to_owned(), plural: plural.to_owned(), effect })
    }

    pub(crate) fn show(kinds: &[MoreKind]) -> Value {
        let word = |effect| EFFECTS.into_iter().find(|(_, known)| *known == effect).map_or("none", |(word, _)| word);
        let texts: Vec<String> =
            kinds.iter().map(|kind| format!("{}/{}={}", kind.group, kind.plural, word(kind.effect))).collect();
        Value::list(texts.iter().map(String::as_str))
    }
}

/// A level, and levels of modules.
pub(super) mod log_level {
    use tracing_subscriber::filter::Targets;

    use super::{InvalidValue, Value, clean};
    use crate::log_filter;

    pub(crate) fn read(value: &Value) -> Result<String, InvalidValue> {
        let text = value.text()?;
        match log_filter(text, Targets::new()) {
            Ok(_) => Ok(text.to_owned()),
            Err(_) if text.trim().is_empty() => Err(InvalidValue::of(value)),
            Err(why) => Err(InvalidValue::because(value, clean(&why.to_string()))),
        }
    }

    pub(crate) fn show(level: &str) -> Value {
        super::name::show(level)
    }
}

/// One of a few words.
macro_rules! words {
    ($(#[$doc:meta])* $module:ident: $from:ident::$kind:ident { $($word:literal => $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        pub(super) mod $module {
            use super::super::$from::$kind;
            use super::{InvalidValue, Value};

            pub(crate) fn read(value: &Value) -> Result<$kind, InvalidValue> {
                match value.text()? {
                    $($word => Ok($kind::$variant),)+
                    _ => Err(InvalidValue::of(value)),
                }
            }

            pub(crate) fn show(word: &$kind) -> Value {
                Value::Text(match word { $($kind::$variant => $word),+ }.to_owned())
            }
        }
    };
}

words! {
    /// Mode of attachment.
    attach: model::Attach { "auto" => Auto, "tcx" => Tcx, "clsact" => Clsact }
}
words! {
    /// A version of Cilium.
    compat: model::Compat { "1.16" => V1_16, "1.18" => V1_18, "1.19" => V1_19, "1.20" => V1_20 }
}
words! {
    /// Source of names.
    cluster_source: model::ClusterSource {
        "auto" => Auto, "kubernetes" => Kubernetes, "manifest" => Manifest, "none" => None,
    }
}
words! {
    /// Effect of policies of vendors' kinds.
    other_kinds: policies::OtherKinds { "undecided" => Undecided, "ignore" => Ignore }
}
/// Ports, as many as the programs know.
pub(super) mod ports {
    use super::{InvalidValue, Item, Value};

    /// Ports of a list.
    const MOST: usize = 8;

    pub(crate) fn read(value: &Value) -> Result<Vec<u16>, InvalidValue> {
        let ports = value.items(true)?.iter().map(port).collect::<Result<Vec<_>, _>>()?;
        if ports.len() > MOST {
            return Err(InvalidValue::because(value, "there are more than 8"));
        }
        Ok(ports)
    }

    fn port(item: &Item) -> Result<u16, InvalidValue> {
        let port = item.text.parse().ok().filter(|port| *port != 0);
        port.ok_or_else(|| InvalidValue::item(item, "it is not a port from 1 to 65535"))
    }

    pub(crate) fn show(ports: &[u16]) -> Value {
        let texts: Vec<String> = ports.iter().map(u16::to_string).collect();
        Value::list(texts.iter().map(String::as_str))
    }
}

/// Names of HTTP headers; upper case reads as lower case.
pub(super) mod headers {
    use super::{InvalidValue, Item, Value};

    /// Names of a list.
    const MOST: usize = 64;

    pub(crate) fn read(value: &Value) -> Result<Vec<String>, InvalidValue> {
        let names = value.items(true)?.iter().map(name).collect::<Result<Vec<_>, _>>()?;
        if names.len() > MOST {
            return Err(InvalidValue::because(value, "there are more than 64"));
        }
        Ok(names)
    }

    fn name(item: &Item) -> Result<String, InvalidValue> {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if item.text.is_empty() || !item.text.bytes().all(token) {
            return Err(InvalidValue::item(item, "it is not the name of a header"));
        }
        Ok(item.text.to_ascii_lowercase())
    }

    pub(crate) fn show(names: &[String]) -> Value {
        Value::list(names.iter().map(String::as_str))
    }
}

/// Paths of fields; whether there are such fields is known on a higher floor.
pub(super) mod fields {
    use super::{InvalidValue, Value};

    pub(crate) fn read(value: &Value) -> Result<Vec<String>, InvalidValue> {
        let items = value.items(true)?;
        match items.iter().find(|item| item.text.trim().is_empty()) {
            Some(empty) => Err(InvalidValue::item(empty, "a field is empty")),
            None => Ok(items.into_iter().map(|item| item.text).collect()),
        }
    }

    pub(crate) fn show(fields: &[String]) -> Value {
        Value::list(fields.iter().map(String::as_str))
    }
}

words! {
    /// Side of a connection that reports.
    side: model::Side { "once" => Once, "server" => Server, "client" => Client, "both" => Both }
}
words! {
    /// Mode of layer 7 parsing.
    capture: model::Capture { "auto" => Auto, "on" => On, "off" => Off }
}
words! {
    /// Selection of the packets that make a record.
    aggregation: model::Aggregation { "none" => None, "medium" => Medium }
}
words! {
    /// Format of log lines.
    log_format: model::LogFormat { "text" => Text, "json" => Json }
}
