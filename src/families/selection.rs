//! Choice of families: one version's names and labels, and the families that are switched on.

use std::collections::HashMap;

use prometheus::proto::MetricFamily;
use webb_metrics::expose::Histogram;
use webb_settings::{Compat, Toggle};

use super::{Family, Rows};

/// The families that an endpoint exposes.
#[derive(Debug, Clone)]
pub struct Selection {
    compat: Compat,
    /// By name; the last toggle of a name counts.
    toggles: HashMap<String, bool>,
}

impl Selection {
    /// The families of a version, switched by `toggles`. Those that cannot be parsed switch
    /// nothing.
    #[must_use]
    pub fn new(compat: Compat, toggles: &[Toggle]) -> Self {
        let switches = toggles.iter().filter_map(|toggle| toggle.switch().ok());
        let toggles = switches.map(|(on, name)| (name.to_owned(), on)).collect();
        Self { compat, toggles }
    }

    /// The version.
    #[must_use]
    pub fn compat(&self) -> Compat {
        self.compat
    }

    /// True if the family is exposed.
    #[must_use]
    pub fn allows(&self, family: &Family) -> bool {
        family.versions.contains(self.compat) && self.allows_name(family.def.name, family.on_by_default)
    }

    /// True if the name is exposed; `by_default` counts if no toggle has it.
    #[must_use]
    pub fn allows_name(&self, name: &str, by_default: bool) -> bool {
        self.toggles.get(name).copied().unwrap_or(by_default)
    }
}

/// The rows of the selected families. A row of any other is dropped.
#[derive(Debug)]
pub struct SelectedRows<'a> {
    selection: &'a Selection,
    rows: Rows,
}

impl<'a> SelectedRows<'a> {
    /// No rows yet.
    #[must_use]
    pub fn new(selection: &'a Selection) -> Self {
        Self { selection, rows: Rows::default() }
    }

    /// The version that labels are spelled for.
    #[must_use]
    pub fn compat(&self) -> Compat {
        self.selection.compat
    }

    /// True if rows of the family are kept: to leave out the work for those that are not.
    #[must_use]
    pub fn wants(&self, family: &Family) -> bool {
        self.selection.allows(family)
    }

    /// Adds a row: the values of the family's labels, in its order, and the number.
    pub fn add(&mut self, family: &Family, labels: &[&str], value: u64) {
        if self.wants(family) {
            self.rows.add(&family.def, labels, value);
        }
    }

    /// Adds like [`SelectedRows::add`], for seconds and other fractions.
    pub fn add_f64(&mut self, family: &Family, labels: &[&str], value: f64) {
        if self.wants(family) {
            self.rows.add_f64(&family.def, labels, value);
        }
    }

    /// Adds like [`SelectedRows::add`], for a family of the type histogram.
    pub fn add_histogram(&mut self, family: &Family, labels: &[&str], value: &Histogram) {
        if self.wants(family) {
            self.rows.add_histogram(&family.def, labels, value);
        }
    }

    /// The families that have a row.
    #[must_use]
    pub fn into_families(self) -> Vec<MetricFamily> {
        self.rows.into_families()
    }
}

/// Sorted rows of a source in a version, `name [labels] value`; histograms are none.
#[cfg(test)]
pub(crate) fn listed(source: &super::CategorySource, compat: Compat) -> Vec<String> {
    let selection = Selection::new(compat, &[]);
    let mut rows = SelectedRows::new(&selection);
    source(&mut rows);
    let mut listed = Vec::new();
    for family in rows.into_families() {
        for metric in family.get_metric() {
            let labels: Vec<&str> = metric.get_label().iter().map(prometheus::proto::LabelPair::value).collect();
            let value = metric.get_gauge().get_value() + metric.get_counter().get_value();
            listed.push(format!("{} [{}] {value}", family.name(), labels.join(" ")));
        }
    }
    listed.sort();
    listed
}
