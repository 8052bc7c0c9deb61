//! Adapters of rows against the golden data, on every base and executor.

#![allow(clippy::unwrap_used, clippy::panic)] // a failure is the test's answer

use std::num::NonZeroUsize;

use moshi_candle::Candle;
use moshi_checkpoint::{AdapterFile, OpenOptions, Parts, Repository, Source};
use moshi_cpu::Cpu;
use moshi_lm::delay::Cell;
use moshi_lm::{Lm, LmConfig, LmState, NamedAdapter, PromptInput, RowInput, RowSampling};
use moshi_nn::{Backend, HostWeight, LowRankPair, Precision, Rounded, WeightSource};
use moshi_testkit::{Golden, Recorder, assert_close, noise};

const BASE: Golden = Golden::TINY_MOSHI;
const ADAPTED: Golden = Golden::TINY_LORA;
const NAMES: [&str; 3] = ["a", "b", "c"];
/// Every base: name in the results, and file.
const BASES: [(&str, &str); 5] = [
    ("bf16", "model.safetensors"),
    ("torch_q8", "model.torch.q8.safetensors"),
    ("gguf_q8", "model.q8.gguf"),
    ("mlx_q8", "model.mlx.q8.safetensors"),
    ("mlx_q4", "model.mlx.q4.safetensors"),
];

fn adapter_file(name: &str, config: &LmConfig) -> AdapterFile {
    AdapterFile::open(&ADAPTED.path(name), config).unwrap()
}

/// A base with all three adapters, unmerged.
fn load<B: Backend>((backend, precision): (B, Precision), file: &str) -> Lm<B> {
    let mut options = OpenOptions { parts: Parts::LM, ..OpenOptions::default() };
    options.files.moshi = Some(BASE.path(file).display().to_string());
    let repository = Repository::open(&Source::Folder(BASE.path("")), &options, &mut ()).unwrap();
    let config = &repository.config().lm;
    let files = NAMES.map(|name| adapter_file(name, config));
    let adapters: Vec<_> = NAMES.iter().zip(&files).map(|(name, source)| NamedAdapter { name, source }).collect();
    let weights = repository.lm().unwrap();
    Lm::load_adapted(backend, &Rounded::new(&weights, precision), config, &adapters).unwrap()
}

