//! A stack of transformer layers, each with one or several sets of weights over one memory.
//!
//! The temporal transformer and Mimi's transformers have one set of weights a layer; the depth transformer has one for
//! each of its steps, while norms and keys are shared.

use super::attention::AttentionScratch;
use super::mlp::MlpScratch;
use super::norm::constant;
use super::{
    Attention, AttentionConfig, CrossAttention, CrossMemory, LayerMemory, Mlp, MlpConfig, MlpKind, Norm, NormConfig,
    Ring, Rows, Step,
};
use crate::backend::{AttentionSpec, Precision, RingSpec};
use crate::{At, Backend, Error, Result, stream_state};

/// The shape of a transformer stack.
#[derive(Debug, Clone, PartialEq)]
pub struct TransformerConfig {
    /// Number of layers.
    pub layers: usize,
    /// Width of the stream.
    pub width: usize,
    /// Heads, window and rotation.
    pub attention: AttentionSpec,
    /// The norms before attention and feed-forward network.
    pub norm: NormConfig,
    /// The feed-forward network of each set of weights: as many entries as there are sets.
    pub mlps: Vec<MlpConfig>,
    /// Whether both branches have a learned scale per channel (`layer_scale_{1,2}.scale`).
    pub layer_scale: bool,
    /// Places of a memory that every layer also attends to (see [`CrossMemory`]); `None` where there is no such thing.
    pub cross: Option<usize>,
}

impl TransformerConfig {
    /// Channels of all heads.
    fn inner(&self) -> usize {
        self.attention.heads * self.attention.head_dim
    }

    /// Checks what no tensor shape would catch.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting.
    pub fn validate(&self) -> Result<()> {
        let AttentionSpec { heads, kv_heads, head_dim, context, rope } = self.attention;
        let fail = |what, found: String, expected| Err(Error::Config { what, found, expected });
        if self.width == 0 || heads == 0 || head_dim == 0 || context == 0 {
            let found = format!("width {}, {heads} heads of {head_dim}, context {context}", self.width);
            return fail("transformer", found, "all sizes are at least 1");
        }
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return fail("key heads", format!("{kv_heads} for {heads} heads"), "heads are a multiple of key heads");
        }
        if rope.is_some() && !head_dim.is_multiple_of(2) {
            return fail("head width", head_dim.to_string(), "rotary embedding needs an even one");
        }
        if self.mlps.is_empty() {
            return fail("weight sets", "0".to_owned(), "there is at least one");
        }
        if self.mlps.len() > 1 && self.mlps.iter().any(|m| m.kind == MlpKind::Gelu) {
            return fail("gating", "none".to_owned(), "weights per step need \"silu\"");
        }
        Ok(())
    }
}

/// A stack of layers.
pub struct Transformer<B: Backend> {
    config: TransformerConfig,
    layers: Vec<TransformerLayer<B>>,
    precision: Precision,
}

impl<B: Backend> Transformer<B> {
    /// From `layers.{i}` below `at`.
    ///
    /// # Errors
    /// An impossible configuration, and the errors of the source and of the device.
    pub fn load(backend: &B, at: &At<'_>, config: TransformerConfig) -> Result<Self> {
        config.validate()?;
        let layer = |i| TransformerLayer::load(backend, &at.at("layers").at(i), &config);
        let layers = (0..config.layers).map(layer).collect::<Result<_>>()?;
        Ok(Self { config, layers, precision: at.precision() })
    }

    /// The shape of the stack.
    pub fn config(&self) -> &TransformerConfig {
        &self.config
    }

    /// Bytes of weights of all layers, every set of them once.
    pub fn bytes(&self, backend: &B) -> usize {
        let sets = self.layers.iter().flat_map(|layer| &layer.sets);
        let cross = self.layers.iter().filter_map(|layer| layer.cross.as_ref());
        sets.map(|set| set.attention.bytes(backend) + set.mlp.bytes(backend)).sum::<usize>()
            + cross.map(|cross| cross.bytes(backend)).sum::<usize>()
    }

    /// Memory and scratch for `rows` rows and at most `max_chunk` time steps a step.
    ///
    /// # Errors
    /// When the device fails.
    pub fn init_state(&self, backend: &B, rows: usize, max_chunk: usize) -> Result<TransformerState<B>> {
        self.state(backend, (rows, max_chunk), max_chunk)
    }

