//! Convolutions with memory.
//!
//! A row's window has room for its history and one step behind it. New columns are written behind the history (with the
//! activation that precedes the convolution), the product reads overlapping stretches of both, and then the last
//! columns move to the front: no column is copied per tap, and no step is joined from pieces.

use moshi_kernels::cores::Cores;
use moshi_kernels::memory::Block;
use moshi_kernels::product::{Layout, Matrix, Stride, Taps, product};
use moshi_kernels::rowwise;

use super::{check, exact};
use crate::backend::{ConvSpec, Padding, WindowSpec};
use crate::{Error, Result};

/// The last input columns of a convolution, all rows.
#[derive(Debug)]
pub struct Window {
    spec: WindowSpec,
    /// `[rows, history + max_chunk, channels]`; between steps the first `history` columns of a row mean something.
    columns: Block<f32>,
    /// Rows that have seen their first column, which fills the history under [`Padding::Replicate`].
    started: Vec<bool>,
}

impl Window {
    pub(super) fn new(spec: &WindowSpec) -> Self {
        let len = spec.rows * (spec.history + spec.max_chunk) * spec.channels;
        Self { spec: *spec, columns: Block::zeros(len), started: vec![false; spec.rows] }
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
        self.columns[start..start + len].fill(0.0);
        self.started[row] = false;
        Ok(())
    }

    pub(super) fn copy_row(&mut self, row: usize, src: &Self, src_row: usize) -> Result<()> {
        check("row of a window", row + 1, self.spec.rows)?;
        check("source row of a window", src_row + 1, src.spec.rows)?;
        exact("history of a window", self.spec.history, src.spec.history)?;
        exact("channels of a window", self.spec.channels, src.spec.channels)?;
        let (to, from, len) = (row * self.row_len(), src_row * src.row_len(), self.history_len());
        self.columns[to..to + len].copy_from_slice(&src.columns[from..from + len]);
        self.started[row] = src.started[src_row];
        Ok(())
    }

    /// Fails unless a step of `t` columns of `rows` fits the window and `x`.
    fn check_step(&self, rows: &[usize], t: usize, x: usize) -> Result<()> {
        let count = rows.last().map_or(0, |row| row + 1);
        check("rows of a window", count, self.spec.rows)?;
        check("columns of a step", t, self.spec.max_chunk)?;
        check("convolution input", count * t * self.spec.channels, x)
    }

    /// Writes `t` columns of each row behind its history.
    fn append(&mut self, rows: &[usize], t: usize, x: &[f32], write: impl Fn(&[f32], &mut [f32])) {
        let (c, row_len, history) = (self.spec.channels, self.row_len(), self.history_len());
        for &row in rows {
            let columns = &mut self.columns[row * row_len..(row + 1) * row_len];
            write(&x[row * t * c..(row + 1) * t * c], &mut columns[history..history + t * c]);
            if self.spec.padding == Padding::Replicate && !self.started[row] && t > 0 {
                for column in 0..self.spec.history {
                    columns.copy_within(history..history + c, column * c);
                }
            }
            self.started[row] |= t > 0;
        }
    }

    /// Moves the last columns of each row to the front.
    fn keep(&mut self, rows: &[usize], t: usize) {
        let (row_len, history, gone) = (self.row_len(), self.history_len(), t * self.spec.channels);
        for &row in rows {
            let start = row * row_len;
            self.columns.copy_within(start + gone..start + gone + history, start);
        }
    }

    /// One step of a convolution: see [`crate::Backend::conv_step`].
    pub(super) fn conv(
        &mut self,
        cores: &Cores,
        rows: &[usize],
        t: usize,
        x: &[f32],
        (w, spec): (&Matrix, &ConvSpec),
        y: &mut [f32],
    ) -> Result<()> {
        let t_out = self.check_conv(t, spec, w)?;
        self.check_step(rows, t, x.len())?;
        check("convolution output", rows.last().map_or(0, |row| row + 1) * t_out * w.n(), y.len())?;
        let c = self.spec.channels;
        let taps = match spec.dilation {
            1 => Taps { count: 1, len: w.k(), distance: 0 },
            dilation => Taps { count: spec.kernel, len: c, distance: dilation * c },
        };
        let out = Stride { row: t_out * w.n(), column: w.n() };
        let column = spec.stride * c;
        if self.spec.history == 0 && !spec.elu_input {
            let layout = Layout { rows, columns: t_out, x: Stride { row: t * c, column }, y: out, taps };
            return Ok(product(cores, w, &layout, x, y)?);
        }
        if spec.elu_input {
            self.append(rows, t, x, |x, columns| rowwise::elu(cores, x, columns));
        } else {
            self.append(rows, t, x, |x, columns| columns.copy_from_slice(x));
        }
        let layout = Layout { rows, columns: t_out, x: Stride { row: self.row_len(), column }, y: out, taps };
        product(cores, w, &layout, &self.columns, y)?;
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

    /// One step of a depthwise transposed convolution: see [`crate::Backend::upsample_step`].
    pub(super) fn upsample(
        &mut self,
        cores: &Cores,
        rows: &[usize],
        t: usize,
        x: &[f32],
        (weight, stride): (&[f32], usize),
        y: &mut [f32],
    ) -> Result<()> {
        let c = self.spec.channels;
        exact("history of an upsampling", 1, self.spec.history)?;
        self.check_step(rows, t, x.len())?;
        check("upsampling kernel", 2 * stride * c, weight.len())?;
        check("upsampling output", rows.last().map_or(0, |row| row + 1) * t * stride * c, y.len())?;
        self.append(rows, t, x, |x, columns| columns.copy_from_slice(x));
        for &row in rows {
            let (before, x) = self.columns[row * self.row_len()..][..(1 + t) * c].split_at(c);
            let y = &mut y[row * t * stride * c..(row + 1) * t * stride * c];
            rowwise::upsample(cores, (t, stride), x, before, weight, y)?;
        }
        self.keep(rows, t);
        Ok(())
    }
}
