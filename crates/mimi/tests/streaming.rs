//! Encoder and decoder pass the conformance suite, on every executor.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use std::num::NonZeroUsize;

use mimi::{Codes, DecoderState, EncoderState, Error, Mimi, MimiConfig};
use moshi_candle::Candle;
use moshi_cpu::Cpu;
use moshi_nn::layers::StreamState;
use moshi_nn::{Backend, Precision, Rounded};
use moshi_testkit::conformance::StreamCase;
use moshi_testkit::{Golden, RandomWeights, stream_conformance};

/// A codec of other sizes than any published one: what is hard-wired somewhere shows here.
const ODD: &str = r#"{
    "sample_rate": 6000, "frame_rate": 25,
    "seanet": {"dimension": 24, "n_filters": 4, "n_residual_layers": 2, "kernel_size": 5, "ratios": [5, 4, 2]},
    "quantizer": {"dimension": 8, "n_q": 5, "bins": 20, "input_dimension": 24, "output_dimension": 24},
    "transformer": {"d_model": 24, "num_heads": 3, "num_layers": 2, "context": 7, "dim_feedforward": 40,
        "input_dimension": 24, "output_dimensions": [24]}
}"#;

fn odd_config() -> MimiConfig {
    MimiConfig::from_json("odd.json".as_ref(), &serde_json::from_str(ODD).unwrap()).unwrap().0
}

fn odd<B: Backend>(backend: (B, Precision)) -> Mimi<B> {
    let (backend, precision) = backend;
    Mimi::load(backend, &Rounded::new(&RandomWeights::mimi(3), precision), &odd_config(), 5).unwrap()
}

const MAX_CHUNK: usize = 3;

/// The encoder as a stream; a unit is a frame.
struct Encode<B: Backend>(Mimi<B>);

impl<B: Backend> StreamCase for Encode<B> {
    type State = EncoderState<B>;

    fn init_state(&self, rows: usize) -> EncoderState<B> {
        self.0.init_encoder(rows, MAX_CHUNK).unwrap()
    }

    fn inputs(&self) -> usize {
        self.0.frame_size()
    }

    fn outputs(&self) -> usize {
        self.0.codebooks()
    }

    fn max_chunk(&self) -> usize {
        MAX_CHUNK
    }

    fn chunk_tolerance(&self) -> f32 {
        0.0
    }

    fn step(&self, state: &mut EncoderState<B>, active: &[bool], t: usize, input: &[f32]) -> Vec<f32> {
        let mut codes = vec![0; active.len() * t * self.outputs()];
        self.0.encode_step(state, active, t, input, &mut codes).unwrap();
        codes.iter().map(|&code| code as f32).collect()
    }

    fn reset_row(&self, state: &mut EncoderState<B>, row: usize) {
        state.reset_row(self.0.backend(), row).unwrap();
    }

    fn copy_row(&self, state: &mut EncoderState<B>, row: usize, src: &EncoderState<B>, src_row: usize) {
        state.copy_row(self.0.backend(), row, src, src_row).unwrap();
    }
}

/// The decoder as a stream; a unit is a frame.
struct Decode<B: Backend>(Mimi<B>);

impl<B: Backend> StreamCase for Decode<B> {
    type State = DecoderState<B>;

    fn init_state(&self, rows: usize) -> DecoderState<B> {
        self.0.init_decoder(rows, MAX_CHUNK).unwrap()
    }

    fn inputs(&self) -> usize {
        self.0.codebooks()
    }

    fn outputs(&self) -> usize {
        self.0.frame_size()
    }

    fn max_chunk(&self) -> usize {
        MAX_CHUNK
    }

    fn chunk_tolerance(&self) -> f32 {
        2e-5
    }

    fn step(&self, state: &mut DecoderState<B>, active: &[bool], t: usize, input: &[f32]) -> Vec<f32> {
        let bins = self.0.bins() as f32;
        let codes: Vec<i32> = input.iter().map(|x| ((x + 1.0) / 2.0 * bins).min(bins - 1.0) as i32).collect();
        let mut pcm = vec![0.0; active.len() * t * self.outputs()];
        self.0.decode_step(state, active, t, &codes, &mut pcm).unwrap();
        pcm
    }

    fn reset_row(&self, state: &mut DecoderState<B>, row: usize) {
        state.reset_row(self.0.backend(), row).unwrap();
    }

    fn copy_row(&self, state: &mut DecoderState<B>, row: usize, src: &DecoderState<B>, src_row: usize) {
        state.copy_row(self.0.backend(), row, src, src_row).unwrap();
    }
}

