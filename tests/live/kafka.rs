//! Rows and flows of real packets, as a broker of Kafka gets them from a running agent.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::harness::{Agent, Lab, QUICK};
use crate::rollups::{Row, records, settled, sum};
use crate::scrape::Scrape;

const RECORDS: &str = "webb_output_records_total";
const WAITING: &str = "webb_output_waiting_records";

/// The two streams.
const STREAMS: [&str; 2] = ["rollups", "flows"];

fn broker(lab: &Lab) -> Broker {
    Broker::on(lab.listener("node", "127.0.0.1:0"), None)
}

/// Writes the file of outputs: these sections, and a broker with these keys.
fn write(lab: &Lab, sections: &str, broker: &Broker, more: &str) -> String {
    let port = broker.port;
    let kafka = format!("kafka:\n- {{name: lab, brokers: ['127.0.0.1:{port}'], {more}}}\n");
    lab.file("outputs.yaml", &format!("{sections}\n{kafka}")).display().to_string()
}

fn start(lab: &Lab, outputs: &str) -> Agent {
    let mut agent = Agent::start_with(lab, &format!("{QUICK}outputs_config: {outputs}\n"));
    has_applied(&mut agent, 1);
    agent
}

/// Waits until so many contents of the file of outputs are in use, one after the other.
fn has_applied(agent: &mut Agent, contents: u64) {
    agent.wait_until("the outputs are those of the file", |agent| {
        agent.scrape().sum("webb_outputs_config_reloads_total", &[("outcome", "applied")]) == contents
    });
}

/// Opens connections, and some that the policy denies.
fn traffic(lab: &Lab, rounds: u64) {
    lab.run("tiefighter", &format!("pod land --rounds {rounds} 10.244.1.11:80"));
    lab.try_run("xwing", "timeout 0.4 pod land --rounds 1 10.244.1.11:80");
}

/// All records of brokers with their topic, as they came; the key of their message is their node.
fn rows(brokers: &[&Broker]) -> Vec<Row> {
    let mut rows = Vec::new();
    for broker in brokers {
        for message in &broker.rules().messages {
            for mut row in records(&message.value) {
                assert_eq!(row["k8s.node.name"].as_bytes(), message.key);
                row.insert("topic".to_owned(), message.topic.clone());
                rows.push(row);
            }
        }
    }
    rows
}

/// Each record once: those that came again are the same to the letter.
fn distinct(rows: Vec<Row>) -> Vec<Row> {
    let mut by_uid = BTreeMap::new();
    for row in rows {
        let uid = row["log.record.uid"].clone();
        let first = by_uid.entry(uid).or_insert_with(|| row.clone());
        assert_eq!(*first, row, "an id of two records");
    }
    by_uid.into_values().collect()
}

/// Connections from tiefighter to deathstar, each once for each of its two reports.
fn opened(rows: &[Row]) -> u64 {
    let empire = [("source.k8s.owner.name", "tiefighter"), ("destination.k8s.owner.name", "deathstar")];
    sum(rows, "webb.connections.opened", &empire)
}

fn flows(rows: &[Row]) -> u64 {
    rows.iter().filter(|row| row["event"] == "webb.flow").count() as u64
}

fn of(scrape: &Scrape, stream: &str, outcome: &str) -> u64 {
    scrape.sum(RECORDS, &[("stream", stream), ("outcome", outcome)])
}

/// The ledger of both streams is closed: nothing was rejected or dropped.
fn is_closed(scrape: &Scrape) -> Result<(), String> {
    for stream in STREAMS {
        let waiting = scrape.sum(WAITING, &[("stream", stream)]);
        let all = scrape.sum(RECORDS, &[("stream", stream)]);
        let (offered, delivered) = (of(scrape, stream, "offered"), of(scrape, stream, "delivered"));
        if offered != delivered + waiting || all != offered + delivered {
            return Err(format!("{stream}: {offered} offered, {delivered} delivered, {waiting} waiting, {all} in all"));
        }
    }
    Ok(())
}

