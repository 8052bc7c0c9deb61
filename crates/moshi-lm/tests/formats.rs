//! Every published number format and the adapter against the golden data, from the file to the logits.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use std::num::NonZeroUsize;

use moshi_candle::Candle;
use moshi_checkpoint::{OpenOptions, Parts, Repository, Source};
use moshi_cpu::Cpu;
use moshi_lm::Lm;
use moshi_nn::{Backend, HostWeight, WeightSource};
use moshi_testkit::{Golden, assert_close};

const GOLDEN: Golden = Golden::TINY_MOSHI;

/// Opens the golden folder with another model file, or another configuration.
fn open(file: &str) -> Repository {
    let mut options = OpenOptions { parts: Parts::LM, ..OpenOptions::default() };
    let path = Some(GOLDEN.path(file).display().to_string());
    if file.ends_with(".json") {
        options.config = path
    } else {
        options.files.moshi = path
    }
    Repository::open(&Source::Folder(GOLDEN.path("")), &options, &mut ()).unwrap()
}

fn logits_are_those_of_the_dequantized_weights<B: Backend>(backend: &B, layout: &str, file: &str) {
    let repository = open(file);
    assert_eq!(repository.warnings(), Vec::<String>::new(), "{file}");
    let lm = Lm::load(backend.clone(), &repository.lm().unwrap(), &repository.config().lm).unwrap();
    let (results, expected) = (GOLDEN.results().unwrap(), GOLDEN.tensors("golden_formats.safetensors").unwrap());
    let codes = results.i32("tf_codes").unwrap();
    let found = lm.forward(&codes, codes.len() / (1 + lm.config().n_q)).unwrap();
    let text = expected.f32(&format!("{layout}_tf_text_logits")).unwrap();
    assert_close(&format!("{layout} text"), &found.text_logits, &text, 1e-5);
    let masked = |logits: &[f32]| -> Vec<f32> {
        let kept = logits.chunks(lm.config().card).zip(&found.audio_mask).filter(|(_, keep)| **keep);
        kept.flat_map(|(logits, _)| logits.iter().copied()).collect()
    };
    let audio = masked(&expected.f32(&format!("{layout}_tf_audio_logits")).unwrap());
    assert_close(&format!("{layout} audio"), &masked(&found.audio_logits), &audio, 1e-5);
}

/// Makes a test for each layout on every executor.
macro_rules! format_tests {
    ($($layout:ident: $file:literal,)*) => {
        $(#[test]
        fn $layout() {
            let name = stringify!($layout);
            logits_are_those_of_the_dequantized_weights(&Candle::cpu(), name, $file);
            logits_are_those_of_the_dequantized_weights(&Cpu::new(NonZeroUsize::MIN), name, $file);
            logits_are_those_of_the_dequantized_weights(&Cpu::new(NonZeroUsize::MIN.saturating_add(1)), name, $file);
        })*
    };
}

format_tests! {
    torch_q8: "model.torch.q8.safetensors",
    lora: "lora_config.json",
    mlx_q8: "model.mlx.q8.safetensors",
    mlx_q4: "model.mlx.q4.safetensors",
    gguf_q8: "model.q8.gguf",
}

/// A source whose adapters are merged in single precision.
struct Merged(moshi_checkpoint::Tensors);

impl WeightSource for Merged {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        WeightSource::shape(&self.0, name)
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> moshi_nn::Result<HostWeight<'_>> {
        // As a vector a tensor has its adapter, whatever its format.
        Ok(HostWeight::from_f32(rows, cols, WeightSource::vector(&self.0, name, &[rows, cols])?)?)
    }

    fn vector(&self, name: &str, shape: &[usize]) -> moshi_nn::Result<Vec<f32>> {
        WeightSource::vector(&self.0, name, shape)
    }
}

fn an_adapter_kept_apart_is_the_merged_one<B: Backend>(backend: &B, file: &str) {
    let mut options = OpenOptions { parts: Parts::LM, ..OpenOptions::default() };
    options.config = Some(GOLDEN.path("lora_config.json").display().to_string());
    options.files.moshi = Some(GOLDEN.path(file).display().to_string());
    let repository = Repository::open(&Source::Folder(GOLDEN.path("")), &options, &mut ()).unwrap();
    let (tensors, config) = (repository.lm().unwrap(), &repository.config().lm);
    let codes = GOLDEN.results().unwrap().i32("tf_codes").unwrap();
    let run = |source: &dyn WeightSource| {
        let lm = Lm::load(backend.clone(), source, config).unwrap();
        lm.forward(&codes, codes.len() / (1 + config.n_q)).unwrap()
    };
    let without = run(&open(file).lm().unwrap());
    let (apart, merged) = (run(&tensors), run(&Merged(tensors.clone())));
    assert_close(&format!("{file} with its adapter"), &apart.text_logits, &merged.text_logits, 1e-5);
    let kept = |logits: &[f32]| logits.iter().copied().filter(|x| x.is_finite()).collect::<Vec<_>>();
    assert_close(&format!("{file}, audio"), &kept(&apart.audio_logits), &kept(&merged.audio_logits), 1e-5);
    let moved = apart.text_logits.iter().zip(&without.text_logits).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(moved > 0.01, "{file}: the adapter changes nothing");
}

#[test]
fn adapters_of_quantized_models_are_added_at_run_time() {
    for file in ["model.torch.q8.safetensors", "model.q8.gguf", "model.mlx.q8.safetensors"] {
        an_adapter_kept_apart_is_the_merged_one(&Candle::cpu(), file);
        an_adapter_kept_apart_is_the_merged_one(&Cpu::new(NonZeroUsize::MIN), file);
    }
}
