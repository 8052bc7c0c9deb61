//! The fast executor on the processor: the kernels on plain slices.
//!
//! A row's results have the same bits alone or among others, on any number of threads and on any instruction set.
//! After the first step of its kind an operation allocates nothing. Weights stay in the number format they come in.
//!
//! ```
//! use std::num::NonZeroUsize;
//! use moshi_cpu::Cpu;
//! use moshi_nn::HostWeight;
//! use moshi_nn::backend::{Backend, MatrixSpec};
//! let cpu = Cpu::new(NonZeroUsize::MIN);
//! let w = cpu.matrix(&HostWeight::from_f32(1, 2, vec![2.0, 3.0])?, None, MatrixSpec::default())?;
//! let (mut rows, mut x, mut y) = (cpu.rows(1, &[])?, cpu.buf(2)?, cpu.buf(1)?);
//! cpu.put_rows(&mut rows, &[true], &[0], 1)?;
//! cpu.upload(&[10.0, 1.0], &mut x)?;
//! cpu.linear(&rows, 1, &x, &w, &mut y)?;
//! let mut result = [0.0];
//! cpu.download(&y, &mut result)?;
//! assert_eq!(result, [23.0]);
//! # Ok::<(), moshi_nn::Error>(())
//! ```

mod check;
mod low_rank;
mod matrix;
mod rows;
mod tokens;
mod window;

use std::num::NonZeroUsize;

use crate::attention::{AttentionShape, Chunk, Ring, RingFormat, attend, attend_filled};
use crate::codebook::Codebook;
use crate::cores::Cores;
use crate::embedding::Embedding;
use crate::memory::Block;
use crate::rowwise::{self, Vectors};
use moshi_tensor::weight::HostWeight;

use check::{check, exact};
pub use low_rank::LowRank;
pub use matrix::Matrix;
pub use rows::Rows;
pub use tokens::{Sampler, Tables};
pub use window::Window;

use moshi_nn::backend::{
    AttentionSpec, Backend, Column, ConvSpec, HeadRope, MatrixSpec, Meter, Precision, RingSpec, RowSampling,
    SilentTokens, Span, Stream, Taken, WindowSpec,
};
use moshi_nn::{Error, LowRankPair, Result};

/// From so many weights on, reading a convolution's weights takes longer than computing with them.
const WIDE: usize = 2 << 20;

/// Executes on the processor.
#[derive(Debug, Clone)]
pub struct Cpu {
    cores: Cores,
    meter: Meter,
}

impl Cpu {
    /// On the best instruction set of this machine and `threads` threads. With one thread everything runs on the
    /// calling thread; clones used from several threads then run side by side.
    pub fn new(threads: NonZeroUsize) -> Self {
        Self::on(Cores::new(threads))
    }

    /// On a given instruction set and its threads.
    pub fn on(cores: Cores) -> Self {
        Self { cores, meter: Meter::default() }
    }

    /// What it runs on.
    pub fn cores(&self) -> &Cores {
        &self.cores
    }
}

fn vectors(rows: &Rows, t: usize, c: usize) -> Vectors<'_> {
    Vectors { rows: rows.active(), t, c }
}

fn shape(spec: &AttentionSpec) -> AttentionShape {
    let AttentionSpec { heads, kv_heads, head_dim, context, .. } = *spec;
    AttentionShape { heads, kv_heads, head_dim, context }
}

impl Backend for Cpu {
    type Buf = Block<f32>;
    type Ids = Vec<i32>;
    type Matrix = Matrix;
    type Table = Embedding;
    type Tables = Tables;
    type Codebook = Codebook;
    type Ring = Ring;
    type Window = Window;
    type Rows = Rows;
    type Sampler = Sampler;
    type LowRank = LowRank;
    type Recordings = ();

