//! A product with a weight matrix.

use super::Step;
use crate::{At, Backend, HostWeight, Result};

/// `y = x W^T (+ bias)`, in whatever format the checkpoint holds W.
pub struct Linear<B: Backend> {
    weight: B::Matrix,
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
        Self::new(backend, &weight, bias.as_deref())
    }

    /// From a matrix `[outputs, inputs]` at hand.
    ///
    /// # Errors
    /// Those of the device; a bias of another length than `outputs`.
    pub fn new(backend: &B, weight: &HostWeight<'_>, bias: Option<&[f32]>) -> Result<Self> {
        Ok(Self { weight: backend.matrix(weight, bias)?, inputs: weight.cols(), outputs: weight.rows() })
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
        backend.matrix_bytes(&self.weight)
    }

    /// `x [b, t, inputs]` -> `y [b, t, outputs]`.
    ///
    /// # Errors
    /// When a buffer is too short, or the device fails.
    pub fn step(&self, step: Step<'_, B>, x: &B::Buf, y: &mut B::Buf) -> Result<()> {
        step.backend.linear(step.rows, step.t, x, &self.weight, y)
    }
}
