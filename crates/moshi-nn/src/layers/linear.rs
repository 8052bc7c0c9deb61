//! A product with a weight matrix.

use std::sync::{Mutex, PoisonError};

use super::Step;
use crate::{At, Backend, HostWeight, LowRankPair, Result};

/// `y = x W^T (+ bias)`, in whatever format the checkpoint holds W; an adapter that could not be merged into W is added
/// as a product of its own.
pub struct Linear<B: Backend> {
    weight: B::Matrix,
    low_rank: Option<LowRank<B>>,
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
        let low_rank = pair.map(|pair| LowRank::new(backend, &pair)).transpose()?;
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
        backend.matrix_bytes(&self.weight) + self.low_rank.as_ref().map_or(0, |pair| pair.bytes(backend))
    }

    /// `x [b, t, inputs]` -> `y [b, t, outputs]`.
    ///
    /// # Errors
    /// When a buffer is too short, or the device fails.
    pub fn step(&self, step: Step<'_, B>, x: &B::Buf, y: &mut B::Buf) -> Result<()> {
        step.backend.linear(step.rows, step.t, x, &self.weight, y)?;
        self.low_rank.as_ref().map_or(Ok(()), |low_rank| low_rank.add(step, x, y))
    }
}

/// `y += (x down^T) up^T`.
struct LowRank<B: Backend> {
    down: B::Matrix,
    up: B::Matrix,
    rank: usize,
    outputs: usize,
    /// Room for steps that run now or ran before; nothing is kept in it between steps.
    scratch: Mutex<Vec<Scratch<B>>>,
}

struct Scratch<B: Backend> {
    /// Rows times time steps that it has room for.
    values: usize,
    inner: B::Buf,
    sum: B::Buf,
}

impl<B: Backend> LowRank<B> {
    /// Bytes of weights that a step reads.
    fn bytes(&self, backend: &B) -> usize {
        backend.matrix_bytes(&self.down) + backend.matrix_bytes(&self.up)
    }

    fn new(backend: &B, pair: &LowRankPair<'_>) -> Result<Self> {
        Ok(Self {
            down: backend.matrix(&pair.down, None)?,
            up: backend.matrix(&pair.up, None)?,
            rank: pair.down.rows(),
            outputs: pair.up.rows(),
            scratch: Mutex::default(),
        })
    }

    fn add(&self, step: Step<'_, B>, x: &B::Buf, y: &mut B::Buf) -> Result<()> {
        let Step { backend, rows, t } = step;
        let values = backend.count(rows) * t;
        let free = || self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let found = free().pop().filter(|scratch| scratch.values >= values);
        let mut scratch = match found {
            Some(scratch) => scratch,
            None => {
                Scratch { values, inner: backend.buf(values * self.rank)?, sum: backend.buf(values * self.outputs)? }
            }
        };
        backend.linear(rows, t, x, &self.down, &mut scratch.inner)?; // [b, t, r]
        backend.linear(rows, t, &scratch.inner, &self.up, &mut scratch.sum)?; // [b, t, outputs]
        backend.residual_add(rows, t, self.outputs, &scratch.sum, None, y)?;
        free().push(scratch);
        Ok(())
    }
}
