//! The spool directory: restarts, damage, disks without room.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use webb_otlp::{Encoding, Environment, LastWindow, Loss, Output, OutputConfig, SpoolConfig, Stream};

use crate::common::{Running, config, output, quick, request, sized, sorted, spool, wait_for};
use crate::receiver::{Receiver, Reply};

/// An endpoint without a receiver.
fn nowhere() -> OutputConfig {
    OutputConfig { endpoint: Some("http://127.0.0.1:9".to_owned()), ..quick() }
}

fn of_instance(config: OutputConfig, instance: &str) -> Output {
    Output::new(config, &Environment::default(), instance).unwrap()
}

/// Names of the files in an output's directory, but for the lock.
fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = directory.join("main").read_dir() else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name != "lock").collect();
    names.sort();
    names
}

/// Waits until the directory has so many files.
fn has_files(directory: &Path, count: usize) {
    wait_for("files", || if names(directory).len() == count { Ok(()) } else { Err(format!("{:?}", names(directory))) });
}

/// What one process has left, even by a kill, the next delivers, oldest first and before its own;
/// files that are delivered are gone.
#[test]
fn files_of_before_are_delivered() {
    let directory = tempfile::tempdir().unwrap();
    for (encoding, fsync) in [(Encoding::Gzip, false), (Encoding::Zstd, true), (Encoding::None, false)] {
        let spool = SpoolConfig { fsync, ..spool(directory.path()) };
        let config_of = |base: OutputConfig| OutputConfig { spool: Some(spool.clone()), in_flight: 1, ..base };
        for (part, instance) in ["one", "two"].into_iter().enumerate() {
            let running = Running::start(of_instance(config_of(nowhere()), instance));
            let first = i64::try_from(part).unwrap() * 20;
            running.offer([
                request(Stream::Flows, encoding, first..first + 10),
                request(Stream::Rollups, encoding, first + 10..first + 20),
            ]);
            has_files(directory.path(), part * 2 + 2);
            let offered = running.ledger();
            assert_eq!((offered.offered, offered.waiting), (first.unsigned_abs() + 20, first.unsigned_abs() + 20));
        }
        let receiver = if fsync { Receiver::http() } else { Receiver::grpc() };
        let output = Arc::new(of_instance(config_of(config(&receiver)), "three"));
        output.offer(request(Stream::Rollups, encoding, 40..50));
        let running = Running::again(output);
        let ledger = running.settled();
        assert_eq!((ledger.offered, ledger.delivered), (50, 50));
        let taken = receiver.taken();
        assert_eq!(sorted(taken.clone()), (0..50).collect::<Vec<_>>());
        assert_eq!(&taken[40..], (40..50).collect::<Vec<_>>());
        assert_eq!(names(directory.path()), Vec::<String>::new());
        assert_eq!((running.output.figures().spool_files(), running.output.figures().spool_bytes()), (0, 0));
    }
}

/// An output with another configuration goes on in the directory of the one before and with its
/// ledger, and replaces none of its files.
#[test]
fn a_changed_output_keeps_files() {
    let directory = tempfile::tempdir().unwrap();
    let spool = Some(spool(directory.path()));
    let mut before = Running::start(output(OutputConfig { spool: spool.clone(), ..nowhere() }));
    before.offer((0..3).map(|part| request(Stream::Flows, Encoding::Gzip, part * 10..part * 10 + 10)));
    has_files(directory.path(), 3);
    before.stop();
    let receiver = Receiver::grpc();
    receiver.rules().always = Some(Reply::grpc(14, "away"));
    let next = output(OutputConfig { spool, ..config(&receiver) });
    let next = next.counting_in(Arc::clone(before.output.figures()));
    next.take_over(&before.output);
    assert_eq!((before.output.abandon(), before.ledger().waiting), (0, 30));
    let running = Running::start(next);
    running.offer((3..6).map(|part| request(Stream::Flows, Encoding::Gzip, part * 10..part * 10 + 10)));
    has_files(directory.path(), 6);
    receiver.rules().always = None;
    assert_eq!(running.settled().delivered, 60);
    assert_eq!(sorted(receiver.taken()), (0..60).collect::<Vec<_>>());
}

