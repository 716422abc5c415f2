//! The inventory: every metric that webb can expose, with help and labels, and the table of plugins
//! made from it.
//!
//! Both files are golden. After a change on purpose, write them anew and look at the difference:
//!
//! ```text
//! make golden
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use webb::exports;
use webb::families::Def;
use webb::selfmetrics::{self, SelfMetrics};
use webb_decode::l7;
use webb_metrics::expose::{Family, FamilyType, Histogram, Value, server};
use webb_metrics::options::BUCKETS;
use webb_metrics::{Registration, plugins};

const BEGIN: &str = "<!-- metrics: written by tests/command/inventory.rs -->\n";
const END: &str = "<!-- end of metrics -->\n";

/// One family: where it comes from, its type, labels of its own and help.
pub(crate) struct Row {
    pub(crate) name: String,
    from: String,
    pub(crate) kind: &'static str,
    pub(crate) labels: Vec<String>,
    help: String,
    /// Upper bounds of a histogram's buckets, unless an option sets others.
    bounds: Vec<f64>,
}

fn of_plugin(plugin: &Registration) -> impl Iterator<Item = Row> {
    plugin.tables.iter().flat_map(move |table| {
        table.families.iter().map(move |spec| Row {
            name: spec.name.to_owned(),
            from: format!("`{}`", plugin.name),
            kind: match (table.bounds.is_empty(), table.gauge) {
                (false, _) => "histogram",
                (true, true) => "gauge",
                (true, false) => "counter",
            },
            labels: plugin.context.iter().chain(table.labels).map(|&label| label.to_owned()).collect(),
            help: spec.help.to_owned(),
            bounds: table.bounds.to_vec(),
        })
    })
}

fn of_family(family: &Family) -> Row {
    let labels = family.samples.first().map(|sample| sample.labels.iter().map(|(name, _)| name.clone()).collect());
    Row {
        name: family.name.clone(),
        from: "always".to_owned(),
        kind: family.kind.name(),
        labels: labels.unwrap_or_default(),
        help: family.help.clone(),
        bounds: match family.samples.first().map(|sample| &sample.value) {
            Some(Value::Histogram(histogram)) => histogram.buckets.iter().map(|(bound, _)| *bound).collect(),
            _ => Vec::new(),
        },
    }
}

/// The families that are there whatever is configured, under Hubble's names and the standard ones
/// of a process.
fn always() -> Vec<Row> {
    let hubble = [
        server::lost_events([0; 4]),
        server::handler_requests([("200", 0)]),
        server::handler_durations([("200", Histogram::default())]),
    ];
    let process = SelfMetrics::new().unwrap().gather().into_iter().map(|family| {
        let counter = family.get_field_type() == prometheus::proto::MetricType::COUNTER;
        Family::new(family.name(), family.help(), if counter { FamilyType::Counter } else { FamilyType::Gauge })
    });
    hubble.into_iter().chain(process).map(|family| of_family(&family)).collect()
}

fn own_labels(def: &Def) -> Vec<String> {
    def.labels.iter().map(|&label| label.to_owned()).collect()
}

fn own() -> impl Iterator<Item = Row> {
    selfmetrics::ALL.iter().chain(&exports::metrics::ALL).map(|def| Row {
        name: def.name.to_owned(),
        from: if ["webb_rollup_", "webb_output"].iter().any(|start| def.name.starts_with(start)) {
            "with `outputs_config`".to_owned()
        } else if def.name.starts_with("webb_cluster_relay_") {
            "with `cluster_relay`".to_owned()
        } else {
            "always".to_owned()
        },
        kind: def.kind.name(),
        labels: own_labels(def),
        help: def.help.to_owned(),
        bounds: Vec::new(),
    })
}

pub(crate) fn inventory() -> Vec<Row> {
    let mut rows: Vec<Row> = plugins::all().iter().flat_map(of_plugin).chain(always()).chain(own()).collect();
    rows.sort_by(|one, other| (&one.name, &one.from).cmp(&(&other.name, &other.from)));
    rows
}

fn ticked(labels: &[String]) -> String {
    labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ")
}

/// docs/metrics.md.
fn page(rows: &[Row]) -> String {
    let mut page = "# Every metric\n\n\
         Written by tests/command/inventory.rs from what the code defines; do not edit. To the labels of a\n\
         plugin's families come those of its context options. A family without a series is left out of the\n\
         exposition.\n\n\
         | family | from plugin | type | labels of its own | help |\n|---|---|---|---|---|\n"
        .to_owned();
    for Row { name, from, kind, labels, help, .. } in rows {
        writeln!(page, "| `{name}` | {from} | {kind} | {} | {help} |", ticked(labels)).unwrap();
    }
    let with_option = plugins::all().iter().filter(|plugin| plugin.options.contains(&BUCKETS));
    let with_option: Vec<_> = with_option.map(|plugin| format!("`{}`", plugin.name)).collect();
    let plugins = with_option.join(", ");
    write!(
        page,
        "\n## Buckets\n\n\
         Upper bounds of the histograms, in seconds; `+Inf` follows. The option `{BUCKETS}` sets others for\n\
         {plugins}: `{BUCKETS}=0.001|0.01|0.1`.\n\n\
         | family | from plugin | upper bounds |\n|---|---|---|\n"
    )
    .unwrap();
    for Row { name, from, bounds, .. } in rows.iter().filter(|row| !row.bounds.is_empty()) {
        let bounds: Vec<_> = bounds.iter().map(f64::to_string).collect();
        writeln!(page, "| `{name}` | {from} | {} |", bounds.join(", ")).unwrap();
    }
    page + &layer7()
}