    /// As [`Transformer::init_state`] for steps of one time step, with room to compute `steps` at once as long as they
    /// end within the context ([`RingSpec::max_chunk`]): a row of it can be copied to a state for single steps.
    ///
    /// # Errors
    /// When the device fails.
    pub fn init_prompt_state(&self, backend: &B, rows: usize, steps: usize) -> Result<TransformerState<B>> {
        self.state(backend, (rows, 1), steps)
    }

    fn state(&self, backend: &B, (rows, max_chunk): (usize, usize), steps: usize) -> Result<TransformerState<B>> {
        let spec = RingSpec { rows, attention: self.config.attention, max_chunk, precision: self.precision };
        let rings = self.layers.iter().map(|_| Ring::new(backend, &spec)).collect::<Result<_>>()?;
        let scratch = TransformerScratch::new(backend, &self.config, rows * steps)?;
        Ok(TransformerState { rings, cross: CrossMemory::new(backend, &self.config, self.precision, rows)?, scratch })
    }

    /// What all layers remember of `places [len, width]`, as a memory of one row: keys and values are computed here, once
    /// for all rows that get a copy of it.
    ///
    /// # Errors
    /// [`Error::Shape`] for more places than there is room for; when the device fails.
    pub fn remember(&self, backend: &B, places: &[f32], adapters: &B::Ids) -> Result<CrossMemory<B>> {
        let len = places.len() / self.config.width.max(1);
        let room = self.config.cross.unwrap_or(0);
        if len > room {
            return Err(Error::Shape { what: "places of a memory, at most", expected: room, found: len });
        }
        let mut memory = CrossMemory::new(backend, &self.config, self.precision, 1)?;
        if len == 0 {
            return Ok(memory);
        }
        let mut rows = Rows::new(backend, 1, &[])?;
        rows.put(backend, &[true], len)?;
        let (mut x, mut kv) = (backend.buf(places.len())?, backend.buf(len * 2 * self.config.inner())?);
        backend.upload(places, &mut x)?;
        let step = Step::new(backend, &rows, len).with_adapters(adapters);
        for (layer, ring) in self.layers.iter().zip(&mut memory.rings) {
            let Some(cross) = &layer.cross else { continue };
            cross.remember(step, &x, (ring, 0), &mut kv)?;
        }
        memory.set_length(backend, 0, len)?;
        Ok(memory)
    }

    /// Runs all layers with weight set `set` over `x [b, t, width]`, in place. The caller advances the rows afterwards.
    ///
    /// # Errors
    /// When `set` does not exist, a buffer is too short, or the device fails.
    pub fn step(&self, step: Step<'_, B>, set: usize, state: &mut TransformerState<B>, x: &mut B::Buf) -> Result<()> {
        self.step_watched(step, set, state, x, |_, _| Ok(()))
    }

    /// As [`Transformer::step`]; calls `after` with the index of each layer and the stream behind it.
    ///
    /// # Errors
    /// As [`Transformer::step`], and those of `after`.
    pub fn step_watched(
        &self,
        step: Step<'_, B>,
        set: usize,
        state: &mut TransformerState<B>,
        x: &mut B::Buf,
        mut after: impl FnMut(usize, &B::Buf) -> Result<()>,
    ) -> Result<()> {
        let TransformerState { rings, cross, scratch } = state;
        if rings.len() != self.layers.len() {
            return Err(Error::Shape { what: "layers of a state", expected: self.layers.len(), found: rings.len() });
        }
        for (i, (layer, ring)) in self.layers.iter().zip(rings).enumerate() {
            layer.step(step, set, (ring, cross.of_layer(i)), scratch, x)?;
            after(i, x)?;
        }
        Ok(())
    }
}

/// One layer: `x += scale_1 * attention(norm1(x))`, then, where it has a memory, attention to that, then
/// `x += scale_2 * mlp(norm2(x))`.
pub struct TransformerLayer<B: Backend> {
    width: usize,
    norm1: Norm<B>,
    norm2: Norm<B>,
    scale1: Option<B::Buf>,
    scale2: Option<B::Buf>,
    cross: Option<CrossAttention<B>>,
    sets: Vec<LayerWeights<B>>,
}

/// One set of a layer's weights.
pub struct LayerWeights<B: Backend> {
    attention: Attention<B>,
    mlp: Mlp<B>,
}

