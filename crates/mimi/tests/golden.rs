//! The codec against the golden data, on every executor.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use std::num::NonZeroUsize;

use mimi::{Codes, Mimi, MimiConfig};
use moshi_candle::Candle;
use moshi_cpu::Cpu;
use moshi_nn::Backend;
use moshi_testkit::{Golden, assert_close};

fn load<B: Backend>(backend: B, golden: Golden, codebooks: usize) -> Mimi<B> {
    let config = MimiConfig::read(&golden.path("mimi_config.json")).unwrap().0;
    Mimi::load(backend, &golden.mimi().unwrap(), &config, codebooks).unwrap()
}

/// Codes `[codebooks, frames]` from steps of `chunk` frames.
fn encode_streaming<B: Backend>(mimi: &Mimi<B>, pcm: &[f32], chunk: usize) -> Codes {
    let mut state = mimi.init_encoder(1, chunk).unwrap();
    let (size, k) = (mimi.frame_size(), mimi.codebooks());
    let mut by_frame = Vec::new();
    for samples in pcm.chunks(chunk * size) {
        let mut codes = vec![0; samples.len() / size * k];
        mimi.encode_step(&mut state, &[true], samples.len() / size, samples, &mut codes).unwrap();
        by_frame.extend(codes);
    }
    transposed(&by_frame, k)
}

/// `[frames, k]` to `[k, frames]`.
fn transposed(by_frame: &[i32], k: usize) -> Codes {
    Codes::new(k, (0..k).flat_map(|q| by_frame.iter().skip(q).step_by(k).copied()).collect()).unwrap()
}

fn decode_streaming<B: Backend>(mimi: &Mimi<B>, codes: &Codes, chunk: usize) -> Vec<f32> {
    let mut state = mimi.init_decoder(1, chunk).unwrap();
    let mut pcm = Vec::new();
    for first in (0..codes.frames()).step_by(chunk) {
        let frames = chunk.min(codes.frames() - first);
        let step: Vec<i32> = (first..first + frames)
            .flat_map(|f| (0..codes.codebooks()).map(move |q| codes.values()[q * codes.frames() + f]))
            .collect();
        let mut samples = vec![0.0; frames * mimi.frame_size()];
        mimi.decode_step(&mut state, &[true], frames, &step, &mut samples).unwrap();
        pcm.extend(samples);
    }
    pcm
}

fn one_shot_codes_are_those_of_the_reference<B: Backend>(backend: B) {
    for golden in Golden::ALL {
        let results = golden.results().unwrap();
        let mimi = load(backend.clone(), golden, 8);
        let codes = mimi.encode(&results.f32("pcm_in").unwrap()).unwrap();
        assert_eq!(codes.values(), results.i32("mimi_codes_oneshot_8").unwrap(), "{}", golden.name());
    }
}

fn streamed_codes_are_those_of_one_shot<B: Backend>(backend: B) {
    for golden in Golden::ALL {
        let results = golden.results().unwrap();
        let pcm = results.f32("pcm_in").unwrap();
        let expected = results.i32("mimi_codes_oneshot_8").unwrap();
        let mimi = load(backend.clone(), golden, 8);
        for chunk in [1, 2, 3, 7, 64] {
            let codes = encode_streaming(&mimi, &pcm, chunk);
            assert_eq!(codes.values(), expected, "{} in chunks of {chunk}", golden.name());
        }
    }
}

fn sixteen_codebooks_agree_until_the_reference_window_wraps<B: Backend>(backend: B) {
    for golden in Golden::ALL {
        let results = golden.results().unwrap();
        let mimi = load(backend.clone(), golden, 16);
        let context = mimi.config().transformer.context / mimi.config().downsample;
        let codes = mimi.encode(&results.f32("pcm_in").unwrap()).unwrap();
        let expected = results.i32("mimi_codes_streaming_16").unwrap();
        for (q, (found, expected)) in codes.values().chunks(64).zip(expected.chunks(64)).enumerate() {
            assert_eq!(found[..context], expected[..context], "{} codebook {q}", golden.name());
        }
    }
}

