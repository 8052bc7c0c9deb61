//! The feed-forward part of a transformer layer.

use super::{Linear, Step};
use crate::{At, Backend, Result};

/// Which feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MlpKind {
    /// `linear2(gelu(linear1(x)))` (`gating: none`).
    Gelu,
    /// `linear_out(silu(a) * b)` with `[a, b] = linear_in(x)` (`gating: silu`).
    SiluGate,
}

/// The shape of a feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MlpConfig {
    /// Width of input and output.
    pub width: usize,
    /// Width between the two products (after the gate).
    pub hidden: usize,
    /// Which network.
    pub kind: MlpKind,
}

impl MlpConfig {
    /// The hidden width of a gated network of nominal width `feedforward`: two thirds of it, so that its three matrices
    /// weigh what two would; 21/8 of `width` where `feedforward` is four times `width`.
    pub fn gated_hidden(width: usize, feedforward: usize) -> usize {
        if feedforward == 4 * width { 21 * width / 8 } else { 2 * feedforward / 3 }
    }

    /// Values of scratch per time step: the output of the first product.
    fn inner(&self) -> usize {
        match self.kind {
            MlpKind::Gelu => self.hidden,
            MlpKind::SiluGate => 2 * self.hidden,
        }
    }
}

/// A feed-forward network.
pub struct Mlp<B: Backend> {
    config: MlpConfig,
    first: Linear<B>,
    second: Linear<B>,
}

impl<B: Backend> Mlp<B> {
    /// From `linear1`, `linear2` ([`MlpKind::Gelu`]) or `linear_in`, `linear_out` ([`MlpKind::SiluGate`]).
    ///
    /// # Errors
    /// Those of the source and of the device.
    pub fn load(backend: &B, at: &At<'_>, config: MlpConfig) -> Result<Self> {
        let (first, second) = match config.kind {
            MlpKind::Gelu => ("linear1", "linear2"),
            MlpKind::SiluGate => ("linear_in", "linear_out"),
        };
        Ok(Self {
            config,
            first: Linear::load(backend, &at.at(first), config.inner(), config.width)?,
            second: Linear::load(backend, &at.at(second), config.width, config.hidden)?,
        })
    }

    /// Bytes of weights that a step reads.
    pub fn bytes(&self, backend: &B) -> usize {
        self.first.bytes(backend) + self.second.bytes(backend)
    }

    /// `x [b, t, width]` -> `y [b, t, width]`.
    ///
    /// # Errors
    /// When a buffer is too short, or the device fails.
    pub fn step(&self, step: Step<'_, B>, x: &B::Buf, scratch: &mut MlpScratch<B>, y: &mut B::Buf) -> Result<()> {
        let Step { backend, rows, t, .. } = step;
        let hidden = self.config.hidden;
        self.first.step(step, x, &mut scratch.inner)?;
        match self.config.kind {
            MlpKind::Gelu => {
                backend.gelu(rows, t, hidden, &mut scratch.inner)?;
                self.second.step(step, &scratch.inner, y)
            }
            MlpKind::SiluGate => {
                backend.silu_gate(rows, t, &scratch.inner, hidden, &mut scratch.gated)?;
                self.second.step(step, &scratch.gated, y)
            }
        }
    }
}

/// Room for the hidden values of feed-forward networks.
pub struct MlpScratch<B: Backend> {
    inner: B::Buf,
    gated: B::Buf,
}

impl<B: Backend> MlpScratch<B> {
    /// Room for any network of `configs` over `values` = rows x time steps.
    ///
    /// # Errors
    /// When the device fails.
    pub fn new(backend: &B, configs: &[MlpConfig], values: usize) -> Result<Self> {
        let inner = configs.iter().map(MlpConfig::inner).max().unwrap_or(0);
        let gated = configs.iter().filter(|c| c.kind == MlpKind::SiluGate).map(|c| c.hidden).max().unwrap_or(0);
        Ok(Self { inner: backend.buf(inner * values)?, gated: backend.buf(gated * values)? })
    }
}
