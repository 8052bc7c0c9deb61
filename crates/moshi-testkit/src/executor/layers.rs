//! Every streaming layer as a case of the conformance suite ([`crate::conformance`]).

pub use moshi_nn::backend::Padding;
use moshi_nn::backend::{AttentionSpec, Backend, Rope, RopeLayout};
pub use moshi_nn::layers::ConvConfig;
use moshi_nn::layers::{
    MlpConfig, MlpKind, NormConfig, Rows, Step, StreamState, StreamingConv, StreamingConvTranspose, StreamingUpsample,
    Transformer, TransformerConfig, TransformerState, Window,
};
use moshi_nn::{At, stream_state};

use crate::conformance::StreamCase;
use crate::{RandomWeights, noise};

/// A source of random weights that has biases and one spelling of everything.
fn weights() -> RandomWeights {
    RandomWeights::new(7, |name| name.ends_with(".bias") && !name.contains("proj"))
}

/// The longest chunk of all cases, in units.
const MAX_CHUNK: usize = 5;

/// A transformer stack as a stream.
pub struct Stack<B: Backend> {
    backend: B,
    transformer: Transformer<B>,
    tolerance: f32,
}

/// Its memory.
pub struct StackState<B: Backend> {
    rows: Rows<B>,
    transformer: TransformerState<B>,
    x: B::Buf,
}

stream_state!(StackState { memory: rows, transformer; scratch: x });

/// A stack of layers with random weights.
pub fn stack<B: Backend>(backend: B, config: TransformerConfig) -> Stack<B> {
    let transformer = Transformer::load(&backend, &At::new(&weights(), "transformer"), config).unwrap();
    Stack { backend, transformer, tolerance: 2e-5 }
}

/// As Mimi has them: layer norms, GELU, a scale for each branch.
pub fn mimi_like() -> TransformerConfig {
    let rope = Some(Rope { max_period: 10_000.0, layout: RopeLayout::Interleaved });
    TransformerConfig {
        layers: 2,
        width: 32,
        attention: AttentionSpec { heads: 4, kv_heads: 4, head_dim: 8, context: 9, rope },
        norm: NormConfig::LAYER,
        mlps: vec![MlpConfig { width: 32, hidden: 48, kind: MlpKind::Gelu }],
        layer_scale: true,
        cross: None,
    }
}

/// As Hibiki-Zero has them: grouped heads, halves rotated, gated.
pub fn hibiki_like() -> TransformerConfig {
    let rope = Some(Rope { max_period: 100_000.0, layout: RopeLayout::Halves });
    TransformerConfig {
        attention: AttentionSpec { heads: 4, kv_heads: 2, head_dim: 8, context: 6, rope },
        norm: NormConfig::RMS_F32,
        mlps: vec![MlpConfig { width: 32, hidden: 40, kind: MlpKind::SiluGate }],
        layer_scale: false,
        ..mimi_like()
    }
}

/// As a synthesis has them: every layer attends to a memory too.
pub fn with_memory() -> TransformerConfig {
    TransformerConfig { cross: Some(7), layer_scale: true, ..hibiki_like() }
}

/// No rotation, and a window of one.
pub fn without_positions() -> TransformerConfig {
    let attention = AttentionSpec { rope: None, context: 1, ..hibiki_like().attention };
    TransformerConfig { attention, ..hibiki_like() }
}

impl<B: Backend> StreamCase for Stack<B> {
    type State = StackState<B>;

    fn init_state(&self, rows: usize) -> StackState<B> {
        let (backend, config) = (&self.backend, self.transformer.config());
        let mut transformer = self.transformer.init_state(backend, rows, MAX_CHUNK).unwrap();
        if config.cross.is_some() {
            let places = noise::signal(17, 6 * config.width);
            let memory = self.transformer.remember(backend, &places, &backend.ids(1).unwrap()).unwrap();
            (0..rows).for_each(|row| transformer.cross().copy_row(backend, row, &memory, 0).unwrap());
        }
        StackState {
            rows: Rows::new(backend, rows, &[config.attention]).unwrap(),
            transformer,
            x: self.backend.buf(rows * MAX_CHUNK * self.inputs()).unwrap(),
        }
    }

    fn inputs(&self) -> usize {
        self.transformer.config().width
    }

    fn outputs(&self) -> usize {
        self.inputs()
    }

    fn max_chunk(&self) -> usize {
        MAX_CHUNK
    }

    fn chunk_tolerance(&self) -> f32 {
        self.tolerance
    }

    fn step(&self, state: &mut StackState<B>, active: &[bool], t: usize, input: &[f32]) -> Vec<f32> {
        let StackState { rows, transformer, x } = state;
        rows.put(&self.backend, active, t).unwrap();
        self.backend.upload(input, x).unwrap();
        self.transformer.step(Step::new(&self.backend, rows, t), 0, transformer, x).unwrap();
        rows.advance(t);
        let mut output = vec![0.0; input.len()];
        self.backend.download(x, &mut output).unwrap();
        output
    }

