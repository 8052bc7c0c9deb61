//! Products: every instruction set, tile and thread count gives the bits of the plain sum.

#![allow(clippy::unwrap_used)]

mod machine;

use std::borrow::Cow;
use std::num::NonZeroUsize;

use half::{bf16, f16};
use machine::{all_cores, bits, values};
use moshi_cpu::KernelError;
use moshi_cpu::cores::Cores;
use moshi_cpu::isa::Isa;
use moshi_cpu::product::{Layout, Matrix, Stride, Taps, product};
use moshi_tensor::weight::{Grouped, HostWeight, Quants, WeightData};
use proptest::prelude::*;

/// The definition: one sum over k in order, starting at the bias.
fn plain(layout: &Layout<'_>, n: usize, w: &[f32], bias: Option<&[f32]>, x: &[f32], y: &mut [f32]) {
    let k = layout.taps.count * layout.taps.len;
    for (&row, column) in layout.rows.iter().flat_map(|row| (0..layout.columns).map(move |c| (row, c))) {
        let from = row * layout.x.row + column * layout.x.column;
        for o in 0..n {
            let mut sum = bias.map_or(0.0, |b| b[o]);
            for i in 0..k {
                let x = x[from + i / layout.taps.len * layout.taps.distance + i % layout.taps.len];
                sum = x.mul_add(w[o * k + i], sum);
            }
            y[row * layout.y.row + column * layout.y.column + o] = sum;
        }
    }
}

/// One weight matrix in all formats but integers, with the values that each holds.
fn formats(n: usize, k: usize, w: &[f32]) -> Vec<(HostWeight<'static>, Vec<f32>)> {
    let b: Vec<bf16> = w.iter().map(|&x| bf16::from_f32(x)).collect();
    let h: Vec<f16> = w.iter().map(|&x| f16::from_f32(x)).collect();
    [WeightData::F32(Cow::Owned(w.to_vec())), WeightData::Bf16(Cow::Owned(b)), WeightData::F16(Cow::Owned(h))]
        .map(|data| {
            let weight = HostWeight::new(n, k, data).unwrap();
            let values = weight.to_f32().unwrap();
            (weight, values)
        })
        .to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_instruction_set_gives_the_bits_of_the_plain_sum(
        seed: u64,
        n in 1usize..150,
        (taps, len, gap) in (1usize..4, 1usize..70, 0usize..9),
        (rows, columns) in (1usize..5, 1usize..30),
        active in 1u32..16,
        with_bias: bool,
    ) {
        let rows: Vec<usize> = (0..rows).filter(|r| active >> r & 1 == 1).collect();
        let count = rows.last().map_or(0, |r| r + 1);
        let taps = Taps { count: taps, len, distance: len + gap };
        let k = taps.count * len;
        let x_column = 1 + seed as usize % (len + 3); // overlapping windows among them
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
        let untouched = values(seed ^ 3, count * layout.y.row);
        for (weight, w) in formats(n, k, &values(seed ^ 2, n * k)) {
            let matrix = Matrix::new(&weight, bias.as_deref()).unwrap();
            let mut expected = untouched.clone();
            plain(&layout, n, &w, bias.as_deref(), &x, &mut expected);
            for cores in all_cores() {
                let mut y = untouched.clone();
                product(&cores, &matrix, &layout, &x, &mut y).unwrap();
                prop_assert!(bits(&y) == bits(&expected), "{cores:?} {layout:?} n {n}");
            }
        }
    }
}

#[test]
fn long_sums_are_cut_for_the_cache_without_changing_a_bit() {
    let (n, k) = (70, 5000);
    let w = values(1, n * k);
    let x = values(2, 40 * k);
    for (weight, w) in formats(n, k, &w) {
        let matrix = Matrix::new(&weight, None).unwrap();
        for t in [1, 2, 7, 40] {
            let layout = Layout::linear(&[0], t, &matrix);
            let mut expected = vec![0.0; t * n];
            plain(&layout, n, &w, None, &x, &mut expected);
            for cores in all_cores() {
                let mut y = vec![0.0; t * n];
                product(&cores, &matrix, &layout, &x, &mut y).unwrap();
                assert_eq!(bits(&y), bits(&expected), "{cores:?} t {t}");
            }
        }
    }
}

