//! Hibiki: a condition that is added at every step, guidance of text and audio, early ends that read as padding.

use moshi_lm::conditions::{ConditionValues, Conditions};
use moshi_lm::guidance::{Guidance, Guided};
use moshi_lm::{Lm, LmState, RowInput, RowSampling, SamplingParams};
use moshi_nn::Backend;
use moshi_testkit::{FileTensors, Golden, assert_close};

use crate::{assert_teacher_forced, load, text_logits};

/// A translation that was told how good it is; nothing in a model that cannot be told.
pub(crate) fn told<B: Backend>(lm: &Lm<B>, quality: &str) -> Conditions<B> {
    let values = match lm.config().conditioners.is_empty() {
        true => ConditionValues::new(),
        false => ConditionValues::new().text("description", quality),
    };
    lm.conditions(&values).unwrap()
}

pub(crate) fn teacher_forced_translations_are_those_of_the_reference<B: Backend>(backend: B) {
    for golden in [Golden::TINY_HIBIKI, Golden::TINY_HIBIKI_ZERO] {
        let lm = load(backend.clone(), golden);
        let good = told(&lm, "very_good");
        assert_teacher_forced(&lm, &golden.results().unwrap(), "tf", Some(&good));
    }
}

pub(crate) fn what_is_said_of_the_speaker_comes_to_the_vectors_of_the_reference<B: Backend>(backend: B) {
    let (lm, results) = (load(backend, Golden::TINY_HIBIKI), Golden::TINY_HIBIKI.results().unwrap());
    for quality in ["very_good", "very_bad"] {
        let fused = lm.fuse(&ConditionValues::new().text("description", quality)).unwrap();
        let expected = results.f32(&format!("condition_{quality}")).unwrap();
        assert_close(quality, &fused.sum, &expected, 1e-5);
        assert!(fused.places.is_empty());
    }
    let absent = lm.fuse(&ConditionValues::new()).unwrap().sum;
    let padding = "condition_provider.conditioners.description.learnt_padding";
    assert_eq!(absent, Golden::TINY_HIBIKI.lm().unwrap().f32(padding).unwrap());
    let refused = |values: ConditionValues| lm.fuse(&values).unwrap_err().to_string();
    assert!(refused(ConditionValues::new().text("description", "fair")).contains("\"very_good\""));
    assert!(refused(ConditionValues::new().text("mood", "good")).contains("\"mood\""));
}

/// What a row says in all steps.
#[derive(Debug, Default, PartialEq)]
struct Said {
    sampled: Vec<i32>,
    frames: Vec<i32>,
    logits: Vec<u32>,
}

impl Said {
    fn note<B: Backend>(&mut self, lm: &Lm<B>, state: &LmState<B>, row: usize) {
        self.sampled.extend_from_slice(state.sampled(row).unwrap());
        self.frames.extend(state.frame(row).into_iter().flatten());
        self.logits.extend(text_logits(lm, state, row).iter().map(|x| x.to_bits()));
    }
}

/// What is heard at a step.
fn heard(codes: &[i32], step: usize) -> Vec<i32> {
    codes.chunks(codes.len() / 8).map(|stream| stream[step]).collect()
}

fn assert_said(said: &Said, results: &FileTensors, prefix: &str) {
    let named = |name: &str| format!("{prefix}{name}");
    let text: Vec<i32> = said.sampled.iter().step_by(9).copied().collect();
    assert_eq!(text, results.i32(&named("text_tokens")).unwrap(), "{prefix}text");
    let depth: Vec<i32> = said.sampled.chunks(9).flat_map(|tokens| tokens[1..].to_vec()).collect();
    assert_eq!(depth, results.i32(&named("depth_tokens")).unwrap(), "{prefix}depth");
    assert_eq!(said.frames, results.i32(&named("out_tokens")).unwrap(), "{prefix}frames");
    let logits: Vec<f32> = said.logits.iter().map(|bits| f32::from_bits(*bits)).collect();
    assert_close(&named("text_logits"), &logits, &results.f32(&named("text_logits")).unwrap(), 1e-4);
}

pub(crate) fn translations_say_token_for_token_what_the_reference_says<B: Backend>(backend: B) {
    for golden in [Golden::TINY_HIBIKI, Golden::TINY_HIBIKI_ZERO] {
        let (lm, results) = (load(backend.clone(), golden), golden.results().unwrap());
        let mut state = lm.init_state(1).unwrap();
        lm.set_conditions(&mut state, 0, &told(&lm, "very_good")).unwrap();
        let codes = results.i32("codes").unwrap();
        let mut said = Said::default();
        for step in 0..codes.len() / 8 {
            lm.step(&mut state, &[RowInput { row: 0, heard: &heard(&codes, step), forced: &[] }]).unwrap();
            said.note(&lm, &state, 0);
        }
        assert_said(&said, &results, "");
        // The other way to begin: the first frame twice.
        let (codes, mut text) = (results.i32("file_codes").unwrap(), Vec::new());
        lm.reset(&mut state, 0).unwrap();
        for step in 0..codes.len() / 8 {
            lm.step(&mut state, &[RowInput { row: 0, heard: &heard(&codes, step), forced: &[] }]).unwrap();
            text.extend(state.frame(0).map(|frame| frame[0]));
        }
        assert_eq!(text, results.i32("file_text_tokens").unwrap(), "{}", golden.name());
    }
}