/// Records in a directory that an output is configured away from are counted as that, and as
/// offered again when an output finds them there. No figure of a name goes back.
#[test]
fn orphans_are_counted() {
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let with = |directory: &Path| OutputConfig { spool: Some(spool(directory)), ..nowhere() };
    let mut running = Running::start(output(with(directory.path())));
    let figures = Arc::clone(running.output.figures());
    let mut offered = 20;
    running.offer((0..2).map(|part| request(Stream::Flows, Encoding::Gzip, part * 10..part * 10 + 10)));
    for (part, place) in [None, Some(other.path()), Some(directory.path())].into_iter().enumerate() {
        has_files(directory.path(), 2);
        running.stop();
        let next = place.map_or_else(nowhere, with);
        let next = output(next).counting_in(Arc::clone(&figures));
        next.take_over(&running.output);
        let orphans = running.output.abandon();
        assert_eq!(orphans, [20, 0, 0][part]);
        running = Running::start(next);
        offered += [0, 0, 20][part];
        wait_for("files are found", || match running.ledger() {
            ledger if ledger.offered == offered => Ok(()),
            ledger => Err(format!("{ledger:?}")),
        });
        assert_eq!(running.ledger().dropped(Loss::Orphaned), 20);
        assert_eq!(running.ledger().waiting, [0, 0, 20][part]);
    }
    assert_eq!(names(directory.path()).len(), 2);
}

/// Directories of outputs that are not configured are found by the requests in them, but not what
/// is in use, or is something else.
#[test]
fn orphans_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let config = |name: &str| OutputConfig { name: name.to_owned(), spool: Some(spool(directory.path())), ..nowhere() };
    for name in ["left", "running"] {
        let running = Running::start(output(config(name)));
        running.offer([request(Stream::Rollups, Encoding::Gzip, 0..7), request(Stream::Flows, Encoding::Gzip, 7..10)]);
        let figures = running.output.figures();
        wait_for("files", || if figures.spool_files() == 2 { Ok(()) } else { Err(format!("{figures:?}")) });
    }
    fs::create_dir(directory.path().join("notes")).unwrap();
    fs::write(directory.path().join("notes/x.txt"), "").unwrap();
    let found = webb_otlp::orphans([&config("running"), &nowhere()]);
    let [orphan] = &found[..] else { panic!("{found:?}") };
    assert_eq!((orphan.directory.clone(), orphan.files, orphan.records), (directory.path().join("left"), 2, 10));
    let _in_use = Running::start(output(config("left")));
    wait_for("its lock", || {
        let found = webb_otlp::orphans([&config("running")]);
        if found.is_empty() { Ok(()) } else { Err(format!("{found:?}")) }
    });
    assert_eq!(webb_otlp::orphans([]), []);
}

/// A stop leaves what is not delivered in files.
#[test]
fn a_stop_leaves_files() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::grpc();
    receiver.rules().always = Some(Reply::Silence);
    let mut running =
        Running::start(output(OutputConfig { spool: Some(spool(directory.path())), ..config(&receiver) }));
    running.offer([request(Stream::Flows, Encoding::Gzip, 0..10)]);
    assert!(running.stop());
    running.output.close();
    let ledger = running.ledger();
    assert_eq!((ledger.waiting, ledger.dropped.iter().sum::<u64>()), (10, 0));
    assert_eq!(names(directory.path()), ["one-0000000000.flows.10.otlp.gz"]);
}

