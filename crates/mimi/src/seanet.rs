//! SEANet: the convolutional encoder and decoder between samples and transformer steps.
//!
//! Encoder: conv; for each stride residual blocks and a strided conv; conv. The decoder is its mirror image with
//! transposed convolutions. Every convolution but the first is preceded by an ELU.

use moshi_nn::backend::Backend;
use moshi_nn::layers::{ConvConfig, Step, StreamingConv, StreamingConvTranspose, Window};
use moshi_nn::{At, Result, stream_state};

use moshi_checkpoint::config::SeanetConfig;

/// `x + conv1x1(elu(conv(elu(x))))`.
struct ResidualBlock<B: Backend> {
    wide: StreamingConv<B>,
    narrow: StreamingConv<B>,
    channels: usize,
}

impl<B: Backend> ResidualBlock<B> {
    fn load(backend: &B, at: &At<'_>, config: &SeanetConfig, channels: usize, index: usize) -> Result<Self> {
        let hidden = channels / config.compress;
        let dilation = config.dilation_base.pow(index as u32);
        let wide = ConvConfig::plain(channels, hidden, config.residual_kernel_size).dilation(dilation).elu();
        let narrow = ConvConfig::plain(hidden, channels, 1).elu();
        Ok(Self {
            wide: StreamingConv::load(backend, &at.at("block.1.conv.conv"), &wide)?,
            narrow: StreamingConv::load(backend, &at.at("block.3.conv.conv"), &narrow)?,
            channels,
        })
    }

    fn bytes(&self, backend: &B) -> usize {
        self.wide.bytes(backend) + self.narrow.bytes(backend)
    }

    fn init_state(&self, backend: &B, rows: usize, max_chunk: usize) -> Result<ResidualState<B>> {
        Ok(ResidualState {
            wide: self.wide.init_state(backend, rows, max_chunk)?,
            narrow: self.narrow.init_state(backend, rows, max_chunk)?,
        })
    }

    /// `x [b, t, channels]` in place.
    fn step(
        &self,
        step: Step<'_, B>,
        state: &mut ResidualState<B>,
        x: &mut B::Buf,
        branch: &mut B::Buf,
        hidden: &mut B::Buf,
    ) -> Result<()> {
        self.wide.step(step, x, &mut state.wide, hidden)?;
        self.narrow.step(step, hidden, &mut state.narrow, branch)?;
        step.backend.residual_add(step.rows, step.t, self.channels, branch, None, x)
    }
}

struct ResidualState<B: Backend> {
    wide: Window<B>,
    narrow: Window<B>,
}

stream_state!(ResidualState { memory: wide, narrow; scratch: });

/// Residual blocks and one change of rate.
struct Stage<B: Backend, R> {
    blocks: Vec<ResidualBlock<B>>,
    resample: R,
    ratio: usize,
}

impl<B: Backend, R> Stage<B, R> {
    /// Bytes of the blocks' weights and of the resampling convolution's.
    fn bytes(&self, backend: &B, resample: impl Fn(&R) -> usize) -> usize {
        self.blocks.iter().map(|block| block.bytes(backend)).sum::<usize>() + resample(&self.resample)
    }

    /// Memory of the blocks for chunks of at most `max_chunk` columns, beside that of the resampling convolution.
    fn init_state(&self, backend: &B, rows: usize, max_chunk: usize, resample: Window<B>) -> Result<StageState<B>> {
        let blocks = self.blocks.iter().map(|block| block.init_state(backend, rows, max_chunk));
        Ok(StageState { blocks: blocks.collect::<Result<_>>()?, resample })
    }

    fn run_blocks(
        &self,
        step: Step<'_, B>,
        state: &mut StageState<B>,
        x: &mut B::Buf,
        branch: &mut B::Buf,
        hidden: &mut B::Buf,
    ) -> Result<()> {
        let mut pairs = self.blocks.iter().zip(&mut state.blocks);
        pairs.try_for_each(|(block, state)| block.step(step, state, x, branch, hidden))
    }
}

struct StageState<B: Backend> {
    blocks: Vec<ResidualState<B>>,
    resample: Window<B>,
}

stream_state!(StageState { memory: blocks, resample; scratch: });

/// Samples to transformer steps.
pub(crate) struct SeanetEncoder<B: Backend> {
    first: StreamingConv<B>,
    stages: Vec<Stage<B, StreamingConv<B>>>,
    last: StreamingConv<B>,
    sizes: Sizes,
}

