//! Synthesis: voices as a memory, two text streams, the text rule between text and audio, guidance of the audio, spoken
//! prefixes, fewer codebooks.

use moshi_checkpoint::SpeakerFile;
use moshi_lm::conditions::{ConditionValues, Sequence};
use moshi_lm::guidance::{Guidance, Guided};
use moshi_lm::script::Entry;
use moshi_lm::text_rule::{TextRule, TextRuleConfig};
use moshi_lm::{Lm, LmState, RowInput, Speech};
use moshi_nn::Backend;
use moshi_testkit::{FileTensors, Golden, assert_close};
use serde_json::Value;

use crate::{assert_teacher_forced, load, text_logits};

/// Places for voices.
const SPEAKERS: usize = 5;

fn model(run: &Value) -> Golden {
    match run["config"].as_str().unwrap() {
        "config.json" => Golden::TINY_TTS,
        "config_guided.json" => Golden::TINY_TTS_GUIDED,
        _ => Golden::TINY_TTS_PREFIX,
    }
}

/// A published voice.
fn voice(file: &str) -> Sequence {
    let file = SpeakerFile::read(&Golden::TINY_TTS.path(file)).unwrap();
    Sequence::new(file.dim, file.vectors).unwrap()
}

/// What the session of a run is told.
pub(crate) fn values<B: Backend>(lm: &Lm<B>, run: &Value) -> ConditionValues {
    let mut values = ConditionValues::new();
    for conditioner in &lm.config().conditioners {
        values = match conditioner.name.as_str() {
            "control" => values.text("control", "ok"),
            "cfg" => values.text("cfg", format!("{:.1}", run["cfg"].as_f64().unwrap())),
            name => {
                let voices = run["voices"].as_array().unwrap().iter().map(|file| voice(file.as_str().unwrap()));
                values.sequence(name, Sequence::voices(&voices.collect::<Vec<_>>(), SPEAKERS).unwrap())
            }
        };
    }
    values
}

fn speech(name: &str, run: &Value, results: &FileTensors) -> Speech {
    let config = TextRuleConfig {
        second_stream_ahead: 2,
        prefix_frames: run["prefix_frames"].as_u64().unwrap() as usize,
        ..TextRuleConfig::new(84, run["delay_steps"].as_u64().unwrap() as usize)
    };
    let mut rule = TextRule::new(config);
    for entry in run["entries"].as_array().unwrap() {
        let tokens = entry["tokens"].as_array().unwrap().iter().map(|token| token.as_i64().unwrap() as i32).collect();
        let padding = entry["padding"].as_u64().unwrap() as u32;
        rule.push(Entry { text: entry["text"].as_str().unwrap().to_owned(), tokens, padding });
    }
    rule.end();
    match results.i32(&format!("{name}_prefix")) {
        Ok(prefix) => Speech::new(rule).with_prefix(prefix[config.prefix_frames..].to_vec()),
        Err(_) => Speech::new(rule),
    }
}

/// Makes row `row` the session of a run, with the row behind it beside it where it is guided.
fn open<B: Backend>(lm: &Lm<B>, state: &mut LmState<B>, row: usize, name: &str) {
    let (meta, results) = (Golden::TINY_TTS.meta().unwrap(), Golden::TINY_TTS.results().unwrap());
    let run = &meta["runs"][name];
    lm.reset(state, row).unwrap();
    lm.set_conditions(state, row, &lm.conditions(&values(lm, run)).unwrap()).unwrap();
    lm.set_codebooks(state, row, run["n_q"].as_u64().unwrap() as usize).unwrap();
    if run["guided"].as_bool().unwrap() {
        let mut absent = ConditionValues::new();
        if lm.config().cross_attention {
            absent = absent.sequence("speaker_wavs", Sequence::absent(32, SPEAKERS * 12));
        }
        lm.set_conditions(state, row + 1, &lm.conditions(&absent).unwrap()).unwrap();
        let coefficient = run["cfg"].as_f64().unwrap() as f32;
        let guidance = Guidance { null_row: row + 1, coefficient, guided: Guided::Audio };
        lm.set_guidance(state, row, Some(guidance)).unwrap();
    }
    lm.set_speech(state, row, Some(speech(name, run, &results))).unwrap();
}

/// What a row says in all steps.
#[derive(Debug, Default, PartialEq)]
struct Said {
    asked: Vec<i32>,
    fed: Vec<i32>,
    taken: Vec<u64>,
    frames: Vec<Vec<i32>>,
    logits: Vec<f32>,
}

impl Said {
    fn note<B: Backend>(&mut self, lm: &Lm<B>, state: &LmState<B>, row: usize) {
        assert_eq!(state.fault(row), None);
        self.asked.extend(state.asked(row));
        let fed = state.fed(row).unwrap();
        self.fed.push(fed.token);
        self.taken.extend(fed.taken.as_ref().map(|taken| taken.step));
        self.frames.extend(state.frame(row).map(<[i32]>::to_vec));
        self.logits.extend(text_logits(lm, state, row));
    }
}

