//! The weights of a checkpoint, rounded to integers or widened to single precision.

use std::num::NonZeroUsize;

use moshi_checkpoint::quantize::Plan;
use moshi_nn::{HostWeight, LowRankPair, WeightSource};

/// The same weights, rounded to integers.
pub(super) struct Quantizing<'a> {
    /// As the files hold them.
    pub(super) inner: &'a dyn WeightSource,
    /// Which of them, and how.
    pub(super) plan: Plan,
    /// That do it.
    pub(super) threads: NonZeroUsize,
}

impl WeightSource for Quantizing<'_> {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.inner.shape(name)
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> moshi_nn::Result<HostWeight<'_>> {
        Ok(self.plan.apply(name, self.inner.matrix(name, rows, cols)?, self.threads)?)
    }

    fn vector(&self, name: &str, shape: &[usize]) -> moshi_nn::Result<Vec<f32>> {
        self.inner.vector(name, shape)
    }

    fn low_rank(&self, name: &str, rows: usize, cols: usize) -> moshi_nn::Result<Option<LowRankPair<'_>>> {
        self.inner.low_rank(name, rows, cols)
    }
}

/// The same weights in single precision.
pub(super) struct Widened<'a, S>(pub(super) &'a S);

impl<S: WeightSource> WeightSource for Widened<'_, S> {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.0.shape(name)
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> moshi_nn::Result<HostWeight<'_>> {
        let values = self.0.matrix(name, rows, cols)?.to_f32()?;
        Ok(HostWeight::from_f32(rows, cols, values)?)
    }

    fn vector(&self, name: &str, shape: &[usize]) -> moshi_nn::Result<Vec<f32>> {
        self.0.vector(name, shape)
    }

    fn low_rank(&self, name: &str, rows: usize, cols: usize) -> moshi_nn::Result<Option<LowRankPair<'_>>> {
        self.0.low_rank(name, rows, cols)
    }

    fn has(&self, name: &str) -> bool {
        self.0.has(name)
    }
}
