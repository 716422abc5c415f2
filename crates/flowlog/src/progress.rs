//! A line on the terminal with the progress of a long replay.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::input::{Input, Position};

/// Delay of the first display: most files are done by then.
const INITIAL_DELAY: Duration = Duration::from_secs(2);

/// Interval between two updates of the line.
const UPDATE_INTERVAL: Duration = Duration::from_millis(200);

/// Number of lines between two reads of the clock.
const LINES: u32 = 4096;

/// Letters of the bar.
const WIDTH: usize = 20;

/// Progress of one file; no display without a terminal.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    name: String,
    position: Position,
    size: Option<u64>,
    began: Instant,
    next: Instant,
    lines: u32,
    shown: bool,
}

impl Progress {
    /// The file has just been opened.
    pub fn new(name: &str, input: &Input) -> Self {
        let began = Instant::now();
        Self {
            terminal: std::io::stderr().is_terminal(),
            name: name.to_owned(),
            position: input.position.clone(),
            size: input.size,
            began,
            next: began + INITIAL_DELAY,
            lines: 0,
            shown: false,
        }
    }

    /// Counts a line that was read; `flows` returns the number of flows so far.
    #[inline]
    pub fn tick(&mut self, flows: impl FnOnce() -> u64) {
        self.lines += 1;
        if self.lines >= LINES {
            self.lines = 0;
            if self.terminal && Instant::now() >= self.next {
                self.show(flows());
            }
        }
    }

    #[cold]
    fn show(&mut self, flows: u64) {
        self.next = Instant::now() + UPDATE_INTERVAL;
        self.shown = true;
        let text = line(&self.name, self.position.get(), self.size, flows, self.began.elapsed());
        // A terminal that is gone needs no progress.
        let _written = write!(std::io::stderr(), "\r\x1b[K{text}");
    }

    /// Ends the progress, and removes the line.
    pub fn end(self) {
        if self.shown {
            let _written = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
fn line(name: &str, read: u64, size: Option<u64>, flows: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(0.001);
    let (megabytes, rate) = (read as f64 / 1e6, read as f64 / 1e6 / seconds);
    let Some(size) = size.filter(|&size| size > 0) else {
        return format!("{name}: {megabytes:.0} MB, {flows} flows, {rate:.0} MB/s");
    };
    let part = (read as f64 / size as f64).min(1.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and WIDTH")]
    let done = (part * WIDTH as f64) as usize;
    let left = (size.saturating_sub(read)) as f64 / 1e6 / rate.max(0.001);
    let bar = format!("{}{}", "#".repeat(done), ".".repeat(WIDTH - done));
    format!("{name}: [{bar}] {:.0} %, {flows} flows, {rate:.0} MB/s, {left:.0} s left", part * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that grew while it was read must not draw past the bar's end.
    #[test]
    fn the_bar_keeps_its_width() {
        let shown = line("f", 30, Some(20), 7, Duration::from_secs(1));
        assert!(shown.contains(&format!("[{}] 100 %, 7 flows", "#".repeat(20))), "{shown}");
        let half = line("f", 500_000_000, Some(1_000_000_000), 7, Duration::from_secs(2));
        assert_eq!(half, "f: [##########..........] 50 %, 7 flows, 250 MB/s, 2 s left");
        assert_eq!(line("f", 1_000_000, None, 7, Duration::from_secs(1)), "f: 1 MB, 7 flows, 1 MB/s");
    }
}