fn is_over<B: Backend>(state: &LmState<B>, row: usize) -> bool {
    state.speech(row).unwrap().rule().is_over()
}

fn alone<B: Backend>(lm: &Lm<B>, name: &str) -> Said {
    let mut state = lm.init_state(2).unwrap();
    open(lm, &mut state, 0, name);
    let mut said = Said::default();
    while !is_over(&state, 0) {
        lm.step(&mut state, &[RowInput { row: 0, heard: &[], forced: &[] }]).unwrap();
        said.note(lm, &state, 0);
    }
    said
}

pub(crate) fn voices_come_to_the_vectors_of_the_reference<B: Backend>(backend: B) {
    let (meta, results) = (Golden::TINY_TTS.meta().unwrap(), Golden::TINY_TTS.results().unwrap());
    for name in ["distilled", "guided"] {
        let run = &meta["runs"][name];
        let lm = load(backend.clone(), model(run));
        let fused = lm.fuse(&values(&lm, run)).unwrap();
        assert_close(name, &fused.sum, &results.f32(&format!("{name}_condition_sum")).unwrap(), 1e-5);
        assert_close(name, &fused.places, &results.f32(&format!("{name}_condition_cross")).unwrap(), 1e-5);
    }
}

pub(crate) fn teacher_forced_speech_is_that_of_the_reference<B: Backend>(backend: B) {
    let (meta, results) = (Golden::TINY_TTS.meta().unwrap(), Golden::TINY_TTS.results().unwrap());
    for name in ["distilled", "guided"] {
        let run = &meta["runs"][name];
        let lm = load(backend.clone(), model(run));
        let told = lm.conditions(&values(&lm, run)).unwrap();
        assert_teacher_forced(&lm, &results, &format!("tf_{name}"), Some(&told));
    }
}

pub(crate) fn every_golden_run_says_token_for_token_what_the_reference_says<B: Backend>(backend: B) {
    let (meta, results) = (Golden::TINY_TTS.meta().unwrap(), Golden::TINY_TTS.results().unwrap());
    let runs = meta["runs"].as_object().unwrap();
    assert_eq!(runs.len(), 6);
    for (name, run) in runs {
        let lm = load(backend.clone(), model(run));
        let said = alone(&lm, name);
        let expected = |what: &str| results.i32(&format!("{name}_{what}")).unwrap();
        assert_eq!(said.asked, expected("sampled_text"), "{name}");
        assert_eq!(said.fed, expected("fed_text"), "{name}");
        let streams = 1 + run["n_q"].as_u64().unwrap() as usize;
        let frames: Vec<i32> = said.frames.iter().flat_map(|frame| frame[..streams].to_vec()).collect();
        assert_eq!(frames, expected("tokens"), "{name}");
        assert!(said.frames.iter().all(|frame| frame[streams..].iter().all(|&code| code == -1)), "{name}");
        let taken: Vec<u64> =
            run["consumption"].as_array().unwrap().iter().map(|step| step.as_u64().unwrap()).collect();
        assert_eq!(said.taken, taken, "{name}");
        if let Ok(logits) = results.f32(&format!("{name}_text_logits")) {
            assert_close(name, &said.logits, &logits, 1e-4);
        }
    }
}

/// Runs sessions of one model together, each in the row given, and compares them with what they say alone.
fn assert_together<B: Backend>(lm: &Lm<B>, rows: usize, sessions: &[(usize, &str)]) {
    let expected: Vec<Said> = sessions.iter().map(|(_, name)| alone(lm, name)).collect();
    let mut house = lm.init_state(rows).unwrap();
    let mut said: Vec<Said> = sessions.iter().map(|_| Said::default()).collect();
    sessions.iter().for_each(|&(row, name)| open(lm, &mut house, row, name));
    for tick in 0.. {
        let left: Vec<usize> = (0..sessions.len()).filter(|&i| !is_over(&house, sessions[i].0)).collect();
        if left.is_empty() {
            break;
        }
        // Sessions wait now and then: for words, or for whoever listens.
        let runs: Vec<usize> = left.into_iter().filter(|i| (tick + i) % 3 != 2).collect();
        let inputs = runs.iter().map(|&i| RowInput { row: sessions[i].0, heard: &[], forced: &[] });
        lm.step(&mut house, &inputs.collect::<Vec<_>>()).unwrap();
        runs.iter().for_each(|&i| said[i].note(lm, &house, sessions[i].0));
    }
    for ((found, expected), (_, name)) in said.iter().zip(&expected).zip(sessions) {
        assert!(found == expected, "{name} has other bits among others");
    }
}

pub(crate) fn runs_of_all_kinds_share_a_batch<B: Backend>(backend: B) {
    let lm = load(backend.clone(), Golden::TINY_TTS);
    assert_together(&lm, 4, &[(3, "distilled"), (1, "one_voice"), (0, "few_codebooks"), (2, "one_voice")]);
    let lm = load(backend, Golden::TINY_TTS_PREFIX);
    assert_together(&lm, 4, &[(2, "prefix_guided"), (1, "prefix")]);
}

