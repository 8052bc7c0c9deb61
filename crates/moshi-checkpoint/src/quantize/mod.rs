//! From floating-point matrices to integers with scales.
//!
//! Scales are rounded to the format's own precision first, then the weights are rounded to multiples of the rounded
//! scale. Where it lowers the squared error, a group's scale is not the one that its largest weight asks for but the
//! best of a few candidates (see [`Search`]); for rows of thousands of weights no candidate was better than the range,
//! so [`Scheme::Int8Rows`] takes the range.
//!
//! ```
//! use std::num::NonZeroUsize;
//! use moshi_checkpoint::quantize::{Scheme, Search, quantize};
//! use moshi_tensor::weight::HostWeight;
//! let weight = HostWeight::from_f32(1, 32, (0..32).map(|i| i as f32 / 31.0).collect())?;
//! let int4 = quantize(&weight, Scheme::Q4_0, Search::Error, NonZeroUsize::MIN)?;
//! let worst = weight.to_f32()?.iter().zip(int4.to_f32()?).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
//! assert!(worst < 0.1);
//! # Ok::<(), moshi_tensor::Error>(())
//! ```

mod affine;
mod arithmetic;
mod plan;
mod search;
mod symmetric;

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::ops::Range;

use half::slice::HalfFloatSliceExt;

use moshi_tensor::weight::{Grouped, HostWeight, Quants, WeightData};

pub use plan::{Part, Plan, Quantize};
pub use search::Search;

/// A number format of integers with scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scheme {
    /// Signed bytes with a single-precision scale for each row: the PyTorch q8 layout.
    Int8Rows,
    /// Signed bytes in groups of 32 with a half-precision scale: GGUF Q8_0.
    Q8_0,
    /// Four bits in groups of 32 with a half-precision scale, zero in the middle: GGUF Q4_0.
    Q4_0,
    /// Bytes in groups of 32 or 64 with a scale and a bias in bfloat16: MLX, 8 bits.
    MlxQ8 {
        /// Weights of a group.
        group: usize,
    },
    /// Four bits in groups of 32 or 64 with a scale and a bias in bfloat16: MLX, 4 bits.
    MlxQ4 {
        /// Weights of a group.
        group: usize,
    },
}

impl Scheme {
    /// Bits of a weight, scales not counted.
    pub fn bits(self) -> usize {
        match self {
            Self::Int8Rows | Self::Q8_0 | Self::MlxQ8 { .. } => 8,
            Self::Q4_0 | Self::MlxQ4 { .. } => 4,
        }
    }

    /// Weights that share a scale; `None` is a whole row.
    pub fn group(self) -> Option<usize> {
        match self {
            Self::Int8Rows => None,
            Self::Q8_0 | Self::Q4_0 => Some(32),
            Self::MlxQ8 { group } | Self::MlxQ4 { group } => Some(group),
        }
    }

    /// Whether rows of `cols` weights can be stored so.
    pub fn fits(self, cols: usize) -> bool {
        self.group().is_none_or(|group| group.is_power_of_two() && group >= 8 && cols.is_multiple_of(group))
    }

    fn quants(self) -> Quants {
        match self {
            Self::Int8Rows | Self::Q8_0 => Quants::I8,
            Self::MlxQ8 { .. } => Quants::U8,
            Self::Q4_0 | Self::MlxQ4 { .. } => Quants::U4,
        }
    }
}

/// Rows that are widened at a time.
const BLOCK: usize = 1 << 15;

