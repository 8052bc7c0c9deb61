//! Integer products: every instruction set, tile and thread count gives the bits of the definition.

#![allow(clippy::unwrap_used)]

mod machine;

use std::borrow::Cow;
use std::num::NonZeroUsize;

use half::{bf16, f16};
use machine::{all_cores, bits, values};
use moshi_cpu::KernelError;
use moshi_cpu::cores::Cores;
use moshi_cpu::integer::{self, Matrix};
use moshi_tensor::weight::{Grouped, HostWeight, Quants, WeightData};
use proptest::prelude::*;

/// A matrix as the definition sees it.
struct Plain {
    n: usize,
    k: usize,
    /// Inputs that share a scale.
    block: usize,
    /// `[n][k]`.
    integers: Vec<i32>,
    /// Of the group of output and input, or of the output.
    scale: Box<dyn Fn(usize, usize) -> f32>,
    group_bias: Option<Box<dyn Fn(usize, usize) -> f32>>,
    grouped: bool,
}

impl Plain {
    fn of(weight: &HostWeight<'_>) -> Self {
        let (n, k) = (weight.rows(), weight.cols());
        match weight.data() {
            WeightData::Int8 { values, scales } => {
                let scales = scales.to_vec();
                let integers = values.iter().map(|&v| i32::from(v)).collect();
                let scale = Box::new(move |o: usize, _: usize| scales[o]);
                Self { n, k, block: 32, integers, scale, group_bias: None, grouped: false }
            }
            WeightData::Grouped(g) => {
                let (group, groups) = (g.group, k / g.group);
                let mut integers: Vec<i32> = match g.quants {
                    Quants::I8 => g.packed.iter().map(|&b| i32::from(b as i8)).collect(),
                    Quants::U8 => g.packed.iter().map(|&b| i32::from(b)).collect(),
                    _ => g.packed.iter().flat_map(|&b| [i32::from(b & 15), i32::from(b >> 4)]).collect(),
                };
                let (scales, biases) = (g.scales.to_vec(), g.biases.to_vec());
                let symmetric = g.quants == Quants::U4 && scales.iter().zip(&biases).all(|(s, b)| *b == -8.0 * s);
                if symmetric {
                    integers.iter_mut().for_each(|q| *q -= 8);
                }
                let bias = move |o: usize, i: usize| biases[o * groups + i / group];
                let group_bias: Option<Box<dyn Fn(usize, usize) -> f32>> =
                    if symmetric || !g.quants.has_biases() { None } else { Some(Box::new(bias)) };
                let scale = Box::new(move |o: usize, i: usize| scales[o * groups + i / group]);
                Self { n, k, block: group.min(32), integers, scale, group_bias, grouped: true }
            }
            _ => unreachable!("only integers"),
        }
    }

    /// The module's definition, one vector.
    fn product(&self, x: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let blocks: Vec<(f32, Vec<i32>)> = x.chunks(self.block).map(quantized).collect();
        let output = |o: usize| {
            let bias = bias.map_or(0.0, |b| b[o]);
            let mut y = if self.grouped { bias } else { 0.0 };
            for (b, (block_scale, bytes)) in blocks.iter().enumerate() {
                let first = b * self.block;
                let weights = &self.integers[o * self.k + first..];
                let sum = bytes.iter().zip(weights).map(|(x, w)| x * w).sum::<i32>() as f32;
                if !self.grouped {
                    y = sum.mul_add(*block_scale, y);
                    continue;
                }
                y = sum.mul_add((self.scale)(o, first) * block_scale, y);
                if let Some(group_bias) = &self.group_bias {
                    y = group_bias(o, first).mul_add(block_scale * bytes.iter().sum::<i32>() as f32, y);
                }
            }
            if self.grouped { y } else { y.mul_add((self.scale)(o, 0), bias) }
        };
        (0..self.n).map(output).collect()
    }
}

