//! The layers: defaults, file, environment, flags; a later one wins, key by key.
//!
//! Every value remembers which layer it came from, for `/config` and for the problems that only
//! show when all values are known (two listeners on one port, say).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::diff::{Diff, diff, reloaded};
use super::flow_source_rules;
use super::keys::{KEYS, Key, Reload, find, replacement};
use super::model::{ClusterSource, Settings};
use super::observer::ListenAddress;
use super::problem::{Origin, Problem, Problems, SourceFile, did_you_mean};
use super::relay_rules;
use super::value::{CheckEntry, Item, Remarks, Value, clean, json};
use super::yaml;
use crate::file::{self, FileError};

/// Prefix of the variables of all keys.
const PREFIX: &str = "WEBB_";

/// The environment of the process. Passed in, so that this module reads no global state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// The environment variables.
    pub variables: BTreeMap<String, String>,
    /// The host's name, the last resort for `node_name`.
    pub hostname: String,
}

/// A flag that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// Name with its dashes, as in [`Key::flag`].
    pub name: &'static str,
    /// Value as it was typed.
    pub value: Value,
}

/// Everything that settings are made from. Kept by the agent, to be loaded again at a reload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layers {
    /// The configuration file; without one there are only defaults, variables and flags.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Environment,
    /// The flags.
    pub flags: Vec<Flag>,
}

/// The settings, and where each came from.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The settings after merging all layers.
    pub settings: Settings,
    /// Suspicious values that are no errors, for the log.
    pub warnings: Vec<Problem>,
    /// The file, if there is one: [`Problem::render`] needs it for its snippet.
    pub file: Option<Arc<SourceFile>>,
    /// The winning raw value of each key that was set.
    set: BTreeMap<&'static str, (Value, Origin)>,
}

/// One key of [`Resolved`], as `/config` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The key.
    pub key: &'static str,
    /// Its value: a string, a list of strings or null.
    pub value: serde_json::Value,
    /// `default`, `file:12`, `env:WEBB_X`, `flag:--x` or `hostname`.
    pub source: String,
    /// Whether a change takes effect at a reload; otherwise at the next start.
    pub live: bool,
}

impl Layers {
    /// Reads the file, if there is one, and resolves all layers.
    ///
    /// # Errors
    /// Everything that is wrong, not only the first problem.
    pub fn load(&self) -> Result<Resolved, Problems> {
        let file = self.file.as_deref().map(read_file).transpose()?;
        resolve(file, &self.environment, &self.flags)
    }

    /// The same with what is usable where something is wrong, for checks of the rest: a key with a
    /// problem has its default.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(&self) -> Result<(Resolved, Vec<Problem>), Problems> {
        let file = self.file.as_deref().map(read_file).transpose()?;
        Ok(merge(file, &self.environment, &self.flags))
    }
}

/// Reads a configuration file; a file that cannot be read is a problem.
pub fn read_file(path: &Path) -> Result<SourceFile, Problems> {
    let name = path.display().to_string();
    file::read_text(path, file::MIB).map(|text| SourceFile { name, text }).map_err(|error| unreadable(path, &error))
}

/// The problem with a file that cannot be read.
pub fn unreadable(path: &Path, error: &FileError) -> Problems {
    let message = format!("cannot read {}: {error}", clean(&path.display().to_string()));
    Problems { list: vec![Problem::new(Origin::Default, message)], ..Problems::default() }
}

/// Resolves all layers. Does no I/O.
///
/// # Errors
/// Everything that is wrong, not only the first problem.
pub fn resolve(file: Option<SourceFile>, environment: &Environment, flags: &[Flag]) -> Result<Resolved, Problems> {
    let (resolved, list) = merge(file, environment, flags);
    if list.is_empty() {
        return Ok(resolved);
    }
    Err(Problems { list, file: resolved.file, ..Problems::default() }.sorted())
}

