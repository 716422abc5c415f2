//! `webb replay` as people run it: exit codes, what goes where, packed input, serving.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};

use webb_observer::json_write;
use webb_observer::proto::observer::get_flows_response::ResponseTypes;
use webb_observer::proto::observer::observer_client::ObserverClient;
use webb_observer::proto::observer::{GetFlowsRequest, GetNodesRequest};
use webb_observer::schema::schema;

const FLOW: &str = r#"{"flow":{"verdict":"FORWARDED","event_type":{"type":4}}}"#;
const COUNTED: &str =
    r#"hubble_flows_processed_total{protocol="Unknown L4",subtype="to-endpoint",type="Trace",verdict="FORWARDED"}"#;

fn webb(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_webb"))
        .arg("replay")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program may have ended before it read anything.
    let _written = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bad lines are named with file, line and reason, twenty of them; all are counted, and the rest of
/// the file counts.
#[test]
fn bad_lines_are_named_counted_and_skipped() {
    let input = format!("{FLOW}\n{}{FLOW}\n", "{\"flow\":7}\n".repeat(50));
    let output = webb(&["--metrics", "flow", "-"], input.as_bytes());
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains(&format!("{COUNTED} 2\n")), "{}", text(&output.stdout));
    let errors = text(&output.stderr);
    let named = "standard input: line 2: flow: expected an object, found a number (column 9)";
    assert_eq!(errors.lines().next(), Some(named));
    assert_eq!(errors.lines().count(), 21, "{errors}");
    assert_eq!(errors.lines().last(), Some("50 of 52 lines could not be read and are left out"));
}

/// A name that only a newer Hubble knows is shown as it was written, in whatever label it stands.
#[test]
fn unknown_names_stay_names() {
    let dropped = |reason: &str| {
        format!(
            r#"{{"flow":{{"verdict":"DROPPED","event_type":{{"type":1}},"drop_reason_desc":{reason},"l4":{{"TCP":{{}}}}}}}}"#
        )
    };
    let lines = [
        dropped("\"SOME_FUTURE_REASON\""),
        dropped("\"Policy denied\""),
        dropped("206"),
        r#"{"flow":{"verdict":"FLYING","event_type":{"type":5},"traffic_direction":"SIDEWAYS"}}"#.to_owned(),
    ];
    let output = webb(&["--metrics", "drop policy", "-"], lines.join("\n").as_bytes());
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let shown = text(&output.stdout);
    for line in [
        r#"hubble_drop_total{protocol="TCP",reason="SOME_FUTURE_REASON"} 1"#,
        r#"hubble_drop_total{protocol="TCP",reason="Policy denied"} 1"#,
        r#"hubble_drop_total{protocol="TCP",reason="206"} 1"#,
        r#"hubble_policy_verdicts_total{action="flying",direction="sideways",match="none"} 1"#,
    ] {
        assert!(shown.lines().any(|found| found == line), "{line} is missing from\n{shown}");
    }
}

/// `--strict` ends at the first bad line, with 65 and without metrics that would be taken for the
/// whole.
#[test]
fn strict_stops_at_the_first_bad_line() {
    let input = format!("{FLOW}\nx\ny\n");
    let output = webb(&["--strict", "--metrics", "flow", "-"], input.as_bytes());
    assert_eq!(output.status.code(), Some(65));
    assert_eq!(text(&output.stdout), "");
    assert_eq!(text(&output.stderr), "standard input: line 2: expected an object, found 'x' (column 1)\n");
    let output = webb(&["--strict", "--metrics", "flow", "-"], FLOW.as_bytes());
    assert_eq!(output.status.code(), Some(0));
}

/// Mistakes that are found before anything is read have their own codes.
#[test]
fn mistakes_have_their_codes() {
    for (arguments, code, why) in [
        (&["--metrics", "flow", "/no/such/file"][..], 66, "/no/such/file: cannot be read"),
        (&["--metrics", "flow:sourceContext=nobody", "-"], 64, "unknown context 'nobody'"),
        (&["--metrics-config", "/no/such/file", "-"], 64, "/no/such/file"),
        (&["--metrics", "flow", "--metrics-config", "x", "-"], 64, "cannot be used with"),
        (&[], 64, "FILE"),
    ] {
        let output = webb(arguments, b"");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(why), "{arguments:?}: {}", text(&output.stderr));
    }
}

/// Packed or not, the same flows give the same metrics; a file that is cut short counts as far as
/// it goes and says so.
#[test]
fn packed_input() {
    let plain = format!("{FLOW}\n").repeat(3).into_bytes();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
    for input in [&plain, &gzip, &zstd] {
        let output = webb(&["--metrics", "flow", "-"], input);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains(&format!("{COUNTED} 3\n")), "{}", text(&output.stdout));
    }
    let output = webb(&["--metrics", "flow", "-"], &gzip[..gzip.len() - 5]);
    assert_eq!(output.status.code(), Some(66));
    assert!(text(&output.stderr).starts_with("standard input: cannot be read after line 3: "));
}

