//! Disks that are full, read-only or slow, and a kill in the middle of a write.
//!
//! A case that needs a process or a mount of its own runs this program again for itself alone, and
//! tells it the directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use webb_observer::History;
use webb_observer::export::{Exporter, Loss, Next};

use crate::common::{catch_up, config, exporter, finish, flows, history, load, written};

/// Names the directory that the other process works in.
const DIRECTORY: &str = "WEBB_TEST_EXPORT_DIRECTORY";

/// The directory, in the process that was run for one case.
fn directory() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

fn again(test: &str) -> [String; 3] {
    let program = std::env::current_exe().unwrap().display().to_string();
    [program, "--exact".to_owned(), format!("disk::{test}")]
}

/// Writes flows without an end.
fn write_on(directory: &Path) {
    let (lines, history) = (flows("flows-a"), Arc::new(History::new(4095)));
    let exporter = exporter(&config(directory, "file_max_size_mb: 10000"), &history);
    loop {
        load(&history, &lines);
        catch_up(&exporter);
    }
}

/// After kill -9 at any moment every line of the file is whole or absent: what a write left of a
/// line is gone when the file is opened again, and no line is damaged by it.
#[test]
fn a_kill_leaves_whole_lines() {
    if let Some(directory) = directory() {
        return write_on(&directory);
    }
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("out.log");
    let known: std::collections::HashSet<String> = written(&flows("flows-a"), "").lines().map(str::to_owned).collect();
    let [program, arguments @ ..] = again("a_kill_leaves_whole_lines");
    let mut size = 0;
    for round in 0..8 {
        let mut command = Command::new(&program);
        command.args(&arguments).env(DIRECTORY, scratch.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let deadline = Instant::now() + Duration::from_mins(1);
        let so_far = || fs::metadata(&path).map_or(0, |metadata| metadata.len());
        // It has written on, some round it has written more.
        while so_far() <= size + 200_000 + round * 100_000 {
            assert!(Instant::now() < deadline, "the other process writes");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let history = history(&flows("flows-a"));
        finish(&exporter(&config(scratch.path(), "field_mask: [uuid]\nfile_max_size_mb: 10000"), &history));
        let text = fs::read_to_string(&path).unwrap();
        let (damaged, whole): (Vec<_>, Vec<_>) =
            text.lines().filter(|line| !line.contains(r#"{"flow":{"uuid""#)).partition(|line| !known.contains(*line));
        assert!(damaged.is_empty(), "{damaged:?}");
        assert!(whole.len() > 100);
        assert!(text.ends_with('\n'));
        size = text.len() as u64;
    }
}

/// Runs a test again as root of a mount namespace of its own, with a small file system on the
/// directory.
fn on_a_small_disk(test: &str) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: a file system is root's to mount");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=2m tmpfs \"$0\" && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(scratch.path())
        .args(again(test))
        .env(DIRECTORY, scratch.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// Fills the disk, but for so many KiB.
fn fill(directory: &Path, left: usize) -> PathBuf {
    let path = directory.join("blocker");
    let status = Command::new("sh").args(["-c", "df -k --output=avail \"$0\" | tail -1"]).arg(directory).output();
    let free: usize = String::from_utf8(status.unwrap().stdout).unwrap().trim().parse().unwrap();
    fs::write(&path, vec![0; (free - left) * 1024]).unwrap();
    path
}

/// Waits until a write may be tried again, and has the exporter write on.
fn retry(exporter: &Exporter) {
    while let Next::Wait(time) = exporter.fill()
        && !exporter.counters().problem().is_empty()
    {
        std::thread::sleep(time);
    }
    exporter.write();
    catch_up(exporter);
}

/// A full disk ends the file behind a whole line. With room again, everything that the history
/// still has is written, and what it has not is an exact loss with the reason.
#[test]
fn a_full_disk() {
    let Some(directory) = directory() else { return on_a_small_disk("a_full_disk") };
    let lines = flows("flows-a");
    let whole = written(&lines, "");
    let path = directory.join("out.log");
    let on_disk = || fs::read_to_string(&path).unwrap();
    for limit in [900, 300] {
        let history = Arc::new(History::new(limit));
        let exporter = exporter(&config(&directory, ""), &history);
        let blocker = fill(&directory, 100);
        let (first, rest) = lines.split_at(lines.match_indices('\n').nth(299).unwrap().0 + 1);
        load(&history, first);
        catch_up(&exporter);
        let full = on_disk();
        assert!(full.len() < 110_000 && full.ends_with('\n') && whole.starts_with(&full), "{}", full.len());
        let problem = exporter.counters().problem();
        assert!(problem.contains("No space left on device"), "{problem}");
        load(&history, rest);
        retry(&exporter);
        assert_eq!(on_disk(), full, "there is no room yet");
        fs::remove_file(blocker).unwrap();
        retry(&exporter);
        assert_eq!(exporter.counters().problem(), "");
        let (written, lost) = (exporter.counters().lines(), exporter.counters().lost(Loss::DiskFull));
        assert_eq!(written + lost, 900);
        assert_eq!(on_disk().lines().count() as u64, written);
        if limit == 900 {
            assert_eq!(on_disk(), whole);
        } else {
            assert!(lost > 100, "{lost}");
            assert!(whole.starts_with(&full) && on_disk().lines().all(|line| whole.contains(line)));
        }
        finish(&exporter);
        fs::remove_file(&path).unwrap();
    }
}

/// An exporter that cannot write at its end counts what it had, with the reason.
#[test]
fn a_read_only_disk() {
    let Some(directory) = directory() else { return on_a_small_disk("a_read_only_disk") };
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(&directory).status().unwrap();
    assert!(remounted.success());
    let exporter = exporter(&config(&directory, ""), &history(&flows("flows-ev")));
    exporter.write();
    assert!(exporter.counters().problem().contains("Read-only file system"));
    retry(&exporter);
    // At the end it tries once, and does not make lines of all the rest for nothing.
    finish(&exporter);
    assert_eq!(exporter.counters().lines(), 0);
    assert!(!directory.join("out.log").exists());
}

/// While one exporter's write does not return, another writes on; then the first goes on where the
/// history begins by then, and the number of what it missed is exact.
#[cfg(feature = "fault-injection")]
#[test]
fn a_slow_disk_holds_up_one() {
    use webb_flow::fault::inject;
    use webb_observer::export::ExportConfig;

    let scratch = tempfile::tempdir().unwrap();
    let (lines, history) = (flows("flows-a"), Arc::new(History::new(1000)));
    let slow = ExportConfig { name: "slow".to_owned(), ..config(scratch.path(), "") };
    let quick = config(&scratch.path().join("quick"), "");
    let (slow, quick) = (exporter(&slow, &history), exporter(&quick, &history));
    inject::hold("slow/write");
    std::thread::scope(|scope| {
        load(&history, &lines);
        let writing = scope.spawn(|| catch_up(&slow));
        let deadline = Instant::now() + Duration::from_mins(1);
        while !inject::is_held("slow/write") {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(1));
        }
        for _ in 0..4 {
            catch_up(&quick);
            load(&history, &lines);
        }
        inject::release("slow/write");
        writing.join().unwrap();
    });
    finish(&slow);
    finish(&quick);
    let counters = (slow.counters(), quick.counters());
    assert_eq!((counters.1.lines(), counters.1.lost(Loss::Overrun)), (4500, 0));
    assert_eq!(counters.0.lines() + counters.0.lost(Loss::Overrun), 4500);
    assert!(counters.0.lost(Loss::Overrun) > 2000);
    let text = fs::read_to_string(scratch.path().join("out.log")).unwrap();
    assert_eq!(text.lines().count() as u64, counters.0.lines());
}
