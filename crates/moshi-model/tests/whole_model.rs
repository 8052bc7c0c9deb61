//! The whole model on golden data: codec, language model and text in one session, alone, among others, and for long.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use std::sync::Arc;

use moshi_checkpoint::quantize::Quantize;
use moshi_checkpoint::{OpenOptions, Repository, Source};
use moshi_engine::{EngineConfig, FRAME_SAMPLES, SessionParams, SessionSpec, Sessions, SharedEngine, StreamingSession};
use moshi_model::{Device, LoadOptions, Loaded, load_model};
use moshi_nn::WeightSource;
use moshi_testkit::{Golden, assert_close};

const GREEDY: SessionParams = SessionParams {
    seed: 0,
    temperature: 0.0,
    top_k: 0,
    text_temperature: 0.0,
    text_top_k: 0,
    top_p: 1.0,
    pad_mult: 0.0,
    repetition_penalty: 1.0,
    repetition_context: 0,
};

fn greedy() -> SessionSpec {
    SessionSpec::lossless(GREEDY)
}

/// Rounding nothing, as the golden results were made.
fn load(golden: Golden, device: Device) -> Loaded {
    load_with(golden, &LoadOptions { device, exact: true, ..LoadOptions::default() })
}

/// As a user loads it.
fn load_fast(golden: Golden) -> Loaded {
    load_with(golden, &LoadOptions { device: Device::Cpu, ..LoadOptions::default() })
}

fn load_with(golden: Golden, options: &LoadOptions) -> Loaded {
    let source = Source::Folder(golden.path(""));
    let repository = Repository::open(&source, &OpenOptions::default(), &mut ()).unwrap();
    load_model(&repository, golden.name(), options).unwrap()
}

fn result(golden: Golden, name: &str) -> Vec<f32> {
    let results = golden.results().unwrap();
    let shape = results.shape(name).unwrap();
    results.vector(name, &shape).unwrap()
}

fn rows(loaded: &Loaded, count: usize) -> Arc<SharedEngine> {
    Arc::new(SharedEngine::new(loaded.model.new_rows(count).unwrap(), EngineConfig::default()))
}

/// What a session says to `pcm`.
fn converse(session: &mut StreamingSession, pcm: &[f32]) -> (Vec<f32>, String) {
    let (mut said, mut text) = (Vec::new(), String::new());
    session.step(pcm, &mut said, &mut text).unwrap();
    (said, text)
}

#[test]
fn a_greedy_session_speaks_the_golden_samples_on_every_executor() {
    for golden in Golden::ALL {
        for device in [Device::Cpu, Device::Reference].into_iter().filter(|device| device.is_built()) {
            let loaded = load(golden, device);
            let mut session = StreamingSession::open(rows(&loaded, 1), greedy()).unwrap();
            let (said, text) = converse(&mut session, &result(golden, "pcm_in"));
            let what = format!("{} on {device:?}", golden.name());
            assert_close(&what, &said, &result(golden, "session_pcm_out"), 1e-3);
            assert!(!text.is_empty());
        }
    }
}

#[test]
fn what_is_rounded_for_speed_is_not_heard() {
    let golden = Golden::TINY_MOSHI;
    let loaded = load_fast(golden);
    let (said, _) =
        converse(&mut StreamingSession::open(rows(&loaded, 1), greedy()).unwrap(), &result(golden, "pcm_in"));
    assert_close("rounded", &said, &result(golden, "session_pcm_out"), 1e-2);
}

#[test]
fn a_session_gives_the_same_bits_alone_and_among_seven_others() {
    for quantize in [None, Some(Quantize::Q8), Some(Quantize::Q4)] {
        let options = LoadOptions { device: Device::Cpu, quantize, ..LoadOptions::default() };
        alone_and_among_seven_others(&load_with(Golden::TINY_MOSHI, &options));
    }
}

