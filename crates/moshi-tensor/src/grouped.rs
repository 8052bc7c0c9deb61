//! Integers in groups along a row, each group with a scale and perhaps a bias of its own.

use std::borrow::Cow;
use std::ops::Range;

use crate::Error;

/// How the integers of a group are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quants {
    /// Signed bytes; the weight is value * scale (GGUF Q8_0).
    I8,
    /// Unsigned bytes; the weight is value * scale + bias (MLX, 8 bits).
    U8,
    /// Unsigned, two in a byte, the first in its lower half; the weight is value * scale + bias (MLX, 4 bits).
    U4,
}

impl Quants {
    /// Bits of one weight.
    pub fn bits(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 8,
            Self::U4 => 4,
        }
    }

    /// Whether a group has a bias beside its scale.
    pub fn has_biases(self) -> bool {
        self != Self::I8
    }
}

/// A matrix of integers in groups of neighbours along its rows.
///
/// The weight is `value * scale + bias` in single precision, product and sum rounded each. With scales of half
/// precision, as the published files have them, the product is exact.
#[derive(Debug, Clone)]
pub struct Grouped<'a> {
    /// How the integers are stored.
    pub quants: Quants,
    /// Weights of a group: a power of two that divides the columns.
    pub group: usize,
    /// The integers, row-major, without gaps.
    pub packed: Cow<'a, [u8]>,
    /// One for each group, row-major `[rows, cols / group]`.
    pub scales: Cow<'a, [f32]>,
    /// As many; none where [`Quants::has_biases`] says so.
    pub biases: Cow<'a, [f32]>,
}

impl Grouped<'_> {
    pub(crate) fn check(&self, rows: usize, cols: usize) -> Result<(), Error> {
        let group = self.group;
        if !group.is_power_of_two() || group < 8 || !cols.is_multiple_of(group) {
            let expected = "a group is a power of two of at least 8 weights, and rows are whole groups";
            return Err(Error::Unsupported { what: "group of quantized weights", found: group, expected });
        }
        // Sizes that no memory holds differ from every length. A group is whole eights of weights.
        let groups = rows.saturating_mul(cols / group);
        let packed = rows.saturating_mul(cols / 8 * self.quants.bits());
        Error::length("packed weights", packed, self.packed.len())?;
        Error::length("scales of a weight matrix", groups, self.scales.len())?;
        let biases = if self.quants.has_biases() { groups } else { 0 };
        Error::length("biases of a weight matrix", biases, self.biases.len())
    }

    /// Bytes of integers, scales and biases.
    pub fn bytes(&self) -> usize {
        self.packed.len() + size_of_val(&*self.scales) + size_of_val(&*self.biases)
    }

    /// Calls `each` with the column and weight of all columns of a row.
    pub fn row(&self, row: usize, cols: usize, mut each: impl FnMut(usize, f32)) {
        let (groups, bits) = (cols / self.group, self.quants.bits());
        for g in 0..groups {
            let scale = self.scales[row * groups + g];
            let bytes = (row * groups + g) * self.group * bits / 8;
            let bytes = &self.packed[bytes..bytes + self.group * bits / 8];
            let first = g * self.group;
            match self.quants {
                Quants::I8 => {
                    bytes.iter().enumerate().for_each(|(i, &b)| each(first + i, f32::from(b as i8) * scale));
                }
                Quants::U8 => {
                    let bias = self.biases[row * groups + g];
                    bytes.iter().enumerate().for_each(|(i, &b)| each(first + i, f32::from(b) * scale + bias));
                }
                Quants::U4 => {
                    let bias = self.biases[row * groups + g];
                    for (i, &b) in bytes.iter().enumerate() {
                        each(first + 2 * i, f32::from(b & 15) * scale + bias);
                        each(first + 2 * i + 1, f32::from(b >> 4) * scale + bias);
                    }
                }
            }
        }
    }

    pub(crate) fn to_f32(&self, rows: usize, cols: usize) -> Vec<f32> {
        let mut values = vec![0.0; rows * cols];
        // Rows without columns may be more than can be gone through.
        for (row, out) in values.chunks_exact_mut(cols.max(1)).enumerate() {
            self.row(row, cols, |i, value| out[i] = value);
        }
        values
    }
}

impl<'a> Grouped<'a> {
    pub(crate) fn slice(&self, rows: Range<usize>, cols: usize) -> Self {
        let (row, groups) = (cols * self.quants.bits() / 8, cols / self.group);
        let scales = rows.start * groups..rows.end * groups;
        let biases = if self.quants.has_biases() { scales.clone() } else { 0..0 };
        Self {
            quants: self.quants,
            group: self.group,
            packed: slice_cow(&self.packed, rows.start * row..rows.end * row),
            scales: slice_cow(&self.scales, scales),
            biases: slice_cow(&self.biases, biases),
        }
    }

    /// The same numbers, owned.
    pub fn owned(&self) -> Grouped<'static> {
        Grouped {
            quants: self.quants,
            group: self.group,
            packed: Cow::Owned(self.packed.to_vec()),
            scales: Cow::Owned(self.scales.to_vec()),
            biases: Cow::Owned(self.biases.to_vec()),
        }
    }
}

/// A part of borrowed or owned values, borrowed where they are.
pub(crate) fn slice_cow<'a, T: Clone>(v: &Cow<'a, [T]>, range: Range<usize>) -> Cow<'a, [T]> {
    match v {
        Cow::Borrowed(s) => Cow::Borrowed(&s[range]),
        Cow::Owned(s) => Cow::Owned(s[range].to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weight::{HostWeight, WeightData};

    #[test]
    fn rows_without_columns_are_nothing_however_many() {
        let nothing = Grouped {
            quants: Quants::I8,
            group: 32,
            packed: Cow::default(),
            scales: Cow::default(),
            biases: Cow::default(),
        };
        let weight = HostWeight::new(1 << 60, 0, WeightData::Grouped(nothing)).unwrap();
        assert_eq!(weight.to_f32().unwrap(), []);
    }

    #[test]
    fn sizes_beyond_counting_are_refused_like_any_other_wrong_size() {
        assert!(HostWeight::from_f32(usize::MAX, 2, vec![0.0; 6]).is_err());
        for (rows, cols) in [(usize::MAX, 32), (3, 1 << 62), (1 << 60, 1 << 60)] {
            for quants in [Quants::I8, Quants::U8, Quants::U4] {
                let biases = if quants.has_biases() { vec![0.0; 4] } else { Vec::new() };
                let grouped = Grouped {
                    quants,
                    group: 32,
                    packed: vec![0; 128].into(),
                    scales: vec![0.0; 4].into(),
                    biases: biases.into(),
                };
                assert!(HostWeight::new(rows, cols, WeightData::Grouped(grouped)).is_err(), "{rows} x {cols}");
            }
        }
    }
}
