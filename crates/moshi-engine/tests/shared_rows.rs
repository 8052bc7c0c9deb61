//! Sessions of one model on several threads.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure is the test's answer

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use moshi_engine::{
    EngineError, FRAME_SAMPLES, FrameModel, Loopback, RowStep, SessionParams, SharedRows, StreamingSession,
};

fn open(rows: &Arc<SharedRows>) -> StreamingSession {
    StreamingSession::open(rows.clone(), &SessionParams::default()).unwrap()
}

fn step(session: &mut StreamingSession, value: f32) -> Vec<f32> {
    let (mut pcm, mut text) = (Vec::new(), String::new());
    session.step(&[value; FRAME_SAMPLES], &mut pcm, &mut text).unwrap();
    pcm
}

#[test]
fn any_number_of_samples_gives_whole_frames() {
    let rows = Arc::new(SharedRows::new(Box::new(Loopback::new(1))));
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
    let rows = Arc::new(SharedRows::new(Box::new(Loopback::new(2))));
    let mut a = open(&rows);
    step(&mut a, 1.0);
    let mut b = a.fork_into(rows.clone()).unwrap();
    assert_eq!(step(&mut a, 2.0)[0], 1.0);
    assert_eq!(step(&mut b, 3.0)[0], 1.0);
    assert_eq!(step(&mut a, 0.0)[0], 2.0);
    assert_eq!(step(&mut b, 0.0)[0], 3.0);
    let elsewhere = Arc::new(SharedRows::new(Box::new(Loopback::new(1))));
    let mut c = b.fork_into(elsewhere).unwrap();
    assert_eq!(step(&mut c, 5.0)[0], 0.0);
}

#[test]
fn a_dropped_session_frees_its_row() {
    let rows = Arc::new(SharedRows::new(Box::new(Loopback::new(1))));
    let session = open(&rows);
    let full = StreamingSession::open(rows.clone(), &SessionParams::default()).map(|_| ());
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
    fn open(&mut self, row: usize, params: &SessionParams) -> Result<(), EngineError> {
        self.inner.open(row, params)
    }
    fn close(&mut self, row: usize) {
        self.inner.close(row);
    }
    fn step(&mut self, steps: &mut [RowStep<'_>]) -> Result<(), EngineError> {
        self.steps.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(30));
        if steps.iter().any(|s| s.pcm_in[0] == 13.0) {
            return Err(EngineError::Model("thirteen".to_owned()));
        }
        assert!(steps.iter().all(|s| s.pcm_in[0] != 14.0));
        self.inner.step(steps)
    }
    fn step_codes(&mut self, row: usize, codes: &[u32]) -> Result<Option<Vec<u32>>, EngineError> {
        self.inner.step_codes(row, codes)
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
    let rows = Arc::new(SharedRows::new(Box::new(model)));
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

#[test]
fn a_failed_or_panicked_step_is_an_error_and_the_model_lives_on() {
    let model = Slow { inner: Loopback::new(1), steps: Arc::default() };
    let rows = Arc::new(SharedRows::new(Box::new(model)));
    let mut session = open(&rows);
    let (mut pcm, mut text) = (Vec::new(), String::new());
    for (value, message) in [(13.0, "thirteen"), (14.0, "panicked")] {
        let error = session.step(&[value; FRAME_SAMPLES], &mut pcm, &mut text).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    step(&mut session, 0.5);
    assert_eq!(step(&mut session, 0.0)[0], 0.5);
}
