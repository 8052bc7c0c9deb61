//! Convolutions with memory.
//!
//! A row's window has room for its history and one step behind it. New columns are written behind the history (with the
//! activation that precedes the convolution), the product reads overlapping stretches of both, and then the last
//! columns move to the front: no column is copied per tap, and no step is joined from pieces.

use std::ops::Range;

use crate::cores::Cores;
use crate::fixed::{self, Activation, Activations, quantize};
use crate::memory::Block;
use crate::product::{Layout, Stride, Taps, product};
use crate::rowwise;

use super::{Matrix, Rows, check, exact};
use moshi_nn::backend::{ConvSpec, Padding, Precision, WindowSpec};
use moshi_nn::{Error, Result};

/// The last input columns of a convolution, all rows.
#[derive(Debug)]
pub struct Window {
    spec: WindowSpec,
    /// `[rows, history + max_chunk, channels]`; between steps the first `history` columns of a row mean something.
    columns: Columns,
}

/// Input columns, in the numbers of the product that reads them.
#[derive(Debug)]
enum Columns {
    Stored(Block<f32>),
    /// Values, and a scale for each block of them.
    Fixed {
        values: Block<i16>,
        scales: Block<f32>,
        block: usize,
    },
}

impl Columns {
    fn zeros(len: usize, block: Option<usize>) -> Self {
        match block {
            Some(block) => Self::Fixed { values: Block::zeros(len), scales: Block::zeros(len / block), block },
            None => Self::Stored(Block::zeros(len)),
        }
    }

    /// Zeros in a range of values.
    fn clear(&mut self, range: Range<usize>) {
        match self {
            Self::Stored(values) => values[range].fill(0.0),
            Self::Fixed { values, scales, block } => {
                scales[range.start / *block..range.end / *block].fill(0.0);
                values[range].fill(0);
            }
        }
    }

    /// Moves a range of values to another place.
    fn copy_within(&mut self, range: Range<usize>, to: usize) {
        match self {
            Self::Stored(values) => values.copy_within(range, to),
            Self::Fixed { values, scales, block } => {
                scales.copy_within(range.start / *block..range.end / *block, to / *block);
                values.copy_within(range, to);
            }
        }
    }

    /// Copies `len` values from `src` at `from`.
    fn copy_from(&mut self, to: usize, src: &Self, from: usize, len: usize) -> Result<()> {
        match (self, src) {
            (Self::Stored(values), Self::Stored(src)) => values[to..to + len].copy_from_slice(&src[from..from + len]),
            (Self::Fixed { values, scales, block }, Self::Fixed { values: src, scales: src_scales, .. }) => {
                values[to..to + len].copy_from_slice(&src[from..from + len]);
                let (to, from, len) = (to / *block, from / *block, len / *block);
                scales[to..to + len].copy_from_slice(&src_scales[from..from + len]);
            }
            _ => return Err(mixed()),
        }
        Ok(())
    }

    /// Writes `x` at `to`, after an activation.
    fn write(&mut self, cores: &Cores, x: &[f32], to: usize, activation: Activation) -> Result<()> {
        let range = to..to + x.len();
        match (self, activation) {
            (Self::Stored(values), Activation::None) => values[range].copy_from_slice(x),
            (Self::Stored(values), Activation::Elu) => rowwise::elu(cores, x, &mut values[range]),
            (Self::Fixed { values, scales, block }, activation) => {
                let blocks = range.start / *block..range.end / *block;
                quantize(cores, x, *block, activation, &mut values[range], &mut scales[blocks])?;
            }
        }
        Ok(())
    }

    fn product(&self, cores: &Cores, w: &Matrix, layout: &Layout<'_>, y: &mut [f32]) -> Result<()> {
        match (self, w) {
            (Self::Stored(values), Matrix::Stored(w)) => Ok(product(cores, w, layout, values, y)?),
            (Self::Fixed { values, scales, block }, Matrix::Fixed(w)) => {
                let x = Activations { values, scales, block: *block };
                Ok(fixed::product(cores, w, layout, x, y)?)
            }
            _ => Err(mixed()),
        }
    }
}

fn mixed() -> Error {
    Error::Config {
        what: "numbers of a convolution",
        found: "a window in other numbers than its matrix or source".to_owned(),
        expected: "both are made by one executor",
    }
}

impl Window {
    pub(super) fn new(spec: &WindowSpec) -> Self {
        let len = spec.rows * (spec.history + spec.max_chunk) * spec.channels;
        let fixed = matches!(spec.precision, Precision::Fixed | Precision::FixedNarrow);
        let block = if fixed { fixed::block_of(spec.channels) } else { None };
        Self { spec: *spec, columns: Columns::zeros(len, block) }
    }

    /// Bytes of all rows' columns.
    pub(super) fn bytes(&self) -> usize {
        match &self.columns {
            Columns::Stored(values) => size_of_val(&**values),
            Columns::Fixed { values, scales, .. } => size_of_val(&**values) + size_of_val(&**scales),
        }
    }

    /// Values of a row.
    fn row_len(&self) -> usize {
        (self.spec.history + self.spec.max_chunk) * self.spec.channels
    }

    /// Values of a row's history.
    fn history_len(&self) -> usize {
        self.spec.history * self.spec.channels
    }

    pub(super) fn reset_row(&mut self, row: usize) -> Result<()> {
        check("row of a window", row + 1, self.spec.rows)?;
        let (start, len) = (row * self.row_len(), self.history_len());
        self.columns.clear(start..start + len);
        Ok(())
    }

