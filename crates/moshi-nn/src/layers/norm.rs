//! Root-mean-square and layer norms.

use super::Step;
use crate::{At, Backend, Result};

/// Which norm, and what it adds to the variance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NormConfig {
    /// `x / sqrt(mean(x^2) + eps) * alpha`; weights in `alpha` (eps 1e-8 in Moshi).
    Rms {
        /// Added to the mean of squares.
        eps: f32,
    },
    /// `(x - mean) / sqrt(var + eps) * weight + bias` (eps 1e-5 in Mimi).
    Layer {
        /// Added to the variance.
        eps: f32,
    },
}

impl NormConfig {
    /// `rms_norm_f32`, the norm of Moshi's transformers.
    pub const RMS_F32: Self = Self::Rms { eps: 1e-8 };
    /// `layer_norm`, the norm of Mimi's transformers.
    pub const LAYER: Self = Self::Layer { eps: 1e-5 };
}

/// A norm over the last dimension.
pub struct Norm<B: Backend> {
    weights: Weights<B>,
    width: usize,
}

enum Weights<B: Backend> {
    Rms { eps: f32, alpha: B::Buf },
    Layer { eps: f32, weight: B::Buf, bias: B::Buf },
}

impl<B: Backend> Norm<B> {
    /// From `alpha` (any shape of `width` values), or `weight` and `bias` `[width]`.
    ///
    /// # Errors
    /// Those of the source and of the device.
    pub fn load(backend: &B, at: &At<'_>, config: NormConfig, width: usize) -> Result<Self> {
        let weights = match config {
            NormConfig::Rms { eps } => Weights::Rms { eps, alpha: constant(backend, at, "alpha", &[1, 1, width])? },
            NormConfig::Layer { eps } => Weights::Layer {
                eps,
                weight: constant(backend, at, "weight", &[width])?,
                bias: constant(backend, at, "bias", &[width])?,
            },
        };
        Ok(Self { weights, width })
    }

    /// `x [b, t, width]` -> `y [b, t, width]`.
    ///
    /// # Errors
    /// When a buffer is too short, or the device fails.
    pub fn step(&self, step: Step<'_, B>, x: &B::Buf, y: &mut B::Buf) -> Result<()> {
        let Step { backend, rows, t, .. } = step;
        match &self.weights {
            Weights::Rms { eps, alpha } => backend.rms_norm(rows, t, x, alpha, self.width, *eps, y),
            Weights::Layer { eps, weight, bias } => backend.layer_norm(rows, t, x, weight, bias, self.width, *eps, y),
        }
    }
}

/// A vector of the source, on the device. A tensor of as many values in another shape will do.
pub(super) fn constant<B: Backend>(backend: &B, at: &At<'_>, name: &str, shape: &[usize]) -> Result<B::Buf> {
    let len: usize = shape.iter().product();
    let stored = at.shape(name).filter(|stored| stored.iter().product::<usize>() == len);
    let values = at.vector(name, stored.as_deref().unwrap_or(shape))?;
    let mut buf = backend.buf(len)?;
    backend.upload(&values, &mut buf)?;
    Ok(buf)
}
