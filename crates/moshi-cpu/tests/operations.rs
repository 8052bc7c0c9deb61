//! Everything but products: the bits of the scalar twin on every instruction set, and the plain definition in double
//! precision within a derived tolerance.

#![allow(clippy::unwrap_used)]

mod machine;

use std::borrow::Cow;

use half::bf16;
use machine::{all_cores, cores, portable};
use moshi_cpu::attention::{AttentionShape, Chunk, Ring, attend};
use moshi_cpu::codebook::Codebook;
use moshi_cpu::cores::Cores;
use moshi_cpu::embedding::Embedding;
use moshi_cpu::isa::Isa;
use moshi_cpu::rope::{Pairs, Rotations};
use moshi_cpu::rowwise::{self, Vectors};
use moshi_tensor::weight::{HostWeight, WeightData};
use proptest::prelude::*;

/// Values in -3..3.
fn values(seed: u64, len: usize) -> Vec<f32> {
    machine::values(seed, len).into_iter().map(|x| 3.0 * x).collect()
}

/// Runs `f` on every instruction set and on three threads; all must give the bits of the scalar twin, which it returns.
fn same_bits(f: impl Fn(&Cores) -> Vec<f32>) -> Vec<f32> {
    let twin = f(&portable());
    for cores in all_cores() {
        let found = f(&cores);
        let differ = twin.iter().zip(&found).position(|(a, b)| a.to_bits() != b.to_bits());
        assert!(differ.is_none() && twin.len() == found.len(), "{cores:?} differs from its twin at {differ:?}");
    }
    twin
}

