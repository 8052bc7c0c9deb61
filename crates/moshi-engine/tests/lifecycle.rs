//! A session from its prompt to its tail: what it hears, what it is told, and that nobody else notices.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure is the test's answer

mod scripted;

use std::sync::atomic::Ordering;
use std::time::Duration;

use moshi_engine::{
    EarlyAudio, Engine, EngineConfig, EngineError, FRAME_SAMPLES, Input, OnFailure, Output, Pace, SessionEvent,
    SessionId, SessionSpec,
};
use proptest::prelude::*;
use scripted::{POISON, SILENCE, Scripted, heard, params};

const CONFIG: EngineConfig = EngineConfig { backlog_limit: 4, backlog_target: 2 };

fn engine(rows: usize) -> Engine {
    Engine::new(Box::new(Scripted::new(rows)), CONFIG)
}

fn push(engine: &mut Engine, id: SessionId, value: f32) {
    engine.push(Duration::ZERO, id, Input::Audio(&[value; FRAME_SAMPLES])).unwrap();
}

fn tick(engine: &mut Engine) -> Vec<Output> {
    let mut out = Vec::new();
    engine.tick(Duration::ZERO, &mut out).unwrap();
    out
}

fn run_dry(engine: &mut Engine) -> Vec<Output> {
    let mut out = Vec::new();
    while engine.ready() {
        out.extend(tick(engine));
    }
    out
}

/// What a session was told, but for its voice.
fn told(out: &[Output], id: SessionId) -> Vec<&SessionEvent> {
    let quiet = |event: &&SessionEvent| !matches!(event, SessionEvent::Audio { .. } | SessionEvent::Text { .. });
    out.iter().filter(|o| o.session == id).map(|o| &o.event).filter(quiet).collect()
}

fn said(out: &[Output], id: SessionId) -> Vec<(&str, u64)> {
    let text =
        |event| if let &SessionEvent::Text { ref text, step } = event { Some((text.as_str(), step)) } else { None };
    out.iter().filter(|o| o.session == id).filter_map(|o| text(&o.event)).collect()
}

fn live(prompt: u64, early: EarlyAudio) -> SessionSpec {
    SessionSpec { pace: Pace::Live { early }, ..SessionSpec::live(params(prompt, 0)) }
}

#[test]
fn a_prompt_runs_in_the_shared_batch_and_stops_nobody() {
    let mut engine = engine(2);
    let other = engine.admit(SessionSpec::live(params(0, 0))).unwrap();
    let prompted = engine.admit(SessionSpec::live(params(3, 0))).unwrap();
    for i in 1..=3 {
        push(&mut engine, other, i as f32);
        let out = tick(&mut engine);
        assert_eq!(heard(&out, other), [i as f32], "one batch");
        assert!(heard(&out, prompted).is_empty() && said(&out, prompted).is_empty(), "a prompt says nothing");
        assert_eq!(told(&out, prompted), if i == 3 { vec![&SessionEvent::Primed] } else { vec![] });
    }
    assert!(!engine.ready(), "whose prompt has run waits for its caller");
    push(&mut engine, prompted, 0.5);
    let out = tick(&mut engine);
    assert_eq!(heard(&out, prompted), [0.5]);
    assert_eq!(said(&out, prompted), [("3:4;", 0)], "the model's fourth step, and the caller's first");
}

#[test]
fn audio_that_comes_before_the_prompt_has_run_waits_or_is_not_heard() {
    for (early, expected) in [(EarlyAudio::Keep, vec![4.0, 5.0, 6.0, 7.0]), (EarlyAudio::Drop, vec![7.0])] {
        let mut engine = engine(1);
        let id = engine.admit(live(2, early)).unwrap();
        for i in 1..=6 {
            push(&mut engine, id, i as f32);
        }
        // Half a frame belongs to the one that is not heard.
        engine.push(Duration::ZERO, id, Input::Audio(&[9.0; FRAME_SAMPLES / 2])).unwrap();
        let mut out = tick(&mut engine);
        out.extend(tick(&mut engine));
        let dropped = SessionEvent::Dropped { frames: 3 };
        let expected_told = match early {
            EarlyAudio::Keep => vec![&dropped, &SessionEvent::Primed],
            EarlyAudio::Drop => vec![&SessionEvent::Primed],
        };
        assert_eq!(told(&out, id), expected_told, "{early:?}");
        let mut all = heard(&run_dry(&mut engine), id);
        if early == EarlyAudio::Keep {
            engine.push(Duration::ZERO, id, Input::Audio(&[9.0; FRAME_SAMPLES / 2])).unwrap();
            assert_eq!(heard(&run_dry(&mut engine), id), [9.0]);
        }
        push(&mut engine, id, 7.0);
        all.extend(heard(&run_dry(&mut engine), id));
        assert_eq!(all, expected, "{early:?}");
    }
}