/// "none" and the adapters, as the results and the model name them.
fn choices() -> impl Iterator<Item = (&'static str, Option<usize>)> {
    std::iter::once(("none", None)).chain(NAMES.into_iter().zip((0..).map(Some)))
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn logits_are_those_of_the_reference<B: Backend>(backend: &(B, Precision), tolerance: Option<f32>) {
    let results = ADAPTED.results().unwrap();
    let codes = results.i32("tf_codes").unwrap();
    let mask: Vec<bool> = results.u8("tf_audio_mask").unwrap().iter().map(|&m| m != 0).collect();
    for (base, file) in BASES {
        let lm = load(backend.clone(), file);
        for (name, adapter) in choices() {
            let found = lm.forward_adapted(&codes, codes.len() / (1 + lm.config().n_q), adapter, &mut ()).unwrap();
            assert_eq!(found.audio_mask, mask);
            let masked = |logits: &[f32]| -> Vec<f32> {
                let kept = logits.chunks(lm.config().card).zip(&mask).filter(|(_, keep)| **keep);
                kept.flat_map(|(logits, _)| logits.iter().copied()).collect()
            };
            let text = results.f32(&format!("{base}_{name}_tf_text_logits")).unwrap();
            let audio = masked(&results.f32(&format!("{base}_{name}_tf_audio_logits")).unwrap());
            let heard = masked(&found.audio_logits);
            for (part, found, expected) in [("text", &found.text_logits, &text), ("audio", &heard, &audio)] {
                let what = format!("{base} with {name}: {part}");
                match tolerance {
                    Some(tolerance) => assert_close(&what, found, expected, tolerance),
                    None => assert!(cosine(found, expected) > 0.999, "{what}: cosine {}", cosine(found, expected)),
                }
            }
        }
    }
}

/// What rows with these adapters say, each hearing the golden user: frames, and the bits of their text logits.
fn talk<B: Backend>(lm: &Lm<B>, adapters: &[Option<usize>]) -> Vec<(Vec<i32>, Vec<u32>)> {
    let codes = ADAPTED.results().unwrap().i32("user_codes").unwrap();
    let frames = codes.len() / lm.heard();
    let mut state = lm.init_state(adapters.len()).unwrap();
    for (row, &adapter) in adapters.iter().enumerate() {
        lm.set_adapter(&mut state, row, adapter).unwrap();
    }
    let (v, mut said) = (lm.config().text_card_out, vec![(Vec::new(), Vec::new()); adapters.len()]);
    for f in 0..frames {
        let heard: Vec<i32> = (0..lm.heard()).map(|q| codes[q * frames + f]).collect();
        let inputs: Vec<_> = (0..adapters.len()).map(|row| RowInput { row, heard: &heard, forced: &[] }).collect();
        lm.step(&mut state, &inputs).unwrap();
        let logits = lm.text_logits(&state).unwrap();
        for (row, (frames, bits)) in said.iter_mut().enumerate() {
            frames.extend(state.frame(row).into_iter().flatten());
            bits.extend(logits[row * v..(row + 1) * v].iter().map(|x| x.to_bits()));
        }
    }
    said
}

fn rows_say_what_the_reference_says_each_with_its_adapter<B: Backend>(
    backend: &(B, Precision),
    bases: &[(&str, &str)],
    tokens: bool,
) {
    let results = ADAPTED.results().unwrap();
    for (base, file) in bases {
        let lm = load(backend.clone(), file);
        // Both orders, and one adapter twice.
        let house: Vec<Option<usize>> = choices().map(|(_, adapter)| adapter).chain([Some(1), Some(2), None]).collect();
        let together = talk(&lm, &house);
        for (adapter, said) in house.iter().zip(&together) {
            assert!(talk(&lm, &[*adapter])[0] == *said, "{base} with {adapter:?}: other bits in company");
        }
        for ((name, _), (frames, _)) in choices().zip(&together).filter(|_| tokens) {
            assert_eq!(*frames, results.i32(&format!("{base}_{name}_out_tokens")).unwrap(), "{base} with {name}");
        }
    }
}

#[test]
fn exact_logits() {
    logits_are_those_of_the_reference(&exact(Candle::cpu()), Some(1e-4));
    logits_are_those_of_the_reference(&exact(Cpu::new(NonZeroUsize::MIN)), Some(1e-4));
    logits_are_those_of_the_reference(&exact(Cpu::new(NonZeroUsize::MIN.saturating_add(1))), Some(1e-4));
}

#[test]
fn logits_in_integers() {
    logits_are_those_of_the_reference(&fast(), None);
}

#[test]
fn rows_in_one_batch() {
    rows_say_what_the_reference_says_each_with_its_adapter(&exact(Candle::cpu()), &BASES[..1], true);
    rows_say_what_the_reference_says_each_with_its_adapter(&exact(Cpu::new(NonZeroUsize::MIN)), &BASES, true);
}

/// A card replays its recording whatever adapters its rows have.
#[test]
fn rows_in_one_recorded_batch() {
    let recorder = Recorder::new(Cpu::new(NonZeroUsize::MIN));
    rows_say_what_the_reference_says_each_with_its_adapter(&exact(recorder.clone()), &BASES[..2], true);
}

/// Steps of which everything is forced have one outcome, together or one by one, also past the end of the window.
fn forced_together_or_one_by_one(backend: (Cpu, Precision), file: &str) {
    let lm = load(backend, file);
    let (context, steps) = (lm.config().context, lm.config().context + 30);
    let code = |seed: u64, at: usize| (noise::bits(seed, at as u64) % lm.config().card as u64) as i32;
    let heard: Vec<Vec<i32>> = (0..steps).map(|s| (0..8).map(|q| code(1, s * 8 + q)).collect()).collect();
    let forced: Vec<Vec<Cell>> = (0..steps)
        .map(|s| (0..9).map(|i| Cell::Token(if i == 0 { code(2, s) % 50 } else { code(3, s * 9 + i) })).collect())
        .collect();
    let params = RowSampling { repetition_penalty: 1.4, repetition_context: 20, ..RowSampling::GREEDY };
    let (mut one_by_one, mut together) = (lm.init_state(1).unwrap(), lm.init_prompt(16).unwrap());
    for (state, prefill) in [(&mut one_by_one, false), (&mut together, true)] {
        lm.set_sampling(state, 0, &params).unwrap();
        lm.set_adapter(state, 0, Some(2)).unwrap();
        let inputs = heard.iter().zip(&forced);
        if prefill {
            let inputs = inputs.map(|(heard, forced)| PromptInput { heard, forced, replayed: None });
            lm.prefill(state, 0, &inputs.collect::<Vec<_>>()).unwrap();
        } else {
            inputs.for_each(|(heard, forced)| lm.step(state, &[RowInput { row: 0, heard, forced }]).unwrap());
        }
        assert_eq!(state.position(0), Some(steps as u64));
    }
    for (at, heard) in heard.iter().enumerate().take(context) {
        for state in [&mut one_by_one, &mut together] {
            lm.step(state, &[RowInput { row: 0, heard, forced: &[] }]).unwrap();
        }
        assert_eq!(one_by_one.frame(0), together.frame(0), "{file}, step {at}");
        let bits = |state| lm.text_logits(state).unwrap().into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(&one_by_one), bits(&together), "{file}, step {at}");
    }
}

