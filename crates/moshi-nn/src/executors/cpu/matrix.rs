//! A weight matrix, laid out for exact or for integer products.

use moshi_kernels::cores::Cores;
use moshi_kernels::weight::HostWeight;
use moshi_kernels::{integer, product};

use super::Arithmetic;
use crate::{Error, Result};

/// A weight matrix `[n, k]` with an optional bias.
#[derive(Debug)]
pub struct Matrix(Layout);

#[derive(Debug)]
enum Layout {
    /// Inputs stay in single precision.
    Single(product::Matrix),
    /// Inputs are quantized on the way in.
    Integer(integer::Matrix),
}

impl Matrix {
    pub(super) fn new(
        cores: &Cores,
        arithmetic: Arithmetic,
        weight: &HostWeight<'_>,
        bias: Option<&[f32]>,
    ) -> Result<Self> {
        if arithmetic == Arithmetic::Fast
            && let Some(matrix) = integer::Matrix::new(cores, weight, bias)?
        {
            return Ok(Self(Layout::Integer(matrix)));
        }
        Ok(Self(Layout::Single(product::Matrix::laid_out_by(cores, weight, bias)?)))
    }

    /// Bytes that one product reads.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Layout::Single(w) => w.bytes(),
            Layout::Integer(w) => w.bytes(),
        }
    }

    /// `y [b, t, n] = x [b, t, k] W^T (+ bias)`.
    pub(super) fn linear(&self, cores: &Cores, rows: &[usize], t: usize, x: &[f32], y: &mut [f32]) -> Result<()> {
        match &self.0 {
            Layout::Single(w) => product::product(cores, w, &product::Layout::linear(rows, t, w), x, y)?,
            Layout::Integer(w) => integer::product(cores, w, rows, t, x, y)?,
        }
        Ok(())
    }

    /// The matrix of a convolution, whose inputs are never quantized.
    pub(super) fn single(&self) -> Result<&product::Matrix> {
        match &self.0 {
            Layout::Single(w) => Ok(w),
            Layout::Integer(w) => Err(Error::source(moshi_kernels::KernelError::Unsupported {
                what: "outputs of a convolution with quantized weights",
                found: w.n(),
                expected: "convolutions run on the exact executor, or with weights that are not quantized",
            })),
        }
    }
}
