//! `webb check-config --send`: what receivers get, and what is printed of their answers.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;

use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message as _;
use webb::app;
use webb_settings::{Checked, check_file};

/// Answers one request, and returns it.
fn answer(listener: &TcpListener, status: &str) -> ExportLogsServiceRequest {
    let (mut stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut length, mut line) = (0, String::new());
    while reader.read_line(&mut line).unwrap() > 2 {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").unwrap();
    let mut plain = Vec::new();
    GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
    ExportLogsServiceRequest::decode(&plain[..]).unwrap()
}

/// Each output gets one heartbeat of this cluster; what is printed says which receiver takes it,
/// which refuses, and which is not there, also as JSON. Without `--send` nothing is sent.
#[test]
fn heartbeats_are_sent_and_answers_printed() {
    let directory = tempfile::tempdir().unwrap();
    let [good, bad, away] = [0; 3].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let [good_at, bad_at, away_at] = [&good, &bad, &away].map(|listener| listener.local_addr().unwrap());
    drop(away);
    let one = |name: &str, at| format!("- {{name: {name}, endpoint: 'http://{at}', protocol: http/protobuf}}\n");
    let outputs = directory.path().join("outputs.yaml");
    let text = format!("otlp:\n{}{}{}", one("good", good_at), one("bad", bad_at), one("away", away_at));
    std::fs::write(&outputs, text).unwrap();
    let config = directory.path().join("webb.yaml");
    std::fs::write(&config, format!("cluster_name: empire\noutputs_config: {}\n", outputs.display())).unwrap();

    let check = |json| {
        let mut out = Vec::new();
        let checked = check_file(&config, json, (&app::check, Some(&app::send_heartbeats)), &mut out).unwrap();
        (checked, String::from_utf8(out).unwrap())
    };
    std::thread::scope(|scope| {
        let receivers = [(&good, "200 OK"), (&bad, "403 Forbidden")];
        let receivers = receivers
            .map(|(listener, status)| scope.spawn(move || [answer(listener, status), answer(listener, status)]));
        // Both, before anything fails: the receivers wait for them.
        let [(checked, printed), (checked_as_json, json)] = [false, true].map(check);
        assert_eq!(checked, Checked::Failed);
        for expected in [
            format!("output good, rollups: sent: http://{good_at} answers 200"),
            format!("output bad, rollups: failed: http://{bad_at} answers 403"),
            format!("output away, rollups: failed: no delivery to http://{away_at}: "),
        ] {
            assert!(printed.contains(&expected), "{expected}: {printed}");
        }
        let report: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((checked_as_json, &report["valid"]), (Checked::Failed, &true.into()));
        let succeeded: Vec<_> = report["sent"].as_array().unwrap().iter().map(|one| &one["succeeded"]).collect();
        assert_eq!(succeeded, [&true, &false, &false]);
        for requests in receivers.map(|receiver| receiver.join().unwrap()) {
            for request in requests {
                let logs = &request.resource_logs[0];
                let resource = format!("{:?}", logs.resource);
                assert!(resource.contains("k8s.cluster.name") && resource.contains("empire"), "{resource}");
                let records = &logs.scope_logs[0].log_records;
                assert_eq!((records.len(), records[0].event_name.as_str()), (1, "webb.heartbeat"));
            }
        }
    });
    let mut out = Vec::new();
    let checked = check_file(&config, false, (&app::check, None), &mut out).unwrap();
    assert!(checked == Checked::Valid && !String::from_utf8(out).unwrap().contains("good"));
}

/// An output gets a heartbeat in each stream that is sent to it, as the stream's records are: with
/// its scope, and answered apart.
#[test]
fn each_stream_gets_a_heartbeat() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let outputs = directory.path().join("outputs.yaml");
    let one = |name: &str, streams: &str| {
        format!("- {{name: {name}, endpoint: 'http://{at}', protocol: http/protobuf, streams: {streams}}}\n")
    };
    let text = format!("flows: {{}}\notlp:\n{}{}", one("both", "[rollups, flows]"), one("some", "[flows]"));
    std::fs::write(&outputs, text).unwrap();
    let config = directory.path().join("webb.yaml");
    std::fs::write(&config, format!("outputs_config: {}\n", outputs.display())).unwrap();
    let mut out = Vec::new();
    let requests = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| ["200 OK", "403 Forbidden", "200 OK"].map(|status| answer(&listener, status)));
        check_file(&config, true, (&app::check, Some(&app::send_heartbeats)), &mut out).unwrap();
        receiver.join().unwrap()
    });
    let report: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let trials = report["sent"].as_array().unwrap().iter();
    let trials: Vec<_> = trials.map(|one| (&one["output"], &one["stream"], one["succeeded"] == true)).collect();
    let [both, some, rollups, flows] = ["both", "some", "rollups", "flows"].map(serde_json::Value::from);
    assert_eq!(trials, [(&both, &rollups, true), (&both, &flows, false), (&some, &flows, true)]);
    let scopes = requests.map(|request| request.resource_logs[0].scope_logs[0].scope.clone().unwrap().name);
    assert_eq!(scopes, ["webb.rollups", "webb.flows", "webb.flows"]);
}

/// Without outputs there is nothing to send, and that is said.
#[test]
fn nothing_is_sent_without_outputs() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("webb.yaml");
    std::fs::write(&config, "").unwrap();
    let mut out = Vec::new();
    let checked = check_file(&config, false, (&app::check, Some(&app::send_heartbeats)), &mut out).unwrap();
    let printed = String::from_utf8(out).unwrap();
    assert!(
        checked == Checked::Valid && printed.ends_with("Nothing was sent: no output and stream is configured.\n"),
        "{printed}"
    );
}