/// Damaged files are set aside and counted, files of other kinds are left alone, and the rest
/// arrives.
#[test]
fn damage_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path().join("main");
    let spool = Some(spool(directory.path()));
    let running = Running::start(output(OutputConfig { spool: spool.clone(), ..nowhere() }));
    running.offer((0..5).map(|part| request(Stream::Flows, Encoding::Gzip, part * 10..part * 10 + 10)));
    has_files(directory.path(), 5);
    drop(running);
    let files = names(directory.path());
    // Cut, other bytes, a wrong number of records, no request at all, gone before it is read.
    let whole = fs::read(base.join(&files[0])).unwrap();
    fs::write(base.join(&files[0]), &whole[..whole.len() / 2]).unwrap();
    let mut bytes = fs::read(base.join(&files[1])).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(base.join(&files[1]), bytes).unwrap();
    fs::rename(base.join(&files[2]), base.join("one-0000000002.flows.11.otlp.gz")).unwrap();
    fs::write(base.join("old-0000000001.rollups.7.otlp"), "something else").unwrap();
    for other in ["one-0000000009.flows.5.otlp.lz4", "one-0000000009.spans.5.otlp.gz", "notes"] {
        fs::write(base.join(other), "?").unwrap();
    }
    let receiver = Receiver::grpc();
    let running = Running::start(of_instance(OutputConfig { spool, ..config(&receiver) }, "two"));
    wait_for("files are found", || match running.ledger().offered {
        58 => Ok(()),
        other => Err(other.to_string()),
    });
    let ledger = running.settled();
    assert_eq!((ledger.offered, ledger.delivered, ledger.dropped(Loss::Corrupted)), (58, 20, 38));
    assert_eq!(sorted(receiver.taken()), (30..50).collect::<Vec<_>>());
    assert_eq!(running.output.figures().bad_files(), 4);
    let bad = names(directory.path()).iter().filter(|name| name.rsplit('.').next() == Some("bad")).count();
    assert_eq!((bad, names(directory.path()).len()), (4, 4 + 3));
}

/// A directory full of damaged files does not hold up the thread: it emits heartbeats between
/// them, and what is whole arrives.
#[test]
fn much_damage_holds_up_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path().join("main");
    fs::create_dir(&base).unwrap();
    for number in 0..2000 {
        fs::write(base.join(format!("x-{number:010}.rollups.1.otlp")), "damaged").unwrap();
    }
    let receiver = Receiver::grpc();
    let running = Running::start(output(OutputConfig { spool: Some(spool(directory.path())), ..config(&receiver) }));
    running.offer([request(Stream::Flows, Encoding::Gzip, 0..10)]);
    wait_for("all files are set aside", || match running.output.figures().bad_files() {
        2000 => Ok(()),
        other => Err(other.to_string()),
    });
    let ledger = running.settled();
    assert_eq!((ledger.offered, ledger.delivered, ledger.dropped(Loss::Corrupted)), (2010, 10, 2000));
    let beats = running.owner.beats.load(Relaxed);
    assert!(beats >= 100, "{beats} heartbeats");
    assert_eq!(names(directory.path()).len(), 10);
}

/// A directory that is removed under an agent is made again with its lock, and has what waits in
/// memory; one that another process has made in its place is not used.
#[test]
fn a_removed_directory_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path().join("main");
    let config = OutputConfig { spool: Some(spool(directory.path())), ..nowhere() };
    let running = Running::start(output(config.clone()));
    let part = |number: i64| request(Stream::Rollups, Encoding::Gzip, number * 10..number * 10 + 10);
    running.output.offer_window([part(0)], Some(LastWindow { end_ns: 700, ..LastWindow::default() }));
    has_files(directory.path(), 2);
    fs::remove_dir_all(&base).unwrap();
    running.offer([part(1)]);
    has_files(directory.path(), 3);
    assert!(base.join("lock").exists() && base.join("last-window").exists());
    running.has_problem("");
    assert_eq!(running.logged("was removed or replaced").len(), 1);
    assert_eq!(running.output.figures().spool_files(), 2);
    // As one that another process has made by hand, and uses.
    fs::rename(&base, directory.path().join("aside")).unwrap();
    fs::create_dir(&base).unwrap();
    let lock = fs::File::create(base.join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    running.offer([part(2)]);
    running.has_problem("is in use by another process");
    assert_eq!((names(directory.path()), running.ledger().waiting), (Vec::new(), 30));
    drop(lock);
    has_files(directory.path(), 4);
    assert_eq!(running.ledger().waiting, 30);
}