/// Merges all layers; a value with a problem leaves the key as it was.
pub(super) fn merge(file: Option<SourceFile>, environment: &Environment, flags: &[Flag]) -> (Resolved, Vec<Problem>) {
    let mut resolved = Resolved {
        settings: Settings::default(),
        warnings: Vec::new(),
        file: file.map(Arc::new),
        set: BTreeMap::new(),
    };
    let mut problems = Vec::new();
    if let Some(file) = resolved.file.clone() {
        let (entries, wrong) = yaml::read(&file);
        problems.extend(wrong);
        for entry in entries {
            resolved.apply(entry.key, entry.value, Origin::File(entry.mark), &mut problems);
        }
    }
    resolved.apply_variables(environment, &mut problems);
    for flag in flags {
        // A flag that is not in the table cannot be typed: clap knows only those that are.
        if let Some(key) = KEYS.iter().find(|key| key.flag == Some(flag.name)) {
            resolved.apply(key, flag.value.clone(), Origin::Flag(flag.name), &mut problems);
        }
    }
    resolved.name_node(environment, &mut problems);
    resolved.check_together(&mut problems);
    resolved.check_flow_source(&mut problems);
    (resolved, problems)
}

impl Resolved {
    fn apply(&mut self, key: &'static Key, value: Value, origin: Origin, problems: &mut Vec<Problem>) {
        match (key.set)(&mut self.settings, &value) {
            Ok(()) => {
                self.set.insert(key.name, (value, origin));
            }
            Err(bad) => {
                let all = std::iter::once(&bad).chain(&bad.further);
                problems.extend(all.map(|bad| Problem::bad_value(key.name, key.expected, bad, &origin)));
            }
        }
    }

