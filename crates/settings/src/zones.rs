//! The kind of value of `zones.cidrs`: groups of `cidr`, `zone`, `region` and `name`, or, where
//! there is one line only, texts of the form `cidr=zone/region/name`.

use std::collections::HashMap;

use ipnet::IpNet;

use super::kinds::networks;
use super::problem::did_you_mean;
use super::value::{Group, InvalidValue, Item, Value};

/// Where things are, beyond what the cluster says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Zones {
    /// The places of networks outside the cluster.
    pub cidrs: Vec<ZoneCidr>,
    /// Bytes that a tunnel between nodes adds to a packet of a pod.
    pub overhead: u32,
}

/// The place of a network outside the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneCidr {
    /// The network.
    pub cidr: IpNet,
    /// Its zone; empty if it has none.
    pub zone: String,
    /// Its region; empty if it has none.
    pub region: String,
    /// Its name; empty if it has none.
    pub name: String,
}

/// Keys of a group.
const KEYS: [&str; 4] = ["cidr", "zone", "region", "name"];

/// Maximal number of networks.
const MAX_CIDRS: usize = 4096;

/// Maximal length of a zone, a region and a name: that of a label's value in Kubernetes.
const MAX_LENGTH: usize = 63;

pub(super) fn read(value: &Value) -> Result<Vec<ZoneCidr>, InvalidValue> {
    let found: Vec<(Item, [Item; 3])> = match value {
        Value::Groups(groups) => groups.iter().map(of_group).collect::<Result<_, _>>()?,
        other => other.items(true)?.iter().map(of_text).collect::<Result<_, _>>()?,
    };
    if found.len() > MAX_CIDRS {
        return Err(InvalidValue::too_many(found.len(), MAX_CIDRS));
    }
    let mut known: HashMap<IpNet, Option<usize>> = HashMap::new();
    let mut cidrs: Vec<ZoneCidr> = Vec::new();
    for (network, texts) in found {
        let cidr = cidr(&network)?;
        if let Some(line) = known.insert(cidr, network.mark.map(|mark| mark.line)) {
            let at = line.map_or(String::new(), |line| format!(", the first in line {line}"));
            return Err(InvalidValue::item(&network, format!("two entries have this network{at}")));
        }
        if let Some(wrong) = texts.iter().find(|text| !is_name(&text.text)) {
            let why = format!("a zone, region or name is of letters, digits, `-`, `_` and `.`, {MAX_LENGTH} at most");
            return Err(InvalidValue::item(wrong, why));
        }
        if texts.iter().all(|text| text.text.is_empty()) {
            return Err(InvalidValue::item(&network, "its entry has neither a zone, nor a region, nor a name"));
        }
        let [zone, region, name] = texts.map(|text| text.text);
        cidrs.push(ZoneCidr { cidr, zone, region, name });
    }
    Ok(cidrs)
}

/// Reads a network. Host bits are most often a mistyped address or prefix.
fn cidr(item: &Item) -> Result<IpNet, InvalidValue> {
    networks::refuse_zeros(item)?;
    let network: IpNet =
        item.text.parse().map_err(|_| InvalidValue::item(item, "it is not a network such as 10.20.0.0/16"))?;
    if network != network.trunc() {
        let why = format!("it has bits behind its prefix; the network is {}", network.trunc());
        return Err(InvalidValue::item(item, why));
    }
    match network {
        IpNet::V6(v6) if v6.prefix_len() >= 96 && v6.network().to_ipv4_mapped().is_some() => {
            Err(InvalidValue::item(item, "addresses of IPv4 are written as such, for example 10.20.0.0/16"))
        }
        _ => Ok(network),
    }
}

