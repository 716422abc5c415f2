//! Each answer that a receiver can give, and what becomes of the records.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use prost::Message as _;
use webb_otlp::{Encoding, Loss, OutputConfig, RetryConfig, Stream};

use crate::common::{Running, config, output, request, sized, sorted, wait_for};
use crate::receiver::{Receiver, Reply, number};

/// What is expected of ten records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// They are delivered with this attempt.
    Delivered(usize),
    /// They are refused with this attempt.
    Refused(usize),
}

fn outcome(receiver: &Receiver, replies: Vec<Reply>) -> Outcome {
    let before = receiver.came().len();
    receiver.reply(replies);
    let running = Running::start(output(config(receiver)));
    running.offer([request(Stream::Flows, Encoding::Gzip, 0..10)]);
    let ledger = running.settled();
    receiver.rules().replies.clear();
    let attempts = receiver.came().len() - before;
    match (ledger.delivered, ledger.dropped(Loss::Refused)) {
        (10, 0) => Outcome::Delivered(attempts),
        (0, 10) => Outcome::Refused(attempts),
        other => panic!("{other:?}"),
    }
}

/// Statuses of gRPC, in the headers and in trailers.
#[test]
fn statuses_of_grpc() {
    let receiver = Receiver::grpc();
    for trailers_only in [true, false] {
        let reply = |status| Reply::Grpc { status, message: "some%20text", details: None, trailers_only };
        for status in [1, 4, 8, 10, 11, 14, 15] {
            assert_eq!(outcome(&receiver, vec![reply(status); 4]), Outcome::Delivered(5), "{status}");
        }
        for status in [3, 5, 6, 7, 9, 13, 16] {
            assert_eq!(outcome(&receiver, vec![reply(status)]), Outcome::Refused(1), "{status}");
        }
        for status in [2, 99] {
            assert_eq!(outcome(&receiver, vec![reply(status); 2]), Outcome::Delivered(3), "{status}");
            assert_eq!(outcome(&receiver, vec![reply(status); 3]), Outcome::Refused(3), "{status}");
        }
    }
    // It may be about the encoding, whatever its text says.
    let unimplemented = Reply::grpc(12, "unknown service");
    assert_eq!(outcome(&receiver, vec![unimplemented.clone()]), Outcome::Delivered(2));
    assert_eq!(outcome(&receiver, vec![unimplemented; 2]), Outcome::Refused(2));
    // What is before the receiver answers by HTTP.
    assert_eq!(outcome(&receiver, vec![Reply::http(503); 2]), Outcome::Delivered(3));
    for status in [200, 404] {
        assert_eq!(outcome(&receiver, vec![Reply::http(status)]), Outcome::Refused(1), "{status}");
    }
}

/// A status in headers that do not end the stream is not that of the request: the one in trailers
/// is. If nothing at all follows it is, from servers that end a stream with an empty frame.
#[test]
fn the_last_status_counts() {
    let receiver = Receiver::grpc();
    let reply = |status, then| vec![Reply::GrpcEarly { status, then }];
    assert_eq!(outcome(&receiver, reply("0", Some(14))), Outcome::Delivered(2));
    assert_eq!(outcome(&receiver, reply("0", Some(3))), Outcome::Refused(1));
    assert_eq!(outcome(&receiver, reply("3", Some(0))), Outcome::Delivered(1));
    assert_eq!(outcome(&receiver, reply("0", None)), Outcome::Delivered(1));
    assert_eq!(outcome(&receiver, reply("3", None)), Outcome::Refused(1));
}

