//! One row's fault ends one session: the whole model, with damaged weights and poisoned audio, on every executor.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use std::sync::Arc;
use std::time::Duration;

use moshi_checkpoint::quantize::Quantize;
use moshi_checkpoint::{OpenOptions, Repository, Source};
use moshi_engine::{
    Engine, EngineConfig, EngineError, FRAME_SAMPLES, FrameInput, FrameModel, Input, NO_ASIDE, RowOutput, RowStep,
    SessionEvent, SessionParams, SessionSpec, SharedEngine, StreamingSession,
};
use moshi_model::{Device, LoadOptions, Loaded, load_model};
use moshi_testkit::{Golden, damage_file, noise};
use tempfile::TempDir;

const GOLDEN: Golden = Golden::TINY_MOSHI;
const FRAMES: usize = 24;
const ROWS: usize = 3;
const VICTIM: usize = 1;

fn load(folder: &std::path::Path, options: &LoadOptions) -> Loaded {
    let source = Source::Folder(folder.to_owned());
    load_model(&Repository::open(&source, &OpenOptions::default(), &mut ()).unwrap(), "damaged", options).unwrap()
}

/// The golden repository with one damaged line.
fn damaged(file: &str, matrix: &str, line: usize, value: f32) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors", "mimi.safetensors", "mimi_config.json", "tokenizer.model"] {
        std::fs::copy(GOLDEN.path(file), folder.path().join(file)).unwrap();
    }
    damage_file(&folder.path().join(file), matrix, line, value).unwrap();
    folder
}

/// As a user loads it, rounding nothing, quantized, and on the reference executor.
fn executors() -> Vec<LoadOptions> {
    let cpu = LoadOptions { device: Device::Cpu, ..LoadOptions::default() };
    let mut executors = vec![
        cpu.clone(),
        LoadOptions { exact: true, ..cpu.clone() },
        LoadOptions { quantize: Some(Quantize::Q8), ..cpu.clone() },
        LoadOptions { quantize: Some(Quantize::Q4), ..cpu },
        LoadOptions { device: Device::Reference, ..LoadOptions::default() },
    ];
    executors.retain(|options| options.device.is_built());
    executors
}

/// Goes on to the end.
fn on() -> bool {
    true
}

/// What row `row`'s caller says.
fn speech(row: usize) -> Vec<f32> {
    let loudness = 0.2 + 0.3 * row as f32;
    noise::signal(40 + row as u64, FRAMES * FRAME_SAMPLES).iter().map(|x| loudness * x).collect()
}

fn spec(row: usize) -> SessionSpec {
    SessionSpec::live(SessionParams { seed: row as u64, ..SessionParams::default() })
}

fn frame(pcm: &[f32], at: usize) -> &[f32] {
    &pcm[at * FRAME_SAMPLES..(at + 1) * FRAME_SAMPLES]
}

/// Steps rows, each hearing a frame.
fn step(model: &mut dyn FrameModel, heard: &[(usize, &[f32])]) -> Vec<(RowOutput, Vec<f32>)> {
    let mut said = vec![vec![0.0; FRAME_SAMPLES]; heard.len()];
    let mut steps: Vec<RowStep<'_>> = heard
        .iter()
        .zip(&mut said)
        .map(|(&(row, pcm), pcm_out)| RowStep {
            row,
            input: FrameInput::Pcm(pcm),
            aside: &NO_ASIDE,
            pcm_out,
            output: RowOutput::default(),
        })
        .collect();
    model.step(&mut steps).unwrap();
    let outputs: Vec<RowOutput> = steps.into_iter().map(|step| step.output).collect();
    outputs
        .into_iter()
        .zip(said)
        .map(|(output, said)| (output.clone(), if output.audio { said } else { vec![] }))
        .collect()
}

/// All rows together, by frame and row.
fn undisturbed(loaded: &Loaded) -> Vec<Vec<(RowOutput, Vec<f32>)>> {
    let mut model = loaded.model.new_rows(ROWS).unwrap();
    (0..ROWS).for_each(|row| model.open(row, &spec(row)).unwrap());
    let speech: Vec<Vec<f32>> = (0..ROWS).map(speech).collect();
    (0..FRAMES).map(|at| step(&mut *model, &[0, 1, 2].map(|row| (row, frame(&speech[row], at))))).collect()
}