/// Each vector of active rows against `plain`, others untouched.
fn check_vectors(
    rows: &[usize],
    t: usize,
    (c, before): (usize, &[f32]),
    after: &[f32],
    tolerance: f64,
    plain: impl Fn(usize) -> Vec<f64>,
) {
    for index in 0..before.len() / c {
        let found = &after[index * c..(index + 1) * c];
        if rows.contains(&(index / t)) {
            for (found, expected) in found.iter().zip(plain(index)) {
                let error = (f64::from(*found) - expected).abs();
                assert!(error <= tolerance * (1.0 + expected.abs()), "vector {index}: {found} for {expected}");
            }
        } else {
            assert_eq!(found, &before[index * c..(index + 1) * c], "an inactive row changed");
        }
    }
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..120 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

/// Some rows of three, and a chunk.
fn some_rows() -> impl Strategy<Value = (Vec<usize>, usize)> {
    (1u32..8, 1usize..4).prop_map(|(set, t)| ((0..3).filter(|r| set >> r & 1 == 1).collect(), t))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn norms_follow_their_definition(seed: u64, c in 1usize..300, (rows, t) in some_rows()) {
        let (x, weight, bias) = (values(seed, 3 * t * c), values(seed ^ 1, c), values(seed ^ 2, c));
        let before = values(seed ^ 3, 3 * t * c);
        let v = Vectors { rows: &rows, t, c };
        let vector = |i: usize| wide(&x[i * c..(i + 1) * c]);
        let eps = 1e-5;

        let y = same_bits(|cores| {
            let mut y = before.clone();
            rowwise::rms_norm(cores, &v, &x, &weight, eps, &mut y).unwrap();
            y
        });
        // Sixteen sums of c / 16 terms, then a tree: a few units in the last place of 3 * 3.
        check_vectors(&rows, t, (c, &before), &y, 1e-5, |i| {
            let x = vector(i);
            let mean = x.iter().map(|x| x * x).sum::<f64>() / c as f64;
            x.iter().zip(&weight).map(|(x, a)| x / (mean + f64::from(eps)).sqrt() * f64::from(*a)).collect()
        });

        let y = same_bits(|cores| {
            let mut y = before.clone();
            rowwise::layer_norm(cores, &v, &x, (&weight, &bias), eps, &mut y).unwrap();
            y
        });
        // Few channels may lie close together, which magnifies the rounding of their mean.
        let tolerance = if c < 8 { 1e-2 } else { 1e-5 };
        check_vectors(&rows, t, (c, &before), &y, tolerance, |i| {
            let x = vector(i);
            let mean = x.iter().sum::<f64>() / c as f64;
            let var = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / c as f64;
            let norm = |x: f64| (x - mean) / (var + f64::from(eps)).sqrt();
            (0..c).map(|j| norm(x[j]) * f64::from(weight[j]) + f64::from(bias[j])).collect()
        });
    }

    #[test]
    fn activations_follow_their_definition(seed: u64, c in 1usize..200, (rows, t) in some_rows()) {
        let v = Vectors { rows: &rows, t, c };
        let x = values(seed, 3 * t * 2 * c);
        let before = values(seed ^ 1, 3 * t * c);

        let y = same_bits(|cores| {
            let mut y = before.clone();
            rowwise::silu_gate(cores, &v, &x, &mut y).unwrap();
            y
        });
        check_vectors(&rows, t, (c, &before), &y, 1e-6, |i| {
            let x = wide(&x[i * 2 * c..(i + 1) * 2 * c]);
            (0..c).map(|j| x[j] / (1.0 + (-x[j]).exp()) * x[c + j]).collect()
        });

        let y = same_bits(|cores| {
            let mut y = before.clone();
            rowwise::gelu(cores, &v, &mut y).unwrap();
            y
        });
        check_vectors(&rows, t, (c, &before), &y, 1e-6, |i| {
            let x = wide(&before[i * c..(i + 1) * c]);
            x.iter().map(|x| x / 2.0 * (1.0 + erf(x / 2f64.sqrt()))).collect()
        });

        let y = same_bits(|cores| {
            let mut y = before.clone();
            rowwise::softmax(cores, &v, &mut y).unwrap();
            y
        });
        check_vectors(&rows, t, (c, &before), &y, 1e-6, |i| {
            let x = wide(&before[i * c..(i + 1) * c]);
            let sum: f64 = x.iter().map(|x| x.exp()).sum();
            x.iter().map(|x| x.exp() / sum).collect()
        });

        let y = same_bits(|cores| {
            let mut y = vec![0.0; x.len()];
            rowwise::elu(cores, &x, &mut y);
            y
        });
        for (y, x) in y.iter().zip(&x) {
            let expected = if *x > 0.0 { f64::from(*x) } else { f64::from(*x).exp_m1() };
            prop_assert!((f64::from(*y) - expected).abs() <= 3e-7 * expected.abs());
        }
    }

    #[test]
    fn sums_and_upsampling_follow_their_definition(seed: u64, c in 1usize..100, (rows, t) in some_rows()) {
        let v = Vectors { rows: &rows, t, c };
        let (y, before, scale) = (values(seed, 3 * t * c), values(seed ^ 1, 3 * t * c), values(seed ^ 2, c));
        for scale in [None, Some(&scale[..])] {
            let x = same_bits(|cores| {
                let mut x = before.clone();
                rowwise::residual_add(cores, &v, &y, scale, &mut x).unwrap();
                x
            });
            check_vectors(&rows, t, (c, &before), &x, 1e-6, |i| {
                let scaled = |j: usize| f64::from(y[i * c + j]) * scale.map_or(1.0, |s| f64::from(s[j]));
                (0..c).map(|j| f64::from(before[i * c + j]) + scaled(j)).collect()
            });
        }
        let stride = 1 + seed as usize % 3;
        let weight = values(seed ^ 3, 2 * stride * c);
        let x = &y[..t * c];
        let up = same_bits(|cores| {
            let mut up = vec![0.0; t * stride * c];
            rowwise::upsample(cores, (t, stride), x, &before[..c], &weight, &mut up).unwrap();
            up
        });
        for (i, up) in up.iter().enumerate() {
            let (out, channel) = (i / c, i % c);
            let (column, tap) = (out / stride, out % stride);
            let last = if column == 0 { before[channel] } else { x[(column - 1) * c + channel] };
            let new = f64::from(x[column * c + channel]) * f64::from(weight[tap * c + channel]);
            let old = f64::from(last) * f64::from(weight[(stride + tap) * c + channel]);
            prop_assert!((f64::from(*up) - new - old).abs() < 1e-5);
        }
    }

    #[test]
    fn the_nearest_code_is_the_one_of_exact_arithmetic(
        seed: u64,
        bins in 1usize..70,
        d in prop_oneof![1usize..40, Just(32), Just(48)],
        t in 1usize..4,
    ) {
        // Few distinct values: many exact ties.
        let coarse = |seed, len| values(seed, len).iter().map(|x| (x * 2.0).round() / 2.0).collect::<Vec<f32>>();
        // Lengths from nothing to far outside: what bounds one entry's error says nothing about another's.
        let uneven = |seed, len| {
            let scale = |i: usize| [1.0, 1e-3, 1e6, 0.0, 1.01, 1e-30][i / d % 6];
            values(seed, len).iter().enumerate().map(|(i, x)| x * scale(i)).collect::<Vec<_>>()
        };
        for (codes, x) in [
            (values(seed, bins * d), values(seed ^ 1, 2 * t * d)),
            (coarse(seed, bins * d), coarse(seed ^ 1, 2 * t * d)),
            (uneven(seed, bins * d), values(seed ^ 1, 2 * t * d)),
        ] {
            let book = Codebook::new(&cores(Isa::Portable, 3), &codes, bins).unwrap();
            let mut expected = Vec::new();
            for x in x.chunks_exact(d).skip(t) {
                let distance = |c: &[f32]| -> f64 {
                    x.iter().zip(c).map(|(x, c)| (f64::from(*x) - f64::from(*c)).powi(2)).sum()
                };
                let all: Vec<f64> = codes.chunks_exact(d).map(distance).collect();
                let least = all.iter().copied().fold(f64::INFINITY, f64::min);
                expected.push(all.iter().position(|&d| d == least).unwrap());
            }
            same_bits(|cores| {
                let (mut left, mut found) = (x.clone(), Vec::new());
                book.quantize(cores, &[1], t, &mut left, |index, code| found.push((index, code.unwrap()))).unwrap();
                assert_eq!(found, expected.iter().enumerate().map(|(i, &c)| (t + i, c)).collect::<Vec<_>>());
                assert_eq!(left[..t * d], x[..t * d]);
                for (i, c) in expected.iter().enumerate() {
                    for j in 0..d {
                        assert_eq!(left[(t + i) * d + j], x[(t + i) * d + j] - codes[c * d + j]);
                    }
                }
                left
            });
        }
    }

    #[test]
    fn embeddings_add_the_entry(seed: u64, v in 1usize..20, d in 1usize..70) {
        let (w, before) = (values(seed, v * d), values(seed ^ 1, d));
        let narrow: Vec<bf16> = w.iter().map(|&x| bf16::from_f32(x)).collect();
        for data in [WeightData::F32(Cow::Owned(w)), WeightData::Bf16(Cow::Owned(narrow))] {
            let weight = HostWeight::new(v, d, data).unwrap();
            let table = Embedding::new(&weight).unwrap();
            let id = seed as usize % v;
            let y = same_bits(|cores| {
                let mut y = before.clone();
                table.add(cores, id, &mut y).unwrap();
                y
            });
            let w = weight.to_f32().unwrap();
            for j in 0..d {
                prop_assert_eq!(y[j], before[j] + w[id * d + j]);
            }
            prop_assert!(table.add(&portable(), v, &mut before.clone()).is_err());
        }
    }
}

/// Attention by its definition, over all keys from the first position on.
struct Plain {
    shape: AttentionShape,
    pairs: Pairs,
    keys: Vec<Vec<f64>>,
    values: Vec<Vec<f64>>,
}

impl Plain {
    fn rotated(&self, head: &[f32], position: u64) -> Vec<f64> {
        let d = self.shape.head_dim;
        let x = wide(head);
        let mut y = vec![0.0; d];
        for i in 0..d / 2 {
            let angle = position as f64 * 10_000f64.powf(-2.0 * i as f64 / d as f64);
            let (a, b) = match self.pairs {
                Pairs::Interleaved => (2 * i, 2 * i + 1),
                Pairs::Halves => (i, i + d / 2),
            };
            y[a] = x[a] * angle.cos() - x[b] * angle.sin();
            y[b] = x[a] * angle.sin() + x[b] * angle.cos();
        }
        y
    }

    fn step(&mut self, qkv: &[f32], first: u64) -> Vec<f64> {
        let AttentionShape { heads, kv_heads, head_dim: d, context } = self.shape;
        let position = first + self.keys.len() as u64;
        let rotate = |from: usize, count: usize| -> Vec<f64> {
            (from..from + count).flat_map(|h| self.rotated(&qkv[h * d..(h + 1) * d], position)).collect()
        };
        let (q, k) = (rotate(0, heads), rotate(heads, kv_heads));
        self.keys.push(k);
        self.values.push(wide(&qkv[(heads + kv_heads) * d..]));
        let seen = self.keys.len().saturating_sub(context)..self.keys.len();
        let mut y = Vec::new();
        for h in 0..heads {
            let kv = h / (heads / kv_heads) * d;
            let dot = |i: usize| (0..d).map(|j| q[h * d + j] * self.keys[i][kv + j]).sum::<f64>() / (d as f64).sqrt();
            let weights: Vec<f64> = seen.clone().map(|i| dot(i).exp()).collect();
            let sum: f64 = weights.iter().sum();
            let mixed = |j: usize| seen.clone().zip(&weights).map(|(i, w)| w * self.values[i][kv + j]).sum::<f64>();
            y.extend((0..d).map(|j| mixed(j) / sum));
        }
        y
    }
}

/// Two rows of which row 1 is active, in chunks of `chunks` positions from `first` on; all outputs of row 1.
fn attend_in_chunks(
    cores: &Cores,
    shape: AttentionShape,
    pairs: Pairs,
    (first, chunks): (u64, &[usize]),
    input: &[f32],
) -> Vec<f32> {
    let width = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
    let mut ring = Ring::new(shape, 2, 3).unwrap();
    let mut rotations = Rotations::new(shape.head_dim, 10_000.0, pairs);
    let (mut out, mut done) = (Vec::new(), 0);
    for &t in chunks {
        let position = first + done as u64;
        let mut qkv = vec![f32::NAN; t * width];
        qkv.extend(&input[done * width..(done + t) * width]);
        let mut y = vec![0.0; 2 * t * shape.heads * shape.head_dim];
        rotations.prepare(std::iter::once(position), t);
        let chunk = Chunk { rows: &[1], positions: &[99, position], first: 0, t };
        attend(cores, &chunk, Some(&rotations), &qkv, &mut ring, &mut y).unwrap();
        out.extend(&y[y.len() / 2..]);
        done += t;
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn attention_follows_its_definition_for_any_chunking(
        seed: u64,
        kv_heads in 1usize..4,
        group in 1usize..4,
        half in 1usize..40,
        context in 1usize..20,
        halves: bool,
        chunks in prop::collection::vec(1usize..4, 1..20),
    ) {
        let shape = AttentionShape { heads: kv_heads * group, kv_heads, head_dim: 2 * half, context };
        let pairs = if halves { Pairs::Halves } else { Pairs::Interleaved };
        let width = (shape.heads + 2 * kv_heads) * shape.head_dim;
        let steps: usize = chunks.iter().sum();
        let input = values(seed, steps * width);
        let y = same_bits(|cores| attend_in_chunks(cores, shape, pairs, (0, &chunks), &input));
        let ones = vec![1; steps];
        prop_assert!(same_bits(|cores| attend_in_chunks(cores, shape, pairs, (0, &ones), &input)) == y);
        let mut plain = Plain { shape, pairs, keys: vec![], values: vec![] };
        let expected: Vec<f64> = input.chunks_exact(width).flat_map(|qkv| plain.step(qkv, 0)).collect();
        for (y, e) in y.iter().zip(&expected) {
            // Scores up to 9 * 9 * sqrt(80), rounded to 2^-24 of that, stand in an exponent.
            prop_assert!((f64::from(*y) - e).abs() < 2e-4, "{y} for {e}");
        }
    }
}

#[test]
fn rotations_stay_exact_after_years() {
    let shape = AttentionShape { heads: 2, kv_heads: 1, head_dim: 32, context: 5 };
    let input = values(7, 12 * 4 * 32);
    let first = 1_000_000_007; // two and a half years of frames
    let y = same_bits(|cores| attend_in_chunks(cores, shape, Pairs::Interleaved, (first, &[3, 3, 3, 3]), &input));
    let mut plain = Plain { shape, pairs: Pairs::Interleaved, keys: vec![], values: vec![] };
    let expected: Vec<f64> = input.chunks_exact(4 * 32).flat_map(|qkv| plain.step(qkv, first)).collect();
    // The first context's worth of queries sees ring memory from before `first` here, and nothing in the definition.
    for (y, e) in y.iter().zip(&expected).skip(4 * 2 * 32) {
        assert!((f64::from(*y) - e).abs() < 2e-4, "{y} for {e}");
    }
}

#[test]
fn a_ring_refuses_chunks_and_rows_that_it_has_no_room_for() {
    let shape = AttentionShape { heads: 1, kv_heads: 1, head_dim: 2, context: 4 };
    let cores = portable();
    let mut ring = Ring::new(shape, 1, 2).unwrap();
    let (qkv, mut y) = (vec![0.0; 60], vec![0.0; 20]);
    let mut run = |rows: &[usize], positions: &[u64], t| {
        attend(&cores, &Chunk { rows, positions, first: 0, t }, None, &qkv, &mut ring, &mut y)
    };
    assert!(run(&[0], &[0], 2).is_ok());
    // Nothing is written over as long as the ring is not full.
    assert!(run(&[0], &[0], 5).is_ok());
    assert!(run(&[0], &[0], 6).is_err());
    assert!(run(&[0], &[3], 2).is_ok());
    assert!(run(&[0], &[3], 3).is_err());
    assert!(run(&[1], &[0, 0], 1).is_err());
    assert!(run(&[0], &[u64::MAX], 1).is_err());
    assert!(Ring::new(AttentionShape { heads: 3, kv_heads: 2, ..shape }, 1, 1).is_err());
    assert!(Ring::new(AttentionShape { head_dim: 0, ..shape }, 1, 1).is_err());
}