/// What is no status of gRPC is shown, and so is where a redirect leads; what has no text does not
/// end in a colon.
#[test]
fn odd_answers_of_grpc_are_said() {
    let receiver = Receiver::grpc();
    let location = |at: &str| vec![("location", at.to_owned())];
    for (reply, problem) in [
        (Reply::GrpcEarly { status: "-1", then: None }, "UNKNOWN: its grpc-status is \"-1\", and statuses are 0 to 16"),
        (Reply::GrpcEarly { status: "OK", then: None }, "UNKNOWN: its grpc-status is \"OK\", and statuses are 0 to 16"),
        (Reply::grpc(17, "who"), "UNKNOWN: its grpc-status is \"17\", and statuses are 0 to 16; who"),
        (
            Reply::Http { status: 302, headers: location("https://login"), body: Vec::new() },
            "302: the answer is not of gRPC (HTTP status 302): it redirects to https://login, and redirects are not \
             followed",
        ),
        (Reply::http(404), "404: the answer is not of gRPC (HTTP status 404)"),
    ] {
        receiver.rules().always = Some(reply.clone());
        let made = output(config(&receiver));
        let why = made.send_once(&request(Stream::Flows, Encoding::Gzip, 0..1)).unwrap_err();
        assert!(why.ends_with(&format!(" answers {problem}")), "{why}");
    }
}

/// Statuses of HTTP. Redirects are not followed.
#[test]
fn statuses_of_http() {
    let receiver = Receiver::http();
    for status in [429, 502, 503, 504] {
        assert_eq!(outcome(&receiver, vec![Reply::http(status); 4]), Outcome::Delivered(5), "{status}");
    }
    for status in [400, 401, 403, 404, 405, 418, 501] {
        assert_eq!(outcome(&receiver, vec![Reply::http(status)]), Outcome::Refused(1), "{status}");
    }
    assert_eq!(outcome(&receiver, vec![Reply::http(500); 2]), Outcome::Delivered(3));
    assert_eq!(outcome(&receiver, vec![Reply::http(500); 3]), Outcome::Refused(3));
    assert_eq!(outcome(&receiver, vec![Reply::http(202)]), Outcome::Delivered(1));
    let other = Receiver::http();
    for status in [301, 302, 307, 308] {
        let headers = vec![("location", format!("{}/v1/logs", other.url()))];
        assert_eq!(outcome(&receiver, vec![Reply::Http { status, headers, body: Vec::new() }]), Outcome::Refused(1));
    }
    assert!(other.came().is_empty());
}

/// The text of a refusal is what the owner is told.
#[test]
fn refusals_are_said() {
    let receiver = Receiver::http();
    let status = [&[8, 3, 18, 7][..], b"no\nroom"].concat();
    receiver.reply([Reply::Http { status: 400, headers: Vec::new(), body: status }]);
    let running = Running::start(output(config(&receiver)));
    running.offer([request(Stream::Flows, Encoding::Gzip, 0..10)]);
    running.has_problem("answers 400: no room");
    running.offer([request(Stream::Flows, Encoding::Gzip, 0..10)]);
    running.settled();
    running.has_problem("");
    let problems = running.owner.problems.lock().unwrap().clone();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert_eq!(problems[1], "");
}

/// `RetryInfo` in the details of a status, as base64.
fn retry_info(seconds: i64, nanos: i32) -> String {
    #[derive(prost::Message)]
    struct RetryInfo {
        #[prost(message, optional, tag = "1")]
        retry_delay: Option<prost_types::Duration>,
    }
    #[derive(prost::Message)]
    struct Status {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(string, tag = "2")]
        message: String,
        #[prost(message, repeated, tag = "3")]
        details: Vec<prost_types::Any>,
    }
    let any = |name: &str, value| prost_types::Any { type_url: format!("type.googleapis.com/{name}"), value };
    let info = RetryInfo { retry_delay: Some(prost_types::Duration { seconds, nanos }) };
    let details = vec![any("google.rpc.DebugInfo", vec![10, 1, 0]), any("google.rpc.RetryInfo", info.encode_to_vec())];
    let status = Status { code: 14, message: "later".to_owned(), details };
    base64::engine::general_purpose::STANDARD_NO_PAD.encode(status.encode_to_vec())
}

