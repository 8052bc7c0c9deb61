//! A role-play against the golden data: the prompt step by step and in one piece, and what is said after it.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use std::num::NonZeroUsize;

use moshi_candle::Candle;
use moshi_checkpoint::{OpenOptions, Parts, Repository, Source, VoiceFile};
use moshi_cpu::Cpu;
use moshi_lm::prompt::{CODEBOOKS, Prompt, ReplayedVoice, Voice};
use moshi_lm::{Lm, LmConfig, LmState, PromptInput, RowInput, RowSampling, SamplingParams};
use moshi_nn::{Backend, Precision, Rounded};
use moshi_testkit::{Golden, Recorder, assert_close};

const GOLDEN: Golden = Golden::TINY_PERSONAPLEX;

fn repository() -> Repository {
    let options = OpenOptions { parts: Parts::LM, ..OpenOptions::default() };
    Repository::open(&Source::Folder(GOLDEN.path("")), &options, &mut ()).unwrap()
}

fn load<B: Backend>(backend: B) -> Lm<B> {
    let repository = repository();
    Lm::load(backend, &repository.lm().unwrap(), &repository.config().lm).unwrap()
}

/// A run of the reference: its prompt, the inputs that it replays, and the frames that follow.
struct Run {
    prompt: Prompt,
    inputs: Vec<Vec<f32>>,
    frames: Vec<i32>,
}

fn role(run: &str) -> Vec<i32> {
    let meta = GOLDEN.meta().unwrap();
    meta["runs"][run]["role_tokens"].as_array().unwrap().iter().map(|t| t.as_i64().unwrap() as i32).collect()
}

fn run(name: &str, config: &LmConfig) -> Run {
    let results = GOLDEN.results().unwrap();
    let (voice, inputs) = if name == "wav" {
        let frames = GOLDEN.meta().unwrap()["runs"]["wav"]["voice_frames"].as_u64().unwrap() as usize;
        let codes = results.i32("prompt_agent").unwrap();
        let codes: Vec<[i32; CODEBOOKS]> = codes.chunks_exact(CODEBOOKS).map(|c| c.try_into().unwrap()).collect();
        (Voice::Codes(codes[..frames].to_vec()), Vec::new())
    } else {
        let file = VoiceFile::read(&GOLDEN.path("voices/VARF0.pt")).unwrap();
        let inputs = file.embeddings.chunks_exact(file.dim).map(<[f32]>::to_vec).collect();
        (Voice::Replayed(ReplayedVoice::new(file.inputs, &file.table, config).unwrap()), inputs)
    };
    let prompt = Prompt::new(&voice, &role(name), config).unwrap();
    // The published program reads a column later: its first frame is the last of the prompt.
    let frames = results.i32(&format!("{name}_out_tokens")).unwrap()[1 + CODEBOOKS..].to_vec();
    Run { prompt, inputs, frames }
}

/// One step of the prompt.
fn prompt_step<B: Backend>(lm: &Lm<B>, state: &mut LmState<B>, row: usize, run: &Run, at: usize) {
    let step = run.prompt.step(at).unwrap();
    if let Some(i) = step.replayed {
        lm.replay_input(state, row, &run.inputs[i]).unwrap();
    }
    lm.step(state, &[RowInput { row, heard: &step.heard, forced: &step.forced }]).unwrap();
}

/// The call after the prompt: frames, and the bits of the text logits.
fn call<B: Backend>(lm: &Lm<B>, state: &mut LmState<B>, row: usize) -> (Vec<i32>, Vec<f32>) {
    let codes = GOLDEN.results().unwrap().i32("user_codes").unwrap();
    let frames = codes.len() / CODEBOOKS;
    let (v, mut said, mut logits) = (lm.config().text_card_out, Vec::new(), Vec::new());
    for f in 0..frames {
        let heard: Vec<i32> = (0..CODEBOOKS).map(|q| codes[q * frames + f]).collect();
        lm.step(state, &[RowInput { row, heard: &heard, forced: &[] }]).unwrap();
        said.extend(state.frame(row).into_iter().flatten());
        logits.extend(lm.text_logits(state).unwrap()[row * v..(row + 1) * v].iter().copied());
    }
    (said, logits)
}

/// All steps of the prompt but the last in one piece, in a state of its own.
fn prefilled<B: Backend>(lm: &Lm<B>, run: &Run, params: &RowSampling, pieces: usize) -> LmState<B> {
    let mut state = lm.init_prompt(pieces).unwrap();
    lm.set_sampling(&mut state, 0, params).unwrap();
    lm.prime(&mut state, 0, &run.prompt, &run.inputs.concat()).unwrap();
    assert_eq!(state.position(0), Some(run.prompt.steps() as u64 - 1));
    state
}

#[test]
fn sizes_come_from_shapes() {
    let repository = repository();
    let config = &repository.config().lm;
    assert_eq!((config.dim, config.num_heads, config.num_layers, config.n_q, config.dep_q), (64, 32, 2, 16, 8));
    assert_eq!((config.card, config.text_card, config.text_card_out, config.context), (2048, 64, 64, 3000));
    let depth = config.depformer.as_ref().unwrap();
    assert_eq!((depth.dim, depth.num_heads, depth.num_layers, depth.weight_sets()), (16, 16, 2, 8));
    assert!(repository.warnings().iter().all(|w| !w.contains("not used")), "{:?}", repository.warnings());
}

