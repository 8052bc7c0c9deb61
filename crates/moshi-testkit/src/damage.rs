//! Checkpoints with a damaged line: what a flipped bit or a bad conversion leaves, met by whoever reads that line.

use std::path::Path;

use half::{bf16, f16};
use moshi_nn::{HostWeight, LowRankPair, Result, WeightSource};
use safetensors::{Dtype, SafeTensors};

use crate::tensors::TensorError;

/// A source of weights in which one line of one matrix holds one value throughout.
pub struct DamagedLine<S> {
    /// Everything else.
    pub inner: S,
    /// Which matrix.
    pub matrix: String,
    /// Which line of it.
    pub line: usize,
    /// What stands there.
    pub value: f32,
}

impl<S: WeightSource> WeightSource for DamagedLine<S> {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.inner.shape(name)
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<HostWeight<'_>> {
        let weight = self.inner.matrix(name, rows, cols)?;
        if name != self.matrix {
            return Ok(weight);
        }
        let mut values = weight.to_f32()?;
        values.iter_mut().skip(self.line * cols).take(cols).for_each(|x| *x = self.value);
        Ok(HostWeight::from_f32(rows, cols, values)?)
    }

    fn vector(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.inner.vector(name, shape)
    }

    fn has(&self, name: &str) -> bool {
        self.inner.has(name)
    }

    fn low_rank(&self, name: &str, rows: usize, cols: usize) -> Result<Option<LowRankPair<'_>>> {
        self.inner.low_rank(name, rows, cols)
    }
}

/// Writes `value` into every place of line `line` of a matrix in a safetensors file.
///
/// # Errors
/// When the file cannot be read or written, or has no such matrix of floats.
pub fn damage_file(file: &Path, matrix: &str, line: usize, value: f32) -> Result<(), TensorError> {
    let fail = |reason: String| TensorError::File { path: file.to_owned(), reason };
    let mut bytes = std::fs::read(file).map_err(|e| fail(e.to_string()))?;
    let (start, len, word) = {
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| fail(e.to_string()))?;
        let view = tensors.tensor(matrix).map_err(|e| fail(e.to_string()))?;
        let word = match view.dtype() {
            Dtype::F32 => value.to_le_bytes().to_vec(),
            Dtype::BF16 => bf16::from_f32(value).to_le_bytes().to_vec(),
            Dtype::F16 => f16::from_f32(value).to_le_bytes().to_vec(),
            found => return Err(TensorError::Format { path: file.to_owned(), name: matrix.to_owned(), found }),
        };
        let len = view.data().len() / view.shape().first().copied().unwrap_or(1).max(1);
        (view.data().as_ptr() as usize - bytes.as_ptr() as usize + line * len, len, word)
    };
    bytes[start..start + len].copy_from_slice(&word.repeat(len / word.len()));
    std::fs::write(file, bytes).map_err(|e| fail(e.to_string()))
}