/// Waits until the records have what the metrics have, and all flows; the ledger is closed then.
fn arrived(agent: &mut Agent, brokers: &[&Broker]) -> Vec<Row> {
    settled(agent, || distinct(rows(brokers)));
    agent.settles(|scrape| {
        is_closed(scrape)?;
        let found = flows(&distinct(rows(brokers)));
        let offered = of(scrape, "flows", "offered");
        let included = scrape.sum("webb_output_flows_total", &[("outcome", "included")]);
        let is_whole = found == offered && found == included && of(scrape, "flows", "delivered") == found;
        if is_whole { Ok(()) } else { Err(format!("{included} flows, {offered} offered, {found} found")) }
    });
    rows(brokers)
}

/// Rows and flows arrive once, each stream in its topic. With another topic, and then with another
/// broker, in the file the agent goes on there: what came last and what waits is in one of both.
#[test]
fn records_arrive_once_and_follow_the_file() {
    let Some(lab) = Lab::up() else { return };
    let (first, second) = (broker(&lab), broker(&lab));
    let (sections, linger) = ("rollups: {window: 1s}\nflows: {}", "batch: {linger: 100ms}");
    let mut agent = start(&lab, &write(&lab, sections, &first, linger));
    traffic(&lab, 10);
    let found = arrived(&mut agent, &[&first]);
    assert_eq!((opened(&found), flows(&found) > 0), (20, true));
    assert_eq!(distinct(found.clone()).len(), found.len(), "each once");
    for row in &found {
        let topic = if row["event"] == "webb.flow" { "webb.flows" } else { "webb.rollups" };
        assert_eq!(row["topic"], topic, "{row:?}");
    }

    traffic(&lab, 10);
    let topics = format!("topics: {{rollups: other.rows, flows: other.flows}}, {linger}");
    write(&lab, sections, &first, &topics);
    agent.signal("HUP");
    has_applied(&mut agent, 2);
    traffic(&lab, 10);
    write(&lab, sections, &second, &topics);
    agent.signal("HUP");
    has_applied(&mut agent, 3);
    traffic(&lab, 10);
    let found = arrived(&mut agent, &[&first, &second]);
    assert_eq!(opened(&found), 80);
    assert_eq!(distinct(found.clone()).len(), found.len(), "each once");
    let topics = |broker: &Broker| {
        let mut topics: Vec<String> = rows(&[broker]).into_iter().map(|row| row["topic"].clone()).collect();
        topics.sort();
        topics.dedup();
        topics
    };
    let all: Vec<String> = topics(&first);
    assert!(all.contains(&"other.rows".to_owned()) && all.contains(&"webb.rollups".to_owned()), "{all:?}");
    assert_eq!(topics(&second), ["other.flows", "other.rows"]);
}

/// While a broker stands still the agent counts on and its metrics answer; when the broker goes on
/// it gets all, and what it has twice has one id. An agent that ends sends the rows of its window
/// and the flows that it holds.
#[test]
fn a_standstill_and_an_end_lose_nothing() {
    let Some(lab) = Lab::up() else { return };
    let broker = broker(&lab);
    let more = "timeout: 500ms, retry: {min: 10ms, max: 100ms}, batch: {linger: 100ms}";
    let sections = "rollups: {window: 1s}\nflows: {}";
    let mut agent = start(&lab, &write(&lab, sections, &broker, more));
    traffic(&lab, 5);
    arrived(&mut agent, &[&broker]);
    // Nothing answers meanwhile.
    let still = broker.rules();
    traffic(&lab, 5);
    agent.settles(|scrape| {
        is_closed(scrape)?;
        let waiting = STREAMS.map(|stream| scrape.sum(WAITING, &[("stream", stream)]));
        let timeouts = scrape.sum("webb_output_requests_total", &[("code", "timeout")]);
        let is_still = waiting.iter().all(|count| *count > 0) && timeouts > 0;
        if is_still { Ok(()) } else { Err(format!("{waiting:?} waiting, {timeouts} timeouts")) }
    });
    assert_eq!(agent.get("/readyz").unwrap().status, 200);
    drop(still);
    assert_eq!(opened(&distinct(arrived(&mut agent, &[&broker]))), 20);

    write(&lab, "rollups: {window: 1h}\nflows: {}", &broker, "batch: {linger: 1m}");
    agent.signal("HUP");
    has_applied(&mut agent, 2);
    let before = flows(&distinct(rows(&[&broker])));
    traffic(&lab, 5);
    let scrape = agent.settles(|scrape| {
        let denied = scrape.sum("webb_output_flows_total", &[("outcome", "included")]);
        if denied > before { Ok(()) } else { Err(format!("{denied} of more than {before} flows")) }
    });
    let included = scrape.sum("webb_output_flows_total", &[("outcome", "included")]);
    let told = Instant::now();
    agent.signal("TERM");
    assert!(agent.ended().success(), "{}", agent.log());
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
    let found = distinct(rows(&[&broker]));
    assert_eq!((opened(&found), flows(&found)), (30, included), "{}", agent.log());
}

