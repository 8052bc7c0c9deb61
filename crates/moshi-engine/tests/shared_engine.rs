//! Sessions of one model on several threads.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure is the test's answer

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use moshi_engine::{
    EngineConfig, EngineError, FRAME_SAMPLES, ForwardLogits, FrameInput, FrameModel, GoOn, HeardCodes, Loopback,
    ModelInfo, ModelMemory, RowStep, SessionParams, SessionSpec, Sessions, SharedEngine, SpeechModel, StreamingSession,
};

fn shared(model: impl FrameModel) -> Arc<SharedEngine> {
    Arc::new(SharedEngine::new(Box::new(model), EngineConfig::default()))
}

fn lossless() -> SessionSpec {
    SessionSpec::lossless(SessionParams::default())
}

fn open(rows: &Arc<SharedEngine>) -> StreamingSession {
    StreamingSession::open(rows.clone(), lossless()).unwrap()
}

/// The first sample that a row hears.
fn first(step: &RowStep<'_>) -> f32 {
    match step.input {
        FrameInput::Pcm(pcm) => pcm[0],
        _ => 0.0,
    }
}

fn step(session: &mut StreamingSession, value: f32) -> Vec<f32> {
    let (mut pcm, mut text) = (Vec::new(), String::new());
    session.step(&[value; FRAME_SAMPLES], &mut pcm, &mut text).unwrap();
    pcm
}

#[test]
fn any_number_of_samples_gives_whole_frames() {
    let rows = shared(Loopback::new(1));
    let mut session = open(&rows);
    let (mut pcm, mut text) = (Vec::new(), String::new());
    let sent: Vec<f32> = (0..5 * FRAME_SAMPLES).map(|i| (i as f32).sin()).collect();
    for piece in sent.chunks(4_567) {
        session.step(piece, &mut pcm, &mut text).unwrap();
    }
    assert_eq!(pcm, sent[..4 * FRAME_SAMPLES]);
}

#[test]
fn a_fork_goes_its_own_way() {
    let rows = shared(Loopback::new(2));
    let mut a = open(&rows);
    step(&mut a, 1.0);
    let mut b = a.fork_into(rows.clone()).unwrap();
    assert_eq!(step(&mut a, 2.0)[0], 1.0);
    assert_eq!(step(&mut b, 3.0)[0], 1.0);
    assert_eq!(step(&mut a, 0.0)[0], 2.0);
    assert_eq!(step(&mut b, 0.0)[0], 3.0);
    let elsewhere = shared(Loopback::new(1));
    let mut c = b.fork_into(elsewhere).unwrap();
    assert_eq!(step(&mut c, 5.0)[0], 0.0);
}

#[test]
fn a_dropped_session_frees_its_row() {
    let rows = shared(Loopback::new(1));
    let session = open(&rows);
    let full = StreamingSession::open(rows.clone(), lossless()).map(|_| ());
    assert_eq!(full.unwrap_err(), EngineError::Full { rows: 1 });
    drop(session);
    open(&rows);
}

/// Takes 30 ms a step, however many rows; counts its steps.
struct Slow {
    inner: Loopback,
    steps: Arc<AtomicUsize>,
}

impl FrameModel for Slow {
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
        self.steps.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(30));
        if steps.iter().any(|s| first(s) == 13.0) {
            return Err(EngineError::Model("thirteen".to_owned()));
        }
        assert!(steps.iter().all(|s| first(s) != 14.0));
        self.inner.step(steps)
    }
    fn copy_row_from(&mut self, src: &dyn FrameModel, src_row: usize, row: usize) -> Result<(), EngineError> {
        let src: &dyn Any = src;
        let slow = src.downcast_ref::<Slow>().expect("the same kind");
        self.inner.copy_row_from(&slow.inner, src_row, row)
    }
    fn copy_row(&mut self, src_row: usize, row: usize) -> Result<(), EngineError> {
        self.inner.copy_row(src_row, row)
    }
}