/// A second process that was given the same directory says so, sends from memory, and takes the
/// directory over when the first has ended. Nothing is sent twice.
#[test]
fn a_directory_has_one_user() {
    let directory = tempfile::tempdir().unwrap();
    let spool = Some(spool(directory.path()));
    let first = Running::start(output(OutputConfig { spool: spool.clone(), ..nowhere() }));
    first.offer([request(Stream::Flows, Encoding::Gzip, 0..10)]);
    has_files(directory.path(), 1);
    let receiver = Receiver::grpc();
    let second = Running::start(of_instance(OutputConfig { spool, ..config(&receiver) }, "two"));
    second.has_problem("is in use by another process");
    second.offer([request(Stream::Flows, Encoding::Gzip, 10..20)]);
    assert_eq!(second.settled().delivered, 10);
    assert_eq!(receiver.taken(), (10..20).collect::<Vec<_>>());
    drop(first);
    wait_for("it takes over", || match second.ledger().delivered {
        20 => Ok(()),
        other => Err(other.to_string()),
    });
    assert_eq!(sorted(receiver.taken()), (0..20).collect::<Vec<_>>());
    second.has_problem("");
    assert_eq!(second.owner.problems.lock().unwrap().len(), 2);
}

/// Halves of a request have files of their own, and the whole has none any more.
#[test]
fn halves_are_files() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::http();
    receiver.reply([Reply::http(413)]);
    receiver.rules().always = Some(Reply::http(503));
    let running = Running::start(output(OutputConfig { spool: Some(spool(directory.path())), ..config(&receiver) }));
    running.offer([request(Stream::Rollups, Encoding::Gzip, 0..11)]);
    wait_for("halves", || if receiver.came().len() > 2 { Ok(()) } else { Err(String::new()) });
    has_files(directory.path(), 2);
    assert!(names(directory.path())[0].ends_with(".rollups.5.otlp.gz"), "{:?}", names(directory.path()));
    receiver.rules().always = None;
    assert_eq!(running.settled().delivered, 11);
    has_files(directory.path(), 0);
}

/// Names the directory that the other process works in.
const DIRECTORY: &str = "WEBB_TEST_OTLP_DIRECTORY";

/// The directory, in the process that was run for one case.
fn directory() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