/// An agent that is killed leaves what its broker did not take in its directory. The next one sends
/// it, beside its own, and no id is that of two records.
#[test]
fn the_next_agent_sends_what_a_killed_one_left() {
    let Some(lab) = Lab::up() else { return };
    let broker = broker(&lab);
    let more = format!(
        "timeout: 500ms, retry: {{min: 10ms, max: 100ms}}, batch: {{linger: 100ms}}, spool: {{directory: {}}}",
        lab.dir.path().join("spool").display()
    );
    let outputs = write(&lab, "rollups: {window: 1s}\nflows: {}", &broker, &more);
    let still = broker.rules();
    let mut agent = start(&lab, &outputs);
    traffic(&lab, 10);
    let scrape = agent.settles(|scrape| {
        is_closed(scrape)?;
        let offered = STREAMS.map(|stream| of(scrape, stream, "offered"));
        let files = scrape.sum("webb_output_spool_files", &[]);
        let counted = scrape.sum("hubble_drop_total", &[("reason", "POLICY_DENIED")]);
        let is_there = offered.iter().all(|count| *count > 0) && files > 0 && counted > 0;
        if is_there { Ok(()) } else { Err(format!("{offered:?} offered, {files} files, {counted} denied")) }
    });
    agent.signal("KILL");
    agent.ended();
    let killed = STREAMS.map(|stream| of(&scrape, stream, "offered"));
    let mut agent = start(&lab, &outputs);
    traffic(&lab, 10);
    drop(still);
    agent.wait_until("nothing waits in files", |agent| {
        let scrape = agent.scrape();
        is_closed(&scrape).unwrap();
        scrape.sum("webb_output_spool_files", &[]) == 0 && scrape.sum(WAITING, &[]) == 0
    });
    let found = distinct(rows(&[&broker]));
    for (stream, offered) in STREAMS.into_iter().zip(killed) {
        let of_stream = found.iter().filter(|row| row["topic"] == format!("webb.{stream}"));
        let mut by_instance: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for row in of_stream {
            by_instance.entry(&row["service.instance.id"]).or_default().push(&row["time"]);
        }
        assert_eq!(by_instance.len(), 2, "{stream}: those of two agents");
        // What came after the scrape is more.
        let first = by_instance.values().min_by_key(|times| times.iter().min()).unwrap();
        assert!(first.len() as u64 >= offered, "{stream}: {offered} offered, {} found", first.len());
    }

    // Under Landlock only what was in the file when the agent started may be written.
    let is_confined = agent.scrape().sum("webb_privileges_restricted", &[("type", "landlock")]) == 1;
    let other = lab.dir.path().join("other");
    write(&lab, "", &broker, &more.replace("/spool}", "/other}"));
    agent.signal("HUP");
    if is_confined {
        agent.wait_until("the refusal is explained", |agent| agent.log().contains("Landlock: this path"));
    } else {
        agent.wait_until("the directory is made", |_| other.exists());
    }
    assert_eq!(other.exists(), !is_confined, "{}", agent.log());
}