    fn reset_row(&self, state: &mut StackState<B>, row: usize) {
        state.reset_row(&self.backend, row).unwrap();
    }

    fn copy_row(&self, state: &mut StackState<B>, row: usize, src: &StackState<B>, src_row: usize) {
        state.copy_row(&self.backend, row, src, src_row).unwrap();
    }
}

/// A convolution as a stream; a unit is `stride` input columns (one, going up).
pub struct Conv<B: Backend> {
    backend: B,
    layer: Layer<B>,
    columns_in: usize,
    columns_out: usize,
}

enum Layer<B: Backend> {
    Plain(StreamingConv<B>),
    Transpose(StreamingConvTranspose<B>),
    Upsample(StreamingUpsample<B>),
}

/// Input channels of the convolutions.
pub const C_IN: usize = 6;
/// Output channels of the convolutions.
pub const C_OUT: usize = 5;

/// Its memory.
pub struct ConvState<B: Backend> {
    rows: Rows<B>,
    window: Window<B>,
    x: B::Buf,
    y: B::Buf,
}

stream_state!(ConvState { memory: rows, window; scratch: x, y });

/// A convolution.
pub fn plain<B: Backend>(backend: B, config: ConvConfig) -> Conv<B> {
    let layer = Layer::Plain(StreamingConv::load(&backend, &At::new(&weights(), "conv"), &config).unwrap());
    Conv { backend, layer, columns_in: config.stride, columns_out: 1 }
}

/// A transposed convolution.
pub fn transpose<B: Backend>(backend: B, config: ConvConfig) -> Conv<B> {
    let weights = weights();
    let layer = StreamingConvTranspose::load(&backend, &At::new(&weights, "convtr"), &config).unwrap();
    let layer = Layer::Transpose(layer);
    Conv { backend, layer, columns_in: 1, columns_out: config.stride }
}

/// A depthwise transposed convolution.
pub fn upsample<B: Backend>(backend: B, stride: usize) -> Conv<B> {
    let layer = StreamingUpsample::load(&backend, &At::new(&weights(), "up"), C_IN, stride).unwrap();
    Conv { backend, layer: Layer::Upsample(layer), columns_in: 1, columns_out: stride }
}

impl<B: Backend> Conv<B> {
    fn c_out(&self) -> usize {
        if matches!(self.layer, Layer::Upsample(_)) { C_IN } else { C_OUT }
    }
}

impl<B: Backend> StreamCase for Conv<B> {
    type State = ConvState<B>;

    fn init_state(&self, rows: usize) -> ConvState<B> {
        let (backend, columns) = (&self.backend, MAX_CHUNK * self.columns_in);
        let window = match &self.layer {
            Layer::Plain(layer) => layer.init_state(backend, rows, columns),
            Layer::Transpose(layer) => layer.init_state(backend, rows, columns),
            Layer::Upsample(layer) => layer.init_state(backend, rows, columns),
        };
        ConvState {
            rows: Rows::new(backend, rows, &[]).unwrap(),
            window: window.unwrap(),
            x: backend.buf(rows * MAX_CHUNK * self.inputs()).unwrap(),
            y: backend.buf(rows * MAX_CHUNK * self.outputs()).unwrap(),
        }
    }

    fn inputs(&self) -> usize {
        self.columns_in * C_IN
    }

    fn outputs(&self) -> usize {
        self.columns_out * self.c_out()
    }

    fn max_chunk(&self) -> usize {
        MAX_CHUNK
    }

    fn chunk_tolerance(&self) -> f32 {
        1e-5
    }

    fn step(&self, state: &mut ConvState<B>, active: &[bool], t: usize, input: &[f32]) -> Vec<f32> {
        let ConvState { rows, window, x, y } = state;
        rows.put(&self.backend, active, t * self.columns_in).unwrap();
        self.backend.upload(input, x).unwrap();
        let step = Step::new(&self.backend, rows, t * self.columns_in);
        match &self.layer {
            Layer::Plain(layer) => layer.step(step, x, window, y).unwrap(),
            Layer::Transpose(layer) => layer.step(step, x, window, y).unwrap(),
            Layer::Upsample(layer) => layer.step(step, x, window, y).unwrap(),
        }
        rows.advance(t * self.columns_in);
        let mut output = vec![0.0; active.len() * t * self.outputs()];
        self.backend.download(y, &mut output).unwrap();
        output
    }

    fn reset_row(&self, state: &mut ConvState<B>, row: usize) {
        state.reset_row(&self.backend, row).unwrap();
    }

    fn copy_row(&self, state: &mut ConvState<B>, row: usize, src: &ConvState<B>, src_row: usize) {
        state.copy_row(&self.backend, row, src, src_row).unwrap();
    }
}
