//! Promises of supervision, one test each: a fault is caught, counted by kind, restarted with
//! backoff, and given up when it repeats too often; nothing that was counted is lost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::Addr;
use arc_swap::ArcSwap;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use webb::actors::restart::{Intensity, RestartPolicy};
use webb::actors::thread_supervisor::{Body, ThreadSupervisor};
use webb::actors::{Finish, Restart, Resume};
use webb_flow::fault::{Component, Components, FaultType, State};

fn policy() -> RestartPolicy {
    RestartPolicy {
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
    supervisor: Addr<ThreadSupervisor>,
}

fn keep(body: Body) -> Kept {
    keep_by(policy(), body)
}

fn keep_by(policy: RestartPolicy, body: Body) -> Kept {
    let component = Components::default().component("test");
    let (escalations, escalated) = unbounded_channel();
    let intensity = Intensity::new(Arc::clone(&component), Arc::new(ArcSwap::from_pointee(policy)), escalations);
    let supervisor = ThreadSupervisor::start(body, Arc::new(|| {}), intensity);
    Kept { component, escalated, supervisor }
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
fn live(lifecycle: &webb::pipeline::Lifecycle) {
    while !lifecycle.stopping() {
        lifecycle.beat();
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A panic ends one run of the thread; the next one begins behind the same address.
#[actix::test]
async fn a_panic_is_counted_and_restarted() {
    let lifecycles = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&lifecycles);
    let kept = keep(Arc::new(move |lifecycle| {
        assert!(seen.fetch_add(1, SeqCst) != 0, "the first lifecycle fails");
        live(lifecycle);
        Ok(())
    }));
    until("second lifecycle", || lifecycles.load(SeqCst) == 2 && kept.component.state() == State::Up).await;
    assert_eq!(kept.component.faults(FaultType::Panicked), 1);
    assert_eq!(kept.component.restarts(), 1);
    kept.supervisor.send(Finish).await.unwrap();
    assert_eq!(kept.component.state(), State::Stopped);
}

/// An error is a fault of its own kind.
#[actix::test]
async fn an_error_is_counted_and_restarted() {
    let lifecycles = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&lifecycles);
    let kept = keep(Arc::new(move |lifecycle| {
        if seen.fetch_add(1, SeqCst) == 0 {
            return Err("no ring".into());
        }
        live(lifecycle);
        Ok(())
    }));
    until("second lifecycle", || lifecycles.load(SeqCst) == 2).await;
    assert_eq!((kept.component.faults(FaultType::Failed), kept.component.faults(FaultType::Panicked)), (1, 0));
    kept.supervisor.send(Finish).await.unwrap();
}

/// Too many restarts end in an escalation, and the thread is not started again.
#[actix::test]
async fn too_many_restarts_escalate() {
    let lifecycles = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&lifecycles);
    let mut kept = keep(Arc::new(move |_| {
        seen.fetch_add(1, SeqCst);
        panic!("always");
    }));
    assert_eq!(kept.escalated.recv().await.as_deref(), Some("test"));
    assert_eq!(kept.component.state(), State::GaveUp);
    assert_eq!(lifecycles.load(SeqCst), 4, "the first lifecycle and three restarts");
    kept.supervisor.send(Finish).await.unwrap();
}

/// A thread that stands still is noticed, and the next run begins only when it has really ended.
#[actix::test]
async fn a_stall_is_noticed_and_never_doubled() {
    let alive = Arc::new(AtomicU64::new(0));
    let lifecycles = Arc::new(AtomicU64::new(0));
    let goes_on = Arc::new(AtomicBool::new(false));
    let (count, seen, may_go_on) = (Arc::clone(&alive), Arc::clone(&lifecycles), Arc::clone(&goes_on));
    let kept = keep(Arc::new(move |lifecycle| {
        assert_eq!(count.fetch_add(1, SeqCst), 0, "two lifecycles at once");
        seen.fetch_add(1, SeqCst);
        while !may_go_on.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        live(lifecycle);
        count.fetch_sub(1, SeqCst);
        Ok(())
    }));
    until("stall noticed", || kept.component.faults(FaultType::Stalled) == 1).await;
    assert_eq!((lifecycles.load(SeqCst), kept.component.state()), (1, State::Restarting));
    goes_on.store(true, SeqCst);
    until("second lifecycle", || lifecycles.load(SeqCst) == 2).await;
    assert_eq!(kept.component.faults(FaultType::Stalled), 1);
    assert_eq!(kept.component.faults(FaultType::Panicked), 0);
    kept.supervisor.send(Finish).await.unwrap();
}

/// Runs one wait of a thread that ends only by a sign, with work or none for it, and returns the
/// number of stalls once `noticed` is true.
async fn stalls(time: Duration, has_work: bool, noticed: impl Fn(&Kept) -> bool) -> u64 {
    let sign = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&sign);
    let policy = RestartPolicy { stall_after: Duration::from_millis(100), ..policy() };
    let kept = keep_by(
        policy,
        Arc::new(move |lifecycle| {
            lifecycle.beat();
            lifecycle.check_work(move || has_work);
            lifecycle.while_idle(time, || {
                while !ends.load(SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            live(lifecycle);
            Ok(())
        }),
    );
    until("noticed", || noticed(&kept)).await;
    let stalls = kept.component.faults(FaultType::Stalled);
    sign.store(true, SeqCst);
    kept.supervisor.send(Finish).await.unwrap();
    stalls
}

/// A wait for work is no stall, however long; one with work in the queue, or beyond its own time,
/// is a thread that stands still.
#[actix::test]
async fn a_wait_with_work_is_a_stall() {
    let stalled = |kept: &Kept| kept.component.faults(FaultType::Stalled) == 1;
    let hour = Duration::from_hours(1);
    assert_eq!(stalls(hour, true, stalled).await, 1);
    assert_eq!(stalls(Duration::from_millis(1), false, stalled).await, 1);
    let began = Instant::now();
    assert_eq!(stalls(Duration::MAX, false, |_| began.elapsed() > Duration::from_secs(1)).await, 0);
}

/// A child that has the memory of this process, and ends when it reads true there.
extern "C" fn end_on_sign(sign: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `wait_in_kernel` lends an `AtomicBool` until the child has ended.
    let sign = unsafe { &*sign.cast::<AtomicBool>() };
    while !sign.load(SeqCst) {
        std::thread::sleep(Duration::from_millis(1));
    }
    0
}

/// Has the kernel hold the calling thread until `sign` is true, as a lock of the kernel would: the
/// parent of a child made by `vfork` waits uninterruptibly.
fn wait_in_kernel(sign: &AtomicBool) {
    let mut stack = vec![0_u8; 64 * 1024];
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let sign = std::ptr::from_ref(sign).cast_mut().cast();
    let top = stack.as_mut_ptr_range().end.cast();
    // SAFETY: the child has a stack of its own, aligned by the allocator's 64 KiB block, and
    // `CLONE_VFORK` keeps this frame, with the stack and the sign, until the child has ended.
    let child = unsafe { libc::clone(end_on_sign, top, flags, sign) };
    assert!(child > 0, "{}", std::io::Error::last_os_error());
    // SAFETY: no status is asked for.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
}

/// A thread that waits for a lock of the kernel is not at fault: nothing is restarted or given up,
/// however long that lasts, and the component says why it is degraded.
#[actix::test]
async fn a_wait_in_the_kernel_is_no_stall() {
    let (lifecycles, sign) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (seen, lent) = (Arc::clone(&lifecycles), Arc::clone(&sign));
    // Longer than a loaded machine leaves a thread without a core, before it waits and after.
    let policy = RestartPolicy { stall_after: Duration::from_secs(2), ..policy() };
    let mut kept = keep_by(
        policy,
        Arc::new(move |lifecycle| {
            seen.fetch_add(1, SeqCst);
            lifecycle.beat();
            wait_in_kernel(&lent);
            live(lifecycle);
            Ok(())
        }),
    );
    until("said", || kept.component.state() == State::Degraded).await;
    assert!(kept.component.reason().contains("waits in the kernel"), "{}", kept.component.reason());
    // Beyond three times that a thread is given up.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!((kept.component.state(), lifecycles.load(SeqCst)), (State::Degraded, 1));
    sign.store(true, SeqCst);
    until("up again", || kept.component.state() == State::Up).await;
    assert_eq!((kept.component.faults(FaultType::Stalled), lifecycles.load(SeqCst)), (0, 1));
    assert!(kept.escalated.try_recv().is_err());
    kept.supervisor.send(Finish).await.unwrap();
}

/// A restart that an operator asks for is no fault.
#[actix::test]
async fn a_restart_on_request_is_no_fault() {
    let lifecycles = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&lifecycles);
    let kept = keep(Arc::new(move |lifecycle| {
        seen.fetch_add(1, SeqCst);
        live(lifecycle);
        Ok(())
    }));
    until("first lifecycle", || lifecycles.load(SeqCst) == 1).await;
    kept.supervisor.send(Restart).await.unwrap();
    until("second lifecycle", || lifecycles.load(SeqCst) == 2).await;
    assert!(FaultType::ALL.iter().all(|kind| kept.component.faults(*kind) == 0));
    assert_eq!(kept.component.restarts(), 1);
    kept.supervisor.send(Finish).await.unwrap();
}

/// A wait before the restart that no test lasts for.
fn for_ever() -> RestartPolicy {
    let hour = Duration::from_hours(1);
    RestartPolicy { backoff_min: hour, backoff_max: hour, ..policy() }
}

/// Fails in its first run; of each later one, says whether it was to stop from its beginning.
fn fails_once(later: &Arc<Mutex<Vec<bool>>>) -> Body {
    let (lifecycles, later) = (AtomicU64::new(0), Arc::clone(later));
    Arc::new(move |lifecycle| {
        if lifecycles.fetch_add(1, SeqCst) == 0 {
            return Err("no ring".into());
        }
        later.lock().unwrap().push(lifecycle.stopping());
        live(lifecycle);
        Ok(())
    })
}

/// Work at a thread's end is done also if the thread waits out its backoff when it is asked to
/// finish, and before its end is reported.
#[actix::test]
async fn a_thread_in_backoff_has_a_last_life() {
    let later = Arc::new(Mutex::new(Vec::new()));
    let kept = keep_by(for_ever(), fails_once(&later));
    until("backoff", || kept.component.state() == State::Restarting).await;
    kept.supervisor.send(Finish).await.unwrap();
    assert_eq!((later.lock().unwrap().as_slice(), kept.component.state()), (&[true][..], State::Stopped));
    kept.supervisor.send(Finish).await.unwrap();
    assert_eq!(later.lock().unwrap().len(), 1, "asked twice, there is still one last lifecycle");
}

/// A last run that fails ends all the same: no caller waits for ever.
#[actix::test]
async fn a_last_life_may_fail() {
    let kept = keep_by(for_ever(), Arc::new(|_| Err("always".into())));
    until("backoff", || kept.component.state() == State::Restarting).await;
    kept.supervisor.send(Finish).await.unwrap();
    assert_eq!((kept.component.faults(FaultType::Failed), kept.component.state()), (2, State::Stopped));
}

/// A wait for a restart can be cut short; a thread that runs does not notice.
#[actix::test]
async fn a_backoff_can_be_cut_short() {
    let later = Arc::new(Mutex::new(Vec::new()));
    let kept = keep_by(for_ever(), fails_once(&later));
    until("backoff", || kept.component.state() == State::Restarting).await;
    for _ in 0..2 {
        kept.supervisor.send(Resume).await.unwrap();
        until("up again", || kept.component.state() == State::Up).await;
    }
    assert_eq!((later.lock().unwrap().as_slice(), kept.component.restarts()), (&[false][..], 1));
    kept.supervisor.send(Finish).await.unwrap();
}
