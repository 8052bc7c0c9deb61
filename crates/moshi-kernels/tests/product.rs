//! Products: every instruction set, tile and thread count gives the bits of the plain sum.

#![allow(clippy::unwrap_used)]

use std::borrow::Cow;
use std::num::NonZeroUsize;

use half::{bf16, f16};
use moshi_kernels::KernelError;
use moshi_kernels::cores::Cores;
use moshi_kernels::isa::Isa;
use moshi_kernels::product::{Layout, Matrix, Stride, Taps, product};
use moshi_kernels::weight::{HostWeight, WeightData};
use proptest::prelude::*;

/// Values in -1..1 from a counter: the same on every machine.
fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Every instruction set of this machine, on one thread and on three.
fn all_cores() -> Vec<Cores> {
    let threads = [NonZeroUsize::MIN, NonZeroUsize::new(3).unwrap()];
    Isa::available().flat_map(|isa| threads.map(|t| Cores::with_isa(isa, t).unwrap())).collect()
}

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

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// One weight matrix in the three formats, with the values that each holds.
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
