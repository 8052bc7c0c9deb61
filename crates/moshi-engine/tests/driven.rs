//! An engine that a thread of its own drives: callers push without waiting, and their events are sent to them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure is the test's answer

mod scripted;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use moshi_engine::{
    EngineConfig, EngineError, FRAME_SAMPLES, FrameModel, Input, JobReport, Loopback, Output, RowStep, SessionEvent,
    SessionId, SessionParams, SessionSpec, SharedEngine, Sink, StreamingSession,
};
use scripted::{Counts, POISON, Scripted, heard, params};

const CONFIG: EngineConfig = EngineConfig { backlog_limit: 4, backlog_target: 2 };
const SOON: Duration = Duration::from_secs(10);

fn spec() -> SessionSpec {
    SessionSpec::live(params(0, 0))
}

/// A sink, and what it was sent.
fn sink() -> (Sink, Receiver<Output>) {
    let (send, sent) = channel();
    (Box::new(move |output| send.send(output).is_ok()), sent)
}

fn frame(engine: &SharedEngine, id: SessionId, value: f32) -> Result<(), EngineError> {
    engine.push(Duration::ZERO, id, Input::Audio(&[value; FRAME_SAMPLES]))
}

/// Takes turns until there is nothing to do; what they did.
fn run_dry(engine: &SharedEngine) -> Vec<JobReport> {
    let mut reports = Vec::new();
    for _ in 0..1_000 {
        reports.push(engine.turn(Duration::ZERO).unwrap().hand_out());
    }
    reports.retain(|report| *report != JobReport::default());
    reports
}

fn engine(rows: usize) -> (SharedEngine, Arc<Counts>) {
    let model = Scripted::new(rows);
    let counts = model.counts();
    (SharedEngine::new(Box::new(model), CONFIG), counts)
}

/// A thread that drives until the engine is stopped.
fn driver(engine: &Arc<SharedEngine>) -> JoinHandle<()> {
    let engine = engine.clone();
    std::thread::spawn(move || while engine.turn(SOON).is_some() {})
}

#[test]
fn events_are_sent_in_order_from_the_first_to_the_last() {
    let (engine, counts) = engine(2);
    let (to, sent) = sink();
    let id = engine.open(SessionSpec { tail: 2, ..SessionSpec::lossless(params(2, 9)) }, to).unwrap();
    frame(&engine, id, 1.0).unwrap();
    assert_eq!(counts.open.load(Ordering::Relaxed), 0, "nobody who asks does the model's work");
    engine.push(Duration::ZERO, id, Input::End).unwrap();
    let reports = run_dry(&engine);
    assert_eq!(reports.iter().map(|report| (report.rows, report.closed)).filter(|r| *r == (1, 1)).count(), 1);
    let out: Vec<Output> = sent.iter().collect();
    assert_eq!(out[0].event, SessionEvent::Opened);
    assert_eq!(out[1].event, SessionEvent::Primed);
    assert_eq!(heard(&out, id), [1.0, scripted::SILENCE, scripted::SILENCE]);
    assert_eq!(out.last().unwrap().event, SessionEvent::Ended, "and then the sink is let go");
    assert_eq!(counts.open.load(Ordering::Relaxed), 0);
}

#[test]
fn what_is_refused_is_said_at_once_or_by_the_first_event() {
    let (engine, _) = engine(1);
    let bad = SessionSpec::live(SessionParams { temperature: -1.0, ..params(0, 0) });
    assert!(matches!(engine.open(bad, sink().0), Err(EngineError::Parameter { .. })));
    let (to, sent) = sink();
    engine.open(SessionSpec::live(SessionParams { seed: u64::MAX, ..params(0, 0) }), to).unwrap();
    assert!(matches!(engine.open(spec(), sink().0), Err(EngineError::Full { rows: 1 })));
    run_dry(&engine);
    let told: Vec<SessionEvent> = sent.iter().map(|output| output.event).collect();
    assert_eq!(told, [SessionEvent::Failed(EngineError::Model("no memory".to_owned()))]);
    let (to, sent) = sink();
    engine.open(spec(), to).unwrap();
    run_dry(&engine);
    assert_eq!(sent.recv().unwrap().event, SessionEvent::Opened, "its place is free");
}

