//! The terminal: keys in, screens out. It is always given back as it was, also after a panic or a
//! signal.

use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{SigSet, Signal};
use ratatui_core::terminal::Terminal;
use ratatui_crossterm::CrosstermBackend;
use ratatui_crossterm::crossterm::cursor::Show;
use ratatui_crossterm::crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui_crossterm::crossterm::queue;
use ratatui_crossterm::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use webb_flow::fault::inject;

use super::draw::draw;
use super::keys::{Action, Key, press};
use super::source::Source;
use super::state::{Question, Reply, Start, Top};
use crate::http_client::encode;

/// Interval at which ages and waits are drawn anew.
const TICK: Duration = Duration::from_millis(250);

/// Bytes of a screen that are written at once.
const FRAME_BYTES: usize = 64 << 10;

/// What happens.
enum Event {
    Key(Key),
    /// The terminal has another size.
    Resized,
    Reply(Reply),
    /// A signal ends the program.
    Signal,
    /// A thread has ended, which none does by itself.
    Ended(&'static str),
}

/// Whether the terminal is in the state that is drawn on. It is given back once: a second time the
/// cursor would go to where it was, over what a panic has printed.
static IS_RAW: AtomicBool = AtomicBool::new(false);

/// The terminal in the state that is drawn on; dropped, it is as it was.
struct Raw;

impl Raw {
    fn enter(out: &mut dyn Write) -> io::Result<Self> {
        enable_raw_mode()?;
        IS_RAW.store(true, Relaxed);
        let raw = Self;
        let mut bytes = Vec::new();
        queue!(bytes, EnterAlternateScreen)?;
        out.write_all(&bytes)?;
        out.flush()?;
        Ok(raw)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back. Standard output may be locked by another thread, so it is written to
/// below that.
fn restore() {
    if !IS_RAW.swap(false, Relaxed) {
        return;
    }
    let mut bytes = Vec::new();
    let _in_memory = queue!(bytes, LeaveAlternateScreen, Show);
    let _no_terminal = rustix::io::write(io::stdout().as_fd(), &bytes);
    let _no_terminal = disable_raw_mode();
}

/// Shows the agent until it is ended by a key or a signal.
///
/// # Errors
/// If the terminal cannot be used, or a thread ends.
pub fn run(source: &Source, start: Start, out: &mut dyn Write) -> io::Result<()> {
    // Blocked before any thread starts, so that one of them takes them all.
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let hook = take_hook();
    set_hook(Box::new(move |panic| {
        restore();
        hook(panic);
    }));
    let (events, happened) = channel();
    let (questions, asked) = channel();
    let _raw = Raw::enter(out)?;
    spawn("signals", &events, move |events| while signals.wait().is_ok_and(|_| events.send(Event::Signal).is_ok()) {})?;
    spawn("keys", &events, read_keys)?;
    let asks = source.clone();
    spawn("questions", &events, move |events| answer(&asks, &asked, events))?;
    show(Top::new(start), &happened, &questions, out)
}

/// Starts a thread; its end, by a panic too, is an event.
fn spawn(
    name: &'static str,
    events: &Sender<Event>,
    body: impl FnOnce(&Sender<Event>) + Send + 'static,
) -> io::Result<()> {
    let events = events.clone();
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _panic = catch_unwind(AssertUnwindSafe(|| body(&events)));
        let _none_listens = events.send(Event::Ended(name));
    })?;
    Ok(())
}

fn show(mut top: Top, happened: &Receiver<Event>, questions: &Sender<Question>, out: &mut dyn Write) -> io::Result<()> {
    let began = Instant::now();
    assert!(!inject::refuses("terminal"), "a fault on command");
    // The screen is blank, and is never asked where its cursor is: keys are read by another thread.
    // What changes is written at once, or a slow terminal would show halves of screens.
    let mut terminal = Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(FRAME_BYTES, out)))?;
    let ended = |name: &str| io::Error::other(format!("the thread for {name} has ended"));
    loop {
        let now = began.elapsed();
        if let Some(question) = top.question(now) {
            questions.send(question).map_err(|_| ended("questions"))?;
        }
        terminal.draw(|frame| draw(&mut top, frame.buffer_mut(), now))?;
        let first = happened.recv_timeout(TICK).ok();
        // All that has come is taken before the next screen: keys that repeat do not queue up.
        for event in first.into_iter().chain(happened.try_iter()) {
            let now = began.elapsed();
            match event {
                Event::Key(key) => match press(&mut top, key, now) {
                    Action::Nothing => {}
                    Action::Quit => return Ok(()),
                    Action::Redraw => {
                        let size = terminal.size()?;
                        terminal.resize(size.into())?;
                    }
                    Action::Ask(question) => questions.send(question).map_err(|_| ended("questions"))?,
                },
                Event::Resized => {}
                Event::Reply(reply) => {
                    if let Some(text) = top.take(reply, now) {
                        // OSC 52: the terminal's own clipboard, which is there by SSH too.
                        let coded = STANDARD.encode(text);
                        write!(terminal.backend_mut(), "\x1b]52;c;{coded}\x07")?;
                        Write::flush(terminal.backend_mut())?;
                    }
                }
                Event::Signal => return Ok(()),
                Event::Ended(name) => return Err(ended(name)),
            }
        }
    }
}

fn answer(source: &Source, asked: &Receiver<Question>, events: &Sender<Event>) {
    for question in asked {
        let reply = match question {
            Question::View { path, window } => {
                let status = source.get(&format!("/api/v1/status?limit=500&window={window}"));
                let answers = status.and_then(|status| Ok((status, source.get(&path)?)));
                Reply::View(path, answers)
            }
            Question::Pair(taken, path) => Reply::Pair(taken, source.get(&path)),
            Question::Restart(name) => {
                let said = source.post(&restart_path(&name));
                Reply::Restart(name, said)
            }
        };
        if events.send(Event::Reply(reply)).is_err() {
            return;
        }
    }
}

/// The path that restarts a part; its name is what the agent has said.
fn restart_path(name: &str) -> String {
    let mut path = "/actors/".to_owned();
    encode(&mut path, name);
    path + "/restart"
}

fn read_keys(events: &Sender<Event>) {
    loop {
        let event = match event::read() {
            Ok(event::Event::Key(key)) if key.kind != KeyEventKind::Release => key_of(key).map(Event::Key),
            Ok(event::Event::Resize(..)) => Some(Event::Resized),
            Ok(_) => None,
            Err(_) => return,
        };
        if event.is_some_and(|event| events.send(event).is_err()) {
            return;
        }
    }
}

fn key_of(key: KeyEvent) -> Option<Key> {
    let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c') if with_control => Key::Interrupt,
        KeyCode::Char('l') if with_control => Key::Redraw,
        KeyCode::Char(_) if with_control || key.modifiers.contains(KeyModifiers::ALT) => return None,
        KeyCode::Char(letter) => Key::Letter(letter),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name cannot leave its place in the request.
    #[test]
    fn names_are_encoded() {
        assert_eq!(restart_path("flow_source"), "/actors/flow_source/restart");
        assert_eq!(restart_path("a b?c#\r\nX: y"), "/actors/a%20b%3Fc%23%0D%0AX:%20y/restart");
    }
}