/// What happens to the victim.
struct Harm<'a> {
    /// What it hears in place of frame `from`.
    poison: Option<&'a [f32]>,
    /// When it should fail, if it does.
    from: usize,
    /// Whether it may go on (with something else to say) until it is opened again.
    bearable: bool,
}

/// The victim hears nothing any more once it has failed; two frames later, or after frame 12, its row is opened again.
/// Everybody else says what `expected` says, and so does the row that was opened again.
fn ends_alone(loaded: &Loaded, expected: &[Vec<(RowOutput, Vec<f32>)>], harm: &Harm<'_>, what: &str) {
    let Harm { poison, from, bearable } = *harm;
    let mut model = loaded.model.new_rows(ROWS).unwrap();
    (0..ROWS).for_each(|row| model.open(row, &spec(row)).unwrap());
    let speech: Vec<Vec<f32>> = (0..ROWS).map(speech).collect();
    let (mut failed, mut again) = (None::<usize>, None::<usize>);
    for at in 0..FRAMES {
        let mine = match (failed, again) {
            (_, Some(began)) => Some(frame(&speech[VICTIM], at - began)),
            (Some(_), None) => None,
            (None, None) => Some(poison.filter(|_| at == from).unwrap_or(frame(&speech[VICTIM], at))),
        };
        let others = [0, 2].map(|row| (row, frame(&speech[row], at)));
        let mut heard = others.to_vec();
        heard.extend(mine.map(|pcm| (VICTIM, pcm)));
        heard.sort_by_key(|(row, _)| *row);
        let rows: Vec<usize> = heard.iter().map(|(row, _)| *row).collect();
        for (row, made) in rows.into_iter().zip(step(&mut *model, &heard)) {
            match (row == VICTIM, again) {
                (false, _) => assert!(made == expected[at][row], "{what}: row {row} at frame {at}"),
                (true, Some(began)) if at - began < from => {
                    assert!(made == expected[at - began][row], "{what}: opened again, frame {}", at - began);
                }
                (true, Some(_)) => {}
                (true, None) if made.0.error.is_none() => {
                    assert!(at >= from || made == expected[at][row], "{what}: frame {at}");
                    assert!(at < from || bearable, "{what}: the victim goes on at frame {at}");
                }
                (true, None) => {
                    let output = made.0;
                    assert!(at >= from && !output.audio && output.text.is_empty(), "{what}: {at} {output:?}");
                    failed = Some(at);
                }
            }
        }
        if again.is_none() && failed.map_or(bearable && at == 12, |failed| at == failed + 2) {
            model.open(VICTIM, &spec(VICTIM)).unwrap();
            again = Some(at + 1);
        }
    }
    assert!(again.is_some(), "{what}: the victim never failed");
}

/// A user's stream, a code that the victim's caller says alone, and the frame in which it is read.
fn own_code(loaded: &Loaded) -> (usize, usize, usize) {
    let info = loaded.model.info();
    let codes: Vec<Vec<u32>> = (0..ROWS).map(|row| loaded.codec.encode(&speech(row), &mut on).unwrap()).collect();
    for q in 0..info.user_streams {
        let of = |row: usize| &codes[row][q * FRAMES..(q + 1) * FRAMES];
        for (at, code) in of(VICTIM).iter().enumerate().filter(|(at, _)| (4..12).contains(at)) {
            let first = of(VICTIM).iter().position(|c| c == code) == Some(at);
            if first && (0..ROWS).all(|row| row == VICTIM || !of(row).contains(code)) {
                let stream = 1 + info.dep_q + q;
                return (stream, *code as usize, at + info.delays[stream]);
            }
        }
    }
    unreachable!("the callers say other codes")
}

