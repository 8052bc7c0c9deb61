//! The frame loop on the loopback model: admission, lag policy, endings, counters.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure is the test's answer

use std::time::Duration;

use moshi_engine::{
    Engine, EngineConfig, EngineError, FRAME_SAMPLES, Input, Loopback, Output, SessionEvent, SessionId, SessionParams,
    SessionSpec,
};
use proptest::prelude::*;

fn engine(rows: usize) -> Engine {
    Engine::new(Box::new(Loopback::new(rows)), EngineConfig { backlog_limit: 4, backlog_target: 2 })
}

fn admit(engine: &mut Engine) -> SessionId {
    engine.admit(SessionSpec::default()).unwrap()
}

fn frame(value: f32) -> Vec<f32> {
    vec![value; FRAME_SAMPLES]
}

fn run_dry(engine: &mut Engine) -> Vec<Output> {
    let mut out = Vec::new();
    while engine.ready() {
        engine.tick(Duration::ZERO, &mut out).unwrap();
    }
    out
}

fn heard(out: &[Output], id: SessionId) -> Vec<f32> {
    let frames = out.iter().filter(|o| o.session == id).filter_map(|o| match &o.event {
        SessionEvent::Audio { pcm, .. } => Some(pcm[0]),
        _ => None,
    });
    frames.collect()
}