/// The definition with integers: their sum from zero, then the scale and the bias in one rounding.
fn plain_int8(layout: &Layout<'_>, (values, scales): (&[i8], &[f32]), bias: Option<&[f32]>, x: &[f32], y: &mut [f32]) {
    let wide: Vec<f32> = values.iter().map(|&v| f32::from(v)).collect();
    plain(layout, scales.len(), &wide, None, x, y);
    for (&row, column) in layout.rows.iter().flat_map(|row| (0..layout.columns).map(move |c| (row, c))) {
        for (o, scale) in scales.iter().enumerate() {
            let y = &mut y[row * layout.y.row + column * layout.y.column + o];
            *y = y.mul_add(*scale, bias.map_or(0.0, |b| b[o]));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn integers_with_scales_give_the_bits_of_the_plain_sum(
        seed: u64,
        n in 1usize..150,
        (taps, len) in (1usize..3, 1usize..2500),
        columns in 1usize..12,
        with_bias: bool,
    ) {
        let k = taps * len;
        let taps = Taps { count: taps, len, distance: len + 3 };
        let layout = Layout {
            rows: &[0, 2],
            columns,
            x: Stride { row: columns * k + 10, column: len },
            y: Stride { row: columns * n, column: n },
            taps,
        };
        let q: Vec<i8> = values(seed, n * k).iter().map(|x| (x * 127.0).round() as i8).collect();
        let (scales, x) = (values(seed ^ 1, n), values(seed ^ 2, 3 * layout.x.row + k));
        let bias = with_bias.then(|| values(seed ^ 3, n));
        let data = WeightData::Int8 { values: Cow::Borrowed(&q), scales: Cow::Borrowed(&scales) };
        let matrix = Matrix::new(&HostWeight::new(n, k, data).unwrap(), bias.as_deref()).unwrap();
        let mut expected = vec![0.5; 3 * columns * n];
        plain_int8(&layout, (&q, &scales), bias.as_deref(), &x, &mut expected);
        for cores in all_cores().into_iter().filter(|c| c.isa() != Isa::Portable || n * k < 20_000) {
            let mut y = vec![0.5; 3 * columns * n];
            product(&cores, &matrix, &layout, &x, &mut y).unwrap();
            prop_assert!(bits(&y) == bits(&expected), "{cores:?} {layout:?} n {n}");
        }
    }
}

#[test]
fn integers_need_a_scale_for_each_row() {
    let data = |scales| WeightData::Int8 { values: Cow::Owned(vec![1, 2, 3, 4, 5, 6]), scales: Cow::Owned(scales) };
    assert!(HostWeight::new(2, 3, data(vec![1.0])).is_err());
    let weight = HostWeight::new(2, 3, data(vec![0.5, 2.0])).unwrap();
    assert_eq!(weight.to_f32().unwrap(), [0.5, 1.0, 1.5, 8.0, 10.0, 12.0]);
    assert_eq!(weight.slice_rows(1, 1).unwrap().to_f32().unwrap(), [8.0, 10.0, 12.0]);
}

#[test]
fn a_matrix_without_inputs_gives_its_bias() {
    let weight = HostWeight::from_f32(3, 0, vec![]).unwrap();
    let matrix = Matrix::new(&weight, Some(&[1.0, 2.0, 3.0])).unwrap();
    let mut y = [0.0; 3];
    product(&Cores::new(NonZeroUsize::MIN), &matrix, &Layout::linear(&[0], 1, &matrix), &[], &mut y).unwrap();
    assert_eq!(y, [1.0, 2.0, 3.0]);
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let cores = Cores::new(NonZeroUsize::MIN);
    let weight = HostWeight::from_f32(2, 3, vec![1.0; 6]).unwrap();
    let matrix = Matrix::new(&weight, None).unwrap();
    let good = Layout::linear(&[1], 1, &matrix);
    let refused = |layout: &Layout<'_>, x: usize, y: usize| {
        product(&cores, &matrix, layout, &vec![1.0; x], &mut vec![0.0; y]).unwrap_err()
    };
    assert_eq!(refused(&good, 5, 4), KernelError::Length { what: "input of a product", expected: 6, found: 5 });
    assert_eq!(refused(&good, 6, 3), KernelError::Length { what: "output of a product", expected: 4, found: 3 });
    let short = Layout { taps: Taps { count: 1, len: 2, distance: 0 }, ..good };
    assert_eq!(refused(&short, 6, 4), KernelError::Length { what: "inputs of a product", expected: 3, found: 2 });
    let huge = Layout { x: Stride { row: usize::MAX, column: usize::MAX }, ..good };
    assert!(matches!(refused(&huge, 6, 4), KernelError::Length { .. }));
    let overlapping = Layout { columns: 2, y: Stride { row: 4, column: 1 }, ..good };
    assert!(matches!(refused(&overlapping, 20, 20), KernelError::Unsupported { what: "output stride", .. }));
    let unordered = Layout { rows: &[1, 1], ..good };
    assert!(matches!(refused(&unordered, 20, 20), KernelError::Unsupported { what: "rows", .. }));
    assert!(Matrix::new(&weight, Some(&[0.0])).is_err());
}

/// Random integers in groups with scales and biases of half precision, as the files have them.
fn grouped(seed: u64, quants: Quants, group: usize, n: usize, k: usize) -> HostWeight<'static> {
    let packed = values(seed, n * k * quants.bits() / 8).iter().map(|x| (x * 128.0) as i32 as u8).collect();
    let half = |seed, count| values(seed, count).iter().map(|&x| bf16::from_f32(x).to_f32()).collect::<Vec<_>>();
    let groups = n * k / group;
    let biases = half(seed ^ 7, if quants.has_biases() { groups } else { 0 });
    let scales = Cow::Owned(half(seed ^ 5, groups));
    let data = Grouped { quants, group, packed: Cow::Owned(packed), scales, biases: Cow::Owned(biases) };
    HostWeight::new(n, k, WeightData::Grouped(data)).unwrap()
}

