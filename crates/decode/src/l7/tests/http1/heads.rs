//! Heads in pieces, long heads, and those of which only a part is seen.

use super::*;

/// Cases 24, 25 and 28: heads in pieces, and heads of which the end is not seen.
#[test]
fn heads_in_pieces() {
    let request = "GET /pieces HTTP/1.1\r\nHost: x\r\n\r\n";
    for (first, second) in [(8, 20), (1, 2), (21, 33)] {
        let mut talk = Talk::new();
        let pieces = [&request[..first], &request[first..second], &request[second..]];
        for (number, piece) in pieces.into_iter().enumerate() {
            talk.segment(true, piece, piece.len(), u8::from(number > 0));
            talk.bench.later(3);
        }
        talk.server(&OK[..10]);
        talk.segment(false, &OK[10..], OK.len() - 10, 1);
        assert_eq!(talk.bench.lines(), ["> GET HTTP/1.1", "< GET 200 HTTP/1.1 9ms"]);
        assert_eq!(talk.bench.dissector.gauges().partial_heads, 0);
    }
    let mut talk = Talk::new();
    talk.exchange(&get("/"), &format!("HTTP/1.1 200 OK\r\n{}\r\n", format!("X: {}\r\n", "y".repeat(200)).repeat(30)));
    talk.exchange(&get("/"), OK);
    assert_eq!(talk.responses(), ["GET 200"; 2]);
    assert_eq!(talk.bench.dissector.ledger().cuts(Cut::Head), 1);
}

/// Case 27: heads longer than what is kept, in one segment or several.
#[test]
fn long_heads() {
    let post = format!("POST / HTTP/1.1\r\nCookie: {}\r\nContent-Length: 5\r\n\r\n12345", "x".repeat(6000));
    for size in [1448, 8000] {
        let mut talk = Talk::new();
        for _ in 0..3 {
            let mut wanted = 4;
            let mut pieces = post.as_bytes().chunks(size).map(|piece| std::str::from_utf8(piece).unwrap());
            talk.client(pieces.next().unwrap());
            for piece in pieces {
                if wanted > 0 && piece.len() > 5 {
                    talk.segment(true, piece, piece.len(), 1);
                    wanted -= 1;
                } else {
                    talk.unseen(true, piece.len());
                }
            }
            talk.server(OK);
            talk.exchange(&get("/"), OK);
        }
        assert_eq!(talk.responses(), ["POST 200", "GET 200"].repeat(3));
        assert_eq!(talk.bench.dissector.ledger().cuts(Cut::Head), 3);
    }
}

/// A request whose first line is longer than what is captured counts by its method, with as much of
/// its path as there is, in one segment or several; so does what follows it.
#[test]
fn long_lines() {
    for (method, size) in [("GET", 1448), ("GET", 8000), ("POST", 1448), ("POST", 8000)] {
        let request = format!("{method} /{} HTTP/1.1\r\nHost: s\r\nContent-Length: 5\r\n\r\n12345", "p".repeat(6000));
        let mut talk = Talk::new();
        talk.bench.dissector.configure(Limits::default(), Wants { url: true, ..Wants::default() }, Redact::default());
        for _ in 0..3 {
            for (number, piece) in request.as_bytes().chunks(size).enumerate() {
                let piece = std::str::from_utf8(piece).unwrap();
                talk.segment(true, piece, piece.len().min(2048), u8::from(number > 0));
            }
            talk.server(OK);
            talk.exchange(&get("/"), OK);
        }
        let lines = talk.bench.lines();
        assert!(lines[0].starts_with(&format!("> {method} HTTP/1.1 http:///pppp")), "{}", lines[0]);
        assert!((1000..4200).contains(&lines[0].len()), "{} {size}", lines[0].len());
        let answers: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("< ")?.split(' ').next()).collect();
        assert_eq!(answers, [method, "GET"].repeat(3));
        assert_eq!(talk.bench.dissector.ledger().cuts(Cut::Head), 3);
        assert_eq!((talk.open(), talk.bench.dissector.gauges().partial_heads), (0, 0));
    }
}

