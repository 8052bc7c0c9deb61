//! Attention to a memory that is written once and does not move: what a model was told before its first step.

use super::attention::AttentionScratch;
use super::norm::constant;
use super::{Linear, Norm, NormConfig, Ring, Step, StreamState, TransformerConfig};
use crate::backend::{AttentionSpec, Precision, RingSpec};
use crate::{At, Backend, Error, Result};

/// The memory of all layers of a stack, for some rows: as many places of each row as its length says.
///
/// What a row remembers belongs to what the row is, not to what it has been through: a reset leaves it, a copy takes it
/// along.
pub struct CrossMemory<B: Backend> {
    /// One a layer; none where the layers attend to no memory.
    pub(super) rings: Vec<Ring<B>>,
    lengths: Vec<i32>,
    ids: B::Ids,
}

/// What one layer attends to.
pub struct LayerMemory<'a, B: Backend> {
    ring: &'a Ring<B>,
    /// Places that each row remembers.
    lengths: &'a B::Ids,
}

impl<B: Backend> CrossMemory<B> {
    /// Memory of `rows` rows, all of length 0.
    ///
    /// # Errors
    /// When the device fails.
    pub fn new(backend: &B, config: &TransformerConfig, precision: Precision, rows: usize) -> Result<Self> {
        let ring = |places| {
            Ring::new(backend, &RingSpec { rows, attention: attention(config, places), max_chunk: 1, precision })
        };
        let layers = config.cross.map(|places| (0..config.layers).map(|_| ring(places)).collect());
        let mut ids = backend.ids(rows)?;
        backend.upload_ids(&vec![0; rows], &mut ids)?;
        Ok(Self { rings: layers.transpose()?.unwrap_or_default(), lengths: vec![0; rows], ids })
    }

    /// Places that a row remembers; `None` when there is no such row.
    pub fn length(&self, row: usize) -> Option<usize> {
        self.lengths.get(row).map(|length| *length as usize)
    }

    /// What one layer attends to, and the lengths of all rows.
    pub(super) fn of_layer(&self, layer: usize) -> Option<LayerMemory<'_, B>> {
        self.rings.get(layer).map(|ring| LayerMemory { ring, lengths: &self.ids })
    }

    /// Says that a row remembers so many places from now on. Its layers' keys are filled before.
    pub(super) fn set_length(&mut self, backend: &B, row: usize, length: usize) -> Result<()> {
        let found = self.lengths.len();
        let slot = self.lengths.get_mut(row).ok_or(Error::Shape { what: "row", expected: row + 1, found })?;
        *slot = length as i32;
        backend.upload_ids(&self.lengths, &mut self.ids)
    }
}

impl<B: Backend> StreamState<B> for CrossMemory<B> {
    fn reset_row(&mut self, _: &B, _: usize) -> Result<()> {
        Ok(()) // a row knows after a reset what it was told before its first step
    }

    fn reserve_row(&mut self, backend: &B, row: usize) -> Result<()> {
        self.rings.reserve_row(backend, row)
    }

    fn release_row(&mut self, backend: &B, row: usize) {
        self.rings.release_row(backend, row);
        // Whoever comes next was told nothing yet. A device that fails here fails again at the next step.
        let _ = self.set_length(backend, row, 0);
    }

    fn copy_row(&mut self, backend: &B, row: usize, src: &Self, src_row: usize) -> Result<()> {
        if self.rings.is_empty() && src.rings.is_empty() {
            return Ok(());
        }
        let found = src.lengths.len();
        let length = src.length(src_row).ok_or(Error::Shape { what: "source row", expected: src_row + 1, found })?;
        self.rings.copy_row(backend, row, &src.rings, src_row)?;
        self.set_length(backend, row, length)
    }
}

/// Attention to a memory of so many places: as many key heads as heads, nothing rotated.
fn attention(config: &TransformerConfig, places: usize) -> AttentionSpec {
    let AttentionSpec { heads, head_dim, .. } = config.attention;
    AttentionSpec { heads, kv_heads: heads, head_dim, context: places, rope: None }
}

/// One layer's attention to its memory: `x += scale * attend(norm(x))`.
pub struct CrossAttention<B: Backend> {
    width: usize,
    norm: Norm<B>,
    queries: Linear<B>,
    memory: Linear<B>,
    out: Linear<B>,
    scale: Option<B::Buf>,
}

impl<B: Backend> CrossAttention<B> {
    /// From `norm_cross` (a layer norm with bias), `cross_attention` (either spelling of its projections: queries, keys,
    /// values) and, in a stack with scales, `layer_scale_cross` below `at`.
    ///
    /// # Errors
    /// Those of the source and of the device.
    pub fn load(backend: &B, at: &At<'_>, config: &TransformerConfig) -> Result<Self> {
        let width = config.width;
        let inner = config.attention.heads * config.attention.head_dim;
        let cross = at.at("cross_attention");
        let project = |stacked: &str, split: &str, n: usize, k: usize| {
            let own = cross.at(split).at(0);
            if cross.has(stacked) && !own.has("weight") {
                cross.matrix(stacked, n, k)
            } else {
                own.matrix("weight", n, k)
            }
        };
        let projections = project("in_proj_weight", "in_projs", 3 * inner, width)?;
        let scale = || constant(backend, &at.at("layer_scale_cross"), "scale", &[width]);
        Ok(Self {
            width,
            norm: Norm::load(backend, &at.at("norm_cross"), NormConfig::LAYER, width)?,
            queries: Linear::new(backend, &projections.slice_rows(0, inner)?, None, at.precision())?,
            memory: Linear::new(backend, &projections.slice_rows(inner, 2 * inner)?, None, at.precision())?,
            out: Linear::new(backend, &project("out_proj.weight", "out_projs", width, inner)?, None, at.precision())?,
            scale: config.layer_scale.then(scale).transpose()?,
        })
    }

    /// Bytes of weights that a step reads: those that make keys and values are read once a memory.
    pub fn bytes(&self, backend: &B) -> usize {
        self.queries.bytes(backend) + self.out.bytes(backend)
    }

    /// Writes what one row, the first of `step`, remembers in this layer: `places [step.t, width]`.
    pub(super) fn remember(
        &self,
        step: Step<'_, B>,
        places: &B::Buf,
        (ring, row): (&mut Ring<B>, usize),
        kv: &mut B::Buf,
    ) -> Result<()> {
        self.memory.step(step, places, kv)?;
        step.backend.fill_ring(kv, step.t, &mut ring.0, row)
    }

    /// `x [b, t, width]` in place; `normed` and `branch` are room for as much.
    pub(super) fn step(
        &self,
        step: Step<'_, B>,
        memory: LayerMemory<'_, B>,
        (normed, branch): (&mut B::Buf, &mut B::Buf),
        scratch: &mut AttentionScratch<B>,
        x: &mut B::Buf,
    ) -> Result<()> {
        let Step { backend, rows, t, .. } = step;
        let AttentionScratch { qkv, heads } = scratch;
        self.norm.step(step, x, normed)?;
        self.queries.step(step, normed, qkv)?;
        backend.attend_ring(rows, t, qkv, memory.lengths, &memory.ring.0, heads)?;
        self.out.step(step, heads, branch)?;
        backend.residual_add(rows, t, self.width, branch, self.scale.as_ref(), x)
    }
}