    pub(super) fn copy_row(&mut self, row: usize, src: &Self, src_row: usize) -> Result<()> {
        check("row of a window", row + 1, self.spec.rows)?;
        check("source row of a window", src_row + 1, src.spec.rows)?;
        exact("history of a window", self.spec.history, src.spec.history)?;
        exact("channels of a window", self.spec.channels, src.spec.channels)?;
        let (to, from, len) = (row * self.row_len(), src_row * src.row_len(), self.history_len());
        self.columns.copy_from(to, &src.columns, from, len)?;
        Ok(())
    }

    /// Fails unless a step of `t` columns of `rows` fits the window and `x`.
    fn check_step(&self, rows: &Rows, t: usize, x: usize) -> Result<()> {
        let count = rows.active().last().map_or(0, |row| row + 1);
        check("rows of a window", count, self.spec.rows)?;
        check("columns of a step", t, self.spec.max_chunk)?;
        check("convolution input", count * t * self.spec.channels, x)
    }

    /// Writes `t` columns of each row behind its history, after an activation.
    fn append(&mut self, cores: &Cores, rows: &Rows, t: usize, x: &[f32], activation: Activation) -> Result<()> {
        let (c, row_len, history) = (self.spec.channels, self.row_len(), self.history_len());
        for &row in rows.active() {
            let start = row * row_len;
            self.columns.write(cores, &x[row * t * c..(row + 1) * t * c], start + history, activation)?;
            if self.spec.padding == Padding::Replicate && rows.positions()[row] == 0 && t > 0 {
                for column in 0..self.spec.history {
                    self.columns.copy_within(start + history..start + history + c, start + column * c);
                }
            }
        }
        Ok(())
    }

    /// Moves the last columns of each row to the front.
    fn keep(&mut self, rows: &[usize], t: usize) {
        let (row_len, history, gone) = (self.row_len(), self.history_len(), t * self.spec.channels);
        for &row in rows {
            let start = row * row_len;
            self.columns.copy_within(start + gone..start + gone + history, start);
        }
    }

    /// One step of a convolution: see [`moshi_nn::Backend::conv_step`].
    pub(super) fn conv(
        &mut self,
        cores: &Cores,
        running: &Rows,
        t: usize,
        x: &[f32],
        (w, spec): (&Matrix, &ConvSpec),
        y: &mut [f32],
    ) -> Result<()> {
        let (rows, t_out) = (running.active(), self.check_conv(t, spec, w)?);
        self.check_step(running, t, x.len())?;
        check("convolution output", rows.last().map_or(0, |row| row + 1) * t_out * w.n(), y.len())?;
        let c = self.spec.channels;
        let taps = match spec.dilation {
            1 => Taps { count: 1, len: w.k(), distance: 0 },
            dilation => Taps { count: spec.kernel, len: c, distance: dilation * c },
        };
        let out = Stride { row: t_out * w.n(), column: w.n() };
        let column = spec.stride * c;
        if let (0, false, Matrix::Stored(w), Columns::Stored(_)) = (self.spec.history, spec.elu_input, w, &self.columns)
        {
            let layout = Layout { rows, columns: t_out, x: Stride { row: t * c, column }, y: out, taps };
            return Ok(product(cores, w, &layout, x, y)?);
        }
        let activation = if spec.elu_input { Activation::Elu } else { Activation::None };
        self.append(cores, running, t, x, activation)?;
        let layout = Layout { rows, columns: t_out, x: Stride { row: self.row_len(), column }, y: out, taps };
        self.columns.product(cores, w, &layout, y)?;
        self.keep(rows, t);
        Ok(())
    }

    /// Number of output columns.
    fn check_conv(&self, t: usize, spec: &ConvSpec, w: &Matrix) -> Result<usize> {
        let ConvSpec { kernel, stride, dilation, .. } = *spec;
        if stride == 0 || !t.is_multiple_of(stride) {
            return Err(Error::Shape { what: "steps, a multiple of the stride", expected: stride, found: t });
        }
        let span = (kernel.max(1) - 1) * dilation + 1;
        if span < stride || span - stride != self.spec.history {
            let expected = span.saturating_sub(stride);
            return Err(Error::Shape { what: "history of a convolution", expected, found: self.spec.history });
        }
        exact("columns of a kernel", kernel * self.spec.channels, w.k())?;
        Ok(t / stride)
    }

    /// One step of a depthwise transposed convolution: see [`moshi_nn::Backend::upsample_step`].
    pub(super) fn upsample(
        &mut self,
        cores: &Cores,
        running: &Rows,
        t: usize,
        x: &[f32],
        (weight, stride): (&[f32], usize),
        y: &mut [f32],
    ) -> Result<()> {
        let (c, rows) = (self.spec.channels, running.active());
        exact("history of an upsampling", 1, self.spec.history)?;
        self.check_step(running, t, x.len())?;
        check("upsampling kernel", 2 * stride * c, weight.len())?;
        check("upsampling output", rows.last().map_or(0, |row| row + 1) * t * stride * c, y.len())?;
        self.append(cores, running, t, x, Activation::None)?;
        let Columns::Stored(columns) = &self.columns else { return Err(mixed()) };
        for &row in rows {
            let (before, x) = columns[row * self.row_len()..][..(1 + t) * c].split_at(c);
            let y = &mut y[row * t * stride * c..(row + 1) * t * stride * c];
            rowwise::upsample(cores, (t, stride), x, before, weight, y)?;
        }
        self.keep(rows, t);
        Ok(())
    }
}
