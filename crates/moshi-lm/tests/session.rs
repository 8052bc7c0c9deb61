//! Sessions as rows: independent, reproducible, endless, and told what to say.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use std::num::NonZeroUsize;

use moshi_candle::Candle;
use moshi_checkpoint::config::{FuserConfig, Gating, ModelConfig, NormKind};
use moshi_cpu::Cpu;
use moshi_lm::delay::Cell;
use moshi_lm::{Lm, LmConfig, LmError, LmState, RowInput, RowSampling, SamplingParams};
use moshi_nn::Backend;
use moshi_testkit::conformance::StreamCase;
use moshi_testkit::{Golden, RandomWeights, assert_close, noise, stream_conformance};

fn config(golden: Golden) -> LmConfig {
    ModelConfig::read(&golden.path("config.json")).unwrap().0.lm
}

fn load<B: Backend>(backend: B, golden: Golden) -> Lm<B> {
    Lm::load(backend, &golden.tensors("model.safetensors").unwrap(), &config(golden)).unwrap()
}

fn lively(seed: u64) -> RowSampling {
    let stream = |temperature, top_k| SamplingParams { temperature, top_k, top_p: 0.95 };
    RowSampling {
        seed,
        text: stream(0.9, 25),
        audio: stream(1.1, 40),
        pad_mult: 0.5,
        repetition_penalty: 1.3,
        repetition_context: 8,
    }
}

/// What somebody says: any codes will do.
fn heard<B: Backend>(lm: &Lm<B>, speaker: u64, step: usize) -> Vec<i32> {
    let code = |q: usize| noise::bits(speaker, (step * 64 + q) as u64) % lm.config().card as u64;
    (0..lm.heard()).map(|q| code(q) as i32).collect()
}

/// One step of some rows, each hearing a speaker.
fn step<B: Backend>(lm: &Lm<B>, state: &mut LmState<B>, rows: &[(usize, u64)], at: usize) {
    let codes: Vec<Vec<i32>> = rows.iter().map(|&(_, speaker)| heard(lm, speaker, at)).collect();
    let inputs = rows.iter().zip(&codes).map(|(&(row, _), heard)| RowInput { row, heard, forced: &[] });
    lm.step(state, &inputs.collect::<Vec<_>>()).unwrap();
}

/// All that a row made in a step, floats as bits.
fn made<B: Backend>(lm: &Lm<B>, state: &LmState<B>, row: usize) -> (Vec<i32>, Option<Vec<i32>>, Vec<u32>) {
    let v = lm.config().text_card_out;
    let logits = lm.text_logits(state).unwrap();
    let heads = (0..lm.config().extra_heads_num_heads).flat_map(|head| state.extra_head(head, row).unwrap().to_vec());
    let floats = logits[row * v..(row + 1) * v].iter().copied().chain(heads);
    (state.sampled(row).unwrap().to_vec(), state.frame(row).map(<[i32]>::to_vec), floats.map(f32::to_bits).collect())
}

fn a_session_alone_is_the_session_among_seven_others<B: Backend>(backend: B) {
    for golden in Golden::ALL {
        let lm = load(backend.clone(), golden);
        let (mut alone, mut house) = (lm.init_state(1).unwrap(), lm.init_state(8).unwrap());
        lm.set_sampling(&mut alone, 0, &lively(5)).unwrap();
        (0..8).for_each(|row| lm.set_sampling(&mut house, row, &lively(row as u64)).unwrap());
        let mut at = 0;
        for tick in 0..36 {
            // The others come and go, one starts anew, and row 5 waits now and then.
            let runs = |row: &usize| if *row == 5 { tick % 5 != 3 } else { !(tick + row).is_multiple_of(4) };
            let speaker = |row: usize| if row == 5 { 4 } else { 50 + row as u64 };
            let rows: Vec<usize> = (0..8).filter(runs).collect();
            if tick == 11 {
                lm.reset(&mut house, 2).unwrap();
            }
            let codes: Vec<Vec<i32>> = rows.iter().map(|&row| heard(&lm, speaker(row), at)).collect();
            let inputs = rows.iter().zip(&codes).map(|(&row, heard)| RowInput { row, heard, forced: &[] });
            lm.step(&mut house, &inputs.collect::<Vec<_>>()).unwrap();
            if rows.contains(&5) {
                step(&lm, &mut alone, &[(0, 4)], at);
                at += 1;
                assert_eq!(made(&lm, &house, 5), made(&lm, &alone, 0), "{} tick {tick}", golden.name());
            }
            assert_eq!(house.position(5), alone.position(0));
        }
    }
}