const QUANTS: [Quants; 3] = [Quants::I8, Quants::U8, Quants::U4];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn grouped_integers_give_the_bits_of_their_widened_matrix(
        seed: u64,
        quants in prop::sample::select(QUANTS.to_vec()),
        group in prop::sample::select(vec![8usize, 32, 64]),
        n in 1usize..150,
        (taps, len) in (1usize..3, 1usize..9),
        columns in 1usize..12,
        with_bias: bool,
    ) {
        // Runs that begin and end inside of groups where there are two of them.
        let len = if taps == 1 { len * group } else { len * group / 2 };
        let (taps, k) = if taps * len % group == 0 { (taps, taps * len) } else { (taps * 2, taps * 2 * len) };
        let taps = Taps { count: taps, len, distance: len + 3 };
        let (x, y) = (Stride { row: columns * k + 10, column: len }, Stride { row: columns * n, column: n });
        let layout = Layout { rows: &[0, 2], columns, x, y, taps };
        let x = values(seed ^ 2, 3 * layout.x.row + taps.count * taps.distance);
        let bias = with_bias.then(|| values(seed ^ 3, n));
        let weight = grouped(seed, quants, group, n, k);
        let mut expected = vec![0.5; 3 * columns * n];
        plain(&layout, n, &weight.to_f32().unwrap(), bias.as_deref(), &x, &mut expected);
        let matrix = Matrix::new(&weight, bias.as_deref()).unwrap();
        for cores in all_cores() {
            let mut y = vec![0.5; 3 * columns * n];
            product(&cores, &matrix, &layout, &x, &mut y).unwrap();
            prop_assert!(bits(&y) == bits(&expected), "{cores:?} {layout:?} n {n} {quants:?} {group}");
        }
    }
}

#[test]
fn long_grouped_sums_are_cut_for_the_cache_without_changing_a_bit() {
    let (n, k) = (70, 5024);
    let x = values(2, 40 * k);
    for (weight, t) in QUANTS.into_iter().flat_map(|q| [1, 7, 40].map(|t| (grouped(3, q, 32, n, k), t))) {
        let matrix = Matrix::new(&weight, None).unwrap();
        let layout = Layout::linear(&[0], t, &matrix);
        let mut expected = vec![0.0; t * n];
        plain(&layout, n, &weight.to_f32().unwrap(), None, &x, &mut expected);
        for cores in all_cores() {
            let mut y = vec![0.0; t * n];
            product(&cores, &matrix, &layout, &x, &mut y).unwrap();
            assert_eq!(bits(&y), bits(&expected), "{cores:?} t {t}");
        }
    }
}