fn silence_gives_as_many_codes_and_samples_as_frames<B: Backend>(backend: (B, Precision)) {
    let mimi = odd(backend);
    let codes = mimi.encode(&vec![0.0; 1000]).unwrap();
    assert_eq!((codes.codebooks(), codes.frames()), (5, 5));
    assert_eq!(mimi.decode(&codes).unwrap().len(), 5 * 240);
    let two = Codes::new(2, codes.values()[..10].to_vec()).unwrap();
    assert_eq!(mimi.decode(&two).unwrap().len(), 5 * 240);
}

fn bad_input_is_named_and_harms_nothing<B: Backend>(backend: (B, Precision)) {
    let mimi = odd(backend);
    let size = mimi.frame_size();
    let pcm = moshi_testkit::noise::signal(1, 2 * size);
    let mut codes = vec![0; 10];
    let mut clean = mimi.init_encoder(2, 1).unwrap();
    let mut state = mimi.init_encoder(2, 1).unwrap();

    let mut broken = pcm.clone();
    broken[size + 3] = f32::NAN;
    assert_eq!(
        mimi.encode(&broken).unwrap_err().to_string(),
        format!("sample {}: NaN is not a finite number", size + 3)
    );
    let error = mimi.encode_step(&mut state, &[true, true], 2, &pcm, &mut codes).unwrap_err();
    assert!(matches!(error, Error::Frames { found: 2, max: 1 }), "{error}");
    assert!(mimi.encode_step(&mut state, &[true, true], 0, &[], &mut []).is_err());
    assert!(mimi.encode_step(&mut state, &[true, true], 1, &pcm[1..], &mut codes).is_err());
    assert!(mimi.encode_step(&mut state, &[true], 1, &pcm, &mut codes).is_err());

    let mut expected = vec![0; 10];
    mimi.encode_step(&mut clean, &[true, true], 1, &pcm, &mut expected).unwrap();
    mimi.encode_step(&mut state, &[true, true], 1, &pcm, &mut codes).unwrap();
    assert_eq!(codes, expected);
    // The samples of a row that does not run are nobody's business.
    mimi.encode_step(&mut state, &[true, false], 1, &broken, &mut codes).unwrap();
    assert_eq!((state.fault(0), state.fault(1)), (None, None));

    for bad in [-1, 20, i32::MAX] {
        codes = vec![0; 10];
        codes[7] = bad;
        let error = mimi.decode(&Codes::new(5, codes.clone()).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), format!("codebook 3, frame 1: code {bad} is outside 0..20"));
        let error = mimi.check_frame(&codes[5..]).unwrap_err();
        assert_eq!(error.to_string(), format!("codebook 2, frame 0: code {bad} is outside 0..20"));
        mimi.check_frame(&codes[..5]).unwrap();
    }
    assert!(matches!(mimi.decode(&Codes::new(6, vec![0; 12]).unwrap()), Err(Error::Codebooks { .. })));
    assert!(Codes::new(5, vec![0; 12]).is_err());
    assert!(Codes::new(0, vec![]).is_err());
}

/// Encodes two rows for some frames; `poison` replaces the first frame of row 1. Returns row 0's codes and all codes of
/// the frames after row 1 was reset, and in which of the frames before that row 1 had a fault.
fn encode_beside<B: Backend>(mimi: &Mimi<B>, poison: Option<&[f32]>) -> (Vec<i32>, [bool; 4]) {
    let (size, k) = (mimi.frame_size(), mimi.codebooks());
    let mut state = mimi.init_encoder(2, 1).unwrap();
    let (mut kept, mut faults) = (Vec::new(), [false; 4]);
    for frame in 0..12u64 {
        let mut pcm = moshi_testkit::noise::signal(frame, 2 * size);
        let mut codes = vec![0; 2 * k];
        if let (0, Some(poison)) = (frame, poison) {
            pcm[size..].copy_from_slice(poison);
        }
        if frame == 4 {
            state.reset_row(mimi.backend(), 1).unwrap();
        }
        mimi.encode_step(&mut state, &[true, true], 1, &pcm, &mut codes).unwrap();
        assert_eq!(state.fault(0), None);
        match faults.get_mut(frame as usize) {
            Some(fault) => *fault = state.fault(1).is_some(),
            None => assert_eq!(state.fault(1), None, "frame {frame}"),
        }
        kept.extend_from_slice(if frame < 4 { &codes[..k] } else { &codes });
    }
    (kept, faults)
}

/// Audio that no number can be made of.
fn poisons(size: usize) -> [Vec<f32>; 4] {
    let mut one = moshi_testkit::noise::signal(99, size);
    one[size / 2] = f32::NEG_INFINITY;
    [vec![f32::NAN; size], vec![f32::INFINITY; size], vec![3e38; size], one]
}