fn a_long_session_is_the_teacher_forced_pass_over_it<B: Backend>(backend: B) {
    for golden in Golden::ALL {
        let lm = load(backend.clone(), golden);
        let c = lm.config();
        let steps = 3 * c.context + 17;
        let mut state = lm.init_state(1).unwrap();
        lm.set_sampling(&mut state, 0, &lively(1)).unwrap();
        let (mut agent, mut user, mut logits) = (vec![], vec![], vec![]);
        for at in 0..steps {
            step(&lm, &mut state, &[(0, 3)], at);
            agent.extend(state.frame(0).map(<[i32]>::to_vec));
            user.push(heard(&lm, 3, at));
            logits.push(lm.text_logits(&state).unwrap());
        }
        // The first frame heard is never read, and frames go out max_delay steps after their first token.
        let frames = agent.len();
        assert_eq!(frames, steps - lm.max_delay());
        let codes: Vec<i32> = (0..=c.n_q)
            .flat_map(|i| (0..frames).map(move |f| (i, f)))
            .map(|(i, f)| match i.checked_sub(lm.written()) {
                None => agent[f][i],
                Some(q) => user.get(f + 1).map_or(-1, |codes| codes[q]),
            })
            .collect();
        let pass = lm.forward(&codes, frames).unwrap();
        assert_close(golden.name(), &pass.text_logits, &logits[..frames].concat(), 1e-4);
    }
}

fn a_long_session_does_not_grow<B: Backend>(backend: B) {
    let lm = load(backend, Golden::TINY_VARIANT);
    let mut state = lm.init_state(1).unwrap();
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
    };
    let window = lm.config().context;
    (0..window).for_each(|at| step(&lm, &mut state, &[(0, 1)], at));
    let before = resident();
    (window..5 * window).for_each(|at| step(&lm, &mut state, &[(0, 1)], at));
    assert!(
        resident().saturating_sub(before) < 32 << 20,
        "other tests share the process, a leak of steps would be more"
    );
}

fn seeds_reproduce_and_tell_sessions_apart<B: Backend>(backend: B) {
    let lm = load(backend, Golden::TINY_MOSHI);
    let mut state = lm.init_state(3).unwrap();
    for (row, seed) in [7, 7, 8].into_iter().enumerate() {
        lm.set_sampling(&mut state, row, &lively(seed)).unwrap();
    }
    let run = |state: &mut LmState<B>| -> Vec<Vec<Vec<i32>>> {
        let all = |at| {
            step(&lm, state, &[(0, 1), (1, 1), (2, 1)], at);
            (0..3).map(|row| state.sampled(row).unwrap().to_vec()).collect()
        };
        (0..12).map(all).collect()
    };
    let first = run(&mut state);
    assert!(first.iter().all(|rows| rows[0] == rows[1]));
    assert!(first.iter().filter(|rows| rows[0] != rows[2]).count() > 6);
    (0..3).for_each(|row| lm.reset(&mut state, row).unwrap());
    assert_eq!(run(&mut state), first, "a reset keeps the seed");
    (0..3).for_each(|row| lm.reset(&mut state, row).unwrap());
    lm.set_sampling(&mut state, 0, &lively(8)).unwrap();
    assert!(run(&mut state).iter().zip(&first).all(|(now, before)| now[0] == before[2]));
}

fn what_is_forced_is_said<B: Backend>(backend: B) {
    for golden in Golden::ALL {
        let lm = load(backend.clone(), golden);
        let written = lm.written();
        // A greedy session is led through the frames of a lively one, and through its text alone.
        let record = |params: &RowSampling, forced: &dyn Fn(usize) -> Vec<Cell>| {
            let mut state = lm.init_state(1).unwrap();
            lm.set_sampling(&mut state, 0, params).unwrap();
            let mut made = Vec::new();
            for at in 0..20 {
                let (heard, forced) = (heard(&lm, 1, at), forced(at));
                lm.step(&mut state, &[RowInput { row: 0, heard: &heard, forced: &forced }]).unwrap();
                made.push((state.frame(0).map(<[i32]>::to_vec), lm.text_logits(&state).unwrap()));
            }
            made
        };
        let free = record(&lively(3), &|_| Vec::new());
        let frames: Vec<Vec<i32>> = free.iter().filter_map(|(frame, _)| frame.clone()).collect();
        let cells = |at: usize, n: usize| -> Vec<Cell> {
            let frame = frames.get(at).map(|frame| frame.iter().take(n).map(|&token| Cell::Token(token)).collect());
            let mut cells: Vec<Cell> = frame.unwrap_or_default();
            cells.resize(written, Cell::Pending);
            cells
        };
        let led = record(&RowSampling::GREEDY, &|at| cells(at, written));
        // The last frames never went out, so what they said is not known, and the model goes on by itself.
        let known = frames.len();
        assert_eq!(known, 20 - lm.max_delay());
        for (at, (led, free)) in led.iter().zip(&free).enumerate() {
            assert_eq!(led.0, free.0, "{} step {at}", golden.name());
            assert!(led.1 == free.1 || at > known, "{} logits of step {at}", golden.name());
        }
        let read_aloud = record(&RowSampling::GREEDY, &|at| cells(at, 1));
        let words = |made: &[(Option<Vec<i32>>, Vec<f32>)]| -> Vec<i32> {
            made.iter().filter_map(|(frame, _)| frame.as_ref().map(|frame| frame[0])).collect()
        };
        assert_eq!(words(&read_aloud), words(&free));
        assert_ne!(read_aloud, led, "the voice is its own");
        let hush = record(&RowSampling::GREEDY, &|_| vec![Cell::Nothing; written]);
        assert!(hush.iter().filter_map(|(frame, _)| frame.as_ref()).all(|frame| frame.iter().all(|&t| t == -1)));
    }
}

