//! Fixed-point products: every instruction set, tile and thread count gives the same bits, near the exact product.

#![allow(clippy::unwrap_used)]

mod machine;

use machine::{all_cores, bits, cores, portable, values};
use moshi_cpu::KernelError;
use moshi_cpu::cores::Cores;
use moshi_cpu::fixed::{Activation, Activations, FixedMatrix, Width, block_of, product, quantize};
use moshi_cpu::isa::Isa;
use moshi_cpu::product::{Layout, Stride, Taps};
use moshi_tensor::weight::HostWeight;
use proptest::prelude::*;

fn rounded(cores: &Cores, x: &[f32], block: usize, activation: Activation) -> (Vec<i16>, Vec<f32>) {
    let (mut integers, mut scales) = (vec![0; x.len()], vec![0.0; x.len() / block]);
    quantize(cores, x, block, activation, &mut integers, &mut scales).unwrap();
    (integers, scales)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_instruction_set_gives_the_same_bits_near_the_exact_product(
        seed: u64,
        n in 1usize..150,
        (taps, blocks, gap) in (1usize..4, 1usize..6, 0usize..3),
        block in prop::sample::select(vec![16usize, 32]),
        (rows, columns) in (1usize..5, 1usize..30),
        active in 1u32..16,
        narrow: bool,
        with_bias: bool,
    ) {
        let rows: Vec<usize> = (0..rows).filter(|r| active >> r & 1 == 1).collect();
        let count = rows.last().map_or(0, |r| r + 1);
        let taps = Taps { count: taps, len: blocks * block, distance: (blocks + gap) * block };
        let k = taps.count * taps.len;
        let x_column = block * (1 + seed as usize % blocks); // overlapping windows among them
        let x_row = columns * x_column + taps.count * taps.distance;
        let layout = Layout {
            rows: &rows,
            columns,
            x: Stride { row: x_row, column: x_column },
            y: Stride { row: columns * (n + 2) + 1, column: n + 2 },
            taps,
        };
        let x = values(seed, count * x_row);
        let bias = with_bias.then(|| values(seed ^ 1, n));
        let weight = HostWeight::from_f32(n, k, values(seed ^ 2, n * k)).unwrap();
        let w = FixedMatrix::new(&cores(Isa::Portable, 3), &weight, bias.as_deref(), if narrow { Width::Bits8 } else { Width::Bits16 }).unwrap();
        let untouched = values(seed ^ 3, count * layout.y.row);
        let mut twin = None;
        for cores in all_cores() {
            let (integers, scales) = rounded(&cores, &x, block, Activation::None);
            let mut y = untouched.clone();
            let x = Activations { values: &integers, scales: &scales, block };
            product(&cores, &w, &layout, x, &mut y).unwrap();
            let twin = twin.get_or_insert_with(|| y.clone());
            prop_assert!(bits(&y) == bits(twin), "{cores:?} {layout:?} n {n}");
        }
        let (y, mut expected) = (twin.unwrap(), untouched);
        let (integers, scales) = rounded(&portable(), &x, block, Activation::None);
        let x: Vec<f64> = integers.iter().enumerate().map(|(i, &q)| f64::from(q) * f64::from(scales[i / block])).collect();
        for (&row, column) in rows.iter().flat_map(|row| (0..columns).map(move |c| (row, c))) {
            let from = row * x_row + column * x_column;
            for o in 0..n {
                let term = |i: usize| x[from + i / taps.len * taps.distance + i % taps.len] * f64::from(w.value(o, i).unwrap());
                let bias = bias.as_ref().map_or(0.0, |b| f64::from(b[o]));
                let sum = (0..k).map(term).sum::<f64>() + bias;
                let at = row * layout.y.row + column * layout.y.column + o;
                // A few roundings for each of at most 15 blocks of sums below 64, and w.value's own.
                prop_assert!((f64::from(y[at]) - sum).abs() < 1e-5 * (k as f64).max(8.0), "{} for {sum}", y[at]);
                expected[at] = y[at];
            }
        }
        prop_assert!(bits(&y) == bits(&expected), "something else was written");
    }

    #[test]
    fn activations_are_rounded_alike_everywhere(seed: u64, count in 1usize..40, block in prop::sample::select(vec![16usize, 32])) {
        let x: Vec<f32> = values(seed, count * block).iter().map(|x| x * x * x * 8.0).collect();
        for activation in [Activation::None, Activation::Elu] {
            let twin = rounded(&portable(), &x, block, activation);
            for cores in all_cores() {
                let found = rounded(&cores, &x, block, activation);
                prop_assert!(found.0 == twin.0 && bits(&found.1) == bits(&twin.1), "{cores:?}");
            }
            for (i, &x) in x.iter().enumerate() {
                let expected = if activation == Activation::Elu && x < 0.0 { x.exp_m1() } else { x };
                let scale = twin.1[i / block];
                let error = (f32::from(twin.0[i]) * scale - expected).abs();
                prop_assert!(error <= 0.51 * scale + 1e-6, "{expected} is off by {error}");
            }
        }
    }
}

