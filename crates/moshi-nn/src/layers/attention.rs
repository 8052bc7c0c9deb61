//! Causal self-attention over a window.

use super::{Linear, Ring, Step};
use crate::backend::{AttentionSpec, Span};
use crate::{At, Backend, Result};

/// The shape of an attention layer and where its weights lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionConfig {
    /// Width of input and output.
    pub width: usize,
    /// Heads, window and rotation.
    pub spec: AttentionSpec,
    /// How many sets of weights the checkpoint holds (the depth transformer has one per step).
    pub sets: usize,
}

/// The projections of one set of weights.
pub struct Attention<B: Backend> {
    spec: AttentionSpec,
    in_proj: Linear<B>,
    out_proj: Linear<B>,
}

impl<B: Backend> Attention<B> {
    /// Weight set `set` from `in_projs.{set}` and `out_projs.{set}`, or from rows of the stacked `in_proj_weight` and
    /// `out_proj.weight` where the checkpoint spells it so.
    ///
    /// # Errors
    /// Those of the source and of the device.
    pub fn load(backend: &B, at: &At<'_>, config: &AttentionConfig, set: usize) -> Result<Self> {
        let AttentionConfig { width, spec, sets } = *config;
        let inner = spec.heads * spec.head_dim;
        let projected = inner + 2 * spec.kv_heads * spec.head_dim;
        let project = |stacked: &str, split: &str, n: usize, k: usize| {
            let own = at.at(split).at(set);
            if at.has(stacked) && !own.has("weight") {
                let rows = || Ok(at.matrix(stacked, sets * n, k)?.slice_rows(set * n, n)?);
                Linear::load_from(backend, &own, n, k, rows)
            } else {
                Linear::load(backend, &own, n, k)
            }
        };
        Ok(Self {
            spec,
            in_proj: project("in_proj_weight", "in_projs", projected, width)?,
            out_proj: project("out_proj.weight", "out_projs", width, inner)?,
        })
    }

    /// Bytes of weights that a step reads.
    pub fn bytes(&self, backend: &B) -> usize {
        self.in_proj.bytes(backend) + self.out_proj.bytes(backend)
    }

    /// `x [b, t, width]` -> `y [b, t, width]`, remembering keys and values in `ring`. Positions are the caller's to
    /// advance, once for all layers of a stack.
    ///
    /// # Errors
    /// When a buffer is too short, or the device fails.
    pub fn step(
        &self,
        step: Step<'_, B>,
        x: &B::Buf,
        ring: &mut Ring<B>,
        scratch: &mut AttentionScratch<B>,
        y: &mut B::Buf,
    ) -> Result<()> {
        let Step { backend, rows, first, t, .. } = step;
        self.in_proj.step(step, x, &mut scratch.qkv)?;
        backend.rope_append_attend(
            rows,
            Span { first, t },
            &scratch.qkv,
            &self.spec,
            &mut ring.0,
            &mut scratch.heads,
        )?;
        self.out_proj.step(step, &scratch.heads, y)
    }
}

/// Room for projections and for the heads' outputs.
pub struct AttentionScratch<B: Backend> {
    pub(super) qkv: B::Buf,
    pub(super) heads: B::Buf,
}

impl<B: Backend> AttentionScratch<B> {
    /// Room for `values` = rows x time steps.
    ///
    /// # Errors
    /// When the device fails.
    pub fn new(backend: &B, spec: &AttentionSpec, values: usize) -> Result<Self> {
        let inner = spec.heads * spec.head_dim;
        let projected = inner + 2 * spec.kv_heads * spec.head_dim;
        Ok(Self { qkv: backend.buf(projected * values)?, heads: backend.buf(inner * values)? })
    }
}