#[test]
fn a_session_that_is_never_late_loses_nothing_while_its_prompt_runs() {
    let mut engine = engine(1);
    let id = engine.admit(SessionSpec::lossless(params(5, 0))).unwrap();
    for i in 1..=20 {
        push(&mut engine, id, i as f32);
    }
    engine.push(Duration::ZERO, id, Input::End).unwrap();
    let out = run_dry(&mut engine);
    assert_eq!(heard(&out, id), (1..=20).map(|i| i as f32).collect::<Vec<_>>());
    assert_eq!(told(&out, id), [&SessionEvent::Primed, &SessionEvent::Ended]);
    assert_eq!(engine.metrics().open, 0);
}

#[test]
fn after_its_end_a_session_goes_on_until_the_model_says_so_or_the_limit_is_reached() {
    for (wants, limit, frames) in [(3, 10, 3), (30, 10, 10), (1, 1, 1), (5, 0, 0)] {
        let mut engine = engine(2);
        let other = engine.admit(SessionSpec::live(params(0, 0))).unwrap();
        let spec = SessionSpec { tail: limit, ..SessionSpec::lossless(params(0, wants)) };
        let id = engine.admit(spec).unwrap();
        push(&mut engine, id, 1.0);
        engine.push(Duration::ZERO, id, Input::End).unwrap();
        let refused = engine.push(Duration::ZERO, id, Input::Audio(&[0.0])).unwrap_err();
        assert_eq!(refused, EngineError::NoSession(id.0), "nothing comes after the end");
        push(&mut engine, other, 2.0);
        let out = run_dry(&mut engine);
        let expected: Vec<f32> = std::iter::once(1.0).chain(std::iter::repeat_n(SILENCE, frames)).collect();
        assert_eq!(heard(&out, id), expected, "{wants} of at most {limit}");
        assert_eq!(told(&out, id), [&SessionEvent::Ended]);
        assert_eq!(heard(&out, other), [2.0]);
        assert_eq!((engine.metrics().open, engine.backlog(id)), (1, 0));
    }
}

#[test]
fn codes_and_audio_of_different_sessions_share_a_step() {
    let model = Scripted::new(3);
    let counts = model.counts();
    let mut engine = Engine::new(Box::new(model), CONFIG);
    let ids: Vec<_> = (0..2).map(|_| engine.admit(SessionSpec::live(params(0, 0))).unwrap()).collect();
    push(&mut engine, ids[0], 0.5);
    engine.push(Duration::ZERO, ids[1], Input::Codes(&[7, -1])).unwrap();
    let out = tick(&mut engine);
    assert_eq!(counts.steps.load(Ordering::Relaxed), 1);
    assert_eq!(heard(&out, ids[0]), [0.5]);
    assert_eq!(told(&out, ids[1]), [&SessionEvent::Codes(vec![7, -1])]);
    for codes in [&[1][..], &[1, 1_001], &[-2, 0]] {
        let error = engine.push(Duration::ZERO, ids[1], Input::Codes(codes)).unwrap_err();
        assert!(matches!(error, EngineError::Input(_)), "{error}");
    }
    assert!(!engine.ready(), "nothing of them was taken");
}

