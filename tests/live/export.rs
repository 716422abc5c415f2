//! Flow logs of a running agent, confined as it is: what known traffic writes, what a stop writes.

use std::fs;

use crate::harness::{Agent, DEATHSTAR_A, Lab, METRICS, QUICK, TIEFIGHTER};

/// Without an observer's API, known traffic is in the file of the settings and in that of a file of
/// exporters that comes later; metrics of both are exposed; at the end every line is whole, and
/// none of the flows is missing.
#[test]
fn known_traffic_is_written() {
    let Some(lab) = Lab::up() else { return };
    let logs = lab.dir.path().join("logs");
    let file = lab.dir.path().join("flowlogs.yaml");
    let text =
        format!("{QUICK}export: {{ directory: {}, file_path: all.log, config: {} }}\n", logs.display(), file.display());
    let config = lab.file("export.yaml", &text);
    let mut agent = Agent::start_at(&lab, "node", METRICS, &["--config", config.to_str().unwrap()]);
    lab.file(
        "flowlogs.yaml",
        "flowLogs:\n- name: tiefighter\n  filePath: tiefighter.log\n  fieldMask: [source.pod_name, destination.pod_name]\n  \
         includeFilters: [{source_pod: [default/tiefighter], reply: [false]}]\n",
    );
    agent.wait_until("the exporter of the file runs", |agent| {
        agent.scrape().sum("hubble_dynamic_exporter_up", &[("name", "tiefighter")]) == 1
    });
    lab.run("tiefighter", "pod land 10.244.1.11:80");
    let read = |name: &str| fs::read_to_string(logs.join(name)).unwrap_or_default();
    let (source, destination) = (TIEFIGHTER.rsplit('/').next().unwrap(), DEATHSTAR_A.rsplit('/').next().unwrap());
    let line = format!(
        "{{\"flow\":{{\"source\":{{\"pod_name\":\"{source}\"}},\"destination\":{{\"pod_name\":\"{destination}\"}}}}}}\n"
    );
    agent.wait_until("the flow is written", |_| read("tiefighter.log").contains(&line));
    agent.wait_until("it is in the other file too", |_| {
        read("all.log").lines().any(|line| line.contains(source) && line.contains(destination))
    });
    agent.settles(|scrape| {
        let lines = scrape.sum("webb_export_lines_total", &[("exporter", "static")]);
        let recorded = scrape.sum("webb_observer_recorded_flows_total", &[]);
        let lost = scrape.sum("webb_export_lost_events_total", &[]);
        if lines > 0 && lines == recorded && lost == 0 {
            Ok(())
        } else {
            Err(format!("{lines} lines of {recorded} flows, {lost} lost"))
        }
    });
    let scrape = agent.scrape();
    assert_eq!(scrape.sum("hubble_dynamic_exporter_exporters_total", &[("status", "active")]), 1);
    assert_eq!(scrape.sum("hubble_dynamic_exporter_reconfigurations_total", &[("op", "add")]), 1);
    agent.signal("TERM");
    assert!(agent.ended().success());
    for line in read("all.log").lines() {
        assert!(line.starts_with("{\"flow\":{\"time\":\"") && line.ends_with("Z\"}"), "{line}");
    }
}
