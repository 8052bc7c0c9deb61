//! Weight matrices of the processor: as the file holds them, or in fixed point.

use std::cell::RefCell;

use moshi_kernels::cores::Cores;
use moshi_kernels::fixed::{self, Activation, Activations, FixedMatrix, Width};
use moshi_kernels::product::{self, Layout, Stride, Taps};
use moshi_kernels::weight::{HostWeight, WeightData};

use super::check;
use crate::Result;

/// In which numbers products are computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Numbers {
    /// Weights in the format that the file holds, products in single precision.
    #[default]
    Stored,
    /// Weights and activations as integers of about 14 bits with scales (see [`moshi_kernels::fixed`]): twice as fast
    /// where multiplying is the limit, and half the bytes of single precision where memory is. Weights that the file
    /// holds quantized, and shapes that do not divide into blocks of 16, stay as they are.
    Fixed,
    /// As [`Numbers::Fixed`], with weights of linear layers in 8 bits: what is only heard does not need more.
    FixedNarrow,
}

/// A weight matrix with its bias.
#[derive(Debug)]
pub enum Matrix {
    /// As the file holds it.
    Stored(product::Matrix),
    /// Integers.
    Fixed(FixedMatrix),
}

thread_local! {
    /// Rounded activations of a linear layer, and their scales.
    static ROUNDED: RefCell<(Vec<i16>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

impl Matrix {
    /// Lays out a matrix over inputs that come in vectors of `channels`.
    pub(super) fn new(
        numbers: Numbers,
        weight: &HostWeight<'_>,
        bias: Option<&[f32]>,
        channels: usize,
    ) -> Result<Self> {
        let dense = matches!(weight.data(), WeightData::F32(_) | WeightData::Bf16(_) | WeightData::F16(_));
        if numbers != Numbers::Stored && dense && fixed::block_of(channels).is_some() {
            let width = if numbers == Numbers::FixedNarrow { Width::Bits8 } else { Width::Bits16 };
            return Ok(Self::Fixed(FixedMatrix::new(weight, bias, width)?));
        }
        Ok(Self::Stored(product::Matrix::new(weight, bias)?))
    }

    /// Number of outputs.
    pub fn n(&self) -> usize {
        match self {
            Self::Stored(w) => w.n(),
            Self::Fixed(w) => w.n(),
        }
    }

    /// Number of inputs.
    pub fn k(&self) -> usize {
        match self {
            Self::Stored(w) => w.k(),
            Self::Fixed(w) => w.k(),
        }
    }

    /// `x [b, t, k]` to `y [b, t, n]`.
    pub(super) fn linear(&self, cores: &Cores, rows: &[usize], t: usize, x: &[f32], y: &mut [f32]) -> Result<()> {
        let w = match self {
            Self::Stored(w) => return Ok(product::product(cores, w, &Layout::linear(rows, t, w), x, y)?),
            Self::Fixed(w) => w,
        };
        let (n, k) = (w.n(), w.k());
        let Some(block) = fixed::block_of(k) else { return Ok(()) }; // `new` has seen that there is one, unless k is 0
        let count = rows.last().map_or(0, |row| row + 1) * t * k;
        check("input of a product", count, x.len())?;
        ROUNDED.with_borrow_mut(|(values, scales)| {
            if values.len() < count {
                values.resize(count, 0);
                scales.resize(count / fixed::BLOCK * 4 + 4, 0.0);
            }
            for &row in rows {
                let range = row * t * k..(row + 1) * t * k;
                let blocks = range.start / block..range.end / block;
                let rounded = (&mut values[range.clone()], &mut scales[blocks]);
                fixed::quantize(cores, &x[range], block, Activation::None, rounded.0, rounded.1)?;
            }
            let layout = Layout {
                rows,
                columns: t,
                x: Stride { row: t * k, column: k },
                y: Stride { row: t * n, column: n },
                taps: Taps { count: 1, len: k, distance: 0 },
            };
            Ok(fixed::product(cores, w, &layout, Activations { values, scales, block }, y)?)
        })
    }
}