#[test]
fn a_session_begins_anew_from_every_state() {
    let mut engine = engine(1);
    let spec = SessionSpec { tail: 5, ..SessionSpec::lossless(params(2, 9)) };
    let id = engine.admit(spec).unwrap();
    let steps: [&dyn Fn(&mut Engine); 4] = [
        &|_| {},
        &|engine| drop(tick(engine)),
        &|engine| {
            push(engine, id, 1.0);
            drop(run_dry(engine));
            push(engine, id, POISON);
            drop(run_dry(engine));
            assert!(engine.push(Duration::ZERO, id, Input::End).unwrap_err().to_string().contains("reset it"));
        },
        &|engine| {
            engine.push(Duration::ZERO, id, Input::End).unwrap();
            for _ in 0..3 {
                drop(tick(engine));
            }
        },
    ];
    for (i, before) in steps.into_iter().enumerate() {
        before(&mut engine);
        push_ignoring(&mut engine, id);
        engine.reset(id).unwrap();
        engine.reset(id).unwrap();
        push(&mut engine, id, 4.0);
        let out = run_dry(&mut engine);
        assert_eq!(told(&out, id), [&SessionEvent::Reset, &SessionEvent::Primed], "{i}");
        assert_eq!((heard(&out, id), said(&out, id)), (vec![4.0], vec![("902:3;", 0)]), "{i}");
    }
}

/// What was said before a session begins anew is not heard afterwards.
fn push_ignoring(engine: &mut Engine, id: SessionId) {
    let _ = engine.push(Duration::ZERO, id, Input::Audio(&[8.0; FRAME_SAMPLES + 5]));
}

#[test]
fn a_copy_goes_on_from_any_state_in_the_same_engine_or_another() {
    let (mut engine, mut elsewhere) = (engine(3), engine(1));
    let id = engine.admit(SessionSpec { tail: 2, ..SessionSpec::lossless(params(3, 9)) }).unwrap();
    drop(tick(&mut engine));
    engine.push(Duration::ZERO, id, Input::Audio(&[0.25; FRAME_SAMPLES + 9])).unwrap();
    let near = engine.fork(id).unwrap();
    let far = elsewhere.fork_from(&engine, id).unwrap();
    assert_eq!(elsewhere.fork_from(&engine, id), Err(EngineError::Full { rows: 1 }));
    for copy in [id, near] {
        engine.push(Duration::ZERO, copy, Input::End).unwrap();
    }
    elsewhere.push(Duration::ZERO, far, Input::End).unwrap();
    let (here, there) = (run_dry(&mut engine), run_dry(&mut elsewhere));
    let expected = [0.25, 0.25, SILENCE, SILENCE];
    for (out, copy) in [(&here, id), (&here, near), (&there, far)] {
        assert_eq!(heard(out, copy), expected);
        assert_eq!(told(out, copy), [&SessionEvent::Primed, &SessionEvent::Ended]);
    }
    assert_eq!(engine.fork(id), Err(EngineError::NoSession(id.0)));
    assert_eq!((engine.metrics().open, elsewhere.metrics().open), (0, 0));
}

#[test]
fn memory_is_taken_by_sessions_and_given_back_by_them() {
    let model = Scripted::new(1_000);
    let counts = model.counts();
    let mut engine = Engine::new(Box::new(model), CONFIG);
    let open = || counts.open.load(Ordering::Relaxed);
    assert_eq!((engine.capacity(), open()), (1_000, 0));
    let ids: Vec<_> = (0..3).map(|_| engine.admit(SessionSpec::live(params(0, 0))).unwrap()).collect();
    assert_eq!(open(), 3);
    engine.close(ids[1]);
    engine.fork(ids[0]).unwrap();
    assert_eq!(open(), 3, "the row that was left is used again");
    for value in [POISON, 0.0] {
        push(&mut engine, ids[0], value);
    }
    drop(run_dry(&mut engine));
    assert_eq!((open(), engine.metrics().failed), (2, 1));
    let refused = engine.admit(SessionSpec::live(moshi_engine::SessionParams { seed: u64::MAX, ..params(0, 0) }));
    assert_eq!(refused, Err(EngineError::Model("no memory".to_owned())));
    assert_eq!((open(), engine.metrics().open), (2, 2));
}

/// One thing that a caller of the property test does.
#[derive(Debug, Clone, Copy)]
enum Action {
    Tick,
    Frame,
    Piece,
    Poison,
    End,
    Reset,
    Close,
}