/// Head of an answer, in lower case, and its body, which comes in chunks.
fn read_answer(stream: TcpStream) -> (String, Vec<u8>) {
    let mut stream = BufReader::new(stream);
    let (mut head, mut body) = (String::new(), Vec::new());
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).unwrap(), 0, "{head}");
    }
    loop {
        let mut size = String::new();
        stream.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let start = body.len();
        body.resize(start + size + 2, 0);
        stream.read_exact(&mut body[start..]).unwrap();
        body.truncate(start + size);
        if size == 0 {
            return (head.to_lowercase(), body);
        }
    }
}

/// Some editors put a byte order mark before a file's first line: it is no part of the first flow.
#[test]
fn a_byte_order_mark_costs_no_flow() {
    let output = webb(&["--metrics", "flow", "-"], format!("\u{feff}{FLOW}\n").as_bytes());
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    assert!(text(&output.stdout).contains(&format!("{COUNTED} 1\n")), "{}", text(&output.stdout));
}

/// A file that cannot be read ends `--serve` before it begins: no scraper would see that a part is
/// missing.
#[test]
fn a_part_is_not_served() {
    let output = webb(&["--metrics", "flow", "--serve", "127.0.0.1:0", "-", "/nowhere/flows.json"], FLOW.as_bytes());
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(66), "{errors}");
    assert!(errors.ends_with("not served: not every file could be read to its end\n"), "{errors}");
}

/// `--serve` answers a scraper in the format it asks for, and packed if it asks for that.
#[test]
fn served_instead_of_printed() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_webb"))
        .args(["replay", "--metrics", "flow", "--serve", "127.0.0.1:0", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(FLOW.as_bytes()).unwrap();
    let mut said = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap();
    let address = said.trim().trim_start_matches("serving http://").trim_end_matches("/metrics").to_owned();
    let get = |accept: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{accept}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        read_answer(stream)
    };
    let (plain_head, plain) = get("Accept: text/plain");
    let plain = text(&plain);
    let (openmetrics_head, openmetrics) = get("Accept: application/openmetrics-text;version=1.0.0");
    let openmetrics = text(&openmetrics);
    let (gzip_head, gzip) = get("Accept-Encoding: gzip");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(plain_head.contains("text/plain; version=0.0.4") && plain.ends_with("} 0\n"), "{plain}");
    assert!(plain.contains(&format!("{COUNTED} 1\n")), "{plain}");
    assert!(
        openmetrics_head.contains("application/openmetrics-text") && openmetrics.ends_with("# EOF\n"),
        "{openmetrics}"
    );
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(gzip.as_slice()).read_to_string(&mut unpacked).unwrap();
    assert!(gzip_head.contains("content-encoding: gzip"), "{gzip_head}");
    assert_eq!(plain, unpacked);
}

/// `--observe` serves the last flows of a file by Hubble's API until it is asked to end, and takes
/// its socket along.
#[test]
fn flows_are_served_by_hubbles_api() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("flows.sock");
    let address = format!("unix://{}", socket.display());
    let mut child = Command::new(env!("CARGO_BIN_EXE_webb"))
        .args(["replay", "--observe", &address, "--history", "2", "--node", "here", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let flow = |uuid: &str| format!(r#"{{"flow":{{"uuid":"{uuid}","Summary":"TCP","socket_cookie":"7"}}}}"#);
    let input = [flow("a"), flow("b"), "x".to_owned(), flow("c")].join("\n");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert_eq!(errors.next().unwrap(), "standard input: line 3: expected an object, found 'x' (column 1)");
    assert_eq!(errors.next().unwrap(), "1 of 4 lines could not be read and are left out");
    assert_eq!(errors.next().unwrap(), format!("serving {address}"));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = ObserverClient::connect(address).await.unwrap();
        let nodes = client.get_nodes(GetNodesRequest {}).await.unwrap().into_inner().nodes;
        assert_eq!((nodes[0].name.as_str(), nodes[0].num_flows, nodes[0].seen_flows), ("here", 2, 3));
        let mut flows = client.get_flows(GetFlowsRequest::default()).await.unwrap().into_inner();
        let mut served = Vec::new();
        while let Some(response) = flows.message().await.unwrap() {
            let Some(ResponseTypes::Flow(flow)) = response.response_types else { panic!("a flow is missing") };
            let mut json = Vec::new();
            json_write::write(&flow, schema().message("flow.Flow"), &mut json);
            served.push(text(&json));
        }
        let wanted = |uuid: &str| format!(r#"{{"uuid":"{uuid}","socket_cookie":"7","Summary":"TCP"}}"#);
        assert_eq!(served, [wanted("b"), wanted("c")]);
    });
    drop(runtime);

    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!socket.exists());
}