#[test]
fn threads_that_wait_together_are_stepped_together_and_hear_themselves_only() {
    const THREADS: usize = 6;
    const FRAMES: usize = 8;
    let steps = Arc::new(AtomicUsize::new(0));
    let model = Slow { inner: Loopback::new(THREADS), steps: steps.clone() };
    let rows = shared(model);
    let start = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|t| {
            let (rows, start) = (rows.clone(), start.clone());
            std::thread::spawn(move || {
                let mut session = open(&rows);
                start.wait();
                for i in 0..FRAMES {
                    let value = (100 * t + i) as f32 / 1_000.0;
                    let out = step(&mut session, value);
                    if i > 0 {
                        assert_eq!(out[0], (100 * t + i - 1) as f32 / 1_000.0);
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let steps = steps.load(Ordering::Relaxed);
    assert!(steps < THREADS * FRAMES, "{steps} steps for {} frames: nothing was batched", THREADS * FRAMES);
}

/// Breaks where its habit says so; otherwise a loopback.
struct Breaking {
    inner: Loopback,
    /// The operation that panics, once the switch is on.
    panics_in: &'static str,
    armed: Arc<AtomicBool>,
}

impl Breaking {
    fn rows(count: usize, panics_in: &'static str) -> (Arc<SharedEngine>, Arc<AtomicBool>) {
        let armed = Arc::new(AtomicBool::new(false));
        let model = Self { inner: Loopback::new(count), panics_in, armed: armed.clone() };
        (shared(model), armed)
    }

    fn at(&self, operation: &str) {
        assert!(!(self.armed.load(Ordering::Relaxed) && self.panics_in == operation), "a bug in {operation}");
    }
}

impl FrameModel for Breaking {
    fn rows(&self) -> usize {
        self.inner.rows()
    }
    fn heard_codes(&self) -> Option<HeardCodes> {
        Some(HeardCodes { streams: 1, last: 20 })
    }
    fn open(&mut self, row: usize, spec: &SessionSpec) -> Result<(), EngineError> {
        self.at("open");
        self.inner.open(row, spec)
    }
    fn close(&mut self, row: usize) {
        self.at("close");
        self.inner.close(row);
    }
    fn step(&mut self, steps: &mut [RowStep<'_>]) -> Result<(), EngineError> {
        self.at("step");
        self.inner.step(steps)?;
        for step in steps {
            step.output.error = match step.input {
                FrameInput::Pcm(pcm) => (pcm[0] == 15.0).then(|| "fifteen".to_owned()),
                FrameInput::Codes(codes) => (codes == [13]).then(|| "thirteen".to_owned()),
                _ => None,
            };
        }
        Ok(())
    }
    fn copy_row_from(&mut self, src: &dyn FrameModel, src_row: usize, row: usize) -> Result<(), EngineError> {
        self.at("copy_row_from");
        let src: &dyn Any = src;
        let src = src.downcast_ref::<Breaking>().expect("the same kind");
        self.inner.copy_row_from(&src.inner, src_row, row)
    }
    fn copy_row(&mut self, src_row: usize, row: usize) -> Result<(), EngineError> {
        self.at("copy_row");
        self.inner.copy_row(src_row, row)
    }
}

impl Drop for Breaking {
    fn drop(&mut self) {
        // A model that is in no state to be used is in no state to be dropped either.
        if self.armed.load(Ordering::Relaxed) && self.panics_in != "drop" {
            std::panic::panic_any("a bug in drop");
        }
    }
}

/// What `f` gives, if it gives it in good time: whoever waits for a model that is gone would wait for ever.
fn soon<T: Send + 'static>(what: &str, f: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(f()));
    told.recv_timeout(Duration::from_secs(10)).unwrap_or_else(|_| panic!("{what} hangs"))
}

fn try_step(session: &mut StreamingSession, value: f32) -> Result<Vec<f32>, EngineError> {
    let (mut pcm, mut text) = (Vec::new(), String::new());
    session.step(&[value; FRAME_SAMPLES], &mut pcm, &mut text).map(|()| pcm)
}

#[test]
fn a_panic_anywhere_ends_in_an_error_for_everybody_and_nobody_hangs() {
    for operation in ["open", "reset", "step", "step of codes", "fork", "fork elsewhere", "close"] {
        let panics_in = match operation {
            "reset" => "open",
            "fork" => "copy_row",
            "step of codes" => "step",
            "fork elsewhere" => "copy_row_from",
            other => other,
        };
        let (rows, armed) = Breaking::rows(4, panics_in);
        let (mut first, mut other, lost) = (open(&rows), open(&rows), open(&rows));
        step(&mut first, 0.5);
        let (elsewhere, _) = Breaking::rows(1, "nothing");
        let mut safe = open(&elsewhere);
        armed.store(true, Ordering::Relaxed);
        let again = rows.clone();
        let broken = soon(operation, move || {
            let forked = || safe.fork_into(again.clone()).map(|_| ());
            let error = match operation {
                "open" => StreamingSession::open(again.clone(), lossless()).err(),
                "reset" => first.reset().err(),
                "step" => try_step(&mut first, 0.1).err(),
                "step of codes" => first.step_codes(&[1]).err(),
                "fork" => first.fork_into(again.clone()).err(),
                "fork elsewhere" => forked().err(),
                _ => {
                    drop(lost);
                    first.step_codes(&[1]).err()
                }
            };
            let words = error.map(|e| e.to_string()).unwrap_or_default();
            assert!(words.contains("panicked") && words.contains("a bug in"), "{operation}: {words}");
            assert!(try_step(&mut safe, 0.1).is_ok(), "{operation}: another set goes on");
            first
        });
        // Every way in says the same, at once; so does dropping, which says nothing.
        let again = rows.clone();
        soon(&format!("after {operation}"), move || {
            let mut broken = broken;
            let errors = [
                try_step(&mut other, 0.2).err(),
                other.step_codes(&[1]).err(),
                other.reset().err(),
                broken.reset().err(),
                broken.fork_into(again.clone()).err(),
                StreamingSession::open(again, lossless()).err(),
                try_step(&mut broken, 0.2).err(),
            ];
            for error in errors {
                let words = error.map(|e| e.to_string()).unwrap_or_default();
                assert!(words.contains("panicked") && words.contains("open new sessions"), "{operation}: {words}");
                assert!(!words.contains("reset it"), "{operation}: a reset does not help: {words}");
            }
        });
        assert!(rows.is_gone());
    }
}

#[test]
fn those_who_wait_while_somebody_else_panics_are_told() {
    let (rows, armed) = Breaking::rows(3, "step");
    let sessions: Vec<StreamingSession> = (0..3).map(|_| open(&rows)).collect();
    armed.store(true, Ordering::Relaxed);
    let start = Arc::new(Barrier::new(3));
    let told = sessions.into_iter().map(|mut session| {
        let start = start.clone();
        std::thread::spawn(move || {
            start.wait();
            try_step(&mut session, 0.1).unwrap_err().to_string()
        })
    });
    let told: Vec<_> = told.collect();
    soon("one of three", move || {
        for thread in told {
            assert!(thread.join().unwrap().contains("panicked"));
        }
    });
}

#[test]
fn a_row_that_fails_says_so_until_it_is_reset_and_its_neighbour_notices_nothing() {
    let (rows, _) = Breaking::rows(3, "nothing");
    let (mut bad, mut good) = (open(&rows), open(&rows));
    for by_codes in [false, true] {
        step(&mut bad, 0.25);
        step(&mut good, 0.25);
        let (error, why) = match by_codes {
            false => (try_step(&mut bad, 15.0).unwrap_err().to_string(), "fifteen"),
            true => (bad.step_codes(&[13]).unwrap_err().to_string(), "thirteen"),
        };
        assert_eq!(error, format!("the model failed: {why}"));
        let mut few = (Vec::new(), String::new());
        let again = [
            try_step(&mut bad, 0.5).err(),
            bad.step(&[0.0; 3], &mut few.0, &mut few.1).err(),
            bad.step_codes(&[1]).err(),
            bad.fork_into(rows.clone()).err(),
        ];
        for error in again {
            let words = error.map(|e| e.to_string()).unwrap_or_default();
            assert!(words.contains(why) && words.contains("reset it"), "{words}");
        }
        assert_eq!(step(&mut good, 0.5)[0], 0.25);
        bad.reset().unwrap();
        step(&mut bad, 0.75);
        assert_eq!(step(&mut bad, 0.0)[0], 0.75, "as new");
        bad.reset().unwrap();
        good.reset().unwrap();
    }
    // What the caller gave wrongly breaks nothing.
    step(&mut bad, 0.5);
    assert!(matches!(bad.step_codes(&[]), Err(EngineError::Input(_))));
    assert_eq!(step(&mut bad, 0.0)[0], 0.5);
    for (codes, words) in [(vec![1, 2], "2 codes; expected 1"), (vec![21], "21"), (vec![-2], "-2")] {
        let error = bad.step_codes(&codes).unwrap_err();
        assert!(matches!(&error, EngineError::Input(why) if why.contains(words)), "{error}");
    }
}

#[test]
fn a_step_that_fails_as_a_whole_breaks_its_rows_and_no_others() {
    let model = Slow { inner: Loopback::new(2), steps: Arc::default() };
    let rows = shared(model);
    let (mut bad, mut good) = (open(&rows), open(&rows));
    step(&mut good, 0.25);
    assert!(try_step(&mut bad, 13.0).unwrap_err().to_string().contains("thirteen"));
    for _ in 0..2 {
        let words = try_step(&mut bad, 0.5).unwrap_err().to_string();
        assert!(words.contains("thirteen") && words.contains("reset it"), "{words}");
    }
    assert_eq!(step(&mut good, 0.5)[0], 0.25);
    bad.reset().unwrap();
    step(&mut bad, 0.5);
    assert_eq!(step(&mut bad, 0.0)[0], 0.5);
    assert!(try_step(&mut bad, 14.0).unwrap_err().to_string().contains("panicked"));
    assert!(bad.reset().unwrap_err().to_string().contains("open new sessions"));
}

/// A model that makes [`Breaking`] rows.
struct Fragile(ModelInfo, Arc<AtomicBool>);

impl SpeechModel for Fragile {
    fn info(&self) -> &ModelInfo {
        &self.0
    }
    fn new_rows(&self, rows: usize) -> Result<Box<dyn FrameModel>, EngineError> {
        Ok(Box::new(Breaking { inner: Loopback::new(rows), panics_in: "step", armed: self.1.clone() }))
    }
    fn forward_while(&self, _: &[i32], _: usize, _: &mut GoOn<'_>) -> Result<ForwardLogits, EngineError> {
        Ok(ForwardLogits::default())
    }
}

#[test]
fn a_large_models_sessions_are_as_many_as_memory_holds() {
    for (free, fit) in [(9, 1), (10, 1), (35, 3), (40, 4), (65, 6), (95, 9)] {
        let memory = ModelMemory { weights: 0, session: 10, free: Some(free) };
        let info = ModelInfo { memory, ..ModelInfo::default() };
        let sessions = Sessions::with_rows_per_engine(Arc::new(Fragile(info, Arc::default())), 4);
        let mut open: Vec<_> = (0..fit).map(|_| sessions.open(lossless()).unwrap()).collect();
        let why = sessions.open(lossless()).err().unwrap().to_string();
        assert!(why.contains(&format!("at most {}", free / 10)), "{free}: {why}");
        step(&mut open[0], 0.5);
        open.pop();
        assert!(sessions.open(lossless()).is_ok(), "{free}: there is room again");
    }
}

#[test]
fn after_a_panic_new_sessions_get_rows_of_a_model_made_anew() {
    let armed = Arc::new(AtomicBool::new(false));
    let sessions = Sessions::with_rows_per_engine(Arc::new(Fragile(ModelInfo::default(), armed.clone())), 4);
    let mut first = sessions.open(lossless()).unwrap();
    armed.store(true, Ordering::Relaxed);
    assert!(try_step(&mut first, 0.5).is_err());
    armed.store(false, Ordering::Relaxed);
    let mut second = sessions.open(lossless()).unwrap();
    step(&mut second, 0.5);
    assert_eq!(step(&mut second, 0.0)[0], 0.5);
    assert!(try_step(&mut first, 0.5).is_err(), "the first stays lost");
    assert!(sessions.fork(&first).is_err());
}