    fn name(&self) -> &'static str {
        "cpu"
    }

    fn matrix(&self, weight: &HostWeight<'_>, bias: Option<&[f32]>, spec: MatrixSpec) -> Result<Matrix> {
        let precision = match (spec.precision, spec.conv_channels) {
            (Precision::FixedNarrow, Some(_)) if weight.rows() * weight.cols() < WIDE => Precision::Fixed,
            (Precision::Fast, Some(_)) => Precision::Exact, // convolutions' windows are in single precision
            (same, _) => same,
        };
        let channels = spec.conv_channels.unwrap_or(weight.cols());
        let matrix = Matrix::new(&self.cores, precision, weight, bias, channels)?;
        self.meter.weights(matrix.bytes());
        Ok(matrix)
    }

    fn table(&self, weight: &HostWeight<'_>) -> Result<Embedding> {
        let table = Embedding::new(weight)?;
        self.meter.weights(table.bytes());
        Ok(table)
    }

    fn tables(&self, weights: &[Option<HostWeight<'_>>]) -> Result<Tables> {
        let lay_out = |weight: &Option<HostWeight<'_>>| weight.as_ref().map(|weight| self.table(weight)).transpose();
        Ok(Tables(weights.iter().map(lay_out).collect::<Result<_>>()?))
    }

    fn codebook(&self, vectors: &[f32], bins: usize) -> Result<Codebook> {
        let codebook = Codebook::new(&self.cores, vectors, bins)?;
        self.meter.weights(codebook.bytes());
        Ok(codebook)
    }

    fn low_rank(&self, pairs: &[Option<LowRankPair<'_>>]) -> Result<LowRank> {
        let pairs = LowRank::new(&self.cores, pairs)?;
        self.meter.weights(pairs.bytes());
        Ok(pairs)
    }

    fn low_rank_bytes(&self, pairs: &LowRank) -> usize {
        pairs.bytes()
    }

    fn matrix_bytes(&self, matrix: &Matrix) -> usize {
        matrix.bytes()
    }

    fn table_bytes(&self, table: &Embedding) -> usize {
        table.bytes()
    }

    fn tables_bytes(&self, tables: &Tables) -> usize {
        tables.0.iter().flatten().map(|table| self.table_bytes(table)).sum()
    }

    fn codebook_bytes(&self, codebook: &Codebook) -> usize {
        codebook.bytes()
    }

    fn taken(&self) -> Taken {
        self.meter.taken()
    }

    fn release_ring(&self, ring: &mut Ring, row: usize) {
        ring.release_row(row);
    }

    fn buf(&self, len: usize) -> Result<Block<f32>> {
        self.meter.memory(size_of::<f32>() * len);
        Ok(Block::zeros(len))
    }

    fn ids(&self, len: usize) -> Result<Vec<i32>> {
        self.meter.memory(size_of::<i32>() * len);
        Ok(vec![0; len])
    }

    fn upload(&self, src: &[f32], dst: &mut Block<f32>) -> Result<()> {
        check("upload", src.len(), dst.len())?;
        dst[..src.len()].copy_from_slice(src);
        Ok(())
    }

    fn download(&self, src: &Block<f32>, dst: &mut [f32]) -> Result<()> {
        check("download", dst.len(), src.len())?;
        dst.copy_from_slice(&src[..dst.len()]);
        Ok(())
    }

    fn upload_ids(&self, src: &[i32], dst: &mut Vec<i32>) -> Result<()> {
        check("upload of ids", src.len(), dst.len())?;
        dst[..src.len()].copy_from_slice(src);
        Ok(())
    }

    fn download_ids(&self, src: &Vec<i32>, dst: &mut [i32]) -> Result<()> {
        check("download of ids", dst.len(), src.len())?;
        dst.copy_from_slice(&src[..dst.len()]);
        Ok(())
    }

    fn ring(&self, spec: &RingSpec) -> Result<Ring> {
        let format = match spec.precision {
            Precision::Fast | Precision::FixedNarrow => RingFormat::Bf16,
            Precision::Exact | Precision::Fixed => RingFormat::F32,
        };
        let ring = Ring::with_format(shape(&spec.attention), spec.rows, spec.max_chunk, format)?;
        self.meter.memory(ring.bytes());
        Ok(ring)
    }

    fn window(&self, spec: &WindowSpec) -> Result<Window> {
        let window = Window::new(spec);
        self.meter.memory(window.bytes());
        Ok(window)
    }

    fn rows(&self, count: usize, ropes: &[HeadRope]) -> Result<Rows> {
        Ok(Rows::new(count, ropes))
    }

    fn sampler(&self, count: usize, silent: SilentTokens) -> Result<Sampler> {
        self.meter.memory(count * size_of::<moshi_tensor::sample::RowSampler>());
        Ok(Sampler::new(count, silent))
    }

    fn put_rows(&self, rows: &mut Rows, active: &[bool], positions: &[u64], t: usize) -> Result<()> {
        rows.put(active, positions, t)
    }

    fn set_sampling(&self, sampler: &mut Sampler, row: usize, params: &RowSampling) -> Result<()> {
        sampler.set(row, params)
    }

    fn reset_window(&self, window: &mut Window, row: usize) -> Result<()> {
        window.reset_row(row)
    }

    fn copy_window(&self, src: &Window, src_row: usize, dst: &mut Window, dst_row: usize) -> Result<()> {
        dst.copy_row(dst_row, src, src_row)
    }

    fn copy_ring(&self, src: &Ring, src_row: usize, dst: &mut Ring, dst_row: usize) -> Result<()> {
        Ok(dst.copy_row(dst_row, src, src_row)?)
    }

    fn fill_ring(&self, kv: &Block<f32>, len: usize, ring: &mut Ring, row: usize) -> Result<()> {
        Ok(ring.fill(row, kv, len)?)
    }

    fn copy_sampler(&self, src: &Sampler, src_row: usize, dst: &mut Sampler, dst_row: usize) -> Result<()> {
        dst.copy_row(dst_row, src, src_row)
    }

    fn linear(&self, rows: &Rows, t: usize, x: &Block<f32>, w: &Matrix, y: &mut Block<f32>) -> Result<()> {
        w.linear(&self.cores, rows.active(), t, x, y)
    }

    fn low_rank_add(
        &self,
        rows: &Rows,
        t: usize,
        x: &Block<f32>,
        pairs: &LowRank,
        which: &Vec<i32>,
        y: &mut Block<f32>,
    ) -> Result<()> {
        pairs.add(&self.cores, rows.active(), t, x, which, y)
    }

    fn residual_add(
        &self,
        rows: &Rows,
        t: usize,
        c: usize,
        y: &Block<f32>,
        scale: Option<&Block<f32>>,
        x: &mut Block<f32>,
    ) -> Result<()> {
        Ok(rowwise::residual_add(&self.cores, &vectors(rows, t, c), y, scale.map(|s| &s[..]), x)?)
    }

    fn rms_norm(
        &self,
        rows: &Rows,
        t: usize,
        x: &Block<f32>,
        alpha: &Block<f32>,
        c: usize,
        eps: f32,
        y: &mut Block<f32>,
    ) -> Result<()> {
        Ok(rowwise::rms_norm(&self.cores, &vectors(rows, t, c), x, alpha, eps, y)?)
    }

    fn layer_norm(
        &self,
        rows: &Rows,
        t: usize,
        x: &Block<f32>,
        weight: &Block<f32>,
        bias: &Block<f32>,
        c: usize,
        eps: f32,
        y: &mut Block<f32>,
    ) -> Result<()> {
        Ok(rowwise::layer_norm(&self.cores, &vectors(rows, t, c), x, (weight, bias), eps, y)?)
    }

    fn rope_append_attend(
        &self,
        rows: &Rows,
        span: Span,
        qkv: &Block<f32>,
        spec: &AttentionSpec,
        ring: &mut Ring,
        y: &mut Block<f32>,
    ) -> Result<()> {
        if *ring.shape() != shape(spec) {
            let (expected, found) = (ring.shape().context, spec.context);
            return Err(Error::Shape { what: "attention of a ring (heads, width or context differ)", expected, found });
        }
        let Span { first, t } = span;
        let chunk = Chunk { rows: rows.active(), positions: rows.positions(), first, t };
        let rotations = spec.rope.as_ref().map(|rope| rows.rotations(spec.head_dim, rope)).transpose()?;
        Ok(attend(&self.cores, &chunk, rotations, qkv, ring, y)?)
    }

    fn attend_ring(
        &self,
        rows: &Rows,
        t: usize,
        q: &Block<f32>,
        lengths: &Vec<i32>,
        ring: &Ring,
        y: &mut Block<f32>,
    ) -> Result<()> {
        Ok(attend_filled(&self.cores, (rows.active(), t), q, lengths, ring, y)?)
    }

    fn guide(
        &self,
        rows: &Rows,
        v: usize,
        guides: &Vec<i32>,
        coefficients: &Block<f32>,
        logits: &mut Block<f32>,
    ) -> Result<()> {
        tokens::guide(rows.active(), v, guides, coefficients, logits)
    }

    fn silu_gate(&self, rows: &Rows, t: usize, x: &Block<f32>, h: usize, y: &mut Block<f32>) -> Result<()> {
        Ok(rowwise::silu_gate(&self.cores, &vectors(rows, t, h), x, y)?)
    }

    fn gelu(&self, rows: &Rows, t: usize, c: usize, x: &mut Block<f32>) -> Result<()> {
        Ok(rowwise::gelu(&self.cores, &vectors(rows, t, c), x)?)
    }

    fn conv_step(
        &self,
        rows: &Rows,
        t: usize,
        x: &Block<f32>,
        w: &Matrix,
        spec: &ConvSpec,
        window: &mut Window,
        y: &mut Block<f32>,
    ) -> Result<()> {
        window.conv(&self.cores, rows, t, x, (w, spec), y)
    }

    fn upsample_step(
        &self,
        rows: &Rows,
        t: usize,
        x: &Block<f32>,
        weight: &Block<f32>,
        stride: usize,
        window: &mut Window,
        y: &mut Block<f32>,
    ) -> Result<()> {
        window.upsample(&self.cores, rows, t, x, (weight, stride), y)
    }

    fn nearest_code(
        &self,
        rows: &Rows,
        t: usize,
        codebook: &Codebook,
        residual: &mut Block<f32>,
        codes: &mut Vec<i32>,
        column: Column,
        status: &mut Vec<i32>,
    ) -> Result<()> {
        tokens::nearest_code(&self.cores, rows.active(), t, codebook, residual, (codes, column), status)
    }

    fn embed(
        &self,
        rows: &Rows,
        t: usize,
        ids: &Vec<i32>,
        column: Column,
        tables: &[&Embedding],
        y: &mut Block<f32>,
        status: &mut Vec<i32>,
    ) -> Result<()> {
        tokens::embed(&self.cores, rows.active(), t, (ids, column), tables, (y, tokens::Onto::Nothing), status)
    }

    fn embed_add(
        &self,
        rows: &Rows,
        t: usize,
        ids: &Vec<i32>,
        column: Column,
        tables: &[&Embedding],
        y: &mut Block<f32>,
        status: &mut Vec<i32>,
    ) -> Result<()> {
        tokens::embed(&self.cores, rows.active(), t, (ids, column), tables, (y, tokens::Onto::Output), status)
    }

    fn embed_chosen(
        &self,
        rows: &Rows,
        t: usize,
        ids: &Vec<i32>,
        column: Column,
        (tables, which): (&Tables, &Vec<i32>),
        y: &mut Block<f32>,
        status: &mut Vec<i32>,
    ) -> Result<()> {
        check("adapters of rows", rows.active().last().map_or(0, |row| row + 1), which.len())?;
        rows.active().iter().try_for_each(|&row| {
            let table = [tables.of(which[row])?];
            tokens::embed(&self.cores, &[row], t, (ids, column), &table, (y, tokens::Onto::Nothing), status)
        })
    }

    fn sample(
        &self,
        rows: &Rows,
        logits: &Block<f32>,
        v: usize,
        stream: Stream,
        sampler: &mut Sampler,
        forced: &Vec<i32>,
        out: &mut Vec<i32>,
        column: Column,
        status: &mut Vec<i32>,
    ) -> Result<()> {
        sampler.draw(rows, (logits, v), stream, (forced, column), (out, status))
    }

    fn softmax(&self, rows: &Rows, t: usize, c: usize, x: &mut Block<f32>) -> Result<()> {
        Ok(rowwise::softmax(&self.cores, &vectors(rows, t, c), x)?)
    }
}