/// A block's scale and bytes.
fn quantized(x: &[f32]) -> (f32, Vec<i32>) {
    let largest = x.iter().fold(0.0f32, |a, x| a.max(x.abs()));
    if largest <= 1e-30 {
        return (0.0, vec![0; x.len()]);
    }
    let inverse = 127.0 / largest;
    (largest / 127.0, x.iter().map(|x| (x * inverse).round_ties_even() as i32).collect())
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Format {
    Rows,
    /// Integers, group, and whether scales need single precision.
    Grouped(Quants, usize, bool),
    /// Four bits around eight.
    Symmetric(usize, bool),
}

fn weight(seed: u64, format: Format, n: usize, k: usize) -> HostWeight<'static> {
    let bytes = |bits: usize| values(seed, n * k * bits / 8).iter().map(|x| (x * 128.0) as i32 as u8).collect();
    let data = match format {
        Format::Rows => WeightData::Int8 {
            values: values(seed, n * k).iter().map(|x| (x * 128.0).round().clamp(-128.0, 127.0) as i8).collect(),
            scales: Cow::Owned(values(seed ^ 1, n)),
        },
        Format::Grouped(quants, group, wide) => {
            let narrow = |x: &f32| match (wide, quants.has_biases()) {
                (true, _) => *x,
                (false, true) => bf16::from_f32(*x).to_f32(),
                (false, false) => f16::from_f32(*x).to_f32(),
            };
            let count = n * k / group;
            let biases = if quants.has_biases() { count } else { 0 };
            WeightData::Grouped(Grouped {
                quants,
                group,
                packed: bytes(quants.bits()),
                scales: values(seed ^ 1, count).iter().map(narrow).collect(),
                biases: values(seed ^ 2, biases).iter().map(narrow).collect(),
            })
        }
        Format::Symmetric(group, wide) => {
            let narrow = |x: f32| if wide { x } else { f16::from_f32(x).to_f32() };
            let scales: Vec<f32> = values(seed ^ 1, n * k / group).into_iter().map(narrow).collect();
            let biases = scales.iter().map(|s| -8.0 * s).collect();
            let scales = Cow::Owned(scales);
            WeightData::Grouped(Grouped { quants: Quants::U4, group, packed: bytes(4), scales, biases })
        }
    };
    HostWeight::new(n, k, data).unwrap()
}

fn formats() -> Vec<Format> {
    let grouped = |q, group| [Format::Grouped(q, group, false), Format::Grouped(q, group, true)];
    let small = [Format::Grouped(Quants::I8, 16, true), Format::Grouped(Quants::U8, 16, true)];
    let symmetric = [32, 64].into_iter().flat_map(|g| [Format::Symmetric(g, false), Format::Symmetric(g, true)]);
    [Quants::I8, Quants::U8, Quants::U4]
        .into_iter()
        .flat_map(|q| [32, 64, 128].into_iter().flat_map(move |group| grouped(q, group)))
        .chain(symmetric)
        .chain(small)
        .chain([Format::Rows])
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn every_instruction_set_gives_the_bits_of_the_definition(
        seed: u64,
        format in prop::sample::select(formats()),
        n in 1usize..150,
        blocks in 1usize..9,
        (rows, t) in (1usize..5, 1usize..8),
        active in 1u32..16,
        with_bias: bool,
    ) {
        let k = match format {
            Format::Rows => blocks * 32 - seed as usize % 32, // rows need not be whole blocks
            Format::Grouped(_, group, _) | Format::Symmetric(group, _) => blocks * group,
        };
        let rows: Vec<usize> = (0..rows).filter(|r| active >> r & 1 == 1).collect();
        let count = rows.last().map_or(0, |r| r + 1);
        let mut x = values(seed ^ 4, count * t * k);
        x.iter_mut().step_by(7).for_each(|x| *x *= 100.0); // a few large channels
        let bias = with_bias.then(|| values(seed ^ 3, n));
        let weight = weight(seed, format, n, k);
        let plain = Plain::of(&weight);
        let mut expected = values(seed ^ 5, count * t * n);
        let untouched = expected.clone();
        for vector in rows.iter().flat_map(|row| (0..t).map(move |i| row * t + i)) {
            let y = plain.product(&x[vector * k..(vector + 1) * k], bias.as_deref());
            expected[vector * n..(vector + 1) * n].copy_from_slice(&y);
        }
        for cores in all_cores() {
            let matrix = Matrix::new(&cores, &weight, bias.as_deref()).unwrap().unwrap();
            let mut y = untouched.clone();
            integer::product(&cores, &matrix, &rows, t, &x, &mut y).unwrap();
            prop_assert!(bits(&y) == bits(&expected), "{cores:?} {format:?} n {n} k {k}");
        }
    }
}

