//! Weight matrices of the processor: as the file holds them, or in fixed point.

use std::cell::RefCell;

use crate::cores::Cores;
use crate::fixed::{self, Activation, Activations, FixedMatrix, Width};
use crate::integer;
use crate::product::{self, Layout, Stride, Taps};
use moshi_tensor::weight::{HostWeight, WeightData};

use super::check;
use moshi_nn::{Precision, Result};

/// A weight matrix with its bias.
#[derive(Debug)]
pub enum Matrix {
    /// As the file holds it.
    Stored(product::Matrix),
    /// Integers of about 14 bits.
    Fixed(FixedMatrix),
    /// The file's own integers; inputs are quantized to bytes.
    Integer(integer::Matrix),
}

thread_local! {
    /// Rounded activations of a linear layer, and their scales.
    static ROUNDED: RefCell<(Vec<i16>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

impl Matrix {
    /// Lays out a matrix over inputs that come in vectors of `channels`.
    pub(super) fn new(
        cores: &Cores,
        precision: Precision,
        weight: &HostWeight<'_>,
        bias: Option<&[f32]>,
        channels: usize,
    ) -> Result<Self> {
        let dense = matches!(weight.data(), WeightData::F32(_) | WeightData::Bf16(_) | WeightData::F16(_));
        let width = match precision {
            Precision::Fixed => Some(Width::Bits16),
            Precision::FixedNarrow => Some(Width::Bits8),
            Precision::Exact | Precision::Fast => None,
        };
        if let Some(width) = width
            && dense
            && fixed::block_of(channels).is_some()
        {
            return Ok(Self::Fixed(FixedMatrix::new(cores, weight, bias, width)?));
        }
        if precision == Precision::Fast
            && let Some(matrix) = integer::Matrix::new(cores, weight, bias)?
        {
            return Ok(Self::Integer(matrix));
        }
        Ok(Self::Stored(product::Matrix::laid_out_by(cores, weight, bias)?))
    }

    /// Bytes that one product reads.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Stored(w) => w.bytes(),
            Self::Fixed(w) => w.bytes(),
            Self::Integer(w) => w.bytes(),
        }
    }

    /// Number of outputs.
    pub fn n(&self) -> usize {
        match self {
            Self::Stored(w) => w.n(),
            Self::Fixed(w) => w.n(),
            Self::Integer(w) => w.n(),
        }
    }

    /// Number of inputs.
    pub fn k(&self) -> usize {
        match self {
            Self::Stored(w) => w.k(),
            Self::Fixed(w) => w.k(),
            Self::Integer(w) => w.k(),
        }
    }

    /// `x [b, t, k]` to `y [b, t, n]`.
    pub(super) fn linear(&self, cores: &Cores, rows: &[usize], t: usize, x: &[f32], y: &mut [f32]) -> Result<()> {
        let w = match self {
            Self::Stored(w) => return Ok(product::product(cores, w, &Layout::linear(rows, t, w), x, y)?),
            Self::Integer(w) => return Ok(integer::product(cores, w, rows, t, x, y)?),
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