#[test]
fn audio_comes_back_in_order_whatever_the_pieces() {
    let mut engine = engine(1);
    let id = admit(&mut engine);
    let sent: Vec<f32> = (0..3 * FRAME_SAMPLES + 7).map(|i| i as f32 * 1e-5).collect();
    let mut out = Vec::new();
    for piece in sent.chunks(701) {
        engine.push(Duration::ZERO, id, Input::Audio(piece)).unwrap();
        out.extend(run_dry(&mut engine));
    }
    let pcm: Vec<f32> = out
        .into_iter()
        .filter_map(|o| match o.event {
            SessionEvent::Audio { pcm, .. } => Some(pcm),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(pcm, sent[..2 * FRAME_SAMPLES], "the loopback answers one frame later");
}

#[test]
fn a_full_house_refuses_and_a_freed_row_admits() {
    let mut engine = engine(2);
    let first = admit(&mut engine);
    admit(&mut engine);
    assert_eq!(engine.admit(SessionSpec::default()), Err(EngineError::Full { rows: 2 }));
    engine.close(first);
    engine.close(first);
    let third = admit(&mut engine);
    assert_ne!(third, first, "a session id is never used twice");
    let metrics = engine.metrics();
    assert_eq!((metrics.admitted, metrics.refused, metrics.open), (3, 1, 2));
    assert_eq!(engine.push(Duration::ZERO, first, Input::End), Err(EngineError::NoSession(first.0)));
}

#[test]
fn backlog_beyond_the_limit_keeps_the_newest_frames_and_is_reported_once() {
    let mut engine = engine(1);
    let id = admit(&mut engine);
    for i in 1..=5 {
        engine.push(Duration::ZERO, id, Input::Audio(&frame(i as f32))).unwrap();
    }
    assert_eq!(engine.backlog(id), 2);
    let out = run_dry(&mut engine);
    let drops: Vec<_> = out.iter().filter(|o| matches!(o.event, SessionEvent::Dropped { .. })).collect();
    assert_eq!(drops, [&Output { session: id, event: SessionEvent::Dropped { frames: 3 } }]);
    assert_eq!(heard(&out, id), [4.0]);
    assert_eq!(engine.metrics().dropped_frames, 3);
}

#[test]
fn a_slow_caller_neither_waits_nor_makes_others_wait() {
    let mut engine = engine(2);
    let (fast, slow) = (admit(&mut engine), admit(&mut engine));
    engine.push(Duration::ZERO, slow, Input::Audio(&frame(9.0)[..100])).unwrap();
    for i in 1..=3 {
        engine.push(Duration::ZERO, fast, Input::Audio(&frame(i as f32))).unwrap();
        let mut out = Vec::new();
        assert_eq!(engine.tick(Duration::ZERO, &mut out).unwrap().rows, 1);
    }
    assert!(!engine.ready());
}

#[test]
fn lag_is_the_time_from_arrival_to_the_end_of_the_step() {
    let mut engine = engine(1);
    let id = admit(&mut engine);
    let mut out = Vec::new();
    for _ in 0..2 {
        engine.push(Duration::from_millis(100), id, Input::Audio(&frame(0.0))).unwrap();
        let times = [130, 117].map(Duration::from_millis);
        let clock = std::cell::RefCell::new(times.to_vec());
        engine.tick_timed(&mut out, || clock.borrow_mut().pop().unwrap()).unwrap();
    }
    let Some(SessionEvent::Audio { lag, waited, .. }) = out.last().map(|o| &o.event) else { panic!("no audio") };
    assert_eq!((*lag, *waited), (Duration::from_millis(30), Duration::from_millis(17)));
}

#[test]
fn the_end_fills_the_last_frame_and_closes_after_everything_ran() {
    let mut engine = engine(1);
    let id = admit(&mut engine);
    engine.push(Duration::ZERO, id, Input::Audio(&frame(1.0))).unwrap();
    engine.push(Duration::ZERO, id, Input::Audio(&[2.0; 10])).unwrap();
    engine.push(Duration::ZERO, id, Input::End).unwrap();
    assert!(engine.push(Duration::ZERO, id, Input::Audio(&[0.0])).is_err(), "nothing comes after the end");
    let out = run_dry(&mut engine);
    assert_eq!(heard(&out, id), [1.0]);
    assert_eq!(out.last().map(|o| &o.event), Some(&SessionEvent::Ended));
    assert_eq!(engine.metrics().open, 0);
}

#[test]
fn samples_that_are_not_finite_are_refused_whole() {
    let mut engine = engine(1);
    let id = admit(&mut engine);
    let mut pcm = frame(0.5);
    pcm[1_000] = f32::NAN;
    let error = engine.push(Duration::ZERO, id, Input::Audio(&pcm)).unwrap_err().to_string();
    assert!(error.contains("NaN at sample 1000"), "{error}");
    assert_eq!(engine.backlog(id), 0);
}

#[test]
fn parameters_out_of_range_are_named() {
    let mut engine = engine(1);
    for (params, name) in [
        (SessionParams { temperature: -1.0, ..Default::default() }, "temperature"),
        (SessionParams { text_temperature: f32::NAN, ..Default::default() }, "text_temperature"),
        (SessionParams { top_p: 1.5, ..Default::default() }, "top_p"),
        (SessionParams { repetition_context: 1_000, ..Default::default() }, "repetition_context"),
    ] {
        let error = engine.admit(SessionSpec::live(params)).unwrap_err().to_string();
        assert!(error.starts_with(name), "{error}");
    }
    assert_eq!(engine.metrics().open, 0);
}

proptest! {
    /// Whatever callers do, each hears its own frames only, in order, and the backlog stays within its limit.
    #[test]
    fn nobody_hears_anybody_else(actions in prop::collection::vec((0usize..3, 0usize..3), 1..80)) {
        let mut engine = engine(3);
        let ids: Vec<_> = (0..3).map(|_| admit(&mut engine)).collect();
        let mut sent = [0.0f32; 3];
        let mut out = Vec::new();
        for (who, what) in actions {
            if what == 0 {
                engine.tick(Duration::ZERO, &mut out).unwrap();
            } else {
                sent[who] += 1.0;
                let value = who as f32 * 1_000.0 + sent[who];
                engine.push(Duration::ZERO, ids[who], Input::Audio(&frame(value))).unwrap();
                prop_assert!(engine.backlog(ids[who]) <= 4);
            }
        }
        out.extend(run_dry(&mut engine));
        for (who, id) in ids.iter().enumerate() {
            let values = heard(&out, *id);
            prop_assert!(values.windows(2).all(|w| w[0] < w[1]));
            prop_assert!(values.iter().all(|v| (*v / 1_000.0) as usize == who));
        }
    }
}