impl<B: Backend> SeanetEncoder<B> {
    /// From `model.{i}` below `at`.
    pub(crate) fn load(backend: &B, at: &At<'_>, config: &SeanetConfig) -> Result<Self> {
        let layer = |i: usize| at.at("model").at(i);
        let mut width = config.n_filters;
        let first = ConvConfig::plain(1, width, config.kernel_size);
        let first = StreamingConv::load(backend, &layer(0).at("conv.conv"), &first)?;
        let mut index = 1;
        let mut stages = Vec::with_capacity(config.ratios.len());
        for &ratio in config.ratios.iter().rev() {
            let blocks = (0..config.n_residual_layers)
                .map(|j| ResidualBlock::load(backend, &layer(index + j), config, width, j))
                .collect::<Result<_>>()?;
            index += config.n_residual_layers + 1; // the ELU has an index of its own
            let down = ConvConfig::plain(width, 2 * width, 2 * ratio).stride(ratio).elu();
            let resample = StreamingConv::load(backend, &layer(index).at("conv.conv"), &down)?;
            stages.push(Stage { blocks, resample, ratio });
            index += 1;
            width *= 2;
        }
        let last = ConvConfig::plain(width, config.dimension, config.last_kernel_size).elu();
        let last = StreamingConv::load(backend, &layer(index + 1).at("conv.conv"), &last)?;
        Ok(Self { first, stages, last, sizes: Sizes::new(config) })
    }

    /// Bytes of weights that a step reads.
    pub(crate) fn bytes(&self, backend: &B) -> usize {
        let stages = self.stages.iter().map(|stage| stage.bytes(backend, |conv| conv.bytes(backend)));
        self.first.bytes(backend) + stages.sum::<usize>() + self.last.bytes(backend)
    }

    /// Memory for chunks of at most `max_steps` transformer steps.
    pub(crate) fn init_state(&self, backend: &B, rows: usize, max_steps: usize) -> Result<SeanetState<B>> {
        let mut t = max_steps * self.sizes.hop;
        let first = self.first.init_state(backend, rows, t)?;
        let mut stages = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            let resample = stage.resample.init_state(backend, rows, t)?;
            stages.push(stage.init_state(backend, rows, t, resample)?);
            t /= stage.ratio;
        }
        let last = self.last.init_state(backend, rows, t)?;
        Ok(SeanetState { first, stages, last, scratch: Scratch::new(backend, &self.sizes, rows * max_steps)? })
    }

    /// `pcm [b, t * hop, 1]` -> `y [b, t, dimension]`, where `step.t` counts transformer steps.
    pub(crate) fn step(
        &self,
        step: Step<'_, B>,
        state: &mut SeanetState<B>,
        pcm: &B::Buf,
        y: &mut B::Buf,
    ) -> Result<()> {
        let Scratch { a, b, hidden } = &mut state.scratch;
        let (mut x, mut other) = (a, b); // the references take turns, the buffers stay where they are
        let mut at = step.with_t(step.t * self.sizes.hop);
        self.first.step(at, pcm, &mut state.first, x)?;
        for (stage, memory) in self.stages.iter().zip(&mut state.stages) {
            stage.run_blocks(at, memory, x, other, hidden)?;
            stage.resample.step(at, x, &mut memory.resample, other)?;
            std::mem::swap(&mut x, &mut other);
            at = at.with_t(at.t / stage.ratio);
        }
        self.last.step(at, x, &mut state.last, y)
    }
}

/// Transformer steps to samples.
pub(crate) struct SeanetDecoder<B: Backend> {
    first: StreamingConv<B>,
    stages: Vec<Stage<B, StreamingConvTranspose<B>>>,
    last: StreamingConv<B>,
    sizes: Sizes,
}