fn fewer_codebooks_are_the_first_ones<B: Backend>(backend: B) {
    let results = Golden::TINY_MOSHI.results().unwrap();
    let (pcm, expected) = (results.f32("pcm_in").unwrap(), results.i32("mimi_codes_oneshot_8").unwrap());
    for k in [1, 2, 5] {
        let codes = load(backend.clone(), Golden::TINY_MOSHI, k).encode(&pcm).unwrap();
        assert_eq!(codes.values(), &expected[..k * codes.frames()], "{k} codebooks");
    }
}

fn decoded_pcm_is_that_of_the_reference<B: Backend>(backend: B) {
    for golden in Golden::ALL {
        let results = golden.results().unwrap();
        let mimi = load(backend.clone(), golden, 8);
        let codes = Codes::new(8, results.i32("mimi_codes_oneshot_8").unwrap()).unwrap();
        let expected = results.f32("mimi_pcm_oneshot").unwrap();
        assert_close(golden.name(), &mimi.decode(&codes).unwrap(), &expected, 1e-4);
        for chunk in [1, 3, 64] {
            let pcm = decode_streaming(&mimi, &codes, chunk);
            assert_close(&format!("{} in chunks of {chunk}", golden.name()), &pcm, &expected, 1e-4);
        }
    }
}

fn a_session_decodes_to_the_reference<B: Backend>(backend: B) {
    for golden in Golden::ALL {
        let results = golden.results().unwrap();
        let out = results.i32("lm_out_tokens").unwrap(); // [frames, 1 + k]
        let expected = results.f32("session_pcm_out").unwrap();
        let mimi = load(backend.clone(), golden, 8);
        let columns = out.len() / (expected.len() / mimi.frame_size());
        let by_frame: Vec<i32> = out.chunks(columns).flat_map(|frame| frame[1..].iter().copied()).collect();
        let pcm = mimi.decode(&transposed(&by_frame, columns - 1)).unwrap();
        assert_close(golden.name(), &pcm, &expected, 1e-3);
    }
}

fn a_partial_frame_is_filled_with_silence<B: Backend>(backend: B) {
    let mimi = load(backend, Golden::TINY_MOSHI, 8);
    let pcm = Golden::TINY_MOSHI.results().unwrap().f32("pcm_in").unwrap();
    for len in [1, 1919, 1921, 5 * 1920 + 7] {
        let mut padded = pcm[9600..9600 + len].to_vec();
        padded.resize(len.next_multiple_of(1920), 0.0);
        assert_eq!(mimi.encode(&pcm[9600..9600 + len]).unwrap(), mimi.encode(&padded).unwrap(), "{len} samples");
    }
    assert_eq!(mimi.encode(&[]).unwrap(), Codes::new(8, Vec::new()).unwrap());
    assert_eq!(mimi.decode(&Codes::new(8, Vec::new()).unwrap()).unwrap(), Vec::<f32>::new());
}

/// All golden tests on one executor.
macro_rules! golden_tests {
    ($name:ident, $backend:expr, [$($test:ident),* $(,)?]) => {
        mod $name {
            use super::*;
            $(
                #[test]
                fn $test() {
                    super::$test($backend);
                }
            )*
        }
    };
    ($name:ident, $backend:expr) => {
        golden_tests!($name, $backend, [
            one_shot_codes_are_those_of_the_reference,
            streamed_codes_are_those_of_one_shot,
            sixteen_codebooks_agree_until_the_reference_window_wraps,
            fewer_codebooks_are_the_first_ones,
            decoded_pcm_is_that_of_the_reference,
            a_session_decodes_to_the_reference,
            a_partial_frame_is_filled_with_silence,
        ]);
    };
}

golden_tests!(candle, Candle::cpu());
golden_tests!(cpu, Cpu::new(NonZeroUsize::MIN));
golden_tests!(cpu_on_two_threads, Cpu::new(NonZeroUsize::MIN.saturating_add(1)));
