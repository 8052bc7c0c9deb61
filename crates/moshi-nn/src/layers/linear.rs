//! A product with a weight matrix.

use super::Step;
use crate::{At, Backend, Error, HostWeight, Result};

/// `y = x W^T (+ bias)`, in whatever format the checkpoint holds W; an adapter that could not be merged into W is added
/// as a product of its own.
pub struct Linear<B: Backend> {
    weight: B::Matrix,
    low_rank: Option<B::LowRank>,
    inputs: usize,
    outputs: usize,
}

impl<B: Backend> Linear<B> {
    /// From `weight` `[outputs, inputs]` and, when `at` has it, `bias` `[outputs]`.
    ///
    /// # Errors
    /// Those of the source and of the device.
    pub fn load(backend: &B, at: &At<'_>, outputs: usize, inputs: usize) -> Result<Self> {
        let weight = at.matrix("weight", outputs, inputs)?;
        let bias = if at.has("bias") { Some(at.vector("bias", &[outputs])?) } else { None };
        let pair = at.low_rank("weight", outputs, inputs)?;
        let low_rank = pair.map(|pair| backend.low_rank(&[Some(pair)])).transpose()?;
        Ok(Self { low_rank, ..Self::new(backend, &weight, bias.as_deref())? })
    }

    /// From a matrix `[outputs, inputs]` at hand.
    ///
    /// # Errors
    /// Those of the device; a bias of another length than `outputs`.
    pub fn new(backend: &B, weight: &HostWeight<'_>, bias: Option<&[f32]>) -> Result<Self> {
        let (inputs, outputs) = (weight.cols(), weight.rows());
        Ok(Self { weight: backend.matrix(weight, bias)?, low_rank: None, inputs, outputs })
    }

    /// Width of the input.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Width of the output.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Bytes of weights that a step reads.
    pub fn bytes(&self, backend: &B) -> usize {
        backend.matrix_bytes(&self.weight) + self.low_rank.as_ref().map_or(0, |pairs| backend.low_rank_bytes(pairs))
    }

    /// `x [b, t, inputs]` -> `y [b, t, outputs]`.
    ///
    /// # Errors
    /// When a buffer is too short, or the device fails.
    pub fn step(&self, step: Step<'_, B>, x: &B::Buf, y: &mut B::Buf) -> Result<()> {
        let Step { backend, rows, t, adapters, .. } = step;
        backend.linear(rows, t, x, &self.weight, y)?;
        match (&self.low_rank, adapters) {
            (None, _) => Ok(()),
            (Some(pairs), Some(which)) => backend.low_rank_add(rows, t, x, pairs, which, y),
            (Some(_), None) => Err(Error::Config {
                what: "adapters",
                found: "a matrix with low-rank pairs in a step that names none".to_owned(),
                expected: "a step of such a model says which pair each row adds",
            }),
        }
    }
}