impl<B: Backend> SeanetDecoder<B> {
    /// From `model.{i}` below `at`.
    pub(crate) fn load(backend: &B, at: &At<'_>, config: &SeanetConfig) -> Result<Self> {
        let layer = |i: usize| at.at("model").at(i);
        let mut width = config.n_filters << config.ratios.len();
        let first = ConvConfig::plain(config.dimension, width, config.kernel_size);
        let first = StreamingConv::load(backend, &layer(0).at("conv.conv"), &first)?;
        let mut index = 1;
        let mut stages = Vec::with_capacity(config.ratios.len());
        for &ratio in &config.ratios {
            let up = ConvConfig::plain(width, width / 2, 2 * ratio).stride(ratio).elu();
            let resample = StreamingConvTranspose::load(backend, &layer(index + 1).at("convtr.convtr"), &up)?;
            width /= 2;
            let blocks = (0..config.n_residual_layers)
                .map(|j| ResidualBlock::load(backend, &layer(index + 2 + j), config, width, j))
                .collect::<Result<_>>()?;
            stages.push(Stage { blocks, resample, ratio });
            index += 2 + config.n_residual_layers;
        }
        let last = ConvConfig::plain(width, 1, config.last_kernel_size).elu();
        let last = StreamingConv::load(backend, &layer(index + 1).at("conv.conv"), &last)?;
        Ok(Self { first, stages, last, sizes: Sizes::new(config) })
    }

    /// Bytes of weights that a step reads.
    pub(crate) fn bytes(&self, backend: &B) -> usize {
        let stages = self.stages.iter().map(|stage| stage.bytes(backend, |conv| conv.bytes(backend)));
        self.first.bytes(backend) + stages.sum::<usize>() + self.last.bytes(backend)
    }

    /// Memory for chunks of at most `max_steps` transformer steps.
    pub(crate) fn init_state(&self, backend: &B, rows: usize, max_steps: usize) -> Result<SeanetState<B>> {
        let mut t = max_steps;
        let first = self.first.init_state(backend, rows, t)?;
        let mut stages = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            let resample = stage.resample.init_state(backend, rows, t)?;
            t *= stage.ratio;
            stages.push(stage.init_state(backend, rows, t, resample)?);
        }
        let last = self.last.init_state(backend, rows, t)?;
        Ok(SeanetState { first, stages, last, scratch: Scratch::new(backend, &self.sizes, rows * max_steps)? })
    }

    /// `x [b, t, dimension]` -> `pcm [b, t * hop, 1]`, where `step.t` counts transformer steps.
    pub(crate) fn step(
        &self,
        step: Step<'_, B>,
        state: &mut SeanetState<B>,
        latent: &B::Buf,
        pcm: &mut B::Buf,
    ) -> Result<()> {
        let Scratch { a, b, hidden } = &mut state.scratch;
        let (mut x, mut other) = (a, b);
        let mut at = step;
        self.first.step(at, latent, &mut state.first, x)?;
        for (stage, memory) in self.stages.iter().zip(&mut state.stages) {
            stage.resample.step(at, x, &mut memory.resample, other)?;
            std::mem::swap(&mut x, &mut other);
            at = at.with_t(at.t * stage.ratio);
            stage.run_blocks(at, memory, x, other, hidden)?;
        }
        self.last.step(at, x, &mut state.last, pcm)
    }
}

/// Memory of either half, and room to compute in.
pub(crate) struct SeanetState<B: Backend> {
    first: Window<B>,
    stages: Vec<StageState<B>>,
    last: Window<B>,
    scratch: Scratch<B>,
}

stream_state!(SeanetState { memory: first, stages, last; scratch: scratch });

struct Scratch<B: Backend> {
    a: B::Buf,
    b: B::Buf,
    hidden: B::Buf,
}

impl<B: Backend> Scratch<B> {
    /// `steps` = rows x transformer steps.
    fn new(backend: &B, sizes: &Sizes, steps: usize) -> Result<Self> {
        Ok(Self {
            a: backend.buf(steps * sizes.widest)?,
            b: backend.buf(steps * sizes.widest)?,
            hidden: backend.buf(steps * sizes.hidden)?,
        })
    }
}

/// Values per transformer step.
struct Sizes {
    hop: usize,
    /// Largest activation between layers.
    widest: usize,
    /// Largest activation inside a residual block.
    hidden: usize,
}

impl Sizes {
    fn new(config: &SeanetConfig) -> Self {
        let hop: usize = config.ratios.iter().product();
        let (mut t, mut width) = (hop, config.n_filters);
        let (mut widest, mut hidden) = (t * width, t * width / config.compress);
        for ratio in config.ratios.iter().rev() {
            t /= ratio;
            width *= 2;
            widest = widest.max(t * width);
            hidden = hidden.max(t * width / config.compress);
        }
        Self { hop, widest, hidden }
    }
}