pub(crate) fn a_guided_run_shares_a_batch<B: Backend>(backend: B) {
    let lm = load(backend, Golden::TINY_TTS_GUIDED);
    assert_together(&lm, 5, &[(0, "guided"), (3, "guided")]);
    // A copy goes on as its original, without guidance if that had some.
    let mut state = lm.init_state(4).unwrap();
    open(&lm, &mut state, 0, "guided");
    lm.set_guidance(&mut state, 0, None).unwrap();
    let input = |row| RowInput { row, heard: &[], forced: &[] };
    (0..20).for_each(|_| lm.step(&mut state, &[input(0)]).unwrap());
    let mut other = lm.init_state(2).unwrap();
    lm.copy_row(&mut other, 1, &state, 0).unwrap();
    let (mut original, mut copy) = (Said::default(), Said::default());
    for _ in 0..10 {
        lm.step(&mut state, &[input(0)]).unwrap();
        lm.step(&mut other, &[input(1)]).unwrap();
        original.note(&lm, &state, 0);
        copy.note(&lm, &other, 1);
    }
    assert!(original == copy);
}

pub(crate) fn a_damaged_voice_ends_the_sessions_that_have_it<B: Backend>(backend: B) {
    let lm = load(backend, Golden::TINY_TTS_GUIDED);
    let damaged = Sequence::new(32, vec![f32::NAN; 12 * 32]).unwrap();
    let damaged = lm.conditions(&ConditionValues::new().sequence("speaker_wavs", damaged)).unwrap();
    let expected = alone(&lm, "guided");
    // The row beside row 3 has it, and row 2 itself; rows 0 and 1 go on.
    let mut house = lm.init_state(5).unwrap();
    open(&lm, &mut house, 0, "guided");
    open(&lm, &mut house, 3, "guided");
    lm.set_conditions(&mut house, 4, &damaged).unwrap();
    lm.set_conditions(&mut house, 2, &damaged).unwrap();
    let mut said = Said::default();
    for _ in 0..12 {
        let inputs = [0, 2, 3].map(|row| RowInput { row, heard: &[], forced: &[] });
        lm.step(&mut house, &inputs).unwrap();
        said.note(&lm, &house, 0);
        for row in [2, 3] {
            assert!(house.fault(row).is_some() && house.sampled(row).is_none() && house.frame(row).is_none());
        }
    }
    assert_eq!(said.fed, expected.fed[..12]);
    assert_eq!(said.logits, expected.logits[..said.logits.len()]);
    assert_eq!(said.frames, expected.frames[..said.frames.len()]);
}

pub(crate) fn what_does_not_fit_is_refused<B: Backend>(backend: B) {
    let lm = load(backend, Golden::TINY_TTS);
    let long = Sequence::absent(32, moshi_lm::conditions::MEMORY_PLACES + 1);
    let refused = |values: ConditionValues| lm.fuse(&values).unwrap_err().to_string();
    assert!(refused(ConditionValues::new().sequence("speaker_wavs", long)).contains("626"));
    assert!(refused(ConditionValues::new().text("speaker_wavs", "anna")).contains("a sequence"));
    assert!(refused(ConditionValues::new().sequence("cfg", Sequence::absent(16, 1))).contains("a text"));
    assert!(refused(ConditionValues::new().sequence("speaker_wavs", Sequence::absent(31, 1))).contains("32"));
    assert!(Sequence::new(32, vec![0.0; 33]).is_err());
    let voice = voice("voices/bob.wav.a1b2c3d4@240.safetensors");
    assert!(Sequence::voices(&vec![voice.clone(); 6], SPEAKERS).is_err());
    assert!(Sequence::voices(&[voice, Sequence::absent(32, 3)], SPEAKERS).is_err());
    let mut state = lm.init_state(2).unwrap();
    assert!(lm.set_codebooks(&mut state, 0, 0).is_err() && lm.set_codebooks(&mut state, 0, 9).is_err());
    let config = TextRuleConfig { prefix_frames: 3, ..TextRuleConfig::new(84, 8) };
    let short = Speech::new(TextRule::new(config)).with_prefix(vec![1; 23]);
    assert!(lm.set_speech(&mut state, 0, Some(short)).is_err());
    let wrong = Speech::new(TextRule::new(config)).with_prefix(vec![65; 24]);
    assert!(lm.set_speech(&mut state, 0, Some(wrong)).is_err());
    let guidance = |null_row, coefficient| Some(Guidance { null_row, coefficient, guided: Guided::Audio });
    assert!(lm.set_guidance(&mut state, 0, guidance(0, 2.0)).is_err());
    assert!(lm.set_guidance(&mut state, 0, guidance(1, f32::NAN)).is_err());
    assert!(lm.set_guidance(&mut state, 0, guidance(2, 2.0)).is_err());
    lm.step(&mut state, &[RowInput { row: 0, heard: &[], forced: &[] }]).unwrap();
    assert!(lm.set_guidance(&mut state, 0, guidance(1, 2.0)).is_err());
}