fn alone_and_among_seven_others(loaded: &Loaded) {
    let pcm = result(Golden::TINY_MOSHI, "pcm_in");
    let sampled = |seed| SessionSpec::lossless(SessionParams { seed, ..SessionParams::default() });
    let alone = converse(&mut StreamingSession::open(rows(loaded, 1), sampled(3)).unwrap(), &pcm);
    let shared = rows(loaded, 8);
    let threads: Vec<_> = (0..8)
        .map(|seed| {
            let mut session = StreamingSession::open(shared.clone(), sampled(seed)).unwrap();
            // Everybody says something else but number 3.
            let heard: Vec<f32> = pcm.iter().map(|x| if seed == 3 { *x } else { x * seed as f32 * 0.2 }).collect();
            std::thread::spawn(move || converse(&mut session, &heard))
        })
        .collect();
    let all: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    assert!(all[3] == alone, "number 3 hears something else in company");
    assert!(all.iter().filter(|one| **one == alone).count() == 1, "the others must not say the same");
}

#[test]
fn sessions_fork_within_and_across_engines() {
    let loaded = load_fast(Golden::TINY_VARIANT);
    let pcm = result(Golden::TINY_VARIANT, "pcm_in");
    let (first, rest) = pcm.split_at(20 * FRAME_SAMPLES + 77);
    for rows_per_engine in [1, 4] {
        let sessions = Sessions::with_rows_per_engine(loaded.model.clone(), rows_per_engine);
        let mut session =
            sessions.open(SessionSpec::lossless(SessionParams { seed: 9, ..SessionParams::default() })).unwrap();
        converse(&mut session, first);
        let mut fork = sessions.fork(&session).unwrap();
        assert!(converse(&mut fork, rest) == converse(&mut session, rest));
        session.reset().unwrap();
        let mut fresh = sessions.open(session.spec().clone()).unwrap();
        assert!(converse(&mut fresh, first) == converse(&mut session, first), "a reset session is as new");
    }
}

#[test]
fn the_built_in_model_is_sound_and_talks() {
    let loaded = moshi_model::builtin(&LoadOptions::default()).unwrap();
    let mut session =
        StreamingSession::open(rows(&loaded, 1), SessionSpec::lossless(loaded.model.info().defaults)).unwrap();
    let (said, _text) = converse(&mut session, &vec![0.0; 10 * FRAME_SAMPLES]);
    let delay = loaded.model.info().delays.iter().max().copied().unwrap_or(0);
    assert_eq!(said.len(), (10 - delay) * FRAME_SAMPLES);
    assert!(said.iter().all(|x| x.is_finite()));
}

