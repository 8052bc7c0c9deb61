//! Making integers of floats: errors, bounds, plans.

use std::num::NonZeroUsize;

use half::{bf16, f16};
use moshi_checkpoint::quantize::{Part, Plan, Quantize, Scheme, Search, quantize};
use moshi_checkpoint::{Tensors, lm_tensors};
use moshi_tensor::weight::{HostWeight, Quants, WeightData};
use proptest::prelude::*;

use crate::{golden, open};

const ONE: NonZeroUsize = NonZeroUsize::MIN;
const SCHEMES: [Scheme; 7] = [
    Scheme::Int8Rows,
    Scheme::Q8_0,
    Scheme::Q4_0,
    Scheme::MlxQ8 { group: 32 },
    Scheme::MlxQ8 { group: 64 },
    Scheme::MlxQ4 { group: 32 },
    Scheme::MlxQ4 { group: 64 },
];

/// Sums of uniform numbers, nearly normal, seeded.
fn weights(rows: usize, cols: usize, seed: u64) -> HostWeight<'static> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    let values = (0..rows * cols).map(|_| 0.05 * (0..4).map(|_| uniform()).sum::<f32>()).collect();
    HostWeight::from_f32(rows, cols, values).unwrap()
}

fn squared_error(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

#[test]
fn the_chosen_scales_lower_the_error_of_every_group_or_leave_it() {
    let weight = weights(8, 1024, 1);
    let exact = weight.to_f32().unwrap();
    for scheme in SCHEMES {
        let by = |search| quantize(&weight, scheme, search, ONE).unwrap().to_f32().unwrap();
        let (range, error) = (by(Search::Range), by(Search::Error));
        let group = scheme.group().unwrap_or(1024);
        for ((exact, range), error) in exact.chunks(group).zip(range.chunks(group)).zip(error.chunks(group)) {
            let (range, error) = (squared_error(exact, range), squared_error(exact, error));
            assert!(error <= range * (1.0 + 1e-5), "{scheme:?}: {error} after {range}");
        }
        let gain = squared_error(&exact, &error) / squared_error(&exact, &range);
        let expected = match scheme {
            Scheme::Int8Rows => 1.0,
            Scheme::Q8_0 => 0.95,
            Scheme::Q4_0 => 0.92,
            Scheme::MlxQ8 { .. } => 0.995,
            _ => 0.88,
        };
        assert!(gain <= expected, "{scheme:?}: {gain}");
    }
}

#[test]
fn scales_have_the_precision_that_files_store() {
    let weight = weights(4, 256, 2);
    for scheme in SCHEMES {
        match quantize(&weight, scheme, Search::Error, ONE).unwrap().data() {
            WeightData::Int8 { .. } => assert_eq!(scheme, Scheme::Int8Rows),
            WeightData::Grouped(g) if matches!(scheme, Scheme::MlxQ8 { .. } | Scheme::MlxQ4 { .. }) => {
                let short = |x: &f32| bf16::from_f32(*x).to_f32() == *x;
                assert!(g.scales.iter().chain(&*g.biases).all(short), "{scheme:?}");
            }
            WeightData::Grouped(g) => {
                assert!(g.scales.iter().all(|x| f16::from_f32(*x).to_f32() == *x), "{scheme:?}");
                if g.quants == Quants::U4 {
                    assert!(g.scales.iter().zip(&*g.biases).all(|(s, b)| *b == -8.0 * s));
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn threads_and_the_format_of_the_floats_change_nothing() {
    let weight = weights(7, 192, 3);
    let halves: Vec<bf16> = weight.to_f32().unwrap().into_iter().map(bf16::from_f32).collect();
    let halves = HostWeight::new(7, 192, WeightData::Bf16(halves.into())).unwrap();
    let same = HostWeight::from_f32(7, 192, halves.to_f32().unwrap()).unwrap();
    for scheme in SCHEMES {
        let one = quantize(&same, scheme, Search::Error, ONE).unwrap().to_f32().unwrap();
        for threads in [2, 3, 16] {
            let threads = NonZeroUsize::new(threads).unwrap();
            assert_eq!(quantize(&halves, scheme, Search::Error, threads).unwrap().to_f32().unwrap(), one, "{scheme:?}");
        }
    }
}

#[test]
fn zeros_stay_zeros_and_what_cannot_be_stored_is_said() {
    let zeros = HostWeight::from_f32(2, 64, vec![0.0; 128]).unwrap();
    for scheme in SCHEMES {
        assert_eq!(quantize(&zeros, scheme, Search::Error, ONE).unwrap().to_f32().unwrap(), [0.0; 128], "{scheme:?}");
        let mut values = vec![1.0; 128];
        values[70] = f32::INFINITY;
        let infinite = HostWeight::from_f32(2, 64, values).unwrap();
        let message = quantize(&infinite, scheme, Search::Error, ONE).unwrap_err().to_string();
        assert!(message.contains("finite"), "{scheme:?}: {message}");
    }
    let odd = HostWeight::from_f32(1, 33, vec![0.0; 33]).unwrap();
    assert!(quantize(&odd, Scheme::Q4_0, Search::Error, ONE).unwrap_err().to_string().contains("33"));
    assert_eq!(quantize(&odd, Scheme::Int8Rows, Search::Error, ONE).unwrap().cols(), 33);
}

#[test]
fn the_plan_knows_every_matrix_of_the_golden_models() {
    for folder in ["tiny-moshi", "tiny-variant"] {
        let repository = open(&golden(folder)).unwrap();
        for spec in lm_tensors(&repository.config().lm) {
            let matrix = spec.shape.len() == 2;
            assert_eq!(matrix, matrix && Part::of(&spec.name) != Part::Other, "{}", spec.name);
        }
    }
    let plan = Plan::from(Quantize::Q4);
    assert_eq!(plan.scheme("transformer.layers.3.gating.linear_in.weight", 4096), Some(Scheme::Q4_0));
    assert_eq!(plan.scheme("transformer.layers.3.gating.linear_out.weight", 100), Some(Scheme::Int8Rows));
    assert_eq!(plan.scheme("depformer.layers.0.self_attn.in_projs.3.weight", 1024), Some(Scheme::Int8Rows));
    assert_eq!(plan.scheme("text_linear.weight", 4096), Some(Scheme::Int8Rows));
    assert_eq!(plan.scheme("depformer_text_emb.low_rank.weight", 64), None);
    assert_eq!(plan.scheme("out_norm.alpha", 64), None);
}

#[test]
fn what_has_few_bits_already_is_kept() {
    let tensors = open(&golden("tiny-moshi/model.mlx.q4.safetensors")).unwrap().lm().unwrap();
    let name = "transformer.layers.0.gating.linear_in.weight";
    let stored = |tensors: &Tensors| tensors.matrix(name, 704, 128).unwrap().to_f32().unwrap();
    for quantize in [Quantize::Q8, Quantize::Q4] {
        let weight = Plan::from(quantize).apply(name, tensors.matrix(name, 704, 128).unwrap(), ONE).unwrap();
        assert_eq!(weight.to_f32().unwrap(), stored(&tensors));
    }
    let q8 = open(&golden("tiny-moshi/model.q8.gguf")).unwrap().lm().unwrap();
    let weight = Plan::from(Quantize::Q4).apply(name, q8.matrix(name, 704, 128).unwrap(), ONE).unwrap();
    assert!(matches!(weight.data(), WeightData::Grouped(g) if g.quants == Quants::U4));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_weight_is_further_away_than_its_group_allows(
        seed: u64,
        size in -5f32..2.0,
        shift in -1f32..1.0,
        scheme in prop::sample::select(SCHEMES.to_vec()),
    ) {
        let values = weights(2, 64, seed).to_f32().unwrap();
        let values: Vec<f32> = values.iter().map(|x| (x + 0.1 * shift) * size.exp2()).collect();
        let weight = HostWeight::from_f32(2, 64, values.clone()).unwrap();
        let found = quantize(&weight, scheme, Search::Error, ONE).unwrap().to_f32().unwrap();
        let group = scheme.group().unwrap_or(64);
        for (exact, found) in values.chunks(group).zip(found.chunks(group)) {
            let (low, high) = exact.iter().fold((f32::MAX, f32::MIN), |(l, h), x| (l.min(*x), h.max(*x)));
            let reach = if matches!(scheme, Scheme::MlxQ8 { .. } | Scheme::MlxQ4 { .. }) {
                // The ends and the bias are rounded to eight bits.
                (high - low) + low.abs().max(high.abs()) / 128.0
            } else {
                2.0 * low.abs().max(high.abs())
            };
            // Half a step each: rounding, clipping at the ends, the fitted line's own shift, and a scale of eight bits,
            // whose error grows to that at the last of 255 steps. Scales stay where half precision has all its bits.
            let allowed = 2.0 * reach / ((1 << scheme.bits()) - 1) as f32 + 1e-6;
            let allowed = if scheme.bits() == 4 { allowed * 1.6 } else { allowed };
            for (a, b) in exact.iter().zip(found) {
                prop_assert!((a - b).abs() <= allowed, "{scheme:?}: {a} became {b}, reach {reach}");
            }
        }
    }
}
