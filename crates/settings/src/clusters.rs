//! The kind of value of `clusters`: groups of `name` and `kubeconfig`, or, where there is one line
//! only, texts of the form `name=kubeconfig`.

use std::path::PathBuf;

use super::problem::did_you_mean;
use super::value::{Group, InvalidValue, Item, Value};

/// Another cluster of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteCluster {
    /// Its name.
    pub name: String,
    /// Path of the kubeconfig that leads to its API server.
    pub kubeconfig: PathBuf,
}

/// Keys of a group.
const KEYS: [&str; 2] = ["name", "kubeconfig"];

/// Maximal number of clusters: one less than Cilium's meshes have by default.
const MAX_CLUSTERS: usize = 254;

/// Cilium's check of a cluster's name.
pub(super) fn is_name(name: &str) -> bool {
    let fits = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    name.len() <= 32
        && name.bytes().next().is_some_and(fits)
        && name.bytes().next_back().is_some_and(fits)
        && name.bytes().all(|letter| fits(letter) || letter == b'-')
}

pub(super) fn read(value: &Value) -> Result<Vec<RemoteCluster>, InvalidValue> {
    let found: Vec<(Item, PathBuf)> = match value {
        Value::Groups(groups) => groups.iter().map(of_group).collect::<Result<_, _>>()?,
        other => other.items(true)?.iter().map(of_text).collect::<Result<_, _>>()?,
    };
    if found.len() > MAX_CLUSTERS {
        return Err(InvalidValue::too_many(found.len(), MAX_CLUSTERS));
    }
    let mut clusters: Vec<RemoteCluster> = Vec::new();
    for (name, kubeconfig) in found {
        if !is_name(&name.text) {
            let why = "a name is 1 to 32 small letters, digits and dashes, not a dash first or last";
            return Err(InvalidValue::item(&name, why));
        }
        if clusters.iter().any(|known| known.name == name.text) {
            return Err(InvalidValue::item(&name, "two clusters have this name"));
        }
        clusters.push(RemoteCluster { name: name.text, kubeconfig });
    }
    Ok(clusters)
}

fn of_group(group: &Group) -> Result<(Item, PathBuf), InvalidValue> {
    let whole = Item { text: "a cluster".to_owned(), mark: Some(group.mark) };
    if let Some((key, _)) = group.fields.iter().find(|(key, _)| !KEYS.contains(&key.text.as_str())) {
        let help = did_you_mean(&key.text, KEYS);
        let why = if help.is_empty() { "a cluster has a name and a kubeconfig".to_owned() } else { help };
        return Err(InvalidValue::item(key, why));
    }
    let text = |name: &str| {
        let mut found = group.fields.iter().filter(|(key, _)| key.text == name);
        let (key, field) = found.next().ok_or_else(|| InvalidValue::item(&whole, format!("it has no `{name}`")))?;
        if let Some((again, _)) = found.next() {
            return Err(InvalidValue::item(again, "it is set twice"));
        }
        match field {
            Some(field) if !field.text.is_empty() => Ok(field.clone()),
            _ => Err(InvalidValue::item(key, "it is no text, or an empty one")),
        }
    };
    Ok((text("name")?, PathBuf::from(text("kubeconfig")?.text)))
}

fn of_text(item: &Item) -> Result<(Item, PathBuf), InvalidValue> {
    match item.text.split_once('=') {
        Some((name, path)) if !path.is_empty() => {
            Ok((Item { text: name.to_owned(), mark: item.mark }, PathBuf::from(path)))
        }
        _ => Err(InvalidValue::item(item, "it is not of the form name=kubeconfig")),
    }
}

pub(super) fn show(clusters: &[RemoteCluster]) -> Value {
    let texts: Vec<String> =
        clusters.iter().map(|cluster| format!("{}={}", cluster.name, cluster.kubeconfig.display())).collect();
    Value::list(texts.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Origin;
    use crate::tests::from_file;

    /// Clusters are groups, or texts of one line; a mistake is reported at its line.
    #[test]
    fn clusters_are_groups() {
        let text = "clusters:\n  - name: east\n    kubeconfig: /etc/webb/east\n  - {name: west, kubeconfig: w}\n";
        let groups = from_file(text).unwrap().settings;
        assert_eq!(groups.clusters[0].kubeconfig, PathBuf::from("/etc/webb/east"));
        let texts = from_file("clusters: [east=/etc/webb/east, west=w]").unwrap().settings;
        assert_eq!(groups.clusters, texts.clusters);
        assert_eq!(from_file("clusters: []").unwrap().settings.clusters, []);
        for (text, line, expected) in [
            ("clusters:\n  - name: east\n", 2, "no `kubeconfig`"),
            ("clusters:\n  - name: east\n    kubeconfg: /e\n", 3, "did you mean `kubeconfig`?"),
            ("clusters:\n  - name: east\n    kubeconfig:\n", 3, "no text"),
            ("clusters:\n  - {name: east, kubeconfig: e}\n  - {name: east, kubeconfig: f}\n", 3, "two clusters"),
            ("clusters:\n  - {name: East, kubeconfig: e}\n", 2, "small letters"),
            ("clusters:\n  - [east]\n", 2, "more than plain values"),
            ("metrics:\n  - {flow: a}\n", 2, "more than plain values"),
            ("clusters: [default=e]\n", 1, "this cluster's own name"),
        ] {
            let problems = from_file(text).unwrap_err();
            let (text, problem) = (problems.list[0].one_line(), &problems.list[0]);
            assert!(text.contains(expected), "{text}");
            assert!(matches!(problem.origin, Origin::File(mark) if mark.line == line), "{text}: {:?}", problem.origin);
        }
    }
}