fn is_name(text: &str) -> bool {
    text.len() <= MAX_LENGTH && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn of_group(group: &Group) -> Result<(Item, [Item; 3]), InvalidValue> {
    let whole = Item { text: "an entry".to_owned(), mark: Some(group.mark) };
    if let Some((key, _)) = group.fields.iter().find(|(key, _)| !KEYS.contains(&key.text.as_str())) {
        let help = did_you_mean(&key.text, KEYS);
        let why = if help.is_empty() { "an entry has a cidr, and a zone, region or name".to_owned() } else { help };
        return Err(InvalidValue::item(key, why));
    }
    let text = |name: &str| {
        let mut found = group.fields.iter().filter(|(key, _)| key.text == name);
        let field =
            found.next().map(|(_, field)| field.clone().unwrap_or(Item { text: String::new(), ..whole.clone() }));
        match found.next() {
            Some((again, _)) => Err(InvalidValue::item(again, "it is set twice")),
            None => Ok(field),
        }
    };
    let network = text("cidr")?.filter(|network| !network.text.is_empty());
    let network = network.ok_or_else(|| InvalidValue::item(&whole, "it has no `cidr`"))?;
    let or_empty = |field: Option<Item>| field.unwrap_or(Item { text: String::new(), mark: whole.mark });
    Ok((network, [or_empty(text("zone")?), or_empty(text("region")?), or_empty(text("name")?)]))
}

fn of_text(item: &Item) -> Result<(Item, [Item; 3]), InvalidValue> {
    let part = |text: &str| Item { text: text.to_owned(), mark: item.mark };
    let (network, rest) = item
        .text
        .split_once('=')
        .ok_or_else(|| InvalidValue::item(item, "it is not of the form cidr=zone/region/name"))?;
    let mut parts = rest.split('/');
    let texts = std::array::from_fn(|_| part(parts.next().unwrap_or_default()));
    match parts.next() {
        Some(_) => Err(InvalidValue::item(item, "it has more parts than zone, region and name")),
        None => Ok((part(network), texts)),
    }
}

pub(super) fn show(cidrs: &[ZoneCidr]) -> Value {
    let text = |entry: &ZoneCidr| {
        let text = format!("{}={}/{}/{}", entry.cidr, entry.zone, entry.region, entry.name);
        text.trim_end_matches('/').to_owned()
    };
    let texts: Vec<String> = cidrs.iter().map(text).collect();
    Value::list(texts.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Origin;
    use crate::tests::from_file;

    /// Entries are groups, or texts of one line that mean the same; what is shown reads back.
    #[test]
    fn entries_are_groups_or_texts() {
        let text = "zones:\n  cidrs:\n    - {cidr: 10.20.0.0/16, zone: a, region: west, name: databases}\n    \
                    - {cidr: 10.20.5.0/24, zone: b}\n    - {cidr: 'fd00:1::/48', region: east}\n    \
                    - {cidr: 10.0.0.0/8, name: corp, zone: ''}\n";
        let groups = from_file(text).unwrap().settings.zones.cidrs;
        let text =
            "zones: {cidrs: [10.20.0.0/16=a/west/databases, 10.20.5.0/24=b, 'fd00:1::/48=/east', 10.0.0.0/8=//corp]}";
        assert_eq!(groups, from_file(text).unwrap().settings.zones.cidrs);
        assert_eq!(read(&show(&groups)), Ok(groups));
        assert_eq!(from_file("zones: {cidrs: []}").unwrap().settings.zones.cidrs, []);
    }

    /// Too many entries are said with their number and the limit; so many are read.
    #[test]
    fn entries_have_a_limit() {
        let entries = |count: usize| {
            let entry = |at: usize| format!("    - {{cidr: 10.{}.{}.0/24, zone: a}}\n", at / 256, at % 256);
            from_file(&format!("zones:\n  cidrs:\n{}", (0..count).map(entry).collect::<String>()))
        };
        assert_eq!(entries(MAX_CIDRS).unwrap().settings.zones.cidrs.len(), MAX_CIDRS);
        let problem = entries(MAX_CIDRS + 1).unwrap_err().list[0].one_line();
        assert!(problem.contains("a list of 4097") && problem.contains("4096 at most"), "{problem}");
    }

    /// A mistake is named at its line.
    #[test]
    fn mistakes_are_named() {
        for (entry, expected) in [
            ("{cidr: 10.20.0.0/33, zone: a}", "it is not a network"),
            ("{cidr: 10.20.0.1, zone: a}", "it is not a network"),
            ("{cidr: 010.0.0.0/8, zone: a}", "a zero before it"),
            ("{cidr: 10.0.0.0/08, zone: a}", "a zero before it"),
            ("{cidr: 10.20.0.1/16, zone: a}", "the network is 10.20.0.0/16"),
            ("{cidr: '::ffff:10.0.0.0/104', zone: a}", "written as such"),
            ("{cidr: 10.1.0.0/16, zone: b}", "two entries have this network, the first in line 3"),
            ("{cidr: 10.20.0.0/16}", "neither a zone, nor a region, nor a name"),
            ("{cidr: 10.20.0.0/16, zone:, name: ''}", "neither a zone"),
            ("{zone: a}", "it has no `cidr`"),
            ("{cidr: , zone: a}", "it has no `cidr`"),
            ("{cidr: null, zone: a}", "it has no `cidr`"),
            ("null", "cidr=zone/region/name"),
            ("{cidr: 10.20.0.0/16, zon: a}", "did you mean `zone`?"),
            ("{cidr: 10.20.0.0/16, zone: a, zone: b}", "set twice"),
            ("{cidr: 10.20.0.0/16, zone: 'a b'}", "is of letters"),
            ("10.20.0.0/16", "cidr=zone/region/name"),
        ] {
            let first = if entry.starts_with('{') { "{cidr: 10.1.0.0/16, zone: a}" } else { "10.1.0.0/16=a" };
            let problems = from_file(&format!("zones:\n  cidrs:\n    - {first}\n    - {entry}\n")).unwrap_err();
            let (text, problem) = (problems.list[0].one_line(), &problems.list[0]);
            assert!(text.contains(expected), "{entry}: {text}");
            assert!(matches!(problem.origin, Origin::File(mark) if mark.line == 4), "{entry}: {:?}", problem.origin);
        }
    }
}
