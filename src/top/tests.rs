//! Screens of the answers that the API's tests hold, and of what no agent would send.

use std::time::Duration;

use proptest::prelude::*;
use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use serde_json::{Value, json};

use super::answer::Answer;
use super::draw::draw;
use super::keys::{Action, Key, press};
use super::source::Failure;
use super::state::{Appearance, Mode, Question, Reply, Start, Taken, Top};
use super::views::{VIEWS, Wanted};

/// An answer that the API's own tests hold.
pub(super) fn recorded(view: &str) -> Answer {
    let path = format!("{}/src/http/api/snapshots/webb__http__api__tests__api-{view}.snap", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let body = text.splitn(3, "---\n").nth(2).unwrap();
    Answer::read(body.as_bytes(), "Mon, 12 Jan 1970 13:46:52 GMT").unwrap()
}

pub(super) fn wanted() -> Wanted {
    Wanted {
        workload: String::new(),
        problems: false,
        by_namespace: false,
        sort: None,
        window: "1m".to_owned(),
        limit: 500,
    }
}

pub(super) fn start(view: &str) -> Start {
    let appearance = Appearance { has_colors: true, ..Appearance::default() };
    Start::new(view, None, wanted(), SECOND * 5, appearance).unwrap()
}

fn top(view: &str) -> Top {
    Top::new(start(view))
}

const SECOND: Duration = Duration::from_secs(1);

/// Has the question that is due answered.
fn answer(top: &mut Top, answer: Answer, now: Duration) {
    let Some(Question::View { path, .. }) = top.question(now) else { panic!("no question at {now:?}") };
    top.take(Reply::View(path, Ok((recorded("status"), answer))), now);
}

fn screen(top: &mut Top, (width, height): (u16, u16), now: Duration) -> String {
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    draw(top, &mut buffer, now);
    let mut text = String::new();
    for y in 0..height {
        let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Each view at both sizes, with the cursor on its first row.
#[test]
fn views_are_golden() {
    for view in VIEWS {
        for size in [(80, 24), (200, 60)] {
            let mut top = top(view.name);
            answer(&mut top, recorded(view.name), SECOND);
            screen(&mut top, size, SECOND);
            press(&mut top, Key::Down, SECOND);
            insta::assert_snapshot!(format!("{}-{}", view.name, size.0), screen(&mut top, size, SECOND * 2));
        }
    }
}

/// Details, keys, a filter that is typed, a question, and an agent that has gone.
#[test]
fn modes_are_golden() {
    let size = (80, 24);
    let mut top = top("pairs");
    insta::assert_snapshot!("asking", screen(&mut top, size, SECOND));
    answer(&mut top, recorded("pairs"), SECOND);
    for key in [Key::Down, Key::Down, Key::Down, Key::Enter] {
        press(&mut top, key, SECOND);
    }
    insta::assert_snapshot!("details", screen(&mut top, size, SECOND));
    press(&mut top, Key::Escape, SECOND);
    press(&mut top, Key::Letter('?'), SECOND);
    insta::assert_snapshot!("keys", screen(&mut top, size, SECOND));
    press(&mut top, Key::Escape, SECOND);
    for key in ['/', 's', 'h', 'o', 'p', '/', '*'].map(Key::Letter) {
        press(&mut top, key, SECOND);
    }
    assert!(screen(&mut top, size, SECOND).contains("filter: shop/*_"));
    press(&mut top, Key::Enter, SECOND);
    let Some(Question::View { path, .. }) = top.question(SECOND) else { panic!() };
    assert_eq!(path, "/api/v1/pairs?window=1m&limit=500&workload=shop/*");
    top.take(Reply::View(path, Err(Failure::new("127.0.0.1:9966: refused"))), SECOND);
    insta::assert_snapshot!("no-answer-yet", screen(&mut top, size, SECOND * 2));
}

/// Data of before stay, and the head says since when they are old and when it is tried again.
#[test]
fn a_lost_agent_is_golden() {
    let mut top = top("pairs");
    answer(&mut top, recorded("pairs"), SECOND);
    let mut now = SECOND * 6;
    for _ in 0..3 {
        let Some(Question::View { path, .. }) = top.question(now) else { panic!() };
        top.take(Reply::View(path, Err(Failure::new("127.0.0.1:9966: Connection refused"))), now);
        now += top.link.lost(now).unwrap().1;
    }
    let mut buffer = Buffer::empty(Rect::new(0, 0, 80, 24));
    draw(&mut top, &mut buffer, now.saturating_sub(SECOND));
    assert!(buffer[(5, 5)].modifier.contains(ratatui_core::style::Modifier::DIM));
    insta::assert_snapshot!("lost", screen(&mut top, (80, 24), now.saturating_sub(SECOND)));
    answer(&mut top, recorded("pairs"), now);
    assert!(!screen(&mut top, (80, 24), now).contains("lost"));
}

/// Whatever the size: a screen that is too small says so, and none panics.
#[test]
fn sizes_are_survived() {
    for view in VIEWS {
        let mut top = top(view.name);
        answer(&mut top, recorded(view.name), SECOND);
        for size in [(10, 3), (0, 0), (1, 1), (59, 12), (60, 11), (60, 12), (61, 13), (500, 200), (80, 24)] {
            let text = screen(&mut top, size, SECOND);
            let too_small = size.0 < 60 || size.1 < 12;
            assert_eq!(
                text.starts_with(
                    &"needs 60 x 12".chars().take(usize::from(size.0.saturating_sub(1))).collect::<String>()
                ) && size.0 > 1,
                too_small && size.0 > 1 && size.1 > 0,
                "{size:?}\n{text}"
            );
        }
    }
    let mut small = top("pairs");
    assert_eq!(screen(&mut small, (10, 3), SECOND).lines().next().unwrap(), "needs 60 …");
}

/// Names are data: what they hold is shown, and neither obeyed by a terminal nor hidden.
#[test]
fn names_are_data() {
    let names = [
        "shop/\u{1b}[2Jx",
        "shop/\u{202e}gnp.exe",
        "a\u{0}\r\nb",
        "<script>alert(1)</script>",
        &"n".repeat(253),
        "z\u{301}\u{301}\u{200d}z",
    ];
    let rows: Vec<Value> = names
        .iter()
        .map(|name| json!({"from": name, "to": "shop/\u{9b}31m", "state": "\u{1b}]0;t\u{7}", "protocols": ["\u{8}"]}))
        .collect();
    let value = json!({"node": "\u{1b}[1mnode\u{202e}", "time": "\u{7}", "rows": rows, "notes": ["\u{1b}c"], "complete": false});
    let hostile = Answer::read(value.to_string().as_bytes(), "").unwrap();
    for size in [(80, 24), (200, 60)] {
        let mut top = top("pairs");
        let Some(Question::View { path, .. }) = top.question(SECOND) else { panic!() };
        top.take(Reply::View(path, Ok((hostile.clone(), hostile.clone()))), SECOND);
        let table = screen(&mut top, size, SECOND);
        press(&mut top, Key::Down, SECOND);
        press(&mut top, Key::Enter, SECOND);
        let details = screen(&mut top, size, SECOND);
        for text in [&table, &details] {
            assert!(!text.chars().any(|letter| letter.is_control() && letter != '\n'), "{text:?}");
            assert!(!text.contains(['\u{202e}', '\u{301}', '\u{200d}']), "{text:?}");
        }
        assert!(
            table.contains("[U+202E]gnp") && table.contains("[U+001B][2J") && details.contains("[U+001B]"),
            "{table}"
        );
    }
    let mut ascii = top("pairs");
    ascii.appearance.ascii = true;
    let Some(Question::View { path, .. }) = ascii.question(SECOND) else { panic!() };
    ascii.take(Reply::View(path, Ok((hostile.clone(), hostile))), SECOND);
    let ascii = screen(&mut ascii, (80, 24), SECOND);
    assert!(ascii.is_ascii());
}

/// Sorting asks the agent, which has all rows; a part is restarted only after the question.
#[test]
fn keys_change_what_is_asked() {
    let mut top = top("pairs");
    answer(&mut top, recorded("pairs"), SECOND);
    let asked = |top: &mut Top, keys: &str| {
        for key in keys.chars() {
            assert_eq!(press(top, Key::Letter(key), SECOND), Action::Nothing, "{key}");
        }
        let Some(Question::View { path, .. }) = top.question(SECOND) else { panic!("nothing asked for {keys}") };
        top.take(Reply::View(String::new(), Ok((recorded("status"), recorded("pairs")))), SECOND);
        path
    };
    assert_eq!(asked(&mut top, "s"), "/api/v1/pairs?window=1m&limit=500&sort=from");
    assert_eq!(asked(&mut top, "ssssS"), "/api/v1/pairs?window=1m&limit=500&sort=out");
    assert_eq!(asked(&mut top, "!"), "/api/v1/pairs?window=1m&limit=500&problems=1&sort=out");
    assert_eq!(asked(&mut top, "!sssssss"), "/api/v1/pairs?window=1m&limit=500");
    assert_eq!(asked(&mut top, "5"), "/api/v1/http?window=1m&limit=500");
    assert_eq!(asked(&mut top, "6"), "/api/v1/changes?window=1m&limit=500");
    assert_eq!(asked(&mut top, "7"), "/api/v1/agent?window=1m");
    top.link.ask_now();
    answer(&mut top, recorded("agent"), SECOND);
    press(&mut top, Key::Letter('r'), SECOND);
    assert_eq!((top.notice(SECOND), &top.mode), (Some("choose a part first, by the arrows"), &Mode::Table));
    press(&mut top, Key::Down, SECOND);
    press(&mut top, Key::Letter('r'), SECOND);
    assert!(screen(&mut top, (80, 24), SECOND).contains("restart reader? y, any other key is no"));
    assert_eq!(press(&mut top, Key::Letter('n'), SECOND), Action::Nothing);
    press(&mut top, Key::Letter('r'), SECOND);
    assert_eq!(press(&mut top, Key::Letter('y'), SECOND), Action::Ask(Question::Restart("reader".to_owned())));
    top.take(Reply::Restart("reader".to_owned(), Err(Failure::new("403 is the answer"))), SECOND);
    assert!(screen(&mut top, (80, 24), SECOND).contains("reader is not restarted: 403"));
    assert_eq!(press(&mut top, Key::Letter('q'), SECOND), Action::Quit);
}

/// A pause keeps the screen; what is copied is a command of its own for the row.
#[test]
fn pausing_and_copying() {
    let mut top = top("drops");
    answer(&mut top, recorded("drops"), SECOND);
    press(&mut top, Key::Letter('p'), SECOND);
    assert_eq!(top.question(SECOND * 99), None);
    assert!(screen(&mut top, (80, 24), SECOND).contains("paused"));
    press(&mut top, Key::Letter('p'), SECOND);
    answer(&mut top, recorded("drops"), SECOND * 99);
    assert_eq!(press(&mut top, Key::Letter('y'), SECOND), Action::Nothing);
    screen(&mut top, (80, 24), SECOND);
    press(&mut top, Key::Down, SECOND);
    let path = "/api/v1/pair?window=1m&from=shop/cart&to=reserved:world".to_owned();
    let asked = Action::Ask(Question::Pair(Taken::Promql, path));
    assert_eq!(press(&mut top, Key::Letter('y'), SECOND), asked);
    let about = |text: &str| {
        let one = json!([{"title": "PromQL, out", "text": text}, {"title": "PromQL, handshake", "text": "h"}]);
        Answer::read(json!({"take": {"promql": one, "commands": one}}).to_string().as_bytes(), "").unwrap()
    };
    let taken = top.take(Reply::Pair(Taken::Command, Ok(about("webb observe"))), SECOND);
    assert_eq!(taken.as_deref(), Some("webb observe"));
    assert_eq!(top.take(Reply::Pair(Taken::Promql, Ok(about("a\u{1b}[31m"))), SECOND), None, "it would be obeyed");
    assert!(screen(&mut top, (80, 24), SECOND).contains("nothing to copy"));
    press(&mut top, Key::Letter('3'), SECOND);
    assert_eq!(top.take(Reply::Pair(Taken::Promql, Ok(about("x"))), SECOND).as_deref(), Some("h"));
    press(&mut top, Key::Letter('n'), SECOND);
    let Some(Question::View { path, .. }) = top.question(SECOND * 99) else { panic!() };
    assert_eq!(path, "/api/v1/connections?window=1m&limit=500&by=namespace");
}

/// A pause keeps the figures, and not the user from another view or filter; a lost agent is asked
/// still, and one that is busy is not lost.
#[test]
fn pauses_serve_wishes() {
    let mut top = top("pairs");
    press(&mut top, Key::Letter('p'), SECOND);
    answer(&mut top, recorded("pairs"), SECOND);
    press(&mut top, Key::Letter('+'), SECOND);
    assert_eq!(top.question(SECOND * 99), None);
    for key in ['!', 'n', '2'] {
        press(&mut top, Key::Letter(key), SECOND * 99);
        assert!(top.answer().is_none());
        let recorded = recorded(top.shown.view.name);
        answer(&mut top, recorded, SECOND * 99);
        assert!(top.answer().is_some(), "{key}");
        assert_eq!(top.question(SECOND * 999), None);
    }
    let drops = screen(&mut top, (200, 24), SECOND * 99);
    assert!(drops.contains("paused") && drops.contains("problems only") && !drops.contains("namespace"), "{drops}");
    press(&mut top, Key::Letter('3'), SECOND * 99);
    let failed = |top: &mut Top, failure: Failure, now: Duration| {
        let Some(Question::View { path, window }) = top.question(now) else { panic!("no question at {now:?}") };
        assert_eq!(window, "1m");
        top.take(Reply::View(path, Err(failure)), now);
    };
    failed(&mut top, Failure::Busy("503 is the answer: try again".to_owned()), SECOND * 100);
    let busy = screen(&mut top, (80, 24), SECOND * 100);
    assert!(busy.contains("try again") && !busy.contains("lost"), "{busy}");
    failed(&mut top, Failure::new("refused"), SECOND * 101);
    assert!(screen(&mut top, (80, 24), SECOND * 101).contains("next try in 1 s"));
    answer(&mut top, recorded("connections"), SECOND * 102);
    assert!(screen(&mut top, (200, 24), SECOND * 102).contains("by namespace"));
}

/// Times of before today are said in days, and an age only if it is known.
#[test]
fn times_are_those_of_their_day() {
    let read = |value: Value| Answer::read(value.to_string().as_bytes(), "").unwrap();
    let first = |first: &str| {
        let item = json!({"from": "a", "to": "b", "text": "fails", "first_seen": first, "new": true});
        let status = read(json!({"time": "2026-11-26T02:14:07Z", "attention": [item]}));
        let mut top = top("pairs");
        let Some(Question::View { path, .. }) = top.question(SECOND) else { panic!() };
        let rows = read(json!({"time": "2026-11-26T02:14:07Z", "rows": [{"from": "a", "to": "b"}]}));
        top.take(Reply::View(path, Ok((status, rows))), SECOND);
        screen(&mut top, (80, 24), SECOND);
        press(&mut top, Key::Down, SECOND);
        screen(&mut top, (80, 24), SECOND)
    };
    let today = first("2026-11-26T01:58:00Z");
    assert!(today.contains("a -> b: fails, since 01:58\n") && !today.contains("s old"), "{today}");
    assert!(first("2026-11-17T01:58:00Z").contains("a -> b: fails, for 9 d\n"));
}

/// Any JSON, with the names that answers have more often than by chance.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(json!("denied")),
        Just(json!("2026-11-26T02:14:07Z")),
    ];
    let name = prop_oneof![
        any::<String>(),
        proptest::sample::select(vec![
            "rows",
            "from",
            "to",
            "state",
            "time",
            "window_seconds",
            "hidden",
            "agent",
            "ledger",
            "components",
            "limits",
            "outcomes",
            "status",
            "handshake",
            "p95_seconds",
            "first_seen",
            "attention",
            "attention_views",
            "degraded",
            "notes",
            "protocols",
            "seen",
            "used",
            "limit",
            "name",
            "node",
            "complete",
            "out_bytes_per_second",
            "pairs",
            "text",
            "view",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 128, 12, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..12).prop_map(Value::from),
            proptest::collection::btree_map(name.clone(), inner, 0..12)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever an agent answers, and whichever keys are pressed: no panic, and no control
    /// sequence on the screen.
    #[test]
    fn no_answer_panics(
        status in any_json(),
        values in proptest::collection::vec(any_json(), 1..4),
        keys in "[1-7jksS!b?/ryopqnx+\\-]{0,12}",
        (width, height) in (0_u16..260, 0_u16..80),
    ) {
        let mut top = top("pairs");
        let read = |value: &Value| Answer::read(value.to_string().as_bytes(), "Mon, 12 Jan 1970 13:46:52 GMT").ok();
        let status = read(&json!({"attention": [status.clone()], "attention_views": status, "degraded": [status], "pairs": 3})).unwrap();
        let mut now = SECOND;
        for value in &values {
            let rows = json!({"rows": [value, value], "agent": {"ledger": [value], "components": [value], "limits": [value]},
                "hidden": value, "notes": [value], "time": value, "window_seconds": value, "complete": value});
            for answer in [read(value), read(&rows)].into_iter().flatten() {
                now += SECOND * 10;
                top.link.ask_now();
                if let Some(Question::View { path, .. }) = top.question(now) {
                    top.take(Reply::View(path, Ok((status.clone(), answer))), now);
                }
                for key in keys.chars().map(Key::Letter).chain([Key::Enter, Key::Escape, Key::PageDown, Key::End]) {
                    press(&mut top, key, now);
                    let text = screen(&mut top, (width, height), now);
                    prop_assert!(!text.chars().any(|letter| letter.is_control() && letter != '\n'));
                }
            }
        }
    }

    /// Bytes that are no JSON are an error, and never a panic.
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), date in ".{0,40}") {
        let _read = Answer::read(&bytes, &date);
    }
}
