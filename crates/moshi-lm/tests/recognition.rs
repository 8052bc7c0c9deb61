//! A recognition against the golden data: text and extra heads, no depth transformer.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use std::num::NonZeroUsize;

use moshi_candle::Candle;
use moshi_checkpoint::{OpenOptions, Parts, Repository, Source};
use moshi_cpu::Cpu;
use moshi_lm::{Lm, RowInput};
use moshi_nn::Backend;
use moshi_testkit::{Golden, assert_close};

const GOLDEN: Golden = Golden::TINY_STT;

fn load<B: Backend>(backend: B) -> Lm<B> {
    let options = OpenOptions { parts: Parts::LM, ..OpenOptions::default() };
    let repository = Repository::open(&Source::Folder(GOLDEN.path("")), &options, &mut ()).unwrap();
    Lm::load(backend, &repository.lm().unwrap(), &repository.config().lm).unwrap()
}

/// What a recognition writes: tokens, text logits and the probabilities of the extra heads, step by step.
fn hear<B: Backend>(lm: &Lm<B>, codes: &[i32]) -> (Vec<i32>, Vec<f32>, Vec<f32>) {
    let frames = codes.len() / lm.heard();
    let mut state = lm.init_state(2).unwrap();
    let (mut tokens, mut logits, mut heads) = (Vec::new(), Vec::new(), Vec::new());
    for f in 0..frames {
        let heard: Vec<i32> = (0..lm.heard()).map(|q| codes[q * frames + f]).collect();
        lm.step(&mut state, &[RowInput { row: 1, heard: &heard, forced: &[] }]).unwrap();
        assert_eq!(state.frame(1), state.sampled(1));
        tokens.extend(state.frame(1).unwrap());
        logits.extend(&lm.text_logits(&state).unwrap()[lm.config().text_card_out..]);
        heads.extend((0..lm.config().extra_heads_num_heads).flat_map(|h| state.extra_head(h, 1).unwrap().to_vec()));
    }
    (tokens, logits, heads)
}

fn a_recognition_is_that_of_the_reference<B: Backend>(backend: B) {
    let (lm, results) = (load(backend), GOLDEN.results().unwrap());
    assert_eq!((lm.written(), lm.heard(), lm.max_delay()), (1, 8, 0));
    let (tokens, logits, heads) = hear(&lm, &results.i32("codes").unwrap());
    assert_eq!(tokens, results.i32("text_tokens").unwrap());
    assert_close("text", &logits, &results.f32("text_logits").unwrap(), 1e-4);
    assert_close("heads", &heads, &results.f32("extra_heads").unwrap(), 1e-4);
    let (tokens, ..) = hear(&lm, &results.i32("file_codes").unwrap());
    assert_eq!(tokens, results.i32("file_text_tokens").unwrap());
}

fn teacher_forced_with_nothing_in_places<B: Backend>(backend: B) {
    let (lm, results) = (load(backend), GOLDEN.results().unwrap());
    let codes = results.i32("tf_codes").unwrap();
    assert!(codes.contains(&-1));
    let (steps, c) = (codes.len() / (1 + lm.heard()), lm.config());
    let found = lm.forward(&codes, steps).unwrap();
    assert_close("text", &found.text_logits, &results.f32("tf_text_logits").unwrap(), 1e-4);
    let (count, width) = (c.extra_heads_num_heads, c.extra_heads_dim);
    let by_step: Vec<f32> = (0..steps)
        .flat_map(|t| (0..count).map(move |head| (head * steps + t) * width))
        .flat_map(|start| found.extra_heads[start..start + width].to_vec())
        .collect();
    assert_close("heads", &by_step, &results.f32("tf_extra_heads").unwrap(), 1e-4);
    assert!(found.audio_logits.is_empty() && found.audio_mask.is_empty());
}

#[test]
fn recognition() {
    a_recognition_is_that_of_the_reference(Candle::cpu());
    a_recognition_is_that_of_the_reference(Cpu::new(NonZeroUsize::MIN));
    a_recognition_is_that_of_the_reference(Cpu::new(NonZeroUsize::MIN.saturating_add(1)));
}

#[test]
fn teacher_forcing() {
    teacher_forced_with_nothing_in_places(Candle::cpu());
    teacher_forced_with_nothing_in_places(Cpu::new(NonZeroUsize::MIN));
}