#[test]
fn the_largest_integers_do_not_overflow() {
    let (n, k) = (16, 4096);
    for byte in [0x80u8, 0x7F, 0xFF, 0x00] {
        let data = WeightData::Int8 { values: vec![byte as i8; n * k].into(), scales: vec![1.0; n].into() };
        let rows = HostWeight::new(n, k, data).unwrap();
        let (scales, biases) = (vec![1.0; n * k / 32].into(), vec![0.0; n * k / 32].into());
        let halves = Grouped { quants: Quants::U4, group: 32, packed: vec![byte; n * k / 2].into(), scales, biases };
        let halves = HostWeight::new(n, k, WeightData::Grouped(halves)).unwrap();
        for (weight, sign) in [&rows, &halves].into_iter().flat_map(|w| [(w, 1.0), (w, -1.0)]) {
            let x = vec![127.0 * sign; k];
            let expected = Plain::of(weight).product(&x, None);
            for cores in all_cores() {
                let matrix = Matrix::new(&cores, weight, None).unwrap().unwrap();
                let mut y = vec![0.0; n];
                integer::product(&cores, &matrix, &[0], 1, &x, &mut y).unwrap();
                assert_eq!(y, expected, "{cores:?} {byte:#x} {sign}");
            }
        }
    }
}

#[test]
fn inputs_in_bytes_cost_less_than_one_percent() {
    let (n, k) = (64, 4096);
    let mut x = values(1, k);
    x[100] = 30.0; // as trained models have them
    for format in formats() {
        let weight = weight(2, format, n, k);
        let w = weight.to_f32().unwrap();
        let exact: Vec<f32> = (0..n).map(|o| (0..k).map(|i| x[i] * w[o * k + i]).sum()).collect();
        let cores = Cores::new(NonZeroUsize::MIN);
        let matrix = Matrix::new(&cores, &weight, None).unwrap().unwrap();
        let mut y = vec![0.0; n];
        integer::product(&cores, &matrix, &[0], 1, &x, &mut y).unwrap();
        let error: f32 = y.iter().zip(&exact).map(|(a, b)| (a - b).powi(2)).sum();
        let size: f32 = exact.iter().map(|a| a * a).sum();
        assert!((error / size).sqrt() < 0.01, "{format:?}: {}", (error / size).sqrt());
    }
}

#[test]
fn damage_is_not_hidden() {
    let weight = weight(1, Format::Symmetric(32, false), 5, 64);
    for cores in all_cores() {
        let matrix = Matrix::new(&cores, &weight, None).unwrap().unwrap();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (mut x, mut y) = (vec![1.0; 64], vec![0.0; 5]);
            x[40] = bad;
            integer::product(&cores, &matrix, &[0], 1, &x, &mut y).unwrap();
            assert!(y.iter().all(|y| !y.is_finite()), "{cores:?} {bad} {y:?}");
        }
        let mut y = vec![1.0; 5];
        integer::product(&cores, &matrix, &[0], 1, &[1e-38; 64], &mut y).unwrap();
        assert!(y.iter().all(|y| y.abs() < 1e-30), "{y:?}");
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let cores = Cores::new(NonZeroUsize::MIN);
    let integers = weight(1, Format::Rows, 2, 3);
    let matrix = Matrix::new(&cores, &integers, None).unwrap().unwrap();
    let refused = |rows: &[usize], x: usize, y: usize| {
        integer::product(&cores, &matrix, rows, 1, &vec![1.0; x], &mut vec![0.0; y]).unwrap_err()
    };
    assert_eq!(refused(&[1], 5, 4), KernelError::Length { what: "input of a product", expected: 6, found: 5 });
    assert_eq!(refused(&[1], 6, 3), KernelError::Length { what: "output of a product", expected: 4, found: 3 });
    assert!(matches!(refused(&[1, 1], 20, 20), KernelError::Unsupported { what: "rows", .. }));
    assert!(Matrix::new(&cores, &integers, Some(&[0.0])).is_err());
    let floats = HostWeight::from_f32(2, 3, vec![1.0; 6]).unwrap();
    assert!(Matrix::new(&cores, &floats, None).unwrap().is_none());
    assert!(Matrix::new(&cores, &weight(1, Format::Grouped(Quants::U4, 16, true), 2, 32), None).unwrap().is_none());
}