#[test]
fn a_code_whose_embedding_is_damaged_ends_the_session_that_hears_it() {
    for options in executors() {
        let sound = load(&GOLDEN.path(""), &options);
        let (expected, (stream, code, at)) = (undisturbed(&sound), own_code(&sound));
        // The reference executor is slow.
        let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        for value in values.into_iter().take(if options.device == Device::Cpu { 3 } else { 1 }) {
            let folder = damaged("model.safetensors", &format!("emb.{}.weight", stream - 1), code, value);
            let what = format!("{options:?}: code {code} of stream {stream} is {value}");
            let harm = Harm { poison: None, from: at, bearable: false };
            ends_alone(&load(folder.path(), &options), &expected, &harm, &what);
        }
    }
}

#[test]
fn audio_that_no_number_can_be_made_of_ends_the_session_that_hears_it() {
    for options in executors() {
        let loaded = load(&GOLDEN.path(""), &options);
        let expected = undisturbed(&loaded);
        let mut one = frame(&speech(VICTIM), 5).to_vec();
        one[FRAME_SAMPLES / 2] = f32::NAN;
        let poisons =
            [vec![f32::NAN; FRAME_SAMPLES], vec![f32::INFINITY; FRAME_SAMPLES], vec![3e38; FRAME_SAMPLES], one];
        for poison in poisons {
            let what = format!("{options:?}: {} .. {}", poison[0], poison[FRAME_SAMPLES / 2]);
            // A codec that computes in whole numbers has no NaN to notice.
            let bearable = !options.exact && options.device == Device::Cpu;
            ends_alone(&loaded, &expected, &Harm { poison: Some(&poison), from: 5, bearable }, &what);
        }
    }
}

#[test]
fn a_codec_that_makes_no_numbers_ends_sessions_and_no_step() {
    // Integers are not made of weights that are no numbers: such a file is refused.
    let floats = |options: &LoadOptions| options.exact || options.device == Device::Reference;
    for options in executors().into_iter().filter(floats) {
        let folder = damaged("mimi.safetensors", "decoder.model.0.conv.conv.weight", 0, f32::NAN);
        let loaded = load(folder.path(), &options);
        let mut model = loaded.model.new_rows(2).unwrap();
        (0..2).for_each(|row| model.open(row, &spec(row)).unwrap());
        let delay = loaded.model.info().delays.iter().max().copied().unwrap();
        for at in 0..=delay {
            let pcm = speech(0);
            for (output, _) in step(&mut *model, &[(0, frame(&pcm, at)), (1, frame(&pcm, at))]) {
                assert_eq!(output.error.is_some(), at == delay, "{options:?}: {output:?}");
                assert!(output.error.is_none_or(|why| why.contains("cannot speak")));
            }
        }
    }
}

/// Rounding nothing: audio far out of range is noticed.
fn exact() -> Loaded {
    load(&GOLDEN.path(""), &LoadOptions { device: Device::Cpu, exact: true, ..LoadOptions::default() })
}

#[test]
fn the_engine_closes_the_session_that_failed_and_gives_its_row_to_the_next() {
    let loaded = exact();
    let expected = undisturbed(&loaded);
    let mut engine = Engine::new(loaded.model.new_rows(2).unwrap(), EngineConfig::default());
    let (good, bad) = (engine.admit(spec(0)).unwrap(), engine.admit(spec(1)).unwrap());
    let mut next = None;
    let (pcm, mut heard) = (speech(0), Vec::new());
    for at in 0..10 {
        let now = Duration::from_millis(80 * at as u64);
        engine.push(now, good, Input::Audio(frame(&pcm, at))).unwrap();
        match next {
            None => engine.push(now, bad, Input::Audio(&[3e38; FRAME_SAMPLES])).unwrap(),
            Some(next) => engine.push(now, next, Input::Audio(frame(&pcm, at))).unwrap(),
        }
        let mut out = Vec::new();
        engine.tick(now, &mut out).unwrap();
        for output in out {
            match output.event {
                SessionEvent::Failed(_) => {
                    assert_eq!(output.session, bad);
                    assert_eq!(engine.push(now, bad, Input::End), Err(EngineError::NoSession(bad.0)));
                    next = Some(engine.admit(spec(2)).unwrap());
                }
                SessionEvent::Audio { pcm, .. } if output.session == good => heard.extend(pcm),
                _ => assert_ne!(output.session, bad, "{:?}", output.event),
            }
        }
    }
    assert!(next.is_some() && engine.metrics().failed == 1 && engine.metrics().open == 2);
    let expected: Vec<f32> = expected[..10].iter().flat_map(|frame| frame[0].1.iter().copied()).collect();
    assert!(heard == expected, "the neighbour hears what it would hear alone");
}