/// The values of the labels of layer 7 that are more than a word in the help.
fn layer7() -> String {
    let mut page = "\n## Layer 7: values of labels\n\n\
         Of the families `webb_l7_*`. What reaches user space is a record; a message is what counts. With\n\
         `l7.http_side` and `l7.dns_side` as they are by default, the segments of a connection between two\n\
         watched pods come from both interfaces: one side's are messages, the other's `other_side`.\n\n\
         | families and label | value | meaning |\n|---|---|---|\n"
        .to_owned();
    macro_rules! values {
        ($($families:literal of $values:ident,)+) => {$(
            for value in l7::$values::ALL {
                writeln!(page, "| {} | `{}` | {} |", $families, value.label(), value.meaning()).unwrap();
            }
        )+};
    }
    values! {
        "`protocol` of all" of MessageProtocol,
        "`webb_l7_records_total`: `outcome`" of RecordOutcome,
        "`webb_l7_messages_total`: `type`" of MessageType,
        "`webb_l7_messages_total`: `outcome`" of MessageOutcome,
        "`webb_l7_unanswered_total`: `reason`" of Unanswered,
        "`webb_l7_doubts_total`: `reason`" of Doubt,
        "`webb_l7_unparsed_total`: `reason`" of Unparsed,
        "`webb_l7_abandoned_total`: `reason`" of Abandoned,
        "`webb_l7_cut_total`: `type`" of Cut,
    }
    page
}

/// The table between the marks of docs/choosing-metrics.md: each plugin's families, and what is
/// always there.
fn table() -> String {
    let mut table = "\n| plugin | family | labels of its own | options |\n|---|---|---|---|\n".to_owned();
    for plugin in plugins::all() {
        let mut name = format!("`{}`", plugin.name);
        let mut options = plugin.options.iter().map(|option| format!("`{option}`")).collect::<Vec<_>>().join(", ");
        if let Some(conflict) = plugin.conflict {
            write!(name, " (not beside `{conflict}`)").unwrap();
        }
        for row in of_plugin(plugin) {
            let (name, options) = (std::mem::take(&mut name), std::mem::take(&mut options));
            writeln!(table, "| {name} | `{}` | {} | {options} |", row.name, ticked(&row.labels)).unwrap();
        }
    }
    for row in always().iter().filter(|row| row.name.starts_with("hubble_")) {
        writeln!(table, "| always | `{}` | {} | |", row.name, ticked(&row.labels)).unwrap();
    }
    for def in exports::metrics::ALL {
        writeln!(table, "| always | `{}` | {} | |", def.name, ticked(&own_labels(def))).unwrap();
    }
    let mut groups: BTreeMap<String, usize> = BTreeMap::new();
    for def in selfmetrics::ALL {
        let group = def.name.split('_').take(2).collect::<Vec<_>>().join("_");
        *groups.entry(group).or_default() += 1;
    }
    let groups: Vec<String> = groups.iter().map(|(group, count)| format!("`{group}*` ({count})")).collect();
    writeln!(table, "| always | {} | [metrics.md](metrics.md) | |\n", groups.join(", ")).unwrap();
    table
}

/// A golden file under the project's root is as the code says; with `INSTA_UPDATE=always`, as for
/// all golden files, it is made so.
pub(crate) fn golden(path: &str, wanted: impl FnOnce(&str) -> String) {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    let found = fs::read_to_string(&path).unwrap_or_default();
    let wanted = wanted(&found);
    if std::env::var("INSTA_UPDATE").is_ok_and(|mode| mode == "always") {
        fs::write(&path, wanted).unwrap();
    } else {
        assert!(found == wanted, "{path} is not as the code says: run `make golden` and read the difference");
    }
}

/// Nothing is exposed that the inventory does not have, and a metric is not renamed by accident.
#[test]
fn the_inventory_is_as_written_down() {
    golden("docs/metrics.md", |_| page(&inventory()));
}

/// The text between two marks of a page, replaced.
pub(crate) fn between(page: &str, begin: &str, end: &str, wanted: &str) -> String {
    let (before, rest) = page.split_once(begin).unwrap_or_else(|| panic!("the page has no line {begin}"));
    let (_, after) = rest.split_once(end).unwrap_or_else(|| panic!("the page has no line {end}"));
    format!("{before}{begin}{wanted}{end}{after}")
}

/// The page on metrics tells of those that there are.
#[test]
fn the_page_has_the_table() {
    golden("docs/choosing-metrics.md", |page| between(page, BEGIN, END, &table()));
}

/// A family that two plugins expose means the same in both.
#[test]
fn one_name_has_one_help_and_one_type() {
    let mut known: BTreeMap<String, (String, &str)> = BTreeMap::new();
    for row in inventory() {
        let is = (row.help, row.kind);
        let was = known.entry(row.name.clone()).or_insert_with(|| is.clone());
        assert_eq!(*was, is, "{}", row.name);
    }
}

/// Labels say the same with the same word, as Cilium's own metrics do: `outcome` for what became of
/// a thing, `reason` for why. `kind` is a kind of Kubernetes object.
#[test]
fn labels_have_the_fields_names() {
    const OTHER_WORDS: [&str; 5] = ["fate", "result", "status", "way", "why"];
    for family in webb::selfmetrics::ALL {
        let wrong = family.labels.iter().find(|label| OTHER_WORDS.contains(label));
        assert_eq!(wrong, None, "{}: `outcome` or `reason`", family.name);
        let of_objects = family.name.starts_with("webb_cluster_");
        assert!(of_objects || !family.labels.contains(&"kind"), "{}: `type`, if it is no kind of object", family.name);
    }
}