#[test]
fn whoever_does_not_take_its_events_is_closed() {
    let (engine, counts) = engine(3);
    let (to, sent) = sink();
    let deaf = engine.open(spec(), to).unwrap();
    let panics = engine.open(spec(), Box::new(|_| panic!("a bug in a sink"))).unwrap();
    let (to, others) = sink();
    let other = engine.open(spec(), to).unwrap();
    drop(sent);
    run_dry(&engine);
    for gone in [deaf, panics] {
        assert_eq!(frame(&engine, gone, 1.0), Err(EngineError::NoSession(gone.0)));
    }
    frame(&engine, other, 1.0).unwrap();
    run_dry(&engine);
    assert_eq!(heard(&others.try_iter().collect::<Vec<_>>(), other), [1.0]);
    assert_eq!(counts.open.load(Ordering::Relaxed), 1);
}

#[test]
fn a_row_that_fails_closes_its_call_and_is_counted() {
    let (engine, counts) = engine(2);
    let ((bad_to, bad_sent), (to, sent)) = (sink(), sink());
    let (bad, good) = (engine.open(spec(), bad_to).unwrap(), engine.open(spec(), to).unwrap());
    frame(&engine, bad, POISON).unwrap();
    frame(&engine, good, 1.0).unwrap();
    let failed: usize = run_dry(&engine).iter().map(|report| report.failed).sum();
    assert_eq!((failed, engine.metrics().failed), (1, 1));
    let told: Vec<SessionEvent> = bad_sent.iter().map(|output| output.event).collect();
    assert_eq!(told, [SessionEvent::Opened, SessionEvent::Failed(EngineError::Model("poison".to_owned()))]);
    assert_eq!(heard(&sent.try_iter().collect::<Vec<_>>(), good), [1.0]);
    assert_eq!(counts.open.load(Ordering::Relaxed), 1);
}

#[test]
fn a_call_that_begins_anew_hears_nothing_of_before() {
    let (engine, counts) = engine(1);
    let (to, sent) = sink();
    let id = engine.open(spec(), to).unwrap();
    run_dry(&engine);
    frame(&engine, id, 1.0).unwrap();
    for _ in 0..10 {
        engine.reset(id).unwrap();
    }
    frame(&engine, id, 2.0).unwrap();
    run_dry(&engine);
    let out: Vec<Output> = sent.try_iter().collect();
    assert_eq!(out[1].event, SessionEvent::Reset);
    assert_eq!(heard(&out, id), [2.0]);
    assert_eq!(counts.opened.load(Ordering::Relaxed), 2, "however often it was asked for");
}

#[test]
fn a_flood_of_requests_does_not_hold_up_a_step() {
    let (engine, counts) = engine(500);
    let (to, _sent) = sink();
    let first = engine.open(spec(), to).unwrap();
    run_dry(&engine);
    let _flood: Vec<_> = (0..400)
        .map(|_| {
            let (to, sent) = sink();
            engine.open(spec(), to).unwrap();
            sent
        })
        .collect();
    frame(&engine, first, 1.0).unwrap();
    for turns in 0.. {
        drop(engine.turn(Duration::ZERO));
        if counts.steps.load(Ordering::Relaxed) == 1 {
            assert!(turns < 100, "{turns} turns before a step that was due");
            break;
        }
    }
}

/// A loopback whose step waits until it is let go, and panics if it is told to.
struct Gated {
    inner: Loopback,
    /// Told how many rows are in the step.
    inside: Sender<usize>,
    go: Mutex<Receiver<()>>,
    panics: Arc<AtomicBool>,
}