/// A request of which the kernel has sent only the first letters counts when it is answered; a
/// beginning without a method is lost by name, and its response answers no other request.
#[test]
fn requests_of_which_the_end_is_not_seen() {
    for (begin, method) in [("GET /lo", Some("GET")), ("POST ", Some("POST")), ("PROPFI", None)] {
        let mut talk = Talk::new();
        for (number, letter) in begin.char_indices() {
            talk.segment(true, &letter.to_string(), 1, u8::from(number > 0));
        }
        talk.unseen(true, 40);
        talk.server(OK);
        talk.exchange(&get("/"), OK);
        let answers: Vec<_> =
            method.into_iter().map(|method| format!("{method} 200")).chain(["GET 200".to_owned()]).collect();
        assert_eq!(talk.responses(), answers, "{begin}");
        let torn = u64::from(method.is_none());
        assert_eq!((talk.bench.dissector.ledger().cuts(Cut::Torn), talk.count(RecordOutcome::Orphan)), (torn, torn));
    }
    // The same of a response, when the client goes on.
    let mut talk = Talk::new();
    talk.client(&get("/"));
    talk.segment(false, "HTTP/1.1 404 Not", 16, 0);
    talk.unseen(false, 40);
    talk.exchange(&get("/"), OK);
    assert_eq!(talk.responses(), ["GET 404", "GET 200"]);
    // A connection that ends.
    talk.client("GET /never");
    talk.bench.dissector.restart();
    assert_eq!(talk.bench.dissector.ledger().cuts(Cut::Torn), 1);
}

/// A method in other letters is a method, and one that is not seen leaves no other request without
/// its response.
#[test]
fn other_methods() {
    let mut talk = Talk::new();
    talk.exchange("get / HTTP/1.1\r\n\r\n", OK);
    talk.exchange("VERSION_2 / HTTP/1.1\r\n\r\n", OK);
    talk.exchange(&get("/"), OK);
    assert_eq!(talk.responses(), ["get 200", "VERSION_2 200", "GET 200"]);
    // What is no head in the kernel's eyes, at the beginning and later.
    let mut talk = Talk::new();
    for _ in 0..3 {
        let record = Message { begin: 1000, ..talk.record(true, talk.sent[0] + 40) };
        talk.unseen(true, 40);
        talk.server(OK);
        talk.bench.read(Message { acknowledgement: talk.sent[1], ..record }, get("/").as_bytes());
        talk.unseen(true, get("/").len());
        talk.server(OK);
        assert_eq!(talk.responses(), ["GET 200"]);
    }
    assert_eq!((talk.count(RecordOutcome::Orphan), talk.unanswered(Unanswered::Doubt)), (3, 0));
    // An answer to it does not answer what the server has not received.
    let before = talk.sent[0];
    talk.unseen(true, 40);
    talk.client(&get("/"));
    let record = Message { acknowledgement: before + 40, ..talk.record(false, talk.sent[1]) };
    talk.bench.read(record, b"HTTP/1.1 405 x\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(talk.responses(), [""; 0]);
}

/// A head of more fields than are read counts by its first line, whole or not, and takes none of
/// those behind it along.
#[test]
fn heads_of_many_fields() {
    let fields = "a: b\r\n".repeat(120);
    let mut talk = Talk::new();
    for _ in 0..3 {
        talk.exchange(&format!("GET /many HTTP/1.1\r\n{fields}\r\n"), OK);
        talk.exchange(&get("/few"), OK);
        talk.exchange("GET /few HTTP/1.1\r\n\r\n", &OK.replace("200", "204").replace("\r\n\r\nhi", "\r\n\r\n"));
        assert_eq!(talk.responses().len(), 3);
    }
    talk.client(&format!("GET /many HTTP/1.1\r\n{fields}"));
    talk.segment(true, "c: d\r\n\r\n", 8, 1);
    talk.server(OK);
    talk.exchange(&get("/few"), OK);
    assert_eq!(talk.responses().len(), 2);
    assert_eq!(talk.open(), 0);
}
