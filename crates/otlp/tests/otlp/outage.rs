//! A day without a receiver, by a clock that a test moves.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use webb_otlp::{BatchConfig, Encoding, Loss, OutputConfig, RetryConfig, SpoolConfig, Stream};

use crate::common::{TestOwner, closed, output, quick, sized, sorted, spool};
use crate::receiver::Receiver;

/// A day without a receiver, with a MiB of spool: the directory stays within its bound, flows are
/// lost first and rollups last, oldest first, and what is left arrives when the receiver is back.
#[tokio::test(start_paused = true)]
async fn a_day_without_a_receiver() {
    let directory = tempfile::tempdir().unwrap();
    // Free again, so that connections are refused.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let retry = RetryConfig { min: Duration::from_secs(1), max: Duration::from_secs(8) };
    let spool = SpoolConfig { max_bytes: 1 << 20, max_age: Duration::from_hours(48), ..spool(directory.path()) };
    let output = Arc::new(output(OutputConfig {
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        queue_bytes: 1 << 16,
        batch: BatchConfig { max_bytes: 1 << 16, ..BatchConfig::default() },
        retry,
        spool: Some(spool),
        ..quick()
    }));
    let owner = TestOwner::default();
    let figures = output.figures();
    let mut number = 0;
    let mut next = |stream, records, letters| {
        number += records;
        output.offer(sized(stream, Encoding::Gzip, number - records..number, letters));
    };
    let day = async {
        for _minute in 0..24 * 60 {
            next(Stream::Rollups, 5, 100);
            next(Stream::Flows, 10, 100);
            sleep(Duration::from_mins(1)).await;
            closed(&output);
            assert!(figures.spool_bytes() <= 1 << 20 && figures.queue_bytes() <= 1 << 16);
        }
    };
    tokio::select! {
        () = output.deliver(&owner) => panic!("it was not told to stop"),
        () = day => {}
    }
    let (rollups, flows) = (figures.ledger(Stream::Rollups), figures.ledger(Stream::Flows));
    assert_eq!((rollups.offered, rollups.waiting), (7200, 7200), "{rollups:?}");
    assert_eq!((flows.offered, flows.delivered), (14_400, 0));
    assert!(flows.waiting > 0 && flows.dropped(Loss::SpoolFull) > 0, "{flows:?}");
    assert_eq!(flows.waiting + flows.dropped(Loss::SpoolFull), 14_400, "{flows:?}");
    let attempts = figures.requests().iter().map(|(_, count)| *count).sum::<u64>();
    // One after each wait, of 4 s on average.
    assert!((10_000..50_000).contains(&attempts), "{attempts}");
    assert!(owner.beats.load(std::sync::atomic::Ordering::Relaxed) > 80_000);

    tokio::time::resume();
    let receiver = Receiver::start(true, None, port);
    let settled = async {
        let deadline = Instant::now() + Duration::from_mins(2);
        while closed(&output).waiting > 0 {
            assert!(Instant::now() < deadline, "{:?}", closed(&output));
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = output.deliver(&owner) => panic!("it was not told to stop"),
        () = settled => {}
    }
    assert_eq!(figures.spool_files(), 0);
    let taken = sorted(receiver.taken());
    assert_eq!(taken.len() as u64, 7200 + flows.waiting);
    // Of flows the youngest are left.
    let youngest: Vec<_> = taken.iter().filter(|number| **number % 15 >= 5).copied().collect();
    let first = youngest[0];
    assert_eq!(youngest, (first..21_600).filter(|number| number % 15 >= 5).collect::<Vec<_>>());
}

/// What is older than allowed is dropped, and its file with it.
#[tokio::test(start_paused = true)]
async fn old_files_are_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let output = output(OutputConfig {
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        spool: Some(spool(directory.path())),
        retry: RetryConfig { min: Duration::from_secs(1), max: Duration::from_mins(1) },
        ..quick()
    });
    let owner = TestOwner::default();
    let days = async {
        output.offer(sized(Stream::Flows, Encoding::Gzip, 0..10, 10));
        sleep(Duration::from_hours(23)).await;
        output.offer(sized(Stream::Rollups, Encoding::Gzip, 10..30, 10));
        assert_eq!(closed(&output).waiting, 30);
        sleep(Duration::from_hours(2)).await;
        let ledger = closed(&output);
        assert_eq!((ledger.waiting, ledger.dropped(Loss::TooOld)), (20, 10));
        assert_eq!(output.figures().spool_files(), 1);
    };
    tokio::select! {
        () = output.deliver(&owner) => panic!("it was not told to stop"),
        () = days => {}
    }
}