impl FrameModel for Gated {
    fn rows(&self) -> usize {
        self.inner.rows()
    }
    fn open(&mut self, row: usize, spec: &SessionSpec) -> Result<(), EngineError> {
        self.inner.open(row, spec)
    }
    fn close(&mut self, row: usize) {
        self.inner.close(row);
    }
    fn step(&mut self, steps: &mut [RowStep<'_>]) -> Result<(), EngineError> {
        self.inside.send(steps.len()).unwrap();
        self.go.lock().unwrap().recv_timeout(SOON).unwrap();
        assert!(!self.panics.load(Ordering::Relaxed), "a bug");
        self.inner.step(steps)
    }
    fn copy_row_from(&mut self, _: &dyn FrameModel, _: usize, _: usize) -> Result<(), EngineError> {
        Err(EngineError::other_model("gate"))
    }
    fn copy_row(&mut self, src_row: usize, row: usize) -> Result<(), EngineError> {
        self.inner.copy_row(src_row, row)
    }
}

struct Gate {
    engine: Arc<SharedEngine>,
    inside: Receiver<usize>,
    go: Sender<()>,
    panics: Arc<AtomicBool>,
    time: Arc<AtomicU64>,
}

fn gate(rows: usize) -> Gate {
    let ((inside_to, inside), (go, go_from), panics) = (channel(), channel(), Arc::<AtomicBool>::default());
    let model =
        Gated { inner: Loopback::new(rows), inside: inside_to, go: Mutex::new(go_from), panics: panics.clone() };
    let time = Arc::new(AtomicU64::new(0));
    let now = time.clone();
    let clock = move || Duration::from_millis(now.load(Ordering::Relaxed));
    let engine = Arc::new(SharedEngine::with_clock(Box::new(model), CONFIG, clock));
    Gate { engine, inside, go, panics, time }
}

#[test]
fn nobody_waits_for_a_step_to_push_open_reset_or_close() {
    let Gate { engine, inside, go, time, .. } = gate(3);
    let thread = driver(&engine);
    let ((to, sent), (left_to, left_sent)) = (sink(), sink());
    let id = engine.open(spec(), to).unwrap();
    let left = engine.open(spec(), left_to).unwrap();
    for sent in [&sent, &left_sent] {
        assert_eq!(sent.recv_timeout(SOON).unwrap().event, SessionEvent::Opened);
    }
    frame(&engine, id, 0.25).unwrap();
    inside.recv_timeout(SOON).unwrap();
    // The step runs now, and goes on running.
    time.store(5, Ordering::Relaxed);
    frame(&engine, id, 0.5).unwrap();
    let (third_to, third_sent) = sink();
    let third = engine.open(spec(), third_to).unwrap();
    frame(&engine, third, 0.75).unwrap();
    engine.reset(left).unwrap();
    engine.close(left);
    assert_eq!(engine.metrics().open, 2);
    go.send(()).unwrap();
    inside.recv_timeout(SOON).unwrap();
    time.store(30, Ordering::Relaxed);
    go.send(()).unwrap();
    let reply = sent.recv_timeout(SOON).unwrap().event;
    let SessionEvent::Audio { pcm, lag, waited } = reply else { panic!("{reply:?}") };
    assert_eq!(pcm[0], 0.25, "the loopback is a frame late");
    assert_eq!((lag, waited), (Duration::from_millis(30), Duration::from_millis(5)));
    assert_eq!(third_sent.recv_timeout(SOON).unwrap().event, SessionEvent::Opened);
    assert!(left_sent.recv_timeout(SOON).is_err(), "whoever left is told nothing more, and let go");
    engine.stop();
    thread.join().unwrap();
    assert!(engine.is_stopped() && engine.turn(SOON).is_none());
}

#[test]
fn who_comes_during_a_step_is_served_by_the_next_together_with_all_others() {
    let Gate { engine, inside, go, .. } = gate(3);
    let open = || StreamingSession::open(engine.clone(), SessionSpec::lossless(params(0, 0))).unwrap();
    let sessions = [open(), open(), open()];
    let mut threads = sessions.into_iter().map(|mut session| {
        std::thread::spawn(move || {
            let mut said = (Vec::new(), String::new());
            session.step(&[0.5; FRAME_SAMPLES], &mut said.0, &mut said.1).unwrap();
            session
        })
    });
    let mut running: Vec<_> = threads.by_ref().take(1).collect();
    assert_eq!(inside.recv_timeout(SOON), Ok(1), "nobody is waited for");
    running.extend(threads);
    let deadline = std::time::Instant::now() + SOON;
    while engine.metrics().backlog < 2 {
        assert!(std::time::Instant::now() < deadline, "nobody may wait for a step to be heard");
        std::thread::yield_now();
    }
    go.send(()).unwrap();
    assert_eq!(inside.recv_timeout(SOON), Ok(2));
    go.send(()).unwrap();
    let sessions: Vec<_> = running.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(engine.metrics().ticks, 2);
    drop(sessions);
}

#[test]
fn a_panic_is_known_to_the_driver_before_anybody_is_told_and_another_model_goes_on() {
    let Gate { engine, go, panics, .. } = gate(2);
    let ((to, sent), (other_to, other_sent)) = (sink(), sink());
    let id = engine.open(spec(), to).unwrap();
    engine.open(spec(), other_to).unwrap();
    run_dry(&engine);
    panics.store(true, Ordering::Relaxed);
    frame(&engine, id, 1.0).unwrap();
    go.send(()).unwrap();
    let turn = engine.turn(SOON).unwrap();
    let why = turn.failure().cloned().expect("a failure");
    assert!(why.to_string().contains("panicked") && engine.is_gone());
    let told = |sent: &Receiver<Output>| sent.try_iter().map(|output| output.event).collect::<Vec<_>>();
    assert_eq!((told(&sent), told(&other_sent)), (vec![SessionEvent::Opened], vec![SessionEvent::Opened]));
    assert_eq!(engine.open(spec(), sink().0), Err(why.clone()), "nobody gets in");
    turn.hand_out();
    let failed = vec![SessionEvent::Failed(why.clone())];
    assert_eq!((told(&sent), told(&other_sent)), (failed.clone(), failed));
    engine.lose(&why);
    engine.renew(Box::new(Scripted::new(2)));
    assert_eq!(frame(&engine, id, 1.0), Err(EngineError::NoSession(id.0)), "the old calls stay lost");
    let (to, sent) = sink();
    let id = engine.open(spec(), to).unwrap();
    frame(&engine, id, 1.0).unwrap();
    run_dry(&engine);
    assert_eq!(heard(&sent.try_iter().collect::<Vec<_>>(), id), [1.0]);
}

#[test]
fn callers_who_wait_and_callers_who_are_sent_their_events_share_an_engine() {
    let (engine, counts) = engine(8);
    let engine = Arc::new(engine);
    let thread = driver(&engine);
    let threads: Vec<_> = (0..4)
        .map(|t| {
            let engine = engine.clone();
            std::thread::spawn(move || {
                let mut session = StreamingSession::open(engine, SessionSpec::lossless(params(t, 0))).unwrap();
                for i in 0..50 {
                    let (mut pcm, mut text) = (Vec::new(), String::new());
                    session.step(&[(100 * t + i) as f32; FRAME_SAMPLES], &mut pcm, &mut text).unwrap();
                    assert_eq!((pcm[0], pcm.len()), ((100 * t + i) as f32, FRAME_SAMPLES));
                }
                let mut rest = (Vec::new(), String::new());
                session.end(&mut rest.0, &mut rest.1).unwrap();
                assert!(session.step(&[0.0], &mut rest.0, &mut rest.1).is_err(), "it has ended");
            })
        })
        .collect();
    let calls: Vec<_> = (4..8)
        .map(|c| {
            let (to, sent) = sink();
            let id = engine.open(SessionSpec::lossless(params(c, 0)), to).unwrap();
            (0..50).for_each(|i| frame(&engine, id, (1_000 * c + i) as f32).unwrap());
            engine.push(Duration::ZERO, id, Input::End).unwrap();
            (c, id, sent)
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    for (c, id, sent) in calls {
        let out: Vec<Output> = sent.iter().collect();
        assert_eq!(heard(&out, id), (0..50).map(|i| (1_000 * c + i) as f32).collect::<Vec<_>>());
    }
    engine.stop();
    thread.join().unwrap();
    run_requests(&engine);
    assert_eq!(counts.open.load(Ordering::Relaxed), 0);
}

/// Whoever comes after the driver clears up after it.
fn run_requests(engine: &Arc<SharedEngine>) {
    drop(StreamingSession::open(engine.clone(), spec()).unwrap());
}