fn actions() -> impl Strategy<Value = Vec<(usize, Action)>> {
    let action = prop_oneof![
        4 => Just(Action::Tick),
        6 => Just(Action::Frame),
        3 => Just(Action::Piece),
        1 => Just(Action::Poison),
        1 => Just(Action::End),
        1 => Just(Action::Reset),
        1 => Just(Action::Close),
    ];
    prop::collection::vec((0usize..4, action), 1..120)
}

fn specs() -> [SessionSpec; 4] {
    [
        live(0, EarlyAudio::Keep),
        SessionSpec { tail: 3, on_failure: OnFailure::Break, ..live(2, EarlyAudio::Drop) },
        SessionSpec::lossless(params(4, 0)),
        SessionSpec { tail: 4, ..SessionSpec::lossless(params(1, 2)) },
    ]
}

proptest! {
    /// Whatever callers do, each is told a sound story: a prompt before its voice, nothing after its last event, frames in the
    /// order in which they were said, its own only, and no row is left behind.
    #[test]
    fn every_story_is_sound(actions in actions()) {
        let model = Scripted::new(4);
        let counts = model.counts();
        let mut engine = Engine::new(Box::new(model), CONFIG);
        let specs = specs();
        let ids = specs.clone().map(|spec| engine.admit(spec).unwrap());
        let (mut sent, mut out) = ([0.0f32; 4], Vec::new());
        for (who, action) in actions {
            let id = ids[who];
            let mut say = |engine: &mut Engine, samples: usize| {
                sent[who] += 1.0;
                let value = who as f32 * 1_000.0 + sent[who];
                let _ = engine.push(Duration::ZERO, id, Input::Audio(&vec![value; samples]));
            };
            match action {
                Action::Tick => out.extend(tick(&mut engine)),
                Action::Frame => say(&mut engine, FRAME_SAMPLES),
                Action::Piece => say(&mut engine, 777),
                Action::Poison => drop(engine.push(Duration::ZERO, id, Input::Audio(&[POISON; FRAME_SAMPLES]))),
                Action::End => drop(engine.push(Duration::ZERO, id, Input::End)),
                Action::Reset => drop(engine.reset(id)),
                Action::Close => engine.close(id),
            }
            if specs[who].pace != Pace::Lossless {
                prop_assert!(engine.backlog(id) <= CONFIG.backlog_limit + 1);
            }
        }
        out.extend(run_dry(&mut engine));
        for (who, id) in ids.into_iter().enumerate() {
            check_story(who, &specs[who], &out.iter().filter(|o| o.session == id).map(|o| &o.event).collect::<Vec<_>>())?;
            engine.close(id);
        }
        run_dry(&mut engine);
        prop_assert_eq!(counts.open.load(Ordering::Relaxed), 0);
    }
}

fn check_story(who: usize, spec: &SessionSpec, story: &[&SessionEvent]) -> Result<(), TestCaseError> {
    let prompted = !spec.sampling.seed.is_multiple_of(100);
    let (mut speaks, mut last, mut over) = (!prompted, f32::MIN, false);
    for event in story {
        prop_assert!(!over, "{event:?} after the end");
        match event {
            SessionEvent::Reset => speaks = !prompted,
            SessionEvent::Primed => {
                prop_assert!(!speaks && prompted);
                speaks = true;
            }
            SessionEvent::Audio { pcm, .. } => {
                prop_assert!(speaks);
                if pcm[0] >= 0.0 {
                    prop_assert_eq!((pcm[0] / 1_000.0) as usize, who);
                    prop_assert!(pcm[0] > last, "frames in order");
                    last = pcm[0];
                }
            }
            SessionEvent::Text { .. } => prop_assert!(speaks),
            SessionEvent::Dropped { .. } => prop_assert!(spec.pace != Pace::Lossless),
            SessionEvent::Failed(_) if spec.on_failure == OnFailure::Break => {}
            SessionEvent::Failed(_) | SessionEvent::Ended => over = true,
            other => prop_assert!(false, "{other:?}"),
        }
    }
    Ok(())
}
