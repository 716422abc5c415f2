//! The files: rotation, torn lines, files that others move away, paths that lead elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use flate2::read::GzDecoder;
use webb_observer::export::{ExportConfig, Loss, Rotation};

use crate::common::{catch_up, config, exporter, finish, flows, history, load, written};

/// The files of a directory by name, unpacked.
fn files(directory: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name().into_string().unwrap())).unwrap();
        let mut text = String::new();
        if path.extension().is_some_and(|ending| ending == "gz") {
            GzDecoder::new(fs::File::open(&path).unwrap()).read_to_string(&mut text).unwrap();
        } else {
            text = fs::read_to_string(path).unwrap();
        }
        files.insert(name, text);
    }
    files
}

fn rotated(config: ExportConfig, rotation: Rotation) -> ExportConfig {
    ExportConfig { rotation, ..config }
}

/// Under load every file is as full as it may be, lines are whole and in order over all files, and
/// those before the current one are compressed.
#[test]
fn files_are_full_and_lines_whole() {
    let scratch = tempfile::tempdir().unwrap();
    let rotation = Rotation { max_bytes: 100_000, backups: 0, compress: true, max_age: None };
    let config = rotated(config(scratch.path(), ""), rotation);
    let lines = flows("flows-a");
    let history = history("");
    let exporter = exporter(&config, &history);
    for _ in 0..3 {
        load(&history, &lines);
        catch_up(&exporter);
    }
    finish(&exporter);
    let files = files(scratch.path());
    // `out-TIME.log.gz` is before `out.log`, and times are in order.
    let all: String = files.values().map(String::as_str).collect();
    assert_eq!(all, written(&lines, "").repeat(3));
    assert_eq!(exporter.counters().rotations(), files.len() as u64 - 1);
    assert!(files.keys().filter(|name| name.ends_with(".log.gz")).count() > 5, "{:?}", files.keys());
    let mut sizes = files.values().map(String::len).zip(files.values().skip(1));
    for (size, next) in &mut sizes {
        let first = next.lines().next().unwrap().len() + 1;
        assert!(size <= 100_000 && size + first > 100_000, "{size} {first}");
    }
    assert_eq!(exporter.counters().lines(), all.lines().count() as u64);
    assert_eq!(exporter.counters().bytes(), all.len() as u64);
}

/// So many files are kept as are asked for, with the permissions of the first; one of some age is
/// closed; a line that no file can hold is lost, and counted.
#[test]
fn count_age_and_size_have_limits() {
    let scratch = tempfile::tempdir().unwrap();
    let lines = flows("flows-a");
    let path = scratch.path().join("out.log");
    fs::write(&path, "{}\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let rotation = Rotation { max_bytes: 50_000, backups: 2, compress: false, max_age: None };
    let bounded = rotated(config(scratch.path(), ""), rotation);
    finish(&exporter(&bounded, &history(&lines)));
    assert_eq!(files(scratch.path()).len(), 3);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let scratch = tempfile::tempdir().unwrap();
    let rotation = Rotation { max_bytes: 1 << 20, backups: 0, compress: false, max_age: Some(Duration::ZERO) };
    let old = rotated(config(scratch.path(), ""), rotation);
    let history = history("");
    let exporter_of_old = exporter(&old, &history);
    for line in lines.lines().take(3) {
        load(&history, line);
        catch_up(&exporter_of_old);
    }
    assert_eq!(files(scratch.path()).len(), 3);

    let scratch = tempfile::tempdir().unwrap();
    let rotation = Rotation { max_bytes: 600, backups: 0, compress: false, max_age: None };
    let tiny = rotated(config(scratch.path(), ""), rotation);
    let exporter = exporter(&tiny, &self::history(&lines));
    finish(&exporter);
    let (lost, whole) = (exporter.counters().lost(Loss::TooLong), written(&lines, ""));
    assert_eq!(lost, whole.lines().filter(|line| line.len() >= 600).count() as u64);
    assert!(lost > 0);
    assert_eq!(exporter.counters().lines() + lost, whole.lines().count() as u64);
}

/// A file is appended to. A last line without an end, which a kill leaves, is cut off, however long
/// it is.
#[test]
fn a_torn_line_is_cut_off() {
    let lines = flows("flows-ev");
    let whole = written(&lines, "");
    for torn in ["", "{\"flow\":{", &"x".repeat(10_000)] {
        for before in ["", "{}\n"] {
            let scratch = tempfile::tempdir().unwrap();
            let path = scratch.path().join("out.log");
            fs::write(&path, format!("{before}{torn}")).unwrap();
            finish(&exporter(&config(scratch.path(), ""), &history(&lines)));
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{before}{whole}"));
        }
    }
}

/// A file that is moved away, as `logrotate` does it, is begun anew, and so is its directory.
#[test]
fn a_file_that_is_gone_is_begun_anew() {
    let scratch = tempfile::tempdir().unwrap();
    let logs = scratch.path().join("logs");
    let (config, lines) = (config(&logs, "field_mask: [uuid]"), flows("flows-a"));
    let history = history("");
    let exporter = exporter(&config, &history);
    let mut lines = lines.lines();
    let mut next = || {
        load(&history, lines.next().unwrap());
        catch_up(&exporter);
    };
    next();
    fs::rename(logs.join("out.log"), scratch.path().join("moved")).unwrap();
    next();
    assert_eq!(fs::read_to_string(logs.join("out.log")).unwrap().lines().count(), 1);
    fs::remove_dir_all(&logs).unwrap();
    next();
    assert_eq!(fs::read_to_string(logs.join("out.log")).unwrap().lines().count(), 1);
    assert_eq!(fs::metadata(&logs).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(exporter.counters().lines(), 3);
}

/// A link that is put in the file's place while the exporter runs is not followed out of the
/// directory: nothing is written, the reason is shown, and it goes on when the link is gone.
#[test]
fn a_link_out_of_the_directory_is_not_followed() {
    let scratch = tempfile::tempdir().unwrap();
    let logs = scratch.path().join("logs");
    fs::create_dir(&logs).unwrap();
    let config = config(&logs, "field_mask: [uuid]");
    let secret = scratch.path().join("secret");
    fs::write(&secret, "kept\n").unwrap();
    symlink(&secret, logs.join("out.log")).unwrap();
    let exporter = exporter(&config, &history(&flows("flows-ev")));
    exporter.write();
    let problem = exporter.counters().problem();
    assert!(problem.contains("is outside of"), "{problem}");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "kept\n");
    fs::remove_file(logs.join("out.log")).unwrap();
    exporter.write();
    assert_eq!(exporter.counters().problem(), "");
    finish(&exporter);
    assert_eq!(fs::read_to_string(logs.join("out.log")).unwrap().lines().count(), 188);
}