#[test]
fn prompts_in_one_piece_on_every_base() {
    for (_, file) in BASES {
        forced_together_or_one_by_one(exact(Cpu::new(NonZeroUsize::MIN)), file);
        forced_together_or_one_by_one(fast(), file);
    }
}

#[test]
fn rows_in_one_batch_in_integers() {
    rows_say_what_the_reference_says_each_with_its_adapter(&fast(), &BASES, false);
}

fn fast() -> (Cpu, Precision) {
    (Cpu::new(NonZeroUsize::MIN), Precision::Fast)
}

fn exact<B>(backend: B) -> (B, Precision) {
    (backend, Precision::Exact)
}

/// An adapter that holds some layers only.
struct Partly<'a>(&'a AdapterFile);

impl WeightSource for Partly<'_> {
    fn shape(&self, _: &str) -> Option<Vec<usize>> {
        None
    }

    fn matrix(&self, name: &str, _: usize, _: usize) -> moshi_nn::Result<HostWeight<'_>> {
        panic!("{name} was asked for")
    }

    fn vector(&self, name: &str, _: &[usize]) -> moshi_nn::Result<Vec<f32>> {
        panic!("{name} was asked for")
    }

    fn low_rank(&self, name: &str, rows: usize, cols: usize) -> moshi_nn::Result<Option<LowRankPair<'_>>> {
        let held = name.starts_with("transformer.layers.1.") || name.starts_with("linears.");
        if held { self.0.low_rank(name, rows, cols) } else { Ok(None) }
    }
}

/// The model with an adapter of its own, and others on top.
#[test]
fn some_layers_only_and_on_top_of_the_models_own() {
    let mut options = OpenOptions { parts: Parts::LM, ..OpenOptions::default() };
    options.config = Some(BASE.path("lora_config.json").display().to_string());
    let codes = ADAPTED.results().unwrap().i32("tf_codes").unwrap();
    let run = |file: &str, adapter: Option<usize>| {
        let mut options = options.clone();
        options.files.moshi = Some(BASE.path(file).display().to_string());
        let repository = Repository::open(&Source::Folder(BASE.path("")), &options, &mut ()).unwrap();
        let config = &repository.config().lm;
        let (whole, backend) = (adapter_file("a", config), Cpu::new(NonZeroUsize::MIN));
        let partly = NamedAdapter { name: "partly", source: &Partly(&whole) };
        let whole = NamedAdapter { name: "whole", source: &whole };
        let lm = Lm::load_adapted(backend, &repository.lm().unwrap(), config, &[partly, whole]).unwrap();
        lm.forward_adapted(&codes, codes.len() / (1 + config.n_q), adapter, &mut ()).unwrap().text_logits
    };
    // The model's own is merged into the one file and added at run time to the other, which was quantized from it.
    let file = "model.torch.q8.safetensors";
    let runs = [None, Some(0), Some(1)].map(|adapter| (run("model.safetensors", adapter), run(file, adapter)));
    for (merged, apart) in &runs {
        assert!(cosine(merged, apart) > 0.999, "cosine {}", cosine(merged, apart));
    }
    let [(none, _), (partly, _), (whole, _)] = &runs;
    assert!(cosine(none, partly) < 0.9999 && cosine(partly, whole) < 0.9999 && cosine(none, whole) < 0.9999);
}

/// An adapter's choice survives a reset, moves with a copied row, and can be changed between conversations.
#[test]
fn the_choice_of_a_row() {
    let lm = load(exact(Cpu::new(NonZeroUsize::MIN)), "model.safetensors");
    let heard = vec![1; lm.heard()];
    let logits = |state: &mut LmState<Cpu>, row: usize| {
        lm.step(state, &[RowInput { row, heard: &heard, forced: &[] }]).unwrap();
        let v = lm.config().text_card_out;
        lm.text_logits(state).unwrap()[row * v..(row + 1) * v].to_vec()
    };
    let mut state = lm.init_state(2).unwrap();
    let plain = logits(&mut state, 0);
    lm.reset(&mut state, 0).unwrap();
    lm.set_adapter(&mut state, 0, Some(2)).unwrap();
    let adapted = logits(&mut state, 0);
    assert_ne!(plain, adapted);
    lm.reset(&mut state, 0).unwrap();
    assert_eq!(logits(&mut state, 0), adapted);
    let mut other = lm.init_state(1).unwrap();
    lm.reset(&mut state, 0).unwrap();
    lm.copy_row(&mut other, 0, &state, 0).unwrap();
    assert_eq!(logits(&mut other, 0), adapted);
    lm.reset(&mut state, 0).unwrap();
    lm.set_adapter(&mut state, 0, None).unwrap();
    assert_eq!(logits(&mut state, 0), plain);
    let refused = lm.set_adapter(&mut state, 0, Some(3)).unwrap_err().to_string();
    assert!(refused.contains("loaded with 3 of them"), "{refused}");
    assert_eq!(lm.adapters(), NAMES);
}
