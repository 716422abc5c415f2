//! The file of exporters while the agent runs: what is read, what is applied, what is refused.

use std::fs;
use std::sync::Arc;

use actix::Addr;
use webb::actors::Finish;
use webb::actors::export_file::ExportFile;
use webb::actors::export_follower::{ExportFollower, FlowLogFile};
use webb::actors::exporters::SetChanges;
use webb::actors::file_follower::PollFile;
use webb::actors::restart::Intensity;
use webb::exports::{Rules, read};
use webb_flow::fault::State;
use webb_settings::SourceFile;

use crate::common::{flows, load};
use crate::supervised::{Set, lines_of, set, until};

fn rules(directory: &std::path::Path) -> Rules {
    Rules { directory: directory.to_owned(), max_age: None, sync: None, taken: Some("static.log".into()) }
}

fn problems(text: &str) -> String {
    let file = SourceFile { name: "flowlogs.yaml".to_owned(), text: text.to_owned() };
    read(file, &rules(std::path::Path::new("/not-there"))).unwrap_err().to_string()
}

/// Everything that is wrong is said at once, each with its line and what was expected.
#[test]
fn problems_have_their_lines() {
    insta::assert_snapshot!(problems(
        "flowLogs:\n\
         - name: x\n  filePath: a.log\n\
         - name: x\n  filePath: a.log\n\
         - filePath: \"\"\n\
         - name: y\n  filePath: /etc/passwd\n  fieldMask: [time, pod]\n  fieldAggregate: verdict\n\
         - name: static\n  filePath: static.log\n  fileMaxSizeMb: -1\n  fileMaxBackups: many\n  fileCompress: 1\n\
         - name: z\n  filePath: z.log\n  end: tomorrow\n  aggregationInterval: 10\n  \
         includeFilters:\n  - verdict: [LOST]\n  - source_ip: [10.0.0]\n"
    ));
    let many: Vec<_> = (0..17).map(|number| format!("- {{name: n{number}, filePath: n{number}}}\n")).collect();
    let many = many.concat();
    assert!(problems(&format!("flowLogs:\n{many}")).contains("expected at most 16 exporters, found 17"));
    assert!(problems("flowLogs: [").contains("cannot parse yaml"));
    assert!(problems("- name: a\n").contains("expected keys and values, found a list"));
}

/// Keys that are unknown, and half an aggregation, are warned of; what is left out has Cilium's
/// default; a file without exporters is one.
#[test]
fn what_is_ignored_has_a_warning() {
    let of = |text: &str| {
        let file = SourceFile { name: "flowlogs.yaml".to_owned(), text: text.to_owned() };
        read(file, &rules(std::path::Path::new("/not-there"))).unwrap()
    };
    let found = of("{\"flowLogs\": [{\"name\": \"a\", \"filePath\": \"stdout\", \"fieldAggregate\": [\"verdict\"],\n\
                    \"color\": 1, \"aggregationInterval\": \"0s\", \"end\": \"2026-01-31T23:59:59.5+01:00\"}]}");
    let warnings: String = found.warnings.iter().map(webb_settings::Problem::one_line).collect();
    assert!(warnings.contains("has no key \"color\"") && warnings.contains("each flow is a line"), "{warnings}");
    let config = &found.exporters[0].config;
    assert_eq!((config.rotation.max_bytes, config.rotation.backups), (10 << 20, 5));
    assert_eq!(config.end_ns, Some(1_769_900_399_500_000_000));
    assert!(of("").exporters.is_empty() && of("flowLogs:\n").exporters.is_empty());
}

/// The follower, its set and its file.
struct Following {
    set: Set,
    file: Arc<ExportFile>,
    follower: Addr<ExportFollower>,
    directory: tempfile::TempDir,
}

impl Following {
    fn new() -> Self {
        let (set, directory) = (set(), tempfile::tempdir().unwrap());
        let file = Arc::new(ExportFile::new(directory.path().join("flowlogs.yaml"), rules(directory.path())));
        let intensity =
            Intensity::new(set.components.component("export"), Arc::clone(&set.policy), set.escalations.clone());
        let follower = ExportFollower::start(
            FlowLogFile { file: Arc::clone(&file), exporters: Arc::clone(&set.exporters) },
            intensity,
        );
        Self { set, file, follower, directory }
    }

    /// Replaces the file, as a ConfigMap is, and waits for the outcome of its next reload.
    async fn becomes(&self, text: &str) {
        let count = || self.file.watched().reloads().counts().iter().map(|(_, count)| count).sum::<u64>();
        let before = count();
        let new = self.directory.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.directory.path().join("flowlogs.yaml")).unwrap();
        until("the file is read", || {
            self.follower.do_send(PollFile);
            count() > before
        })
        .await;
    }

    fn names(&self) -> Vec<String> {
        self.set.exporters.status().into_iter().map(|one| one.name).collect()
    }

    fn lines(&self, name: &str) -> usize {
        lines_of(&self.directory.path().join(name))
    }
}

