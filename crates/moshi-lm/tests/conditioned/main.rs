//! Models that are told something beside their streams: translation and synthesis against the golden data, on every
//! executor, alone and among others.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

mod synthesis;
mod translation;

use std::num::NonZeroUsize;

use moshi_candle::Candle;
use moshi_checkpoint::config::ModelConfig;
use moshi_cpu::Cpu;
use moshi_lm::conditions::Conditions;
use moshi_lm::{Lm, LmState};
use moshi_nn::Backend;
use moshi_testkit::{FileTensors, Golden, Recorder, assert_close};

fn load<B: Backend>(backend: B, golden: Golden) -> Lm<B> {
    let config = ModelConfig::read(&golden.config()).unwrap().0.lm;
    Lm::load(backend, &golden.lm().unwrap(), &config).unwrap()
}

/// A row's text logits of the last step.
fn text_logits<B: Backend>(lm: &Lm<B>, state: &LmState<B>, row: usize) -> Vec<f32> {
    let v = lm.config().text_card_out;
    lm.text_logits(state).unwrap()[row * v..(row + 1) * v].to_vec()
}

/// The teacher-forced logits `{prefix}_*` of a model that was told `conditions`.
fn assert_teacher_forced<B: Backend>(
    lm: &Lm<B>,
    results: &FileTensors,
    prefix: &str,
    conditions: Option<&Conditions<B>>,
) {
    let named = |name: &str| format!("{prefix}_{name}");
    let codes = results.i32(&named("codes")).unwrap();
    let steps = codes.len() / (1 + lm.config().n_q);
    let found = lm.forward_told(&codes, steps, conditions, &mut ()).unwrap();
    assert_close(&named("text"), &found.text_logits, &results.f32(&named("text_logits")).unwrap(), 1e-4);
    let mask: Vec<bool> = results.u8(&named("audio_mask")).unwrap().iter().map(|&m| m != 0).collect();
    assert_eq!(found.audio_mask, mask, "{prefix}");
    let masked = |logits: &[f32]| -> Vec<f32> {
        let kept = logits.chunks(lm.config().card).zip(&mask).filter(|(_, keep)| **keep);
        kept.flat_map(|(logits, _)| logits.iter().copied()).collect()
    };
    let expected = results.f32(&named("audio_logits")).unwrap();
    assert_close(&named("audio"), &masked(&found.audio_logits), &masked(&expected), 1e-4);
}

/// Makes the tests of this folder for an executor.
macro_rules! conditioned_tests {
    ($executor:ident, $backend:expr) => {
        mod $executor {
            use super::*;

            conditioned_tests!(@each $backend, translation: [
                teacher_forced_translations_are_those_of_the_reference,
                what_is_said_of_the_speaker_comes_to_the_vectors_of_the_reference,
                translations_say_token_for_token_what_the_reference_says,
                a_guided_translation_says_what_the_reference_says,
                guided_and_plain_rows_share_a_batch,
            ]);
            conditioned_tests!(@each $backend, synthesis: [
                voices_come_to_the_vectors_of_the_reference,
                teacher_forced_speech_is_that_of_the_reference,
                every_golden_run_says_token_for_token_what_the_reference_says,
                runs_of_all_kinds_share_a_batch,
                a_guided_run_shares_a_batch,
                a_damaged_voice_ends_the_sessions_that_have_it,
                what_does_not_fit_is_refused,
            ]);
        }
    };
    (@each $backend:expr, $module:ident: [$($test:ident),* $(,)?]) => {
        $(
            #[test]
            fn $test() {
                $module::$test($backend);
            }
        )*
    };
}

conditioned_tests!(candle, Candle::cpu());
conditioned_tests!(cpu, Cpu::new(NonZeroUsize::MIN));
conditioned_tests!(cpu_two_threads, Cpu::new(NonZeroUsize::MIN.saturating_add(1)));
conditioned_tests!(recorded, Recorder::new(Cpu::new(NonZeroUsize::MIN)));
