//! Weights on the host, in the number formats that checkpoint files hold.
//!
//! A [`HostWeight`] is a matrix as a file stores it: borrowed from a memory map where possible, owned where it had to
//! be converted. Executors lay it out for their own kernels once, at load.
//!
//! ```
//! use moshi_tensor::weight::{HostWeight, WeightData};
//! let w = HostWeight::from_f32(2, 3, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
//! assert_eq!(w.to_f32()?, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
//! # Ok::<(), moshi_tensor::Error>(())
//! ```

use std::borrow::Cow;

use half::{bf16, f16};

use crate::Error;
use crate::grouped::slice_cow;
pub use crate::grouped::{Grouped, Quants};

/// The numbers of a matrix, in one of the formats that checkpoints use.
#[derive(Debug, Clone)]
pub enum WeightData<'a> {
    /// IEEE single precision.
    F32(Cow<'a, [f32]>),
    /// bfloat16, the upper half of a single.
    Bf16(Cow<'a, [bf16]>),
    /// IEEE half precision.
    F16(Cow<'a, [f16]>),
    /// Eight-bit integers with a scale for each row: the weight is value * scale (the PyTorch q8 layout, where the
    /// scale is `scb / 127`).
    Int8 {
        /// The integers, row-major.
        values: Cow<'a, [i8]>,
        /// One for each row.
        scales: Cow<'a, [f32]>,
    },
    /// Integers of eight or four bits in groups along a row (MLX, GGUF Q8_0).
    Grouped(Grouped<'a>),
}

/// A matrix `[rows, cols]`, row-major, as a file holds it.
#[derive(Debug, Clone)]
pub struct HostWeight<'a> {
    rows: usize,
    cols: usize,
    data: WeightData<'a>,
}

impl<'a> HostWeight<'a> {
    /// Wraps `data` as a matrix of `rows` x `cols`.
    ///
    /// # Errors
    /// [`Error::Length`] when the number of values is not `rows * cols`, or that of scales and biases not what
    /// the format needs; [`Error::Unsupported`] for groups of a size that does not fit.
    pub fn new(rows: usize, cols: usize, data: WeightData<'a>) -> Result<Self, Error> {
        // A size that no memory holds differs from every length.
        let expected = rows.saturating_mul(cols);
        let found = match &data {
            WeightData::F32(v) => v.len(),
            WeightData::Bf16(v) => v.len(),
            WeightData::F16(v) => v.len(),
            WeightData::Int8 { values, scales } => {
                Error::length("scales of a weight matrix", rows, scales.len())?;
                values.len()
            }
            WeightData::Grouped(g) => {
                g.check(rows, cols)?;
                expected
            }
        };
        if found != expected {
            return Err(Error::Length { what: "weight matrix", expected, found });
        }
        Ok(Self { rows, cols, data })
    }

    /// An owned single-precision matrix.
    ///
    /// # Errors
    /// [`Error::Length`] when `values` does not hold `rows * cols` numbers.
    pub fn from_f32(rows: usize, cols: usize, values: Vec<f32>) -> Result<Self, Error> {
        Self::new(rows, cols, WeightData::F32(Cow::Owned(values)))
    }

    /// Number of rows: the outputs of a linear layer, the entries of an embedding.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns: the inputs of a linear layer, the width of an embedding.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The stored numbers.
    pub fn data(&self) -> &WeightData<'a> {
        &self.data
    }

    /// Bytes that the stored numbers take, scales and biases among them.
    pub fn bytes(&self) -> usize {
        match &self.data {
            WeightData::F32(v) => size_of_val(&**v),
            WeightData::Bf16(v) => size_of_val(&**v),
            WeightData::F16(v) => size_of_val(&**v),
            WeightData::Int8 { values, scales } => values.len() + size_of_val(&**scales),
            WeightData::Grouped(g) => g.bytes(),
        }
    }

    /// All values as single precision, row-major. Exact for every format that is not quantized; integers with a scale
    /// for each row are rounded once, groups as [`Grouped`] says.
    ///
    /// # Errors
    /// None for the present formats, whose sizes are checked when they are wrapped.
    pub fn to_f32(&self) -> Result<Vec<f32>, Error> {
        Ok(match &self.data {
            WeightData::F32(v) => v.to_vec(),
            WeightData::Bf16(v) => v.iter().map(|x| x.to_f32()).collect(),
            WeightData::F16(v) => v.iter().map(|x| x.to_f32()).collect(),
            WeightData::Int8 { values, scales } => {
                let scales = scales.iter().flat_map(|&scale| std::iter::repeat_n(scale, self.cols));
                values.iter().zip(scales).map(|(&value, scale)| f32::from(value) * scale).collect()
            }
            WeightData::Grouped(g) => g.to_f32(self.rows, self.cols),
        })
    }

    /// Rows `first..first + count` as a matrix of their own, still borrowed where this one is.
    ///
    /// # Errors
    /// [`Error::Length`] when the rows reach past the end.
    pub fn slice_rows(&self, first: usize, count: usize) -> Result<HostWeight<'a>, Error> {
        let end = first + count;
        if end > self.rows {
            return Err(Error::Length { what: "rows of a weight slice", expected: self.rows, found: end });
        }
        let range = first * self.cols..end * self.cols;
        let data = match &self.data {
            WeightData::F32(v) => WeightData::F32(slice_cow(v, range)),
            WeightData::Bf16(v) => WeightData::Bf16(slice_cow(v, range)),
            WeightData::F16(v) => WeightData::F16(slice_cow(v, range)),
            WeightData::Int8 { values, scales } => {
                WeightData::Int8 { values: slice_cow(values, range), scales: slice_cow(scales, first..end) }
            }
            WeightData::Grouped(g) => WeightData::Grouped(g.slice(first..end, self.cols)),
        };
        Ok(HostWeight { rows: count, cols: self.cols, data })
    }
}
