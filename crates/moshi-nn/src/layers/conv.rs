//! Causal convolutions with memory: plain, transposed, and the depthwise transposed one of Mimi's upsampling.

use super::{Step, Window};
use crate::backend::{ConvSpec, MatrixSpec, Padding, Precision, WindowSpec};
use crate::{At, Backend, Error, HostWeight, Result};

/// The shape of a convolution, plain or transposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvConfig {
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Number of taps.
    pub kernel: usize,
    /// Input columns per output column; of a transposed convolution, output columns per input column.
    pub stride: usize,
    /// Distance of neighbouring taps (1 for a transposed convolution).
    pub dilation: usize,
    /// ELU applied to the input.
    pub elu_input: bool,
    /// What stands before the first column (zeros for a transposed convolution).
    pub padding: Padding,
}

impl ConvConfig {
    /// A convolution of stride 1 without dilation, padded with zeros.
    pub fn plain(c_in: usize, c_out: usize, kernel: usize) -> Self {
        Self { c_in, c_out, kernel, stride: 1, dilation: 1, elu_input: false, padding: Padding::Zero }
    }

    /// With another stride.
    pub fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// With another dilation.
    pub fn dilation(self, dilation: usize) -> Self {
        Self { dilation, ..self }
    }

    /// With ELU before it.
    pub fn elu(self) -> Self {
        Self { elu_input: true, ..self }
    }

    /// With other padding.
    pub fn padding(self, padding: Padding) -> Self {
        Self { padding, ..self }
    }

    fn span(&self) -> usize {
        (self.kernel.max(1) - 1) * self.dilation + 1
    }

    fn validate(&self) -> Result<()> {
        let Self { c_in, c_out, kernel, stride, dilation, .. } = *self;
        if [c_in, c_out, kernel, stride, dilation].contains(&0) || self.span() < stride {
            let found = format!("{c_in} to {c_out} channels, kernel {kernel}, stride {stride}, dilation {dilation}");
            let expected = "all are at least 1, and the stride is no longer than the kernel";
            return Err(Error::Config { what: "convolution", found, expected });
        }
        Ok(())
    }
}

/// A causal convolution.
pub struct StreamingConv<B: Backend> {
    spec: ConvSpec,
    weight: B::Matrix,
    c_in: usize,
    c_out: usize,
    history: usize,
    padding: Padding,
    precision: Precision,
}

impl<B: Backend> StreamingConv<B> {
    /// From `weight` `[c_out, c_in, kernel]` and, when `at` has it, `bias` `[c_out]`.
    ///
    /// # Errors
    /// An impossible configuration, and the errors of the source and of the device.
    pub fn load(backend: &B, at: &At<'_>, config: &ConvConfig) -> Result<Self> {
        config.validate()?;
        let ConvConfig { c_in, c_out, kernel, stride, dilation, elu_input, padding } = *config;
        let stored = at.vector("weight", &[c_out, c_in, kernel])?;
        let mut taps = Vec::with_capacity(stored.len()); // [c_out, kernel, c_in]
        for out in stored.chunks_exact(c_in * kernel) {
            for tap in 0..kernel {
                taps.extend(out.iter().skip(tap).step_by(kernel));
            }
        }
        let bias = load_bias(at, c_out)?;
        Ok(Self {
            spec: ConvSpec { kernel, stride, dilation, elu_input },
            weight: backend.matrix(
                &HostWeight::from_f32(c_out, kernel * c_in, taps)?,
                bias.as_deref(),
                MatrixSpec::conv(at.precision(), c_in),
            )?,
            c_in,
            c_out,
            history: config.span() - stride,
            padding,
            precision: at.precision(),
        })
    }

    /// Bytes of weights that a step reads.
    pub fn bytes(&self, backend: &B) -> usize {
        backend.matrix_bytes(&self.weight)
    }

    /// Output channels.
    pub fn c_out(&self) -> usize {
        self.c_out
    }

    /// Memory for `rows` rows and at most `max_chunk` input columns a step.
    ///
    /// # Errors
    /// When the device fails.
    pub fn init_state(&self, backend: &B, rows: usize, max_chunk: usize) -> Result<Window<B>> {
        let Self { c_in: channels, history, padding, precision, .. } = *self;
        Window::new(backend, &WindowSpec { rows, channels, history, max_chunk, padding, precision })
    }

    /// `x [b, t, c_in]` -> `y [b, t / stride, c_out]`.
    ///
    /// # Errors
    /// When `t` is no multiple of the stride, a buffer is too short, or the device fails.
    pub fn step(&self, step: Step<'_, B>, x: &B::Buf, state: &mut Window<B>, y: &mut B::Buf) -> Result<()> {
        step.backend.conv_step(step.rows, step.t, x, &self.weight, &self.spec, &mut state.0, y)
    }
}