fn bad_input_is_refused_and_changes_nothing<B: Backend>(backend: B) {
    let lm = load(backend, Golden::TINY_MOSHI);
    let (mut state, mut untouched) = (lm.init_state(2).unwrap(), lm.init_state(2).unwrap());
    let good = heard(&lm, 1, 0);
    for s in [&mut state, &mut untouched] {
        step(&lm, s, &[(0, 1)], 0);
    }
    let mut refused = |inputs: &[RowInput<'_>], expected: &str| {
        let message = lm.step(&mut state, inputs).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert_eq!((state.sampled(0), state.frame(0)), (None, None));
    };
    let input = |row, heard, forced| RowInput { row, heard, forced };
    let ok = input(0, &good, &[]);
    let too_big: Vec<i32> = good.iter().map(|_| 65).collect();
    refused(&[input(0, &good[1..], &[])], "heard codes: expected 8 values, one a stream, found 7");
    refused(&[ok, input(1, &too_big, &[])], "stream 9: 65 is not one of its tokens, which are 0 to 64");
    refused(&[ok, input(1, &[-2; 8], &[])], "stream 9: -2");
    refused(&[ok, input(2, &good, &[])], "row 2: the state has rows 0 to 1");
    refused(&[ok, ok], "row 0: the state has rows 0 to 1, and a step takes each at most once");
    refused(&[input(0, &good, &[Cell::Token(1); 3])], "forced frame: expected 9 values, one a stream, found 3");
    refused(&[input(0, &good, &[Cell::Token(57); 9])], "stream 0: 57");
    for at in 1..4 {
        step(&lm, &mut state, &[(0, 1)], at);
        step(&lm, &mut untouched, &[(0, 1)], at);
        assert_eq!(made(&lm, &state, 0), made(&lm, &untouched, 0));
    }
    assert!(lm.set_sampling(&mut state, 2, &RowSampling::GREEDY).is_err());
    assert!(lm.reset(&mut state, 2).is_err() && lm.copy_row(&mut state, 0, &untouched, 2).is_err());
    let bad = RowSampling { text: SamplingParams { temperature: f32::NAN, ..lively(0).text }, ..lively(0) };
    assert!(lm.set_sampling(&mut state, 0, &bad).unwrap_err().to_string().contains("temperature"));
    assert!(matches!(lm.forward(&[0; 33], 2), Err(LmError::Codes { streams: 17, steps: 2, found: 33 })));
    assert!(lm.forward(&[], 0).is_err());
    assert!(matches!(lm.forward(&[64; 17], 1), Err(LmError::Token { stream: 0, found: 64, last: 56 })));
}

/// A model that only listens and writes, with the other norm and feed-forward network.
fn a_model_without_a_voice_writes<B: Backend>(backend: B) {
    let config = LmConfig {
        n_q: 4,
        dep_q: 0,
        delays: vec![0; 5],
        depformer: None,
        gating: Gating::None,
        norm: NormKind::Layer,
        ..config(Golden::TINY_VARIANT)
    };
    let lm = Lm::load(backend, &RandomWeights::new(1, |_| false), &config).unwrap();
    assert_eq!((lm.heard(), lm.written(), lm.max_delay()), (4, 1, 0));
    let mut state = lm.init_state(1).unwrap();
    lm.set_sampling(&mut state, 0, &lively(1)).unwrap();
    let mut words = Vec::new();
    for at in 0..10 {
        step(&lm, &mut state, &[(0, 1)], at);
        assert_eq!(state.frame(0), state.sampled(0));
        let sure: f32 = state.extra_head(0, 0).unwrap().iter().sum();
        assert!((sure - 1.0).abs() < 1e-5 && state.extra_head(2, 0).is_none());
        words.extend_from_slice(state.frame(0).unwrap());
    }
    let pass = lm.forward(&[words, vec![-1; 40]].concat(), 10).unwrap();
    assert!(pass.audio_logits.is_empty() && pass.text_mask == [true; 10]);
}