/// Runs a test again as root of a mount namespace of its own, with a file system of a MiB on the
/// directory.
fn on_a_small_disk(test: &str) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: a file system is root's to mount");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=1m tmpfs \"$0\" && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(scratch.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("spool::{test}")])
        .env(DIRECTORY, scratch.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// A disk without room: what does not fit waits in memory, it is said once, no half file is left,
/// and all of it arrives; when there is room again, files are written again.
#[test]
fn a_full_disk_is_said_once() {
    let Some(directory) = directory() else { return on_a_small_disk("a_full_disk_is_said_once") };
    let receiver = Receiver::grpc();
    receiver.rules().always = Some(Reply::http(503));
    let running = Running::start(output(OutputConfig { spool: Some(spool(&directory)), ..config(&receiver) }));
    // Some 60 kB each.
    let offer = |part: i64| {
        running.offer([sized(Stream::Rollups, Encoding::Gzip, part * 100..part * 100 + 100, 1000)]);
    };
    offer(0);
    running.has_problem("answers 503");
    running.output.offer_window([], Some(LastWindow { end_ns: 700, ..LastWindow::default() }));
    wait_for("a note", || {
        let names = names(&directory);
        if names.iter().any(|name| name == "last-window") { Ok(()) } else { Err(format!("{names:?}")) }
    });
    (1..30).for_each(offer);
    running.has_problem("No space left on device");
    // Also while the receiver is away, which was said just before.
    wait_for("a line", || {
        let lines = running.logged("requests wait in memory");
        if lines.len() == 1 { Ok(()) } else { Err(format!("{lines:?}")) }
    });
    let ledger = running.ledger();
    assert_eq!((ledger.offered, ledger.waiting), (3000, 3000));
    // What may be sent from now on is not noted, so there must be no note of before.
    assert!(names(&directory).iter().all(|name| name.ends_with(".otlp.gz")), "{:?}", names(&directory));
    assert!(running.output.figures().spool_errors() >= 1);
    let said = running.owner.problems.lock().unwrap().iter().filter(|problem| problem.contains("No space")).count();
    assert!(said <= 2, "{:?}", running.owner.problems.lock().unwrap());
    receiver.rules().always = None;
    assert_eq!(running.settled().delivered, 3000);
    assert_eq!(sorted(receiver.taken()), (0..3000).collect::<Vec<_>>());
    receiver.rules().always = Some(Reply::http(503));
    wait_for("files again", || {
        offer(30);
        if running.output.figures().spool_files() > 0 { Ok(()) } else { Err(running.output.figures().problem()) }
    });
    receiver.rules().always = None;
    wait_for("a note again", || if directory.join("main/last-window").exists() { Ok(()) } else { Err(String::new()) });
}

/// A directory that is read-only is no reason to lose anything.
#[test]
fn a_read_only_disk_is_survived() {
    let Some(directory) = directory() else { return on_a_small_disk("a_read_only_disk_is_survived") };
    let receiver = Receiver::grpc();
    receiver.rules().always = Some(Reply::http(503));
    let running = Running::start(output(OutputConfig { spool: Some(spool(&directory)), ..config(&receiver) }));
    running.offer([request(Stream::Rollups, Encoding::Gzip, 0..10)]);
    has_files(&directory, 1);
    let status = Command::new("mount").args(["-o", "remount,ro"]).arg(&directory).status().unwrap();
    assert!(status.success(), "no file is open for writing");
    running.offer([request(Stream::Rollups, Encoding::Gzip, 10..20)]);
    running.has_problem("Read-only file system");
    receiver.rules().always = None;
    assert_eq!(running.settled().delivered, 20);
    assert_eq!(sorted(receiver.taken()), (0..20).collect::<Vec<_>>());
}

/// The end of a window is written once the directory has all requests of it, and not before; a
/// place where it cannot be written costs no request.
#[test]
fn the_last_window_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let config = OutputConfig { spool: Some(spool(directory.path())), ..nowhere() };
    let window = |end_ns| Some(LastWindow { end_ns, note: "a note".to_owned() });
    let known = || webb_otlp::last_window(&config, "node-1", 1000);
    let output = Arc::new(of_instance(config.clone(), "one").on_node("node-1"));
    output.offer_window([request(Stream::Rollups, Encoding::Gzip, 0..10)], window(700));
    assert_eq!(known(), Ok(None), "no file has the rows yet");
    let running = Running::again(output);
    let is = |end_ns: u64| {
        wait_for("the end of the window", || match known() {
            Ok(found) if found == window(end_ns) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    };
    is(700);
    assert_eq!(names(directory.path()).iter().filter(|name| name.contains(".rollups.10.")).count(), 1);
    // Rows of a window that is not over are no end of one.
    running.offer([request(Stream::Rollups, Encoding::Gzip, 10..20)]);
    wait_for("files", || {
        let files = running.output.figures().spool_files();
        if files == 2 { Ok(()) } else { Err(files.to_string()) }
    });
    assert_eq!(known(), Ok(window(700)));
    running.output.offer_window([request(Stream::Rollups, Encoding::Gzip, 20..30)], window(800));
    is(800);
    assert!(webb_otlp::last_window(&config, "node-2", 1000).is_err(), "it is of another node");

    let file = directory.path().join("main/last-window");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    running.output.offer_window([request(Stream::Rollups, Encoding::Gzip, 30..40)], window(900));
    wait_for("the request's file", || {
        let figures = running.output.figures();
        let seen = (figures.spool_files(), figures.spool_errors());
        if seen == (4, 1) { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    assert!(known().is_err());
    assert_eq!(running.output.figures().ledger(Stream::Rollups).waiting, 40);
}