    fn apply_variables(&mut self, environment: &Environment, problems: &mut Vec<Problem>) {
        let names: Vec<String> = KEYS.iter().map(Key::variable).collect();
        for (name, text) in environment.variables.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            if let Some(key) = names.iter().position(|known| known == name).and_then(|at| KEYS.get(at)) {
                // An empty variable is how manifests write "not set".
                if !text.is_empty() {
                    self.apply(key, Value::Text(text.clone()), Origin::Variable(name.clone()), problems);
                }
            } else if let Some(help) = mistaken(name, &names) {
                let origin = Origin::Variable(clean(name));
                self.warnings.push(Problem::new(origin, "no key has this name; it is ignored").with_help(help));
            }
        }
    }

    fn name_node(&mut self, environment: &Environment, problems: &mut Vec<Problem>) {
        let Some(key) = find("node_name").filter(|_| self.settings.node_name.is_empty()) else { return };
        let (value, origin) = match environment.variables.get("NODE_NAME").filter(|name| !name.is_empty()) {
            Some(name) => (name, Origin::Variable("NODE_NAME".to_owned())),
            None => (&environment.hostname, Origin::Hostname),
        };
        self.apply(key, Value::Text(value.clone()), origin, problems);
        if self.settings.node_name.is_empty() && problems.is_empty() {
            let message = "`node_name`: it is not set, and the host has no name either";
            problems.push(Problem::new(Origin::Hostname, message));
        }
    }

    /// Rules about the source of flows and about the names relay, which concern more than one key.
    fn check_flow_source(&self, problems: &mut Vec<Problem>) {
        for (key, other, message) in flow_source_rules::contradictions(&self.settings)
            .into_iter()
            .chain(relay_rules::contradictions(&self.settings))
        {
            let origin = if self.set.contains_key(key) { self.origin(key) } else { self.origin(other) };
            problems.push(Problem::new(origin, message));
        }
    }

    /// Rules that concern more than one key. A problem points at the key that is named first, or at
    /// the other one if the first was not set.
    fn check_together(&mut self, problems: &mut Vec<Problem>) {
        let settings = &self.settings;
        let mut fail = |key: &str, other: &str, message: String| {
            let origin = if self.set.contains_key(key) { self.origin(key) } else { self.origin(other) };
            problems.push(Problem::new(origin, message));
        };
        let listeners = [
            ("metrics_listen", Some(settings.metrics_listen)),
            ("admin_listen", Some(settings.admin_listen)),
            ("agent_metrics.listen", settings.agent_metrics.listen),
            ("health.listen", settings.health.listen),
            ("operator.listen", settings.operator.election.then_some(settings.operator.listen)),
        ];
        let of_observer = settings.observer.listen.iter().filter(|_| settings.observer.enabled);
        let of_observer = of_observer.filter_map(|address| match address {
            ListenAddress::Tcp(address) => Some(("observer.listen", *address)),
            ListenAddress::Unix(_) => None,
        });
        let listeners = listeners.iter().filter_map(|(key, address)| Some((*key, (*address)?)));
        let listeners: Vec<_> = listeners.chain(of_observer).collect();
        for (at, (key, address)) in listeners.iter().enumerate() {
            let taken = listeners.iter().take(at).find(|(_, other)| clash(*address, *other));
            if let Some((other, of_other)) = taken {
                let message = format!("`{key}`: {address} is taken by `{other}` ({of_other}); give them two ports");
                fail(key, other, message);
            }
        }
        if settings.cluster_source == ClusterSource::Manifest && settings.cluster_manifest.is_none() {
            let message = "`cluster_source`: manifest needs `cluster_manifest` beside it";
            fail("cluster_source", "cluster_manifest", message.to_owned());
        }
        if settings.clusters.iter().any(|cluster| cluster.name == settings.cluster_name) {
            let name = &settings.cluster_name;
            let message = format!("`clusters`: {name} is this cluster's own name; set `cluster_name`, or leave it out");
            fail("clusters", "cluster_name", message);
        }
        let operator = &settings.operator;
        if operator.renew_deadline >= operator.lease_duration {
            let message = "`operator.renew_deadline` must be less than `operator.lease_duration`";
            fail("operator.renew_deadline", "operator.lease_duration", message.to_owned());
        }
        if operator.retry_period * 2 > operator.renew_deadline {
            let message = "`operator.retry_period` must not be more than half of `operator.renew_deadline`";
            fail("operator.retry_period", "operator.renew_deadline", message.to_owned());
        }
        for (group, tls) in [("metrics_tls", &settings.metrics_tls), ("observer_tls", &settings.observer.tls)] {
            if tls.certificate.is_some() != tls.key.is_some() {
                let (set, missing) = if tls.key.is_none() { ("certificate", "key") } else { ("key", "certificate") };
                let message = format!("`{group}.{set}` needs `{group}.{missing}` beside it");
                fail(&format!("{group}.{set}"), &format!("{group}.key"), message);
            } else if tls.client_ca.is_some() && tls.certificate.is_none() {
                let message = format!("`{group}.client_ca` needs `{group}.certificate` and `{group}.key` beside it");
                fail(&format!("{group}.client_ca"), &format!("{group}.certificate"), message);
            }
        }
        let listed = self.set.contains_key("metrics") && !settings.metrics.is_empty();
        if let Some(path) = settings.metrics_config.as_ref().filter(|_| listed) {
            let message = format!(
                "`metrics_config`: cannot configure both static and dynamic metrics; leave out `metrics` or {}",
                clean(&path.display().to_string())
            );
            fail("metrics_config", "metrics", message);
        }
        let below = |small: &str, large: &str| {
            let show = |name| find(name).map_or(Value::Null, |key| (key.get)(settings));
            match (show(small), show(large)) {
                (Value::Text(low), Value::Text(high)) => {
                    format!("`{small}`: {low} must not be more than `{large}` ({high})")
                }
                _ => format!("`{small}` must not be more than `{large}`"),
            }
        };
        let l7 = &settings.l7;
        for (key, ports, other, taken) in [
            ("l7.http_ports", &l7.http_ports, "l7.dns_ports", &l7.dns_ports),
            ("l7.http_ports_ignored", &l7.http_ports_ignored, "l7.http_ports", &l7.http_ports),
        ] {
            if let Some(port) = ports.iter().find(|port| taken.contains(port)) {
                fail(key, other, format!("`{key}`: {port} is in `{other}` too; leave it out of one of them"));
            }
        }
        if settings.shutdown.linger > settings.shutdown.budget {
            fail("shutdown.linger", "shutdown.budget", below("shutdown.linger", "shutdown.budget"));
        }
        if !settings.l7.redact_headers_allow.is_empty() && !settings.l7.redact_headers_deny.is_empty() {
            let message = "`l7.redact_headers_allow` and `l7.redact_headers_deny` exclude each other; leave one out";
            fail("l7.redact_headers_deny", "l7.redact_headers_allow", message.to_owned());
        }
        if settings.supervision.backoff_min > settings.supervision.backoff_max {
            let message = below("supervision.backoff_min", "supervision.backoff_max");
            fail("supervision.backoff_min", "supervision.backoff_max", message);
        }
        self.check_admin(problems);
        self.check_observer();
        self.check_unused();
    }

    /// Rules about who may ask the admin listener.
    fn check_admin(&mut self, problems: &mut Vec<Problem>) {
        let Settings { admin, admin_listen: address, .. } = &self.settings;
        if address.ip().is_loopback() || admin.token_file.is_some() {
            return;
        }
        let origin = self.origin("admin_listen");
        if admin.insecure {
            let message = format!(
                "`admin_listen`: {address} can be reached from other machines without a token, because of `admin.insecure`"
            );
            self.warnings.push(Problem::new(origin, message));
        } else {
            let message = format!(
                "`admin_listen`: {address} can be reached from other machines; set `admin.token_file`, or `admin.insecure: true` to go without"
            );
            problems.push(Problem::new(origin, message));
        }
    }

    /// Warnings about who may read the flows.
    fn check_observer(&mut self) {
        let observer = &self.settings.observer;
        let tcp = observer.listen.iter().find_map(|address| match address {
            ListenAddress::Tcp(address) => Some(*address),
            ListenAddress::Unix(_) => None,
        });
        let has_tls = observer.tls.certificate.is_some();
        match tcp.filter(|_| observer.enabled) {
            Some(address) if !has_tls && !address.ip().is_loopback() => {
                let message = format!(
                    "`observer.listen`: {address} has no TLS, so that all who reach it can read the flows; set \
                     `observer_tls`"
                );
                self.warn("observer.listen", message);
            }
            None if has_tls && observer.enabled => {
                let message = "`observer_tls.certificate` changes nothing: `observer.listen` has no TCP address";
                self.warn("observer_tls.certificate", message);
            }
            _ => {}
        }
    }

    /// Adds a warning about the value of `key`.
    pub fn warn(&mut self, key: &str, message: impl Into<String>) {
        self.warnings.push(Problem::new(self.origin(key), message));
    }

    /// Warnings for keys that change nothing, because what they are about is off.
    fn check_unused(&mut self) {
        let default = Settings::default();
        let is_recorded = self.settings.observer.enabled || self.settings.export.is_on();
        // Flows for outputs wait in the history too, and nothing else of the observer is for them.
        let for_outputs = self.settings.outputs_config.is_some();
        let is_of_history = |key: &str| ["observer.flows", "observer.keep"].contains(&key);
        for (group, on, condition) in [
            ("l7.redact_", self.settings.l7.redact, "while `l7.redact` is false"),
            ("export.", self.settings.export.is_on(), "without `export.file_path` or `export.config`"),
            ("health.", self.settings.health.listen.is_some(), "without `health.listen`"),
            (
                "observer.",
                is_recorded,
                "while `observer.enabled` is false, without `export.file_path` or `export.config`",
            ),
            ("observer_tls.", self.settings.observer.enabled, "while `observer.enabled` is false"),
        ] {
            for key in KEYS.iter().filter(|key| !on && key.name.starts_with(group)) {
                if !(for_outputs && is_of_history(key.name)) && (key.get)(&self.settings) != (key.get)(&default) {
                    self.warn(key.name, format!("`{}` changes nothing {condition}", key.name));
                }
            }
        }
        if self.settings.health.listen.is_some() && self.settings.cluster_source == ClusterSource::None {
            self.warn("health.listen", "`health.listen`: no node is probed with `cluster_source: none`");
        }
    }

    /// Problems of the configuration itself.
    pub fn problems(&self, list: Vec<Problem>) -> Problems {
        Problems { list, file: self.file.clone(), ..Problems::default() }
    }

    /// Origin of the value of `key`.
    pub fn origin(&self, key: &str) -> Origin {
        self.set.get(key).map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    /// Origin of the element of the list `key` with the word `text`, or else of the first that
    /// contains it.
    pub fn origin_of_item(&self, key: &str, text: &str) -> Origin {
        let items = match self.set.get(key) {
            Some((Value::List(items), _)) => items.as_slice(),
            _ => &[],
        };
        let has_word = |item: &&Item| item.text.trim().split([',', ' ', '\t', '\n']).any(|word| word == text);
        let item = items.iter().find(has_word).or_else(|| items.iter().find(|item| item.text.contains(text)));
        let mark = item.and_then(|item| item.mark);
        mark.map_or_else(|| self.origin(key), Origin::File)
    }

    /// Every key with its value and where that came from, in the order of the documentation.
    pub fn entries(&self) -> Vec<Entry> {
        KEYS.iter()
            .map(|key| Entry {
                key: key.name,
                value: json(&(key.get)(&self.settings)),
                source: self.origin(key.name).to_string(),
                live: key.reload == Reload::Live,
            })
            .collect()
    }

    /// Settings in force after a reload that found `new`: its values where a key can change while
    /// running, the old ones, with their origins, elsewhere. The [`Diff`] lists both.
    #[must_use]
    pub fn reload(&self, mut new: Self) -> (Self, Diff) {
        let diff = diff(&self.settings, &new.settings);
        new.settings = reloaded(&self.settings, &new.settings);
        for change in &diff.needs_restart {
            match self.set.get(change.key) {
                Some(old) => new.set.insert(change.key, old.clone()),
                None => new.set.remove(change.key),
            };
        }
        (new, diff)
    }

    /// Checks `settings.metrics` with the metrics' own parser, which is on a higher floor. `check`
    /// gets one entry or several, separated by spaces.
    ///
    /// # Errors
    /// Each entry that `check` refuses, at its place; or what is wrong with all of them together (a
    /// metric that is listed twice).
    pub fn check_metrics(&mut self, check: &CheckEntry<'_>) -> Result<(), Problems> {
        let origin = self.origin("metrics");
        let problem = |origin: &Origin, text: &str| Problem::new(origin.clone(), format!("`metrics`: {text}"));
        let mut problems = Vec::new();
        for entry in &self.settings.metrics {
            // One element of a list in the file, if this is where the entry stands.
            let mark = match self.set.get("metrics") {
                Some((Value::List(items), _)) => items
                    .iter()
                    .find(|item| item.text.split_whitespace().any(|part| part == entry))
                    .and_then(|item| item.mark),
                _ => None,
            };
            let origin = mark.map_or_else(|| origin.clone(), Origin::File);
            let Remarks { errors, warnings } = check(entry);
            problems.extend(errors.into_iter().map(|text| problem(&origin, &text)));
            self.warnings.extend(warnings.into_iter().map(|text| problem(&origin, &text)));
        }
        if problems.is_empty() {
            let together = check(&self.settings.metrics.join(" ")).errors;
            problems.extend(together.into_iter().map(|text| problem(&origin, &text)));
        }
        if problems.is_empty() { Ok(()) } else { Err(self.problems(problems)) }
    }
}