#[test]
fn codes_and_parameters_that_do_not_fit_are_named_and_harm_nothing() {
    let loaded = load(Golden::TINY_MOSHI, Device::Cpu);
    let mut session = StreamingSession::open(rows(&loaded, 1), greedy()).unwrap();
    for (codes, words) in [(vec![0; 7], "8"), (vec![9_999; 8], "9999"), (vec![-2; 8], "-2"), (vec![i32::MIN; 8], "-21")]
    {
        let error = session.step_codes(&codes).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let (said, _) = converse(&mut session, &result(Golden::TINY_MOSHI, "pcm_in"));
    assert_close("after refused codes", &said, &result(Golden::TINY_MOSHI, "session_pcm_out"), 1e-3);
    let error = loaded.model.forward(&[0; 16], 1).unwrap_err().to_string();
    assert!(error.contains("[17, T]"), "{error}");
}

/// Codes that somebody says, frame by frame.
fn spoken_codes(loaded: &Loaded, frames: usize) -> Vec<Vec<i32>> {
    let (users, card) = (loaded.model.info().user_streams, loaded.model.info().card);
    (0..frames).map(|at| (0..users).map(|q| ((7 * at + 3 * q) % card) as i32).collect()).collect()
}

#[test]
fn sessions_of_codes_and_of_samples_share_steps_and_hear_what_they_hear_alone() {
    let loaded = load_fast(Golden::TINY_MOSHI);
    let (pcm, codes) = (result(Golden::TINY_MOSHI, "pcm_in"), spoken_codes(&loaded, 24));
    let spec = |seed| SessionSpec::lossless(SessionParams { seed, ..SessionParams::default() });
    let talk = |session: &mut StreamingSession| converse(session, &pcm[..24 * FRAME_SAMPLES]);
    let think = |session: &mut StreamingSession| -> Vec<_> {
        codes.iter().map(|frame| session.step_codes(frame).unwrap()).collect()
    };
    let alone = talk(&mut StreamingSession::open(rows(&loaded, 1), spec(1)).unwrap());
    let thought = think(&mut StreamingSession::open(rows(&loaded, 1), spec(2)).unwrap());
    let delay = loaded.model.info().delays.iter().max().copied().unwrap();
    let complete = thought.iter().map(|frame| frame.as_ref().map(Vec::len)).collect::<Vec<_>>();
    let width = Some(1 + loaded.model.info().dep_q);
    assert!(complete.iter().enumerate().all(|(at, len)| *len == if at < delay { None } else { width }), "{complete:?}");
    let shared = rows(&loaded, 4);
    let mut sessions: Vec<_> = [1, 2, 1, 2]
        .map(|seed| StreamingSession::open(shared.clone(), spec(seed)).unwrap())
        .into_iter()
        .enumerate()
        .collect();
    std::thread::scope(|scope| {
        for (i, session) in &mut sessions {
            let (alone, thought, talk, think) = (&alone, &thought, &talk, &think);
            scope.spawn(move || match *i % 2 {
                0 => assert!(talk(session) == *alone, "samples among codes"),
                _ => assert!(think(session) == *thought, "codes among samples"),
            });
        }
    });
}

#[test]
fn a_session_goes_on_by_itself_after_its_end_as_if_it_heard_nothing() {
    let loaded = load_fast(Golden::TINY_MOSHI);
    let pcm = result(Golden::TINY_MOSHI, "pcm_in");
    let spec = SessionSpec { tail: 5, ..SessionSpec::lossless(SessionParams { seed: 4, ..SessionParams::default() }) };
    let mut session = StreamingSession::open(rows(&loaded, 2), spec).unwrap();
    let (mut said, mut text) = converse(&mut session, &pcm[..10 * FRAME_SAMPLES]);
    let delay = loaded.model.info().delays.iter().max().copied().unwrap();
    assert_eq!(said.len(), (10 - delay) * FRAME_SAMPLES);
    session.end(&mut said, &mut text).unwrap();
    assert_eq!(said.len(), (10 - delay + 5) * FRAME_SAMPLES);
    assert!(said.iter().all(|x| x.is_finite()));
    assert!(session.step(&pcm, &mut said, &mut text).is_err(), "it has ended");
}

/// The cosine between two lists, where both are numbers.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let pairs = || a.iter().zip(b).filter(|(a, b)| a.is_finite() && b.is_finite());
    let dot = |f: fn(f64, f64) -> f64| pairs().map(|(a, b)| f(f64::from(*a), f64::from(*b))).sum::<f64>();
    dot(|a, b| a * b) / (dot(|a, _| a * a) * dot(|_, b| b * b)).sqrt()
}

#[test]
fn a_model_quantized_while_loading_thinks_nearly_the_same_with_fewer_bytes() {
    let codes = Golden::TINY_MOSHI.results().unwrap().i32("tf_codes").unwrap();
    let source = Source::Folder(Golden::TINY_MOSHI.path(""));
    let repository = Repository::open(&source, &OpenOptions::default(), &mut ()).unwrap();
    let run = |quantize: Option<&str>| {
        let quantize = quantize.map(|q| q.parse().unwrap());
        let loaded = load_model(&repository, "tiny", &LoadOptions { quantize, ..LoadOptions::default() }).unwrap();
        let logits = loaded.model.forward(&codes, codes.len() / 17).unwrap();
        (loaded.model.info().weight_bytes, [logits.text, logits.audio].concat())
    };
    let (all, exact) = run(None);
    for (quantize, cosine_at_least, bytes_at_most) in [("q8", 0.999, 0.9), ("q4", 0.97, 0.85)] {
        let (bytes, logits) = run(Some(quantize));
        let cosine = cosine(&exact, &logits);
        assert!(cosine >= cosine_at_least, "{quantize}: {cosine}");
        assert!((bytes as f64) < bytes_at_most * all as f64, "{quantize}: {bytes} of {all} bytes");
    }
}