impl<B: Backend> TransformerLayer<B> {
    /// From the names below `at`: `norm{1,2}`, `self_attn`, those of [`CrossAttention`], `gating` or `gating.{set}` or `linear{1,2}`,
    /// `layer_scale_{1,2}`.
    ///
    /// # Errors
    /// Those of the source and of the device.
    pub fn load(backend: &B, at: &At<'_>, config: &TransformerConfig) -> Result<Self> {
        let norm = |name| Norm::load(backend, &at.at(name), config.norm, config.width);
        let scale =
            |name| config.layer_scale.then(|| constant(backend, &at.at(name), "scale", &[config.width])).transpose();
        let sets = config.mlps.iter().enumerate().map(|(set, mlp)| LayerWeights::load(backend, at, config, set, *mlp));
        Ok(Self {
            width: config.width,
            norm1: norm("norm1")?,
            norm2: norm("norm2")?,
            scale1: scale("layer_scale_1")?,
            scale2: scale("layer_scale_2")?,
            cross: config.cross.map(|_| CrossAttention::load(backend, at, config)).transpose()?,
            sets: sets.collect::<Result<_>>()?,
        })
    }

    /// `x [b, t, width]` in place with weight set `set`.
    ///
    /// # Errors
    /// When `set` does not exist, a buffer is too short, or the device fails.
    pub fn step(
        &self,
        step: Step<'_, B>,
        set: usize,
        (ring, memory): (&mut Ring<B>, Option<LayerMemory<'_, B>>),
        scratch: &mut TransformerScratch<B>,
        x: &mut B::Buf,
    ) -> Result<()> {
        let Step { backend, rows, t, .. } = step;
        let Some(weights) = self.sets.get(set) else {
            return Err(Error::Shape { what: "weight sets", expected: set + 1, found: self.sets.len() });
        };
        let TransformerScratch { normed, branch, attention, mlp } = scratch;
        self.norm1.step(step, x, normed)?;
        weights.attention.step(step, normed, ring, attention, branch)?;
        backend.residual_add(rows, t, self.width, branch, self.scale1.as_ref(), x)?;
        if let (Some(cross), Some(memory)) = (&self.cross, memory) {
            cross.step(step, memory, (normed, branch), attention, x)?;
        }
        self.norm2.step(step, x, normed)?;
        weights.mlp.step(step, normed, mlp, branch)?;
        backend.residual_add(rows, t, self.width, branch, self.scale2.as_ref(), x)
    }
}

impl<B: Backend> LayerWeights<B> {
    fn load(backend: &B, at: &At<'_>, config: &TransformerConfig, set: usize, mlp: MlpConfig) -> Result<Self> {
        let sets = config.mlps.len();
        let attention = AttentionConfig { width: config.width, spec: config.attention, sets };
        let numbered = at.at("gating").at(set);
        let mlp_at = match mlp.kind {
            MlpKind::Gelu => at.clone(),
            MlpKind::SiluGate if sets > 1 || numbered.has("linear_in.weight") => numbered,
            MlpKind::SiluGate => at.at("gating"),
        };
        Ok(Self {
            attention: Attention::load(backend, &at.at("self_attn"), &attention, set)?,
            mlp: Mlp::load(backend, &mlp_at, mlp)?,
        })
    }
}

/// Keys and values of every layer, and room to compute in.
pub struct TransformerState<B: Backend> {
    rings: Vec<Ring<B>>,
    cross: CrossMemory<B>,
    scratch: TransformerScratch<B>,
}

stream_state!(TransformerState { memory: rings, cross; scratch: scratch });

impl<B: Backend> TransformerState<B> {
    /// What the layers attend to beside the stream itself.
    pub fn cross(&mut self) -> &mut CrossMemory<B> {
        &mut self.cross
    }
}

/// Room for one layer's intermediate values; layers take turns.
pub struct TransformerScratch<B: Backend> {
    normed: B::Buf,
    branch: B::Buf,
    attention: AttentionScratch<B>,
    mlp: MlpScratch<B>,
}

impl<B: Backend> TransformerScratch<B> {
    /// Room for `values` = rows x time steps.
    ///
    /// # Errors
    /// When the device fails.
    pub fn new(backend: &B, config: &TransformerConfig, values: usize) -> Result<Self> {
        Ok(Self {
            normed: backend.buf(config.width * values)?,
            branch: backend.buf(config.width * values)?,
            attention: AttentionScratch::new(backend, &config.attention, values)?,
            mlp: MlpScratch::new(backend, &config.mlps, values)?,
        })
    }
}
