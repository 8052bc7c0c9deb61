//! A product with a weight matrix.

use std::sync::Arc;

use super::Step;
use crate::backend::{MatrixSpec, Precision};
use crate::{At, Backend, HostWeight, Result};

/// `y = x W^T (+ bias)`, in whatever format the checkpoint holds W; adapters that are not merged into W are added
/// as products of their own, to each row its own.
pub struct Linear<B: Backend> {
    weight: Arc<B::Matrix>,
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
        let bias = || if at.has("bias") { at.vector("bias", &[outputs]).map(Some) } else { Ok(None) };
        let weight = at.laid_out_matrix::<B>("weight", || {
            let weight = at.matrix("weight", outputs, inputs)?;
            backend.matrix(&weight, bias()?.as_deref(), MatrixSpec::linear(at.precision()))
        })?;
        Self { weight, low_rank: None, inputs, outputs }.adapted(backend, at)
    }

    /// From the matrix `[outputs, inputs]` that `weight` gives, which `at` knows as `weight`, without a bias.
    ///
    /// # Errors
    /// Those of `weight` and of the device.
    pub fn load_from<'w>(
        backend: &B,
        at: &At<'_>,
        outputs: usize,
        inputs: usize,
        weight: impl FnOnce() -> Result<HostWeight<'w>>,
    ) -> Result<Self> {
        let weight =
            at.laid_out_matrix::<B>("weight", || backend.matrix(&weight()?, None, MatrixSpec::linear(at.precision())))?;
        Self { weight, low_rank: None, inputs, outputs }.adapted(backend, at)
    }

    /// The same with what adapters add to `weight` as `at` knows it.
    ///
    /// # Errors
    /// Those of the source and of the device.
    pub fn adapted(self, backend: &B, at: &At<'_>) -> Result<Self> {
        let pairs = at.low_ranks("weight", self.outputs, self.inputs)?;
        let low_rank = if pairs.is_empty() { None } else { Some(backend.low_rank(&pairs)?) };
        Ok(Self { low_rank, ..self })
    }

    /// From a matrix `[outputs, inputs]` at hand.
    ///
    /// # Errors
    /// Those of the device; a bias of another length than `outputs`.
    pub fn new(backend: &B, weight: &HostWeight<'_>, bias: Option<&[f32]>, precision: Precision) -> Result<Self> {
        let (inputs, outputs) = (weight.cols(), weight.rows());
        let weight = Arc::new(backend.matrix(weight, bias, MatrixSpec::linear(precision))?);
        Ok(Self { weight, low_rank: None, inputs, outputs })
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
        let Step { backend, rows, t, .. } = step;
        backend.linear(rows, t, x, &self.weight, y)?;
        match &self.low_rank {
            None => Ok(()),
            Some(pairs) => backend.low_rank_add(rows, t, x, pairs, step.need_adapters()?, y),
        }
    }
}