fn the_call_is_that_of_the_reference<B: Backend>(backend: B) {
    let lm = load(backend);
    for name in ["wav", "pt"] {
        let run = run(name, lm.config());
        // In a row among others, after another call.
        let mut state = lm.init_state(3).unwrap();
        call(&lm, &mut state, 1);
        lm.reset(&mut state, 1).unwrap();
        (0..run.prompt.steps()).for_each(|at| prompt_step(&lm, &mut state, 1, &run, at));
        let (frames, _) = call(&lm, &mut state, 1);
        assert_eq!(frames[..run.frames.len()], run.frames, "{name}");
        assert_eq!(frames.len(), run.frames.len() + 1 + CODEBOOKS);
    }
}

#[test]
fn candle_says_what_the_reference_says() {
    the_call_is_that_of_the_reference(Candle::cpu());
}

#[test]
fn cpu_says_what_the_reference_says() {
    the_call_is_that_of_the_reference(Cpu::new(NonZeroUsize::MIN));
    the_call_is_that_of_the_reference(Cpu::new(NonZeroUsize::MIN.saturating_add(1)));
}

/// Tokens and logits.
type Said = (Vec<i32>, Vec<f32>);

/// A prompt in pieces of so many steps against one step by step: how close is `same`'s business.
fn in_one_piece<B: Backend>(backend: B, pieces: usize, same: fn(&str, &Said, &Said)) {
    in_one_piece_of(&load(backend), pieces, same);
}

fn in_one_piece_of<B: Backend>(lm: &Lm<B>, pieces: usize, same: fn(&str, &Said, &Said)) {
    let text = SamplingParams { temperature: 0.7, top_k: 25, top_p: 1.0 };
    let lively = RowSampling { seed: 5, text, repetition_penalty: 1.5, repetition_context: 32, ..RowSampling::GREEDY };
    for (name, params) in [("wav", RowSampling::GREEDY), ("pt", RowSampling::GREEDY), ("wav", lively)] {
        let run = run(name, lm.config());
        let mut stepped = lm.init_state(1).unwrap();
        lm.set_sampling(&mut stepped, 0, &params).unwrap();
        (0..run.prompt.steps()).for_each(|at| prompt_step(lm, &mut stepped, 0, &run, at));
        let expected = call(lm, &mut stepped, 0);
        // The row goes on among others, with the last step of the prompt.
        let (prompt, mut house) = (prefilled(lm, &run, &params, pieces), lm.init_state(2).unwrap());
        lm.copy_row(&mut house, 1, &prompt, 0).unwrap();
        prompt_step(lm, &mut house, 1, &run, run.prompt.steps() - 1);
        same(name, &call(lm, &mut house, 1), &expected);
    }
}

fn bit_for_bit(name: &str, found: &(Vec<i32>, Vec<f32>), expected: &(Vec<i32>, Vec<f32>)) {
    assert_eq!(found.0, expected.0, "{name}");
    assert!(found.1.iter().zip(&expected.1).all(|(a, b)| a.to_bits() == b.to_bits()), "{name}: other bits");
}

fn close(name: &str, found: &(Vec<i32>, Vec<f32>), expected: &(Vec<i32>, Vec<f32>)) {
    assert_eq!(found.0, expected.0, "{name}");
    assert_close(name, &found.1, &expected.1, 1e-4);
}

#[test]
fn a_prompt_in_one_piece_has_the_bits_of_its_steps() {
    in_one_piece(Cpu::new(NonZeroUsize::MIN), 128, bit_for_bit);
    in_one_piece(Cpu::new(NonZeroUsize::MIN.saturating_add(1)), 128, bit_for_bit);
    in_one_piece(Cpu::new(NonZeroUsize::MIN), 7, bit_for_bit);
    in_one_piece(Cpu::new(NonZeroUsize::MIN), 1, bit_for_bit);
}

#[test]
fn a_prompt_in_one_piece_in_integers() {
    let repository = repository();
    let weights = repository.lm().unwrap();
    let weights = Rounded::new(&weights, Precision::Fast);
    let lm = Lm::load(Cpu::new(NonZeroUsize::MIN), &weights, &repository.config().lm).unwrap();
    in_one_piece_of(&lm, 128, bit_for_bit);
}

/// A card replays the steps that it recorded before anybody had a prompt.
#[test]
fn recorded_steps_take_prompts_too() {
    the_call_is_that_of_the_reference(Recorder::new(Cpu::new(NonZeroUsize::MIN)));
    in_one_piece(Recorder::new(Cpu::new(NonZeroUsize::MIN)), 128, bit_for_bit);
}

#[test]
fn a_prompt_in_one_piece_on_the_reference_executor() {
    in_one_piece(Candle::cpu(), 128, close);
}

#[test]
fn what_is_not_known_is_an_ordinary_step() {
    let lm = load(Cpu::new(NonZeroUsize::MIN));
    let run = run("wav", lm.config());
    let mut state = lm.init_prompt(4).unwrap();
    let last = run.prompt.step(run.prompt.steps() - 1).unwrap();
    let first = run.prompt.step(0).unwrap();
    let inputs = [&first, &last].map(|s| PromptInput { heard: &s.heard, forced: &s.forced, replayed: None });
    let refused = lm.prefill(&mut state, 0, &inputs).unwrap_err().to_string();
    assert!(refused.contains("step 1 of the prompt leaves stream 0"), "{refused}");
    assert_eq!(state.position(0), Some(0), "nothing has changed");
    let short = PromptInput { heard: &first.heard[1..], ..inputs[0] };
    assert!(lm.prefill(&mut state, 0, &[short]).is_err());
    let narrow = PromptInput { replayed: Some(&[0.0; 3]), ..inputs[0] };
    assert!(lm.prefill(&mut state, 0, &[narrow]).is_err());
    assert!(lm.prefill(&mut state, 1, &inputs[..1]).is_err());
    assert!(lm.replay_input(&mut state, 0, &[0.0; 3]).is_err());
    assert!(lm.replay_input(&mut state, 1, &[0.0; 64]).is_err());
}
