//! What supervision promises, one test each: a fault is caught, counted by kind, restarted with backoff, and given up
//! when it repeats too often; nothing that was counted is lost.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it is wrong")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use actix::Addr;
use arc_swap::ArcSwap;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use webb::actors::keeper::{Body, ThreadKeeper};
use webb::actors::restart::{Intensity, Policy};
use webb::actors::{Finish, Restart};
use webb::fault::{Component, Components, Kind, State};

fn policy() -> Policy {
    Policy {
        max_restarts: 3,
        window: Duration::from_mins(1),
        backoff_min: Duration::from_millis(10),
        backoff_max: Duration::from_millis(40),
        stall_after: Duration::from_millis(600),
    }
}

struct Kept {
    component: Arc<Component>,
    escalated: UnboundedReceiver<String>,
    keeper: Addr<ThreadKeeper>,
}

fn keep(body: Body) -> Kept {
    let component = Components::default().component("test");
    let (escalations, escalated) = unbounded_channel();
    let intensity = Intensity::new(Arc::clone(&component), Arc::new(ArcSwap::from_pointee(policy())), escalations);
    let keeper = ThreadKeeper::start(body, Arc::new(|| {}), intensity);
    Kept { component, escalated, keeper }
}

/// Waits for something that must come true; the bound only ends a test that has failed.
async fn until(what: &str, mut true_yet: impl FnMut() -> bool) {
    let began = Instant::now();
    while !true_yet() {
        assert!(began.elapsed() < Duration::from_secs(20), "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A body that beats until it is told to stop.
fn live(life: &webb::pipeline::Life) {
    while !life.stopping() {
        life.beat();
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A panic ends one life of the thread; the next one begins behind the same address.
#[actix::test]
async fn a_panic_is_counted_and_restarted() {
    let lives = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&lives);
    let kept = keep(Arc::new(move |life| {
        assert!(seen.fetch_add(1, SeqCst) != 0, "the first life fails");
        live(life);
        Ok(())
    }));
    until("second life", || lives.load(SeqCst) == 2 && kept.component.state() == State::Up).await;
    assert_eq!(kept.component.faults(Kind::Panicked), 1);
    assert_eq!(kept.component.restarts(), 1);
    kept.keeper.send(Finish).await.unwrap();
    assert_eq!(kept.component.state(), State::Stopped);
}

/// An error is a fault of its own kind.
#[actix::test]
async fn an_error_is_counted_and_restarted() {
    let lives = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&lives);
    let kept = keep(Arc::new(move |life| {
        if seen.fetch_add(1, SeqCst) == 0 {
            return Err("no ring".into());
        }
        live(life);
        Ok(())
    }));
    until("second life", || lives.load(SeqCst) == 2).await;
    assert_eq!((kept.component.faults(Kind::Failed), kept.component.faults(Kind::Panicked)), (1, 0));
    kept.keeper.send(Finish).await.unwrap();
}

/// Too many restarts end in an escalation, and the thread is not started again.
#[actix::test]
async fn too_many_restarts_escalate() {
    let lives = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&lives);
    let mut kept = keep(Arc::new(move |_| {
        seen.fetch_add(1, SeqCst);
        panic!("always");
    }));
    assert_eq!(kept.escalated.recv().await.as_deref(), Some("test"));
    assert_eq!(kept.component.state(), State::GaveUp);
    assert_eq!(lives.load(SeqCst), 4, "the first life and three restarts");
    kept.keeper.send(Finish).await.unwrap();
}

/// A thread that stands still is noticed, and the next life begins only when it has really ended.
#[actix::test]
async fn a_stall_is_noticed_and_never_doubled() {
    let alive = Arc::new(AtomicU64::new(0));
    let lives = Arc::new(AtomicU64::new(0));
    let (count, seen) = (Arc::clone(&alive), Arc::clone(&lives));
    let kept = keep(Arc::new(move |life| {
        assert_eq!(count.fetch_add(1, SeqCst), 0, "two lives at once");
        if seen.fetch_add(1, SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(1500));
        }
        live(life);
        count.fetch_sub(1, SeqCst);
        Ok(())
    }));
    until("second life", || lives.load(SeqCst) == 2).await;
    assert_eq!(kept.component.faults(Kind::Stalled), 1);
    assert_eq!(kept.component.faults(Kind::Panicked), 0);
    kept.keeper.send(Finish).await.unwrap();
}

/// A restart that an operator asks for is no fault.
#[actix::test]
async fn a_restart_on_request_is_no_fault() {
    let lives = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&lives);
    let kept = keep(Arc::new(move |life| {
        seen.fetch_add(1, SeqCst);
        live(life);
        Ok(())
    }));
    until("first life", || lives.load(SeqCst) == 1).await;
    kept.keeper.send(Restart).await.unwrap();
    until("second life", || lives.load(SeqCst) == 2).await;
    assert!(Kind::ALL.iter().all(|kind| kept.component.faults(*kind) == 0));
    assert_eq!(kept.component.restarts(), 1);
    kept.keeper.send(Finish).await.unwrap();
}

/// Supervision works only if panics unwind: a release profile with `panic = "abort"` must fail here.
#[test]
fn panics_unwind() {
    assert!(std::panic::catch_unwind(|| panic!("caught")).is_err());
}