/// A causal transposed convolution. Output column `s * stride + r` is a sum over the last ceil(kernel / stride) inputs,
/// so it runs as a convolution with `stride * c_out` output channels and needs no overlap memory of its own.
pub struct StreamingConvTranspose<B: Backend> {
    conv: StreamingConv<B>,
    stride: usize,
}

impl<B: Backend> StreamingConvTranspose<B> {
    /// From `weight` `[c_in, c_out, kernel]` and, when `at` has it, `bias` `[c_out]`.
    ///
    /// # Errors
    /// An impossible configuration, and the errors of the source and of the device.
    pub fn load(backend: &B, at: &At<'_>, config: &ConvConfig) -> Result<Self> {
        config.validate()?;
        let ConvConfig { c_in, c_out, kernel, stride, elu_input, .. } = *config;
        let stored = at.vector("weight", &[c_in, c_out, kernel])?;
        let taps = kernel.div_ceil(stride);
        let mut matrix = vec![0f32; stride * c_out * taps * c_in]; // [stride, c_out, taps, c_in]
        for (i, line) in stored.chunks_exact(kernel).enumerate() {
            let (ci, co) = (i / c_out, i % c_out);
            for (k, value) in line.iter().enumerate() {
                let (age, phase) = (k / stride, k % stride);
                let tap = taps - 1 - age; // the newest input is the last tap
                matrix[((phase * c_out + co) * taps + tap) * c_in + ci] = *value;
            }
        }
        let bias = load_bias(at, c_out)?.map(|bias| bias.repeat(stride));
        let weight = HostWeight::from_f32(stride * c_out, taps * c_in, matrix)?;
        let conv = StreamingConv {
            spec: ConvSpec { kernel: taps, stride: 1, dilation: 1, elu_input },
            weight: backend.matrix(&weight, bias.as_deref(), MatrixSpec::conv(at.precision(), c_in))?,
            c_in,
            c_out,
            history: taps - 1,
            padding: Padding::Zero,
            precision: at.precision(),
        };
        Ok(Self { conv, stride })
    }

    /// Bytes of weights that a step reads.
    pub fn bytes(&self, backend: &B) -> usize {
        self.conv.bytes(backend)
    }

    /// Output columns per input column.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Memory for `rows` rows and at most `max_chunk` input columns a step.
    ///
    /// # Errors
    /// When the device fails.
    pub fn init_state(&self, backend: &B, rows: usize, max_chunk: usize) -> Result<Window<B>> {
        self.conv.init_state(backend, rows, max_chunk)
    }

    /// `x [b, t, c_in]` -> `y [b, t * stride, c_out]`.
    ///
    /// # Errors
    /// When a buffer is too short, or the device fails.
    pub fn step(&self, step: Step<'_, B>, x: &B::Buf, state: &mut Window<B>, y: &mut B::Buf) -> Result<()> {
        self.conv.step(step, x, state, y)
    }
}

/// A depthwise causal transposed convolution with kernel = 2 x stride.
pub struct StreamingUpsample<B: Backend> {
    weight: B::Buf,
    channels: usize,
    stride: usize,
}

impl<B: Backend> StreamingUpsample<B> {
    /// From `weight` `[channels, 1, 2 * stride]`, without bias.
    ///
    /// # Errors
    /// The errors of the source and of the device.
    pub fn load(backend: &B, at: &At<'_>, channels: usize, stride: usize) -> Result<Self> {
        let stored = at.vector("weight", &[channels, 1, 2 * stride])?;
        let taps: Vec<f32> =
            (0..2 * stride).flat_map(|tap| stored.iter().skip(tap).step_by(2 * stride)).copied().collect();
        let mut weight = backend.buf(taps.len())?; // [kernel, channels]
        backend.upload(&taps, &mut weight)?;
        Ok(Self { weight, channels, stride })
    }

    /// Memory for `rows` rows and at most `max_chunk` input columns a step.
    ///
    /// # Errors
    /// When the device fails.
    pub fn init_state(&self, backend: &B, rows: usize, max_chunk: usize) -> Result<Window<B>> {
        let (padding, precision) = (Padding::Zero, Precision::Exact);
        Window::new(backend, &WindowSpec { rows, channels: self.channels, history: 1, max_chunk, padding, precision })
    }

    /// `x [b, t, channels]` -> `y [b, t * stride, channels]`.
    ///
    /// # Errors
    /// When a buffer is too short, or the device fails.
    pub fn step(&self, step: Step<'_, B>, x: &B::Buf, state: &mut Window<B>, y: &mut B::Buf) -> Result<()> {
        step.backend.upsample_step(step.rows, step.t, x, &self.weight, self.stride, &mut state.0, y)
    }
}

fn load_bias(at: &At<'_>, len: usize) -> Result<Option<Vec<f32>>> {
    if at.has("bias") { Ok(Some(at.vector("bias", &[len])?)) } else { Ok(None) }
}