#[test]
fn long_sums_are_cut_for_the_cache_without_changing_a_bit() {
    let (n, k) = (70, 4992);
    let w = FixedMatrix::new(&portable(), &HostWeight::from_f32(n, k, values(1, n * k)).unwrap(), None, Width::Bits16)
        .unwrap();
    let x = values(2, 40 * k);
    let rows: Vec<usize> = (0..40).collect();
    let (integers, scales) = rounded(&portable(), &x, 32, Activation::None);
    let run = |cores: &Cores, rows: &[usize]| {
        let mut y = vec![0.0; 40 * n];
        let layout = Layout {
            rows,
            columns: 1,
            x: Stride { row: k, column: k },
            y: Stride { row: n, column: n },
            taps: Taps { count: 1, len: k, distance: 0 },
        };
        product(cores, &w, &layout, Activations { values: &integers, scales: &scales, block: 32 }, &mut y).unwrap();
        bits(&y)
    };
    let alone: Vec<u32> = rows.iter().flat_map(|&r| run(&portable(), &[r])[r * n..(r + 1) * n].to_vec()).collect();
    for cores in all_cores() {
        assert!(run(&cores, &rows) == alone, "{cores:?}");
    }
}

#[test]
fn the_largest_integers_do_not_overflow() {
    for sign in [1.0, -1.0] {
        let w =
            FixedMatrix::new(&portable(), &HostWeight::from_f32(1, 64, vec![sign; 64]).unwrap(), None, Width::Bits16)
                .unwrap();
        let layout = Layout {
            rows: &[0],
            columns: 1,
            x: Stride { row: 64, column: 64 },
            y: Stride { row: 1, column: 1 },
            taps: Taps { count: 1, len: 64, distance: 0 },
        };
        for cores in all_cores() {
            let (integers, scales) = rounded(&cores, &[1.0; 64], 32, Activation::None);
            let mut y = [0.0];
            product(&cores, &w, &layout, Activations { values: &integers, scales: &scales, block: 32 }, &mut y)
                .unwrap();
            assert!((y[0] - 64.0 * sign).abs() < 0.02, "{}", y[0]);
        }
    }
}

#[test]
fn what_cannot_be_rounded_is_named() {
    let nan = HostWeight::from_f32(1, 16, vec![f32::NAN; 16]).unwrap();
    let error = FixedMatrix::new(&portable(), &nan, None, Width::Bits16).unwrap_err();
    assert!(matches!(error, KernelError::Value { .. }), "{error}");
    let odd = HostWeight::from_f32(1, 7, vec![0.0; 7]).unwrap();
    assert!(FixedMatrix::new(&portable(), &odd, None, Width::Bits16).is_err());
    assert_eq!([1, 16, 48, 96, 512].map(block_of), [None, Some(16), Some(16), Some(32), Some(32)]);
    let w = FixedMatrix::new(&portable(), &HostWeight::from_f32(1, 32, vec![0.0; 32]).unwrap(), None, Width::Bits8)
        .unwrap();
    let layout = Layout {
        rows: &[0],
        columns: 1,
        x: Stride { row: 32, column: 24 },
        y: Stride { row: 1, column: 1 },
        taps: Taps { count: 1, len: 32, distance: 0 },
    };
    let x = Activations { values: &[0; 32], scales: &[0.0; 2], block: 16 };
    assert!(product(&portable(), &w, &layout, x, &mut [0.0]).is_err(), "24 cuts a block");
}