#[test]
fn a_session_that_its_owner_steps_says_so_until_it_is_reset() {
    let loaded = exact();
    let rows = Arc::new(SharedEngine::new(loaded.model.new_rows(3).unwrap(), EngineConfig::default()));
    let open = |row| StreamingSession::open(rows.clone(), SessionSpec::lossless(spec(row).sampling)).unwrap();
    let converse = |session: &mut StreamingSession, pcm: &[f32]| {
        let (mut said, mut text) = (Vec::new(), String::new());
        session.step(pcm, &mut said, &mut text).map(|()| (said, text))
    };
    let (mut good, mut bad, mut fresh) = (open(0), open(1), open(1));
    let pcm = speech(1);
    converse(&mut good, &pcm).unwrap();
    converse(&mut bad, &pcm).unwrap();
    // What is no number is refused at the door and harms nothing.
    let refused = converse(&mut bad, &[0.0, f32::NAN]).unwrap_err();
    assert!(matches!(refused, EngineError::Parameter { name: "pcm", .. }), "{refused}");
    converse(&mut bad, &pcm).unwrap();
    let error = converse(&mut bad, &[3e38; 2 * FRAME_SAMPLES]).unwrap_err().to_string();
    assert!(error.starts_with("the model failed: cannot hear"), "{error}");
    for error in [converse(&mut bad, &pcm).err(), bad.step_codes(&[0; 8]).err(), bad.fork_into(rows.clone()).err()] {
        assert!(error.is_some_and(|error| error.to_string().contains("reset it")));
    }
    converse(&mut good, &pcm).unwrap();
    bad.reset().unwrap();
    assert!(converse(&mut bad, &pcm) == converse(&mut fresh, &pcm), "a reset session is as new");
}

#[test]
fn a_stream_of_the_codec_says_so_until_it_is_reset() {
    let loaded = exact();
    let (mut stream, mut fresh) = (loaded.codec.stream().unwrap(), loaded.codec.stream().unwrap());
    let (pcm, k) = (speech(0), loaded.codec.info().num_codebooks);
    let (mut codes, mut expected) = (Vec::new(), Vec::new());
    assert!(matches!(
        stream.encode(&[f32::NAN; FRAME_SAMPLES], &mut codes, &mut on),
        Err(EngineError::Parameter { .. })
    ));
    let error = stream.encode(&[3e38; FRAME_SAMPLES], &mut codes, &mut on).unwrap_err().to_string();
    assert!(error.contains("until it is reset"), "{error}");
    assert!(stream.encode(frame(&pcm, 0), &mut codes, &mut on).is_err(), "its memory is lost");
    stream.reset().unwrap();
    for at in 0..3 {
        stream.encode(frame(&pcm, at), &mut codes, &mut on).unwrap();
        fresh.encode(frame(&pcm, at), &mut expected, &mut on).unwrap();
        assert_eq!(codes, expected);
    }
    let mut said = Vec::new();
    for bad in [64, u32::MAX] {
        let codes: Vec<u32> = (0..k).map(|q| if q == 3 { bad } else { 0 }).collect();
        assert!(matches!(stream.decode(&codes, &mut said, &mut on), Err(EngineError::Input(_))));
    }
    stream.decode(&codes, &mut said, &mut on).unwrap();
    let mut alone = Vec::new();
    fresh.decode(&codes, &mut alone, &mut on).unwrap();
    assert!(said == alone, "what was refused changed nothing");
    assert!(loaded.codec.encode(&[3e38; 3 * FRAME_SAMPLES], &mut on).is_err());
}