fn models_that_cannot_run_are_refused_with_the_reason<B: Backend>(backend: B) {
    let weights = Golden::TINY_MOSHI.tensors("model.safetensors").unwrap();
    let good = config(Golden::TINY_MOSHI);
    let message = |config: &LmConfig| Lm::load(backend.clone(), &weights, config).err().unwrap().to_string();
    assert!(message(&LmConfig { norm_emb: true, ..good.clone() }).contains("norm_emb = true"));
    let fused = |fuser| LmConfig { fuser, ..good.clone() };
    let names = vec!["speaker".to_owned()];
    let prepend = FuserConfig { prepend: names.clone(), ..FuserConfig::default() };
    assert!(message(&fused(prepend)).contains("fuser.prepend"));
    let cross = FuserConfig { cross: names, ..FuserConfig::default() };
    assert!(message(&fused(cross)).contains("cross_attention"));
    assert!(message(&LmConfig { cross_attention: true, ..good.clone() }).contains("cross_attention.in_projs.0.weight"));
    let other = message(&LmConfig { card: 128, ..good.clone() });
    assert!(other.contains("emb.0.weight") && other.contains("129") && other.contains("65"), "{other}");
}

/// The conformance suite's view of the model: noise in, everything it makes out.
struct Conversation<B: Backend>(Lm<B>);

impl<B: Backend> StreamCase for Conversation<B> {
    type State = LmState<B>;

    fn init_state(&self, rows: usize) -> LmState<B> {
        let mut state = self.0.init_state(rows).unwrap();
        (0..rows).for_each(|row| self.0.set_sampling(&mut state, row, &lively(9)).unwrap());
        state
    }

    fn inputs(&self) -> usize {
        self.0.heard()
    }

    fn outputs(&self) -> usize {
        2 * self.0.written() + self.0.config().text_card_out
    }

    fn max_chunk(&self) -> usize {
        1
    }

    fn chunk_tolerance(&self) -> f32 {
        0.0
    }

    fn step(&self, state: &mut LmState<B>, active: &[bool], _: usize, input: &[f32]) -> Vec<f32> {
        let card = self.0.config().card as f32;
        let codes: Vec<i32> = input.iter().map(|x| ((x + 1.0) * 0.499 * card) as i32).collect();
        let n = self.inputs();
        let rows = (0..active.len()).filter(|&row| active[row]);
        let inputs = rows.map(|row| RowInput { row, heard: &codes[row * n..(row + 1) * n], forced: &[] });
        self.0.step(state, &inputs.collect::<Vec<_>>()).unwrap();
        let (written, v) = (self.0.written(), self.0.config().text_card_out);
        let logits = self.0.text_logits(state).unwrap();
        let of_row = |row: usize| {
            let nothing = vec![-1; written];
            let tokens = [state.sampled(row).unwrap_or(&nothing), state.frame(row).unwrap_or(&nothing)].concat();
            let tokens = tokens.into_iter().map(|token| token as f32);
            tokens.chain(logits[row * v..(row + 1) * v].iter().copied()).collect::<Vec<_>>()
        };
        (0..active.len()).flat_map(of_row).collect()
    }

    fn reset_row(&self, state: &mut LmState<B>, row: usize) {
        self.0.reset(state, row).unwrap();
    }

    fn copy_row(&self, state: &mut LmState<B>, row: usize, src: &LmState<B>, src_row: usize) {
        self.0.copy_row(state, row, src, src_row).unwrap();
    }
}

/// Makes the tests of this file for an executor.
macro_rules! session_tests {
    ($executor:ident, $backend:expr, $($test:ident),* $(,)?) => {
        mod $executor {
            use super::*;

            $(#[test]
            fn $test() {
                super::$test($backend);
            })*

            stream_conformance!(conformance, Conversation(load($backend, Golden::TINY_VARIANT)));
        }
    };
    ($executor:ident, $backend:expr) => {
        session_tests!(
            $executor,
            $backend,
            a_session_alone_is_the_session_among_seven_others,
            a_long_session_is_the_teacher_forced_pass_over_it,
            a_long_session_does_not_grow,
            seeds_reproduce_and_tell_sessions_apart,
            what_is_forced_is_said,
            bad_input_is_refused_and_changes_nothing,
            a_model_without_a_voice_writes,
            models_that_cannot_run_are_refused_with_the_reason,
        );
    };
}

session_tests!(candle, Candle::cpu());
session_tests!(cpu, Cpu::new(NonZeroUsize::MIN));