/// A receiver's wish for a time is followed, in each of its forms, up to the greatest wait.
#[test]
fn receivers_name_a_time() {
    let grpc = |seconds, nanos| Reply::Grpc {
        status: 8,
        message: "later",
        details: Some(retry_info(seconds, nanos)),
        trailers_only: false,
    };
    let http =
        |value: &str| Reply::Http { status: 503, headers: vec![("retry-after", value.to_owned())], body: Vec::new() };
    let (most, ms) = (Duration::from_secs(20), Duration::from_millis);
    let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3));
    for (receiver, reply, most, least) in [
        (Receiver::http(), http(&soon), most, ms(500)),
        (Receiver::grpc(), grpc(0, 700_000_000), most, ms(700)),
        (Receiver::grpc(), grpc(3600, 0), ms(600), ms(600)),
        (Receiver::http(), http("1"), most, ms(1000)),
        (Receiver::http(), http("3600"), ms(600), ms(600)),
    ] {
        receiver.reply([reply.clone()]);
        let retry = RetryConfig { min: ms(1), max: most };
        let running = Running::start(output(OutputConfig { retry, ..config(&receiver) }));
        running.offer([request(Stream::Flows, Encoding::Gzip, 0..10)]);
        running.settled();
        let came = receiver.came();
        let waited = came[1].at - came[0].at;
        assert!(waited >= least && waited < most + ms(10_000), "{waited:?}: {reply:?}");
    }
    // A date that is over, and what is no time, are no wish.
    for value in ["Sun, 06 Nov 1994 08:49:37 GMT", "soon", "-1"] {
        assert_eq!(outcome(&Receiver::http(), vec![http(value)]), Outcome::Delivered(2));
    }
    for details in ["", "!", "AAAA", "CAES"] {
        let details = Some(details.to_owned());
        let reply = Reply::Grpc { status: 14, message: "", details, trailers_only: true };
        assert_eq!(outcome(&Receiver::grpc(), vec![reply]), Outcome::Delivered(2));
    }
}

/// Rejected records are counted and never sent again; a message without any is a warning.
#[test]
fn partial_success_is_final() {
    for receiver in [Receiver::grpc(), Receiver::http()] {
        receiver.reply([
            Reply::Partly(3, "three are wrong"),
            Reply::Partly(0, "be careful"),
            Reply::Partly(99, "more than there are"),
            Reply::Partly(-5, "fewer than none"),
        ]);
        let running = Running::start(output(OutputConfig { in_flight: 1, ..config(&receiver) }));
        for part in 0..4 {
            running.offer([request(Stream::Rollups, Encoding::Gzip, part * 10..part * 10 + 10)]);
        }
        let ledger = running.settled();
        assert_eq!((ledger.delivered, ledger.rejected), (7 + 10 + 10, 3 + 10));
        assert_eq!(receiver.came().len(), 4);
    }
}