/// True if two listeners want the same port of the same address. Port 0 is any free port and
/// clashes with nothing.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip(), other.ip());
    one.port() == other.port() && one.port() != 0 && (a == b || a.is_unspecified() || b.is_unspecified())
}

/// Hint for a variable that no key has, if it looks like one of a key: it has the `__` that stands
/// between group and key, it is nearly such a name, or it is a key's without the group. All others
/// with this prefix (`WEBB_ROOT` of a script) are other programs'.
fn mistaken(name: &str, names: &[String]) -> Option<String> {
    if name == "WEBB_CONFIG" || service_link(name) {
        return None;
    }
    // Without the prefix, which makes any two of them alike.
    let key = |name| str::strip_prefix(name, PREFIX).unwrap_or_default();
    if let Some(help) = replacement(&key(name).replace("__", ".").to_ascii_lowercase()) {
        return Some(help.to_owned());
    }
    let without_group = names.iter().find(|known| key(known).rsplit("__").next() == Some(key(name)));
    let help = match without_group {
        Some(known) => format!("did you mean `{known}`?"),
        None => did_you_mean(key(name), names.iter().map(|known| key(known))).replacen('`', &format!("`{PREFIX}"), 1),
    };
    (!help.is_empty() || key(name).contains("__")).then_some(help)
}

/// True for the variables that Kubernetes sets in every pod when a Service is called `webb`.
fn service_link(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|rest| rest.starts_with("SERVICE_") || rest.starts_with("PORT"))
}
