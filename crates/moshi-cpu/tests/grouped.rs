//! Integers in groups: what they stand for, in a matrix and in a table.

#![allow(clippy::unwrap_used)]

use std::borrow::Cow;
use std::num::NonZeroUsize;

use moshi_cpu::cores::Cores;
use moshi_cpu::embedding::Embedding;
use moshi_tensor::weight::{Grouped, HostWeight, Quants, WeightData};

#[test]
fn grouped_integers_are_widened_as_defined_and_cut_by_rows() {
    let packed: Vec<u8> = (0..8).map(|i| i | (15 - i) << 4).collect();
    let data = |scales: &[f32]| Grouped {
        quants: Quants::U4,
        group: 8,
        packed: Cow::Owned(packed.clone()),
        scales: Cow::Owned(scales.to_vec()),
        biases: Cow::Owned(vec![-1.0; scales.len()]),
    };
    let weight = HostWeight::new(2, 8, WeightData::Grouped(data(&[0.5, 2.0]))).unwrap();
    let expected = [-1.0, 6.5, -0.5, 6.0, 0.0, 5.5, 0.5, 5.0, 7.0, 21.0, 9.0, 19.0, 11.0, 17.0, 13.0, 15.0];
    assert_eq!(weight.to_f32().unwrap(), expected);
    assert_eq!(weight.slice_rows(1, 1).unwrap().to_f32().unwrap(), expected[8..]);
    assert_eq!(weight.bytes(), 8 + 4 * 4);
    for (rows, cols, scales) in
        [(2, 8, &[1.0][..]), (1, 8, &[1.0, 1.0]), (2, 12, &[1.0, 1.0]), (1, 16, &[1.0, 1.0, 1.0])]
    {
        assert!(HostWeight::new(rows, cols, WeightData::Grouped(data(scales))).is_err(), "{rows} {cols} {scales:?}");
    }
}

#[test]
fn a_table_of_grouped_integers_adds_its_widened_entry() {
    let (v, d) = (5, 64);
    let packed = (0..v * d / 2).map(|i| (i * 37 % 256) as u8).collect();
    let some = |count: usize, step: f32| (0..count).map(|i| i as f32 * step - 1.0).collect::<Vec<_>>();
    let (scales, biases) = (some(v * d / 32, 0.125).into(), some(v * d / 32, 0.5).into());
    let data = Grouped { quants: Quants::U4, group: 32, packed: Cow::Owned(packed), scales, biases };
    let weight = HostWeight::new(v, d, WeightData::Grouped(data)).unwrap();
    let (table, before, w) = (Embedding::new(&weight).unwrap(), some(d, 0.01), weight.to_f32().unwrap());
    let cores = Cores::new(NonZeroUsize::MIN);
    for id in 0..v {
        let mut y = before.clone();
        table.add(&cores, id, &mut y).unwrap();
        assert!((0..d).all(|j| y[j] == before[j] + w[id * d + j]), "{id}");
    }
}