/// A partial success may be JSON, whatever was sent; without a text the reason is said to be
/// missing.
#[test]
fn partial_success_of_json() {
    let receiver = Receiver::http();
    let json = |body: &str| Reply::Http {
        status: 200,
        headers: vec![("content-type", "application/json".to_owned())],
        body: body.as_bytes().to_vec(),
    };
    receiver.reply([
        json(r#"{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"three are wrong"}}"#),
        json(r#"{"partialSuccess":{"rejectedLogRecords":2}}"#),
        json("{}"),
    ]);
    for (rejected, said) in
        [(3, "has rejected 3 of 10 records: three are wrong"), (2, "has rejected 2 of 10 records: it does not say why")]
    {
        let running = Running::start(output(config(&receiver)));
        running.offer([request(Stream::Rollups, Encoding::Gzip, 0..10)]);
        let ledger = running.settled();
        assert_eq!((ledger.delivered, ledger.rejected), (10 - rejected, rejected));
        wait_for("a warning", || (running.logged(said).len() == 1).then_some(()).ok_or_else(|| said.to_owned()));
    }
    assert_eq!(outcome(&receiver, Vec::new()), Outcome::Delivered(1));
}

/// A request that is too large is halved until it fits, the size is remembered, and a record that
/// is too large alone is dropped and named.
#[test]
fn large_requests_are_halved() {
    for receiver in [Receiver::grpc(), Receiver::http()] {
        receiver.rules().max_bytes = Some(20_000);
        let running = Running::start(output(OutputConfig { in_flight: 1, ..config(&receiver) }));
        running.offer([sized(Stream::Flows, Encoding::Gzip, 0..1000, 100)]);
        assert_eq!(running.settled().delivered, 1000);
        assert_eq!(sorted(receiver.taken()), (0..1000).collect::<Vec<_>>());
        let order: Vec<_> = receiver.taken();
        assert_eq!(order, sorted(order.clone()), "in their order");
        let (_, learned) = running.output.limits();
        assert!((10_000..20_000).contains(&learned), "{learned}");
        // The next one is not tried as it is.
        let before = receiver.came().len();
        running.offer([sized(Stream::Flows, Encoding::Gzip, 1000..1500, 100)]);
        running.settled();
        assert!(receiver.came()[before..].iter().all(|came| came.taken));
        running.offer([sized(Stream::Rollups, Encoding::Gzip, 1500..1501, 4000)]);
        assert_eq!(running.settled().delivered, 1501);
        receiver.rules().max_bytes = Some(2000);
        running.offer([sized(Stream::Rollups, Encoding::None, 1501..1504, 4000)]);
        let ledger = running.settled();
        assert_eq!((ledger.delivered, ledger.dropped(Loss::TooLarge)), (1501, 3));
    }
}

/// A receiver that refuses every other request is logged as if it did so once; who reads the state
/// sees each change.
#[test]
fn a_receiver_that_alternates_is_logged_once() {
    for receiver in [Receiver::grpc(), Receiver::http()] {
        let refusal = || if receiver.is_grpc() { Reply::grpc(3, "no") } else { Reply::http(400) };
        receiver.reply((0..20).flat_map(|_| [refusal(), Reply::Taken]));
        let running = Running::start(output(OutputConfig { in_flight: 1, ..config(&receiver) }));
        running.offer((0..40).map(|part| request(Stream::Flows, Encoding::None, part * 10..part * 10 + 10)));
        let ledger = running.settled();
        assert_eq!((ledger.delivered, ledger.dropped(Loss::Refused)), (200, 200));
        running.has_problem("");
        let seen = || running.owner.problems.lock().unwrap().len();
        wait_for("each change", || if seen() == 40 { Ok(()) } else { Err(seen().to_string()) });
        for line in ["answers", "delivered again"] {
            let lines = running.logged(line);
            let of_state: Vec<_> = lines.iter().filter(|line| !line.contains("are lost")).collect();
            assert_eq!(of_state.len(), 1, "{of_state:?}");
        }
    }
}

/// A receiver to which every record is too large is asked for its limit once, then gets a record
/// after each wait, and is said once; when it takes records again, all go through.
#[test]
fn a_receiver_that_takes_no_size_is_spared() {
    for receiver in [Receiver::grpc(), Receiver::http()] {
        receiver.rules().max_bytes = Some(10);
        let retry = RetryConfig { min: Duration::from_millis(1), max: Duration::from_millis(4) };
        let running = Running::start(output(OutputConfig { retry, in_flight: 1, ..config(&receiver) }));
        running.offer((0..10).map(|part| sized(Stream::Flows, Encoding::Gzip, part * 40..part * 40 + 40, 600)));
        let ledger = running.settled();
        assert_eq!((ledger.delivered, ledger.dropped(Loss::TooLarge)), (0, 400));
        let attempts = receiver.came().len();
        assert!((400..400 + 10).contains(&attempts), "{attempts}");
        running.has_problem(if receiver.is_grpc() { "larger than max" } else { "answers 413" });
        for line in ["from now on", "is lost"] {
            assert_eq!(running.logged(line).len(), 1, "{line}");
        }
        receiver.rules().max_bytes = None;
        running.offer([request(Stream::Flows, Encoding::Gzip, 400..500)]);
        assert_eq!(running.settled().delivered, 100);
        running.has_problem("");
        drop(running);

        // With long waits hardly any is lost.
        receiver.rules().max_bytes = Some(10);
        let retry = RetryConfig { min: Duration::from_hours(1), max: Duration::from_hours(1) };
        let running = Running::start(output(OutputConfig { retry, ..config(&receiver) }));
        running.offer((0..10).map(|part| sized(Stream::Flows, Encoding::Gzip, part * 40..part * 40 + 40, 600)));
        wait_for(
            "a wait",
            || {
                if running.owner.problems.lock().unwrap().is_empty() { Err(String::new()) } else { Ok(()) }
            },
        );
        let beats = || running.owner.beats.load(Relaxed);
        let before = beats();
        wait_for("the thread is awake a few times", || {
            running.output.wake();
            if beats() > before + 20 { Ok(()) } else { Err(String::new()) }
        });
        assert!(running.ledger().dropped(Loss::TooLarge) < 10, "{:?}", running.ledger());
    }
}

/// The text of tonic about sizes has another status.
#[test]
fn sizes_have_several_texts() {
    for (status, text) in [
        (8, "Received message larger than max (5 vs. 4)"),
        (11, "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes"),
        (8, "gRPC message exceeds maximum size 4194304: 5000000"),
    ] {
        let receiver = Receiver::grpc();
        receiver.reply([Reply::grpc(status, text)]);
        let running = Running::start(output(OutputConfig { in_flight: 1, ..config(&receiver) }));
        running.offer([request(Stream::Flows, Encoding::Gzip, 0..10)]);
        assert_eq!(running.settled().delivered, 10);
        let sizes: Vec<_> = receiver.came().iter().map(|came| came.records.len()).collect();
        assert_eq!(sizes, [10, 5, 5]);
    }
}

/// A receiver without zstd gets gzip, one without both gets plain bytes, also of what waits.
#[test]
fn encodings_are_refused() {
    for receiver in [Receiver::grpc(), Receiver::http()] {
        receiver.rules().unknown = vec!["zstd"];
        let compression = Some(Encoding::Zstd);
        let running = Running::start(output(OutputConfig { compression, ..config(&receiver) }));
        assert_eq!(running.output.limits().0, Encoding::Zstd);
        running.offer((0..3).map(|part| request(Stream::Flows, Encoding::Zstd, part * 10..part * 10 + 10)));
        assert_eq!(running.settled().delivered, 30);
        assert_eq!(running.output.limits().0, Encoding::Gzip);
        receiver.rules().unknown = vec!["zstd", "gzip"];
        running.offer((3..6).map(|part| request(Stream::Flows, Encoding::Gzip, part * 10..part * 10 + 10)));
        assert_eq!(running.settled().delivered, 60);
        assert_eq!(running.output.limits().0, Encoding::None);
        assert_eq!(sorted(receiver.taken()), (0..60).collect::<Vec<_>>());
        // Two were under way at most when it was refused.
        assert!(receiver.came().len() <= 6 + 2 * 2, "{}", receiver.came().len());
    }
}

/// Words of Google's server and of rotel for an encoding that they do not know. Once zstd was
/// taken, a 400 is about something else.
#[test]
fn encodings_have_several_words() {
    for (receiver, word) in [
        (Receiver::grpc(), Reply::grpc(13, "Error parsing 'grpc-encoding' metadata")),
        (Receiver::grpc(), Reply::grpc(12, "grpc: Decompressor is not installed for grpc-encoding \"zstd\"")),
        (Receiver::http(), Reply::http(400)),
    ] {
        for (replies, encoding, refused) in
            [(vec![word.clone()], Encoding::Gzip, 0), (vec![Reply::Taken, Reply::http(400)], Encoding::Zstd, 10)]
        {
            receiver.reply(replies);
            let compression = Some(Encoding::Zstd);
            let running = Running::start(output(OutputConfig { compression, in_flight: 1, ..config(&receiver) }));
            running.offer((0..2).map(|part| request(Stream::Flows, Encoding::Zstd, part * 10..part * 10 + 10)));
            let ledger = running.settled();
            assert_eq!((ledger.delivered, ledger.dropped(Loss::Refused)), (20 - refused, refused), "{word:?}");
            assert_eq!(running.output.limits().0, encoding);
        }
    }
}

/// A receiver that refuses every encoding, and plain bytes too, refuses something else: each
/// encoding is tried once, then each request is sent plain and dropped, and once it takes one the
/// next is sent as configured.
#[test]
fn a_refusal_of_plain_bytes_is_final() {
    for (receiver, reply) in [(Receiver::grpc(), Reply::grpc(12, "no")), (Receiver::http(), Reply::http(415))] {
        receiver.rules().always = Some(reply.clone());
        let compression = Some(Encoding::Zstd);
        let running = Running::start(output(OutputConfig { compression, in_flight: 1, ..config(&receiver) }));
        let offered = (0..5).map(|part| request(Stream::Rollups, Encoding::Zstd, part * 10..part * 10 + 10));
        running.offer(offered.clone());
        assert_eq!(running.settled().dropped(Loss::Refused), 50);
        let tried: Vec<_> = receiver.came().into_iter().map(|came| came.encoding()).collect();
        assert_eq!(tried, ["zstd", "gzip", "", "", "", "", ""]);
        assert_eq!(running.output.limits().0, Encoding::None);
        assert_eq!(running.logged("are sent as").len(), 1);
        receiver.rules().always = None;
        running.offer([request(Stream::Rollups, Encoding::None, 50..60)]);
        assert_eq!((running.settled().delivered, running.output.limits().0), (10, Encoding::Zstd));
        running.offer([request(Stream::Rollups, Encoding::Zstd, 60..70)]);
        running.settled();
        let tried: Vec<_> = receiver.came()[7..].iter().map(|came| (came.encoding(), came.taken)).collect();
        assert_eq!(tried, [(String::new(), true), ("zstd".to_owned(), true)]);
        drop(running);

        // With several under way too each is tried a few times only.
        receiver.rules().always = Some(reply);
        let running = Running::start(output(OutputConfig { compression, in_flight: 4, ..config(&receiver) }));
        let before = receiver.came().len();
        running.offer(offered);
        assert_eq!(running.settled().dropped(Loss::Refused), 50);
        let attempts = receiver.came().len() - before;
        assert!((5..=5 * 3).contains(&attempts), "{attempts}");
    }
}

/// A receiver that has taken records and answers otherwise gets them again: each record has the
/// same bytes each time, so that it can tell.
#[test]
fn what_comes_twice_is_the_same() {
    for receiver in [Receiver::grpc(), Receiver::http()] {
        receiver.reply(vec![Reply::TakenAndDenied; 5]);
        let running = Running::start(output(config(&receiver)));
        running.offer((0..5).map(|part| request(Stream::Rollups, Encoding::Gzip, part * 10..part * 10 + 10)));
        assert_eq!(running.settled().delivered, 50);
        let mut records: Vec<_> = receiver.came().into_iter().flat_map(|came| came.records).collect();
        assert!(records.len() >= 100, "{}", records.len());
        records.sort_by_key(number);
        records.dedup();
        assert_eq!(records.len(), 50);
    }
}

/// Requests that are refused are not sent at full speed for ever: attempts in an outage become
/// fewer.
#[test]
fn attempts_become_fewer() {
    let receiver = Receiver::grpc();
    receiver.rules().always = Some(Reply::grpc(14, "away"));
    let retry = RetryConfig { min: Duration::from_millis(200), max: Duration::from_mins(1) };
    let running = Running::start(output(OutputConfig { retry, ..config(&receiver) }));
    running.offer((0..20).map(|part| request(Stream::Flows, Encoding::Gzip, part..part + 1)));
    running.has_problem("answers UNAVAILABLE: away");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        assert_eq!(running.ledger().waiting, 20);
        std::thread::sleep(Duration::from_millis(50));
    }
    // Two at once, and then one after each wait.
    assert!(receiver.came().len() < 20, "{}", receiver.came().len());
}
