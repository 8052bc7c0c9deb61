//! The model against the golden data, on every executor.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use std::num::NonZeroUsize;

use moshi_candle::Candle;
use moshi_checkpoint::config::ModelConfig;
use moshi_cpu::Cpu;
use moshi_lm::{Lm, LmConfig, RowInput};
use moshi_nn::Backend;
use moshi_testkit::{FileTensors, Golden, assert_close};

fn config(golden: Golden) -> LmConfig {
    ModelConfig::read(&golden.path("config.json")).unwrap().0.lm
}

fn load<B: Backend>(backend: B, golden: Golden) -> Lm<B> {
    Lm::load(backend, &golden.tensors("model.safetensors").unwrap(), &config(golden)).unwrap()
}

/// The codes that the golden session hears, by frame.
fn heard(results: &FileTensors, n_user: usize) -> Vec<Vec<i32>> {
    let codes = results.i32("mimi_codes_oneshot_8").unwrap();
    let frames = codes.len() / 8;
    (0..frames).map(|f| (0..n_user).map(|q| codes[q * frames + f]).collect()).collect()
}

fn teacher_forced_logits_are_those_of_the_reference<B: Backend>(backend: B) {
    for golden in Golden::ALL {
        let results = golden.results().unwrap();
        let lm = load(backend.clone(), golden);
        let codes = results.i32("tf_codes").unwrap();
        let steps = codes.len() / (1 + lm.config().n_q);
        let found = lm.forward(&codes, steps).unwrap();
        let what = |name: &str| format!("{} {name}", golden.name());
        assert_close(&what("text"), &found.text_logits, &results.f32("tf_text_logits").unwrap(), 1e-4);
        let mask: Vec<bool> = results.u8("tf_audio_mask").unwrap().iter().map(|&m| m != 0).collect();
        assert_eq!(found.audio_mask, mask, "{}", what("mask"));
        let masked = |logits: &[f32]| -> Vec<f32> {
            let kept = logits.chunks(lm.config().card).zip(&mask).filter(|(_, keep)| **keep);
            kept.flat_map(|(logits, _)| logits.iter().copied()).collect()
        };
        let expected = masked(&results.f32("tf_audio_logits").unwrap());
        assert_close(&what("audio"), &masked(&found.audio_logits), &expected, 1e-4);
        if lm.config().extra_heads_num_heads > 0 {
            assert_close(&what("heads"), &found.extra_heads, &results.f32("tf_extra_heads").unwrap(), 1e-4);
        }
    }
}

fn a_greedy_session_says_token_for_token_what_the_reference_says<B: Backend>(backend: B) {
    for golden in Golden::ALL {
        let results = golden.results().unwrap();
        let lm = load(backend.clone(), golden);
        let mut state = lm.init_state(1).unwrap();
        let (mut text, mut depth, mut frames, mut logits) = (vec![], vec![], vec![], vec![]);
        for codes in heard(&results, lm.heard()) {
            lm.step(&mut state, &[RowInput { row: 0, heard: &codes, forced: &[] }]).unwrap();
            let sampled = state.sampled(0).unwrap();
            text.push(sampled[0]);
            depth.extend_from_slice(&sampled[1..]);
            frames.extend(state.frame(0).into_iter().flatten().copied());
            logits.extend(lm.text_logits(&state).unwrap());
        }
        assert_eq!(text, results.i32("lm_text_tokens").unwrap(), "{} text", golden.name());
        assert_eq!(depth, results.i32("lm_depth_tokens").unwrap(), "{} depth", golden.name());
        assert_eq!(frames, results.i32("lm_out_tokens").unwrap(), "{} frames", golden.name());
        assert_close("text logits", &logits, &results.f32("lm_text_logits").unwrap(), 1e-4);
    }
}

/// Makes the tests of this file for an executor.
macro_rules! golden_tests {
    ($executor:ident, $backend:expr) => {
        mod $executor {
            use super::*;

            #[test]
            fn teacher_forcing() {
                teacher_forced_logits_are_those_of_the_reference($backend);
            }

            #[test]
            fn greedy_session() {
                a_greedy_session_says_token_for_token_what_the_reference_says($backend);
            }
        }
    };
}

golden_tests!(candle, Candle::cpu());
golden_tests!(cpu, Cpu::new(NonZeroUsize::MIN));
golden_tests!(cpu_two_threads, Cpu::new(NonZeroUsize::MIN.saturating_add(1)));