fn a_row_that_hears_no_numbers_ends_alone_and_is_clean_after_a_reset<B: Backend>(backend: (B, Precision)) {
    let mimi = odd(backend);
    let clean = encode_beside(&mimi, None);
    assert_eq!(clean.1, [false; 4]);
    for poison in poisons(mimi.frame_size()) {
        // Whether it is noticed is a matter of the arithmetic: whole numbers have no NaN.
        assert!(encode_beside(&mimi, Some(&poison)).0 == clean.0, "{:?}", poison[poison.len() / 2]);
    }
}

#[test]
fn single_precision_notices_samples_that_are_no_numbers_until_the_row_is_reset() {
    fn on<B: Backend>(backend: (B, Precision)) {
        let mimi = odd(backend);
        for poison in poisons(mimi.frame_size()) {
            assert_eq!(encode_beside(&mimi, Some(&poison)).1, [true; 4], "{:?}", poison[poison.len() / 2]);
        }
        let far = vec![3e38; 2 * mimi.frame_size()];
        assert!(mimi.encode(&far).unwrap_err().to_string().contains("not finite"));
    }
    on((Candle::cpu(), Precision::Exact));
    on((Cpu::new(NonZeroUsize::MIN), Precision::Exact));
}

fn a_row_with_a_code_out_of_range_ends_alone<B: Backend>(backend: (B, Precision)) {
    let mimi = odd(backend);
    let (size, k) = (mimi.frame_size(), mimi.codebooks());
    let decode = |bad: Option<i32>| {
        let mut state = mimi.init_decoder(2, 1).unwrap();
        let mut all = Vec::new();
        for frame in 0..6 {
            let mut codes: Vec<i32> = (0..2 * k).map(|i| ((i + 7 * frame) % 20) as i32).collect();
            if let (2, Some(bad)) = (frame, bad) {
                codes[k + 3] = bad;
            }
            if frame == 3 {
                state.reset_row(mimi.backend(), 1).unwrap();
            }
            let mut pcm = vec![0.0; 2 * size];
            mimi.decode_step(&mut state, &[true, true], 1, &codes, &mut pcm).unwrap();
            assert_eq!((state.fault(0), state.fault(1).is_some()), (None, bad.is_some() && frame == 2));
            all.extend_from_slice(if frame < 3 { &pcm[..size] } else { &pcm });
        }
        all
    };
    let clean = decode(None);
    for bad in [20, -2, i32::MAX, i32::MIN] {
        assert!(decode(Some(bad)) == clean, "{bad}");
    }
}

fn files_that_do_not_fit_are_named<B: Backend>(backend: (B, Precision)) {
    let weights = Golden::TINY_MOSHI.mimi().unwrap();
    let (config, _) = MimiConfig::read(&Golden::TINY_MOSHI.path("mimi_config.json")).unwrap();
    let refused =
        |config: &MimiConfig, k| Mimi::load(backend.0.clone(), &weights, config, k).err().unwrap().to_string();
    assert!(refused(&config, 17).contains("17 codebooks"));
    assert!(refused(&config, 0).contains("0 codebooks"));
    let mut more = config.clone();
    more.quantizer.n_q = 32;
    assert!(refused(&more, 32).contains("quantizer.rvq_rest.vq.layers.15"));
    let published = refused(&MimiConfig::default(), 8);
    assert!(published.contains("encoder.model.0.conv.conv.weight") && published.contains("[64, 1, 7]"), "{published}");
    let mut deeper = config.clone();
    deeper.transformer.num_layers = 3;
    assert!(refused(&deeper, 8).contains("encoder_transformer.transformer.layers.2."));
}

/// Everything on one executor.
macro_rules! codec_conforms {
    ($name:ident, $backend:expr, [$($test:ident),* $(,)?]) => {
        mod $name {
            use super::*;
            stream_conformance!(encoder, Encode(odd($backend)));
            stream_conformance!(decoder, Decode(odd($backend)));
            $(
                #[test]
                fn $test() {
                    super::$test($backend);
                }
            )*
        }
    };
    ($name:ident, $backend:expr) => {
        codec_conforms!($name, $backend, [
            silence_gives_as_many_codes_and_samples_as_frames,
            bad_input_is_named_and_harms_nothing,
            a_row_that_hears_no_numbers_ends_alone_and_is_clean_after_a_reset,
            a_row_with_a_code_out_of_range_ends_alone,
            files_that_do_not_fit_are_named,
        ]);
    };
}

codec_conforms!(candle, (Candle::cpu(), Precision::Exact));
codec_conforms!(cpu, (Cpu::new(NonZeroUsize::MIN), Precision::Exact));
codec_conforms!(cpu_in_fixed_point, (Cpu::new(NonZeroUsize::MIN), Precision::Fixed));
codec_conforms!(cpu_on_two_threads, (Cpu::new(NonZeroUsize::MIN.saturating_add(1)), Precision::Exact));