/// While an exporter cannot be started, because the one before it hangs in a write, that is said at
/// every poll; a file from before that comes back is applied and not taken for one in use.
#[cfg(feature = "fault-injection")]
#[actix::test]
async fn what_could_not_be_started_is_said() {
    use webb_flow::fault::inject;

    let following = Following::new();
    let component = following.set.components.component("export");
    let file = |fields: &str| format!("flowLogs:\n- {{name: hangs, filePath: hangs.log, fieldMask: [{fields}]}}\n");
    inject::hold("hangs/write");
    following.becomes(&file("uuid")).await;
    until("it is in force", || component.state() == State::Up).await;
    load(&following.set.history, &flows("flows-a"));
    until("it hangs", || inject::is_held("hangs/write")).await;
    following.becomes(&file("time")).await;
    until("it is said", || component.state() == State::Degraded).await;
    assert_eq!(component.reason(), "not every exporter of the file could be started");
    let failed = following.file.changes().failed;
    until("it was tried again", || {
        following.follower.do_send(PollFile);
        assert_eq!(component.state(), State::Degraded);
        following.file.changes().failed > failed + 1
    })
    .await;
    following.becomes(&file("uuid")).await;
    until("that cannot be started either", || following.file.changes().failed > failed + 2).await;
    assert_eq!((component.state(), following.names().len()), (State::Degraded, 0));
    inject::release("hangs/write");
    until("it runs again", || {
        following.follower.do_send(PollFile);
        component.state() == State::Up
    })
    .await;
    assert_eq!(following.names(), ["hangs"]);
    until("it writes", || following.lines("hangs.log") == 900).await;
    following.follower.send(Finish).await.unwrap();
    following.set.exporters.finish().await;
}

/// A file that comes later, changes, is wrong for a while, and is gone: what is unchanged goes on
/// untouched, a file with a problem changes nothing, and each change is counted.
#[actix::test]
async fn a_file_is_followed() {
    let following = Following::new();
    let component = following.set.components.component("export");
    until("a file that is missing is said", || component.state() == State::Degraded).await;
    following
        .becomes(
            "flowLogs:\n- {name: all, filePath: all.log, fieldMask: [uuid]}\n\
             - {name: drops, filePath: drops.log, fieldMask: [time, uuid]}\n",
        )
        .await;
    until("it is in force", || component.state() == State::Up).await;
    assert_eq!(following.names(), ["all", "drops"]);
    load(&following.set.history, &flows("flows-a"));
    until("the flows are written", || following.lines("all.log") == 900).await;

    // In another order, with lists in another order, it is the same.
    following
        .becomes(
            "flowLogs:\n- {name: drops, filePath: drops.log, fieldMask: [uuid, time]}\n\
             - {name: all, filePath: all.log, fieldMask: [uuid], fileMaxSizeMb: 0}\n",
        )
        .await;
    assert_eq!(following.file.changes(), SetChanges { added: 2, ..SetChanges::default() });

    let hash = following.file.hash();
    following.becomes("flowLogs:\n- {name: all, filePath: all.log}\n- {name: all}\n").await;
    until("the problem is said", || component.state() == State::Degraded).await;
    assert!(component.reason().contains("expected `filePath`"), "{}", component.reason());
    assert_eq!((following.names().len(), following.file.hash()), (2, hash));
    load(&following.set.history, &flows("flows-a"));
    until("the old set goes on", || following.lines("all.log") == 1800).await;

    following
        .becomes(
            "flowLogs:\n- {name: all, filePath: other.log}\n\
             - {name: ended, filePath: ended.log, end: \"2023-10-09T23:59:59-07:00\"}\n",
        )
        .await;
    until("it is in force", || component.state() == State::Up).await;
    assert_eq!(following.file.changes(), SetChanges { added: 3, updated: 1, removed: 1, failed: 0 });
    let status = following.set.exporters.status();
    assert_eq!(
        status.iter().map(|one| (one.name.as_str(), one.active)).collect::<Vec<_>>(),
        [("all", true), ("ended", false)]
    );
    load(&following.set.history, &flows("flows-a"));
    until("the new one writes", || following.lines("other.log") == 900).await;
    assert_eq!((following.lines("all.log"), following.lines("ended.log")), (1800, 0));
    assert_eq!(following.file.watched().reloads().counts(), [("applied", 3), ("rejected", 2)]);
    following.follower.send(Finish).await.unwrap();
    following.set.exporters.finish().await;
}