pub(crate) fn what_is_added_step_by_step_is_heard_as_if_it_was_told<B: Backend>(backend: B) {
    let (lm, results) = (load(backend, Golden::TINY_HIBIKI), Golden::TINY_HIBIKI.results().unwrap());
    let (codes, good) = (results.i32("codes").unwrap(), results.f32("condition_very_good").unwrap());
    let absent = lm.fuse(&ConditionValues::new()).unwrap().sum;
    let missing: Vec<f32> = good.iter().zip(&absent).map(|(good, absent)| good - absent).collect();
    let (mut state, mut plain) = (lm.init_state(2).unwrap(), lm.init_state(1).unwrap());
    let (mut added, mut beside, mut alone) = (Said::default(), Said::default(), Said::default());
    for step in 0..codes.len() / 8 {
        // In two parts, and to the first row alone.
        let halves = missing.iter().map(|x| x / 2.0).collect::<Vec<_>>();
        (0..2).for_each(|_| lm.add_input(&mut state, 0, &halves).unwrap());
        let heard = heard(&codes, step);
        let inputs = [0, 1].map(|row| RowInput { row, heard: &heard, forced: &[] });
        lm.step(&mut state, &inputs).unwrap();
        lm.step(&mut plain, &inputs[..1]).unwrap();
        added.note(&lm, &state, 0);
        beside.note(&lm, &state, 1);
        alone.note(&lm, &plain, 0);
    }
    assert_said(&added, &results, "");
    assert!(beside == alone, "a row beside it hears nothing of it");
    assert!(lm.add_input(&mut state, 2, &missing).is_err() && lm.add_input(&mut state, 0, &missing[1..]).is_err());
}

/// Row 0 is guided by row 1.
fn guided<B: Backend>(lm: &Lm<B>, rows: usize) -> LmState<B> {
    let mut state = lm.init_state(rows).unwrap();
    lm.set_conditions(&mut state, 0, &told(lm, "very_good")).unwrap();
    lm.set_conditions(&mut state, 1, &told(lm, "very_bad")).unwrap();
    let guidance = Guidance { null_row: 1, coefficient: 3.0, guided: Guided::Everything };
    lm.set_guidance(&mut state, 0, Some(guidance)).unwrap();
    state
}

pub(crate) fn a_guided_translation_says_what_the_reference_says<B: Backend>(backend: B) {
    let (lm, results) = (load(backend, Golden::TINY_HIBIKI), Golden::TINY_HIBIKI.results().unwrap());
    let mut state = guided(&lm, 2);
    // A row that is reset goes the same way again, with the row beside it.
    for _ in 0..2 {
        let (codes, mut said) = (results.i32("cfg_codes").unwrap(), Said::default());
        for step in 0..codes.len() / 8 {
            lm.step(&mut state, &[RowInput { row: 0, heard: &heard(&codes, step), forced: &[] }]).unwrap();
            said.note(&lm, &state, 0);
        }
        assert_said(&said, &results, "cfg_");
        lm.reset(&mut state, 0).unwrap();
    }
}

pub(crate) fn guided_and_plain_rows_share_a_batch<B: Backend>(backend: B) {
    let (lm, results) = (load(backend, Golden::TINY_HIBIKI), Golden::TINY_HIBIKI.results().unwrap());
    let (codes, steps) = (results.i32("codes").unwrap(), 30);
    let lively = RowSampling {
        seed: 4,
        text: SamplingParams { temperature: 0.8, top_k: 20, top_p: 1.0 },
        audio: SamplingParams { temperature: 0.8, top_k: 20, top_p: 1.0 },
        repetition_penalty: 1.2,
        repetition_context: 8,
        ..RowSampling::GREEDY
    };
    let bad = told(&lm, "bad");
    let alone = |state: &mut LmState<B>| {
        let mut said = Said::default();
        for step in 0..steps {
            lm.step(state, &[RowInput { row: 0, heard: &heard(&codes, step), forced: &[] }]).unwrap();
            said.note(&lm, state, 0);
        }
        said
    };
    let mut pair = guided(&lm, 2);
    lm.set_sampling(&mut pair, 0, &lively).unwrap();
    let mut one = lm.init_state(1).unwrap();
    lm.set_sampling(&mut one, 0, &lively).unwrap();
    let untold = alone(&mut one);
    lm.reset(&mut one, 0).unwrap();
    lm.set_conditions(&mut one, 0, &bad).unwrap();
    let expected = [alone(&mut pair), untold, alone(&mut one)];
    assert!(expected[0] != expected[1] && expected[1] != expected[2], "conditions are heard");

    let mut house = guided(&lm, 4);
    (0..4).filter(|row| *row != 1).for_each(|row| lm.set_sampling(&mut house, row, &lively).unwrap());
    lm.set_conditions(&mut house, 3, &bad).unwrap();
    let mut said = [Said::default(), Said::default(), Said::default()];
    let mut at = [0; 3];
    for tick in 0.. {
        // Rows wait now and then, the guided one together with the row beside it.
        let runs: Vec<usize> = (0..3).filter(|&i| at[i] < steps && (tick + i) % 4 != 3).collect();
        if at == [steps; 3] {
            break;
        }
        let codes: Vec<Vec<i32>> = runs.iter().map(|&i| heard(&codes, at[i])).collect();
        let row = |i: usize| [0, 2, 3][i];
        let inputs = runs.iter().zip(&codes).map(|(&i, heard)| RowInput { row: row(i), heard, forced: &[] });
        lm.step(&mut house, &inputs.collect::<Vec<_>>()).unwrap();
        for &i in &runs {
            said[i].note(&lm, &house, row(i));
            at[i] += 1;
        }
    }
    assert!(said == expected, "the same bits among others");
    let error = lm.step(&mut house, &[RowInput { row: 1, heard: &heard(&codes, 0), forced: &[] }]);
    assert!(error.is_err(), "the row beside a guided one runs with it alone");
    let taken = Guidance { null_row: 1, coefficient: 2.0, guided: Guided::Everything };
    assert!(lm.set_guidance(&mut house, 2, Some(taken)).is_err());
}