/// `weight` as integers. Rows are shared between `threads`.
///
/// # Errors
/// [`moshi_tensor::Error::Unsupported`] for rows that are no whole groups, [`moshi_tensor::Error::Value`] for weights that are infinite
/// or too large for the format's scales.
pub fn quantize(
    weight: &HostWeight<'_>,
    scheme: Scheme,
    search: Search,
    threads: NonZeroUsize,
) -> Result<HostWeight<'static>, moshi_tensor::Error> {
    let (rows, cols) = (weight.rows(), weight.cols());
    if !scheme.fits(cols) {
        let expected = "rows of quantized weights are whole groups of 32 or 64";
        return Err(moshi_tensor::Error::Unsupported { what: "number of columns", found: cols, expected });
    }
    let quants = scheme.quants();
    let groups = scheme.group().map_or(1, |group| cols / group);
    let biases = if quants.has_biases() { groups } else { 0 };
    let mut signed = vec![0i8; if scheme == Scheme::Int8Rows { rows * cols } else { 0 }];
    let mut packed = vec![0u8; if scheme == Scheme::Int8Rows { 0 } else { rows * (cols * quants.bits() / 8) }];
    let integers = if scheme == Scheme::Int8Rows { bytemuck::cast_slice_mut(&mut signed) } else { &mut packed[..] };
    let (mut scales, mut offsets) = (vec![0f32; rows * groups], vec![0f32; rows * biases]);
    let mut out = Out { integers, scales: &mut scales, biases: &mut offsets };
    std::thread::scope(|scope| {
        let part = rows.div_ceil(threads.get()).max(1);
        let mut workers = Vec::new();
        for first in (0..rows).step_by(part) {
            let count = part.min(rows - first);
            let (mine, rest) = out.split(count, cols * quants.bits() / 8, groups, biases);
            out = rest;
            let work = move || rows_of(weight, first..first + count, scheme, search, mine);
            if first + count == rows {
                work();
            } else {
                workers.push(scope.spawn(work));
            }
        }
    });
    if let Some(scale) = scales.iter().chain(&offsets).find(|s| !s.is_finite()) {
        let expected = "finite weights that the format's scales can hold";
        return Err(moshi_tensor::Error::Value {
            what: "scale of quantized weights",
            found: scale.to_string(),
            expected,
        });
    }
    HostWeight::new(
        rows,
        cols,
        match scheme.group() {
            None => WeightData::Int8 { values: Cow::Owned(signed), scales: Cow::Owned(scales) },
            Some(group) => WeightData::Grouped(Grouped {
                quants,
                group,
                packed: Cow::Owned(packed),
                scales: Cow::Owned(scales),
                biases: Cow::Owned(offsets),
            }),
        },
    )
}

/// Where the results of some rows go.
struct Out<'a> {
    integers: &'a mut [u8],
    scales: &'a mut [f32],
    biases: &'a mut [f32],
}

impl<'a> Out<'a> {
    /// The first `rows` rows of so many bytes, scales and biases each, and the rest.
    fn split(self, rows: usize, bytes: usize, scales: usize, biases: usize) -> (Self, Self) {
        let (i, integers) = self.integers.split_at_mut(rows * bytes);
        let (s, scales) = self.scales.split_at_mut(rows * scales);
        let (b, biases) = self.biases.split_at_mut(rows * biases);
        (Self { integers: i, scales: s, biases: b }, Self { integers, scales, biases })
    }
}

fn rows_of(weight: &HostWeight<'_>, rows: Range<usize>, scheme: Scheme, search: Search, out: Out<'_>) {
    let cols = weight.cols();
    let group = scheme.group().unwrap_or(cols).max(1);
    let bytes = group * scheme.quants().bits() / 8;
    let mut integers = out.integers.chunks_exact_mut(bytes.max(1));
    let (mut scales, mut biases) = (out.scales.iter_mut(), out.biases.iter_mut());
    let block = (BLOCK / cols.max(1)).max(1);
    let mut values = Vec::new();
    for first in rows.clone().step_by(block) {
        widen(weight, first..(first + block).min(rows.end), &mut values);
        for x in values.chunks_exact(group) {
            let (Some(integers), Some(scale)) = (integers.next(), scales.next()) else { return };
            match scheme {
                Scheme::Int8Rows => *scale = symmetric::row(x, integers),
                Scheme::Q8_0 => *scale = symmetric::q8(x, search, integers),
                Scheme::Q4_0 => {
                    *scale = symmetric::q4(x, search, integers);
                    if let Some(bias) = biases.next() {
                        *bias = -8.0 * *scale;
                    }
                }
                Scheme::MlxQ8 { .. } | Scheme::MlxQ4 { .. } => {
                    let Some(bias) = biases.next() else { return };
                    (*scale, *bias) = affine::group(x, scheme.bits(), search, integers);
                }
            }
        }
    }
}

/// Some rows as single precision.
pub(crate) fn widen(weight: &HostWeight<'_>, rows: Range<usize>, out: &mut Vec<f32>) {
    let range = rows.start * weight.cols()..rows.end * weight.cols();
    out.clear();
    match weight.data() {
        WeightData::F32(v) => out.extend_from_slice(&v[range]),
        WeightData::Bf16(v) => out.extend(v[range].iter().map(|x| f32::from_bits(u32::from(x.to_bits()) << 16))),
        WeightData::F16(v) => {
            out.resize(range.len(), 0.0);
            v[range].convert_to_f32_slice(out);
        }
        _ => {
            let part = weight.slice_rows(rows.start, rows.len()).and_then(|part| part.to_f32());
            out.extend(part.unwrap_or_default());
        }
    }
}
