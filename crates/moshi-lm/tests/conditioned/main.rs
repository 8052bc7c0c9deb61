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
use moshi_lm::delay::Cell;
use moshi_lm::{Lm, LmState, PromptInput, RowInput};
use moshi_nn::Backend;
use moshi_testkit::{FileTensors, Golden, Recorder, assert_close, noise};

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

/// A row that was told something says and writes the same after forced steps in one piece and after the same one by one.
fn assert_one_piece<B: Backend>(lm: &Lm<B>, conditions: &Conditions<B>) {
    const STEPS: usize = 20;
    let tokens = |seed: u64, of: usize, most: usize| -> Vec<i32> {
        (0..STEPS * of).map(|i| (noise::bits(seed, i as u64) % most as u64) as i32).collect()
    };
    let heard = tokens(1, lm.heard(), lm.config().card);
    let mut said = tokens(2, lm.written(), lm.config().card.min(lm.config().text_card));
    said[5 * lm.written()] = 2; // an early end
    let said: Vec<Cell> = said.into_iter().map(Cell::Token).collect();
    let heard = |step: usize| &heard[step * lm.heard()..(step + 1) * lm.heard()];
    let forced = |step: usize| &said[step * lm.written()..(step + 1) * lm.written()];
    let (mut one_by_one, mut prompt) = (lm.init_state(1).unwrap(), lm.init_prompt(8).unwrap());
    lm.set_conditions(&mut one_by_one, 0, conditions).unwrap();
    lm.set_conditions(&mut prompt, 0, conditions).unwrap();
    let inputs = (0..STEPS).map(|at| PromptInput { heard: heard(at), forced: forced(at), replayed: None });
    lm.prefill(&mut prompt, 0, &inputs.collect::<Vec<_>>()).unwrap();
    for at in 0..STEPS {
        lm.step(&mut one_by_one, &[RowInput { row: 0, heard: heard(at), forced: forced(at) }]).unwrap();
    }
    // The conversation goes on in another row than it began in.
    let mut house = lm.init_state(3).unwrap();
    lm.copy_row(&mut house, 2, &prompt, 0).unwrap();
    for at in 0..12 {
        lm.step(&mut one_by_one, &[RowInput { row: 0, heard: heard(at), forced: &[] }]).unwrap();
        lm.step(&mut house, &[RowInput { row: 2, heard: heard(at), forced: &[] }]).unwrap();
        assert_eq!(house.frame(2), one_by_one.frame(0), "step {at}");
        let (found, expected) = (text_logits(lm, &house, 2), text_logits(lm, &one_by_one, 0));
        assert!(found.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()), "step {at}: other bits");
    }
}

#[test]
fn forced_steps_in_one_piece_know_what_their_row_was_told() {
    let cpu = Cpu::new(NonZeroUsize::MIN);
    let translation = load(cpu.clone(), Golden::TINY_HIBIKI);
    assert_one_piece(&translation, &translation::told(&translation, "very_good"));
    let (synthesis, meta) = (load(cpu, Golden::TINY_TTS), Golden::TINY_TTS.meta().unwrap());
    let voices = synthesis.conditions(&synthesis::values(&synthesis, &meta["runs"]["distilled"])).unwrap();
    assert_one_piece(&synthesis, &voices);
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
                what_is_added_step_by_step_is_heard_as_if_it_was_told,
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
