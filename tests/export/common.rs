//! Histories of recorded flows, and exporters that are driven by hand.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use webb::exports::of_settings;
use webb_observer::export::{ExportConfig, Exporter, Next, Node};
use webb_observer::{History, Loader};
use webb_settings::{Environment, SourceFile, resolve};

/// A file, unpacked.
pub(crate) fn unpacked(path: &str) -> String {
    let mut text = String::new();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    webb_flowlog::open(&path).unwrap().bytes.read_to_string(&mut text).unwrap();
    text
}

/// Lines of recorded flows.
pub(crate) fn flows(name: &str) -> String {
    unpacked(&format!("crates/observer/tests/observer/golden/{name}.jsonl.zst"))
}

/// Appends the lines to the history.
pub(crate) fn load(history: &History, lines: &str) {
    let mut loader = Loader::new(history);
    lines.lines().for_each(|line| loader.line(line.as_bytes()).unwrap());
    loader.end();
}

/// A history of the lines.
pub(crate) fn history(lines: &str) -> Arc<History> {
    let history = Arc::new(History::new(1 << 20));
    load(&history, lines);
    history
}

pub(crate) fn node() -> Node {
    Node { name: "stock-1".to_owned(), qualified: "stock-1".to_owned(), version: "webb v0".to_owned(), run: 7 }
}

/// The exporter of these settings, which writes `out.log` in the directory.
pub(crate) fn config(directory: &Path, settings: &str) -> ExportConfig {
    let settings = settings.replace('\n', "\n  ");
    let text = format!("export:\n  directory: {}\n  file_path: out.log\n  {settings}\n", directory.display());
    let environment = Environment { hostname: "here".to_owned(), ..Environment::default() };
    let file = SourceFile { name: "webb.yaml".to_owned(), text };
    let mut resolved = resolve(Some(file), &environment, &[]).unwrap();
    of_settings(&mut resolved).unwrap().unwrap()
}

pub(crate) fn exporter(config: &ExportConfig, history: &Arc<History>) -> Exporter {
    Exporter::new(config, Arc::clone(history), &node(), (0, Arc::default())).unwrap()
}

/// Has the exporter write all that there is, and end.
pub(crate) fn finish(exporter: &Exporter) {
    exporter.stop();
    loop {
        match exporter.fill() {
            Next::Fill => {}
            Next::Write => exporter.write(),
            Next::Wait(_) => panic!("an exporter that ends waits for nothing"),
            Next::End => break,
        }
    }
    exporter.close();
}

/// Has the exporter write what there is, until it waits.
pub(crate) fn catch_up(exporter: &Exporter) {
    loop {
        match exporter.fill() {
            Next::Fill => {}
            Next::Write => exporter.write(),
            Next::Wait(_) | Next::End => break,
        }
    }
}

/// What was written with these settings for these flows.
pub(crate) fn written(lines: &str, settings: &str) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path(), settings);
    finish(&exporter(&config, &history(lines)));
    fs::read_to_string(scratch.path().join("out.log")).unwrap()
}
